use std::num::NonZeroU32;
use std::time::Duration;

use mandate_model::mandate::{Entries, parse_entries};
use mandate_model::task::TaskPath;
use mandate_model::{
    ActChain, ActorLevel, AttestationKind, AttributeName, AttributeValue, InstanceId, Principal,
    ProviderName, SpiffeId, StopVersion, TaskId, Timestamp, TokenId, Trigger, TriggerKind,
    TrustDomain, Verified,
};
use mandate_policy::{LoadEnv, SourceFile};
use mandate_token::{ActingChain, Audience, Issuer};

use super::*;

const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);
/// Even seconds only, and customers whose name begins with `a`.
const BUNDLE: &str = r#"
apiVersion: mandate.dev/v1alpha1
kind: AgentType
metadata: {name: reader}
spec:
  attestation: [{process: {user: reader}}]
  breakGlass: {contact: nobody, impact: None.}
---
apiVersion: mandate.dev/v1alpha1
kind: ServerWorkload
metadata: {name: records}
spec:
  resource: https://records.acme.example
  upstream: http://127.0.0.1:1
  credential: none
  actions:
    read: {effect: read, match: "GET /customers/{customer}"}
    list: {effect: read, match: "GET /lists/{customer}"}
---
apiVersion: mandate.dev/v1alpha1
kind: AccessPolicy
metadata: {name: reading}
spec:
  agents: [reader]
  server: records
  actions: [read]
  when: 'context.time.unix < 1800000001 && context.attributes has customer && context.attributes.customer like "a*"'
"#;

fn bundle(text: &str) -> Arc<Bundle> {
    let files = [SourceFile {
        name: "bundle.yaml".to_owned(),
        text: text.to_owned(),
    }];
    let env = LoadEnv {
        trust_domain: TrustDomain::parse("acme.example").unwrap(),
        issuer: "https://id.acme.example".to_owned(),
    };
    Arc::new(mandate_policy::load(&files, &env, NOW).unwrap().bundle)
}

fn entries() -> Entries {
    let entries = serde_json::json!([
        {"type": "mandate_access", "server": "records", "actions": ["read", "list"]},
    ]);
    parse_entries(serde_json::from_value(entries).unwrap()).unwrap()
}

fn claims() -> Arc<AccessToken> {
    let level = ActorLevel {
        sub: SpiffeId::parse("spiffe://acme.example/agent/reader").unwrap(),
        inst: InstanceId::parse("reader-1").unwrap(),
        prv: ProviderName::parse("process").unwrap(),
        att: AttestationKind::Process,
        host: None,
    };
    let chain = ActChain::from_levels(vec![level]).unwrap();
    Arc::new(AccessToken {
        issuer: Issuer::parse("https://id.acme.example").unwrap(),
        audience: Audience::parse("https://records.acme.example").unwrap(),
        principal: Principal::parse("user:login:alice").unwrap(),
        acting: ActingChain::new(chain).unwrap(),
        entries: entries(),
        trigger: Trigger {
            kind: TriggerKind::User,
            verified: Verified::User,
            provider: None,
            item: None,
        },
        purpose: "nightly".to_owned(),
        path: TaskPath::root_of(TaskId::new(NOW, [1; 10])),
        task_expires_at: NOW.plus(Duration::from_secs(600)),
        uses: Some(NonZeroU32::MIN),
        confirmation: None,
        via: None,
        stops: StopVersion::default(),
        id: TokenId::new(NOW, [2; 10]),
        issued_at: NOW,
        not_before: None,
        expires_at: NOW.plus(Duration::from_secs(120)),
    })
}

struct Asking {
    claims: Arc<AccessToken>,
    attributes: RequestAttributes,
    server: ServerName,
    action: ActionName,
}

impl Asking {
    fn new(action: &str, customer: &str) -> Self {
        let mut attributes = RequestAttributes::default();
        attributes.add(
            AttributeName::parse("customer").unwrap(),
            AttributeValue::Text(customer.to_owned()),
        );
        Self {
            claims: claims(),
            attributes,
            server: ServerName::parse("records").unwrap(),
            action: ActionName::parse(action).unwrap(),
        }
    }

    fn of(&self, verdicts: &Verdicts, bundle: &Arc<Bundle>, now: Timestamp) -> bool {
        let token = &self.claims;
        let request = PolicyRequest {
            actor: token.acting.actor(),
            act: &[],
            server: &self.server,
            action: &self.action,
            attributes: &self.attributes,
            entry: token.entries.for_action(&self.server, &self.action).next(),
            principal: &token.principal,
            trigger: &token.trigger,
            purpose: &token.purpose,
            now,
        };
        let verdict = verdicts.of(bundle, token, &request);
        assert_eq!(
            verdict,
            bundle.permits(&request),
            "what the bundle says itself"
        );
        matches!(verdict, PolicyVerdict::Permitted { .. })
    }
}

fn count(verdicts: &Verdicts) -> usize {
    verdicts.0.lock().unwrap().count
}

#[test]
fn the_same_question_is_decided_once_in_a_second_and_anew_in_the_next() {
    let (verdicts, bundle) = (Verdicts::default(), bundle(BUNDLE));
    let asking = Asking::new("read", "acme");
    for ms in [0, 1, 999] {
        assert!(asking.of(&verdicts, &bundle, NOW.plus(Duration::from_millis(ms))));
    }
    assert_eq!(count(&verdicts), 1);
    // The condition of the policy looks at the clock.
    assert!(!asking.of(&verdicts, &bundle, NOW.plus(Duration::from_secs(1))));
    assert_eq!(
        count(&verdicts),
        1,
        "what the last second said is forgotten"
    );
    assert!(
        asking.of(&verdicts, &bundle, NOW),
        "a clock that is set back"
    );
}

#[test]
fn whatever_differs_is_decided_by_itself() {
    let verdicts = Verdicts::default();
    let (one, other) = (bundle(BUNDLE), bundle(BUNDLE));
    let empty = bundle(&BUNDLE.replace("actions: [read]", "actions: [list]"));
    let asking = Asking::new("read", "acme");
    assert!(asking.of(&verdicts, &one, NOW));
    assert!(!asking.of(&verdicts, &empty, NOW), "another bundle");
    assert!(
        asking.of(&verdicts, &other, NOW),
        "the same text, applied again"
    );
    let another_token = Asking::new("read", "acme");
    assert!(another_token.of(&verdicts, &one, NOW));
    assert_eq!(count(&verdicts), 4);
    let customer = Asking {
        claims: asking.claims.clone(),
        ..Asking::new("read", "globex")
    };
    assert!(!customer.of(&verdicts, &one, NOW));
    let action = Asking {
        claims: asking.claims.clone(),
        ..Asking::new("list", "acme")
    };
    assert!(!action.of(&verdicts, &one, NOW));
    assert!(
        asking.of(&verdicts, &one, NOW),
        "what was answered before stays"
    );
    assert_eq!(count(&verdicts), 6);
}

#[test]
fn what_is_remembered_is_bounded() {
    let (verdicts, bundle) = (Verdicts::default(), bundle(BUNDLE));
    let claims = claims();
    for n in 0..3 * MOST_OF_ONE {
        let asking = Asking {
            claims: claims.clone(),
            ..Asking::new("read", &format!("a{n}"))
        };
        assert!(asking.of(&verdicts, &bundle, NOW));
    }
    let now = verdicts.0.lock().unwrap();
    assert!(
        now.answers
            .values()
            .all(|answers| answers.len() <= MOST_OF_ONE)
    );
}
