//! A disk of their own for server and gateway: full, read-only, and well again.
//!
//! Mounting needs root. Where it is not permitted these tests say so and pass; the parts are tested
//! everywhere, with errors that are raised in their stead.

use std::io::Write;
use std::path::PathBuf;
use std::process::Command;

use serde_json::json;
use tempfile::TempDir;

use crate::lab::Lab;
use crate::lab::agent::{Agent, token};
use crate::lab::http::Answer;
use crate::lab::server::{Options, Server};
use crate::lab::wait;

/// A small tmpfs.
struct Disk(TempDir);

impl Disk {
    fn mount() -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=96m,mode=755", "tmpfs"])
            .arg(folder.path())
            .output();
        if mounted.is_ok_and(|output| output.status.success()) {
            return Some(Self(folder));
        }
        println!("skipped: mounting a tmpfs is not permitted here");
        None
    }

    fn data(&self) -> PathBuf {
        self.0.path().join("data")
    }

    fn remount(&self, mode: &str) {
        let option = format!("remount,{mode}");
        let mount = Command::new("mount")
            .args(["-o", &option])
            .arg(self.0.path())
            .status();
        assert!(mount.unwrap().success());
    }

    /// Takes all space that is left, until the answer is dropped.
    fn fill(&self) -> Filling {
        let path = self.0.path().join("filling");
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
        // Lazily: the server may have files open still.
        drop(Command::new("umount").arg("-l").arg(self.0.path()).status());
    }
}

struct Filling(PathBuf);

impl Drop for Filling {
    fn drop(&mut self) {
        drop(std::fs::remove_file(&self.0));
    }
}

#[test]
fn full_disk_denies_and_recovers() {
    let Some(disk) = Disk::mount() else { return };
    let lab = on(&disk);
    let worker = lab.worker();
    let task = token(worker.open());
    let access = token(worker.access(&task, "records"));
    lab.access("/records/items/1", &access).expect(200);

    let filling = disk.fill();
    let refused = until_refused(|| lab.access("/records/items/2", &access));
    assert_eq!(refused.text("rule"), "record.unwritable");
    let seen = lab.upstream.seen("/items/2").len();
    assert!(lab.access("/records/items/2", &access).is_refused());
    assert_eq!(
        lab.upstream.seen("/items/2").len(),
        seen,
        "nothing was forwarded"
    );
    let refused = until_refused(|| worker.access(&task, "records"));
    assert_eq!(refused.text("error"), "temporarily_unavailable");
    let ready = lab.server.metrics().get("/readyz", &[]).expect(503);
    assert!(ready.body.contains("the store fails"), "{}", ready.body);
    assert_eq!(lab.server.metrics().get("/healthz", &[]).status, 200);

    drop(filling);
    recovers(&lab, &worker, &task, &access);
    let verified = wait::until("all is shipped", || {
        let ran = lab.run(&["audit", "verify"]);
        (ran.code != 3).then_some(ran)
    });
    assert_eq!(verified.code, 0, "{}", verified.value);
}

#[test]
fn suspend_works_without_a_writable_disk() {
    let Some(disk) = Disk::mount() else { return };
    let mut lab = on(&disk);
    let worker = lab.worker();
    let task = token(worker.open());
    let dark = token(worker.access(&task, "dark"));
    lab.access("/dark/items/1", &dark).expect(200);
    let filling = disk.fill();
    until_refused(|| worker.access(&task, "records"));

    let suspended = lab.run(&["suspend", "server", "dark", "--reason", "INC-1"]);
    let durable = suspended.value["durable"] == true;
    assert_eq!(suspended.value["effective"], true, "{}", suspended.value);
    assert_eq!(
        suspended.code,
        if durable { 0 } else { 3 },
        "{}",
        suspended.value
    );
    let seen = lab.upstream.seen("/items/").len();
    assert!(lab.access("/dark/items/2", &dark).is_refused());
    assert_eq!(lab.upstream.seen("/items/").len(), seen);

    drop(filling);
    let access = wait::until("issuance recovers by itself", || {
        let answer = worker.access(&task, "records");
        (answer.status == 200).then(|| answer.text("access_token"))
    });
    recovers(&lab, &worker, &task, &access);
    assert_eq!(lab.access("/dark/items/3", &dark).status, 403);
    lab.server.kill();
    lab.restart();
    assert_eq!(lab.access("/dark/items/4", &dark).status, 403);
    assert_eq!(
        lab.upstream.seen("/items/").len(),
        seen + 1,
        "the one of the recovery"
    );
}

#[test]
fn a_read_only_disk_is_named_at_the_start_and_nothing_runs() {
    let Some(disk) = Disk::mount() else { return };
    let mut lab = on(&disk);
    lab.server.stop();
    disk.remount("ro");
    let log = disk.0.path().with_extension("log");
    let refused = Server::start(&disk.data(), &log, &Options::default());
    let why = refused.err().unwrap();
    assert!(why.to_lowercase().contains("read-only"), "{why}");
    drop(std::fs::remove_file(log));
    disk.remount("rw");
    lab.restart();
    assert_eq!(lab.server.metrics().get("/readyz", &[]).status, 200);
}

/// A server with everything on `disk`, and the bundle live.
fn on(disk: &Disk) -> Lab {
    Lab::without_bundle(Options::default(), Some(disk.data())).with_bundle()
}

/// Space that was reserved is used up first; then the door is shut, and says so.
fn until_refused(ask: impl Fn() -> Answer) -> Answer {
    wait::until("without space nothing is let through", || {
        let answer = ask();
        (answer.status != 200).then_some(answer)
    })
    .expect(503)
}

/// Everything goes on by itself.
fn recovers(lab: &Lab, worker: &Agent, task: &str, access: &str) {
    wait::until("accesses are admitted again", || {
        (lab.access("/records/items/again", access).status == 200).then_some(())
    });
    wait::until("tokens are issued again", || {
        (worker.access(task, "records").status == 200).then_some(())
    });
    wait::until("readiness says so", || {
        (lab.server.metrics().get("/readyz", &[]).status == 200).then_some(())
    });
    let listed = lab
        .operators()
        .get("/operator/v1/suspensions", &[])
        .expect(200)
        .json();
    assert_eq!(listed["undurable"], json!(0));
}
