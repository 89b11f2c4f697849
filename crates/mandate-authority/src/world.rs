//! What every decision is made against: one immutable snapshot, swapped whole.
//!
//! It is a copy of committed state, and may be old. That is safe, since each commit that issues
//! something names the versions it was decided under, and the store refuses it if one has moved
//! (B4): a stale copy costs another round, never a wrong token.

use std::sync::Arc;

use mandate_model::stop::{StopSet, Suspension};
use mandate_model::{BundleVersion, KeyId, StopVersion, Timestamp};
use mandate_policy::Bundle;
use mandate_ports::{
    BundleRecord, KeyPurpose, KeyRecord, KeyState, StateReader, StoreError, Versions,
};
use mandate_token::{KeySet, KeyUse};

use crate::bundle::{self, Compiler};
use crate::seen::Seen;
use crate::undurable::Undurable;

/// One moment of the authority's state.
#[derive(Debug)]
pub(crate) struct World {
    /// The store's versions.
    pub(crate) versions: Versions,
    /// The stops in force, those included that are not durable yet.
    pub(crate) stops: Arc<StopSet>,
    /// The live bundle.
    pub(crate) live: Live,
    /// The keys that are not retired.
    pub(crate) keys: Keys,
    /// Suspensions that act and are not in the store (C3).
    pub(crate) undurable: usize,
}

/// The live bundle.
#[derive(Debug, Clone)]
pub(crate) enum Live {
    /// None was ever applied.
    None,
    /// It compiled.
    Good(Arc<LiveBundle>),
    /// It is live, and this build cannot compile it. Nothing is decided by any other.
    Broken {
        /// Its version.
        version: BundleVersion,
        /// Its files.
        record: Arc<BundleRecord>,
        /// Why.
        why: String,
    },
}

/// A live bundle, compiled.
#[derive(Debug)]
pub(crate) struct LiveBundle {
    pub(crate) version: BundleVersion,
    pub(crate) record: BundleRecord,
    pub(crate) bundle: Arc<Bundle>,
}

/// A key without its private part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PublicKey {
    pub(crate) id: KeyId,
    pub(crate) purpose: KeyPurpose,
    pub(crate) state: KeyState,
    pub(crate) since: Timestamp,
    pub(crate) public: Vec<u8>,
}

/// The keys that are not retired.
#[derive(Debug, Clone)]
pub(crate) struct Keys {
    /// All of them.
    pub(crate) all: Vec<PublicKey>,
    /// Those that verify tokens.
    pub(crate) set: KeySet,
    /// What they have verified.
    pub(crate) seen: Arc<Seen>,
}

impl World {
    /// Reads the whole state. Parts that `old` has at the same version are taken from it.
    ///
    /// Stops and bundle bring their own versions; the keys are read between two readings of
    /// theirs. A mixture of two moments is possible and harmless: no commit accepts it.
    pub(crate) async fn read(
        state: &dyn StateReader,
        old: Option<&World>,
        undurable: &Undurable,
        (config, compiler): (&crate::Config, &Compiler),
        now: Timestamp,
    ) -> Result<World, StoreError> {
        for _ in 0..READS {
            let versions = state.versions().await?;
            let old = old.filter(|old| old.versions.epoch == versions.epoch);
            let stops = read_stops(state, old, versions.stops, now).await?;
            let live = read_bundle(state, old, versions.bundle, (config, compiler)).await?;
            let keys = match old.filter(|old| old.versions.keys == versions.keys) {
                Some(old) => old.keys.clone(),
                None => Keys::of(state.keys().await?)?,
            };
            let after = state.versions().await?;
            if after.epoch != versions.epoch || after.keys != versions.keys {
                continue;
            }
            let bundle = live.version();
            let versions = Versions {
                stops: stops.version(),
                bundle,
                ..versions
            };
            let beyond = undurable.beyond(stops.version());
            return Ok(World {
                versions,
                undurable: beyond.len(),
                stops: with_undurable(stops, beyond),
                live,
                keys,
            });
        }
        Err(StoreError::Unavailable(
            "the keys change faster than they can be read".to_owned(),
        ))
    }

    /// The live bundle, if there is one and it compiled.
    pub(crate) fn bundle(&self) -> Option<&LiveBundle> {
        match &self.live {
            Live::Good(live) => Some(live),
            Live::None | Live::Broken { .. } => None,
        }
    }

    /// The versions that gateways are told: stops that are not durable yet count as later ones.
    pub(crate) fn told(&self) -> Versions {
        Versions {
            stops: self.stops.version(),
            ..self.versions
        }
    }
}

impl Live {
    /// Its files; none where there is no bundle.
    pub(crate) fn files(&self) -> &[(String, String)] {
        match self {
            Live::None => &[],
            Live::Good(live) => &live.record.files,
            Live::Broken { record, .. } => &record.files,
        }
    }

    /// Its version; zero where there is none.
    pub(crate) fn version(&self) -> BundleVersion {
        match self {
            Live::None => BundleVersion::default(),
            Live::Good(live) => live.version,
            Live::Broken { version, .. } => *version,
        }
    }
}

impl Keys {
    fn of(records: Vec<KeyRecord>) -> Result<Self, StoreError> {
        let all: Vec<PublicKey> = records.into_iter().map(PublicKey::of).collect();
        let usable = all.iter().filter_map(|key| {
            let r#use = match key.purpose {
                KeyPurpose::Svid => KeyUse::Svid,
                KeyPurpose::Oauth => KeyUse::Oauth,
                KeyPurpose::Log => return None,
            };
            Some((key.id.clone(), r#use, key.public.clone()))
        });
        let set = KeySet::new(usable).map_err(|why| StoreError::Damaged(why.to_string()))?;
        let seen = Arc::new(Seen::new());
        Ok(Self { all, set, seen })
    }
}

impl PublicKey {
    fn of(record: KeyRecord) -> Self {
        Self {
            id: record.id,
            purpose: record.purpose,
            state: record.state,
            since: record.since,
            public: record.public,
        }
    }
}

/// Those that `old` has are taken, unless it has some that are not durable among them. What the
/// store has forgotten since stays in them: it stops nothing that would not have expired.
async fn read_stops(
    state: &dyn StateReader,
    old: Option<&World>,
    version: StopVersion,
    now: Timestamp,
) -> Result<Arc<StopSet>, StoreError> {
    match old.filter(|old| old.undurable == 0 && old.versions.stops == version) {
        Some(old) => Ok(Arc::clone(&old.stops)),
        None => state.stops(now).await.map(Arc::new),
    }
}

async fn read_bundle(
    state: &dyn StateReader,
    old: Option<&World>,
    version: BundleVersion,
    (config, compiler): (&crate::Config, &Compiler),
) -> Result<Live, StoreError> {
    if let Some(old) = old.filter(|old| old.versions.bundle == version) {
        return Ok(old.live.clone());
    }
    let Some((version, record)) = state.bundle(None).await? else {
        return Ok(Live::None);
    };
    let compiled = compiler.applied(&record, config).await;
    let compiled = compiled.map_err(|why| StoreError::Unavailable(why.to_string()))?;
    Ok(match compiled {
        Ok(bundle) => Live::Good(Arc::new(LiveBundle {
            version,
            record,
            bundle,
        })),
        Err(mistakes) => Live::Broken {
            version,
            record: Arc::new(record),
            why: bundle::first_of(&mistakes),
        },
    })
}

/// Each suspension that is not durable yet counts as one version more, in order: that is what the
/// store will number them when it can be written again, since nothing else is committed before.
fn with_undurable(stops: Arc<StopSet>, beyond: Vec<Suspension>) -> Arc<StopSet> {
    let Some(version) = beyond.last().map(|last| last.version) else {
        return stops;
    };
    Arc::new(stops.with(version, beyond))
}

const READS: usize = 8;
