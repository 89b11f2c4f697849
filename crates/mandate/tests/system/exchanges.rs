//! What the endpoints refuse, and what the records tell.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::lab::Lab;
use crate::lab::agent::{
    self, Agent, EXCHANGE, GATEWAYS, JWT_SPIFFE, access_form, attest_form, entry, resource,
    spiffe_id, token,
};
use crate::lab::http::Field;
use crate::lab::log::{self, LogTail};
use crate::lab::wait;

#[test]
fn repeated_form_keys_are_refused() {
    let lab = Lab::start();
    let worker = lab.worker();
    let task = token(worker.open());
    let records = resource("records");
    let grant = [("grant_type", EXCHANGE)];
    let access = [&grant, access_form(&task, &records).as_slice()].concat();
    let about = vec![("token", task.as_str())];
    for (path, form) in [
        ("/token", &access),
        ("/introspect", &about),
        ("/revoke", &about),
        ("/task/show", &about),
        ("/task/close", &about),
    ] {
        let whole = [form.as_slice(), &worker.client()].concat();
        for twice in &whole {
            let repeated = [whole.as_slice(), &[*twice]].concat();
            let answer = worker.door.form(path, &repeated);
            let told = matches!(answer.status, 400 | 401) && answer.body.contains(twice.0);
            assert!(told, "{path} with `{}` twice: {answer:?}", twice.0);
        }
    }
    // Nothing of it happened: the task is live, and the form without repetition is good.
    worker.exchange(&access[1..]).expect(200);
}

#[test]
fn process_evidence_over_the_network_is_refused() {
    let lab = Lab::start();
    lab.agents().form("/token", &attest_form(None)).expect(200);
    let answer = lab.server.authority().form("/token", &attest_form(None));
    assert!(matches!(answer.status, 400 | 401), "{answer:?}");
    assert!(!answer.body.contains("access_token"), "{}", answer.body);
}

#[test]
fn a_name_in_a_request_is_never_believed() {
    let lab = Lab::start();
    let other = spiffe_id("clerk");
    let form = [attest_form(None), vec![("requested_actor", other.as_str())]].concat();
    let answer = lab.agents().form("/token", &form);
    assert!(matches!(answer.status, 400 | 401 | 403), "{answer:?}");
    let own = lab.worker();
    let client_id = [("token", own.svid.as_str()), ("client_id", other.as_str())];
    let answer = own.post("/introspect", &client_id);
    assert!(
        answer.is_refused() || answer.json()["sub"] == spiffe_id("worker"),
        "{answer:?}"
    );
}

#[test]
fn an_agent_that_no_rule_fits_is_refused_at_attestation() {
    let lab = Lab::start();
    let stray = lab.data().join("stray");
    std::fs::copy(crate::lab::server::PROGRAM, &stray).unwrap();
    let socket = lab.data().join("run/agent.sock");
    let claim = ["--as", &spiffe_id("clerk")];
    for claim in [&claim[..], &[]] {
        let ran = std::process::Command::new(&stray)
            .args(["whoami", "--socket"])
            .arg(&socket)
            .args(claim)
            .output()
            .unwrap();
        assert_eq!(ran.status.code(), Some(1), "{ran:?}");
    }
}

#[test]
fn deepest_chain_is_recorded_whole() {
    let lab = Lab::start();
    let worker = lab.worker();
    let mandate = json!([entry("records", "read")]);
    let mut tasks = vec![token(worker.open_for(&lab.id_token("alice")))];
    while tasks.len() < 8 {
        tasks.push(token(worker.delegate(
            &tasks[tasks.len() - 1],
            "worker",
            &mandate,
        )));
    }
    let deeper = worker.delegate(&tasks[7], "worker", &mandate);
    assert_eq!(deeper.status, 400, "{deeper:?}");
    let access = token(worker.access(&tasks[7], "records"));
    lab.access("/records/items/deep", &access).expect(200);

    let record = decided(&lab, "deep");
    let ids = tasks
        .iter()
        .map(|task| agent::claims(task)["task"]["id"].clone());
    assert_eq!(record["task"], ids.collect::<Value>());
    assert_eq!(record["actors"].as_array().unwrap().len(), 8);
    assert_eq!(record["principal"], "user:login:alice");
    assert_eq!(record["trigger"]["verified"], "user");
}

#[test]
fn baggage_does_not_name_the_task() {
    let lab = Lab::start();
    let worker = lab.worker();
    let task = token(worker.open());
    let another = token(worker.open());
    let another = agent::claims(&another)["task"]["id"]
        .as_str()
        .unwrap()
        .to_owned();
    let access = token(worker.access(&task, "records"));
    let bearer = format!("Bearer {access}");
    let baggage = format!("task={another},user=mallory");
    let said = [
        ("authorization", bearer.as_str()),
        ("baggage", baggage.as_str()),
        ("txn-token", another.as_str()),
        ("x-task-id", another.as_str()),
        (
            "traceparent",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        ),
    ];
    // A request that names a task beside its token is refused or decided by the token alone.
    let answer = lab.server.gateway().get("/records/items/said", &said);
    let without = [said[0], said[1], said[3], said[4]];
    if answer.status != 200 {
        lab.server
            .gateway()
            .get("/records/items/said", &without)
            .expect(200);
    }
    let record = decided(&lab, "said");
    assert_eq!(record["task"][0], agent::claims(&task)["task"]["id"]);
    assert!(!record.to_string().contains(&another), "{record}");
}

#[test]
fn every_access_token_is_for_one_server_one_agent_one_task() {
    let lab = Lab::start();
    let worker = lab.worker();
    let root = token(worker.open());
    let child = token(worker.delegate(&root, "clerk", &json!([entry("records", "read")])));
    let stolen = worker.access(&child, "records");
    assert!(
        stolen.is_refused(),
        "its parent is not in `may_act`: {stolen:?}"
    );
    let clerk = lab.clerk();
    let access = token(clerk.access(&child, "records"));
    assert!(lab.access("/inner/items/1", &access).is_refused());
    lab.access("/records/items/1", &access).expect(200);
    let both = clerk.exchange(
        &[
            access_form(&child, &resource("records")).as_slice(),
            &[("audience", GATEWAYS)],
        ]
        .concat(),
    );
    assert!(both.is_refused(), "{both:?}");
}

#[test]
fn tokens_of_two_children_do_not_combine() {
    let lab = Lab::start();
    let (worker, clerk) = (lab.worker(), lab.clerk());
    let root = token(worker.open());
    let of_clerk = token(worker.delegate(&root, "clerk", &json!([entry("records", "read")])));
    let of_worker = token(worker.delegate(&root, "worker", &json!([entry("inner", "read")])));
    token(clerk.access(&of_clerk, "records"));
    token(worker.access(&of_worker, "inner"));
    assert!(
        clerk.access(&of_worker, "inner").is_refused(),
        "a sibling's token"
    );
    assert!(
        clerk.access(&of_clerk, "inner").is_refused(),
        "a sibling's mandate"
    );
    // The subject of one chain, with the actor of another.
    let resource = resource("records");
    let spliced = [
        access_form(&of_clerk, &resource).as_slice(),
        &[
            ("actor_token", &worker.svid),
            ("actor_token_type", agent::JWT),
        ],
    ]
    .concat();
    assert!(clerk.exchange(&spliced).is_refused());
    let own = [
        access_form(&of_clerk, &resource).as_slice(),
        &[
            ("actor_token", &clerk.svid),
            ("actor_token_type", agent::JWT),
        ],
    ]
    .concat();
    clerk.exchange(&own).expect(200);
}

#[test]
fn login_scopes_neither_grant_nor_take() {
    let lab = Lab::start();
    let worker = lab.worker();
    let mandate_of = |claims: Value| {
        let login = json!({"user": "alice", "claims": claims});
        let answer = lab.server.dev_issuer().json("/login", &login);
        let id_token = answer.expect(200).text("id_token");
        worker.open_for(&id_token).expect(200).json()["authorization_details"].clone()
    };
    let without = mandate_of(json!({}));
    assert_eq!(
        without.as_array().unwrap().len(),
        5,
        "the policy's ceiling: {without}"
    );
    for scope in [
        "",
        "openid",
        "records:read",
        "admin records:write everything",
    ] {
        assert_eq!(mandate_of(json!({ "scope": scope })), without, "`{scope}`");
    }
}

#[test]
fn an_assertion_for_another_audience_is_refused_with_the_mend() {
    let lab = Lab::start();
    let endpoint = format!("{}/token", lab.server.issuer());
    let answer = lab.agents().form("/token", &attest_form(Some(&endpoint)));
    assert!(answer.is_refused(), "no SVID is minted for it: {answer:?}");
    let form: [Field<'_>; 3] = [
        ("token", "x"),
        ("client_assertion_type", JWT_SPIFFE),
        ("client_assertion", "not.a.token"),
    ];
    lab.server
        .authority()
        .form("/introspect", &form)
        .expect(401);
}

#[test]
fn no_two_tokens_have_one_id_and_each_issuance_is_recorded() {
    let lab = Lab::start();
    let worker = lab.worker();
    let task = token(worker.open());
    let issued: Vec<String> = std::thread::scope(|scope| {
        let many = (0..4).map(|_| scope.spawn(|| issue(&worker, &task)));
        let many: Vec<_> = many.collect();
        many.into_iter()
            .flat_map(|one| one.join().unwrap())
            .collect()
    });
    let ids: BTreeSet<String> = issued
        .iter()
        .map(|token| agent::claims(token)["jti"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(ids.len(), issued.len());
    let mut tail = LogTail::open_at(lab.data(), 0);
    let recorded: BTreeSet<String> = tail
        .more()
        .iter()
        .filter(|record| log::kind(record) == "issued")
        .map(|record| record["token"].as_str().unwrap().to_owned())
        .collect();
    assert!(
        ids.is_subset(&recorded),
        "recorded before they were handed out"
    );
}

fn issue(worker: &Agent, task: &str) -> Vec<String> {
    (0..10)
        .map(|_| token(worker.access(task, "records")))
        .collect()
}

/// The record of the access to `item`, once it is in the log.
fn decided(lab: &Lab, item: &str) -> Value {
    let mut tail = LogTail::open_at(lab.data(), 0);
    wait::until("the record of the access is in the log", || {
        let mut found = tail.more().into_iter().filter(|record| {
            log::kind(record) == "access_decided"
                && record["decision"] == "allowed"
                && log::attribute(record, "item") == item
        });
        found.next()
    })
}
