//! Names of users, from `/etc/passwd` alone.

use std::io;

use mandate_ports::Users;

/// The machine's user database: `/etc/passwd`, and no name service on a network, which could
/// otherwise decide who an agent or an operator is.
#[derive(Debug, Clone, Copy, Default)]
pub struct PasswdUsers;

impl Users for PasswdUsers {
    fn name(&self, uid: u32) -> io::Result<Option<String>> {
        Ok(name_in(&passwd()?, uid))
    }
}

/// The number of a user.
pub(super) fn uid_of(name: &str) -> Option<u32> {
    uid_in(&passwd().ok()?, name)
}

/// The name of a user.
pub(super) fn name_of(uid: u32) -> Option<String> {
    name_in(&passwd().ok()?, uid)
}

fn passwd() -> io::Result<String> {
    std::fs::read_to_string("/etc/passwd")
}

/// The first line wins, as for everyone who reads the file (passwd(5)).
fn uid_in(passwd: &str, name: &str) -> Option<u32> {
    lines(passwd).find(|(n, _)| *n == name).map(|(_, uid)| uid)
}

fn name_in(passwd: &str, uid: u32) -> Option<String> {
    let line = lines(passwd).find(|(_, u)| *u == uid);
    line.map(|(name, _)| name.to_owned())
}

fn lines(passwd: &str) -> impl Iterator<Item = (&str, u32)> {
    passwd.lines().filter_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next().filter(|name| !name.is_empty())?;
        let uid = fields.nth(1)?.parse().ok()?;
        Some((name, uid))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str =
        "root:x:0:0:root:/root:/bin/sh\n#comment\nbad\na:x:7:7::/:/bin/sh\na:x:8:8::/:/\n";

    #[test]
    fn finds_users_by_name_and_number() {
        assert_eq!(uid_in(PASSWD, "root"), Some(0));
        assert_eq!(uid_in(PASSWD, "a"), Some(7), "the first line wins");
        assert_eq!(uid_in(PASSWD, "b"), None);
        assert_eq!(uid_in(PASSWD, ""), None);
        assert_eq!(name_in(PASSWD, 8).as_deref(), Some("a"));
        assert_eq!(name_in(PASSWD, 9), None);
    }

    #[test]
    fn the_machine_has_root() {
        let name = PasswdUsers.name(0).unwrap();
        assert_eq!(name.as_deref(), Some("root"));
        assert_eq!(uid_of("root"), Some(0));
    }
}
