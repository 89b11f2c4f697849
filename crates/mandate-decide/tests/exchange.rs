//! The rules of the token endpoint, one by one: for each a case that passes and one that fails by
//! one detail.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::panic,
    reason = "tests may panic"
)]

mod lab;
#[path = "exchange/limits.rs"]
mod limits;
#[path = "exchange/possession.rs"]
mod possession;
#[path = "exchange/stops.rs"]
mod stops;
#[path = "exchange/via.rs"]
mod via;

use std::time::Duration;

use lab::{JWT, Lab, Refused, TXN};
use mandate_decide::exchange::{
    ActorError, ClientError, ExchangeError, GrantError, Keyed, SubjectError,
};
use mandate_model::stop::Subject;
use mandate_model::{InstanceId, ProviderName, SpiffeId, TaskId};
use mandate_token::{AccessToken, Audience, Expect, Kind, TaskToken};

const ACME: &str = r#"[{"type":"mandate_access","server":"records","actions":["read"],"constraints":{"customer":{"in":["acme"]}}}]"#;
const BOTH: &str = r#"[{"type":"mandate_access","server":"records","actions":["read"],"constraints":{"customer":{"in":["acme","globex"]}}}]"#;
const REFUND: &str = r#"[{"type":"mandate_access","server":"records","actions":["refund"],"constraints":{"customer":{"in":["acme"]}}}]"#;

/// Forms, as clients send them.
impl Lab {
    fn open(&mut self, svid: &str, entries: &str, details: &str) -> Result<String, Refused> {
        let form = [
            ("subject_token", svid),
            ("subject_token_type", JWT),
            ("requested_token_type", TXN),
            ("audience", "acme.example"),
            ("authorization_details", entries),
            ("request_details", details),
        ];
        self.exchange(svid, &form).map(|(token, _)| token)
    }

    fn delegate(
        &mut self,
        svid: &str,
        token: &str,
        child: &str,
        entries: &str,
    ) -> Result<String, Refused> {
        let child = format!("spiffe://acme.example/agent/{child}");
        let form = [
            ("subject_token", token),
            ("subject_token_type", TXN),
            ("requested_token_type", TXN),
            ("audience", "acme.example"),
            ("requested_actor", &child),
            ("authorization_details", entries),
        ];
        self.exchange(svid, &form).map(|(token, _)| token)
    }

    fn renew(&mut self, svid: &str, token: &str) -> Result<String, Refused> {
        let form = [
            ("subject_token", token),
            ("subject_token_type", TXN),
            ("requested_token_type", TXN),
            ("audience", "acme.example"),
        ];
        self.exchange(svid, &form).map(|(token, _)| token)
    }

    fn resume(
        &mut self,
        svid: &str,
        subject: &str,
        kind: &str,
        task: TaskId,
    ) -> Result<String, Refused> {
        let details = format!(r#"{{"task":"{task}"}}"#);
        let form = [
            ("subject_token", subject),
            ("subject_token_type", kind),
            ("requested_token_type", TXN),
            ("audience", "acme.example"),
            ("request_details", &details),
        ];
        self.exchange(svid, &form).map(|(token, _)| token)
    }

    fn reach(&mut self, svid: &str, token: &str) -> Result<String, Refused> {
        let form = [
            ("subject_token", token),
            ("subject_token_type", TXN),
            ("resource", "https://records.acme.example"),
        ];
        self.exchange(svid, &form).map(|(token, _)| token)
    }

    fn host(&mut self, svid: &str, hosted: &str) -> Result<String, Refused> {
        let hosted = format!("spiffe://acme.example/agent/{hosted}");
        let form = [
            ("subject_token", svid),
            ("subject_token_type", JWT),
            ("requested_actor", &hosted),
        ];
        self.exchange(svid, &form).map(|(token, _)| token)
    }

    fn claims(&self, token: &str) -> TaskToken {
        let audience = Audience::parse("spiffe://acme.example").unwrap();
        let expect = Expect {
            issuer: &self.issuer,
            audience: &audience,
        };
        TaskToken::verify(token, self.keys(), &expect, self.now)
            .unwrap()
            .claims()
            .clone()
    }

    fn access_claims(&self, token: &str) -> AccessToken {
        let audience = Audience::parse("https://records.acme.example").unwrap();
        let expect = Expect {
            issuer: &self.issuer,
            audience: &audience,
        };
        AccessToken::verify(token, self.keys(), &expect, self.now)
            .unwrap()
            .claims()
            .clone()
    }

    fn task(&self, token: &str) -> TaskId {
        self.claims(token).path.leaf()
    }
}

const MORNING: &str = r#"{"purpose":"morning","trigger":{"kind":"schedule","name":"morning"}}"#;

/// An orchestrator's open task for acme and globex, and a retriever's child task for acme.
struct Scene {
    lab: Lab,
    orchestrator: String,
    root: String,
    retriever: String,
    child: String,
}

fn scene() -> Scene {
    let mut lab = Lab::new();
    let orchestrator = lab.svid("orchestrator", "o-1");
    let retriever = lab.svid("retriever", "r-1");
    let root = lab.open(&orchestrator, BOTH, MORNING).unwrap();
    let child = lab
        .delegate(&orchestrator, &root, "retriever", ACME)
        .unwrap();
    Scene {
        lab,
        orchestrator,
        root,
        retriever,
        child,
    }
}

fn exchange_error(refused: Result<String, Refused>) -> ExchangeError {
    match refused {
        Err(Refused::Exchange(why)) => why,
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_actor_that_may_act_does_not_name_gets_nothing() {
    let mut s = scene();
    assert!(s.lab.reach(&s.retriever, &s.child).is_ok());
    let executor = s.lab.svid("executor", "e-1");
    for refused in [
        s.lab.reach(&executor, &s.child),
        s.lab.renew(&executor, &s.child),
        s.lab.reach(&s.orchestrator, &s.child),
    ] {
        assert_eq!(
            exchange_error(refused),
            ExchangeError::Actor(ActorError::MayAct)
        );
    }
}

#[test]
fn an_exchange_without_a_client_is_refused() {
    let s = scene();
    let refused = mandate_decide::exchange::authenticate(None, None, &s.lab.world()).map(drop);
    assert_eq!(refused, Err(ExchangeError::Client(ClientError::None)));
}

#[test]
fn a_client_id_is_that_of_the_assertion_or_refused() {
    let mut s = scene();
    let mut with = |id: &str| {
        let form = [
            ("client_id", id),
            ("subject_token", s.child.as_str()),
            ("subject_token_type", TXN),
            ("resource", "https://records.acme.example"),
        ];
        s.lab.exchange(&s.retriever, &form).map(|(token, _)| token)
    };
    assert!(with("spiffe://acme.example/agent/retriever").is_ok());
    let refused = exchange_error(with("spiffe://acme.example/agent/executor"));
    assert_eq!(refused, ExchangeError::Client(ClientError::OtherId));
}

#[test]
fn delegated_token_cannot_shed_its_actor() {
    let mut s = scene();
    let again = s.lab.renew(&s.retriever, &s.child).unwrap();
    let child_task = s.lab.task(&s.child);
    let resumed = s
        .lab
        .resume(&s.orchestrator, &s.root, TXN, child_task)
        .unwrap();
    let first = s.lab.claims(&s.child);
    for token in [&s.child, &again, &resumed] {
        let claims = s.lab.claims(token);
        assert_eq!(claims.act.levels().len(), 1);
        assert_eq!(claims.act.levels()[0].sub.path(), "/agent/orchestrator");
        assert_eq!(claims.path.depth(), 2);
        assert_eq!(claims.mandate, first.mandate, "the ceiling");
        assert_eq!(claims.chain, first.chain);
    }
    // And what an access token has of it, whichever of the three it was got with.
    for token in [&s.child, &again, &resumed] {
        let access = s.lab.reach(&s.retriever, token).unwrap();
        let claims = s.lab.access_claims(&access);
        let agents = claims.acting.levels().iter().map(|l| l.sub.path());
        assert!(agents.eq(["/agent/retriever", "/agent/orchestrator"]));
        assert_eq!(claims.path.leaf(), first.path.leaf());
        assert!(claims.expires_at <= first.mandate.expires_at);
        let wider = s.lab.exchange(
            &s.retriever,
            &[
                ("subject_token", token.as_str()),
                ("subject_token_type", TXN),
                ("resource", "https://records.acme.example"),
                ("authorization_details", BOTH),
            ],
        );
        let refused = exchange_error(wider.map(|(token, _)| token));
        assert!(matches!(refused, ExchangeError::Grant(_)), "{refused}");
    }
    // The delegated token is no subject for opening a task of one's own.
    let refused = s.lab.open(&s.retriever, ACME, MORNING);
    assert!(matches!(
        exchange_error(refused),
        ExchangeError::Grant(GrantError::Open(_))
    ));
}

#[test]
fn chains_cannot_be_spliced() {
    let mut s = scene();
    // Another tree of the same agents.
    let other_root = s.lab.open(&s.orchestrator, ACME, MORNING).unwrap();
    let child_task = s.lab.task(&s.child);
    let refused = s.lab.resume(&s.orchestrator, &other_root, TXN, child_task);
    assert_eq!(
        exchange_error(refused),
        ExchangeError::Actor(ActorError::NotDelegator)
    );
    // A parent's token as its child's.
    let refused = s.lab.reach(&s.retriever, &s.root);
    assert_eq!(
        exchange_error(refused),
        ExchangeError::Actor(ActorError::MayAct)
    );
    // A token whose task the tree remembers differently.
    let id = s.lab.task(&s.child);
    let mut task = s.lab.tasks[&id].clone();
    task.chain = s.lab.tasks[&s.lab.task(&s.root)].chain;
    s.lab.tasks.insert(id, task);
    let refused = s.lab.reach(&s.retriever, &s.child);
    assert_eq!(
        exchange_error(refused),
        ExchangeError::Subject(SubjectError::TreeDisagrees)
    );
}

#[test]
fn holding_is_not_the_right_to_delegate() {
    let mut lab = Lab::new();
    let backlog = lab.svid("backlog", "b-1");
    let details =
        r#"{"purpose":"nightly","trigger":{"kind":"schedule","name":"nightly","item":"4711"}}"#;
    let both = format!("{},{}", &ACME[..ACME.len() - 1], &REFUND[1..]);
    let root = lab.open(&backlog, &both, details).unwrap();
    assert!(lab.delegate(&backlog, &root, "retriever", ACME).is_ok());
    for (child, entries) in [
        ("retriever", REFUND),
        ("executor", ACME),
        ("summarizer", ACME),
    ] {
        let refused = lab.delegate(&backlog, &root, child, entries);
        assert!(
            matches!(
                exchange_error(refused),
                ExchangeError::Grant(GrantError::Spawn(_))
            ),
            "{child}"
        );
    }
}

#[test]
fn one_may_delegate_what_one_may_not_exercise_but_not_what_the_child_could_never() {
    let mut s = scene();
    assert!(
        s.lab.reach(&s.orchestrator, &s.root).is_err(),
        "no access of its own"
    );
    let root = s.lab.open(&s.orchestrator, REFUND, MORNING).unwrap();
    assert!(
        s.lab
            .delegate(&s.orchestrator, &root, "executor", REFUND)
            .is_ok()
    );
    let refused = s.lab.delegate(&s.orchestrator, &root, "retriever", REFUND);
    let why = GrantError::NeverExercised {
        agent: "retriever".into(),
        word: "records:refund".into(),
    };
    assert_eq!(exchange_error(refused), ExchangeError::Grant(why));
}

#[test]
fn what_a_child_could_hand_on_counts_only_within_its_own_may_spawn() {
    let relay = |hands_on: &str| {
        let agent = format!(
            "---\nkind: AgentType\nmetadata: {{name: relay}}\nspec:\n  attestation: [{{process: {{user: relay}}}}]\n  maySpawn: [{hands_on}]\n  breakGlass: {{contact: \"#a\", impact: Nothing is passed on.}}\n"
        );
        let from = "maySpawn: [orchestrator, retriever, executor, pinned, helper]";
        let with = lab::BUNDLE.replacen(from, "maySpawn: [relay, retriever, executor]", 1);
        assert_ne!(with, lab::BUNDLE);
        format!("{with}{agent}")
    };
    let mut lab = Lab::with_bundle(&relay("executor"));
    let svid = lab.svid("orchestrator", "o-1");
    let root = lab.open(&svid, REFUND, MORNING).unwrap();
    assert!(lab.delegate(&svid, &root, "relay", REFUND).is_ok());
    lab.apply(&relay("{agent: executor, servers: {mail: [send]}}"));
    let refused = exchange_error(lab.delegate(&svid, &root, "relay", REFUND));
    assert_eq!(refused.rule(), "mandate.never_exercised", "{refused}");
}

#[test]
fn a_wider_request_is_refused_and_never_cut_down_to_size() {
    let mut s = scene();
    let narrow_root = s.lab.open(&s.orchestrator, ACME, MORNING).unwrap();
    let refused = s
        .lab
        .delegate(&s.orchestrator, &narrow_root, "retriever", BOTH);
    assert!(matches!(
        exchange_error(refused),
        ExchangeError::Grant(GrantError::Widening(_))
    ));
    let form = [
        ("subject_token", s.child.as_str()),
        ("subject_token_type", TXN),
        ("resource", "https://records.acme.example"),
        ("authorization_details", BOTH),
    ];
    let refused = s.lab.exchange(&s.retriever, &form).map(|(token, _)| token);
    let why = exchange_error(refused);
    assert_eq!(why.oauth().code, "invalid_authorization_details");
}

#[test]
fn an_agent_that_no_policy_mentions_gets_nothing() {
    let mut s = scene();
    let summarizer = s.lab.svid("summarizer", "s-1");
    let refused = s.lab.open(&summarizer, ACME, MORNING);
    assert!(matches!(
        exchange_error(refused),
        ExchangeError::Grant(GrantError::Open(_))
    ));
    let refused = s.lab.reach(&summarizer, &s.child);
    assert_eq!(
        exchange_error(refused),
        ExchangeError::Actor(ActorError::MayAct)
    );
}

#[test]
fn assertion_for_the_token_endpoint_is_refused_with_the_mend() {
    let mut s = scene();
    // An SVID for the gateways is good, but not here.
    let evident = mandate_decide::exchange::Evident {
        agent: mandate_model::AgentTypeName::parse("retriever").unwrap(),
        provider: ProviderName::parse("process").unwrap(),
        instance: InstanceId::parse("r-1").unwrap(),
        kind: mandate_model::AttestationKind::Process,
        facts: std::collections::BTreeMap::new(),
        once: None,
    };
    let fresh = s.lab.fresh();
    let audience = "spiffe://acme.example/mandate/gateway";
    let world = s.lab.world();
    let grant = mandate_decide::exchange::attest(
        evident.clone(),
        Keyed::default(),
        Some(audience),
        None,
        &world,
        &fresh,
    )
    .unwrap();
    let svid = s.lab.commit(grant).unwrap().0;
    let refused = exchange_error(s.lab.reach(&svid, &s.child));
    assert!(
        matches!(&refused, ExchangeError::Client(ClientError::Audience { issuer }) if issuer == s.lab.issuer.as_str())
    );
    assert!(refused.to_string().contains("RFC 10070"), "{refused}");
    assert_eq!(refused.oauth().code, "invalid_client");
    // One for the token endpoint's address, were there one.
    let endpoint = format!("{}/token", s.lab.issuer);
    let readdressed = s.lab.readdressed(&s.retriever, &endpoint);
    let refused = exchange_error(s.lab.reach(&readdressed, &s.child));
    assert!(
        matches!(&refused, ExchangeError::Client(ClientError::Audience { issuer }) if issuer == s.lab.issuer.as_str()),
        "{refused}"
    );
    // And no SVID is minted for it at all.
    let refused = mandate_decide::exchange::attest(
        evident,
        Keyed::default(),
        Some(&endpoint),
        None,
        &s.lab.world(),
        &fresh,
    );
    assert_eq!(
        refused.map(drop),
        Err(ExchangeError::Grant(GrantError::Audience))
    );
}

#[test]
fn depth_beyond_the_limit_is_refused_by_name() {
    let mut lab = Lab::new();
    let svid = lab.svid("orchestrator", "o-1");
    let mut token = lab.open(&svid, ACME, MORNING).unwrap();
    for _ in 1..mandate_model::mandate::MAX_DEPTH {
        token = match lab.delegate(&svid, &token, "orchestrator", ACME) {
            Ok(deeper) => deeper,
            Err(why) => panic!("{why:?} at depth {}", lab.claims(&token).path.depth()),
        };
    }
    let refused = exchange_error(lab.delegate(&svid, &token, "orchestrator", ACME));
    assert_eq!(refused, ExchangeError::Grant(GrantError::Depth(8)));
    assert!(refused.to_string().contains('8'));
}

#[test]
fn a_task_that_ended_or_whose_token_expired_gives_nothing() {
    let mut s = scene();
    let id = s.lab.task(&s.child);
    s.lab.end(id);
    let refused = exchange_error(s.lab.reach(&s.retriever, &s.child));
    assert_eq!(refused, ExchangeError::Subject(SubjectError::TaskOver(id)));
    let mut s = scene();
    s.lab.advance(Duration::from_secs(301));
    let retriever = s.lab.svid("retriever", "r-1");
    let refused = exchange_error(s.lab.renew(&retriever, &s.child));
    assert!(
        matches!(refused, ExchangeError::Subject(SubjectError::Invalid(_))),
        "{refused}"
    );
}

#[test]
fn a_lost_token_is_resumed_by_who_gave_it_and_nobody_else() {
    let mut s = scene();
    let (root, child) = (s.lab.task(&s.root), s.lab.task(&s.child));
    assert!(
        s.lab
            .resume(&s.orchestrator, &s.orchestrator.clone(), JWT, root)
            .is_ok()
    );
    let other = s.lab.svid("orchestrator", "o-2");
    let refused = exchange_error(s.lab.resume(&other, &other.clone(), JWT, root));
    assert_eq!(refused, ExchangeError::Actor(ActorError::NotDelegator));
    let refused =
        exchange_error(
            s.lab
                .resume(&s.orchestrator, &s.orchestrator.clone(), JWT, child),
        );
    assert_eq!(refused, ExchangeError::Actor(ActorError::NotDelegator));
    let refused = exchange_error(s.lab.resume(&s.retriever, &s.root.clone(), TXN, child));
    assert_eq!(refused, ExchangeError::Actor(ActorError::MayAct));
}

#[test]
fn a_step_that_the_bundle_does_not_allow_any_more_stops_all_below_it() {
    let mut s = scene();
    assert!(s.lab.renew(&s.retriever, &s.child).is_ok());
    let without = lab::BUNDLE.replace(
        "maySpawn: [orchestrator, retriever, executor, pinned, helper]",
        "maySpawn: [orchestrator, executor, pinned, helper]",
    );
    assert_ne!(without, lab::BUNDLE);
    s.lab.apply(&without);
    for refused in [
        s.lab.renew(&s.retriever, &s.child),
        s.lab.reach(&s.retriever, &s.child),
    ] {
        assert!(matches!(
            exchange_error(refused),
            ExchangeError::Grant(GrantError::Spawn(_))
        ));
    }
    assert!(s.lab.renew(&s.orchestrator, &s.root).is_ok());
    s.lab
        .apply(&lab::BUNDLE.replace("metadata: {name: morning}", "metadata: {name: evening}"));
    for refused in [
        s.lab.renew(&s.orchestrator, &s.root),
        s.lab.renew(&s.retriever, &s.child),
    ] {
        assert!(matches!(
            exchange_error(refused),
            ExchangeError::Grant(GrantError::Open(_))
        ));
    }
}

#[test]
fn a_pinned_task_belongs_to_its_first_instance() {
    let mut s = scene();
    let token = s
        .lab
        .delegate(&s.orchestrator, &s.root, "pinned", ACME)
        .unwrap();
    let first = s.lab.svid("pinned", "p-1");
    let second = s.lab.svid("pinned", "p-2");
    assert!(s.lab.reach(&first, &token).is_ok());
    let refused = exchange_error(s.lab.reach(&second, &token));
    assert_eq!(refused, ExchangeError::Actor(ActorError::Pinned));
}

#[test]
fn a_hosted_agent_is_named_as_such_and_hosts_nobody() {
    let mut s = scene();
    let hosted = s.lab.host(&s.orchestrator, "helper").unwrap();
    let client =
        mandate_decide::exchange::authenticate(Some(&hosted), None, &s.lab.world()).unwrap();
    let host = client.actor().host.as_ref().unwrap();
    assert_eq!(host.sub.path(), "/agent/orchestrator");
    assert_eq!(client.actor().att, mandate_model::AttestationKind::Hosted);
    let refused = exchange_error(s.lab.host(&hosted, "helper"));
    assert_eq!(refused, ExchangeError::Actor(ActorError::Nested));
    let refused = exchange_error(s.lab.host(&s.retriever, "helper"));
    assert!(matches!(refused, ExchangeError::Grant(GrantError::Host(_))));
    // Suspending the host stops the hosted.
    s.lab.suspend(Subject::Agent {
        id: SpiffeId::parse("spiffe://acme.example/agent/orchestrator").unwrap(),
    });
    let world = s.lab.world();
    let refused = mandate_decide::exchange::authenticate(Some(&hosted), None, &world).map(drop);
    assert!(matches!(refused, Err(ExchangeError::Stopped(_))));
}

#[test]
fn scope_agrees_with_authorization_details_or_is_refused() {
    let mut s = scene();
    let mut ask = |scope: &str, details: Option<&str>| {
        let mut form = vec![
            ("subject_token", s.child.as_str()),
            ("subject_token_type", TXN),
            ("resource", "https://records.acme.example"),
            ("scope", scope),
        ];
        form.extend(details.map(|d| ("authorization_details", d)));
        s.lab.exchange(&s.retriever, &form)
    };
    let (_, response) = ask("records:read", Some(ACME)).unwrap();
    assert_eq!(response["scope"], "records:read");
    assert_eq!(response["token_type"], "Bearer");
    assert!(ask("records:read", None).is_ok());
    for wrong in [
        "records:refund",
        "records:read records:refund",
        "records",
        "*",
    ] {
        for details in [None, Some(ACME)] {
            let refused = ask(wrong, details).unwrap_err();
            assert_eq!(
                refused,
                Refused::Exchange(ExchangeError::Grant(GrantError::ScopeMismatch)),
                "{wrong}"
            );
        }
    }
}

#[test]
fn a_counted_task_hands_out_its_accesses_one_by_one() {
    let mut lab = Lab::new();
    let svid = lab.svid("orchestrator", "o-1");
    let details = r#"{"purpose":"morning","trigger":{"kind":"schedule","name":"morning"},"budget":{"max_accesses":3}}"#;
    let root = lab.open(&svid, ACME, details).unwrap();
    let silent = exchange_error(lab.delegate(&svid, &root, "retriever", ACME));
    assert!(silent.to_string().contains("max_accesses"), "{silent}");
    let child = "spiffe://acme.example/agent/retriever";
    let form = [
        ("subject_token", root.as_str()),
        ("subject_token_type", TXN),
        ("requested_token_type", TXN),
        ("audience", "acme.example"),
        ("requested_actor", child),
        ("authorization_details", ACME),
        ("request_details", r#"{"budget":{"max_accesses":2}}"#),
    ];
    let (token, _) = lab.exchange(&svid, &form).unwrap();
    assert_eq!(
        lab.exchange(&svid, &form).unwrap_err(),
        Refused::Conflict,
        "siblings share what is left"
    );
    let retriever = lab.svid("retriever", "r-1");
    assert!(lab.reach(&retriever, &token).is_ok());
    assert!(lab.reach(&retriever, &token).is_ok());
    assert_eq!(
        lab.reach(&retriever, &token).unwrap_err(),
        Refused::Conflict
    );
}
