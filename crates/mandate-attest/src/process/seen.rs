//! What the kernel says about a process.

use std::cell::OnceCell;
use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt;

use mandate_ports::{AttestRefusal, PeerProcess};

use super::digest::Digests;
use super::proc::{Namespaces, ProcDir, check_alive};
use super::{unit, users};

/// Everything that a rule can ask about, and what a record tells.
pub(super) struct Seen {
    pub(super) pid: i32,
    pub(super) start_time: u64,
    pub(super) uid: u32,
    /// All groups that may open doors for it.
    pub(super) groups: Vec<u32>,
    pub(super) unit: Option<String>,
    /// (device, inode) of the executable, opened through the kernel's own link.
    pub(super) identity: (u64, u64),
    /// Where the kernel says that it was. A label, except for asking who can write there.
    pub(super) path: String,
    executable: File,
    /// SHA-256 in hex, or why it could not be read; empty until a rule asks.
    sha256: OnceCell<Result<String, String>>,
    command_line: String,
}

impl Seen {
    /// Looks at a process. One in other namespaces is refused: there, paths and users mean others.
    pub(super) fn look(
        dir: &ProcDir,
        peer: &PeerProcess,
        own: &Namespaces,
    ) -> Result<Self, AttestRefusal> {
        if dir.namespaces().map_err(unreadable)? != *own {
            return Err(refusal("it is in another mount or user namespace"));
        }
        let status = Status::parse(&dir.text("status").map_err(unreadable)?)
            .ok_or_else(|| AttestRefusal::Unreadable("`status` has no users".to_owned()))?;
        if status.uids.iter().any(|uid| *uid != peer.uid) {
            return Err(refusal(
                "its real, effective, saved and file system users differ",
            ));
        }
        let executable = dir.executable().map_err(unreadable)?;
        let identity = identity(&executable).map_err(unreadable)?;
        let mut groups = status.groups;
        groups.push(peer.gid);
        Ok(Self {
            pid: peer.pid,
            start_time: dir.start_time().map_err(unreadable)?,
            uid: peer.uid,
            groups,
            unit: unit::of(&dir.text("cgroup").map_err(unreadable)?),
            executable,
            sha256: OnceCell::new(),
            identity,
            path: dir.link("exe").map_err(unreadable)?,
            command_line: command_line(&dir.text("cmdline").map_err(unreadable)?),
        })
    }

    /// SHA-256 of the executable, in hex, or why it cannot be had. Only what a rule asks for is read:
    /// any user of the machine can show an executable of any size.
    pub(super) fn sha256(&self, hashing: Hashing<'_>) -> Result<&str, Undigested<'_>> {
        if self.sha256.get().is_none() {
            let digest = hashing.digest(&self.executable);
            // Nobody else sets it: a cell is one thread's.
            drop(self.sha256.set(digest.ok_or(Undigested::Unread)?));
        }
        match self.sha256.get() {
            Some(Ok(sha256)) => Ok(sha256),
            Some(Err(why)) => Err(Undigested::Unreadable(why)),
            None => Err(Undigested::Unread),
        }
    }

    /// Looks again, after hashing: it must be alive and the same in what rules asked about.
    pub(super) fn check_unchanged(
        &self,
        dir: &ProcDir,
        peer: &PeerProcess,
    ) -> Result<(), AttestRefusal> {
        let gone = |_: io::Error| AttestRefusal::Gone;
        let status = Status::parse(&dir.text("status").map_err(gone)?);
        let same = dir.start_time().map_err(gone)? == self.start_time
            && identity(&dir.executable().map_err(gone)?).map_err(gone)? == self.identity
            && unit::of(&dir.text("cgroup").map_err(gone)?) == self.unit
            && status.is_some_and(|s| s.uids.iter().all(|uid| *uid == self.uid));
        check_alive(peer)?;
        if same {
            Ok(())
        } else {
            Err(AttestRefusal::Gone)
        }
    }

    /// For the record.
    pub(super) fn facts(&self) -> BTreeMap<String, String> {
        let mut facts = BTreeMap::from([
            ("pid".to_owned(), self.pid.to_string()),
            ("uid".to_owned(), self.uid.to_string()),
            ("executable".to_owned(), self.path.clone()),
            ("command_line".to_owned(), self.command_line.clone()),
        ]);
        let user = users::name_of(self.uid).map(|user| ("user".to_owned(), user));
        let unit = self.unit.clone().map(|unit| ("unit".to_owned(), unit));
        let sha256 = self.sha256.get().cloned().and_then(Result::ok);
        facts.extend(user);
        facts.extend(unit);
        facts.extend(sha256.map(|sha256| ("sha256".to_owned(), sha256)));
        facts
    }
}

/// Whether an executable may be read whole for its digest.
#[derive(Debug, Clone, Copy)]
pub(super) enum Hashing<'a> {
    /// No: only digests that are known from before.
    Remembered(&'a Digests),
    /// Yes: it is this one's turn.
    Allowed(&'a Digests),
}

impl Hashing<'_> {
    /// The digest, or why it cannot be had; `None` if the file would have to be read and may not.
    fn digest(self, file: &File) -> Option<Result<String, String>> {
        match self {
            Hashing::Remembered(digests) => digests.remembered(file).ok().flatten().map(Ok),
            Hashing::Allowed(digests) => Some(digests.sha256(file).map_err(|e| e.to_string())),
        }
    }
}

/// Why there is no digest.
#[derive(Debug, Clone, Copy)]
pub(super) enum Undigested<'a> {
    /// It would have to be read, and it is not its turn.
    Unread,
    /// It cannot be read.
    Unreadable(&'a str),
}

/// (device, inode).
pub(super) fn identity(file: &File) -> io::Result<(u64, u64)> {
    file.metadata().map(|meta| (meta.dev(), meta.ino()))
}

fn refusal(nearest: &str) -> AttestRefusal {
    AttestRefusal::NoRule {
        nearest: nearest.to_owned(),
    }
}

/// What `/proc` refuses is another user's process, or one that is gone.
fn unreadable(error: io::Error) -> AttestRefusal {
    if error.kind() == io::ErrorKind::NotFound || error.raw_os_error() == Some(ESRCH) {
        AttestRefusal::Gone
    } else {
        AttestRefusal::Unreadable(format!(
            "{error}; the authority must run as root or as the agent's own user"
        ))
    }
}

/// Arguments for the record, in one line of bounded length.
fn command_line(raw: &str) -> String {
    let shown = raw.trim_end_matches('\0').chars().take(MAX_COMMAND_LINE);
    shown
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect()
}

/// The lines of `/proc/<pid>/status` that count here (proc(5)).
struct Status {
    /// Real, effective, saved, file system.
    uids: [u32; 4],
    groups: Vec<u32>,
}

impl Status {
    fn parse(text: &str) -> Option<Self> {
        let numbers = |name: &str| -> Option<Vec<u32>> {
            let line = text.lines().find_map(|line| line.strip_prefix(name))?;
            let numbers = line.split_ascii_whitespace().map(str::parse);
            numbers.collect::<Result<_, _>>().ok()
        };
        let mut groups = numbers("Groups:")?;
        groups.extend(numbers("Gid:")?);
        Some(Self {
            uids: numbers("Uid:")?.try_into().ok()?,
            groups,
        })
    }
}

const MAX_COMMAND_LINE: usize = 400;
const ESRCH: i32 = rustix::io::Errno::SRCH.raw_os_error();
