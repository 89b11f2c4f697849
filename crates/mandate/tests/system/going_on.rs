//! A gateway that cannot reach the authority and goes on: what `suspend` can promise then (B3).

use mandate_model::Timestamp;
use serde_json::{Value, json};

use crate::lab::Lab;
use crate::lab::agent::{claims, spiffe_id, token};
use crate::lab::edge::Edge;
use crate::lab::log::LogTail;
use crate::lab::server::Options;
use crate::lab::wait;

/// `dark` goes on without a lease, and its tokens live a few seconds.
fn going_on(bundle: &str) -> String {
    let resource = "  resource: https://dark.acme.example\n";
    let policy = "server: dark, actions: [read]}";
    assert!(bundle.contains(resource) && bundle.contains(policy));
    bundle
        .replacen(resource, &format!("{resource}  leaseLoss: continue\n"), 1)
        .replacen(
            policy,
            "server: dark, actions: [read], maxTokenLifetime: 20s}",
            1,
        )
}

fn now() -> Timestamp {
    #[expect(clippy::disallowed_methods, reason = "tokens end by the wall clock")]
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    Timestamp::from_millis(u64::try_from(since.unwrap().as_millis()).unwrap())
}

#[test]
fn suspend_says_until_when_it_is_not_effective_at_a_gateway_that_goes_on() {
    let lab = Lab::with(Options {
        lease: 1,
        ..Options::default()
    });
    let applied = lab.apply(&going_on(&lab.bundle()));
    assert_eq!(applied.code, 0, "{}", applied.value);
    let weakens = applied.value["plan"]["weakens"].as_array().unwrap().len();
    assert_eq!(weakens, 1, "{}", applied.value);
    let folder = tempfile::tempdir().unwrap();
    let edge = Edge::start(lab.data(), folder.path());
    let worker = lab.worker();
    let root = token(worker.open());
    let read = "/dark/items/1";
    wait::until("the second gateway has the bundle and a lease", || {
        let token = token(worker.access(&root, "dark"));
        (edge.access(read, &token).status == 200).then_some(())
    });
    let of_records = token(worker.access(&root, "records"));

    edge.cut();
    wait::until("its lease has run out", || (!edge.is_ready()).then_some(()));
    let issued = token(worker.access(&root, "dark"));
    edge.access(read, &issued).expect(200);
    let stopped = edge.access("/records/items/1", &of_records);
    assert_eq!(stopped.status, 503, "{stopped:?}");

    let suspend = ["suspend", "agent", "worker", "--reason", "INC-1"];
    let ran = lab.run(&suspend);
    let proof = &ran.value;
    assert_eq!(ran.code, 3, "{proof}");
    let ends = claims(&issued)["exp"].as_u64().unwrap();
    let until = Timestamp::from_secs(ends + 6);
    assert_eq!(proof["effective"], false, "{proof}");
    assert_eq!(proof["not_effective_until"], until.as_millis(), "{proof}");
    assert_eq!(
        (&proof["going_on"], &proof["going_on_for"]),
        (&json!(1), &json!(["dark"]))
    );
    let (code, text) = lab.say(&suspend);
    assert_eq!(code, 3, "{text}");
    assert!(
        text.contains(&format!("NOT effective until {until}")),
        "{text}"
    );
    assert!(text.contains("1 gateway did not answer and may go on without a lease for dark"));
    // The server's log says no more than is true.
    let log = std::fs::read_to_string(lab.log_file()).unwrap();
    assert!(log.contains("a suspension is NOT effective at every gateway yet"));
    assert!(!log.contains("a suspension is effective"), "{log}");
    // It is true: the one gateway has stopped it, the other one goes on.
    assert_eq!(lab.access(read, &issued).status, 403);
    edge.access(read, &issued).expect(200);
    assert!(worker.access(&root, "dark").is_refused());

    wait::until("the moment has come", || (now() >= until).then_some(()));
    assert_eq!(edge.access(read, &issued).status, 401);
    let ran = lab.run(&suspend);
    assert_eq!(ran.code, 0, "{}", ran.value);
    assert_eq!(ran.value["effective"], true);

    edge.mend();
    wait::until("it has a lease again", || edge.is_ready().then_some(()));
    let mut log = LogTail::open_at(lab.data(), 0);
    let mut marked = 0;
    wait::until("what it let happen alone is in the log", || {
        let records = log.more();
        marked += records
            .iter()
            .filter(|r| r["without_lease"] == true)
            .count();
        // Two accesses, each decided and completed, and what it refused by name.
        (marked >= 4).then_some(())
    });
}

#[test]
fn what_goes_on_without_a_lease_is_said_aloud() {
    let lab = Lab::start();
    let plain = lab.run(&["access", "--server", "dark"]).value;
    assert_eq!(plain["access"][0]["without_lease"], false);
    lab.apply(&going_on(&lab.bundle()));
    let rows = lab.run(&["access", "--server", "dark"]).value;
    let rows: Vec<Value> = rows["access"].as_array().unwrap().clone();
    assert!(rows.iter().all(|row| row["without_lease"] == true));
    let (_, text) = lab.say(&["access", "--server", "dark"]);
    assert!(text.contains("GOES ON WITHOUT A LEASE"), "{text}");
    let status = lab.run(&["status"]).value;
    assert_eq!(status["without_lease"], json!([{"server": "dark"}]));
    let doctor = lab.run(&["doctor"]).value;
    let found = doctor["findings"].as_array().unwrap().iter();
    assert_eq!(found.filter(|f| f["check"] == "leaseLoss").count(), 1);
    // Nobody is silent, so a suspension is what it always was.
    let id = spiffe_id("worker");
    let proof = lab.suspend(&json!({"kind": "agent", "id": id})).expect(200);
    assert_eq!(proof.json()["effective"], true);
    let file = lab.data().join("weak.yaml");
    std::fs::write(&file, going_on(&lab.bundle())).unwrap();
    let file = file.display().to_string();
    lab.apply(&lab.bundle());
    let (_, text) = lab.say(&["plan", &file]);
    assert!(
        text.contains("! weakens ServerWorkload `dark` leaseLoss"),
        "{text}"
    );
}
