//! The Cedar schema that conditions and guardrails are validated against.

use std::fmt::Write;

use mandate_model::AttributeType;

use super::text::quoted;
use crate::bundle::Declared;
use crate::decl::Action;

/// What every condition sees beside the attributes of its action, as Cedar's schema says it.
///
/// `delegators` is seen by guardrails alone: nested `act` may deny and never permit (RFC 8693 §4.1).
pub fn context_schema() -> String {
    let mut text = String::new();
    for (name, ty, doc) in CONTEXT.iter().chain(GUARDRAIL_CONTEXT) {
        let _ = writeln!(text, "  {name}: {ty}, // {doc}");
    }
    text
}

pub(super) const CONTEXT: &[(&str, &str, &str)] = &[
    ("effect", "String", "of the action: `read` or `write`"),
    (
        "attestation",
        "String",
        "of the acting agent: `process`, `process-weak`, `hosted`, `kubernetes`, `kubernetes-offline`, `oidc`, `spiffe`, `google`, `github`, `gitlab`, `azure`, `aws-token` or `aws`",
    ),
    (
        "hosted",
        "Bool",
        "whether the acting agent runs in another's process",
    ),
    ("host?", "String", "the agent type of that process"),
    (
        "provider",
        "String",
        "the trust provider that vouched for the acting agent",
    ),
    ("purpose", "String", "of the root task"),
    (
        "principal",
        "{kind: String, id: String, provider?: String}",
        "whom the task is for: `user`, `operator` or `agent`; its name; for a user who vouched",
    ),
    (
        "trigger",
        "{kind: String, verified: String, name?: String, item?: String, provider?: String}",
        "what began the root task: `user`, `schedule`, `event`, `operator`; `user`, `operator`, `source`, `none`",
    ),
    (
        "task",
        "{fixes: Set<String>}",
        "the attributes that the mandate pins to exactly one value",
    ),
    (
        "time",
        "{unix: Long, hour: Long, weekday: Long}",
        "seconds since 1970; hour of the day, 0 to 23, UTC; day of the week, Monday 1 to Sunday 7, UTC",
    ),
];

pub(super) const GUARDRAIL_CONTEXT: &[(&str, &str, &str)] = &[(
    "delegators",
    "Set<String>",
    "guardrails alone: the agent types that delegated, from the root on",
)];

/// For whom a schema is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reader {
    Permits,
    Guardrails,
}

pub(super) fn access_schema(declared: &Declared, reader: Reader) -> String {
    let mut text = "entity Agent;\nentity Server;\n".to_owned();
    for server in declared.servers.values() {
        for action in server.actions.values() {
            let name = quoted(&format!("{}:{}", server.name, action.name));
            let context = context(action, reader);
            let _ = writeln!(
                text,
                "action {name} appliesTo {{ principal: [Agent], resource: [Server], context: {{{context}}} }};"
            );
        }
    }
    text
}

fn context(action: &Action, reader: Reader) -> String {
    let more = match reader {
        Reader::Permits => &[][..],
        Reader::Guardrails => GUARDRAIL_CONTEXT,
    };
    let mut text = String::new();
    for (name, ty, _) in CONTEXT.iter().chain(more) {
        let _ = write!(text, "{name}: {ty}, ");
    }
    text.push_str("attributes: {");
    for (name, attribute) in &action.attributes {
        let ty = match attribute.ty {
            AttributeType::Integer => "Long",
            AttributeType::String
            | AttributeType::Uuid
            | AttributeType::Path
            | AttributeType::Enum(_) => "String",
        };
        let _ = write!(text, "{}?: {ty}, ", quoted(name.as_str()));
    }
    text.push('}');
    text
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_reference_publishes_the_context() {
        let reference = include_str!("../../../../docs/bundle.md");
        assert!(
            reference.contains(&super::context_schema()),
            "{}",
            super::context_schema()
        );
    }
}
