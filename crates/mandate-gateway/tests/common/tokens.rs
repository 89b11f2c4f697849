//! Access tokens, signed as the authority signs them.

use std::num::NonZeroU32;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
use mandate_model::mandate::parse_entries;
use mandate_model::task::TaskPath;
use mandate_model::{
    ActChain, ActorLevel, AttestationKind, InstanceId, KeyId, Principal, ProviderName, SpiffeId,
    StopVersion, TaskId, Timestamp, TokenId, Trigger, TriggerKind, Verified,
};
use mandate_token::{AccessToken, ActingChain, Audience, Issuer, Kind};

pub const ISSUER: &str = "https://id.acme.example";

pub struct Keys {
    pair: EcdsaKeyPair,
}

impl Keys {
    pub fn new() -> Self {
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
        Self { pair }
    }

    pub fn public(&self) -> Vec<u8> {
        self.pair.public_key().as_ref().to_vec()
    }

    pub fn sign(&self, claims: AccessToken) -> String {
        let unsigned = claims.clone().unsigned(&kid()).unwrap();
        let signature = self
            .pair
            .sign(&SystemRandom::new(), unsigned.signing_input());
        let signature: [u8; 64] = signature.unwrap().as_ref().try_into().unwrap();
        let keys =
            mandate_token::KeySet::new([(kid(), mandate_token::KeyUse::Oauth, self.public())]);
        let at = claims
            .issued_at
            .max(claims.not_before.unwrap_or(claims.issued_at));
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

/// What an agent of type `name` holds for `action` with customer `acme`, issued at `now`.
pub fn claims(name: &str, action: &str, now: Timestamp) -> AccessToken {
    let mut random = [0; 10];
    aws_lc_rs::rand::fill(&mut random).unwrap();
    let entries = serde_json::json!([{
        "type": "mandate_access", "server": "records", "actions": [action],
        "constraints": {"customer": {"in": ["acme"]}},
    }]);
    let chain = ActChain::from_levels(vec![level(name), level("orchestrator")]).unwrap();
    let second = std::time::Duration::from_secs(1);
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
        id: TokenId::new(now, random),
        stops: StopVersion::default(),
        issued_at: now.plus(second),
        not_before: None,
        expires_at: now.plus(second * 120),
    }
}
