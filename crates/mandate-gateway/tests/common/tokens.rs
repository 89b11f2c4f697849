//! Access tokens, signed as the authority signs them.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
use mandate_model::mandate::{Budget, Mandate, parse_entries};
use mandate_model::task::{TaskChain, TaskPath};
use mandate_model::{
    ActChain, ActorLevel, AttestationKind, InstanceId, KeyId, Principal, ProviderName, SpiffeId,
    StopVersion, TaskId, Timestamp, TokenId, Trigger, TriggerKind, Verified,
};
use mandate_token::{
    AccessToken, ActingChain, Audience, Confirmation, Issuer, JwtSvid, KeySet, KeyUse, Kind,
    MayAct, TaskToken,
};

pub const ISSUER: &str = "https://id.acme.example";

#[derive(Clone)]
pub struct Keys {
    pair: Arc<EcdsaKeyPair>,
    id: KeyId,
    r#use: KeyUse,
}

impl Keys {
    /// For access tokens and task tokens.
    pub fn new() -> Self {
        Self::of(kid(), KeyUse::Oauth)
    }

    /// For SVIDs.
    pub fn for_svids() -> Self {
        Self::of(KeyId::parse("svid-1").unwrap(), KeyUse::Svid)
    }

    fn of(id: KeyId, r#use: KeyUse) -> Self {
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
        Self {
            pair: Arc::new(pair),
            id,
            r#use,
        }
    }

    pub fn id(&self) -> &KeyId {
        &self.id
    }

    pub fn public(&self) -> Vec<u8> {
        self.pair.public_key().as_ref().to_vec()
    }

    pub fn sign(&self, claims: AccessToken) -> String {
        let at = claims
            .issued_at
            .max(claims.not_before.unwrap_or(claims.issued_at));
        self.sign_at(claims, at)
    }

    /// A token of any kind that this key signs, good at `at`.
    pub fn sign_at<T: Kind>(&self, claims: T, at: Timestamp) -> String {
        let unsigned = claims.clone().unsigned(&self.id).unwrap();
        let signature = self
            .pair
            .sign(&SystemRandom::new(), unsigned.signing_input());
        let signature: [u8; 64] = signature.unwrap().as_ref().try_into().unwrap();
        let keys = KeySet::new([(self.id.clone(), self.r#use, self.public())]);
        let signed = unsigned.assemble(&signature);
        let checked = signed.check(&keys.unwrap(), &claims, at).unwrap();
        checked.expose_text().to_owned()
    }
}

pub fn kid() -> KeyId {
    KeyId::parse("oauth-1").unwrap()
}

pub fn agent(name: &str) -> SpiffeId {
    SpiffeId::parse(&format!("spiffe://acme.example/agent/{name}")).unwrap()
}

fn level(name: &str) -> ActorLevel {
    ActorLevel {
        sub: agent(name),
        inst: InstanceId::parse(&format!("{name}-1")).unwrap(),
        prv: ProviderName::parse("process").unwrap(),
        att: AttestationKind::Process,
        host: None,
    }
}

pub fn task(n: u8) -> TaskId {
    TaskId::new(Timestamp::from_secs(1), [n; 10])
}

/// An SVID for gateways of an agent of type `name`.
pub fn svid(name: &str, confirmation: Option<Confirmation>, now: Timestamp) -> JwtSvid {
    JwtSvid {
        issuer: Issuer::parse(ISSUER).unwrap(),
        audience: Audience::parse("spiffe://acme.example/mandate/gateway").unwrap(),
        agent: level(name),
        confirmation,
        id: TokenId::new(now, random()),
        stops: StopVersion::default(),
        issued_at: now,
        expires_at: now.plus(Duration::from_secs(300)),
    }
}

/// The task token of the task that [`claims`] are of.
pub fn task_token(name: &str, now: Timestamp) -> TaskToken {
    let access = claims(name, "read", now);
    TaskToken {
        issuer: access.issuer,
        audience: Audience::parse("spiffe://acme.example").unwrap(),
        principal: access.principal,
        requesting_workload: agent("orchestrator"),
        may_act: MayAct {
            sub: agent(name),
            inst: None,
            prv: None,
            cnf: None,
        },
        act: ActChain::from_levels(vec![level("orchestrator")]).unwrap(),
        trigger: access.trigger,
        purpose: access.purpose,
        path: access.path,
        chain: TaskChain::ORIGIN,
        mandate: Mandate {
            entries: access.entries,
            not_before: None,
            expires_at: access.task_expires_at,
            budget: Budget::default(),
            max_depth: 8,
        },
        id: TokenId::new(now, random()),
        stops: StopVersion::default(),
        issued_at: now,
        expires_at: now.plus(Duration::from_secs(300)),
    }
}

fn random() -> [u8; 10] {
    let mut random = [0; 10];
    aws_lc_rs::rand::fill(&mut random).unwrap();
    random
}

/// The same for the server workload `vault`.
pub fn for_vault(claims: AccessToken) -> AccessToken {
    let entries = serde_json::json!([{
        "type": "mandate_access", "server": "vault", "actions": ["read"],
        "constraints": {"customer": {"in": ["acme"]}},
    }]);
    AccessToken {
        audience: Audience::parse("https://vault.acme.example").unwrap(),
        entries: parse_entries(serde_json::from_value(entries).unwrap()).unwrap(),
        ..claims
    }
}

/// The same for `actions` of the MCP server `desk`.
pub fn for_desk(claims: AccessToken, actions: &[&str]) -> AccessToken {
    let entries = serde_json::json!([{
        "type": "mandate_access", "server": "desk", "actions": actions,
        "constraints": {"customer": {"in": ["acme"]}},
    }]);
    AccessToken {
        audience: Audience::parse("https://desk.acme.example/mcp").unwrap(),
        entries: parse_entries(serde_json::from_value(entries).unwrap()).unwrap(),
        ..claims
    }
}

/// The same for models of the LLM `server`.
pub fn for_llm(claims: AccessToken, server: &str, model: &str) -> AccessToken {
    let chat = serde_json::json!({
        "type": "mandate_access", "server": server, "actions": ["chat"],
        "constraints": {"model": {"in": [model]}},
    });
    let mut entries = vec![chat];
    if server == "gpt" {
        let all =
            serde_json::json!({"type": "mandate_access", "server": server, "actions": ["models"]});
        entries.push(all);
    }
    let entries = serde_json::from_value(entries.into()).unwrap();
    AccessToken {
        audience: Audience::parse(&format!("https://{server}.acme.example")).unwrap(),
        entries: parse_entries(entries).unwrap(),
        ..claims
    }
}

/// The same for the agent `helper`, which can be called.
pub fn for_helper(claims: AccessToken) -> AccessToken {
    let entries = serde_json::json!([
        {"type": "mandate_access", "server": "helper", "actions": ["ask"],
         "constraints": {"customer": {"in": ["acme"]}}},
        {"type": "mandate_access", "server": "helper", "actions": ["card"]},
    ]);
    AccessToken {
        audience: Audience::parse("https://helper.acme.example").unwrap(),
        entries: parse_entries(serde_json::from_value(entries).unwrap()).unwrap(),
        ..claims
    }
}

/// The task token of a task right below that of `claims`, which its agent delegated to `name`.
pub fn delegated(claims: &AccessToken, name: &str, now: Timestamp) -> TaskToken {
    TaskToken {
        act: ActChain::from_levels(claims.acting.levels().to_vec()).unwrap(),
        path: claims.path.child(task(3)).unwrap(),
        ..task_token(name, now)
    }
}

/// What an agent of type `name` holds for `action` with customer `acme`, issued at `now`.
pub fn claims(name: &str, action: &str, now: Timestamp) -> AccessToken {
    let entries = serde_json::json!([{
        "type": "mandate_access", "server": "records", "actions": [action],
        "constraints": {"customer": {"in": ["acme"]}},
    }]);
    let chain = ActChain::from_levels(vec![level(name), level("orchestrator")]).unwrap();
    let second = Duration::from_secs(1);
    AccessToken {
        issuer: Issuer::parse(ISSUER).unwrap(),
        audience: Audience::parse("https://records.acme.example").unwrap(),
        principal: Principal::parse("user:login:alice").unwrap(),
        acting: ActingChain::new(chain).unwrap(),
        entries: parse_entries(serde_json::from_value(entries).unwrap()).unwrap(),
        trigger: Trigger {
            kind: TriggerKind::User,
            verified: Verified::User,
            provider: Some(ProviderName::parse("login").unwrap()),
            item: None,
        },
        purpose: "nightly".to_owned(),
        path: TaskPath::root_of(task(1)).child(task(2)).unwrap(),
        task_expires_at: now.plus(second * 600),
        uses: matches!(action, "refund" | "upload").then_some(NonZeroU32::MIN),
        confirmation: None,
        via: None,
        id: TokenId::new(now, random()),
        stops: StopVersion::default(),
        issued_at: now.plus(second),
        not_before: None,
        expires_at: now.plus(second * 120),
    }
}
