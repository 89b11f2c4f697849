//! Keys of declared issuers and trust domains, kept.
//!
//! They are fetched from where the bundle declares, and from nowhere that a token names. They are
//! used while fresh, used and renewed beside while stale, and never used when too old. A token with
//! an unknown `kid` makes the set be fetched again, but only so often per issuer, since anybody can
//! invent a `kid`.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use governor::middleware::NoOpMiddleware;
use governor::state::{InMemoryState, NotKeyed};
use governor::{Quota, RateLimiter};
use mandate_model::BootTime;
use mandate_ports::Clock;
use mandate_token::IdTokenKeys;

use super::OidcOptions;
use super::fetch::{FetchError, Fetched, Fetcher};
use crate::http::UnusableRoots;

/// Where keys come from. All of it is declared.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Source {
    /// An issuer with a discovery document, or whose keys are at a declared place.
    Issuer {
        issuer: String,
        jwks_uri: Option<String>,
    },
    /// The bundle of a SPIFFE trust domain at its endpoint.
    BundleAt(String),
    /// The bundle of a SPIFFE trust domain in a file of this machine.
    BundleIn(String),
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Source::Issuer { issuer, .. } => f.write_str(issuer),
            Source::BundleAt(place) | Source::BundleIn(place) => f.write_str(place),
        }
    }
}

/// The keys of all sources that were asked for.
pub struct IssuerKeys {
    fetcher: Arc<Fetcher>,
    clock: Arc<dyn Clock>,
    options: OidcOptions,
    /// A bundle that changes where keys come from starts anew. Held for a look-up.
    caches: Mutex<HashMap<Source, Arc<KeyCache>>>,
}

impl IssuerKeys {
    /// None yet; they are fetched when they are first needed. `clock` measures ages.
    pub fn new(options: OidcOptions, clock: Arc<dyn Clock>) -> Result<Self, UnusableRoots> {
        Ok(Self {
            fetcher: Arc::new(Fetcher::new(&options.extra_roots, options.timeout)?),
            clock,
            options,
            caches: Mutex::default(),
        })
    }

    /// Keys of `source` for a token that names `kid`; `None` if there are none that may be used.
    pub(crate) async fn of(&self, source: &Source, kid: Option<&str>) -> Option<Arc<IdTokenKeys>> {
        self.cache(source).keys(kid).await
    }

    /// How many usable keys `source` publishes now, or why that cannot be known.
    pub(crate) async fn look(&self, source: &Source) -> Result<usize, String> {
        let fetched = self.fetcher.keys(source).await;
        fetched.map(|f| f.keys.len()).map_err(|e| e.to_string())
    }

    fn cache(&self, source: &Source) -> Arc<KeyCache> {
        let mut caches = self.caches.lock().unwrap_or_else(PoisonError::into_inner);
        if caches.len() >= MAX_CACHES && !caches.contains_key(source) {
            caches.clear();
        }
        let new = |source: &Source| {
            let of = OfSource(source.clone(), self.fetcher.clone());
            let (name, clock) = (source.to_string(), self.clock.clone());
            Arc::new(KeyCache::new(name, Box::new(of), clock, &self.options))
        };
        let cache = caches.entry(source.clone());
        cache.or_insert_with_key(new).clone()
    }
}

/// How the keys of one source are fetched.
#[async_trait]
pub(crate) trait FetchKeys: Send + Sync {
    async fn fetch(&self) -> Result<Fetched, FetchError>;
}

struct OfSource(Source, Arc<Fetcher>);

#[async_trait]
impl FetchKeys for OfSource {
    async fn fetch(&self) -> Result<Fetched, FetchError> {
        let Self(source, fetcher) = self;
        fetcher.keys(source).await
    }
}

/// The cached key set of one source.
pub(crate) struct KeyCache {
    /// Of the source, for the log.
    name: String,
    fetch: Box<dyn FetchKeys>,
    clock: Arc<dyn Clock>,
    max_age: Duration,
    max_stale: Duration,
    limiter: RateLimiter<NotKeyed, InMemoryState, BootClock, NoOpMiddleware<Duration>>,
    /// Held for a clone or a replacement.
    held: Mutex<Option<Held>>,
    /// The highest `spiffe_sequence` that was taken. Held for a comparison.
    newest: Mutex<Option<u64>>,
    /// One fetch at a time.
    fetching: tokio::sync::Mutex<()>,
    /// How many fetches ended, well or not: whoever waited for one needs none of its own.
    attempts: AtomicU64,
}

#[derive(Clone)]
struct Held {
    keys: Arc<IdTokenKeys>,
    fetched: BootTime,
    /// How long they are fresh.
    fresh: Duration,
}

impl KeyCache {
    pub(crate) fn new(
        name: String,
        fetch: Box<dyn FetchKeys>,
        clock: Arc<dyn Clock>,
        options: &OidcOptions,
    ) -> Self {
        let quota = Quota::per_minute(options.fetches_per_minute);
        Self {
            name,
            fetch,
            limiter: RateLimiter::direct_with_clock(quota, BootClock(clock.clone())),
            clock,
            max_age: options.max_age,
            max_stale: options.max_stale,
            held: Mutex::default(),
            newest: Mutex::default(),
            fetching: tokio::sync::Mutex::default(),
            attempts: AtomicU64::new(0),
        }
    }

    /// Keys for a token that names `kid`; `None` if there are none that may be used.
    ///
    /// Keys without that `kid` are keys too: then the token is refused, and not the issuer.
    pub(crate) async fn keys(self: &Arc<Self>, kid: Option<&str>) -> Option<Arc<IdTokenKeys>> {
        let held = self.usable();
        match &held {
            Some(held) if knows(held, kid) => {
                if self.age(held) >= held.fresh {
                    self.renew_beside();
                }
            }
            Some(_) | None => self.renew().await,
        }
        // If renewing failed, what is held still serves until it is too old.
        self.usable().map(|held| held.keys)
    }

    fn age(&self, held: &Held) -> Duration {
        self.clock.boot().since(held.fetched)
    }

    /// What a document says about itself (`spiffe_refresh_hint`) is believed within bounds: neither a
    /// storm of fetches nor keys that outlive their use.
    fn freshness(&self, hint: Option<Duration>) -> Duration {
        let longest = (self.max_stale / 2).max(LEAST_FRESH);
        hint.map_or(self.max_age, |hint| hint.clamp(LEAST_FRESH, longest))
    }

    /// What is held, unless it is too old.
    fn usable(&self) -> Option<Held> {
        let held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let held = held.clone();
        held.filter(|held| self.age(held) < self.max_stale)
    }

    /// Fetches while the caller goes on with stale keys.
    fn renew_beside(self: &Arc<Self>) {
        if self.fetching.try_lock().is_ok() {
            let cache = self.clone();
            tokio::spawn(async move { cache.renew().await });
        }
    }

    /// A bundle says by `spiffe_sequence` which of two is the later one: it grows with each change of the keys
    /// (SPIFFE Trust Domain and Bundle §4.1.1). One that is older than what was taken would bring keys back that
    /// their domain has withdrawn, so it is not taken, and neither is one that says nothing any more. The same
    /// number again is the same bundle.
    ///
    /// That is remembered as long as this process runs: a domain that was set up anew and begins to count at 1
    /// again is believed after a restart, which is an operator's decision.
    fn not_older(&self, new: Fetched) -> Result<Fetched, FetchError> {
        let mut newest = self.newest.lock().unwrap_or_else(PoisonError::into_inner);
        let now = new.sequence;
        match *newest {
            // "None" is below every number.
            Some(seen) if now < Some(seen) => Err(FetchError::WentBack { now, seen }),
            Some(_) | None => {
                *newest = now;
                Ok(new)
            }
        }
    }

    /// Fetches, unless a fetch ended while this waited or the quota is used up.
    async fn renew(&self) {
        let attempts = self.attempts.load(Ordering::Acquire);
        let _alone = self.fetching.lock().await;
        if self.attempts.load(Ordering::Acquire) != attempts {
            return;
        }
        if self.limiter.check().is_err() {
            tracing::warn!(issuer = self.name, "keys are not fetched again so soon");
            return;
        }
        let fetched = self.clock.boot();
        let keys = self.fetch.fetch().await;
        self.attempts.fetch_add(1, Ordering::Release);
        match keys.and_then(|new| self.not_older(new)) {
            Ok(new) => {
                let fresh = self.freshness(new.hint);
                let keys = Arc::new(new.keys);
                let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
                *held = Some(Held {
                    keys,
                    fetched,
                    fresh,
                });
            }
            Err(error) => {
                tracing::warn!(issuer = self.name, %error, "keys cannot be fetched");
            }
        }
    }
}

/// A token without `kid` may fit whatever there is.
fn knows(held: &Held, kid: Option<&str>) -> bool {
    kid.is_none_or(|kid| held.keys.has_kid(kid))
}

/// The rate limit on the clock port: it counts while the machine sleeps, and tests can set it.
#[derive(Clone)]
struct BootClock(Arc<dyn Clock>);

impl governor::clock::Clock for BootClock {
    type Instant = Duration;

    fn now(&self) -> Duration {
        Duration::from_nanos(self.0.boot().as_nanos())
    }
}

/// More sources than any bundle has; former ones go when it is reached.
const MAX_CACHES: usize = 64;
const LEAST_FRESH: Duration = Duration::from_secs(10);
