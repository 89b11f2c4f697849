//! Proofs of possession over the wire: nonces, single use, keys that are replaced (A5, FAILURES 3).

use std::time::Duration;

use mandate_audit::What;
use mandate_decide::possession::Room;
use mandate_testkit::proofs;
use serde_json::{Value, json};

use crate::client::{Answer, Lines, get_tcp, post_form_with};
use crate::lab::{ASSERTION, DOMAIN, GRANT, ISSUER, JWT, Lab, PROCESS, TXN};

/// An agent with a key, as it speaks to the authority.
pub(crate) struct Holder(pub(crate) proofs::Holder);

impl Holder {
    pub(crate) fn new() -> Self {
        Self(proofs::Holder::generate())
    }

    pub(crate) fn proof(&self, lab: &Lab, path: &str) -> String {
        self.proof_at(lab, &format!("{ISSUER}{path}"))
    }

    fn proof_at(&self, lab: &Lab, uri: &str) -> String {
        self.0.prove(("POST", uri), (None, None), lab.now())
    }

    /// The answer to `form`, with a new proof; once more with the nonce, where one is asked for.
    pub(crate) async fn post(&mut self, lab: &Lab, path: &str, form: &[(&str, &str)]) -> Answer {
        let answer = send(lab, path, &[&self.proof(lab, path)], form).await;
        self.0.nonce = Some(nonce_of(&answer));
        if answer.status != 400 || answer.error() != "use_dpop_nonce" {
            return answer;
        }
        send(lab, path, &[&self.proof(lab, path)], form).await
    }

    pub(crate) async fn attest(&mut self, lab: &Lab, agent: &str, instance: &str) -> Answer {
        lab.say(agent, instance);
        self.post(lab, "/token", &ATTEST).await
    }

    async fn exchange(&mut self, lab: &Lab, svid: &str, form: &[(&str, &str)]) -> Answer {
        self.post(lab, "/token", &as_client(svid, form)).await
    }

    async fn open(&mut self, lab: &Lab, svid: &str) -> Answer {
        self.exchange(lab, svid, &opening(svid, NIGHTLY)).await
    }
}

pub(crate) const ATTEST: [(&str, &str); 3] = [
    ("grant_type", GRANT),
    ("subject_token", "process"),
    ("subject_token_type", PROCESS),
];
const NIGHTLY: &str =
    r#"{"purpose":"nightly","trigger":{"kind":"schedule","name":"nightly","item":"4711"}}"#;

fn opening<'a>(svid: &'a str, details: &'a str) -> [(&'a str, &'a str); 5] {
    [
        ("subject_token", svid),
        ("subject_token_type", JWT),
        ("requested_token_type", TXN),
        ("audience", DOMAIN),
        ("request_details", details),
    ]
}

fn accessing(task: &str) -> [(&str, &str); 3] {
    [
        ("subject_token", task),
        ("subject_token_type", TXN),
        ("resource", "https://records.acme.example"),
    ]
}

fn as_client<'a>(svid: &'a str, form: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    let mut all = vec![
        ("grant_type", GRANT),
        ("client_assertion_type", ASSERTION),
        ("client_assertion", svid),
    ];
    all.extend(form);
    all
}

pub(crate) async fn send(lab: &Lab, path: &str, proofs: &[&str], form: &[(&str, &str)]) -> Answer {
    let fields: Vec<_> = proofs.iter().map(|proof| ("dpop", *proof)).collect();
    post_form_with(&lab.socket("agent.sock"), path, &fields, form).await
}

pub(crate) fn nonce_of(answer: &Answer) -> String {
    answer.headers["dpop-nonce"].to_str().unwrap().to_owned()
}

pub(crate) fn refused(answer: &Answer) -> (u16, String) {
    (answer.status.as_u16(), answer.error())
}

fn invalid() -> (u16, String) {
    (400, "invalid_dpop_proof".to_owned())
}

#[tokio::test]
async fn a_proof_at_attestation_binds_everything_that_follows() {
    let lab = Lab::new().await;
    let mut agent = Holder::new();
    // The first answer asks for a nonce and brings it (RFC 9449 §8).
    lab.say("backlog", "b-1");
    let first = send(&lab, "/token", &[&agent.proof(&lab, "/token")], &ATTEST).await;
    assert_eq!(refused(&first), (400, "use_dpop_nonce".to_owned()));
    agent.0.nonce = Some(nonce_of(&first));
    let svid = agent.attest(&lab, "backlog", "b-1").await.token();
    let task = agent.open(&lab, &svid).await.token();
    let form = accessing(&task);
    let access = agent.exchange(&lab, &svid, &form).await;
    assert_eq!(access.expect(200)["token_type"], "DPoP");
    let token = access.token();
    for (token, token_type) in [(&token, "DPoP"), (&svid, "N_A")] {
        let form = as_client(&svid, &[("token", token)]);
        let about = agent.post(&lab, "/introspect", &form).await.expect(200);
        assert_eq!(about["active"], true);
        assert_eq!(about["token_type"], token_type);
        assert_eq!(about["cnf"]["jkt"], agent.0.key.thumbprint().to_string());
    }
    let proved = |kind: &str, event: &mandate_audit::Event| {
        event.what.kind() == kind && event.jkt == Some(agent.0.key.thumbprint())
    };
    let events = lab.events().await;
    for kind in ["attested", "issued", "task_opened"] {
        assert!(events.iter().any(|event| proved(kind, event)), "{kind}");
    }
}

#[tokio::test]
async fn proof_is_accepted_once_and_not_after_a_restart_either() {
    let lab = Lab::new().await;
    let mut agent = Holder::new();
    let svid = agent.attest(&lab, "backlog", "b-1").await.token();
    let form = as_client(&svid, &opening(&svid, NIGHTLY));
    let proof = agent.proof(&lab, "/token");
    send(&lab, "/token", &[&proof], &form).await.expect(200);
    let again = send(&lab, "/token", &[&proof], &form).await;
    assert_eq!(refused(&again), invalid());
    assert_eq!(lab.refused_rules().await, ["proof.used"]);
    // At the endpoints that issue nothing as well, and from one of them to another.
    let form = as_client(&svid, &[("token", &svid)]);
    let proof = agent.proof(&lab, "/introspect");
    send(&lab, "/introspect", &[&proof], &form)
        .await
        .expect(200);
    let again = send(&lab, "/introspect", &[&proof], &form).await;
    assert_eq!(refused(&again), invalid());
    // One that nobody has shown yet, made before a restart: its nonce is of another process.
    let unused = agent.proof(&lab, "/introspect");
    // The test's randomness is drawn from its clock.
    lab.pass(Duration::from_millis(1));
    let lab = lab.restarted().await;
    let late = send(&lab, "/introspect", &[&unused], &form).await;
    assert_eq!(refused(&late), (400, "use_dpop_nonce".to_owned()));
}

#[tokio::test]
async fn of_many_who_show_one_proof_at_once_one_is_issued_to() {
    let lab = Lab::new().await;
    let mut agent = Holder::new();
    let svid = agent.attest(&lab, "backlog", "b-1").await.token();
    let form = as_client(&svid, &opening(&svid, NIGHTLY));
    let proof = agent.proof(&lab, "/token");
    let shown = [proof.as_str()];
    let many = (0..16).map(|_| send(&lab, "/token", &shown, &form));
    let answers = futures_util::future::join_all(many).await;
    let issued = answers.iter().filter(|a| a.status.is_success()).count();
    assert_eq!(issued, 1);
    let events = lab.events().await;
    let opened = events.iter().filter(|e| e.what.kind() == "task_opened");
    assert_eq!(opened.count(), 1, "nothing of the others is left");
}

#[tokio::test]
async fn a_proof_that_was_stored_without_an_answer_is_used_up() {
    let lab = Lab::new().await;
    let mut agent = Holder::new();
    let svid = agent.attest(&lab, "backlog", "b-1").await.token();
    let form = as_client(&svid, &opening(&svid, NIGHTLY));
    let proof = agent.proof(&lab, "/token");
    lab.disk.forget_to_answer();
    let lost = send(&lab, "/token", &[&proof], &form).await;
    assert_eq!(lost.status, 503);
    let again = send(&lab, "/token", &[&proof], &form).await;
    assert_eq!(refused(&again), invalid());
    // With a new one it goes on.
    agent.open(&lab, &svid).await.expect(200);
}

#[tokio::test]
async fn a_bound_assertion_without_its_key_opens_no_endpoint() {
    let lab = Lab::new().await;
    let mut agent = Holder::new();
    let svid = agent.attest(&lab, "backlog", "b-1").await.token();
    let task = agent.open(&lab, &svid).await.token();
    let mut thief = Holder::new();
    thief.0.nonce.clone_from(&agent.0.nonce);
    for path in ["/introspect", "/revoke", "/task/show", "/task/close"] {
        let form = as_client(&svid, &[("token", &task)]);
        let without = send(&lab, path, &[], &form).await;
        assert_eq!(refused(&without), invalid(), "{path}");
        let other = thief.post(&lab, path, &form).await;
        assert_eq!(refused(&other), invalid(), "{path}");
    }
    let form = as_client(&svid, &opening(&svid, NIGHTLY));
    assert_eq!(refused(&send(&lab, "/token", &[], &form).await), invalid());
    assert_eq!(refused(&thief.post(&lab, "/token", &form).await), invalid());
    let form = as_client(&svid, &[("token", &task)]);
    agent.post(&lab, "/task/show", &form).await.expect(200);
    agent.post(&lab, "/task/close", &form).await.expect(204);
}

#[tokio::test]
async fn a_proof_is_for_the_address_that_the_authority_was_configured_with() {
    let lab = Lab::new().await;
    let mut agent = Holder::new();
    agent.attest(&lab, "backlog", "b-1").await.expect(200);
    lab.say("backlog", "b-2");
    let elsewhere = |uri: &str| agent.proof_at(&lab, uri);
    let here = elsewhere("http://127.0.0.1:7701/token?ignored");
    send(&lab, "/token", &[&here], &ATTEST).await.expect(200);
    for uri in [
        "http://localhost/token",
        "http://evil.example/token",
        "https://127.0.0.1:7701/token",
        "http://127.0.0.1:7701/introspect",
    ] {
        let proof = elsewhere(uri);
        let fields = [
            ("dpop", proof.as_str()),
            ("x-forwarded-host", "evil.example"),
            ("x-forwarded-proto", "https"),
            ("forwarded", "host=evil.example;proto=https"),
        ];
        let socket = lab.socket("agent.sock");
        let answer = post_form_with(&socket, "/token", &fields, &ATTEST).await;
        assert_eq!(refused(&answer), invalid(), "{uri}");
    }
    let two = [
        elsewhere("http://127.0.0.1:7701/token"),
        elsewhere("http://127.0.0.1:7701/token"),
    ];
    let several = send(&lab, "/token", &[&two[0], &two[1]], &ATTEST).await;
    assert_eq!(refused(&several), invalid());
}

#[tokio::test]
async fn a_nonce_wears_out_and_the_next_one_comes_with_every_answer() {
    let lab = Lab::new().await;
    let mut agent = Holder::new();
    agent.attest(&lab, "backlog", "b-1").await.expect(200);
    let first = agent.0.nonce.clone();
    lab.pass(Duration::from_secs(100));
    agent.attest(&lab, "backlog", "b-1").await.expect(200);
    assert_ne!(agent.0.nonce, first, "another one was given meanwhile");
    lab.pass(Duration::from_secs(300));
    let proof = agent.proof(&lab, "/token");
    let worn = send(&lab, "/token", &[&proof], &ATTEST).await;
    assert_eq!(refused(&worn), (400, "use_dpop_nonce".to_owned()));
    agent.attest(&lab, "backlog", "b-1").await.expect(200);
}

#[tokio::test]
async fn a_key_that_was_replaced_is_void_everywhere_and_gateways_are_told() {
    let lab = Lab::new().await;
    let socket = lab.socket("control.sock");
    let mut lines = Lines::open(&socket, "/control/v1/stream?gateway=g-1").await;
    for _ in 0..4 {
        lines.next().await.unwrap();
    }
    let (mut former, mut latter) = (Holder::new(), Holder::new());
    let svid = former.attest(&lab, "backlog", "b-1").await.token();
    former.open(&lab, &svid).await.expect(200);
    let taken_over = latter.attest(&lab, "backlog", "b-1").await.token();
    let told = next_stops(&mut lines).await;
    assert_eq!(
        told["replaced_keys"][0][0],
        former.0.key.thumbprint().to_string()
    );
    let rekeyed = What::Rekeyed {
        from: former.0.key.thumbprint(),
        to: latter.0.key.thumbprint(),
    };
    let events = lab.events().await;
    let event = events.iter().find(|event| event.what == rekeyed).unwrap();
    assert_eq!(event.actors[0].inst.as_str(), "b-1");
    let stopped = (403, "access_denied".to_owned());
    assert_eq!(refused(&former.open(&lab, &svid).await), stopped);
    assert_eq!(
        refused(&former.attest(&lab, "backlog", "b-1").await),
        stopped
    );
    latter.open(&lab, &taken_over).await.expect(200);
    // Without a key the instance attests no more.
    assert_eq!(refused(&lab.attest("backlog", "b-1", &[]).await), invalid());
    // It is so after a restart, too.
    let lab = lab.restarted().await;
    assert_eq!(refused(&former.open(&lab, &svid).await), stopped);
    latter.open(&lab, &taken_over).await.expect(200);
}

async fn next_stops(lines: &mut Lines) -> Value {
    loop {
        let line = lines.next().await.unwrap();
        if line["message"] == "stops" {
            return line;
        }
    }
}

#[tokio::test]
async fn a_second_instance_of_a_pinned_task_is_refused_and_reported() {
    let lab = Lab::new().await;
    let orchestrator = lab.svid("orchestrator").await;
    let task = lab.open(&orchestrator, "morning", &[]).await.token();
    let entries = crate::lab::reading();
    let child = lab.delegate(&orchestrator, &task, "pinned", &entries).await;
    let child = child.token();
    let first = lab.attest("pinned", "p-1", &[]).await.token();
    let second = lab.attest("pinned", "p-2", &[]).await.token();
    lab.access(&first, &child).await.expect(200);
    lab.access(&second, &child).await.expect(400);
    let events = lab.events().await;
    let told = events
        .iter()
        .find(|e| e.rule.as_deref() == Some("actor.pinned"));
    let told = told.unwrap();
    assert_eq!(told.actors[0].inst.as_str(), "p-2");
    assert!(told.task.is_some());
}

/// A type is a name that many share; what each of them holds is its own.
#[tokio::test]
async fn a_bound_token_is_shown_and_revoked_for_the_holder_of_its_key_alone() {
    let lab = Lab::new().await;
    let (mut agent, mut other) = (Holder::new(), Holder::new());
    let svid = agent.attest(&lab, "backlog", "b-1").await.token();
    let others = other.attest(&lab, "backlog", "b-2").await.token();
    let plain = lab.attest("backlog", "b-3", &[]).await.token();
    let task = agent.open(&lab, &svid).await.token();
    let access = access_with(&mut agent, &lab, &svid, &task).await;
    for token in [&access, &svid] {
        let by_other = as_client(&others, &[("token", token)]);
        let by_plain = as_client(&plain, &[("token", token)]);
        let told = [
            other.post(&lab, "/introspect", &by_other).await,
            send(&lab, "/introspect", &[], &by_plain).await,
        ];
        for told in told {
            assert_eq!(told.expect(200), json!({"active": false}));
        }
        let refusals = [
            other.post(&lab, "/revoke", &by_other).await,
            send(&lab, "/revoke", &[], &by_plain).await,
        ];
        for answer in refusals {
            assert_eq!(refused(&answer), (400, "invalid_request".to_owned()));
            assert!(answer.text.contains("another key"), "{}", answer.text);
        }
        let own = as_client(&svid, &[("token", token)]);
        let about = agent.post(&lab, "/introspect", &own).await;
        assert_eq!(about.expect(200)["active"], true);
    }
    let own = as_client(&svid, &[("token", &access)]);
    agent.post(&lab, "/revoke", &own).await.expect(200);
    let about = agent.post(&lab, "/introspect", &own).await;
    assert_eq!(about.expect(200), json!({"active": false}));
    let rules = lab.refused_rules().await;
    assert_eq!(rules, ["actor.other_holder"; 4]);
}

#[tokio::test]
async fn a_pinned_task_is_shown_and_ended_for_its_instance_alone() {
    let lab = Lab::new().await;
    let orchestrator = lab.svid("orchestrator").await;
    let root = lab.open(&orchestrator, "morning", &[]).await.token();
    let entries = crate::lab::reading();
    let child = lab.delegate(&orchestrator, &root, "pinned", &entries).await;
    let child = child.token();
    let first = lab.attest("pinned", "p-1", &[]).await.token();
    let second = lab.attest("pinned", "p-2", &[]).await.token();
    let access = lab.access(&first, &child).await.token();
    let ask = async |path: &str, svid: &str, token: &str| {
        let form = as_client(svid, &[("token", token)]);
        send(&lab, path, &[], &form).await
    };
    for token in [&access, &child] {
        let told = ask("/introspect", &second, token).await;
        assert_eq!(told.expect(200), json!({"active": false}));
        let answer = ask("/revoke", &second, token).await;
        assert_eq!(refused(&answer), (400, "invalid_request".to_owned()));
        let told = ask("/introspect", &first, token).await;
        assert_eq!(told.expect(200)["active"], true);
    }
    assert_eq!(lab.refused_rules().await, ["actor.pinned"; 2]);
    ask("/revoke", &first, &child).await.expect(200);
    let told = ask("/introspect", &first, &access).await;
    assert_eq!(told.expect(200), json!({"active": false}));
}

async fn access_with(agent: &mut Holder, lab: &Lab, svid: &str, task: &str) -> String {
    agent.exchange(lab, svid, &accessing(task)).await.token()
}

#[tokio::test]
async fn an_agent_that_floods_the_authority_with_proofs_stops_neither_others_nor_attestation() {
    let room = Room {
        working: 9,
        reserved: 9,
    };
    let lab = Lab::with_room(room).await;
    let (mut greedy, mut other) = (Holder::new(), Holder::new());
    let svid = greedy.attest(&lab, "backlog", "b-1").await.token();
    let others = other.attest(&lab, "backlog", "b-2").await.token();
    // Who does not have the key fills nothing.
    let mut thief = Holder::new();
    thief.0.nonce.clone_from(&greedy.0.nonce);
    for _ in 0..20 {
        let form = as_client(&svid, &[("token", &svid)]);
        let answer = thief.post(&lab, "/introspect", &form).await;
        assert_eq!(refused(&answer), invalid());
    }
    let (taken, last) = flood(&lab, &mut greedy, &svid).await;
    assert_eq!(taken, 3, "a third of nine");
    let retry = (503, "temporarily_unavailable".to_owned());
    assert_eq!(refused(&last), retry);
    assert!(last.headers.contains_key("retry-after"));
    assert!(
        lab.refused_rules()
            .await
            .contains(&"quota.proofs".to_owned())
    );
    // Another instance has its share, and what attests has room of its own.
    let (taken, _) = flood(&lab, &mut other, &others).await;
    assert!(taken > 0);
    let mut newcomer = Holder::new();
    let attested = newcomer.attest(&lab, "backlog", "b-3").await;
    attested.expect(200);
    // What it remembers is forgotten by itself.
    lab.pass(Duration::from_secs(241));
    let svid = greedy.attest(&lab, "backlog", "b-1").await.token();
    let form = as_client(&svid, &[("token", &svid)]);
    greedy.post(&lab, "/introspect", &form).await.expect(200);
}

/// As many proofs as are taken, and the answer to the next one.
async fn flood(lab: &Lab, holder: &mut Holder, svid: &str) -> (usize, Answer) {
    let form = as_client(svid, &[("token", svid)]);
    for taken in 0..100 {
        let answer = holder.post(lab, "/introspect", &form).await;
        if answer.status != 200 {
            return (taken, answer);
        }
    }
    panic!("the memory is bounded");
}

#[tokio::test]
async fn an_instance_that_replaces_its_key_all_the_time_is_stopped_and_keeps_the_last_one() {
    let lab = Lab::new().await;
    let mut last = Holder::new();
    let mut svid = last.attest(&lab, "backlog", "b-1").await.token();
    let mut replaced = 0;
    let refusal = loop {
        let mut next = Holder::new();
        let answer = next.attest(&lab, "backlog", "b-1").await;
        if answer.status != 200 {
            break answer;
        }
        (svid, last) = (answer.token(), next);
        replaced += 1;
        assert!(replaced < 20, "nobody needs so many");
    };
    assert!(replaced >= 6, "{replaced}");
    assert_eq!(refusal.status, 503);
    assert!(refusal.headers.contains_key("retry-after"));
    assert_eq!(lab.refused_rules().await, ["quota.keys"]);
    // The last key is good, and attesting again with it is no change.
    last.open(&lab, &svid).await.expect(200);
    last.attest(&lab, "backlog", "b-1").await.expect(200);
    // Others are not held up by it.
    let (mut first, mut second) = (Holder::new(), Holder::new());
    first.attest(&lab, "backlog", "b-2").await.expect(200);
    second.attest(&lab, "backlog", "b-2").await.expect(200);
}

#[tokio::test]
async fn metadata_names_the_algorithms_of_proofs() {
    let lab = Lab::new().await;
    let metadata = get_tcp(lab.public, "/.well-known/oauth-authorization-server").await;
    let algorithms = &metadata.expect(200)["dpop_signing_alg_values_supported"];
    assert_eq!(*algorithms, json!(["ES256", "EdDSA", "Ed25519"]));
}
