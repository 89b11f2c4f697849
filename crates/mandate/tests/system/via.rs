//! Agents that bring a JWT-SVID and a task token to a gateway, which exchanges for them (A9).

use std::io::{BufRead, BufReader, Read, Write};
use std::time::{SystemTime, UNIX_EPOCH};

use mandate_model::Timestamp;
use mandate_testkit::proofs::{AgentKey, Holder, Proving};
use serde_json::{Value, json};

use crate::lab::Lab;
use crate::lab::agent::{
    self, EXCHANGE, GATEWAYS, JWT, JWT_SPIFFE, TRUST_DOMAIN, TXN_TOKEN, attest_form, resource,
    spiffe_id, token,
};
use crate::lab::edge::Edge;
use crate::lab::http::{Answer, Broken, Door, Field, encode, head};
use crate::lab::log::{self, LogTail};
use crate::lab::wait;

/// A worker with a key, an SVID for gateways that is bound to it, and a task.
struct Worker<'a> {
    lab: &'a Lab,
    holder: Holder,
    svid: String,
    task: String,
}

impl<'a> Worker<'a> {
    fn new(lab: &'a Lab) -> Self {
        let mut worker = Self {
            lab,
            holder: Holder::generate(),
            svid: String::new(),
            task: String::new(),
        };
        let client = worker.token(&attest_form(None));
        let trigger = json!({"kind": "schedule", "name": "nightly", "item": "item-1"});
        let details = json!({"purpose": "nightly", "trigger": trigger}).to_string();
        worker.task = worker.token(&[
            ("grant_type", EXCHANGE),
            ("subject_token", &client),
            ("subject_token_type", JWT),
            ("requested_token_type", TXN_TOKEN),
            ("audience", TRUST_DOMAIN),
            ("request_details", &details),
            ("client_assertion_type", JWT_SPIFFE),
            ("client_assertion", &client),
        ]);
        worker.svid = worker.token(&attest_form(Some(GATEWAYS)));
        worker
    }

    /// What the authority gives for a form, which comes with a proof.
    fn token(&mut self, form: &[Field<'_>]) -> String {
        let uri = format!("{}/token", self.lab.server.issuer());
        let body = encode(form);
        for _ in 0..2 {
            let proof = self.holder.prove(("POST", &uri), (None, None), now());
            let fields = [
                ("content-type", "application/x-www-form-urlencoded"),
                ("dpop", &proof),
            ];
            let answer = self
                .lab
                .agents()
                .call("POST", "/token", &fields, body.as_bytes());
            self.holder.nonce = answer.field("dpop-nonce");
            if answer.status == 200 {
                return answer.text("access_token");
            }
            assert_eq!(answer.text("error"), "use_dpop_nonce");
        }
        panic!("the nonce is good");
    }

    /// A proof for a request at the gateway.
    fn proof(&self, method: &str, target: &str) -> String {
        let tokens = (Some(self.svid.as_str()), Some(self.task.as_str()));
        let uri = format!("{}{target}", self.lab.gateway_url());
        self.holder.prove((method, &uri), tokens, now())
    }

    /// One request, with a nonce that is good by then.
    fn ask(&mut self, method: &str, target: &str) -> Answer {
        let answered = self.try_ask(method, target);
        answered.unwrap_or_else(|broken| panic!("{method} {target}: {}", broken.why))
    }

    /// The same of one that may be under way when it is cut.
    fn try_ask(&mut self, method: &str, target: &str) -> Result<Answer, Broken> {
        let door = self.lab.server.gateway();
        for _ in 0..2 {
            let proof = self.proof(method, target);
            let answer = self.try_show(&door, (method, target), "DPoP", Some(&proof))?;
            let asked = answer.status == 401 && answer.text("rule") == "proof.nonce";
            if let Some(nonce) = answer.field("dpop-nonce") {
                self.holder.nonce = Some(nonce);
            }
            if !asked {
                return Ok(answer);
            }
        }
        panic!("the nonce is good");
    }

    /// One request with this proof, as it is.
    fn show(&self, door: &Door, asked: (&str, &str), scheme: &str, proof: Option<&str>) -> Answer {
        let answered = self.try_show(door, asked, scheme, proof);
        answered.unwrap_or_else(|broken| panic!("{asked:?}: {}", broken.why))
    }

    fn try_show(
        &self,
        door: &Door,
        (method, target): (&str, &str),
        scheme: &str,
        proof: Option<&str>,
    ) -> Result<Answer, Broken> {
        let authorization = format!("{scheme} {}", self.svid);
        let mut fields = vec![
            ("authorization", authorization.as_str()),
            ("txn-token", self.task.as_str()),
        ];
        fields.extend(proof.map(|proof| ("dpop", proof)));
        door.send(method, target, &fields, b"")
    }
}

/// A lab whose server workload `server` is assigned to the server's own gateway.
fn lab_with(server: &str) -> Lab {
    let lab = Lab::start();
    lab.assign(server);
    lab
}

fn refused(answer: &Answer) -> (u16, String) {
    (answer.status, answer.text("rule"))
}

fn rule(status: u16, rule: &str) -> (u16, String) {
    (status, rule.to_owned())
}

#[expect(clippy::disallowed_methods, reason = "the server has real time")]
fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    Timestamp::from_millis(u64::try_from(since.as_millis()).unwrap())
}

/// The records of what was issued through the gateway so far.
fn issued_via(lab: &Lab) -> Vec<Value> {
    let mut records = LogTail::open_at(lab.data(), 0).more();
    records.retain(|record| log::kind(record) == "issued" && record["via"] == "local");
    records
}

#[test]
fn an_agent_that_brings_svid_and_task_is_served_as_if_it_had_exchanged() {
    let lab = lab_with("records");
    let mut worker = Worker::new(&lab);
    for _ in 0..3 {
        worker.ask("GET", "/records/items/via/x").expect(200);
    }
    // One access token served all of it, and it never left the gateway.
    let issued = issued_via(&lab);
    assert_eq!(issued.len(), 1, "{issued:?}");
    let key = worker.holder.key.thumbprint().to_string();
    assert_eq!(issued[0]["jkt"], key);
    for seen in lab.upstream.seen("/items/via") {
        assert_eq!(
            seen.field("authorization"),
            Some(format!("Bearer {}", lab.key).as_str())
        );
        assert!(!seen.head.contains(&worker.svid) && !seen.head.contains(&worker.task));
        assert!(seen.field("txn-token").is_none() && seen.field("dpop").is_none());
    }
    // What was done says who did it, by which key, through whom, and why.
    let decided = wait::until("the records of the accesses are in the log", || {
        let mut records = LogTail::open_at(lab.data(), 0).more();
        records.retain(|record| log::kind(record) == "access_decided");
        (records.len() == 3).then_some(records)
    });
    for record in &decided {
        assert_eq!(record["via"], "local");
        assert_eq!(record["gateway"], "local");
        assert_eq!(record["jkt"], key);
        assert_eq!(record["token"], issued[0]["token"]);
        assert_eq!(record["actors"][0]["sub"], spiffe_id("worker"));
        assert_eq!(record["task"][0], agent::claims(&worker.task)["task"]["id"]);
    }
    let root = decided[0]["task"][0].as_str().unwrap();
    let (code, told) = lab.say(&["trace", root]);
    assert_eq!(code, 0, "{told}");
    let lines = told.lines().filter(|line| line.contains("via local"));
    assert_eq!(lines.count(), 3, "{told}");
}

#[test]
fn an_agent_without_a_key_may_bring_its_svid_as_a_bearer_token() {
    let lab = lab_with("records");
    let client = lab.worker();
    let task = token(client.open());
    let svid = lab.agents().form("/token", &attest_form(Some(GATEWAYS)));
    let bearer = format!("Bearer {}", svid.text("access_token"));
    let fields = [
        ("authorization", bearer.as_str()),
        ("txn-token", task.as_str()),
    ];
    let get = |fields: &[Field<'_>]| lab.server.gateway().get("/records/items/via", fields);
    get(&fields).expect(200);
    let issued = issued_via(&lab);
    assert_eq!(issued[0]["jkt"], Value::Null);
    // An SVID for the token endpoint is none for a gateway, and without a task token there is nothing.
    let own = format!("Bearer {}", client.svid);
    let for_tokens = [("authorization", own.as_str()), fields[1]];
    assert_eq!(refused(&get(&for_tokens)), rule(401, "token.invalid"));
    assert_eq!(refused(&get(&fields[..1])), rule(401, "token.invalid"));
    assert_eq!(refused(&get(&fields[1..])), rule(401, "token.missing"));
}

#[test]
fn a_request_brings_one_task_token_and_no_access_token_beside_it() {
    let lab = lab_with("records");
    let client = lab.worker();
    let own = token(client.open());
    let access = token(client.access(&own, "records"));
    let mut worker = Worker::new(&lab);
    worker.ask("GET", "/records/items/first").expect(200);
    let target = "/records/items/via";
    let two = |tokens: &[&str]| {
        let proof = worker.proof("GET", target);
        let authorization = format!("DPoP {}", worker.svid);
        let mut fields = vec![
            ("authorization", authorization.as_str()),
            ("dpop", proof.as_str()),
        ];
        fields.extend(tokens.iter().map(|token| ("txn-token", *token)));
        refused(&lab.server.gateway().get(target, &fields))
    };
    let task = worker.task.as_str();
    assert_eq!(two(&[task, task]), rule(400, "http.ambiguous"));
    let list = format!("{task}, {task}");
    assert_eq!(two(&[&list]), rule(400, "request.txn_token"));
    assert_eq!(two(&[""]), rule(400, "request.txn_token"));
    assert_eq!(two(&[&worker.svid]), rule(401, "token.invalid"));
    // An access token names its task itself.
    let bearer = format!("Bearer {access}");
    let both = [
        ("authorization", bearer.as_str()),
        ("txn-token", own.as_str()),
    ];
    let answer = lab.server.gateway().get(target, &both);
    assert_eq!(refused(&answer), rule(400, "request.txn_token"));
    assert!(lab.upstream.seen("/items/via").is_empty());
    lab.access(target, &access).expect(200);
}

#[test]
fn a_stolen_svid_or_a_proof_for_something_else_opens_nothing() {
    let lab = lab_with("records");
    let mut worker = Worker::new(&lab);
    let target = "/records/items/via";
    worker.ask("GET", "/records/items/first").expect(200);
    let door = lab.server.gateway();
    let show =
        |scheme, proof: Option<&str>| refused(&worker.show(&door, ("GET", target), scheme, proof));
    // Without the key, or with another one.
    assert_eq!(show("Bearer", None), rule(401, "proof.missing"));
    assert_eq!(show("DPoP", None), rule(401, "proof.missing"));
    let uri = format!("{}{target}", lab.gateway_url());
    let proof = |key: &AgentKey, token: Option<&str>, task: Option<&str>, uri: &str| {
        key.prove(&Proving {
            method: "GET",
            uri,
            now: now(),
            token,
            task,
            nonce: worker.holder.nonce.as_deref(),
        })
    };
    let (svid, task) = (Some(worker.svid.as_str()), Some(worker.task.as_str()));
    let thief = AgentKey::generate();
    let stolen = proof(&thief, svid, task, &uri);
    assert_eq!(show("DPoP", Some(&stolen)), rule(401, "proof.other_key"));
    // For other tokens, or another place.
    let own = &worker.holder.key;
    let elsewhere = format!("{}/records/items/other", lab.gateway_url());
    for wrong in [
        proof(own, svid, None, &uri),
        proof(own, None, task, &uri),
        proof(own, svid, Some("another"), &uri),
        proof(own, svid, task, &elsewhere),
    ] {
        assert_eq!(show("DPoP", Some(&wrong)), rule(401, "proof.invalid"));
    }
    assert!(lab.upstream.seen("/items/via").is_empty());
    // Each good one once: also where the access token was got long before.
    let good = proof(own, svid, task, &uri);
    worker
        .show(&door, ("GET", target), "DPoP", Some(&good))
        .expect(200);
    assert_eq!(show("DPoP", Some(&good)), rule(401, "proof.used"));
    assert_eq!(lab.upstream.seen("/items/via").len(), 1);
    assert_eq!(issued_via(&lab).len(), 1);
}

#[test]
fn nothing_is_got_for_a_server_workload_that_is_not_assigned_to_the_gateway() {
    let lab = lab_with("records");
    let mut worker = Worker::new(&lab);
    let answer = worker.ask("GET", "/inner/items/via");
    assert_eq!(refused(&answer), rule(403, "exchange.unassigned"));
    // Nor for a gateway that does not ask itself what is assigned to it.
    let (edge, own) = (AgentKey::generate(), "edge");
    let control = lab.control();
    let mut nonce: Option<String> = None;
    let mut ask = |gateway: &str, server: &str, target: &str| {
        let uri = format!("{}{target}", lab.gateway_url());
        let resource = resource(server);
        let actor = worker.proof("GET", target);
        let form = encode(&[
            ("grant_type", EXCHANGE),
            ("client_id", gateway),
            ("subject_token", &worker.task),
            ("subject_token_type", TXN_TOKEN),
            ("actor_token", &worker.svid),
            ("actor_token_type", JWT),
            ("resource", &resource),
            ("actor_dpop", &actor),
            ("actor_htm", "GET"),
            ("actor_htu", &uri),
        ]);
        for _ in 0..2 {
            let proof = edge.prove(&Proving {
                method: "POST",
                uri: &format!("{}/control/v1/token", lab.server.issuer()),
                now: now(),
                token: None,
                task: None,
                nonce: nonce.as_deref(),
            });
            let fields = [
                ("content-type", "application/x-www-form-urlencoded"),
                ("dpop", proof.as_str()),
            ];
            let answer = control.call("POST", "/control/v1/token", &fields, form.as_bytes());
            nonce = answer.field("dpop-nonce");
            if answer.status == 200 || answer.text("error") != "use_dpop_nonce" {
                return answer;
            }
        }
        panic!("the nonce is good");
    };
    for (gateway, server, target) in [
        (own, "records", "/records/items/via"),
        ("local", "inner", "/inner/items/via"),
    ] {
        let answer = ask(gateway, server, target);
        assert_eq!(answer.text("error"), "unauthorized_client", "{answer:?}");
    }
    // A proof that was made for another server workload is none for this one.
    let answer = ask("local", "records", "/inner/items/via");
    assert_eq!(answer.text("error"), "invalid_dpop_proof");
    ask("local", "records", "/records/items/via").expect(200);
    let mut told = LogTail::open_at(lab.data(), 0).more();
    told.retain(|record| record["rule"] == "gateway.unassigned");
    let gateways: Vec<_> = told.iter().map(|record| &record["via"]).collect();
    assert_eq!(gateways, ["edge", "local"]);
    assert_eq!(told[0]["actors"][0]["sub"], spiffe_id("worker"));
}

#[test]
fn what_a_gateway_keeps_for_an_agent_ends_with_its_suspension() {
    let lab = lab_with("records");
    let mut worker = Worker::new(&lab);
    worker.ask("GET", "/records/items/via").expect(200);
    let target = "/records/items/via/stream";
    let proof = worker.proof("GET", target);
    let authorization = format!("DPoP {}", worker.svid);
    let fields = [
        ("authorization", authorization.as_str()),
        ("txn-token", worker.task.as_str()),
        ("dpop", proof.as_str()),
    ];
    let mut stream = lab.server.gateway().connect().unwrap();
    write!(stream, "{}\r\n", head("GET", target, &fields)).unwrap();
    let mut lines = BufReader::new(&mut stream);
    let mut line = String::new();
    while !line.starts_with("line") {
        line.clear();
        assert_ne!(lines.read_line(&mut line).unwrap(), 0, "no line came");
    }
    let subject = json!({"kind": "agent", "id": spiffe_id("worker")});
    let proof = lab.suspend(&subject).expect(200).json();
    assert_eq!(
        (&proof["effective"], &proof["cut"]),
        (&json!(true), &json!(1))
    );
    let mut rest = Vec::new();
    let ended = lines.read_to_end(&mut rest);
    assert!(
        ended.is_err() || !rest.ends_with(b"0\r\n\r\n"),
        "it broke off"
    );
    let stopped = rule(403, "stopped");
    assert_eq!(refused(&worker.ask("GET", "/records/items/via")), stopped);
    // What was got before is void for good; with what it gets afresh the agent goes on.
    lab.resume(&subject).expect(200);
    assert_eq!(worker.ask("GET", "/records/items/via").status, 403);
    Worker::new(&lab)
        .ask("GET", "/records/items/via")
        .expect(200);
}

#[test]
fn an_agent_that_replaces_its_key_or_ends_its_task_is_served_no_more_by_what_was_kept() {
    let lab = lab_with("records");
    let mut former = Worker::new(&lab);
    former.ask("GET", "/records/items/via").expect(200);
    let mut latter = Worker::new(&lab);
    latter.ask("GET", "/records/items/via").expect(200);
    let void = rule(403, "exchange.denied");
    assert_eq!(refused(&former.ask("GET", "/records/items/via")), void);
    let claims = agent::claims(&latter.task);
    let path = format!(
        "/operator/v1/tasks/{}/cancel",
        claims["task"]["id"].as_str().unwrap()
    );
    let ended = lab.operators().json(&path, &json!({"reason": "INC-1"}));
    assert!(matches!(ended.status, 200 | 204), "{ended:?}");
    wait::until("the gateway knows that the task has ended", || {
        // One that is under way at that moment is cut.
        let answer = latter.try_ask("GET", "/records/items/via").ok()?;
        (answer.status == 401).then(|| assert_eq!(answer.text("rule"), "exchange.token"))
    });
}

#[test]
fn each_write_has_an_access_token_of_its_own() {
    let lab = lab_with("records");
    let mut worker = Worker::new(&lab);
    let target = "/records/items/via";
    // A gateway that has just started takes no tokens for writes.
    wait::until("writes are admitted", || {
        let answer = worker.ask("POST", target);
        assert!(matches!(answer.status, 200 | 401), "{answer:?}");
        (answer.status == 200).then_some(())
    });
    let before = issued_via(&lab).len();
    for _ in 0..2 {
        worker.ask("POST", target).expect(200);
    }
    assert_eq!(issued_via(&lab).len(), before + 2);
}

#[test]
fn without_its_authority_a_gateway_gets_nothing_and_says_so() {
    let lab = Lab::start();
    let folder = tempfile::tempdir().unwrap();
    let edge = Edge::start(lab.data(), folder.path());
    let line = format!("  resource: {}\n", resource("dark"));
    let address = format!("http://{}/dark", edge.address());
    let assigned = format!("{line}  gateways: {{edge: \"{address}\"}}\n");
    let bundle = lab.bundle().replacen(&line, &assigned, 1);
    assert_eq!(lab.apply(&bundle).code, 0);
    wait::until("the gateway has a lease", || edge.is_ready().then_some(()));
    let client = lab.worker();
    let (task, other) = (token(client.open()), token(client.open()));
    let svid = lab.agents().form("/token", &attest_form(Some(GATEWAYS)));
    let bearer = format!("Bearer {}", svid.text("access_token"));
    let get = |task: &str| {
        let fields = [("authorization", bearer.as_str()), ("txn-token", task)];
        edge.door().get("/dark/items/via", &fields)
    };
    // What another gateway serves is no server workload of this one.
    let own = token(client.access(&task, "dark"));
    assert_eq!(
        refused(&lab.access("/dark/items/via", &own)),
        rule(404, "request.no_server")
    );
    get(&task).expect(200);
    edge.cut();
    // What was kept is good for as long as the lease is; another token is not to be had.
    get(&task).expect(200);
    assert_eq!(refused(&get(&other)), rule(503, "exchange.no_answer"));
    edge.mend();
    wait::until("it gets access tokens again", || {
        (get(&other).status == 200).then_some(())
    });
}
