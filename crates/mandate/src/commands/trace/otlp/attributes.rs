//! What records say, in the words of the semantic conventions where they have one, and as `mandate.…` elsewhere.

use mandate_audit::{Event, Usage, What};
use mandate_model::{Principal, Trigger, TriggerKind, Verified};

use super::Agent;
use super::wire::{Attributes, Resource};

/// The agent type that did it: `service.name` is its name.
pub(super) fn of_resource(agent: &Agent) -> Resource {
    let mut attributes = Attributes::default();
    match agent {
        Agent::Authority => attributes.text("service.name", "mandate"),
        Agent::Type(id) => {
            let name = id.path().rsplit('/').next().unwrap_or_default();
            attributes.text("service.name", name);
            attributes.text("service.namespace", id.trust_domain());
            attributes.text("mandate.agent.spiffe_id", id.as_str());
        }
    }
    Resource { attributes }
}

/// What every record may say.
pub(super) fn of_record(index: u64, event: &Event) -> Attributes {
    let mut said = Attributes::default();
    said.number("mandate.record.index", index);
    said.text("mandate.record.kind", event.what.kind());
    said.text("mandate.decision", word(&event.decision));
    if let Some(rule) = &event.rule {
        said.text("mandate.rule", rule);
    }
    if let Some(detail) = &event.detail {
        said.text("mandate.detail", detail);
    }
    said.texts("mandate.policies", &event.policies);
    said.texts(
        "mandate.actors",
        event.actors.iter().map(|a| a.sub.as_str()),
    );
    if let Some(actor) = event.actors.first() {
        said.text("mandate.agent.instance", &actor.inst);
        said.text("mandate.agent.attestation", actor.att.as_str());
    }
    if let Some(server) = &event.server {
        said.text("service.peer.name", server);
    }
    if let Some(action) = &event.action {
        said.text("mandate.action", action);
    }
    for (name, values) in &event.attributes {
        said.texts(format!("mandate.attribute.{name}"), values);
    }
    if let Some(bundle) = event.bundle {
        said.number("mandate.bundle.version", bundle.get());
    }
    if let Some(stops) = event.stops {
        said.number("mandate.stops.version", stops.get());
    }
    if let Some(token) = event.token {
        said.text("mandate.token.id", token);
    }
    if let Some(gateway) = &event.gateway {
        said.text("mandate.gateway", gateway);
    }
    if let Some(via) = &event.via {
        said.text("mandate.via", via);
    }
    if event.without_lease {
        said.yes("mandate.without_lease");
    }
    of_kind(&event.what, &mut said);
    said
}

/// What the kind of a record adds.
fn of_kind(what: &What, said: &mut Attributes) {
    match what {
        What::Issued {
            token_kind,
            audience,
            scope,
            ..
        } => {
            said.text("mandate.token.kind", token_kind);
            said.text("mandate.token.audience", audience);
            if let Some(scope) = scope {
                said.text("mandate.token.scope", scope);
            }
        }
        What::Refused { step, error } => {
            said.text("mandate.step", step);
            said.text("mandate.oauth.error", error);
        }
        What::TaskOpened {
            purpose, policy, ..
        } => {
            said.text("mandate.task.purpose", purpose);
            said.text("mandate.task.policy", policy);
        }
        What::TaskEnded { count, .. } => said.number("mandate.task.ended", *count),
        What::Revoked { token } => said.text("mandate.token.revoked", token),
        What::AccessDecided { .. }
        | What::TaskDelegated { .. }
        | What::AccessProgress { .. }
        | What::AccessCompleted { .. }
        | What::Attested { .. }
        | What::RefusedCount { .. }
        | What::Suspended { .. }
        | What::SuspensionEffective { .. }
        | What::SuspensionNotEffective { .. }
        | What::Resumed { .. }
        | What::BundleApplied { .. }
        | What::KeyChanged { .. }
        | What::Rekeyed { .. }
        | What::GatewayConnected { .. }
        | What::OperatorActed { .. }
        | What::Alarm { .. } => {}
    }
}

/// What the reply of an LLM said it took. The conventions count as records do: what a cache had to do with is part of
/// the input.
pub(super) fn of_usage(usage: &Usage, said: &mut Attributes) {
    if let Some(model) = &usage.model {
        said.text("gen_ai.response.model", model);
    }
    for (kind, count) in usage.counts() {
        let name = match kind {
            "input" => "gen_ai.usage.input_tokens",
            "output" => "gen_ai.usage.output_tokens",
            "cached" => "gen_ai.usage.cache_read.input_tokens",
            "cache_write" => "gen_ai.usage.cache_creation.input_tokens",
            _ => "gen_ai.usage.reasoning.output_tokens",
        };
        said.number(name, count);
    }
    if let Some(why) = &usage.incomplete {
        said.text("mandate.usage.incomplete", word(why));
    }
}

/// The cause, on the root task's span (P5).
pub(super) fn of_cause(
    principal: Option<&Principal>,
    trigger: Option<&Trigger>,
    said: &mut Attributes,
) {
    if let Some(principal) = principal {
        said.text("enduser.id", principal);
    }
    let Some(trigger) = trigger else { return };
    said.text("mandate.trigger.kind", trigger.kind.as_str());
    if let TriggerKind::Schedule { name } | TriggerKind::Event { name } = &trigger.kind {
        said.text("mandate.trigger.name", name);
    }
    said.text(
        "mandate.trigger.verified",
        match trigger.verified {
            Verified::None => "none",
            Verified::User => "user",
            Verified::Operator => "operator",
            Verified::Source => "source",
        },
    );
    if let Some(provider) = &trigger.provider {
        said.text("mandate.trigger.provider", provider);
    }
    if let Some(item) = &trigger.item {
        said.text("mandate.trigger.item", item);
    }
}

/// The request of an access, as `method template`. One that is no action is told as it came.
pub(super) fn of_request(request: &str, is_action: bool, said: &mut Attributes) {
    match request.split_once(' ') {
        Some((method, template)) if is_action => {
            said.text("http.request.method", method);
            said.text("url.template", template);
        }
        Some(_) | None => said.text("mandate.request", request),
    }
}

/// The name that records have for a decision, an outcome or a state.
pub(super) fn word(value: &impl serde::Serialize) -> String {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(word)) => word,
        Ok(_) | Err(_) => String::new(),
    }
}
