//! The kernel's side of FUSE (`linux/fuse.h`, version 7.31): numbers in the machine's own order.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;

use rustix::io::Errno;

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Operation {
    Init,
    Lookup,
    Getattr,
    Setattr,
    Mknod,
    Mkdir,
    Unlink,
    Rmdir,
    Rename,
    Rename2,
    Open,
    Create,
    Read,
    Write,
    Fallocate,
    Fsync,
    FsyncFolder,
    Release,
    Opendir,
    Readdir,
    Statfs,
    Forget,
    Interrupt,
    /// Nothing has to be done for it.
    Done,
    /// The kernel does without.
    Other,
}

impl Operation {
    fn of(code: u32) -> Self {
        match code {
            1 => Operation::Lookup,
            2 | 42 => Operation::Forget,
            3 => Operation::Getattr,
            4 => Operation::Setattr,
            8 => Operation::Mknod,
            9 => Operation::Mkdir,
            10 => Operation::Unlink,
            11 => Operation::Rmdir,
            12 => Operation::Rename,
            14 => Operation::Open,
            15 => Operation::Read,
            16 => Operation::Write,
            17 => Operation::Statfs,
            18 => Operation::Release,
            20 => Operation::Fsync,
            30 => Operation::FsyncFolder,
            // Flush, release of a folder, the end.
            25 | 29 | 38 => Operation::Done,
            26 => Operation::Init,
            27 => Operation::Opendir,
            28 => Operation::Readdir,
            35 => Operation::Create,
            36 => Operation::Interrupt,
            43 => Operation::Fallocate,
            45 => Operation::Rename2,
            _ => Operation::Other,
        }
    }
}

/// One request.
pub(crate) struct Request<'a> {
    pub(crate) operation: Operation,
    pub(crate) node: u64,
    unique: u64,
    body: &'a [u8],
}

impl<'a> Request<'a> {
    pub(crate) fn parse(bytes: &'a [u8]) -> Self {
        let (head, body) = bytes.split_at(40);
        let mut head = Reader(head);
        let _length = head.u32();
        Self {
            operation: Operation::of(head.u32()),
            unique: head.u64(),
            node: head.u64(),
            body,
        }
    }

    pub(crate) fn body(&self) -> Reader<'a> {
        Reader(self.body)
    }

    /// What a read-only file system refuses.
    pub(crate) fn changes_something(&self) -> bool {
        match self.operation {
            Operation::Setattr
            | Operation::Mknod
            | Operation::Mkdir
            | Operation::Unlink
            | Operation::Rmdir
            | Operation::Rename
            | Operation::Rename2
            | Operation::Create
            | Operation::Write
            | Operation::Fallocate => true,
            Operation::Open => self.body().u32() & ACCESS != 0,
            Operation::Init
            | Operation::Lookup
            | Operation::Getattr
            | Operation::Read
            | Operation::Fsync
            | Operation::FsyncFolder
            | Operation::Release
            | Operation::Opendir
            | Operation::Readdir
            | Operation::Statfs
            | Operation::Forget
            | Operation::Interrupt
            | Operation::Done
            | Operation::Other => false,
        }
    }

    pub(crate) fn reply(&self, answer: Result<Vec<u8>, Errno>) -> Vec<u8> {
        let (error, body) = match answer {
            Ok(body) => (0, body),
            Err(errno) => (-errno.raw_os_error(), Vec::new()),
        };
        let mut bytes = u32::try_from(16 + body.len())
            .unwrap()
            .to_ne_bytes()
            .to_vec();
        bytes.extend(error.to_ne_bytes());
        bytes.extend(self.unique.to_ne_bytes());
        bytes.extend(body);
        bytes
    }
}

/// Reads one value after another.
pub(crate) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub(crate) fn u32(&mut self) -> u32 {
        u32::from_ne_bytes(self.take(4).try_into().unwrap())
    }

    pub(crate) fn u64(&mut self) -> u64 {
        u64::from_ne_bytes(self.take(8).try_into().unwrap())
    }

    pub(crate) fn skip(&mut self, bytes: usize) {
        self.take(bytes);
    }

    /// Up to the zero that ends it.
    pub(crate) fn name(&mut self) -> &'a [u8] {
        let end = self.0.iter().position(|byte| *byte == 0).unwrap();
        let name = self.take(end);
        self.skip(1);
        name
    }

    pub(crate) fn bytes(&mut self, length: u32) -> &'a [u8] {
        self.take(usize::try_from(length).unwrap())
    }

    fn take(&mut self, length: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(length);
        self.0 = rest;
        taken
    }
}

/// Writes one value after another.
#[derive(Default)]
pub(crate) struct Writer(Vec<u8>);

impl Writer {
    pub(crate) fn u16(mut self, value: u16) -> Self {
        self.0.extend(value.to_ne_bytes());
        self
    }

    pub(crate) fn u32(mut self, value: u32) -> Self {
        self.0.extend(value.to_ne_bytes());
        self
    }

    pub(crate) fn u64(mut self, value: u64) -> Self {
        self.0.extend(value.to_ne_bytes());
        self
    }

    pub(crate) fn done(self) -> Vec<u8> {
        self.0
    }

    /// `struct fuse_attr`.
    fn attributes(self, node: u64, found: &Attributes) -> Self {
        let seconds = |time: (i64, i64)| u64::try_from(time.0).unwrap_or(0);
        let nanos = |time: (i64, i64)| u32::try_from(time.1).unwrap_or(0);
        let [accessed, modified, changed] = found.times;
        self.u64(node)
            .u64(found.size)
            .u64(found.size.div_ceil(512))
            .u64(seconds(accessed))
            .u64(seconds(modified))
            .u64(seconds(changed))
            .u32(nanos(accessed))
            .u32(nanos(modified))
            .u32(nanos(changed))
            .u32(found.mode)
            .u32(found.links)
            .u32(found.user)
            .u32(found.group)
            .u32(0)
            .u32(4096)
            .u32(0)
    }
}

/// What the kernel wants to know of a file.
pub(crate) struct Attributes {
    pub(crate) size: u64,
    pub(crate) mode: u32,
    pub(crate) links: u32,
    pub(crate) user: u32,
    pub(crate) group: u32,
    /// Accessed, modified, changed: seconds and nanoseconds.
    pub(crate) times: [(i64, i64); 3],
}

impl From<&Metadata> for Attributes {
    fn from(found: &Metadata) -> Self {
        Self {
            size: found.size(),
            mode: found.mode(),
            links: u32::try_from(found.nlink()).unwrap(),
            user: found.uid(),
            group: found.gid(),
            times: [
                (found.atime(), found.atime_nsec()),
                (found.mtime(), found.mtime_nsec()),
                (found.ctime(), found.ctime_nsec()),
            ],
        }
    }
}

/// `struct fuse_init_out`: 7.31, writes of 128 KiB at most.
pub(crate) fn init() -> Vec<u8> {
    let head = Writer::default()
        .u32(7)
        .u32(31)
        .u32(128 * 1024)
        .u32(BIG_WRITES);
    let head = head.u16(16).u16(12).u32(128 * 1024).u32(1);
    head.u64(0).u64(0).u64(0).u64(0).u32(0).done()
}

/// `struct fuse_entry_out`, which nothing remembers.
pub(crate) fn entry(node: u64, found: &Attributes) -> Vec<u8> {
    let head = Writer::default().u64(node).u64(0).u64(0).u64(0).u64(0);
    head.attributes(node, found).done()
}

/// `struct fuse_attr_out`, which nothing remembers.
pub(crate) fn attributes(node: u64, found: &Attributes) -> Vec<u8> {
    let head = Writer::default().u64(0).u64(0);
    head.attributes(node, found).done()
}

/// `struct fuse_statfs_out`: plenty.
pub(crate) fn space() -> Vec<u8> {
    let many = 1 << 20;
    let blocks = Writer::default()
        .u64(many)
        .u64(many)
        .u64(many)
        .u64(many)
        .u64(many);
    let sizes = blocks.u32(4096).u32(255).u32(4096).u32(0);
    sizes.u64(0).u64(0).u64(0).done()
}

/// `struct fuse_dirent`.
pub(crate) fn listed(offset: u64, name: &[u8]) -> Vec<u8> {
    let length = u32::try_from(name.len()).unwrap();
    let head = Writer::default()
        .u64(u64::MAX)
        .u64(offset)
        .u32(length)
        .u32(0);
    let mut entry = head.done();
    entry.extend(name);
    entry.resize(entry.len().next_multiple_of(8), 0);
    entry
}

/// The bits of `open`'s flags that say what is done with the file; zero is reading.
pub(crate) const ACCESS: u32 = 3;
const BIG_WRITES: u32 = 1 << 5;
