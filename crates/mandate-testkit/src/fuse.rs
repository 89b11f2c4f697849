//! File systems of our own: FUSE with `/dev/fuse` and nothing else.
//!
//! Mounting needs root, of the machine or of a user namespace. Where it is not permitted, a test says
//! so and passes.

pub(crate) mod wire;

use std::ffi::CString;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::AsRawFd;
use std::path::Path;

use rustix::io::Errno;
use rustix::mount::{MountFlags, UnmountFlags};

use wire::{Operation, Request};

/// What answers the kernel.
pub(crate) trait FileSystem: Send + 'static {
    /// Answers one request.
    fn answer(&mut self, request: &Request<'_>) -> Result<Vec<u8>, Errno>;
}

/// Mounts a file system named `name` at `at`, and serves it until it is unmounted; `None`, said aloud,
/// where that is not permitted.
pub(crate) fn mount(name: &str, at: &Path, system: impl FileSystem) -> Option<()> {
    let device = OpenOptions::new().read(true).write(true).open("/dev/fuse");
    let mounted = device.and_then(|device| {
        let fd = device.as_raw_fd();
        let options =
            format!("fd={fd},rootmode=40000,user_id=0,group_id=0,allow_other,default_permissions");
        let options = CString::new(options)?;
        let flags = MountFlags::NOSUID | MountFlags::NODEV;
        rustix::mount::mount(name, at, "fuse", flags, Some(options.as_c_str()))?;
        Ok(device)
    });
    let Ok(device) = mounted else {
        println!("skipped: mounting with FUSE is not permitted here");
        return None;
    };
    std::thread::spawn(move || serve(system, device));
    Some(())
}

/// Lazily: whoever is tested may have files open still, and those are served until they are closed.
pub(crate) fn unmount(at: &Path) {
    // Where it is none any more there is nothing to do.
    let _ = rustix::mount::unmount(at, UnmountFlags::DETACH);
}

fn serve(mut system: impl FileSystem, mut device: File) {
    let mut buffer = vec![0; 1 << 20];
    loop {
        let length = match device.read(&mut buffer) {
            Ok(length) => length,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
            Err(_unmounted) => return,
        };
        let request = Request::parse(&buffer[..length]);
        if matches!(request.operation, Operation::Forget | Operation::Interrupt) {
            continue;
        }
        let answer = system.answer(&request);
        // Whoever asked may have been killed meanwhile.
        drop(device.write(&request.reply(answer)));
    }
}
