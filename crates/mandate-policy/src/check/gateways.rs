//! To which gateways a server workload is assigned (A9).

use std::collections::BTreeMap;

use mandate_model::GatewayId;

use super::names::Names;
use super::url;
use crate::bundle::Declared;
use crate::decl::{Gateways, Upstream, is_within};
use crate::mistake::Mistakes;
use crate::source::Node;

pub(super) fn gateways(spec: &Node, mistakes: &mut Mistakes) -> Gateways {
    let Some(node) = spec.get("gateways") else {
        return Gateways::default();
    };
    let mut found = BTreeMap::new();
    for (key, value) in node.members() {
        let Some(address) = address(value, mistakes) else {
            continue;
        };
        match GatewayId::parse(&key.name) {
            Ok(id) => drop(found.insert(id, address)),
            Err(why) => mistakes.error(key.at, why.to_string(), ""),
        }
    }
    Gateways::new(found)
}

/// An address as proofs are compared with it: in one spelling.
fn address(node: &Node, mistakes: &mut Mistakes) -> Option<String> {
    let text = node.text()?;
    let usual = match url::parse_upstream(text) {
        Ok(url) => usual_form(&url),
        Err(why) => {
            let message = format!("the address {why}");
            mistakes.error(node.at, message, "say it as `https://records.acme.example`");
            return None;
        }
    };
    if text == usual && text.is_ascii() {
        return Some(usual);
    }
    let message = format!("the address `{text}` is not in its usual form");
    mistakes.error(node.at, message, format!("say it as `{usual}`"));
    None
}

/// RFC 3986 §6.2.3: without the scheme's own port, and without a slash at the end.
fn usual_form(url: &Upstream) -> String {
    let own_port = if url.tls { ":443" } else { ":80" };
    let authority = url.authority();
    let authority = authority.strip_suffix(own_port).unwrap_or(&authority);
    format!("{}://{authority}{}", url.scheme(), url.base_path)
}

/// No address of a server workload is within another's: a proof would be for both.
pub(super) fn apart(declared: &Declared, names: &Names, mistakes: &mut Mistakes) {
    let all = || declared.servers.values();
    for server in all() {
        let others = || all().filter(|other| other.name != server.name);
        for (_, address) in server.gateways.iter() {
            let holds = |other: &str| is_within(address, other);
            let other = others().find(|o| o.gateways.iter().any(|(_, at)| holds(at)));
            if let Some(other) = other {
                let at = names
                    .places
                    .field("ServerWorkload", server.name.as_str(), "gateways");
                let message = format!("`{address}` is within an address of `{}`", other.name);
                mistakes.error(at, message, "give each server workload its own addresses");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use mandate_model::{GatewayId, ServerName};

    use crate::fixtures::{EXAMPLE, example_with, load_text};

    /// A line of the example's `records`.
    const LINE: &str = "  upstream: https://records.internal:8443\n";

    fn errors(gateways: &str) -> Vec<String> {
        let with = format!("{LINE}  gateways: {gateways}\n");
        match example_with(LINE, &with) {
            Ok(_) => Vec::new(),
            Err(mistakes) => mistakes.iter().map(ToString::to_string).collect(),
        }
    }

    #[test]
    fn a_server_workload_is_assigned_to_gateways_by_name_and_address() {
        let with = format!("{LINE}  gateways: {{edge: \"https://edge.acme.example/records\"}}\n");
        let loaded = example_with(LINE, &with).unwrap();
        let records = ServerName::parse("records").unwrap();
        let gateways = &loaded.bundle.server(&records).unwrap().gateways;
        let edge = GatewayId::parse("edge").unwrap();
        assert!(gateways.is_reached(&edge, "https://edge.acme.example/records/x"));
        let unsaid = load_text(EXAMPLE).unwrap();
        let gateways = &unsaid.bundle.server(&records).unwrap().gateways;
        assert!(!gateways.is_assigned(&edge), "by default to none");
    }

    #[test]
    fn an_address_has_one_spelling() {
        for (gateways, part) in [
            (
                "{edge: \"https://edge.acme.example/\"}",
                "say it as `https://edge.acme.example`",
            ),
            (
                "{edge: \"https://edge.acme.example:443\"}",
                "say it as `https://edge.acme.example`",
            ),
            ("{edge: \"http://a:80/x\"}", "say it as `http://a/x`"),
            ("{edge: \"https://EDGE\"}", "has no host in lower case"),
            ("{edge: \"https://a/%2e\"}", "does not belong there"),
            ("{edge: \"https://a/../b\"}", "not in plain form"),
            ("{edge: edge.acme.example}", "does not begin with"),
            ("{\"\": \"https://a\"}", "gateway id"),
            ("{}", "empty"),
        ] {
            let found = errors(gateways);
            let said = found.len() == 1 && found[0].contains(part);
            assert!(said, "{gateways}: {found:?}");
        }
    }

    #[test]
    fn addresses_of_two_server_workloads_do_not_overlap() {
        let second = "\n---\napiVersion: mandate.dev/v1alpha1\nkind: ServerWorkload\nmetadata: {name: second}\nspec:\n  resource: https://second.acme.example\n  upstream: https://second.internal\n  credential: none\n  gateways: {edge: \"ADDRESS\"}\n  actions:\n    read: {effect: read, match: \"GET /x\"}\n";
        let load = |one: &str, other: &str| {
            let with = format!("{LINE}  gateways: {{edge: \"{one}\"}}\n");
            let first = EXAMPLE.replacen(LINE, &with, 1);
            load_text(&format!("{first}{}", second.replace("ADDRESS", other)))
        };
        assert!(
            load(
                "https://edge.example/records",
                "https://edge.example/second"
            )
            .is_ok()
        );
        for (one, other) in [
            ("https://edge.example", "https://edge.example"),
            ("https://edge.example/a", "https://edge.example"),
            ("https://edge.example", "https://edge.example/a/b"),
        ] {
            let found = load(one, other).map(|_| ()).unwrap_err();
            assert!(
                found
                    .iter()
                    .any(|m| m.to_string().contains("is within an address of")),
                "{found:?}"
            );
        }
    }
}
