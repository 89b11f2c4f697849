//! Keys through their lives: announced, signing, verifying, retired (C7).

mod steps;

use mandate_audit::{Decision, Event, What};
use mandate_model::{KeyId, Principal, Timestamp};
use mandate_ports::{Change, CommitError, KeyPurpose, KeyRecord, KeyState, StoreError, Unit};

use crate::Authority;
use crate::authority::StartError;
use crate::problem::Problem;
use crate::world::PublicKey;
pub(crate) use steps::{Ages, Step, next_steps};

/// The purposes, each with a key of its own.
pub(crate) const PURPOSES: [KeyPurpose; 3] = [KeyPurpose::Svid, KeyPurpose::Oauth, KeyPurpose::Log];

/// The purpose's name in records.
pub(crate) fn name_of(purpose: KeyPurpose) -> &'static str {
    match purpose {
        KeyPurpose::Svid => "svid",
        KeyPurpose::Oauth => "oauth",
        KeyPurpose::Log => "log",
    }
}

/// Makes the keys of a store that has none. They sign at once: no verifier exists that could have
/// fetched the key set before them.
pub(crate) async fn first(authority: &Authority) -> Result<(), StartError> {
    let world = authority.world();
    let has = |purpose| world.keys.all.iter().any(|key| key.purpose == purpose);
    let missing: Vec<KeyPurpose> = PURPOSES
        .into_iter()
        .filter(|purpose| !has(*purpose))
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    let (mut unit, now) = (Unit::default(), authority.now());
    for purpose in missing {
        let (record, id) = make(authority, purpose, KeyState::Signing, now)
            .map_err(|why| StartError::Keys(why.to_string()))?;
        unit.changes.push(Change::AddKey(record));
        unit.events
            .push(changed(&id, purpose, KeyState::Signing, now));
    }
    authority
        .commit(unit)
        .await
        .map_err(|why| StartError::Keys(why.to_string()))?;
    Ok(())
}

/// Announces a new key for `purpose`; says when it will sign.
pub(crate) async fn rotate(
    authority: &Authority,
    purpose: KeyPurpose,
    operator: Principal,
) -> Result<(KeyId, Timestamp), Problem> {
    let world = authority.refresh().await?;
    let is_announced = |key: &PublicKey| {
        let is_announced = key.purpose == purpose && key.state == KeyState::Announced;
        is_announced && !world.is_suspended(&key.id)
    };
    if let Some(under_way) = world.keys.all.iter().find(|key| is_announced(key)) {
        let detail = format!("key `{}` is announced and will sign soon", under_way.id);
        return Err(Problem::conflict("keys.rotating", detail));
    }
    let (now, steady) = (authority.now(), authority.steady());
    let (record, id) = make(authority, purpose, KeyState::Announced, steady).map_err(|why| {
        tracing::error!(%why, "a key could not be made");
        Problem::unavailable()
    })?;
    let event = changed(&id, purpose, KeyState::Announced, now);
    let unit = Unit {
        // Two rotations at once: the later one finds the keys changed.
        expect: Some(world.versions),
        changes: vec![Change::AddKey(record)],
        events: vec![Event {
            principal: Some(operator),
            ..event
        }],
        ..Unit::default()
    };
    authority.commit(unit).await?;
    Ok((id, steady.plus(ages(authority).announced)))
}

/// Takes the steps that are due by the [steady](Authority::steady) time: a wall clock that jumps
/// forward makes no key sign before verifiers know it, and retires none whose tokens live.
pub(crate) async fn drive(authority: &Authority) -> Result<(), CommitError> {
    replace_suspended(authority).await?;
    let (world, now, steady) = (authority.world(), authority.now(), authority.steady());
    // A suspended one never begins to sign; one that signed is retired all the same.
    let counts =
        |key: &&PublicKey| key.state != KeyState::Announced || !world.is_suspended(&key.id);
    let keys: Vec<PublicKey> = world.keys.all.iter().filter(counts).cloned().collect();
    let due = next_steps(&keys, steady, &ages(authority));
    if due.is_empty() {
        return Ok(());
    }
    let mut unit = Unit {
        expect: Some(world.versions),
        ..Unit::default()
    };
    for Step { key, purpose, to } in due {
        unit.events.push(changed(&key, purpose, to, now));
        unit.changes.push(Change::SetKeyState {
            key,
            state: to,
            since: steady,
        });
    }
    authority.commit(unit).await.map(|_receipt| ())
}

/// Brings in a new key where the one that signs is suspended. It signs at once: verifiers that keep
/// an older key set refuse its tokens until they fetch it again, and without it nothing would be
/// issued at all.
async fn replace_suspended(authority: &Authority) -> Result<(), CommitError> {
    let (world, now, steady) = (authority.world(), authority.now(), authority.steady());
    let mut unit = Unit {
        expect: Some(world.versions),
        ..Unit::default()
    };
    let signing = world
        .keys
        .all
        .iter()
        .filter(|key| key.state == KeyState::Signing);
    for old in signing.filter(|key| world.is_suspended(&key.id)) {
        let new = make(authority, old.purpose, KeyState::Signing, steady);
        let (record, id) = new.map_err(|why| StoreError::Unavailable(why.to_string()))?;
        unit.events
            .push(changed(&old.id, old.purpose, KeyState::Verifying, now));
        unit.changes.push(Change::SetKeyState {
            key: old.id.clone(),
            state: KeyState::Verifying,
            since: steady,
        });
        unit.events
            .push(changed(&id, old.purpose, KeyState::Signing, now));
        unit.changes.push(Change::AddKey(record));
    }
    if unit.changes.is_empty() {
        return Ok(());
    }
    authority.commit(unit).await.map(|_receipt| ())
}

fn ages(authority: &Authority) -> Ages {
    let config = authority.config();
    let lifetimes = &config.lifetimes;
    Ages {
        announced: config.key_cache * 2,
        verifying: lifetimes
            .svid
            .max(lifetimes.task_token)
            .max(lifetimes.access)
            + SKEW,
    }
}

fn make(
    authority: &Authority,
    purpose: KeyPurpose,
    state: KeyState,
    since: Timestamp,
) -> Result<(KeyRecord, KeyId), Box<dyn std::error::Error + Send + Sync>> {
    let new = authority.ports().key_source.generate(purpose)?;
    let random: String = authority
        .random::<8>()
        .iter()
        .map(|b| format!("{b:02x}"))
        .collect();
    let id = KeyId::parse(&format!(
        "{}-{}-{random}",
        name_of(purpose),
        since.as_secs()
    ))?;
    let record = KeyRecord {
        id: id.clone(),
        purpose,
        state,
        since,
        pkcs8: new.pkcs8,
        public: new.public,
    };
    Ok((record, id))
}

fn changed(key: &KeyId, purpose: KeyPurpose, to: KeyState, now: Timestamp) -> Event {
    let state = match to {
        KeyState::Announced => "announced",
        KeyState::Signing => "signing",
        KeyState::Verifying => "verifying",
        KeyState::Retired => "retired",
    };
    let what = What::KeyChanged {
        key: key.clone(),
        purpose: name_of(purpose).to_owned(),
        state: state.to_owned(),
    };
    Event::new(now, what, Decision::Noted)
}

/// Room for clocks that differ.
const SKEW: std::time::Duration = std::time::Duration::from_secs(60);
