//! What is granted: claims to sign, effects to store, records to write. One value, so that none of
//! the three can be forgotten.

use mandate_audit::{Decision, Event, What};
use mandate_model::task::Task;
use mandate_model::{
    BundleVersion, Instance, KeyId, StopVersion, TaskId, Thumbprint, Timestamp, TokenId,
};
use mandate_token::dpop::DpopProof;
use mandate_token::{
    AccessToken, BuildError, CheckError, CheckedToken, Encoded, JwtSvid, KeySet, Kind, TaskToken,
};

use super::AuthenticatedClient;
use super::error::{ExchangeError, GrantError};

/// What must be stored together with the records of a grant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// A root task begins.
    OpenTask(Box<Task>),
    /// A task is delegated; its budget is taken from its parent's.
    DelegateTask(Box<Task>),
    /// The task is pinned to this instance from now on.
    PinInstance {
        /// The task.
        task: TaskId,
        /// The instance.
        instance: Instance,
    },
    /// The instance has this key from now on (A5).
    BindKey {
        /// The instance.
        instance: Instance,
        /// What its key was taken for.
        taken_for: Option<Thumbprint>,
        /// Its key.
        key: Thumbprint,
        /// When everything bound to the key so far has expired.
        until: Timestamp,
    },
    /// Accesses are taken from what the task has left.
    ReserveAccesses {
        /// The task.
        task: TaskId,
        /// How many.
        count: u64,
    },
    /// An identifier is used up.
    UseOnce {
        /// The kind of identifier.
        scope: String,
        /// The identifier.
        id: String,
        /// When it may be forgotten.
        until: Timestamp,
    },
}

/// An exchange that is granted: nothing is signed or stored yet.
#[derive(Debug)]
pub struct Grant {
    pub(super) claims: Claims,
    pub(super) effects: Vec<Effect>,
    pub(super) live_tasks: Vec<TaskId>,
    /// What was taken for the live key of an instance.
    pub(super) held: Option<(Instance, Option<Thumbprint>)>,
    pub(super) scope: Option<String>,
    /// Records of what happens beside the issuance (a task opened, an agent attested).
    pub(super) events: Vec<Event>,
    /// A record with everything that is known, to be completed as the record of the issuance.
    pub(super) template: Event,
}

/// The claims of one kind of token.
#[derive(Debug)]
pub(super) enum Claims {
    Svid(Box<Encoded<JwtSvid>>),
    Task(Box<Encoded<TaskToken>>),
    Access(Box<Encoded<AccessToken>>),
}

/// A grant whose token is signed, was read again and says what was granted. Still not stored: it
/// may leave only with the receipts of its records.
pub struct Sealed {
    text: Text,
    effects: Vec<Effect>,
    live_tasks: Vec<TaskId>,
    held: Option<(Instance, Option<Thumbprint>)>,
    events: Vec<Event>,
    scope: Option<String>,
    details: Option<serde_json::Value>,
    expires_at: Timestamp,
}

enum Text {
    Svid(CheckedToken<JwtSvid>),
    Task(CheckedToken<TaskToken>),
    Access(CheckedToken<AccessToken>),
}

/// Why a grant could not be sealed. Our own fault, or the signer's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SealError<E: std::error::Error + 'static> {
    /// The claims make no token.
    #[error("{0}")]
    Build(BuildError),
    /// The signer failed.
    #[error("{0}")]
    Sign(E),
    /// What was signed is not what was granted.
    #[error("{0}")]
    Check(CheckError),
}

/// What a sealed grant asks the store to do.
#[derive(Debug)]
pub struct Parts {
    /// What changes.
    pub effects: Vec<Effect>,
    /// Tasks that must be live when it is stored.
    pub live_tasks: Vec<TaskId>,
    /// An instance, and the key that must be its live one when it is stored; none where `None`.
    pub held: Option<(Instance, Option<Thumbprint>)>,
    /// What is recorded.
    pub events: Vec<Event>,
}

impl Grant {
    /// Whether the token is a JWT-SVID, which has keys of its own.
    pub fn is_svid(&self) -> bool {
        matches!(self.claims, Claims::Svid(_))
    }

    /// Signs the token with `key`, then reads what was signed as its audience will, at `now`. Whether the
    /// signature itself is verified too is for whoever knows the signer: `sign` tells.
    pub fn seal<E: std::error::Error>(
        self,
        key: &KeyId,
        keys: &KeySet,
        now: Timestamp,
        sign: impl FnOnce(&[u8]) -> Result<(Vouched, [u8; 64]), E>,
    ) -> Result<Sealed, SealError<E>> {
        let issued = self.issued(key);
        let expires_at = self.claims.expires_at();
        let details = self.claims.details();
        let text = match self.claims {
            Claims::Svid(claims) => Text::Svid(seal(&claims, key, keys, now, sign)?),
            Claims::Task(claims) => Text::Task(seal(&claims, key, keys, now, sign)?),
            Claims::Access(claims) => Text::Access(seal(&claims, key, keys, now, sign)?),
        };
        let mut events = self.events;
        events.push(issued);
        Ok(Sealed {
            text,
            effects: self.effects,
            live_tasks: self.live_tasks,
            held: self.held,
            events,
            scope: self.scope,
            details,
            expires_at,
        })
    }

    /// The grant, as `client` gets it: its proof is used up with it, its key must still be the live
    /// one of its instance, and the records name it.
    pub(super) fn to(mut self, client: &AuthenticatedClient) -> Self {
        self.effects.extend(client.proof().map(used_up));
        self.held = Some((client.actor().instance(), client.holder()));
        self.by_holder(client.holder())
    }

    /// The grant, with records that name the key that was proved.
    pub(super) fn by_holder(mut self, holder: Option<Thumbprint>) -> Self {
        self.template.jkt = holder;
        for event in &mut self.events {
            event.jkt = holder;
        }
        self
    }

    fn issued(&self, key: &KeyId) -> Event {
        let what = What::Issued {
            token_kind: self.claims.name().to_owned(),
            audience: self.claims.audience(),
            expires_at: self.claims.expires_at(),
            key: key.clone(),
            scope: self.scope.clone(),
        };
        Event {
            what,
            token: Some(self.claims.id()),
            ..self.template.clone()
        }
    }
}

/// A proof is good for one request, wherever and however often it is shown (FAILURES 3).
pub(super) fn used_up(proof: &DpopProof) -> Effect {
    Effect::UseOnce {
        scope: "dpop".to_owned(),
        id: proof.id().to_string(),
        until: proof.dead_at(),
    }
}

fn seal<T: Kind, E: std::error::Error>(
    claims: &Encoded<T>,
    key: &KeyId,
    keys: &KeySet,
    now: Timestamp,
    sign: impl FnOnce(&[u8]) -> Result<(Vouched, [u8; 64]), E>,
) -> Result<CheckedToken<T>, SealError<E>> {
    let unsigned = claims.unsigned(key).map_err(SealError::Build)?;
    let (vouched, signature) = sign(unsigned.signing_input()).map_err(SealError::Sign)?;
    let signed = unsigned.assemble(&signature);
    let checked = match vouched {
        Vouched::No => signed.check(keys, claims.claims(), now),
        Vouched::BySigner => signed.check_vouched(keys, claims, now),
    };
    checked.map_err(SealError::Check)
}

/// Whether a signature is known to verify without being verified.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Vouched {
    /// It is not.
    No,
    /// The signer has shown that it makes signatures which verify by the key that it says it signs with.
    BySigner,
}

impl Claims {
    fn name(&self) -> &'static str {
        match self {
            Claims::Svid(_) => "jwt-svid",
            Claims::Task(_) => "task",
            Claims::Access(_) => "access",
        }
    }

    fn audience(&self) -> String {
        match self {
            Claims::Svid(c) => c.claims().audience.to_string(),
            Claims::Task(c) => c.claims().audience.to_string(),
            Claims::Access(c) => c.claims().audience.to_string(),
        }
    }

    fn id(&self) -> TokenId {
        match self {
            Claims::Svid(c) => c.claims().id,
            Claims::Task(c) => c.claims().id,
            Claims::Access(c) => c.claims().id,
        }
    }

    fn expires_at(&self) -> Timestamp {
        match self {
            Claims::Svid(c) => c.claims().expires_at,
            Claims::Task(c) => c.claims().expires_at,
            Claims::Access(c) => c.claims().expires_at,
        }
        .floor_to_secs()
    }

    /// The granted `authorization_details` (RFC 9396 §7).
    fn details(&self) -> Option<serde_json::Value> {
        let entries = match self {
            Claims::Svid(_) => return None,
            Claims::Task(c) => &c.claims().mandate.entries,
            Claims::Access(c) => &c.claims().entries,
        };
        serde_json::to_value(entries.to_wire()).ok()
    }
}

impl Sealed {
    /// Takes out what the store must do before the reply; what is left is the reply.
    pub fn take_parts(&mut self) -> Parts {
        Parts {
            effects: std::mem::take(&mut self.effects),
            live_tasks: std::mem::take(&mut self.live_tasks),
            held: self.held.take(),
            events: std::mem::take(&mut self.events),
        }
    }

    /// The members of the token response (RFC 8693 §2.2.1). To be sent only with the receipts of
    /// [`Parts::events`].
    pub fn response(&self, now: Timestamp) -> serde_json::Value {
        let (text, issued_type, token_type) = match &self.text {
            Text::Svid(t) => (
                t.expose_text(),
                "urn:ietf:params:oauth:token-type:jwt",
                "N_A",
            ),
            Text::Task(t) => (
                t.expose_text(),
                "urn:ietf:params:oauth:token-type:txn_token",
                "N_A",
            ),
            Text::Access(t) => (
                t.expose_text(),
                "urn:ietf:params:oauth:token-type:access_token",
                // RFC 9449 §5.
                match t.claims().confirmation {
                    Some(_) => "DPoP",
                    None => "Bearer",
                },
            ),
        };
        let mut response = serde_json::json!({
            "access_token": text,
            "issued_token_type": issued_type,
            "token_type": token_type,
            "expires_in": self.expires_at.since(now).as_secs(),
        });
        let optional = [
            ("scope", self.scope.clone().map(serde_json::Value::String)),
            ("authorization_details", self.details.clone()),
        ];
        if let Some(members) = response.as_object_mut() {
            members.extend(
                optional
                    .into_iter()
                    .filter_map(|(k, v)| Some((k.to_owned(), v?))),
            );
        }
        response
    }
}

impl std::fmt::Debug for Sealed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Sealed(…)")
    }
}

/// Checks that the claims of a task token make one: what somebody asked for and nobody could use is
/// their mistake, said and recorded as such.
pub(super) fn grantable(claims: TaskToken) -> Result<Box<Encoded<TaskToken>>, ExchangeError> {
    let mandate = &claims.mandate;
    let begins = mandate.not_before.unwrap_or(claims.issued_at);
    if mandate.expires_at <= begins.max(claims.issued_at) {
        return Err(ExchangeError::Grant(GrantError::NoLife));
    }
    if claims.path.depth() > mandate.max_depth {
        return Err(ExchangeError::Grant(GrantError::Depth(mandate.max_depth)));
    }
    fitting(claims)
}

/// Checks that a token with these claims passes no limit, whatever key signs it (FAILURES 10). Anything else
/// that keeps them from becoming one is no mistake of the caller's; sealing finds it.
pub(super) fn fitting<T: Kind>(claims: T) -> Result<Box<Encoded<T>>, ExchangeError> {
    let encoded = Encoded::new(claims);
    let too_large = |limit| ExchangeError::Grant(GrantError::TooLarge(limit));
    encoded.fits().map_err(too_large)?;
    Ok(Box::new(encoded))
}

/// A record of `what` at `now`, with the versions that decided.
pub(super) fn record(
    what: What,
    decision: Decision,
    now: Timestamp,
    bundle: BundleVersion,
    stops: StopVersion,
) -> Event {
    Event {
        bundle: Some(bundle),
        stops: Some(stops),
        ..Event::new(now, what, decision)
    }
}
