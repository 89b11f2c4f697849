//! One issuer's keys.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use governor::middleware::NoOpMiddleware;
use governor::state::{InMemoryState, NotKeyed};
use governor::{Quota, RateLimiter};
use mandate_model::BootTime;
use mandate_ports::Clock;
use mandate_token::IdTokenKeys;

use super::fetch::Fetcher;
use super::{OidcOptions, Source};

/// The cached key set of one issuer.
pub(super) struct KeyCache {
    source: Source,
    fetcher: Arc<Fetcher>,
    clock: Arc<dyn Clock>,
    max_age: Duration,
    max_stale: Duration,
    limiter: RateLimiter<NotKeyed, InMemoryState, BootClock, NoOpMiddleware<Duration>>,
    /// Held for a clone or a replacement.
    held: Mutex<Option<Held>>,
    /// One fetch at a time.
    fetching: tokio::sync::Mutex<()>,
    /// How many fetches ended, well or not: whoever waited for one needs none of its own.
    attempts: AtomicU64,
}

#[derive(Clone)]
struct Held {
    keys: Arc<IdTokenKeys>,
    fetched: BootTime,
}

impl KeyCache {
    pub(super) fn new(
        source: Source,
        fetcher: Arc<Fetcher>,
        clock: Arc<dyn Clock>,
        options: &OidcOptions,
    ) -> Self {
        let quota = Quota::per_minute(options.fetches_per_minute);
        Self {
            source,
            fetcher,
            limiter: RateLimiter::direct_with_clock(quota, BootClock(clock.clone())),
            clock,
            max_age: options.max_age,
            max_stale: options.max_stale,
            held: Mutex::default(),
            fetching: tokio::sync::Mutex::default(),
            attempts: AtomicU64::new(0),
        }
    }

    /// Keys for a token that names `kid`; `None` if there are none that may be used.
    ///
    /// Keys without that `kid` are keys too: then the token is refused, and not the issuer.
    pub(super) async fn keys(self: &Arc<Self>, kid: Option<&str>) -> Option<Arc<IdTokenKeys>> {
        let held = self.usable();
        match &held {
            Some(held) if knows(held, kid) => {
                if self.age(held) >= self.max_age {
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

    /// Fetches, unless a fetch ended while this waited or the quota is used up.
    async fn renew(&self) {
        let attempts = self.attempts.load(Ordering::Acquire);
        let _alone = self.fetching.lock().await;
        if self.attempts.load(Ordering::Acquire) != attempts {
            return;
        }
        if self.limiter.check().is_err() {
            tracing::warn!(issuer = %self.source.issuer, "keys are not fetched again so soon");
            return;
        }
        let fetched = self.clock.boot();
        let keys = self.fetcher.keys(&self.source).await;
        self.attempts.fetch_add(1, Ordering::Release);
        match keys {
            Ok(keys) => {
                let keys = Arc::new(keys);
                let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
                *held = Some(Held { keys, fetched });
            }
            Err(error) => {
                tracing::warn!(issuer = %self.source.issuer, %error, "keys cannot be fetched");
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
