//! Server workloads: where they are and what is injected.

use std::time::Duration;

use mandate_model::{SecretName, ServerName, Timestamp};

use super::action::{self, Spoken};
use super::names::Names;
use super::read::{parsed, text};
use super::{LoadEnv, a2a, gateways, http, llm, mcp, moment, place_of, url};
use crate::decl::{
    AttributeSource, Credential, Durability, HttpSettings, LeaseLoss, SecretTemplate,
    ServerWorkload,
};
use crate::mistake::Mistakes;
use crate::source::Node;

pub(super) fn server(
    name: &str,
    spec: &Node,
    (names, env, now): (&Names, &LoadEnv, Timestamp),
    mistakes: &mut Mistakes,
) -> Option<ServerWorkload> {
    let name = ServerName::parse(name).ok()?;
    let mcp = spec.get("mcp").map(|node| mcp::mcp(node, mistakes));
    let a2a = spec.get("a2a");
    let spoken = match (&mcp, a2a) {
        (Some(_), _) => Spoken::Mcp,
        (None, Some(_)) => Spoken::A2a,
        (None, None) => Spoken::Http,
    };
    let a2a = a2a.map(|node| a2a::a2a(node, (names, env), mistakes));
    let actions = action::actions(spec, spoken, mistakes);
    let matcher = action::matcher(spec, &actions, mistakes);
    let credential = spec
        .get("credential")
        .and_then(|c| credential(c, spec, mistakes));
    let resource = resource(spec, mistakes);
    let upstream = upstream(spec, mistakes);
    let http = spec.get("http").map(|node| http::http(node, mistakes));
    check_own_headers(spec, credential.as_ref(), http.as_ref(), mistakes);
    let observe_until = observe(spec, now, mistakes);
    let lease_loss = lease_loss(spec, credential.as_ref(), mistakes);
    let durability = durability(spec, lease_loss, mistakes);
    let gateways = gateways::gateways(spec, mistakes);
    let server = ServerWorkload {
        name,
        resource: resource?,
        upstream: upstream?,
        upstream_audience: text(spec, "upstreamAudience"),
        gateways,
        credential: credential?,
        internal: spec.get("internal").is_some_and(Node::is_true),
        observe_until,
        lease_loss,
        proof: super::agent::possession(spec),
        durability,
        http: http.unwrap_or_default(),
        mcp,
        llm: spec.get("llm").and_then(llm::llm),
        // One that names no agent type does not load.
        a2a: a2a.flatten(),
        ca: spec.get("tls").and_then(|tls| text(tls, "ca")),
        actions,
        matcher,
    };
    attributes_arrive(&server, spec, mistakes);
    mcp::check(&server, spec, mistakes);
    llm::check(&server, spec, mistakes);
    a2a::check(&server, spec, mistakes);
    Some(server)
}

/// An attribute that is read from a header must reach the upstream with it: what is decided on and
/// not sent would let an agent say one thing here and another thing there.
fn attributes_arrive(server: &ServerWorkload, spec: &Node, mistakes: &mut Mistakes) {
    for action in server.actions() {
        for (attribute, declared) in &action.attributes {
            let AttributeSource::Header(header) = &declared.source else {
                continue;
            };
            if server.passes(header) {
                continue;
            }
            let way = [
                "actions",
                action.name.as_str(),
                "attributes",
                attribute.as_str(),
            ];
            let node = way.iter().try_fold(spec, |node, field| node.get(field));
            let message = format!(
                "header `{header}` is not passed on to this server workload, so no attribute can be read from it"
            );
            mistakes.error(
                node.map_or(spec.at, |node| place_of(node, "header")),
                message,
                "read the attribute from another header, or let this one pass",
            );
        }
    }
}

/// Two of the gateway's own fields with one name: the later would take the place of the credential.
fn check_own_headers(
    spec: &Node,
    credential: Option<&Credential>,
    http: Option<&HttpSettings>,
    mistakes: &mut Mistakes,
) {
    let task = http.and_then(|http| http.pass_task_id.as_deref());
    if let (Some(task), Some(own)) = (task, credential.and_then(Credential::header))
        && task == own
        && let Some(http) = spec.get("http")
    {
        mistakes.error(
            place_of(http, "passTaskId"),
            format!("header `{task}` carries the credential already"),
            "choose another header for the task's id",
        );
    }
}

fn resource(spec: &Node, mistakes: &mut Mistakes) -> Option<String> {
    let node = spec.get("resource")?;
    let text = node.text()?;
    if !url::is_resource_indicator(text) {
        let message = "`resource` is no absolute URI without fragment (RFC 8707 §2)";
        mistakes.error(node.at, message, "say it as `https://records.acme.example`");
    }
    Some(text.to_owned())
}

fn upstream(spec: &Node, mistakes: &mut Mistakes) -> Option<crate::decl::Upstream> {
    let node = spec.get("upstream")?;
    match url::parse_upstream(node.text()?) {
        Ok(upstream) => Some(upstream),
        Err(why) => {
            mistakes.error(
                node.at,
                format!("`upstream` {why}"),
                "say it as `https://records.internal:8443`",
            );
            None
        }
    }
}

fn observe(spec: &Node, now: Timestamp, mistakes: &mut Mistakes) -> Option<Timestamp> {
    let node = spec.get("observe")?.get("until")?;
    let Some(until) = moment::parse_time(node.text()?) else {
        mistakes.error(
            node.at,
            "`until` is no moment in RFC 3339, UTC",
            "say it as `2026-12-01T00:00:00Z`",
        );
        return None;
    };
    if until > now.plus(LONGEST_OBSERVATION) {
        mistakes.error(
            node.at,
            "`observe.until` is more than 30 days away",
            "observe for 30 days at most, then decide",
        );
    }
    if until <= now {
        mistakes.warn(
            node.at,
            "`observe.until` has passed: everything is enforced",
            "remove `observe`",
        );
    }
    Some(until)
}

/// What each token for the upstream is asked of the authority for cannot go on without it.
fn lease_loss(spec: &Node, credential: Option<&Credential>, mistakes: &mut Mistakes) -> LeaseLoss {
    if text(spec, "leaseLoss").as_deref() != Some("continue") {
        return LeaseLoss::Stop;
    }
    if credential == Some(&Credential::MandateToken) {
        mistakes.error(
            place_of(spec, "leaseLoss"),
            "`leaseLoss: continue` cannot be kept with `mandateToken`: its tokens come from the authority",
            "remove `leaseLoss`, or give the upstream another credential",
        );
    }
    LeaseLoss::Continue
}

fn durability(spec: &Node, lease_loss: LeaseLoss, mistakes: &mut Mistakes) -> Durability {
    if text(spec, "durability").as_deref() != Some("shipped") {
        return Durability::Local;
    }
    if lease_loss == LeaseLoss::Continue {
        mistakes.error(
            place_of(spec, "durability"),
            "`durability: shipped` and `leaseLoss: continue` contradict each other: without the authority nothing is shipped",
            "keep the one that matters more",
        );
    }
    Durability::Shipped
}

fn credential(node: &Node, spec: &Node, mistakes: &mut Mistakes) -> Option<Credential> {
    if let Some(header) = node.get("header") {
        return header_credential(header, node, mistakes);
    }
    if let Some(basic) = node.get("basic") {
        let user = text(basic, "user")?;
        if user.contains(':') || user.chars().any(char::is_control) {
            let message = "a user of basic authentication has no `:` (RFC 7617 §2)";
            mistakes.error(place_of(basic, "user"), message, "");
        }
        let secret = parsed::<SecretName>(basic.get("secret")?, mistakes)?;
        return Some(Credential::Basic { user, secret });
    }
    if let Some(query) = node.get("query") {
        let value = template(query.get("value")?, mistakes)?;
        let name = text(query, "name")?;
        return Some(Credential::Query { name, value });
    }
    if node.get("mandateToken").is_some() || node.text() == Some("mandateToken") {
        if spec.get("upstreamAudience").is_none() {
            let message = "a Mandate token for the upstream needs `upstreamAudience` (A4)";
            mistakes.error(
                node.at,
                message,
                "add it; it is never any server's `resource`",
            );
        }
        return Some(Credential::MandateToken);
    }
    let none = node.get("none").is_some() || node.text() == Some("none");
    none.then_some(Credential::None)
}

fn header_credential(header: &Node, node: &Node, mistakes: &mut Mistakes) -> Option<Credential> {
    let Some(value) = node.get("value") else {
        mistakes.error(
            node.at,
            "`credential` lacks `value` beside `header`",
            "add `value: \"Bearer ${secret:name}\"`",
        );
        return None;
    };
    let name = http::header_name(header, mistakes);
    let value = template(value, mistakes);
    Some(Credential::Header {
        name: name?,
        value: value?,
    })
}

fn template(node: &Node, mistakes: &mut Mistakes) -> Option<SecretTemplate> {
    let Some(text) = node.text() else {
        mistakes.error(node.at, "`value` should be text", "");
        return None;
    };
    match SecretTemplate::parse(text) {
        Ok(template) => Some(template),
        Err(why) => {
            let help = "name exactly one secret, as in `Bearer ${secret:records-key}`; the secret itself stays out of the bundle";
            mistakes.error(node.at, why.to_string(), help);
            None
        }
    }
}

const LONGEST_OBSERVATION: Duration = Duration::from_secs(30 * 86_400);
