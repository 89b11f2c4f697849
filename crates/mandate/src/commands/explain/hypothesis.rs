//! An access token that was never issued, signed by a key that nobody has: the decision asks for a
//! verified token and gets one, by the ordinary way.

use mandate_model::mandate::Entries;
use mandate_model::task::TaskPath;
use mandate_model::{
    ActChain, ActorLevel, AttestationKind, InstanceId, KeyId, Principal, ProviderName, SpiffeId,
    StopVersion, TaskId, TokenId, Trigger, TriggerKind, Verified as TriggerVerified,
};
use mandate_ports::{Clock, Entropy, KeyPurpose, KeyRecord, KeySource, KeyState, Signer};
use mandate_token::{
    AccessToken, ActingChain, Audience, CheckedToken, Issuer, KeySet, KeyUse, Kind, Verified,
};

use crate::failure::Failure;
use crate::serve::keys::{KeySigner, NewKeys};
use crate::serve::machine::{SystemClock, SystemEntropy};

/// What is supposed.
pub(super) struct Params<'a> {
    pub(super) agent: SpiffeId,
    pub(super) attestation: &'a str,
    pub(super) principal: Principal,
    pub(super) purpose: String,
    pub(super) entries: Entries,
    pub(super) resource: &'a str,
    pub(super) issuer: &'a str,
}

/// A token that carries what is supposed.
pub(super) struct Hypothesis(CheckedToken<AccessToken>);

impl Hypothesis {
    /// Makes the token.
    pub(super) fn new(params: Params<'_>) -> Result<Self, Failure> {
        let claims = claims(params)?;
        let unfit = |e: &dyn std::fmt::Display| {
            Failure::usage(
                format!("no token could say this: {e}"),
                "change the mandate",
            )
        };
        let key = KeyId::parse("explain").map_err(|e| unfit(&e))?;
        let made = NewKeys.generate(KeyPurpose::Oauth).map_err(|e| unfit(&e))?;
        let set = [(key.clone(), KeyUse::Oauth, made.public.clone())];
        let set = KeySet::new(set).map_err(|e| unfit(&e))?;
        let signer = KeySigner::default();
        let record = KeyRecord {
            id: key.clone(),
            purpose: KeyPurpose::Oauth,
            state: KeyState::Signing,
            since: claims.issued_at,
            pkcs8: made.pkcs8,
            public: made.public,
        };
        signer.load(&[record]).map_err(|e| unfit(&e))?;
        let now = claims.issued_at;
        let unsigned = claims.clone().unsigned(&key).map_err(|e| unfit(&e))?;
        let signed = signer.sign(&key, unsigned.signing_input());
        let signature = signed.map_err(|e| unfit(&e))?.signature;
        let checked = unsigned.assemble(&signature).check(&set, &claims, now);
        checked.map(Self).map_err(|e| unfit(&e))
    }

    /// The token, verified.
    pub(super) fn token(&self) -> &Verified<AccessToken> {
        self.0.verified()
    }
}

fn claims(params: Params<'_>) -> Result<AccessToken, Failure> {
    let unfit = |e: &dyn std::fmt::Display| Failure::usage(e.to_string(), "");
    let now = SystemClock.now().floor_to_secs();
    let mut random = [0; 10];
    SystemEntropy.fill(&mut random);
    let acting = ActChain::empty().pushed(actor(&params)?);
    let acting = acting
        .and_then(ActingChain::new)
        .ok_or_else(|| unfit(&"no actor"))?;
    let until = now.plus(std::time::Duration::from_secs(60));
    Ok(AccessToken {
        issuer: Issuer::parse(params.issuer).map_err(|e| unfit(&e))?,
        audience: Audience::parse(params.resource).map_err(|e| unfit(&e))?,
        trigger: trigger(&params.principal),
        principal: params.principal,
        acting,
        entries: params.entries,
        purpose: params.purpose,
        path: TaskPath::root_of(TaskId::new(now, random)),
        task_expires_at: until,
        uses: None,
        confirmation: None,
        via: None,
        id: TokenId::new(now, random),
        // A fresh one: what an earlier resumption left void is no question here.
        stops: StopVersion::new(u64::MAX),
        issued_at: now,
        not_before: None,
        expires_at: until,
    })
}

fn actor(params: &Params<'_>) -> Result<ActorLevel, Failure> {
    let unfit = |e: &dyn std::fmt::Display| Failure::usage(e.to_string(), "");
    let att = AttestationKind::parse(params.attestation).ok_or_else(|| {
        let known: Vec<&str> = AttestationKind::ALL.iter().map(|k| k.as_str()).collect();
        let other = params.attestation;
        Failure::usage(
            format!("`{other}` is no attestation"),
            format!("it is one of {}", known.join(", ")),
        )
    })?;
    let host = att == AttestationKind::Hosted;
    let inst = InstanceId::parse("explain").map_err(|e| unfit(&e))?;
    Ok(ActorLevel {
        sub: params.agent.clone(),
        inst: inst.clone(),
        prv: ProviderName::parse("process").map_err(|e| unfit(&e))?,
        att,
        host: host.then(|| mandate_model::Host {
            sub: params.agent.clone(),
            inst,
        }),
    })
}

fn trigger(principal: &Principal) -> Trigger {
    let (kind, verified, provider) = match principal {
        Principal::User { provider, .. } => (
            TriggerKind::User,
            TriggerVerified::User,
            Some(provider.clone()),
        ),
        Principal::Operator(_) => (TriggerKind::Operator, TriggerVerified::Operator, None),
        Principal::Agent(_) => {
            let name = "explain".to_owned();
            (TriggerKind::Event { name }, TriggerVerified::None, None)
        }
    };
    Trigger {
        kind,
        verified,
        provider,
        item: None,
    }
}
