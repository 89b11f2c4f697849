//! The kernel's side of FUSE (`linux/fuse.h`, version 7.31): numbers in the machine's own order.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;

use rustix::io::Errno;

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Operation {
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
            // Flush, release and sync of a folder, the end.
            25 | 29 | 30 | 38 => Operation::Done,
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
pub(super) struct Request<'a> {
    pub(super) operation: Operation,
    pub(super) node: u64,
    unique: u64,
    body: &'a [u8],
}

impl<'a> Request<'a> {
    pub(super) fn parse(bytes: &'a [u8]) -> Self {
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

    pub(super) fn body(&self) -> Reader<'a> {
        Reader(self.body)
    }

    /// What a read-only file system refuses.
    pub(super) fn changes_something(&self) -> bool {
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

    pub(super) fn reply(&self, answer: Result<Vec<u8>, Errno>) -> Vec<u8> {
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
pub(super) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub(super) fn u32(&mut self) -> u32 {
        u32::from_ne_bytes(self.take(4).try_into().unwrap())
    }

    pub(super) fn u64(&mut self) -> u64 {
        u64::from_ne_bytes(self.take(8).try_into().unwrap())
    }

    pub(super) fn skip(&mut self, bytes: usize) {
        self.take(bytes);
    }

    /// Up to the zero that ends it.
    pub(super) fn name(&mut self) -> &'a [u8] {
        let end = self.0.iter().position(|byte| *byte == 0).unwrap();
        let name = self.take(end);
        self.skip(1);
        name
    }

    pub(super) fn bytes(&mut self, length: u32) -> &'a [u8] {
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
pub(super) struct Writer(Vec<u8>);

impl Writer {
    pub(super) fn u16(mut self, value: u16) -> Self {
        self.0.extend(value.to_ne_bytes());
        self
    }

    pub(super) fn u32(mut self, value: u32) -> Self {
        self.0.extend(value.to_ne_bytes());
        self
    }

    pub(super) fn u64(mut self, value: u64) -> Self {
        self.0.extend(value.to_ne_bytes());
        self
    }

    pub(super) fn done(self) -> Vec<u8> {
        self.0
    }

    /// `struct fuse_attr`.
    fn attributes(self, node: u64, found: &Metadata) -> Self {
        let seconds = |time: i64| u64::try_from(time).unwrap_or(0);
        let nanos = |time: i64| u32::try_from(time).unwrap_or(0);
        self.u64(node)
            .u64(found.size())
            .u64(found.blocks())
            .u64(seconds(found.atime()))
            .u64(seconds(found.mtime()))
            .u64(seconds(found.ctime()))
            .u32(nanos(found.atime_nsec()))
            .u32(nanos(found.mtime_nsec()))
            .u32(nanos(found.ctime_nsec()))
            .u32(found.mode())
            .u32(u32::try_from(found.nlink()).unwrap())
            .u32(found.uid())
            .u32(found.gid())
            .u32(0)
            .u32(4096)
            .u32(0)
    }
}

/// `struct fuse_init_out`: 7.31, writes of 128 KiB at most.
pub(super) fn init() -> Vec<u8> {
    let head = Writer::default()
        .u32(7)
        .u32(31)
        .u32(128 * 1024)
        .u32(BIG_WRITES);
    let head = head.u16(16).u16(12).u32(128 * 1024).u32(1);
    head.u64(0).u64(0).u64(0).u64(0).u32(0).done()
}

/// `struct fuse_entry_out`, which nothing remembers.
pub(super) fn entry(node: u64, found: &Metadata) -> Vec<u8> {
    let head = Writer::default().u64(node).u64(0).u64(0).u64(0).u64(0);
    head.attributes(node, found).done()
}

/// `struct fuse_attr_out`, which nothing remembers.
pub(super) fn attributes(node: u64, found: &Metadata) -> Vec<u8> {
    let head = Writer::default().u64(0).u64(0);
    head.attributes(node, found).done()
}

/// `struct fuse_statfs_out`: plenty.
pub(super) fn space() -> Vec<u8> {
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
pub(super) fn listed(offset: u64, name: &[u8]) -> Vec<u8> {
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
pub(super) const ACCESS: u32 = 3;
const BIG_WRITES: u32 = 1 << 5;
