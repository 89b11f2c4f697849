//! The server workload of `vectors/http`, an agent for it, and what that holds.

use std::net::SocketAddr;

use mandate_model::mandate::parse_entries;
use mandate_ports::Clock;
use mandate_token::AccessToken;

use super::World;
use super::tokens::claims;

/// The bundle with the upstream at `address`; `http` goes into its settings.
pub fn bundle(address: SocketAddr, http: &str) -> String {
    let server = include_str!("../../../../vectors/http/server.yaml");
    let server = server.replace("${upstream}", &address.to_string());
    format!("{AGENT}{}", server.replace("${http}", http))
}

/// An access token for `actions` with customer `acme`.
pub fn token(world: &World, actions: &[&str]) -> String {
    let entries = serde_json::json!([{
        "type": "mandate_access", "server": "records", "actions": actions,
        "constraints": {"customer": {"in": ["acme"]}},
    }]);
    world.authority.keys.sign(AccessToken {
        entries: parse_entries(serde_json::from_value(entries).unwrap()).unwrap(),
        ..claims("retriever", "read", world.clocks.now())
    })
}

const AGENT: &str = r##"apiVersion: mandate.dev/v1alpha1
kind: AgentType
metadata: {name: orchestrator}
spec:
  attestation: [{process: {user: orchestrator}}]
  maySpawn: [retriever]
  breakGlass: {contact: "#support", impact: Cases queue up.}
---
apiVersion: mandate.dev/v1alpha1
kind: AgentType
metadata: {name: retriever}
spec:
  attestation: [{process: {user: retriever}}]
  breakGlass: {contact: "#search", impact: Answers degrade.}
---
"##;
