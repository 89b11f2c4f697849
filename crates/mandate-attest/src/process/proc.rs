//! Reading `/proc`.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

use mandate_ports::{AttestRefusal, PeerProcess};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{AtFlags, Mode, OFlags, open, openat, readlinkat, statat};

/// The `/proc` folder of one process, held open: once that process is gone, reads through it fail,
/// whoever has the pid by then.
pub(super) struct ProcDir(OwnedFd);

impl ProcDir {
    /// The folder of `peer`, if the pid still means the process that the pidfd refers to.
    pub(super) fn of(peer: &PeerProcess) -> Result<Self, AttestRefusal> {
        let path = format!("/proc/{}", peer.pid);
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let dir = open(path, flags, Mode::empty()).map_err(|_| AttestRefusal::Gone)?;
        check_alive(peer)?;
        // Both were stamped on the socket together; this holds unless the caller mixed two up.
        if pid_of(peer)? != Some(peer.pid) {
            let reason = "the pidfd refers to another process than the pid";
            return Err(AttestRefusal::Unreadable(reason.to_owned()));
        }
        Ok(Self(dir))
    }

    /// A file's whole text; what is not UTF-8 is replaced.
    pub(super) fn text(&self, name: &str) -> io::Result<String> {
        let file = openat(
            &self.0,
            name,
            OFlags::RDONLY | OFlags::CLOEXEC,
            Mode::empty(),
        )?;
        let mut bytes = Vec::new();
        File::from(file).take(MAX_TEXT).read_to_end(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// What a link points to, as text for people.
    pub(super) fn link(&self, name: &str) -> io::Result<String> {
        let target = readlinkat(&self.0, name, Vec::new())?;
        Ok(target.to_string_lossy().into_owned())
    }

    /// The file behind `exe`, without reading it.
    pub(super) fn executable(&self) -> io::Result<File> {
        let file = openat(
            &self.0,
            "exe",
            OFlags::PATH | OFlags::CLOEXEC,
            Mode::empty(),
        )?;
        Ok(File::from(file))
    }

    pub(super) fn namespaces(&self) -> io::Result<Namespaces> {
        let id = |name| {
            let stat = statat(&self.0, name, AtFlags::empty())?;
            Ok::<_, io::Error>((stat.st_dev, stat.st_ino))
        };
        Ok(Namespaces {
            mount: id("ns/mnt")?,
            user: id("ns/user")?,
        })
    }

    /// When it started, in ticks since boot: field 22 of `stat` (proc(5)).
    pub(super) fn start_time(&self) -> io::Result<u64> {
        let stat = self.text("stat")?;
        // The name in parentheses may contain anything, spaces and parentheses too.
        let fields = stat.rsplit_once(')').map(|(_, fields)| fields);
        let field = fields.and_then(|fields| fields.split_ascii_whitespace().nth(19));
        field
            .and_then(|ticks| ticks.parse().ok())
            .ok_or_else(|| io::Error::other("`stat` has no start time"))
    }
}

/// The namespaces in which a path and a user mean what they mean here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Namespaces {
    mount: (u64, u64),
    user: (u64, u64),
}

impl Namespaces {
    /// Those of this process.
    pub(super) fn own() -> io::Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        ProcDir(open("/proc/self", flags, Mode::empty())?).namespaces()
    }
}

/// A pidfd becomes readable when its process ends (pidfd_open(2)).
pub(super) fn check_alive(peer: &PeerProcess) -> Result<(), AttestRefusal> {
    let mut fds = [PollFd::new(&peer.pidfd, PollFlags::IN)];
    match poll(&mut fds, Some(&Timespec::default())) {
        Ok(0) => Ok(()),
        Ok(_) => Err(AttestRefusal::Gone),
        Err(error) => Err(AttestRefusal::Unreadable(error.to_string())),
    }
}

/// The pid of a pidfd's process; `None` if it is gone.
fn pid_of(peer: &PeerProcess) -> Result<Option<i32>, AttestRefusal> {
    let fd: BorrowedFd<'_> = std::os::fd::AsFd::as_fd(&peer.pidfd);
    let path = format!("/proc/self/fdinfo/{}", fd.as_raw_fd());
    let text =
        std::fs::read_to_string(path).map_err(|e| AttestRefusal::Unreadable(e.to_string()))?;
    let pid = text.lines().find_map(|line| line.strip_prefix("Pid:"));
    let pid = pid.and_then(|pid| pid.trim().parse().ok());
    Ok(pid.filter(|pid| *pid > 0))
}

const MAX_TEXT: u64 = 64 << 10;
