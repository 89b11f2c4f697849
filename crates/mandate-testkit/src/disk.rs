//! Disks of their own for stores and servers: full, read-only, and well again.
//!
//! Mounting needs root. Where it is not permitted, a test says so and passes; what it tries is tested
//! everywhere with errors that are raised in the disk's stead.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

/// A small tmpfs.
#[derive(Debug)]
pub struct Disk(TempDir);

impl Disk {
    /// A new one of so many mebibytes; `None`, said aloud, where that is not permitted.
    pub fn mount(mebibytes: u32) -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o"])
            .arg(format!("size={mebibytes}m,mode=755"))
            .arg("tmpfs")
            .arg(folder.path())
            .output();
        if mounted.is_ok_and(|output| output.status.success()) {
            return Some(Self(folder));
        }
        println!("skipped: mounting a tmpfs is not permitted here");
        None
    }

    /// Where it is mounted.
    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// `ro` or `rw`. The system refuses `ro` while a file on it is open for writing.
    pub fn remount(&self, mode: &str) {
        let mount = Command::new("mount")
            .args(["-o", &format!("remount,{mode}")])
            .arg(self.path())
            .status();
        assert!(mount.unwrap().success());
    }

    /// Takes all space that is left, until the answer is dropped.
    pub fn fill(&self) -> Filling {
        let path = self.path().join("filling");
        let mut file = std::fs::File::create(&path).unwrap();
        for size in [1 << 20, 4096] {
            let chunk = vec![1_u8; size];
            while file.write_all(&chunk).is_ok() {}
        }
        Filling(path)
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Lazily: whoever is tested may have files open still.
        drop(Command::new("umount").arg("-l").arg(self.path()).status());
    }
}

/// What takes all space.
#[derive(Debug)]
pub struct Filling(PathBuf);

impl Drop for Filling {
    fn drop(&mut self) {
        drop(std::fs::remove_file(&self.0));
    }
}
