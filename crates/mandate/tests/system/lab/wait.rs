//! Waiting for what happens, never for time to pass.

use std::time::{Duration, Instant};

/// Asks until `look` has an answer; panics with `what` if it has none for a minute.
#[track_caller]
pub(crate) fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let begin = now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(begin.elapsed() < PATIENCE, "not within a minute: {what}");
        pause();
    }
}

/// Between two looks.
#[expect(
    clippy::disallowed_methods,
    reason = "test threads poll; what they wait for is a condition, not this pause"
)]
pub(crate) fn pause() {
    std::thread::sleep(Duration::from_millis(5));
}

/// Lets a little time pass, so that a kill falls anywhere within a request. Nothing waits for it.
pub(crate) fn spin(time: Duration) {
    let begin = now();
    while begin.elapsed() < time {
        std::hint::spin_loop();
    }
}

/// A moment, to measure from.
#[expect(clippy::disallowed_methods, reason = "tests have no clock port")]
pub(crate) fn now() -> Instant {
    Instant::now()
}

const PATIENCE: Duration = Duration::from_secs(60);
