//! Operators who come over the network: an ID token once, then a session of minutes.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use hyper::Method;
use mandate_testkit::oidc_issuer::{Mood, OidcIssuer};
use mandate_token::{Issuer, LoginSecret};
use serde_json::{Value, json};

use crate::client::{Answer, over_tcp};
use crate::lab::{ISSUER, Lab, agent};
use crate::operators::operator;

/// Amy comes through both doors, Bob over the network alone, and Eve is of their group.
const OPERATORS: &str = "
---
apiVersion: mandate.dev/v1alpha1
kind: TrustProvider
metadata: {name: staff}
spec: {oidc: {issuer: PEOPLE, audience: mandate-cli}}
---
apiVersion: mandate.dev/v1alpha1
kind: Operator
metadata: {name: amy}
spec:
  uid: 5151
  oidc: {provider: staff, claims: {sub: amy-1, groups: sre}}
  rights: [suspend, resume, inspect]
---
apiVersion: mandate.dev/v1alpha1
kind: Operator
metadata: {name: bob}
spec:
  oidc: {provider: staff, claims: {email: bob@acme.example}}
  rights: [suspend, resume, inspect]
";

const BEGIN: &str = "/operator/v1/session";
const STATUS: &str = "/operator/v1/status";

async fn lab() -> Lab {
    let lab = Lab::new().await;
    lab.apply(&bundle(&lab, OPERATORS), 1).await.expect(200);
    lab
}

fn bundle(lab: &Lab, more: &str) -> String {
    let more = more.replace("PEOPLE", lab.ground.people.issuer());
    let second = lab.bundle().replace(
        "breakGlass: {contact: \"#a\", impact: The backlog grows.}",
        "breakGlass: {contact: \"#a\", impact: The backlog grows., resume: second-operator}",
    );
    format!("{second}{more}")
}

fn amy() -> Value {
    json!({"groups": ["staff", "sre"]})
}

fn bob() -> Value {
    json!({"email": "bob@acme.example", "email_verified": true})
}

fn secret() -> LoginSecret {
    LoginSecret::new([7; 32])
}

/// `claims`, for a login at the authority `at`.
fn bound(claims: &Value, at: &str) -> Value {
    let mut claims = claims.clone();
    claims["nonce"] = secret().nonce(&Issuer::parse(at).unwrap()).into();
    claims
}

/// Another one each time, as a provider makes them.
fn id_token(lab: &Lab, subject: &str, claims: &Value) -> String {
    static MADE: AtomicU64 = AtomicU64::new(0);
    let mut claims = bound(claims, ISSUER);
    claims["jti"] = MADE.fetch_add(1, Ordering::Relaxed).to_string().into();
    let (people, claims) = (&lab.ground.people, &claims);
    people.id_token(subject, "mandate-cli", lab.now(), claims)
}

async fn begin_with(lab: &Lab, provider: &str, token: &str) -> Answer {
    show(lab, provider, token, Some(&secret().expose_text())).await
}

async fn show(lab: &Lab, provider: &str, token: &str, secret: Option<&str>) -> Answer {
    let mut body = json!({"provider": provider, "id_token": token});
    if let Some(secret) = secret {
        body["login_secret"] = secret.into();
    }
    over_tcp(lab.public, (Method::POST, BEGIN), &[], Some(&body)).await
}

async fn begin(lab: &Lab, subject: &str, claims: &Value) -> Answer {
    begin_with(lab, "staff", &id_token(lab, subject, claims)).await
}

async fn session(lab: &Lab, subject: &str, claims: &Value) -> String {
    let begun = begin(lab, subject, claims).await.expect(200);
    begun["session"].as_str().unwrap().to_owned()
}

async fn get(lab: &Lab, path: &str, session: &str) -> Answer {
    let bearer = format!("Bearer {session}");
    let headers = [("authorization", bearer.as_str())];
    over_tcp(lab.public, (Method::GET, path), &headers, None).await
}

async fn post(lab: &Lab, path: &str, session: &str, body: &Value) -> Answer {
    let bearer = format!("Bearer {session}");
    let headers = [("authorization", bearer.as_str())];
    over_tcp(lab.public, (Method::POST, path), &headers, Some(body)).await
}

fn order(name: &str) -> Value {
    json!({"subject": agent(name), "reason": "INC-4711"})
}

#[tokio::test]
async fn a_person_whom_the_bundle_names_operates_over_the_network_with_the_rights_it_gives() {
    let lab = lab().await;
    let login = over_tcp(lab.public, (Method::GET, "/operator/v1/login"), &[], None).await;
    let login = login.expect(200);
    let declared = json!([{"provider": "staff", "issuer": lab.ground.people.issuer(), "client_id": "mandate-cli", "nonce": "required"}]);
    assert_eq!(login["providers"], declared, "`login` is of users alone");
    let begun = begin(&lab, "amy-1", &amy()).await.expect(200);
    assert_eq!(begun["operator"], "amy");
    assert_eq!(
        begun["expires_at"].as_u64().unwrap(),
        lab.now().plus(Duration::from_secs(900)).as_millis()
    );
    let amy = begun["session"].as_str().unwrap();
    let status = get(&lab, STATUS, amy).await.expect(200);
    assert_eq!(status["operator"], "amy");
    let suspended = post(&lab, "/operator/v1/suspend", amy, &order("retriever")).await;
    assert_eq!(suspended.expect(200)["effective"], true);
    let apply = json!({"files": [["bundle.yaml", lab.bundle()]], "base": 2});
    let refused = post(&lab, "/operator/v1/bundle/apply", amy, &apply).await;
    assert_eq!(refused.expect(403)["rule"], "operator.no_right");
    let events = lab.events().await;
    let by_amy = |kind: &str| {
        let found = events.iter().filter(|e| e.what.kind() == kind);
        found
            .filter(|e| {
                e.principal
                    .as_ref()
                    .is_some_and(|p| p.to_string() == "operator:amy")
            })
            .count()
    };
    assert_eq!((by_amy("suspended"), by_amy("issued")), (1, 1));
    assert!(by_amy("operator_acted") >= 2, "the session and the look");
}

#[tokio::test]
async fn whoever_is_no_declared_person_gets_no_session_and_learns_nothing() {
    let lab = lab().await;
    for (subject, claims) in [
        ("eve", amy()),
        ("amy-1", json!({"groups": ["staff"]})),
        ("amy-1", json!({})),
        ("bob", json!({"email": "bob@acme.example"})),
        (
            "bob",
            json!({"email": "bob@acme.example", "email_verified": "true"}),
        ),
        (
            "bob",
            json!({"email": "bob@acme.example", "email_verified": false}),
        ),
    ] {
        let refused = begin(&lab, subject, &claims).await.expect(403);
        assert_eq!(refused["rule"], "operator.none", "{subject} {claims}");
    }
    let fetches = lab.ground.people.fetches();
    let token = id_token(&lab, "amy-1", &amy());
    let elsewhere = ["login", "process", "nosuch"];
    let mut said = Vec::new();
    for provider in elsewhere {
        said.push(begin_with(&lab, provider, &token).await.expect(403));
    }
    assert!(said.iter().all(|answer| *answer == said[0]), "{said:?}");
    assert_eq!(
        lab.ground.people.fetches(),
        fetches,
        "nobody's keys are fetched for a stranger"
    );
    // Nothing of it used the token up, and none of it is on record by itself.
    begin_with(&lab, "staff", &token).await.expect(200);
    assert!(lab.refused_rules().await.is_empty());
}

#[tokio::test]
async fn an_id_token_is_fresh_for_this_client_and_good_for_one_session() {
    let lab = lab().await;
    let people = &lab.ground.people;
    let old = people.id_token(
        "amy-1",
        "mandate-cli",
        lab.now().minus(Duration::from_secs(301)),
        &json!({"groups": "sre", "exp": lab.now().as_secs() + 60}),
    );
    let refused = begin_with(&lab, "staff", &old).await.expect(401);
    assert_eq!(refused["rule"], "session.id_token_age");
    let other = people.id_token("amy-1", "support-app", lab.now(), &amy());
    for bad in [other.as_str(), "x.y.z", ""] {
        let refused = begin_with(&lab, "staff", bad).await.expect(401);
        assert_eq!(refused["rule"], "session.id_token", "{bad}");
    }
    let token = id_token(&lab, "amy-1", &amy());
    begin_with(&lab, "staff", &token).await.expect(200);
    let again = begin_with(&lab, "staff", &token).await.expect(409);
    assert_eq!(again["rule"], "used");
    let lab = lab.restarted().await;
    begin_with(&lab, "staff", &token).await.expect(409);
}

#[tokio::test]
async fn without_a_session_the_network_reaches_nothing_of_operators() {
    let lab = lab().await;
    let good = session(&lab, "amy-1", &amy()).await;
    let svid = lab.svid("backlog").await;
    let task = lab.open(&svid, "nightly", &[]).await.token();
    let access = lab.access(&svid, &task).await.token();
    let id = id_token(&lab, "amy-1", &amy());
    let bearer = |token: &str| format!("Bearer {token}");
    let (twice, basic) = (bearer(&good), format!("Basic {good}"));
    let mut wrong: Vec<Vec<(&'static str, String)>> = vec![
        vec![],
        vec![("authorization", twice.clone()), ("authorization", twice)],
        vec![("authorization", basic)],
        vec![("cookie", format!("session={good}"))],
        vec![(
            "authorization",
            bearer(good.strip_suffix(char::is_alphanumeric).unwrap_or("x")),
        )],
    ];
    let others = [svid, task, access, id];
    wrong.extend(
        others
            .iter()
            .map(|token| vec![("authorization", bearer(token))]),
    );
    let paths = [
        (Method::GET, STATUS),
        (Method::POST, "/operator/v1/suspend"),
        (Method::POST, "/operator/v1/session/end"),
        (Method::GET, "/log/checkpoint"),
        (Method::GET, "/operator/v1/nosuch"),
    ];
    for headers in &wrong {
        let headers: Vec<(&'static str, &str)> =
            headers.iter().map(|(n, v)| (*n, v.as_str())).collect();
        for (method, path) in &paths {
            let answer = over_tcp(lab.public, (method.clone(), path), &headers, None).await;
            assert_eq!(answer.expect(401)["rule"], "session.none", "{path}");
        }
    }
    // And a session is no token of an agent.
    let form = [("token", good.as_str())];
    assert!(!lab.form("/introspect", &form).await.status.is_success());
    assert!(!lab.open(&good, "nightly", &[]).await.status.is_success());
    get(&lab, STATUS, &good).await.expect(200);
}

#[tokio::test]
async fn a_session_ends_with_its_time_by_its_holder_and_by_an_operator() {
    let lab = lab().await;
    let (one, two) = (
        session(&lab, "amy-1", &amy()).await,
        begin(&lab, "bob", &bob()).await,
    );
    let two = two.expect(200);
    let bob = two["session"].as_str().unwrap();
    let ended = post(&lab, "/operator/v1/session/end", &one, &Value::Null).await;
    assert_eq!(ended.status, 204);
    let stopped = get(&lab, STATUS, &one).await.expect(401);
    assert_eq!(stopped["rule"], "session.stopped");
    get(&lab, STATUS, bob).await.expect(200);
    let id = two["id"].as_str().unwrap();
    let revoke = format!("/operator/v1/tokens/{id}/revoke");
    lab.operator(&revoke, &json!({"reason": "left the house"}))
        .await
        .expect(200);
    get(&lab, STATUS, bob).await.expect(401);
    let three = session(&lab, "amy-1", &amy()).await;
    lab.pass(Duration::from_secs(899));
    get(&lab, STATUS, &three).await.expect(200);
    lab.pass(Duration::from_secs(1));
    assert_eq!(
        get(&lab, STATUS, &three).await.expect(401)["rule"],
        "session.none"
    );
    let lab = lab.restarted().await;
    get(&lab, STATUS, &one).await.expect(401);
}

#[tokio::test]
async fn a_suspended_operator_or_provider_has_no_session_and_needs_a_new_one_afterwards() {
    let lab = lab().await;
    let operator = json!({"kind": "principal", "id": "operator:amy"});
    let provider = json!({"kind": "provider", "name": "staff"});
    for subject in [operator, provider] {
        let old = session(&lab, "amy-1", &amy()).await;
        lab.suspend(subject.clone()).await;
        let stopped = get(&lab, STATUS, &old).await.expect(401);
        assert_eq!(stopped["rule"], "session.stopped", "{subject}");
        let refused = begin(&lab, "amy-1", &amy()).await;
        assert_eq!(refused.expect(401)["rule"], "session.stopped");
        let body = json!({"subject": subject, "reason": "it was not she"});
        lab.operator("/operator/v1/resume", &body).await.expect(200);
        get(&lab, STATUS, &old).await.expect(401);
        let fresh = session(&lab, "amy-1", &amy()).await;
        get(&lab, STATUS, &fresh).await.expect(200);
    }
}

#[tokio::test]
async fn a_bundle_that_no_longer_names_the_person_ends_the_session() {
    let lab = lab().await;
    let amy = session(&lab, "amy-1", &amy()).await;
    let other = OPERATORS.replace("groups: sre", "groups: dba");
    lab.apply(&bundle(&lab, &other), 2).await.expect(200);
    let refused = get(&lab, STATUS, &amy).await.expect(403);
    assert_eq!(refused["rule"], "operator.none");
    // It says who the person is; what that is worth the live bundle says, each time.
    lab.apply(&bundle(&lab, OPERATORS), 3).await.expect(200);
    get(&lab, STATUS, &amy).await.expect(200);
}

#[tokio::test]
async fn everything_is_suspended_and_resumed_in_one_session_with_the_provider_down() {
    let lab = lab().await;
    let amy = session(&lab, "amy-1", &amy()).await;
    lab.ground.people.set_mood(Mood::Down);
    let lab = lab.restarted().await;
    let everything = json!({"subject": {"kind": "everything"}, "reason": "INC-1"});
    post(&lab, "/operator/v1/suspend", &amy, &everything)
        .await
        .expect(200);
    assert_eq!(
        lab.attest("backlog", "b", &[]).await.error(),
        "access_denied"
    );
    post(&lab, "/operator/v1/resume", &amy, &everything)
        .await
        .expect(200);
    lab.svid("backlog").await;
    get(&lab, STATUS, &amy).await.expect(200);
    // Whoever has no session meanwhile gets none, and the machine's own door stands open.
    begin(&lab, "bob", &bob()).await.expect(503);
    lab.suspend(agent("backlog")).await;
}

#[tokio::test]
async fn a_declaration_is_one_person_whichever_door_they_come_through() {
    let lab = lab().await;
    let (amy, bob) = (
        session(&lab, "amy-1", &amy()).await,
        session(&lab, "bob", &bob()).await,
    );
    let (suspend, resume) = ("/operator/v1/suspend", "/operator/v1/resume");
    post(&lab, suspend, &amy, &order("backlog"))
        .await
        .expect(200);
    // By another session, and as the user that she is too.
    let other = session(&lab, "amy-1", &json!({"groups": "sre"})).await;
    for mine in [&amy, &other] {
        let refused = post(&lab, resume, mine, &order("backlog")).await;
        assert_eq!(refused.expect(403)["rule"], "resume.second_operator");
    }
    lab.crowd.come_as(Some(5151));
    let refused = lab.operator(resume, &order("backlog")).await;
    assert_eq!(refused.expect(403)["rule"], "resume.second_operator");
    post(&lab, resume, &bob, &order("backlog"))
        .await
        .expect(200);
    // And the other way round.
    lab.operator(suspend, &order("backlog")).await.expect(200);
    let refused = post(&lab, resume, &amy, &order("backlog")).await;
    assert_eq!(refused.expect(403)["rule"], "resume.second_operator");
    post(&lab, resume, &bob, &order("backlog"))
        .await
        .expect(200);
}

/// Whoever holds `apply` could point the provider at an issuer of their own, and be everybody (FAILURES 8).
#[tokio::test]
async fn whoever_may_only_apply_becomes_no_other_operator_by_an_issuer_of_their_own() {
    let lab = Lab::new().await;
    let mel = operator("mel", "6161", "rights: [apply, upstreams]");
    let text = format!("{}{mel}", bundle(&lab, OPERATORS));
    lab.apply(&text, 1).await.expect(200);
    let before = session(&lab, "bob", &bob()).await;
    let evil = OidcIssuer::start().await;
    let repointed = OPERATORS.replace("PEOPLE", evil.issuer());
    let repointed = format!("{}{mel}", bundle(&lab, &repointed));
    lab.crowd.come_as(Some(6161));
    let refused = lab.apply(&repointed, 2).await.expect(403);
    assert_eq!(refused["rule"], "operator.gives");
    get(&lab, STATUS, &before).await.expect(200);

    // Whoever holds all that these people hold decides it, and nobody's session goes over to it.
    lab.crowd.come_as(None);
    lab.apply(&repointed, 2).await.expect(200);
    let stopped = get(&lab, STATUS, &before).await.expect(401);
    assert_eq!(stopped["rule"], "session.provider");
    let theirs = evil.id_token("bob", "mandate-cli", lab.now(), &bound(&bob(), ISSUER));
    let theirs = begin_with(&lab, "staff", &theirs).await.expect(200);
    let theirs = theirs["session"].as_str().unwrap();
    get(&lab, STATUS, theirs).await.expect(200);
    lab.apply(&text, 3).await.expect(200);
    let stopped = get(&lab, STATUS, theirs).await.expect(401);
    assert_eq!(stopped["rule"], "session.provider");
    get(&lab, STATUS, &before).await.expect(200);
}

#[tokio::test]
async fn another_issuer_for_a_provider_takes_the_right_upstreams_too() {
    let lab = Lab::new().await;
    let rights = "rights: [apply, suspend, resume, inspect]";
    let text = format!(
        "{}{}",
        bundle(&lab, OPERATORS),
        operator("mel", "6161", rights)
    );
    lab.apply(&text, 1).await.expect(200);
    let other = text.replace("audience: mandate-cli", "audience: other-cli");
    lab.crowd.come_as(Some(6161));
    let refused = lab.apply(&other, 2).await.expect(403);
    assert_eq!(refused["rule"], "operator.no_right");
    lab.crowd.come_as(None);
    lab.apply(&other, 2).await.expect(200);
}

#[tokio::test]
async fn an_id_token_that_begins_tasks_begins_no_session() {
    let lab = lab().await;
    let shared = OPERATORS.replace(
        "provider: staff, claims: {sub",
        "provider: login, claims: {sub",
    );
    let refused = lab.apply(&bundle(&lab, &shared), 2).await.expect(422);
    let said = refused["mistakes"].to_string();
    assert!(said.contains("has handed to agents"), "{said}");
    // What an agent was handed is of another audience, and of no provider at which somebody operates.
    let people = &lab.ground.people;
    let handed = people.id_token("amy-1", "support-app", lab.now(), &amy());
    begin_with(&lab, "staff", &handed).await.expect(401);
    begin_with(&lab, "login", &handed).await.expect(403);
}

/// An authority that an operator logged in at, and that is not to be trusted, has the ID token and all
/// that was shown with it.
#[tokio::test]
async fn an_id_token_that_another_authority_was_shown_begins_no_session_here() {
    let lab = lab().await;
    let people = &lab.ground.people;
    let token = |claims: &Value| people.id_token("amy-1", "mandate-cli", lab.now(), claims);
    let theirs = token(&bound(&amy(), "https://other.example"));
    let (ours, none) = (token(&bound(&amy(), ISSUER)), token(&amy()));
    let (secret, other) = (
        secret().expose_text(),
        LoginSecret::new([8; 32]).expose_text(),
    );
    for (token, secret) in [
        (&theirs, Some(secret.as_str())),
        (&theirs, None),
        (&ours, Some(other.as_str())),
        (&ours, Some("short")),
        (&ours, None),
        (&none, Some(secret.as_str())),
        (&none, None),
    ] {
        let refused = show(&lab, "staff", token, secret).await.expect(401);
        assert_eq!(refused["rule"], "session.nonce", "{secret:?}");
    }
    show(&lab, "staff", &ours, Some(&secret)).await.expect(200);
}

#[tokio::test]
async fn an_unbound_id_token_is_good_only_where_the_bundle_says_so_and_for_no_other_login() {
    let lab = lab().await;
    let unbound = OPERATORS.replace(
        "audience: mandate-cli",
        "audience: mandate-cli, nonce: optional",
    );
    let applied = lab.apply(&bundle(&lab, &unbound), 2).await.expect(200);
    assert!(applied["warnings"].to_string().contains("without a nonce"));
    let people = &lab.ground.people;
    let token = |claims: &Value| people.id_token("amy-1", "mandate-cli", lab.now(), claims);
    show(&lab, "staff", &token(&amy()), None).await.expect(200);
    let theirs = token(&bound(&amy(), "https://other.example"));
    for secret in [None, Some(secret().expose_text())] {
        let refused = show(&lab, "staff", &theirs, secret.as_deref())
            .await
            .expect(401);
        assert_eq!(refused["rule"], "session.nonce");
    }
}

/// Whether it had been ended, the store that was put back does not know.
#[tokio::test]
async fn what_a_store_that_went_back_may_have_ended_is_no_session_any_more() {
    let lab = lab().await;
    let before = session(&lab, "amy-1", &amy()).await;
    get(&lab, STATUS, &before).await.expect(200);
    let body = json!({"gateway": "g-1", "suspensions": [], "stops": 40});
    let path = "/operator/v1/gateways/accept-epoch";
    lab.operator(path, &body).await.expect(200);
    let stopped = get(&lab, STATUS, &before).await.expect(401);
    assert_eq!(stopped["rule"], "session.stopped");
    let lab = lab.restarted().await;
    get(&lab, STATUS, &before).await.expect(401);
    let fresh = session(&lab, "amy-1", &amy()).await;
    get(&lab, STATUS, &fresh).await.expect(200);
}
