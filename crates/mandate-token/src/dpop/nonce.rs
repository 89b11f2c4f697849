//! Nonces that a server gives for proofs, and knows again without remembering them (RFC 9449 §8, §9).

use std::fmt;
use std::time::Duration;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::hmac;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use mandate_model::BootTime;

/// How long a nonce is good, at least; at most half as long again.
pub const NONCE_LIFE: Duration = Duration::from_secs(120);

/// The nonces of one process.
///
/// They are keyed by a secret that is drawn when the process starts and told to nobody. So a proof is
/// good at the one process that gave its nonce: not at another replica, and not after a restart. That
/// is what makes it enough for a process to remember in its own memory which proofs it has seen. They
/// are dated by the boot clock, which no wall clock moves.
pub struct Nonces {
    key: hmac::Key,
}

impl Nonces {
    /// The nonces of a process that has drawn `secret`.
    pub fn keyed(secret: &[u8; 32]) -> Self {
        Self {
            key: hmac::Key::new(hmac::HMAC_SHA256, secret),
        }
    }

    /// The nonce to give at `now`: the same for everyone and for a while.
    pub fn current(&self, now: BootTime) -> String {
        let mut bytes = slot_of(now).to_be_bytes().to_vec();
        bytes.extend_from_slice(self.tag(slot_of(now)).as_ref());
        bytes.truncate(NONCE_BYTES);
        URL_SAFE_NO_PAD.encode(bytes)
    }

    /// Whether `nonce` is one of these and still good at `now`.
    pub fn is_good(&self, nonce: &str, now: BootTime) -> bool {
        let Ok(bytes) = URL_SAFE_NO_PAD.decode(nonce) else {
            return false;
        };
        let Some((slot, tag)) = bytes.split_first_chunk::<8>() else {
            return false;
        };
        let slot = u64::from_be_bytes(*slot);
        let known = self.tag(slot);
        let expected = known.as_ref().get(..TAG_BYTES).unwrap_or_default();
        // A slot ahead was given by nobody.
        let age = slot_of(now).checked_sub(slot);
        verify_slices_are_equal(expected, tag).is_ok() && age.is_some_and(|age| age <= SLOTS)
    }

    fn tag(&self, slot: u64) -> hmac::Tag {
        hmac::sign(&self.key, &slot.to_be_bytes())
    }
}

impl fmt::Debug for Nonces {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Nonces(…)")
    }
}

fn slot_of(now: BootTime) -> u64 {
    let slot = NONCE_LIFE.as_nanos() / u128::from(SLOTS);
    u64::try_from(u128::from(now.as_nanos()) / slot).unwrap_or(u64::MAX)
}

/// A nonce of an earlier slot is good for this many slots more.
const SLOTS: u64 = 2;
const TAG_BYTES: usize = 16;
const NONCE_BYTES: usize = 8 + TAG_BYTES;

#[cfg(test)]
mod tests {
    use super::*;

    fn at(secs: u64) -> BootTime {
        BootTime::from_nanos(secs * 1_000_000_000)
    }

    #[test]
    fn a_nonce_is_good_for_its_life_and_then_no_more() {
        let nonces = Nonces::keyed(&[7; 32]);
        for second in [0, 59, 60, 119] {
            let nonce = nonces.current(at(1_000 + second));
            assert!(nonces.is_good(&nonce, at(1_000 + second)));
            assert!(nonces.is_good(&nonce, at(1_000 + second + 120)));
            assert!(!nonces.is_good(&nonce, at(1_000 + second + 181)));
        }
    }

    #[test]
    fn a_nonce_is_good_at_no_other_process() {
        let (one, other) = (Nonces::keyed(&[7; 32]), Nonces::keyed(&[8; 32]));
        assert!(!other.is_good(&one.current(at(1_000)), at(1_000)));
    }

    #[test]
    fn a_nonce_that_nobody_gave_is_refused() {
        let nonces = Nonces::keyed(&[7; 32]);
        let good = nonces.current(at(1_000));
        let ahead = nonces.current(at(2_000));
        let later_slot = {
            let mut bytes = URL_SAFE_NO_PAD.decode(&good).unwrap();
            bytes[7] += 1;
            URL_SAFE_NO_PAD.encode(bytes)
        };
        for bad in [
            "",
            "AAAA",
            good.split_at(1).1,
            &format!("{good}AA"),
            &ahead,
            &later_slot,
        ] {
            assert!(!nonces.is_good(bad, at(1_000)), "{bad}");
        }
        assert!(nonces.is_good(&good, at(1_000)));
    }
}
