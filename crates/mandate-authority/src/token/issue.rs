//! From a grant to a token that may leave: sealed, then stored with its records in one unit.

use mandate_decide::exchange::{Effect, Grant, Sealed, Vouched};
use mandate_model::{Timestamp, TokenId};
use mandate_ports::{Change, CommitError, Conflict, HeldKey, KeyPurpose, SignerError, Unit};

use crate::Authority;
use crate::commit::Receipted;
use crate::world::World;

/// A token whose records are durable (P4). [`issue`] alone makes one.
#[derive(Debug)]
pub(crate) struct Issued {
    sealed: Sealed,
    _durable: Receipted,
}

impl Issued {
    /// The members of the token response (RFC 8693 §2.2.1).
    pub(crate) fn response(&self, now: Timestamp) -> serde_json::Value {
        self.sealed.response(now)
    }
}

/// Why nothing was issued.
#[derive(Debug)]
pub(crate) enum NotIssued {
    /// The world is another one than the grant was decided against: decide again (B4).
    Moved,
    /// The store cannot do what the grant asks for.
    Conflict(Conflict),
    /// Nothing can be signed or recorded now.
    Unavailable,
}

/// Issues what was granted against `world` at `decided`, on the word of the tokens `shown`.
pub(crate) async fn issue(
    authority: &Authority,
    world: &World,
    grant: Grant,
    decided: Timestamp,
    shown: &[TokenId],
) -> Result<Issued, NotIssued> {
    let mut sealed = seal(authority, world, grant, decided)?;
    let parts = sealed.take_parts();
    // What was loaded for the decision can have taken long, and things expire.
    let now = authority.now();
    if now.since(decided) > STALE {
        return Err(NotIssued::Moved);
    }
    let unit = Unit {
        expect: Some(world.versions),
        live_tasks: parts
            .live_tasks
            .into_iter()
            .map(|task| (task, now))
            .collect(),
        shown_tokens: shown.to_vec(),
        held_keys: parts
            .held
            .into_iter()
            .map(|(instance, key)| HeldKey {
                instance,
                key,
                at: now,
            })
            .collect(),
        changes: parts.effects.into_iter().map(|e| change(e, now)).collect(),
        events: parts.events,
    };
    match authority.commit(unit).await {
        Ok(durable) => Ok(Issued {
            sealed,
            _durable: durable,
        }),
        Err(CommitError::Conflict(Conflict::Versions(_))) => Err(NotIssued::Moved),
        Err(CommitError::Conflict(why)) => Err(NotIssued::Conflict(why)),
        Err(CommitError::Store(_)) => Err(NotIssued::Unavailable),
    }
}

fn seal(
    authority: &Authority,
    world: &World,
    grant: Grant,
    now: Timestamp,
) -> Result<Sealed, NotIssued> {
    let purpose = if grant.is_svid() {
        KeyPurpose::Svid
    } else {
        KeyPurpose::Oauth
    };
    let signer = &authority.ports().signer;
    let current = signer.current(purpose).ok();
    let key = current
        .filter(|key| world.may_sign(key))
        .ok_or(NotIssued::Moved)?;
    let sign = |input: &[u8]| {
        let signed = signer.sign(&key, input)?;
        let vouched = if signed.vouched && !authority.is_sampled() {
            Vouched::BySigner
        } else {
            Vouched::No
        };
        Ok((vouched, signed.signature))
    };
    grant
        .seal::<SignerError>(&key, &world.keys.set, now, sign)
        .map_err(|why| {
            tracing::error!(%why, "a grant could not be sealed");
            NotIssued::Unavailable
        })
}

/// The port's word for what a grant asks of the store.
fn change(effect: Effect, at: Timestamp) -> Change {
    match effect {
        Effect::OpenTask(task) => Change::OpenTask(task),
        Effect::DelegateTask(task) => Change::DelegateTask(task),
        Effect::PinInstance { task, instance } => Change::PinInstance { task, instance },
        Effect::BindKey {
            instance,
            taken_for,
            key,
            until,
        } => Change::BindKey {
            holder: HeldKey {
                instance,
                key: taken_for,
                at,
            },
            key,
            until,
        },
        Effect::ReserveAccesses { task, count } => Change::ReserveAccesses { task, count },
        Effect::UseOnce { scope, id, until } => Change::UseOnce { scope, id, until },
    }
}

/// A decision that took longer than this is made again before it is committed.
const STALE: std::time::Duration = std::time::Duration::from_secs(1);
