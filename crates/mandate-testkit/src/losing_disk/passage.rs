//! What the kernel asks for, done in memory.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::io::Errno;

use super::content::Content;
use super::faults::On;
use super::folder::Folder;
use super::image::{Image, Kind, Node};
use super::{End, Operation as Done, State};
use crate::fuse::FileSystem;
use crate::fuse::wire::{self, Attributes, Operation, Reader, Request, Writer};

type Answer = Result<Vec<u8>, Errno>;

/// What stands between the kernel and the image.
pub(super) struct Passage {
    state: Arc<Mutex<State>>,
    open: HashMap<u64, u64>,
    next_file: u64,
}

impl FileSystem for Passage {
    fn answer(&mut self, request: &Request<'_>) -> Answer {
        let (node, body) = (request.node, &mut request.body());
        match request.operation {
            Operation::Init => Ok(wire::init()),
            Operation::Lookup => self.state().lookup(node, body.name()),
            Operation::Getattr => self.state().attributes(node),
            Operation::Setattr => self.state().set_attributes(node, body),
            Operation::Mkdir => {
                let (mode, _) = (body.u32(), body.u32());
                let folder = Kind::Folder(Folder::default());
                self.state().create(node, body.name(), mode, folder)
            }
            Operation::Unlink | Operation::Rmdir => self.state().remove(node, body.name()),
            Operation::Rename => self.state().rename(node, body, 0),
            Operation::Rename2 => self.state().rename(node, body, 8),
            Operation::Open => {
                self.state().node(node)?;
                Ok(self.keep(node))
            }
            Operation::Create => self.create(node, body),
            Operation::Read => {
                let (file, at, size) = (body.u64(), body.u64(), body.u32());
                let node = self.opened(file)?;
                self.state().read(node, at, size)
            }
            Operation::Write => {
                let (file, at, size) = (body.u64(), body.u64(), body.u32());
                body.skip(20);
                let node = self.opened(file)?;
                self.state().write(node, at, body.bytes(size))
            }
            Operation::Fallocate => {
                let (file, at, length) = (body.u64(), body.u64(), body.u64());
                let (node, mode) = (self.opened(file)?, body.u32());
                self.state().allocate(node, at + length, mode)
            }
            Operation::Fsync | Operation::FsyncFolder => self.state().sync(node),
            Operation::Release => {
                self.open.remove(&body.u64());
                Ok(Vec::new())
            }
            Operation::Readdir => {
                let (_, at, size) = (body.u64(), body.u64(), body.u32());
                self.state().list(node, at, size)
            }
            Operation::Statfs => Ok(wire::space()),
            Operation::Opendir => Ok(Writer::default().u64(0).u64(0).done()),
            Operation::Done => Ok(Vec::new()),
            Operation::Mknod | Operation::Forget | Operation::Interrupt | Operation::Other => {
                Err(Errno::NOSYS)
            }
        }
    }
}

impl Passage {
    pub(super) fn new(state: Arc<Mutex<State>>) -> Self {
        Self {
            state,
            open: HashMap::new(),
            next_file: 1,
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn create(&mut self, folder: u64, body: &mut Reader<'_>) -> Answer {
        let (_, mode, _, _) = (body.u32(), body.u32(), body.u32(), body.u32());
        let name = body.name();
        let (mut reply, node) = {
            let mut state = self.state();
            let content = Kind::File(Content::default());
            let reply = state.create(folder, name, mode, content)?;
            (reply, state.child(folder, name)?)
        };
        reply.extend(self.keep(node));
        Ok(reply)
    }

    fn keep(&mut self, node: u64) -> Vec<u8> {
        let number = self.next_file;
        self.next_file += 1;
        self.open.insert(number, node);
        Writer::default().u64(number).u64(0).done()
    }

    fn opened(&self, file: u64) -> Result<u64, Errno> {
        self.open.get(&file).copied().ok_or(Errno::BADF)
    }
}

/// An operation that is to be done.
struct Intent<'a> {
    what: &'static str,
    on: On,
    path: &'a str,
    at: u64,
    length: u64,
}

impl State {
    /// Counts the operation; whether it fails, and with what. In a disk that has crashed all do.
    fn begin(&mut self, intent: &Intent<'_>) -> Result<u64, (u64, Errno)> {
        self.image.operations += 1;
        let number = self.image.operations;
        if !Image::is_counted(intent.path) {
            return Ok(number);
        }
        if self.crashed {
            return Err((number, Errno::IO));
        }
        if self.goes_on(intent) {
            return Ok(number);
        }
        let counted = self.done.len() as u64;
        let failed = if self.crash_at.is_some_and(|at| counted >= at) {
            self.crashed = true;
            Some((End::Crashed, Errno::IO))
        } else {
            let errno = self.faults.strike(intent.on, intent.path);
            errno.map(|errno| (End::Failed, errno))
        };
        self.done.push(Done {
            number: counted + 1,
            what: intent.what.to_owned(),
            path: intent.path.to_owned(),
            at: intent.at,
            length: intent.length,
            end: failed.map_or(End::Done, |(end, _)| end),
        });
        match failed {
            Some((_, errno)) => Err((number, errno)),
            None => Ok(number),
        }
    }

    /// Whether it goes on where the write before it ended: the kernel parts what one call writes, each time
    /// elsewhere, so that only the first part can be counted.
    fn goes_on(&mut self, intent: &Intent<'_>) -> bool {
        let Some(last) = self.done.last_mut() else {
            return false;
        };
        let goes_on = last.end == End::Done
            && (last.what.as_str(), intent.what) == ("write", "write")
            && last.path == intent.path
            && last.at + last.length == intent.at;
        if goes_on {
            last.length += intent.length;
        }
        goes_on
    }

    fn node(&self, node: u64) -> Result<&Node, Errno> {
        self.image.nodes.get(&node).ok_or(Errno::NOENT)
    }

    fn folder(&mut self, node: u64) -> Result<&mut Folder, Errno> {
        match self.image.nodes.get_mut(&node).map(|node| &mut node.kind) {
            Some(Kind::Folder(folder)) => Ok(folder),
            Some(Kind::File(_)) => Err(Errno::NOTDIR),
            None => Err(Errno::NOENT),
        }
    }

    fn content(&mut self, node: u64) -> Result<&mut Content, Errno> {
        match self.image.nodes.get_mut(&node).map(|node| &mut node.kind) {
            Some(Kind::File(content)) => Ok(content),
            Some(Kind::Folder(_)) => Err(Errno::ISDIR),
            None => Err(Errno::NOENT),
        }
    }

    fn child(&mut self, folder: u64, name: &[u8]) -> Result<u64, Errno> {
        self.folder(folder)?.get(name).ok_or(Errno::NOENT)
    }

    fn path(&self, node: u64) -> Result<String, Errno> {
        Ok(self.node(node)?.path.clone())
    }

    fn path_of(&self, folder: u64, name: &[u8]) -> Result<String, Errno> {
        let name = String::from_utf8_lossy(name);
        Ok(match self.path(folder)? {
            path if path.is_empty() => name.into_owned(),
            path => format!("{path}/{name}"),
        })
    }

    fn seen(&self, node: u64) -> Result<Attributes, Errno> {
        let found = self.node(node)?;
        let (kind, size, links) = match &found.kind {
            Kind::File(content) => (0o100_000, content.bytes().len() as u64, 1),
            Kind::Folder(_) => (0o040_000, 0, 2),
        };
        Ok(Attributes {
            size,
            mode: kind | found.mode & 0o7777,
            links,
            user: 0,
            group: 0,
            times: [(0, 0); 3],
        })
    }

    fn lookup(&mut self, folder: u64, name: &[u8]) -> Answer {
        let node = self.child(folder, name)?;
        Ok(wire::entry(node, &self.seen(node)?))
    }

    fn attributes(&self, node: u64) -> Answer {
        Ok(wire::attributes(node, &self.seen(node)?))
    }

    fn set_attributes(&mut self, node: u64, body: &mut Reader<'_>) -> Answer {
        let (valid, _, _, size) = (body.u32(), body.u32(), body.u64(), body.u64());
        body.skip(44);
        let mode = body.u32();
        if valid & 8 != 0 {
            self.set_length(node, size)?;
        }
        if valid & 1 != 0 {
            let found = self.image.nodes.get_mut(&node).ok_or(Errno::NOENT)?;
            // Permissions are durable at once: nothing here rests on that they are not.
            found.mode = mode & 0o7777;
        }
        self.attributes(node)
    }

    fn set_length(&mut self, node: u64, length: u64) -> Result<(), Errno> {
        let path = self.path(node)?;
        let number = self.attempt(&Intent {
            what: "length",
            on: On::Writes,
            path: &path,
            at: 0,
            length,
        })?;
        let length = usize::try_from(length).unwrap();
        self.content(node)?.set_length(number, length);
        Ok(())
    }

    /// An operation of which nothing happens if it fails.
    fn attempt(&mut self, intent: &Intent<'_>) -> Result<u64, Errno> {
        self.begin(intent).map_err(|(_, errno)| errno)
    }

    fn name(&mut self, what: &'static str, path: &str) -> Result<u64, Errno> {
        self.attempt(&Intent {
            what,
            on: On::Names,
            path,
            at: 0,
            length: 0,
        })
    }

    fn create(&mut self, folder: u64, name: &[u8], mode: u32, kind: Kind) -> Answer {
        if self.folder(folder)?.get(name).is_some() {
            return Err(Errno::EXIST);
        }
        let path = self.path_of(folder, name)?;
        let number = self.name("create", &path)?;
        let node = self.image.next;
        self.image.next += 1;
        let mode = mode & 0o7777;
        self.image.nodes.insert(node, Node { mode, path, kind });
        self.folder(folder)?.put(number, name, node);
        self.lookup(folder, name)
    }

    fn remove(&mut self, folder: u64, name: &[u8]) -> Answer {
        let node = self.child(folder, name)?;
        if let Kind::Folder(inner) = &self.node(node)?.kind
            && !inner.names().is_empty()
        {
            return Err(Errno::NOTEMPTY);
        }
        let path = self.path_of(folder, name)?;
        let number = self.name("remove", &path)?;
        self.folder(folder)?.take(number, name);
        Ok(Vec::new())
    }

    /// Within a folder; from one to another it would be two changes, which nobody here asks for.
    fn rename(&mut self, folder: u64, body: &mut Reader<'_>, more: usize) -> Answer {
        let to_folder = body.u64();
        body.skip(more);
        let (from, to) = (body.name(), body.name());
        if to_folder != folder {
            return Err(Errno::XDEV);
        }
        let node = self.child(folder, from)?;
        let path = self.path_of(folder, to)?;
        let number = self.name("rename", &path)?;
        self.folder(folder)?.rename(number, from, to, node);
        if let Some(moved) = self.image.nodes.get_mut(&node) {
            moved.path = path;
        }
        Ok(Vec::new())
    }

    fn read(&mut self, node: u64, at: u64, size: u32) -> Answer {
        let bytes = self.content(node)?.bytes();
        let begin = usize::try_from(at).unwrap().min(bytes.len());
        let end = (begin + usize::try_from(size).unwrap()).min(bytes.len());
        Ok(bytes[begin..end].to_vec())
    }

    /// One that fails may have written the first part.
    fn write(&mut self, node: u64, at: u64, bytes: &[u8]) -> Answer {
        let path = self.path(node)?;
        let begun = self.begin(&Intent {
            what: "write",
            on: On::Writes,
            path: &path,
            at,
            length: bytes.len() as u64,
        });
        let (number, length, errno) = match begun {
            Ok(number) => (number, bytes.len(), None),
            Err((_, errno)) if self.crashed => return Err(errno),
            Err((number, errno)) => {
                let length = self.faults.random().below(bytes.len() as u64 + 1);
                (number, usize::try_from(length).unwrap(), Some(errno))
            }
        };
        let at = usize::try_from(at).unwrap();
        if length > 0 {
            self.content(node)?.write(number, at, &bytes[..length]);
        }
        match errno {
            Some(errno) => Err(errno),
            None => Ok(Writer::default()
                .u32(u32::try_from(bytes.len()).unwrap())
                .u32(0)
                .done()),
        }
    }

    fn allocate(&mut self, node: u64, end: u64, mode: u32) -> Answer {
        if mode != 0 {
            return Err(Errno::OPNOTSUPP);
        }
        if self.content(node)?.bytes().len() < usize::try_from(end).unwrap() {
            self.set_length(node, end)?;
        }
        Ok(Vec::new())
    }

    /// One that fails has happened, or has lost what was to be synced.
    fn sync(&mut self, node: u64) -> Answer {
        let mut path = self.path(node)?;
        if matches!(self.node(node)?.kind, Kind::Folder(_)) {
            path.push('/');
        }
        let begun = self.begin(&Intent {
            what: "sync",
            on: On::Syncs,
            path: &path,
            at: 0,
            length: 0,
        });
        if self.ignores_sync_of(&path) {
            return begun.map(|_| Vec::new()).map_err(|(_, errno)| errno);
        }
        let happens = match begun {
            Ok(_) => true,
            Err(_) if self.crashed => false,
            Err(_) => self.faults.random().chance(1, 2),
        };
        let lost = !happens && !self.crashed;
        match self.image.nodes.get_mut(&node).map(|node| &mut node.kind) {
            Some(Kind::File(content)) if happens => content.sync(),
            Some(Kind::File(content)) if lost => content.lose_what_is_pending(),
            Some(Kind::Folder(folder)) if happens => folder.sync(),
            Some(Kind::File(_) | Kind::Folder(_)) | None => {}
        }
        begun.map(|_| Vec::new()).map_err(|(_, errno)| errno)
    }

    fn ignores_sync_of(&self, path: &str) -> bool {
        let named = |part: &String| {
            if part.ends_with('/') {
                path == part
            } else {
                path.contains(part)
            }
        };
        self.ignored.iter().any(named)
    }

    fn list(&mut self, node: u64, at: u64, size: u32) -> Answer {
        let names = self.folder(node)?.names();
        let mut listed = Vec::new();
        for (index, name) in names.keys().enumerate().skip(usize::try_from(at).unwrap()) {
            let entry = wire::listed(index as u64 + 1, name);
            if listed.len() + entry.len() > usize::try_from(size).unwrap() {
                break;
            }
            listed.extend(entry);
        }
        Ok(listed)
    }
}
