//! The machine's clocks and its randomness, behind their ports.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use mandate_model::{BootTime, Timestamp};
use mandate_ports::{Clock, Entropy};
use rustix::time::{ClockId, clock_gettime};

/// The clocks of this machine.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        #[expect(
            clippy::disallowed_methods,
            reason = "this is the clock port's adapter"
        )]
        let now = SystemTime::now();
        // Before 1970 nothing is valid anyway.
        let since = now.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        Timestamp::from_millis(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
    }

    fn boot(&self) -> BootTime {
        let time = clock_gettime(ClockId::Boottime);
        let seconds = u64::try_from(time.tv_sec).unwrap_or_default();
        let nanos = u64::try_from(time.tv_nsec).unwrap_or_default();
        BootTime::from_nanos(seconds.saturating_mul(1_000_000_000).saturating_add(nanos))
    }
}

/// Randomness of the cryptographic library.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct SystemEntropy;

impl Entropy for SystemEntropy {
    fn fill(&self, bytes: &mut [u8]) {
        // Without randomness nothing may go on, and this must not return (the port's promise): the
        // library fails only where the kernel has none yet, which ends.
        while aws_lc_rs::rand::fill(bytes).is_err() {
            std::thread::yield_now();
        }
    }
}

/// 32 random bytes, in hex: an API key.
pub(crate) fn random_hex() -> String {
    let mut bytes = [0; 32];
    SystemEntropy.fill(&mut bytes);
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_what_the_ports_promise() {
        mandate_testkit::machine_suite::clock(&SystemClock);
        mandate_testkit::machine_suite::entropy(&SystemEntropy);
    }
}
