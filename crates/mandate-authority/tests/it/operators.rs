//! The operators' socket: rights, bundles, tasks, the log, keys.

use std::time::Duration;

use mandate_audit::What;
use mandate_ports::{Change, Unit};
use serde_json::json;

use crate::client::Lines;
use crate::control::{lease, versions};
use crate::lab::{Lab, agent, reading};

const ALL_RIGHTS: &str =
    "rights: [suspend, resume, apply, upstreams, tasks, tokens, audit, keys, gateways, inspect]";

/// One more operator's declaration.
pub(crate) fn operator(name: &str, uid: &str, rights: &str) -> String {
    format!(
        "\n---\napiVersion: mandate.dev/v1alpha1\nkind: Operator\nmetadata: {{name: {name}}}\n\
         spec: {{uid: {uid}, {rights}}}\n"
    )
}

#[tokio::test]
async fn a_bundle_is_applied_against_the_version_that_the_operator_saw_and_goes_back() {
    let lab = Lab::new().await;
    let stale = lab.apply(&lab.bundle(), 0).await;
    assert_eq!(stale.expect(409)["rule"], "bundle");
    let text = lab.bundle().replace("maxDuration: 10m", "maxDuration: 5m");
    assert_eq!(lab.apply(&text, 1).await.expect(200)["version"], 2);
    let back = json!({"version": 1, "base": 2});
    assert_eq!(
        lab.operator("/operator/v1/bundle/back", &back)
            .await
            .expect(200)["version"],
        3
    );
    let shown = lab.look("/operator/v1/bundle").await.expect(200);
    assert_eq!(
        (&shown["version"], &shown["files"][0][1]),
        (&json!(3), &json!(lab.bundle()))
    );
    let applied = lab
        .events()
        .await
        .into_iter()
        .filter(|e| e.what.kind() == "bundle_applied");
    assert_eq!(applied.count(), 3);
}

#[tokio::test]
async fn a_bundle_that_is_live_already_makes_no_new_version() {
    let lab = Lab::new().await;
    let same = lab.apply(&lab.bundle(), 1).await.expect(200);
    assert_eq!(
        (&same["version"], &same["unchanged"]),
        (&json!(1), &json!(true))
    );
    let back = json!({"version": 1, "base": 1});
    let same = lab
        .operator("/operator/v1/bundle/back", &back)
        .await
        .expect(200);
    assert_eq!(
        (&same["version"], &same["unchanged"]),
        (&json!(1), &json!(true))
    );
    let stale = lab.apply(&lab.bundle(), 0).await;
    assert_eq!(stale.expect(409)["rule"], "bundle");
    let other = format!("{}# A remark.\n", lab.bundle());
    let other = lab.apply(&other, 1).await.expect(200);
    assert_eq!(
        (&other["version"], &other["unchanged"]),
        (&json!(2), &json!(false))
    );
    let events = lab.events().await;
    let applied = events.iter().filter(|e| e.what.kind() == "bundle_applied");
    assert_eq!(applied.count(), 2);
    let looked = What::OperatorActed {
        operation: "bundle_apply_unchanged".to_owned(),
    };
    assert_eq!(events.iter().filter(|e| e.what == looked).count(), 2);
}

#[tokio::test]
async fn a_version_that_never_was_is_answered_with_those_that_were() {
    let lab = Lab::new().await;
    let text = lab.bundle().replace("maxDuration: 10m", "maxDuration: 5m");
    lab.apply(&text, 1).await.expect(200);
    let back = json!({"version": 99, "base": 2});
    let refused = lab
        .operator("/operator/v1/bundle/back", &back)
        .await
        .expect(404);
    let detail = refused["detail"].as_str().unwrap();
    assert!(detail.ends_with("the versions are 1 to 2"), "{detail}");
}

/// `apply` of what is live already but for a remark, as version 2, which waits for gateways.
fn applied_again(lab: &Lab, wait_ms: u64) -> serde_json::Value {
    let text = format!("{}# A remark.\n", lab.bundle());
    json!({"files": [["bundle.yaml", text]], "base": 1, "wait_ms": wait_ms})
}

const APPLY: &str = "/operator/v1/bundle/apply";

#[tokio::test]
async fn a_bundle_is_in_force_once_every_gateway_with_a_lease_says_that_it_has_it() {
    let lab = Lab::new().await;
    let old = versions(&lab).await;
    lab.control("/control/v1/lease", &lease("g-1", &old))
        .await
        .expect(200);
    let mut lines = Lines::open(
        &lab.socket("control.sock"),
        "/control/v1/stream?gateway=g-1",
    )
    .await;
    let has_it = async {
        loop {
            let message = lines.next().await.unwrap();
            if message["message"] == "bundle" && message["version"] == 2 {
                break;
            }
        }
        let new = versions(&lab).await;
        lab.control("/control/v1/lease", &lease("g-1", &new)).await
    };
    let body = applied_again(&lab, 60_000);
    let (answer, leased) = tokio::join!(lab.operator(APPLY, &body), has_it);
    leased.expect(200);
    let answer = answer.expect(200);
    assert_eq!(
        (&answer["version"], &answer["effective"]),
        (&json!(2), &json!(true))
    );
    let gateway = &answer["gateways"][0];
    assert_eq!(
        (&gateway["id"], &gateway["bundle"]),
        (&json!("g-1"), &json!(2))
    );
    assert!(gateway["after_ms"].is_u64(), "{gateway}");
}

#[tokio::test]
async fn a_gateway_that_has_not_applied_a_bundle_in_time_is_named() {
    let lab = Lab::new().await;
    let old = versions(&lab).await;
    for gateway in ["g-1", "g-2"] {
        lab.control("/control/v1/lease", &lease(gateway, &old))
            .await
            .expect(200);
    }
    let answer = lab
        .operator(APPLY, &applied_again(&lab, 0))
        .await
        .expect(200);
    assert_eq!(answer["effective"], false);
    let expected = json!([
        {"id": "g-1", "effective": false, "bundle": 1},
        {"id": "g-2", "effective": false, "bundle": 1},
    ]);
    assert_eq!(answer["gateways"], expected);
    assert_eq!(versions(&lab).await["bundle"], 2, "it is live all the same");
}

#[tokio::test]
async fn a_bundle_with_mistakes_leaves_the_live_one_alone() {
    let lab = Lab::new().await;
    let broken = lab.bundle().replace("server: records", "server: recrods");
    let refused = lab.apply(&broken, 1).await.expect(422);
    assert!(!refused["mistakes"].as_array().unwrap().is_empty());
    assert_eq!(
        lab.look("/operator/v1/bundle").await.expect(200)["version"],
        1
    );
    lab.svid("backlog").await;
    let files = json!({"files": [["bundle.yaml", lab.bundle()]]});
    let checked = lab
        .operator("/operator/v1/bundle/check", &files)
        .await
        .expect(200);
    assert_eq!(
        (&checked["base"], &checked["changes_upstreams"]),
        (&json!(1), &json!(false))
    );
    let moved = lab
        .bundle()
        .replace("http://127.0.0.1:9000", "http://127.0.0.1:9999");
    let files = json!({"files": [["bundle.yaml", moved]]});
    let path = "/operator/v1/bundle/check";
    let checked = lab.operator(path, &files).await;
    let upstreams = checked.expect(200)["plan"]["upstreams"].clone();
    assert!(
        upstreams[0].as_str().unwrap().contains("9999"),
        "{upstreams}"
    );
    assert!(checked.text.contains("\"plan\":{\"upstreams\""), "first");
}

#[tokio::test]
async fn a_user_without_the_right_is_refused_and_the_refusal_recorded() {
    let lab = Lab::empty().await;
    let text = lab.bundle().replace(ALL_RIGHTS, "rights: [inspect]");
    let text = format!("{text}{}", operator("amy", "5151", ALL_RIGHTS));
    lab.apply(&text, 0).await.expect(200);
    let body = json!({"subject": agent("backlog"), "reason": "x"});
    let refused = lab
        .operator("/operator/v1/suspend", &body)
        .await
        .expect(403);
    assert_eq!(refused["rule"], "operator.no_right");
    lab.look("/operator/v1/log/search").await.expect(403);
    assert_eq!(
        lab.refused_rules().await,
        ["operator.no_right", "operator.no_right"]
    );
    lab.look("/operator/v1/status").await.expect(200);
}

#[tokio::test]
async fn an_operator_sees_a_task_with_its_ancestors_and_ends_it() {
    let lab = Lab::new().await;
    let backlog = lab.svid("backlog").await;
    let root = lab.open(&backlog, "nightly", &[]).await.token();
    lab.delegate(&backlog, &root, "retriever", &reading())
        .await
        .expect(200);
    let events = lab.events().await;
    let child = events.iter().rev().find_map(|e| e.task.clone()).unwrap();
    let path = format!("/operator/v1/tasks/{}", child.leaf());
    let shown = lab.look(&path).await.expect(200);
    assert_eq!(shown["ancestors"][0]["id"], child.root().to_string());
    assert_eq!(shown["tasks"].as_array().unwrap().len(), 1);
    let root_path = format!("/operator/v1/tasks/{}/cancel", child.root());
    lab.operator(&root_path, &json!({"reason": "wrong case"}))
        .await
        .expect(200);
    assert_eq!(
        lab.look(&path).await.expect(200)["tasks"][0]["state"],
        "cancelled"
    );
    lab.operator(&root_path, &json!({"reason": "again"}))
        .await
        .expect(409);
    assert!(!lab.renew(&backlog, &root).await.status.is_success());
}

#[tokio::test]
async fn the_log_is_searched_proven_and_signed() {
    let lab = Lab::new().await;
    let backlog = lab.svid("backlog").await;
    lab.open(&backlog, "nightly", &[]).await.expect(200);
    let path = "/operator/v1/log/search?kind=issued&agent=spiffe://acme.example/agent/backlog";
    let found = lab.look(path).await.expect(200);
    let records = found["records"].as_array().unwrap();
    assert_eq!(records.len(), 2);
    assert!(records[0]["index"].as_u64() > records[1]["index"].as_u64());
    let entries = lab
        .look("/operator/v1/log/entries?first=0&limit=2")
        .await
        .expect(200);
    assert_eq!(entries["entries"].as_array().unwrap().len(), 2);
    let proof = lab
        .look("/operator/v1/log/proof?index=1&size=5")
        .await
        .expect(200);
    assert_eq!(proof["proof"].as_array().unwrap().len(), 3);
    lab.look("/operator/v1/log/consistency?old=2&size=5")
        .await
        .expect(200);
    lab.look("/operator/v1/log/proof?index=9&size=5")
        .await
        .expect(404);
    lab.look("/operator/v1/log/search?limit=0")
        .await
        .expect(400);
    lab.look("/operator/v1/log/search?kidn=issued")
        .await
        .expect(400);
    let tile = lab.look("/log/tile/entries/000.p/2").await;
    assert_eq!(tile.status, 200);
    let lab = lab.restarted().await;
    let note = lab.look("/log/checkpoint").await.text;
    assert!(note.starts_with("acme.example/mandate/log\n"), "{note}");
}

#[tokio::test]
async fn a_rotated_key_signs_only_after_verifiers_could_fetch_it_and_voids_nothing() {
    let lab = Lab::new().await;
    let backlog = lab.svid("backlog").await;
    let body = json!({"purpose": "svid"});
    let rotated = lab
        .operator("/operator/v1/keys/rotate", &body)
        .await
        .expect(200);
    let new = rotated["key"].as_str().unwrap().to_owned();
    lab.operator("/operator/v1/keys/rotate", &body)
        .await
        .expect(409);
    let signing = |keys: &serde_json::Value| {
        let keys = keys["keys"].as_array().unwrap().clone();
        let signs = |k: &&serde_json::Value| k["purpose"] == "svid" && k["state"] == "signing";
        keys.iter()
            .filter(signs)
            .map(|k| k["id"].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    assert!(!signing(&lab.look("/operator/v1/keys").await.json()).contains(&new));
    let mut versions = lab.authority.versions();
    let keys = versions.borrow_and_update().keys;
    lab.pass(Duration::from_secs(600));
    versions
        .wait_for(|versions| versions.keys > keys)
        .await
        .unwrap();
    assert_eq!(signing(&lab.look("/operator/v1/keys").await.json()), [new]);
    let fresh = lab.svid("backlog").await;
    assert_ne!(
        fresh.split('.').next(),
        backlog.split('.').next(),
        "another `kid`"
    );
    lab.open(&fresh, "nightly", &[]).await.expect(200);
}

#[tokio::test]
async fn a_gateways_suspensions_are_given_back_to_a_store_that_lost_them() {
    let lab = Lab::new().await;
    let lost = json!({"subject": agent("backlog"), "reason": "INC-1", "operator": "operator:root",
                      "version": 7, "at": 1});
    let body = json!({"gateway": "g-1", "suspensions": [lost], "stops": 0});
    let path = "/operator/v1/gateways/accept-epoch";
    assert_eq!(lab.operator(path, &body).await.expect(200)["restored"], 1);
    assert_eq!(lab.operator(path, &body).await.expect(200)["restored"], 0);
    assert_eq!(
        lab.attest("backlog", "b", &[]).await.error(),
        "access_denied"
    );
    let shown = lab.look("/operator/v1/suspensions").await.expect(200);
    assert_eq!(shown["suspensions"][0]["subject"], agent("backlog"));
}

#[tokio::test]
async fn nobody_applies_a_right_for_oneself_in_two_steps() {
    let lab = Lab::new().await;
    let helper = |rights: &str| format!("{}{}", lab.bundle(), operator("amy", "5151", rights));
    lab.apply(&helper("rights: [apply]"), 1).await.expect(200);
    lab.crowd.come_as(Some(5151));
    let refused = lab.apply(&helper("rights: [apply, upstreams]"), 2).await;
    assert_eq!(refused.expect(403)["rule"], "operator.gives");
    lab.crowd.come_as(None);
    assert_eq!(lab.refused_rules().await, ["operator.gives"]);
    let more = helper("rights: [apply, upstreams]");
    lab.apply(&more, 2).await.expect(200);
    let none = lab.bundle();
    let none = none.split("\n---\napiVersion: mandate.dev/v1alpha1\nkind: Operator");
    let refused = lab.apply(none.clone().next().unwrap(), 3).await;
    assert_eq!(refused.expect(403)["rule"], "operator.nobody_applies");
}

#[tokio::test]
async fn a_bundle_without_operators_leaves_the_servers_user_in_charge() {
    let lab = Lab::empty().await;
    let text = lab.bundle();
    let none = text.split("\n---\napiVersion: mandate.dev/v1alpha1\nkind: Operator");
    lab.apply(none.clone().next().unwrap(), 0).await.expect(200);
    let shown = lab.look("/operator/v1/status").await.expect(200);
    assert_eq!(shown["operator"], "bootstrap");
    lab.apply(&text, 1).await.expect(200);
}

#[tokio::test]
async fn whoever_suspended_at_any_time_is_no_second_operator() {
    let lab = Lab::new().await;
    let second = "impact: The backlog grows., resume: second-operator}";
    let text = lab.bundle().replace("impact: The backlog grows.}", second);
    let amy = operator("amy", "5151", "rights: [suspend]");
    lab.apply(&format!("{text}{amy}"), 1).await.expect(200);
    lab.suspend(agent("backlog")).await;
    lab.crowd.come_as(Some(5151));
    lab.suspend(agent("backlog")).await;
    lab.crowd.come_as(None);
    let body = json!({"subject": agent("backlog"), "reason": "over"});
    let refused = lab.operator("/operator/v1/resume", &body).await;
    assert_eq!(refused.expect(403)["rule"], "resume.second_operator");
    assert_eq!(lab.refused_rules().await, ["resume.second_operator"]);
}

#[tokio::test]
async fn a_name_that_no_bundle_ever_declared_needs_no_second_operator_and_one_that_did_does() {
    let lab = Lab::new().await;
    let gone = "\n---\napiVersion: mandate.dev/v1alpha1\nkind: AgentType\nmetadata: {name: gone}\n\
         spec: {attestation: [{process: {user: gone}}], breakGlass: {contact: x, impact: y}}\n";
    lab.apply(&format!("{}{gone}", lab.bundle()), 1)
        .await
        .expect(200);
    lab.apply(&lab.bundle(), 2).await.expect(200);
    for (name, status) in [("gone", 403), ("backlogg", 200)] {
        lab.suspend(agent(name)).await;
        let body = json!({"subject": agent(name), "reason": "over"});
        lab.operator("/operator/v1/resume", &body)
            .await
            .expect(status);
    }
}

#[tokio::test]
async fn a_search_for_what_no_record_can_be_is_refused() {
    let lab = Lab::new().await;
    for (query, status) in [
        ("decision=denied&kind=refused", 200),
        ("decision=maybe", 400),
        ("kind=refuse", 400),
    ] {
        let found = lab.look(&format!("/operator/v1/log/search?{query}")).await;
        assert_eq!(found.status, status, "{query}");
    }
}

const AMY: Option<u32> = Some(5151);
const KIM: Option<u32> = Some(7171);

fn amy_suspended() -> serde_json::Value {
    json!({"subject": {"kind": "principal", "id": "operator:amy"}, "reason": "INC-1"})
}

#[tokio::test]
async fn a_suspended_operator_does_nothing_at_the_socket_and_does_not_lift_it_either() {
    let lab = Lab::new().await;
    let amy = operator("amy", "5151", ALL_RIGHTS);
    lab.apply(&format!("{}{amy}", lab.bundle()), 1)
        .await
        .expect(200);
    lab.suspend(amy_suspended()["subject"].clone()).await;
    lab.crowd.come_as(AMY);
    let (suspend, resume) = ("/operator/v1/suspend", "/operator/v1/resume");
    let status = lab.look("/operator/v1/status").await;
    let other = json!({"subject": agent("backlog"), "reason": "x"});
    for refused in [
        status,
        lab.operator(resume, &amy_suspended()).await,
        lab.operator(suspend, &other).await,
        lab.apply(&lab.bundle(), 2).await,
    ] {
        assert_eq!(refused.expect(403)["rule"], "operator.suspended");
    }
    assert_eq!(lab.refused_rules().await, ["operator.suspended"; 4]);
    lab.crowd.come_as(None);
    lab.operator(resume, &amy_suspended()).await.expect(200);
    lab.crowd.come_as(AMY);
    lab.look("/operator/v1/status").await.expect(200);
    // "Everything" stops what agents do, and nobody who could end that.
    let everything = json!({"subject": {"kind": "everything"}, "reason": "INC-2"});
    lab.operator(suspend, &everything).await.expect(200);
    lab.operator(resume, &everything).await.expect(200);
}

/// What a user is declared as twice, by number and by name, is one user.
#[tokio::test]
async fn a_user_who_is_suspended_under_one_name_is_under_each() {
    let lab = Lab::new().await;
    let nobody = 65_534;
    let by_name = operator("by-name", "X", ALL_RIGHTS).replace("uid: X", "unixUser: nobody");
    let by_number = operator("by-number", &nobody.to_string(), ALL_RIGHTS);
    let text = format!("{}{by_name}{by_number}", lab.bundle());
    lab.apply(&text, 1).await.expect(200);
    lab.suspend(json!({"kind": "principal", "id": "operator:by-name"}))
        .await;
    lab.crowd.come_as(Some(nobody));
    let refused = lab.look("/operator/v1/status").await.expect(403);
    assert_eq!(refused["rule"], "operator.suspended");
}

#[tokio::test]
async fn somebody_of_the_machine_is_always_left_who_can_resume() {
    let lab = Lab::new().await;
    let text = format!(
        "{}{}{}",
        lab.bundle(),
        operator("amy", "5151", "rights: [suspend, apply]"),
        operator("kim", "7171", "rights: [suspend, resume]"),
    );
    lab.apply(&text, 1).await.expect(200);
    let of = |name: &str| {
        let id = format!("operator:{name}");
        json!({"subject": {"kind": "principal", "id": id}, "reason": "INC-1"})
    };
    let (suspend, resume) = ("/operator/v1/suspend", "/operator/v1/resume");
    lab.crowd.come_as(AMY);
    lab.operator(suspend, &of("root")).await.expect(200);
    let refused = lab.operator(suspend, &of("kim")).await.expect(403);
    assert_eq!(refused["rule"], "suspend.nobody_resumes");
    // Nor by a bundle that takes the right from the last one.
    let without = text.replace("rights: [suspend, resume]}", "rights: [suspend]}");
    let refused = lab.apply(&without, 2).await.expect(403);
    assert_eq!(refused["rule"], "operator.nobody_resumes");
    // Nor by what a gateway is said to hold.
    lab.crowd.come_as(KIM);
    lab.operator(resume, &of("root")).await.expect(200);
    lab.crowd.come_as(None);
    let lost = |name: &str| {
        let mut lost = of(name);
        lost["operator"] = "operator:amy".into();
        (lost["version"], lost["at"]) = (json!(7), json!(1));
        lost
    };
    let body = json!({"gateway": "g-1", "suspensions": [lost("root"), lost("kim")], "stops": 0});
    let refused = lab
        .operator("/operator/v1/gateways/accept-epoch", &body)
        .await;
    assert_eq!(refused.expect(403)["rule"], "suspend.nobody_resumes");
    // Whoever has no such right is suspended as before.
    lab.operator(suspend, &of("amy")).await.expect(200);
}

/// It is read anew once nobody can be suspended in between, and that is the third look here: a bundle is
/// read in two.
#[tokio::test]
async fn whoever_is_suspended_while_their_bundle_is_looked_at_applies_nothing() {
    let lab = Lab::new().await;
    let amy = operator("amy", "5151", ALL_RIGHTS);
    let text = format!("{}{amy}", lab.bundle());
    lab.apply(&text, 1).await.expect(200);
    let mut suspension = amy_suspended();
    suspension["operator"] = "operator:root".into();
    (suspension["version"], suspension["at"]) = (json!(0), json!(0));
    let suspend = Unit {
        changes: vec![Change::Suspend(serde_json::from_value(suspension).unwrap())],
        ..Unit::default()
    };
    lab.reads.get_ahead(3, suspend);
    lab.crowd.come_as(AMY);
    let refused = lab
        .apply(&format!("{text}# A remark.\n"), 2)
        .await
        .expect(403);
    assert_eq!(refused["rule"], "operator.suspended");
    lab.crowd.come_as(None);
    let live = lab.look("/operator/v1/bundle").await.expect(200);
    assert_eq!(live["version"], 2);
}
