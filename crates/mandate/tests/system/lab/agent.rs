//! The exchanges, as forms: what `docs/tokens.md` says and nothing else.

use serde_json::{Value, json};

use super::http::{Answer, Broken, Door, Field};
use super::server::DOMAIN;

/// An agent with its JWT-SVID, at the authority's network door.
#[derive(Debug, Clone)]
pub(crate) struct Agent {
    pub(crate) door: Door,
    pub(crate) svid: String,
}

impl Agent {
    pub(crate) fn new(door: Door, svid: String) -> Self {
        Self { door, svid }
    }

    /// Client authentication.
    pub(crate) fn client(&self) -> [Field<'_>; 2] {
        [
            ("client_assertion_type", JWT_SPIFFE),
            ("client_assertion", &self.svid),
        ]
    }

    /// A form with client authentication.
    pub(crate) fn post(&self, path: &str, pairs: &[Field<'_>]) -> Answer {
        self.door.form(path, &[pairs, &self.client()].concat())
    }

    pub(crate) fn try_exchange(&self, pairs: &[Field<'_>]) -> Result<Answer, Broken> {
        let all = [&[("grant_type", EXCHANGE)], pairs, &self.client()].concat();
        self.door.try_form("/token", &all)
    }

    pub(crate) fn exchange(&self, pairs: &[Field<'_>]) -> Answer {
        self.try_exchange(pairs)
            .unwrap_or_else(|broken| panic!("/token: {broken:?}"))
    }

    /// Opens a root task on the agent's own account.
    pub(crate) fn open(&self) -> Answer {
        let trigger = json!({"kind": "schedule", "name": "nightly", "item": "item-1"});
        let details = json!({"purpose": "nightly", "trigger": trigger}).to_string();
        self.exchange(&[
            ("subject_token", &self.svid),
            ("subject_token_type", JWT),
            ("requested_token_type", TXN_TOKEN),
            ("audience", TRUST_DOMAIN),
            ("request_details", &details),
        ])
    }

    /// Opens a root task for a person.
    pub(crate) fn open_for(&self, id_token: &str) -> Answer {
        let details = json!({"purpose": "case"}).to_string();
        self.exchange(&[
            ("subject_token", id_token),
            ("subject_token_type", ID_TOKEN),
            ("requested_token_type", TXN_TOKEN),
            ("audience", TRUST_DOMAIN),
            ("request_details", &details),
        ])
    }

    /// Hands `access` of the task of `parent` to the agent type `child`.
    pub(crate) fn delegate(&self, parent: &str, child: &str, access: &Value) -> Answer {
        let (child, access) = (spiffe_id(child), access.to_string());
        self.exchange(&[
            ("subject_token", parent),
            ("subject_token_type", TXN_TOKEN),
            ("requested_token_type", TXN_TOKEN),
            ("audience", TRUST_DOMAIN),
            ("requested_actor", &child),
            ("authorization_details", &access),
        ])
    }

    pub(crate) fn renew(&self, task: &str) -> Answer {
        self.exchange(&[
            ("subject_token", task),
            ("subject_token_type", TXN_TOKEN),
            ("requested_token_type", TXN_TOKEN),
            ("audience", TRUST_DOMAIN),
        ])
    }

    /// Another token of the task `id` below the task of `parent`.
    pub(crate) fn resume(&self, parent: &str, id: &Value) -> Answer {
        let details = json!({ "task": id }).to_string();
        self.exchange(&[
            ("subject_token", parent),
            ("subject_token_type", TXN_TOKEN),
            ("requested_token_type", TXN_TOKEN),
            ("audience", TRUST_DOMAIN),
            ("request_details", &details),
        ])
    }

    /// An access token for the server workload `server`.
    pub(crate) fn access(&self, task: &str, server: &str) -> Answer {
        self.exchange(&access_form(task, &resource(server)))
    }
}

/// The parameters of the access exchange.
pub(crate) fn access_form<'a>(task: &'a str, resource: &'a str) -> [Field<'a>; 3] {
    [
        ("subject_token", task),
        ("subject_token_type", TXN_TOKEN),
        ("resource", resource),
    ]
}

/// The evidence is the connection itself.
pub(crate) fn attest_form(audience: Option<&str>) -> Vec<Field<'_>> {
    let mut form = vec![
        ("grant_type", EXCHANGE),
        ("subject_token", "process"),
        ("subject_token_type", "urn:mandate:token-type:process"),
    ];
    form.extend(audience.map(|audience| ("audience", audience)));
    form
}

/// A mandate's entry on the wire.
pub(crate) fn entry(server: &str, action: &str) -> Value {
    json!({"type": "mandate_access", "server": server, "actions": [action]})
}

/// The token of an answer that must be one.
#[track_caller]
pub(crate) fn token(answer: Answer) -> String {
    answer.expect(200).text("access_token")
}

/// The claims of a token, unverified.
pub(crate) fn claims(token: &str) -> Value {
    part(token, 1)
}

/// The header of a token.
pub(crate) fn header(token: &str) -> Value {
    part(token, 0)
}

fn part(token: &str, index: usize) -> Value {
    use base64::Engine;
    let text = token.split('.').nth(index).unwrap();
    let engine = base64::engine::general_purpose::URL_SAFE_NO_PAD;
    serde_json::from_slice(&engine.decode(text).unwrap()).unwrap()
}

pub(crate) fn resource(server: &str) -> String {
    format!("https://{server}.acme.example")
}

pub(crate) fn spiffe_id(agent: &str) -> String {
    format!("spiffe://{DOMAIN}/agent/{agent}")
}

pub(crate) const EXCHANGE: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
pub(crate) const TRUST_DOMAIN: &str = "spiffe://acme.example";
pub(crate) const GATEWAYS: &str = "spiffe://acme.example/mandate/gateway";
pub(crate) const JWT_SPIFFE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-spiffe";
pub(crate) const JWT: &str = "urn:ietf:params:oauth:token-type:jwt";
pub(crate) const ID_TOKEN: &str = "urn:ietf:params:oauth:token-type:id_token";
pub(crate) const TXN_TOKEN: &str = "urn:ietf:params:oauth:token-type:txn_token";
