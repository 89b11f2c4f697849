//! `mandate exec`: what it keeps fresh.

use std::path::Path;
use std::process::{Child, Command, Stdio};

use serde_json::json;

use crate::lab::Lab;
use crate::lab::agent::{Agent, spiffe_id};
use crate::lab::server::PROGRAM;
use crate::lab::wait;

/// A command that says where its tokens are and runs until this is dropped.
struct Exec(Child);

impl Drop for Exec {
    fn drop(&mut self) {
        // Its command reads the pipe, and ends with it.
        drop(self.0.stdin.take());
        drop(self.0.wait());
    }
}

fn start(lab: &Lab, said: &Path) -> Exec {
    let script = "printf '%s\\n%s\\n' \"$MANDATE_TOKEN_FILE\" \"$MANDATE_SVID_FILE\" > \"$0.new\"; mv \"$0.new\" \"$0\"; cat";
    let child = Command::new(PROGRAM)
        .arg("--data")
        .arg(lab.data())
        .args([
            "exec",
            "--purpose",
            "nightly",
            "--schedule",
            "nightly",
            "--item",
            "i-1",
        ])
        .args(["--expires-in", "30", "--", "sh", "-c", script])
        .arg(said)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn();
    Exec(child.unwrap())
}

#[test]
fn a_command_goes_on_after_its_agent_was_suspended_and_resumed() {
    let lab = Lab::start();
    let clerks = lab.bundle().replace("opener: worker", "opener: clerk");
    assert_eq!(lab.apply(&clerks).code, 0);
    let said = lab.data().join("said");
    let _exec = start(&lab, &said);
    let files = wait::until("the command has started", || {
        std::fs::read_to_string(&said).ok()
    });
    let mut files = files.lines().map(str::to_owned);
    let (task, svid) = (files.next().unwrap(), files.next().unwrap());
    let first = std::fs::read_to_string(&task).unwrap();
    let clerk = json!({"kind": "agent", "id": spiffe_id("clerk")});
    lab.suspend(&clerk).expect(200);
    lab.resume(&clerk).expect(200);
    let again = wait::until("another token of the same task", || {
        let now = std::fs::read_to_string(&task).ok()?;
        (now != first).then_some(now)
    });
    let svid = std::fs::read_to_string(&svid).unwrap();
    let agent = Agent::new(lab.server.authority(), svid);
    agent.access(&again, "records").expect(200);
}
