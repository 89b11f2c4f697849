//! `mandate exec`: what it keeps fresh.

use std::path::Path;
use std::process::{Child, Command, Stdio};

use serde_json::json;

use crate::lab::Lab;
use crate::lab::agent::{Agent, spiffe_id};
use crate::lab::http::Door;
use crate::lab::server::PROGRAM;
use crate::lab::wait;

/// A command that says what it finds in its environment and runs until this is dropped.
struct Exec(Child);

impl Drop for Exec {
    fn drop(&mut self) {
        // Its command reads the pipe, and ends with it.
        drop(self.0.stdin.take());
        drop(self.0.wait());
    }
}

fn start(lab: &Lab, said: &Path, more: &[&str]) -> Exec {
    let script = "printf '%s\\n' \"$MANDATE_TOKEN_FILE\" \"$MANDATE_SVID_FILE\" \"$MANDATE_GATEWAY_SOCKET\" \"$MANDATE_PROOF_SOCKET\" > \"$0.new\"; mv \"$0.new\" \"$0\"; cat";
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
        .args(more)
        .args(["--expires-in", "30", "--", "sh", "-c", script])
        .arg(said)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn();
    Exec(child.unwrap())
}

/// What the command found.
fn told(said: &Path) -> [String; 4] {
    let text = wait::until("the command has started", || {
        std::fs::read_to_string(said).ok()
    });
    let lines: Vec<String> = text.lines().map(str::to_owned).collect();
    lines.try_into().unwrap()
}

#[test]
fn a_command_reaches_the_gateway_by_a_key_that_it_never_sees() {
    let lab = Lab::start();
    let clerks = lab.bundle().replace("opener: worker", "opener: clerk");
    let required = "name: clerk}\nspec:\n  proof: required\n";
    let clerks = clerks.replace("name: clerk}\nspec:\n", required);
    assert!(clerks.contains(required));
    assert_eq!(lab.apply(&clerks).code, 0);
    let said = lab.data().join("said");
    let _exec = start(&lab, &said, &[]);
    let [task, svid, gateway, proofs] = told(&said);
    let through = Door::Unix(gateway.into());
    let records = [("mandate-resource", "https://records.acme.example")];
    for _ in 0..3 {
        through.get("/records/items/i-1/x", &records).expect(200);
    }
    // A token for each: also those are served that are good for one use. What is refused stays so.
    let unnamed = through.get("/records/items/i-1/x", &[]).expect(400);
    assert!(
        unnamed.body.contains("Mandate-Resource"),
        "{}",
        unnamed.body
    );
    through.get("/records/elsewhere", &records).expect(403);
    // An upstream that asks for a proof gets no second request.
    through
        .get("/records/items/i-1/challenge", &records)
        .expect(401);
    assert_eq!(lab.upstream.seen("/challenge").len(), 1);
    let key = proved_key(&lab);
    // What leaks from the files is worth nothing without the key.
    let read = |path: &str| std::fs::read_to_string(path).unwrap();
    let thief = Agent::new(lab.server.authority(), read(&svid));
    let refused = thief.access(&read(&task), "records");
    assert_eq!(refused.text("error"), "invalid_dpop_proof");
    // And a command that makes its own requests gets its proofs.
    let wanted = json!({"method": "POST", "url": format!("{}/token", lab.server.issuer())});
    let given = Door::Unix(proofs.into())
        .json("/proof", &wanted)
        .expect(200);
    let proof = given.text("proof");
    let unverified = mandate_token::dpop::UnverifiedProof::parse(&proof).unwrap();
    assert!(
        unverified.untrusted_nonce().is_some(),
        "the authority gave one before"
    );
    assert_eq!(
        proved_key(&lab),
        key,
        "one key for as long as the command runs"
    );
}

/// The key that the last access was allowed by, as its record says.
fn proved_key(lab: &Lab) -> String {
    let search = [
        "audit",
        "search",
        "--kind",
        "access_decided",
        "--output",
        "json",
    ];
    wait::until("the record of the access has come", || {
        let found = lab.run(&search).value;
        let records = found["records"].as_array()?;
        let keys = records.iter().filter_map(|r| r["event"]["jkt"].as_str());
        keys.map(str::to_owned).next()
    })
}

#[test]
fn a_command_goes_on_after_its_agent_was_suspended_and_resumed() {
    let lab = Lab::start();
    let clerks = lab.bundle().replace("opener: worker", "opener: clerk");
    assert_eq!(lab.apply(&clerks).code, 0);
    let said = lab.data().join("said");
    let _exec = start(&lab, &said, &["--bearer"]);
    let [task, svid, _, proofs] = told(&said);
    assert_eq!(proofs, "", "it has no key");
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
