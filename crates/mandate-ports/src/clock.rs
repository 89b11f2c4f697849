//! Time and randomness: arguments everywhere, drawn only here.

use mandate_model::{BootTime, Timestamp};

/// The clocks of the machine.
pub trait Clock: Send + Sync {
    /// Wall-clock time. It may jump, back and forth.
    fn now(&self) -> Timestamp;
    /// `CLOCK_BOOTTIME`: never jumps, and counts while the machine sleeps (B2).
    fn boot(&self) -> BootTime;
}

/// A cryptographic source of random bytes.
pub trait Entropy: Send + Sync {
    /// Fills `bytes`. Without good randomness this must not return.
    fn fill(&self, bytes: &mut [u8]);
}
