//! A small authority with one key per use, and claims of each kind.

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use mandate_model::mandate::{Budget, Entries, Mandate, parse_entries};
use mandate_model::task::{TaskChain, TaskPath};
use mandate_model::{
    ActChain, ActorLevel, AttestationKind, Host, InstanceId, KeyId, OperatorName, Principal,
    ProviderName, ProviderPin, SpiffeId, StopVersion, TaskId, Timestamp, TokenId, Trigger,
    TriggerKind, Verified as Vouched,
};
use serde_json::{Value, json};

use crate::*;

pub(super) const NOW: u64 = 1_800_000_000;

pub(super) fn now() -> Timestamp {
    Timestamp::from_secs(NOW)
}

pub(super) fn at(offset: i64) -> Timestamp {
    Timestamp::from_secs(NOW.checked_add_signed(offset).unwrap())
}

pub(super) fn issuer() -> Issuer {
    Issuer::parse("https://id.acme.example").unwrap()
}

pub(super) fn audience(text: &str) -> Audience {
    Audience::parse(text).unwrap()
}

/// Keys `svid-1` and `oauth-1`, and the set that publishes both.
pub(super) struct Authority {
    pub(super) svid: EcdsaKeyPair,
    pub(super) oauth: EcdsaKeyPair,
    pub(super) keys: KeySet,
}

impl Authority {
    pub(super) fn new() -> Self {
        let (svid, oauth) = (new_key(), new_key());
        let keys = KeySet::new([
            (kid("svid-1"), KeyUse::Svid, svid.public_key().as_ref()),
            (kid("oauth-1"), KeyUse::Oauth, oauth.public_key().as_ref()),
        ]);
        let keys = keys.unwrap();
        Self { svid, oauth, keys }
    }

    pub(super) fn key<T: Kind>(&self) -> (KeyId, &EcdsaKeyPair) {
        match T::KIND.key_use {
            KeyUse::Svid => (kid("svid-1"), &self.svid),
            KeyUse::Oauth => (kid("oauth-1"), &self.oauth),
        }
    }

    pub(super) fn sign<T: Kind>(&self, claims: &T) -> SignedToken<T> {
        let (id, pair) = self.key::<T>();
        let unsigned = claims.clone().unsigned(&id).unwrap();
        let signature = sign(pair, unsigned.signing_input());
        unsigned.assemble(&signature)
    }

    pub(super) fn issue<T: Kind>(&self, claims: &T) -> String {
        let checked = self.sign(claims).check(&self.keys, claims, now()).unwrap();
        checked.expose_text().to_owned()
    }

    /// A token of kind `T` as its key would sign it, after `edit` of header and claims.
    pub(super) fn forge<T: Kind>(
        &self,
        claims: &T,
        edit: impl FnOnce(&mut Value, &mut Value),
    ) -> String {
        let (id, pair) = self.key::<T>();
        let mut header = json!({"alg": "ES256", "kid": id, "typ": T::KIND.typ});
        let mut body = serde_json::from_slice(&claims.encode().unwrap()).unwrap();
        edit(&mut header, &mut body);
        raw(pair, &header.to_string(), &body.to_string())
    }

    /// `forge`, then verification as the claims' own audience at [`now`].
    pub(super) fn try_forged<T: Kind>(
        &self,
        claims: &T,
        edit: impl FnOnce(&mut Value, &mut Value),
    ) -> Result<Verified<T>, TokenError> {
        self.verify::<T>(&self.forge(claims, edit), claims, now())
    }

    pub(super) fn verify<T: Kind>(
        &self,
        token: &str,
        like: &T,
        now: Timestamp,
    ) -> Result<Verified<T>, TokenError> {
        let common = like.common();
        let expect = Expect {
            issuer: common.issuer,
            audience: common.audience,
        };
        T::verify(token, &self.keys, &expect, now)
    }
}

pub(super) fn new_key() -> EcdsaKeyPair {
    EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap()
}

pub(super) fn sign(pair: &EcdsaKeyPair, message: &[u8]) -> [u8; 64] {
    let signature = pair.sign(&SystemRandom::new(), message).unwrap();
    signature.as_ref().try_into().unwrap()
}

pub(super) fn b64(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// A compact JWS of exactly these texts.
pub(super) fn raw(pair: &EcdsaKeyPair, header: &str, claims: &str) -> String {
    let input = format!("{}.{}", b64(header), b64(claims));
    let signature = sign(pair, input.as_bytes());
    format!("{input}.{}", b64(signature))
}

pub(super) fn kid(text: &str) -> KeyId {
    KeyId::parse(text).unwrap()
}

pub(super) fn agent(name: &str) -> SpiffeId {
    SpiffeId::parse(&format!("spiffe://acme.example/agent/{name}")).unwrap()
}

pub(super) fn level(name: &str) -> ActorLevel {
    ActorLevel {
        sub: agent(name),
        inst: InstanceId::parse(&format!("{name}-1")).unwrap(),
        prv: ProviderName::parse("prod").unwrap(),
        att: AttestationKind::Process,
        host: None,
    }
}

pub(super) fn hosted(name: &str, host: &str) -> ActorLevel {
    let host = level(host);
    ActorLevel {
        att: AttestationKind::Hosted,
        host: Some(Host {
            sub: host.sub,
            inst: host.inst,
        }),
        ..level(name)
    }
}

pub(super) fn task_id(n: u8) -> TaskId {
    TaskId::new(now(), [n; 10])
}

pub(super) fn token_id(n: u8) -> TokenId {
    TokenId::new(now(), [n; 10])
}

pub(super) fn entries(json: Value) -> Entries {
    parse_entries(serde_json::from_value(json).unwrap()).unwrap()
}

pub(super) fn reading() -> Entries {
    entries(
        json!([{"type": "mandate_access", "server": "records", "actions": ["read"],
        "constraints": {"customer": {"in": ["acme"]}}}]),
    )
}

pub(super) fn trigger() -> Trigger {
    Trigger {
        kind: TriggerKind::User,
        verified: Vouched::User,
        provider: Some(ProviderName::parse("login").unwrap()),
        item: None,
    }
}

pub(super) fn principal() -> Principal {
    Principal::parse("user:login:alice").unwrap()
}

pub(super) fn svid() -> JwtSvid {
    JwtSvid {
        issuer: issuer(),
        audience: issuer().as_audience(),
        agent: level("retriever"),
        confirmation: None,
        id: token_id(1),
        stops: StopVersion::new(1),
        issued_at: now(),
        expires_at: at(300),
    }
}

pub(super) fn root_task() -> TaskToken {
    TaskToken {
        issuer: issuer(),
        audience: audience("spiffe://acme.example"),
        principal: principal(),
        requesting_workload: agent("orchestrator"),
        may_act: MayAct {
            sub: agent("orchestrator"),
            inst: None,
            prv: None,
            cnf: None,
        },
        act: ActChain::empty(),
        trigger: trigger(),
        purpose: "support-case".to_owned(),
        path: TaskPath::root_of(task_id(1)),
        chain: TaskChain::ORIGIN,
        mandate: Mandate {
            entries: reading(),
            not_before: None,
            expires_at: at(600),
            budget: Budget::default(),
            max_depth: 8,
        },
        id: token_id(2),
        stops: StopVersion::new(2),
        issued_at: now(),
        expires_at: at(300),
    }
}

pub(super) fn child_task() -> TaskToken {
    TaskToken {
        act: ActChain::empty().pushed(level("orchestrator")).unwrap(),
        path: TaskPath::root_of(task_id(1)).child(task_id(2)).unwrap(),
        ..root_task()
    }
}

pub(super) fn acting() -> ActingChain {
    let chain = ActChain::from_levels(vec![level("retriever"), level("orchestrator")]);
    ActingChain::new(chain.unwrap()).unwrap()
}

pub(super) fn access() -> AccessToken {
    AccessToken {
        issuer: issuer(),
        audience: audience("https://records.acme.example"),
        principal: principal(),
        acting: acting(),
        entries: reading(),
        trigger: trigger(),
        purpose: "support-case".to_owned(),
        path: TaskPath::root_of(task_id(1)).child(task_id(2)).unwrap(),
        task_expires_at: at(600),
        uses: None,
        confirmation: None,
        id: token_id(3),
        stops: StopVersion::new(3),
        issued_at: now(),
        not_before: None,
        expires_at: at(120),
    }
}

pub(super) fn upstream() -> UpstreamToken {
    UpstreamToken {
        issuer: issuer(),
        audience: audience("https://records.internal"),
        principal: principal(),
        acting: acting(),
        root: task_id(1),
        task: task_id(2),
        scope: Scope::of(&reading()),
        id: token_id(4),
        stops: StopVersion::new(4),
        issued_at: now(),
        expires_at: at(120),
    }
}

pub(super) fn session() -> OperatorSession {
    let person = json!({"sub": "248289761001", "groups": ["sre"]});
    OperatorSession {
        issuer: issuer(),
        audience: audience("https://id.acme.example/operator/v1"),
        operator: OperatorName::parse("amy").unwrap(),
        provider: ProviderName::parse("login").unwrap(),
        pin: ProviderPin {
            issuer: "https://login.acme.example".to_owned(),
            audience: "mandate-cli".to_owned(),
            jwks_uri: None,
            token_type: None,
        },
        person: serde_json::from_value(person).unwrap(),
        confirmation: None,
        id: token_id(5),
        stops: StopVersion::new(5),
        issued_at: now(),
        expires_at: at(900),
    }
}
