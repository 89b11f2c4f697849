//! The unit of root's service manager that a process is in.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// The unit that a `/proc/<pid>/cgroup` text names, if nobody but root can move processes into it.
///
/// Only the outermost unit is root's: what is below it may be made by whoever it was delegated to.
/// So a service of a user's own manager is `user@1000.service`, whatever it calls itself.
pub(super) fn of(cgroup: &str) -> Option<String> {
    let path = cgroup.lines().find_map(|line| line.strip_prefix("0::"))?;
    let (slices, unit) = outermost(path)?;
    is_roots(&mount_point()?, &slices).then_some(unit)
}

/// The slices above the outermost unit, outermost first, and the unit.
fn outermost(path: &str) -> Option<(Vec<&str>, String)> {
    let mut slices = Vec::new();
    for part in path.strip_prefix('/')?.split('/') {
        if part.ends_with(".service") || part.ends_with(".scope") {
            return Some((slices, part.to_owned()));
        }
        // Anything else (`..` above all) is no place where the service manager puts units.
        if !part.ends_with(".slice") {
            return None;
        }
        slices.push(part);
    }
    None
}

/// Whether root alone can make and fill cgroups in each of `slices`: a process is moved only by
/// whoever can write `cgroup.procs` of the common ancestor (cgroups(7), delegation containment).
fn is_roots(mount: &Path, slices: &[&str]) -> bool {
    let mut folder = mount.to_owned();
    let mut all = is_roots_alone(&folder);
    for slice in slices {
        folder.push(slice);
        all = all && is_roots_alone(&folder) && is_roots_alone(&folder.join("cgroup.procs"));
    }
    all
}

fn is_roots_alone(path: &Path) -> bool {
    std::fs::symlink_metadata(path).is_ok_and(|meta| meta.uid() == 0 && meta.mode() & 0o022 == 0)
}

/// Where the unified hierarchy is mounted.
fn mount_point() -> Option<std::path::PathBuf> {
    let mounts = std::fs::read_to_string("/proc/self/mounts").ok()?;
    mounts.lines().find_map(|line| {
        let mut fields = line.split(' ').skip(1);
        let place = fields.next()?;
        (fields.next() == Some("cgroup2")).then(|| place.into())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_outermost_unit_counts() {
        let unit = |path| outermost(path).map(|(_, unit)| unit);
        let of = |name: &str| Some(name.to_owned());
        assert_eq!(
            unit("/system.slice/retriever.service"),
            of("retriever.service")
        );
        assert_eq!(
            unit("/system.slice/retriever.service/payload/x.service"),
            of("retriever.service")
        );
        assert_eq!(unit("/retriever.service"), of("retriever.service"));
        let own = "/user.slice/user-1000.slice/user@1000.service/app.slice/retriever.service";
        assert_eq!(
            unit(own),
            of("user@1000.service"),
            "a user's manager vouches for nothing"
        );
    }

    #[test]
    fn what_the_service_manager_did_not_place_has_no_unit() {
        for path in [
            "/",
            "",
            "/system.slice",
            "/../retriever.service",
            "/made/retriever.service",
        ] {
            assert_eq!(outermost(path), None, "{path}");
        }
        assert_eq!(of("1:name=systemd:/system.slice/retriever.service\n"), None);
    }
}
