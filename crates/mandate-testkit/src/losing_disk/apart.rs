//! Losing disks that a process of their own serves: for whoever maps files of theirs.
//!
//! The process is the test program itself, started once more for one test, which calls
//! [`serve_if_asked`] and returns. It ends when the connection to it does.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::{Fate, Fault, Image, LosingDisk, Operation};

#[derive(Debug, Serialize, Deserialize)]
enum Order {
    Mount { image: Option<u64>, seed: u64 },
    Unmount { disk: u64 },
    State { disk: u64 },
    Trace { disk: u64 },
    CrashAfter { disk: u64, operations: u64 },
    Fail { disk: u64, fault: Fault },
    Mend { disk: u64 },
    IgnoreSyncs { disk: u64, parts: Vec<String> },
    AfterCrash { disk: u64, fate: Fate, seed: u64 },
    AllSynced { disk: u64 },
    Forget { image: u64 },
}

/// The other process.
#[derive(Debug)]
pub struct Disks(Arc<Wire>);

#[derive(Debug)]
struct Wire {
    stream: Mutex<BufReader<UnixStream>>,
    child: Mutex<Child>,
}

/// A disk that it serves.
#[derive(Debug)]
pub struct Disk {
    wire: Arc<Wire>,
    number: u64,
    path: PathBuf,
}

/// What is on a disk, kept there.
#[derive(Debug)]
pub struct Kept {
    wire: Arc<Wire>,
    number: u64,
}

impl Disks {
    /// Starts the process: this test program, for its test `hook` alone.
    pub fn start(hook: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("disks.sock");
        let listener = UnixListener::bind(&socket).unwrap();
        let child = Command::new(std::env::current_exe().unwrap())
            .args([hook, "--exact", "--nocapture", "--quiet"])
            .env(SOCKET, &socket)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let (stream, _) = listener.accept().unwrap();
        Self(Arc::new(Wire {
            stream: Mutex::new(BufReader::new(stream)),
            child: Mutex::new(child),
        }))
    }

    /// Mounts a disk with what was kept, or an empty one; `None`, said aloud, where that is not permitted.
    pub fn mount(&self, image: Option<&Kept>, seed: u64) -> Option<Disk> {
        let image = image.map(|image| image.number);
        let mounted: Option<(u64, PathBuf)> = self.0.ask(&Order::Mount { image, seed });
        if mounted.is_none() {
            println!("skipped: mounting with FUSE is not permitted here");
        }
        let (number, path) = mounted?;
        let wire = Arc::clone(&self.0);
        Some(Disk { wire, number, path })
    }
}

/// As of [`LosingDisk`], each.
#[expect(missing_docs, reason = "they are documented there")]
impl Disk {
    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn operations(&self) -> u64 {
        self.state().0
    }

    pub fn has_crashed(&self) -> bool {
        self.state().1
    }

    fn state(&self) -> (u64, bool) {
        self.wire.ask(&Order::State { disk: self.number })
    }

    pub fn trace(&self) -> Vec<Operation> {
        self.wire.ask(&Order::Trace { disk: self.number })
    }

    pub fn crash_after(&self, operations: u64) {
        let disk = self.number;
        self.wire.ask(&Order::CrashAfter { disk, operations })
    }

    pub fn fail(&self, fault: Fault) {
        let disk = self.number;
        self.wire.ask(&Order::Fail { disk, fault })
    }

    pub fn mend(&self) {
        self.wire.ask(&Order::Mend { disk: self.number })
    }

    pub fn ignore_syncs(&self, parts: &[&str]) {
        let parts = parts.iter().map(ToString::to_string).collect();
        let disk = self.number;
        self.wire.ask(&Order::IgnoreSyncs { disk, parts })
    }

    /// Crashes it now, if it has not.
    pub fn after_crash(&self, fate: Fate, seed: u64) -> Kept {
        let disk = self.number;
        self.keep(&Order::AfterCrash { disk, fate, seed })
    }

    /// What is on it now, as if all of it were synced.
    pub fn all_synced(&self) -> Kept {
        self.keep(&Order::AllSynced { disk: self.number })
    }

    fn keep(&self, order: &Order) -> Kept {
        Kept {
            number: self.wire.ask(order),
            wire: Arc::clone(&self.wire),
        }
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        self.wire.ask(&Order::Unmount { disk: self.number })
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        let image = self.number;
        self.wire.ask(&Order::Forget { image })
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        let stream = self
            .stream
            .get_mut()
            .unwrap_or_else(PoisonError::into_inner);
        drop(stream.get_ref().shutdown(std::net::Shutdown::Both));
        let child = self.child.get_mut().unwrap_or_else(PoisonError::into_inner);
        // It ends with the connection; its mounts end with it.
        drop(child.wait());
    }
}

impl Wire {
    fn ask<T: DeserializeOwned>(&self, order: &Order) -> T {
        let mut stream = self.stream.lock().unwrap_or_else(PoisonError::into_inner);
        let mut line = serde_json::to_vec(order).unwrap();
        line.push(b'\n');
        stream.get_mut().write_all(&line).unwrap();
        let mut answer = String::new();
        stream.read_line(&mut answer).unwrap();
        serde_json::from_str(&answer).unwrap()
    }
}

/// Serves disks until whoever asked for it goes away, if anybody did; whether that was so.
#[expect(
    clippy::disallowed_methods,
    reason = "the test program is started again with this variable, and takes no arguments of ours"
)]
pub fn serve_if_asked() -> bool {
    let Some(socket) = std::env::var_os(SOCKET) else {
        return false;
    };
    let mut stream = BufReader::new(UnixStream::connect(socket).unwrap());
    let mut server = Server::default();
    let mut line = String::new();
    while stream.read_line(&mut line).is_ok_and(|length| length > 0) {
        let order = serde_json::from_str(&line).unwrap();
        let mut answer = serde_json::to_vec(&server.answer(order)).unwrap();
        answer.push(b'\n');
        if stream.get_mut().write_all(&answer).is_err() {
            break;
        }
        line.clear();
    }
    true
}

#[derive(Default)]
struct Server {
    disks: HashMap<u64, LosingDisk>,
    images: HashMap<u64, Image>,
    next: u64,
}

impl Server {
    fn answer(&mut self, order: Order) -> serde_json::Value {
        let disk = |disk: u64| &self.disks[&disk];
        match order {
            Order::Mount { image, seed } => {
                let image = image.map_or_else(Image::default, |image| self.images[&image].clone());
                let mounted = LosingDisk::mount(image, seed);
                return value(&mounted.map(|disk| {
                    let path = disk.path().to_owned();
                    self.next += 1;
                    self.disks.insert(self.next, disk);
                    (self.next, path)
                }));
            }
            Order::Unmount { disk } => drop(self.disks.remove(&disk)),
            Order::State { disk: of } => {
                let disk = disk(of);
                return value(&(disk.operations(), disk.has_crashed()));
            }
            Order::Trace { disk: of } => return value(&disk(of).trace()),
            Order::CrashAfter {
                disk: of,
                operations,
            } => disk(of).crash_after(operations),
            Order::Fail { disk: of, fault } => disk(of).fail(fault),
            Order::Mend { disk: of } => disk(of).mend(),
            Order::IgnoreSyncs { disk: of, parts } => {
                let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
                disk(of).ignore_syncs(&parts);
            }
            Order::AfterCrash {
                disk: of,
                fate,
                seed,
            } => {
                disk(of).crash();
                let image = disk(of).after_crash(fate, seed);
                return self.keep(image);
            }
            Order::AllSynced { disk: of } => {
                let image = disk(of).image().after_all_is_synced();
                return self.keep(image);
            }
            Order::Forget { image } => drop(self.images.remove(&image)),
        }
        serde_json::Value::Null
    }

    fn keep(&mut self, image: Image) -> serde_json::Value {
        self.next += 1;
        self.images.insert(self.next, image);
        value(&self.next)
    }
}

fn value(of: &impl Serialize) -> serde_json::Value {
    serde_json::to_value(of).unwrap()
}

const SOCKET: &str = "MANDATE_LOSING_DISKS";
