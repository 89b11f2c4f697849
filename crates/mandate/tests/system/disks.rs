//! A disk of their own for server and gateway: full, read-only, and well again.
//!
//! The parts are tested everywhere, with errors that are raised in the disk's stead.

use std::path::PathBuf;

use mandate_testkit::disk::Disk;
use mandate_testkit::turning_disk::TurningDisk;
use serde_json::json;

use crate::lab::Lab;
use crate::lab::agent::{Agent, token};
use crate::lab::http::Answer;
use crate::lab::server::{Options, Server};
use crate::lab::wait;

fn disk() -> Option<Disk> {
    Disk::mount(96)
}

fn data_on(disk: &Disk) -> PathBuf {
    disk.path().join("data")
}

#[test]
fn full_disk_denies_and_recovers() {
    let Some(disk) = disk() else { return };
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
    let Some(disk) = disk() else { return };
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
    let Some(disk) = disk() else { return };
    let mut lab = on(&disk);
    lab.server.stop();
    disk.remount("ro");
    let log = disk.path().with_extension("log");
    let refused = Server::start(&data_on(&disk), &log, &Options::default());
    let why = refused.err().unwrap();
    assert!(why.to_lowercase().contains("read-only"), "{why}");
    drop(std::fs::remove_file(log));
    disk.remount("rw");
    lab.restart();
    assert_eq!(lab.server.metrics().get("/readyz", &[]).status, 200);
}

#[test]
fn a_disk_that_turns_read_only_under_the_server_denies_and_recovers() {
    let Some(disk) = TurningDisk::mount() else {
        return;
    };
    let data = disk.path().join("data");
    let mut lab = Lab::without_bundle(Options::default(), Some(data)).with_bundle();
    let worker = lab.worker();
    let task = token(worker.open());
    let access = token(worker.access(&task, "records"));
    let dark = token(worker.access(&task, "dark"));
    lab.access("/records/items/1", &access).expect(200);
    lab.access("/dark/items/1", &dark).expect(200);

    disk.turn_read_only();
    let refused = lab.access("/records/items/2", &access).expect(503);
    assert_eq!(refused.text("rule"), "record.unwritable");
    assert!(lab.upstream.seen("/items/2").is_empty());
    let refused = worker.access(&task, "records").expect(503);
    assert_eq!(refused.text("error"), "temporarily_unavailable");
    wait::until("readiness says why", || {
        let ready = lab.server.metrics().get("/readyz", &[]).expect(503);
        ready.body.contains("read-only").then_some(())
    });
    let status = lab.run(&["status"]);
    assert_eq!(status.value["ready"], false);
    let findings = status.value["findings"].to_string();
    assert!(findings.contains("read-only"), "{findings}");
    let logged = std::fs::read_to_string(lab.log_file()).unwrap();
    assert!(logged.contains("read-only"), "{logged}");

    let suspended = lab.run(&["suspend", "server", "dark", "--reason", "INC-1"]);
    let said = ["effective", "durable"].map(|word| suspended.value[word].clone());
    assert_eq!((suspended.code, said), (3, [json!(true), json!(false)]));
    assert_eq!(lab.run(&["suspensions"]).value["undurable"], 1);
    assert!(lab.access("/dark/items/2", &dark).is_refused());
    assert!(lab.upstream.seen("/items/2").is_empty());

    disk.turn_writable();
    let access = wait::until("issuance recovers by itself", || {
        let answer = worker.access(&task, "records");
        (answer.status == 200).then(|| answer.text("access_token"))
    });
    recovers(&lab, &worker, &task, &access);
    assert_eq!(lab.access("/dark/items/3", &dark).status, 403);
    let verified = wait::until("all is shipped", || {
        let ran = lab.run(&["audit", "verify"]);
        (ran.code != 3).then_some(ran)
    });
    assert_eq!(verified.code, 0, "{}", verified.value);
    lab.server.kill();
    lab.restart();
    assert_eq!(lab.access("/dark/items/4", &dark).status, 403);
}

/// A server with everything on `disk`, and the bundle live.
fn on(disk: &Disk) -> Lab {
    Lab::without_bundle(Options::default(), Some(data_on(disk))).with_bundle()
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
