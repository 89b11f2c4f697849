//! Root tasks that an operator opens: for each rule a case that passes and one that fails by one
//! detail.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "tests may panic"
)]

mod lab;

use std::time::Duration;

use lab::{JWT, Lab, Refused, TXN};
use mandate_decide::exchange::{
    ActorError, ExchangeError, FormError, GrantError, OperatorOpen, RequestDetails, SubjectError,
    open_by_operator,
};
use mandate_model::mandate::{Budget, Entries, RawEntry, parse_entries};
use mandate_model::stop::{Stopped, Subject};
use mandate_model::{OperatorName, Principal, SpiffeId, TaskId, Verified};
use mandate_token::{Audience, Expect, Kind, TaskToken};

const ACME: &str = r#"[{"type":"mandate_access","server":"records","actions":["read"],"constraints":{"customer":{"in":["acme"]}}}]"#;
const REFUND: &str = r#"[{"type":"mandate_access","server":"records","actions":["refund"],"constraints":{"customer":{"in":["acme"]}}}]"#;

const REPAIR: &str = r#"
---
apiVersion: mandate.dev/v1alpha1
kind: TaskPolicy
metadata: {name: repair}
spec:
  opener: backlog
  trigger: {operator: {}}
  ceiling: [{server: records, actions: [read]}]
  maxDuration: 10m
  budget: {maxAccesses: 5, maxChildren: 2}
---
apiVersion: mandate.dev/v1alpha1
kind: Operator
metadata: {name: root}
spec: {uid: 0, rights: [suspend, resume, apply, tasks]}
"#;

/// What an operator asks for, and how the test changes it.
type Change = fn(&mut Lab, &mut OperatorOpen);
/// One way to use a task token.
type Use = fn(&mut Lab, &str, &str) -> Result<String, Refused>;

fn bundle() -> String {
    format!("{}{REPAIR}", lab::BUNDLE)
}

fn entries(text: &str) -> Entries {
    parse_entries(serde_json::from_str::<Vec<RawEntry>>(text).unwrap()).unwrap()
}

fn agent(name: &str) -> SpiffeId {
    SpiffeId::parse(&format!("spiffe://acme.example/agent/{name}")).unwrap()
}

/// The backlog's repair for acme.
fn repair() -> OperatorOpen {
    OperatorOpen {
        agent: agent("backlog"),
        entries: Some(entries(ACME)),
        reason: "INC-4711".to_owned(),
        details: RequestDetails {
            purpose: Some("repair".to_owned()),
            ..RequestDetails::default()
        },
    }
}

impl Lab {
    fn open_as(&mut self, operator: &str, asked: &OperatorOpen) -> Result<String, Refused> {
        let operator = OperatorName::parse(operator).unwrap();
        let fresh = self.fresh();
        let grant = open_by_operator(&operator, asked, &self.world(), &fresh)?;
        self.commit(grant).map(|(token, _)| token)
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

    fn reach(&mut self, svid: &str, token: &str) -> Result<String, Refused> {
        let form = [
            ("subject_token", token),
            ("subject_token_type", TXN),
            ("resource", "https://records.acme.example"),
        ];
        self.exchange(svid, &form).map(|(token, _)| token)
    }

    fn delegate(&mut self, svid: &str, token: &str) -> Result<String, Refused> {
        let form = [
            ("subject_token", token),
            ("subject_token_type", TXN),
            ("requested_token_type", TXN),
            ("audience", "acme.example"),
            ("requested_actor", "spiffe://acme.example/agent/retriever"),
            ("authorization_details", ACME),
            (
                "request_details",
                r#"{"budget":{"max_accesses":1,"max_children":0}}"#,
            ),
        ];
        self.exchange(svid, &form).map(|(token, _)| token)
    }

    fn resume(&mut self, svid: &str, task: TaskId) -> Result<String, Refused> {
        let details = format!(r#"{{"task":"{task}"}}"#);
        self.by_svid(svid, &details)
    }

    fn by_svid(&mut self, svid: &str, details: &str) -> Result<String, Refused> {
        let form = [
            ("subject_token", svid),
            ("subject_token_type", JWT),
            ("requested_token_type", TXN),
            ("audience", "acme.example"),
            ("request_details", details),
        ];
        self.exchange(svid, &form).map(|(token, _)| token)
    }

    fn claims(&self, token: &str) -> TaskToken {
        let audience = Audience::parse("spiffe://acme.example").unwrap();
        let expect = Expect {
            issuer: &self.issuer,
            audience: &audience,
        };
        let verified = TaskToken::verify(token, self.keys(), &expect, self.now);
        verified.unwrap().claims().clone()
    }

    fn task(&self, token: &str) -> TaskId {
        self.claims(token).path.leaf()
    }
}

fn error(refused: Result<String, Refused>) -> ExchangeError {
    match refused {
        Err(Refused::Exchange(why)) => why,
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_operators_task_is_for_an_agent_type_and_caused_by_the_operator() {
    let mut lab = Lab::with_bundle(&bundle());
    let token = lab.open_as("root", &repair()).unwrap();
    let claims = lab.claims(&token);
    assert_eq!(claims.principal.to_string(), "operator:root");
    assert_eq!(claims.trigger.verified, Verified::Operator);
    assert_eq!(claims.trigger.kind.as_str(), "operator");
    assert_eq!(claims.may_act.sub, agent("backlog"));
    assert_eq!(claims.may_act.inst, None);
    assert_eq!(claims.requesting_workload, lab.domain.authority());
    assert!(claims.act.is_empty());
    assert_eq!(claims.mandate.entries, entries(ACME));
    let latest = lab.now.plus(Duration::from_secs(600));
    assert_eq!(claims.mandate.expires_at, latest);
    assert_eq!(claims.mandate.budget.max_accesses, Some(5));
}

#[test]
fn each_rule_of_opening_is_the_operators_rule_too() {
    let cases: [(Change, &str); 11] = [
        (|_, asked| asked.details.purpose = None, "exchange.form"),
        // It is there, for another kind of trigger.
        (
            |_, asked| asked.details.purpose = Some("nightly".to_owned()),
            "task_policy",
        ),
        (
            |_, asked| asked.details.purpose = Some("other".to_owned()),
            "task_policy",
        ),
        (
            |_, asked| asked.agent = agent("orchestrator"),
            "task_policy",
        ),
        (
            |_, asked| asked.agent = agent("nobody"),
            "mandate.undeclared",
        ),
        (
            |_, asked| asked.agent = SpiffeId::parse("spiffe://b.example/agent/backlog").unwrap(),
            "mandate.undeclared",
        ),
        (
            |_, asked| asked.entries = Some(entries(REFUND)),
            "mandate.widening",
        ),
        (
            |_, asked| {
                asked.details.budget = Budget {
                    max_accesses: Some(6),
                    max_children: None,
                };
            },
            "mandate.widening",
        ),
        (
            |lab, _| {
                lab.suspend(Subject::Agent {
                    id: agent("backlog"),
                })
            },
            "stopped",
        ),
        (
            |lab, _| {
                let id = Principal::parse("operator:root").unwrap();
                lab.suspend(Subject::Principal { id });
            },
            "stopped",
        ),
        (|lab, _| lab.suspend(Subject::Everything), "stopped"),
    ];
    for (n, (change, rule)) in cases.into_iter().enumerate() {
        let mut lab = Lab::with_bundle(&bundle());
        let mut asked = repair();
        assert!(lab.open_as("root", &asked).is_ok());
        change(&mut lab, &mut asked);
        let refused = error(lab.open_as("root", &asked));
        assert_eq!(refused.rule(), rule, "case {n}: {refused}");
    }
}

#[test]
fn without_authorization_details_the_task_has_the_ceiling_and_a_longer_life_is_cut() {
    let mut lab = Lab::with_bundle(&bundle());
    let asked = OperatorOpen {
        entries: None,
        details: RequestDetails {
            expires_in: Some(86_400),
            ..repair().details
        },
        ..repair()
    };
    let token = lab.open_as("root", &asked).unwrap();
    let mandate = lab.claims(&token).mandate;
    assert_eq!(mandate.entries.len(), 1);
    let latest = lab.now.plus(Duration::from_secs(600));
    assert_eq!(mandate.expires_at, latest);
}

#[test]
fn another_suspended_agent_or_principal_stops_nothing() {
    let mut lab = Lab::with_bundle(&bundle());
    lab.suspend(Subject::Agent {
        id: agent("retriever"),
    });
    let id = Principal::parse("operator:other").unwrap();
    lab.suspend(Subject::Principal { id });
    assert!(lab.open_as("root", &repair()).is_ok());
}

#[test]
fn only_an_instance_of_the_type_uses_it_and_a_suspended_principal_ends_that() {
    let uses: [Use; 3] = [Lab::renew, Lab::reach, Lab::delegate];
    for use_token in uses {
        let mut lab = Lab::with_bundle(&bundle());
        let token = lab.open_as("root", &repair()).unwrap();
        let orchestrator = lab.svid("orchestrator", "o-1");
        let refused = error(use_token(&mut lab, &orchestrator, &token));
        assert_eq!(refused, ExchangeError::Actor(ActorError::MayAct));
        let backlog = lab.svid("backlog", "b-1");
        assert!(use_token(&mut lab, &backlog, &token).is_ok());
        let id = Principal::parse("operator:root").unwrap();
        let subject = Subject::Principal { id };
        lab.suspend(subject.clone());
        let refused = error(use_token(&mut lab, &backlog, &token));
        assert_eq!(refused, ExchangeError::Stopped(Stopped::Suspended(subject)));
    }
}

#[test]
fn the_first_instance_that_uses_it_takes_the_openers_place() {
    let uses: [Use; 3] = [Lab::renew, Lab::reach, Lab::delegate];
    for use_token in uses {
        let mut lab = Lab::with_bundle(&bundle());
        let token = lab.open_as("root", &repair()).unwrap();
        let task = lab.task(&token);
        let (first, second) = (lab.svid("backlog", "b-1"), lab.svid("backlog", "b-2"));
        for svid in [&first, &second] {
            let refused = error(lab.resume(svid, task));
            assert_eq!(refused, ExchangeError::Actor(ActorError::Unused));
        }
        assert!(use_token(&mut lab, &first, &token).is_ok());
        let refused = error(use_token(&mut lab, &second, &token));
        assert_eq!(refused, ExchangeError::Actor(ActorError::Pinned));
        let refused = error(lab.resume(&second, task));
        assert_eq!(refused, ExchangeError::Actor(ActorError::NotDelegator));
        assert!(lab.resume(&first, task).is_ok());
        let other = lab.svid("orchestrator", "b-1");
        let refused = error(lab.resume(&other, task));
        assert_eq!(refused, ExchangeError::Actor(ActorError::NotDelegator));
    }
}

#[test]
fn where_the_policy_says_so_any_instance_of_the_type_goes_on_with_it() {
    let by_type = bundle().replace("maxDuration: 10m", "maxDuration: 10m\n  resume: type");
    let mut lab = Lab::with_bundle(&by_type);
    let token = lab.open_as("root", &repair()).unwrap();
    let task = lab.task(&token);
    let (first, second) = (lab.svid("backlog", "b-1"), lab.svid("backlog", "b-2"));
    assert!(lab.resume(&second, task).is_ok());
    assert!(lab.renew(&first, &token).is_ok());
    assert!(lab.renew(&second, &token).is_ok());
    let other = lab.svid("orchestrator", "o-1");
    let refused = error(lab.resume(&other, task));
    assert_eq!(refused, ExchangeError::Actor(ActorError::NotDelegator));
    // The live bundle says which of the two holds.
    lab.apply(&bundle());
    let refused = error(lab.resume(&second, task));
    assert_eq!(refused, ExchangeError::Actor(ActorError::Unused));
}

#[test]
fn what_the_bundle_takes_back_stops_the_task_and_all_below_it() {
    let changes = [
        ("apply, tasks]", "apply]", "task.operator"),
        (
            "metadata: {name: root}",
            "metadata: {name: boss}",
            "task.operator",
        ),
        (
            "trigger: {operator: {}}",
            "trigger: {event: {name: x, unverified: allow}}",
            "task_policy",
        ),
    ];
    for (from, to, rule) in changes {
        let mut lab = Lab::with_bundle(&bundle());
        let token = lab.open_as("root", &repair()).unwrap();
        let backlog = lab.svid("backlog", "b-1");
        let child = lab.delegate(&backlog, &token).unwrap();
        let retriever = lab.svid("retriever", "r-1");
        assert!(lab.renew(&retriever, &child).is_ok());
        let without = bundle().replace(from, to);
        assert_ne!(without, bundle());
        lab.apply(&without);
        for refused in [
            lab.renew(&backlog, &token),
            lab.renew(&retriever, &child),
            lab.open_as("root", &repair()),
        ] {
            let refused = error(refused);
            assert_eq!(refused.rule(), rule, "{refused}");
        }
    }
}

#[test]
fn the_servers_own_user_opens_only_while_nobody_is_declared() {
    let (policy, _) = REPAIR
        .split_once("---\napiVersion: mandate.dev/v1alpha1\nkind: Operator")
        .unwrap();
    let mut lab = Lab::with_bundle(&format!("{}{policy}", lab::BUNDLE));
    let token = lab.open_as("bootstrap", &repair()).unwrap();
    let refused = error(lab.open_as("root", &repair()));
    let gone = |name: &str| ExchangeError::Grant(GrantError::Operator(name.to_owned()));
    assert_eq!(refused, gone("root"));
    lab.apply(&bundle());
    let backlog = lab.svid("backlog", "b-1");
    assert_eq!(error(lab.renew(&backlog, &token)), gone("bootstrap"));
}

#[test]
fn an_agent_cannot_claim_that_an_operator_asked() {
    let mut lab = Lab::with_bundle(&bundle());
    let backlog = lab.svid("backlog", "b-1");
    let claimed = r#"{"purpose":"repair","trigger":{"kind":"operator"}}"#;
    let refused = error(lab.by_svid(&backlog, claimed));
    assert!(
        matches!(&refused, ExchangeError::Form(FormError::Malformed { .. })),
        "{refused}"
    );
    for claimed in [
        r#"{"purpose":"repair","trigger":{"kind":"schedule","name":"repair"}}"#,
        r#"{"purpose":"repair","trigger":{"kind":"event","name":"operator"}}"#,
    ] {
        let refused = error(lab.by_svid(&backlog, claimed));
        assert!(
            matches!(&refused, ExchangeError::Grant(GrantError::Open(_))),
            "{refused}"
        );
    }
    let own = r#"{"purpose":"nightly","trigger":{"kind":"schedule","name":"nightly","item":"1"}}"#;
    assert!(lab.by_svid(&backlog, own).is_ok());
}

#[test]
fn an_operators_task_that_has_ended_gives_nothing() {
    let mut lab = Lab::with_bundle(&bundle());
    let token = lab.open_as("root", &repair()).unwrap();
    let backlog = lab.svid("backlog", "b-1");
    assert!(lab.renew(&backlog, &token).is_ok());
    let task = lab.task(&token);
    lab.end(task);
    let over = ExchangeError::Subject(SubjectError::TaskOver(task));
    assert_eq!(error(lab.renew(&backlog, &token)), over);
    assert_eq!(error(lab.resume(&backlog, task)), over);
}
