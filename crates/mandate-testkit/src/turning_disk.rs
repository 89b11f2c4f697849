//! A disk that turns read-only under those who have files open on it, as the system does to one that
//! fails, and is well again.
//!
//! `mount -o remount,ro` cannot: it is refused while a file is open for writing, and a store always
//! has one. So this is a file system of its own (`fuse`) that hands
//! everything on to a folder, and answers `EROFS` to whatever would change it while it is told to.
//! Whoever is tested sees the kernel's word for it, on open files and new ones.
//!
//! Mounting needs root. Where it is not permitted, a test says so and passes.

mod node;

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{CWD, FallocateFlags, FileType, Mode};
use rustix::io::Errno;
use tempfile::TempDir;

use crate::fuse::wire::{Operation, Reader, Request, Writer};
use crate::fuse::{self, FileSystem, wire};
use node::Nodes;

/// The disk.
#[derive(Debug)]
pub struct TurningDisk {
    mounted: TempDir,
    /// What is handed on to.
    _behind: TempDir,
    read_only: Arc<AtomicBool>,
}

impl TurningDisk {
    /// A new one, writable; `None`, said aloud, where that is not permitted.
    pub fn mount() -> Option<Self> {
        let (mounted, behind) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        std::fs::set_permissions(behind.path(), PermissionsExt::from_mode(0o755)).unwrap();
        let read_only = Arc::new(AtomicBool::new(false));
        let passage = Passage {
            nodes: Nodes::new(behind.path()),
            files: HashMap::new(),
            next_file: 1,
            read_only: Arc::clone(&read_only),
        };
        fuse::mount("turning", mounted.path(), passage)?;
        Some(Self {
            mounted,
            _behind: behind,
            read_only,
        })
    }

    /// Where it is mounted.
    pub fn path(&self) -> &Path {
        self.mounted.path()
    }

    /// From now on nothing can be changed.
    pub fn turn_read_only(&self) {
        self.read_only.store(true, Ordering::SeqCst);
    }

    /// All is well again.
    pub fn turn_writable(&self) {
        self.read_only.store(false, Ordering::SeqCst);
    }
}

impl Drop for TurningDisk {
    fn drop(&mut self) {
        fuse::unmount(self.path());
    }
}

/// What stands between the kernel and the folder.
struct Passage {
    nodes: Nodes,
    files: HashMap<u64, File>,
    next_file: u64,
    read_only: Arc<AtomicBool>,
}

impl FileSystem for Passage {
    fn answer(&mut self, request: &Request<'_>) -> Result<Vec<u8>, Errno> {
        if request.changes_something() && self.read_only.load(Ordering::SeqCst) {
            return Err(Errno::ROFS);
        }
        let done = self.perform(request);
        done.map_err(|e| Errno::from_io_error(&e).unwrap_or(Errno::IO))
    }
}

impl Passage {
    fn perform(&mut self, request: &Request<'_>) -> io::Result<Vec<u8>> {
        let (node, body) = (request.node, &mut request.body());
        match request.operation {
            Operation::Init => Ok(wire::init()),
            Operation::Lookup => {
                let path = self.nodes.child(node, body.name())?;
                self.nodes.entry(&path)
            }
            Operation::Getattr => self.attributes(node, body),
            Operation::Setattr => self.set_attributes(node, body),
            Operation::Mknod => self.make_node(node, body),
            Operation::Mkdir => self.make_folder(node, body),
            Operation::Unlink => self.remove(node, body, |path| std::fs::remove_file(path)),
            Operation::Rmdir => self.remove(node, body, |path| std::fs::remove_dir(path)),
            Operation::Rename => self.rename(node, body, 0),
            Operation::Rename2 => self.rename(node, body, 8),
            Operation::Open => {
                let file = opened(&self.nodes.path(node)?, body.u32())?;
                Ok(self.keep(file))
            }
            Operation::Create => self.create(node, body),
            Operation::Read => self.read(body),
            Operation::Write => self.write(body),
            Operation::Fallocate => self.allocate(body),
            Operation::Fsync => self.file(body.u64())?.sync_all().map(|()| Vec::new()),
            Operation::Release => {
                self.files.remove(&body.u64());
                Ok(Vec::new())
            }
            Operation::Readdir => {
                let (_, offset, size) = (body.u64(), body.u64(), body.u32());
                self.nodes.list(node, offset, size)
            }
            Operation::Statfs => Ok(wire::space()),
            Operation::Opendir => Ok(Writer::default().u64(0).u64(0).done()),
            Operation::Done | Operation::FsyncFolder => Ok(Vec::new()),
            Operation::Forget | Operation::Interrupt | Operation::Other => Err(Errno::NOSYS.into()),
        }
    }

    fn attributes(&self, node: u64, body: &mut Reader<'_>) -> io::Result<Vec<u8>> {
        let (flags, _, file) = (body.u32(), body.u32(), body.u64());
        let open = (flags & 1 == 1).then(|| self.files.get(&file)).flatten();
        let found = match open {
            Some(file) => file.metadata()?,
            None => std::fs::symlink_metadata(self.nodes.path(node)?)?,
        };
        Ok(wire::attributes(node, &(&found).into()))
    }

    fn make_node(&mut self, node: u64, body: &mut Reader<'_>) -> io::Result<Vec<u8>> {
        let mode = body.u32();
        body.skip(12);
        let path = self.nodes.child(node, body.name())?;
        let kind = FileType::from_raw_mode(mode);
        rustix::fs::mknodat(CWD, &path, kind, Mode::from_raw_mode(mode & 0o7777), 0)?;
        self.nodes.entry(&path)
    }

    fn make_folder(&mut self, node: u64, body: &mut Reader<'_>) -> io::Result<Vec<u8>> {
        let (mode, _) = (body.u32(), body.u32());
        let path = self.nodes.child(node, body.name())?;
        let mut folder = std::fs::DirBuilder::new();
        folder.mode(mode & 0o7777).create(&path)?;
        self.nodes.entry(&path)
    }

    fn remove(
        &mut self,
        node: u64,
        body: &mut Reader<'_>,
        remove: impl FnOnce(&Path) -> io::Result<()>,
    ) -> io::Result<Vec<u8>> {
        let path = self.nodes.child(node, body.name())?;
        self.nodes.forget(&path);
        remove(&path).map(|()| Vec::new())
    }

    fn create(&mut self, node: u64, body: &mut Reader<'_>) -> io::Result<Vec<u8>> {
        let (_, mode, _, _) = (body.u32(), body.u32(), body.u32(), body.u32());
        let path = self.nodes.child(node, body.name())?;
        let mut options = OpenOptions::new();
        options
            .read(true)
            .write(true)
            .create(true)
            .mode(mode & 0o7777);
        let file = options.open(&path)?;
        let mut reply = self.nodes.entry(&path)?;
        reply.extend(self.keep(file));
        Ok(reply)
    }

    fn read(&self, body: &mut Reader<'_>) -> io::Result<Vec<u8>> {
        let (file, offset, size) = (body.u64(), body.u64(), body.u32());
        let mut bytes = vec![0; usize::try_from(size).unwrap()];
        let length = self.file(file)?.read_at(&mut bytes, offset)?;
        bytes.truncate(length);
        Ok(bytes)
    }

    fn write(&self, body: &mut Reader<'_>) -> io::Result<Vec<u8>> {
        let (file, offset, size) = (body.u64(), body.u64(), body.u32());
        body.skip(20);
        self.file(file)?.write_all_at(body.bytes(size), offset)?;
        Ok(Writer::default().u32(size).u32(0).done())
    }

    fn allocate(&self, body: &mut Reader<'_>) -> io::Result<Vec<u8>> {
        let (file, offset, length) = (body.u64(), body.u64(), body.u64());
        let mode = FallocateFlags::from_bits_retain(body.u32());
        rustix::fs::fallocate(self.file(file)?, mode, offset, length)?;
        Ok(Vec::new())
    }

    /// Size and mode; nothing here asks for others.
    fn set_attributes(&self, node: u64, body: &mut Reader<'_>) -> io::Result<Vec<u8>> {
        let (valid, _, file, size) = (body.u32(), body.u32(), body.u64(), body.u64());
        body.skip(44);
        let mode = body.u32();
        let path = || self.nodes.path(node);
        let open = (valid & 64 != 0).then(|| self.files.get(&file)).flatten();
        if valid & 8 != 0 {
            match open {
                Some(file) => file.set_len(size)?,
                None => opened(&path()?, wire::ACCESS)?.set_len(size)?,
            }
        }
        if valid & 1 != 0 {
            let permissions = PermissionsExt::from_mode(mode & 0o7777);
            match open {
                Some(file) => file.set_permissions(permissions)?,
                None => std::fs::set_permissions(path()?, permissions)?,
            }
        }
        let found = match open {
            Some(file) => file.metadata()?,
            None => std::fs::symlink_metadata(path()?)?,
        };
        Ok(wire::attributes(node, &(&found).into()))
    }

    fn rename(&mut self, node: u64, body: &mut Reader<'_>, more: usize) -> io::Result<Vec<u8>> {
        let to_folder = body.u64();
        body.skip(more);
        let from = self.nodes.child(node, body.name())?;
        let to = self.nodes.child(to_folder, body.name())?;
        self.nodes.forget(&to);
        std::fs::rename(&from, &to)?;
        self.nodes.moved(&from, &to);
        Ok(Vec::new())
    }

    fn keep(&mut self, file: File) -> Vec<u8> {
        let number = self.next_file;
        self.next_file += 1;
        self.files.insert(number, file);
        Writer::default().u64(number).u64(0).done()
    }

    fn file(&self, number: u64) -> io::Result<&File> {
        self.files.get(&number).ok_or_else(|| Errno::BADF.into())
    }
}

fn opened(path: &Path, flags: u32) -> io::Result<File> {
    let writes = flags & wire::ACCESS != 0;
    OpenOptions::new().read(true).write(writes).open(path)
}

fn joined(folder: &Path, name: &[u8]) -> PathBuf {
    folder.join(OsStr::from_bytes(name))
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::os::unix::net::{UnixListener, UnixStream};

    use super::*;

    fn is_read_only(tried: io::Result<impl Sized>) -> bool {
        tried.is_err_and(|e| e.kind() == io::ErrorKind::ReadOnlyFilesystem)
    }

    #[test]
    fn open_files_and_new_ones_meet_the_same_refusal_and_go_on_after_it() {
        let Some(disk) = TurningDisk::mount() else {
            return;
        };
        let at = |name: &str| disk.path().join(name);
        let file = File::create(at("first")).unwrap();
        file.write_all_at(b"before", 0).unwrap();
        disk.turn_read_only();
        assert!(is_read_only(file.write_all_at(b"meanwhile", 0)));
        assert!(is_read_only(File::create(at("second"))));
        assert!(is_read_only(std::fs::rename(at("first"), at("third"))));
        assert!(is_read_only(std::fs::remove_file(at("first"))));
        assert!(is_read_only(
            OpenOptions::new().write(true).open(at("first"))
        ));
        assert_eq!(std::fs::read(at("first")).unwrap(), b"before");
        disk.turn_writable();
        file.write_all_at(b"after ", 0).unwrap();
        std::fs::rename(at("first"), at("third")).unwrap();
        file.sync_all().unwrap();
        assert_eq!(std::fs::read(at("third")).unwrap(), b"after ");
    }

    #[test]
    fn folders_and_sockets_are_those_of_any_file_system() {
        let Some(disk) = TurningDisk::mount() else {
            return;
        };
        let folder = disk.path().join("run");
        std::fs::create_dir(&folder).unwrap();
        let socket = folder.join("a.sock");
        let listener = UnixListener::bind(&socket).unwrap();
        let mut asking = UnixStream::connect(&socket).unwrap();
        asking.write_all(b"x").unwrap();
        let mut byte = [0];
        listener.accept().unwrap().0.read_exact(&mut byte).unwrap();
        assert_eq!(&byte, b"x");
        let names: Vec<_> = std::fs::read_dir(&folder).unwrap().flatten().collect();
        assert_eq!(names.len(), 1);
        std::fs::remove_file(&socket).unwrap();
        std::fs::remove_dir(&folder).unwrap();
    }
}
