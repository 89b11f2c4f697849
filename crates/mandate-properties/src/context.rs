//! The context that Cedar sees: whatever a request and its token say, policy means the same.

use mandate_model::mandate::{Entries, Entry, parse_entries};
use mandate_model::{
    ActionName, ActorLevel, AttributeName, AttributeValue, Principal, RequestAttributes,
    ServerName, Timestamp, Trigger, TriggerKind,
};
use mandate_policy::{PolicyRequest, PolicyVerdict, Why};

use crate::world::world;

/// Asks policy about `data`, a JSON object (see `fuzz/seeds/context`).
///
/// - The verdict is a function of the request.
/// - `explain` names a policy that permits exactly where the verdict permits.
/// - Whatever was permitted is what the bundle says, tried here in plain Rust: the agent's own
///   actions, within the limit, with the customer pinned, no write by a hosted agent, and of the
///   report what its condition asks.
pub fn context(data: &[u8]) -> bool {
    let Ok(asked) = serde_json::from_slice::<Asked>(data) else {
        return false;
    };
    let Some(asked) = asked.parsed() else {
        return false;
    };
    let request = asked.request();
    let verdict = world().permits(&request);
    assert_eq!(verdict, world().permits(&request));
    let permitted = matches!(verdict, PolicyVerdict::Permitted { .. });
    if let Ok(reasons) = world().explain(&request) {
        let permits = reasons
            .iter()
            .any(|e| matches!(e.why, Why::Permits | Why::PermitsSome { .. }));
        let forbids = reasons.iter().any(|e| matches!(e.why, Why::Forbids));
        assert!(
            !permitted || (permits && !forbids),
            "{verdict:?}: {reasons:?}"
        );
    } else {
        assert!(!permitted, "permitted without a reason");
    }
    if permitted {
        asked.check_permitted();
    }
    permitted
}

#[derive(serde::Deserialize)]
struct Asked {
    actor: ActorLevel,
    #[serde(default)]
    act: Vec<ActorLevel>,
    server: ServerName,
    action: ActionName,
    #[serde(default)]
    attributes: Vec<(AttributeName, AttributeValue)>,
    #[serde(default)]
    entries: Vec<mandate_model::mandate::RawEntry>,
    principal: Principal,
    trigger: Trigger,
    purpose: String,
    now: Timestamp,
}

struct Question {
    asked: Asked,
    attributes: RequestAttributes,
    entries: Entries,
}

impl Asked {
    fn parsed(mut self) -> Option<Question> {
        let entries = parse_entries(std::mem::take(&mut self.entries)).ok()?;
        let mut attributes = RequestAttributes::new();
        for (name, value) in &self.attributes {
            attributes.add(name.clone(), value.clone());
        }
        Some(Question {
            asked: self,
            attributes,
            entries,
        })
    }
}

impl Question {
    fn entry(&self) -> Option<&Entry> {
        self.entries.iter().next()
    }

    fn request(&self) -> PolicyRequest<'_> {
        PolicyRequest {
            actor: &self.asked.actor,
            act: &self.asked.act,
            server: &self.asked.server,
            action: &self.asked.action,
            attributes: &self.attributes,
            entry: self.entry(),
            principal: &self.asked.principal,
            trigger: &self.asked.trigger,
            purpose: &self.asked.purpose,
            now: self.asked.now,
        }
    }

    fn values(&self, name: &str) -> &[AttributeValue] {
        self.attributes.values(&AttributeName::parse(name).unwrap())
    }

    fn check_permitted(&self) {
        let agent = self.asked.actor.sub.as_str();
        let is = |name: &str| agent == format!("spiffe://acme.example/agent/{name}");
        assert_eq!(self.asked.server.as_str(), "records");
        match self.asked.action.as_str() {
            "read" | "search" => {
                assert!(is("retriever"), "{agent} read");
                self.check_customer_is_pinned();
            }
            "report" => {
                assert!(is("retriever"), "{agent} reported");
                assert_eq!(self.asked.trigger.kind, TriggerKind::User);
                self.check_each("year", |year| year > 2020);
            }
            "refund" => {
                assert!(is("executor"), "{agent} refunded");
                assert_ne!(self.asked.actor.att.as_str(), "hosted");
                self.check_customer_is_pinned();
                self.check_each("amount_cents", |cents| (0..=10_000).contains(&cents));
            }
            other => assert!(other.is_empty(), "{other} is nobody's"),
        }
    }

    fn check_each(&self, name: &str, fits: impl Fn(i64) -> bool) {
        let values = self.values(name);
        assert!(!values.is_empty(), "{name} is missing");
        let all_fit = values.iter().all(|value| match value {
            AttributeValue::Integer(n) => fits(*n),
            AttributeValue::Text(_) => false,
        });
        assert!(all_fit, "{name}: {values:?}");
    }

    fn check_customer_is_pinned(&self) {
        let customer = AttributeName::parse("customer").unwrap();
        let constraint = self.entry().and_then(|e| e.constraints.get(&customer));
        let pinned = constraint.is_some_and(|c| c.single_value().is_some());
        assert!(pinned, "the customer is not pinned");
    }
}
