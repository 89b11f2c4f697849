//! Numbers that callers sign.
//!
//! A challenge carries its own expiry under a MAC whose key lives as long as this process: what
//! another process made, or this one before it was started again, is none of ours.

use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::hmac;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use mandate_model::Timestamp;
use mandate_ports::{Challenge, Challenges, Clock, Entropy};

/// Makes and recognises challenges.
pub struct AwsChallenges {
    key: hmac::Key,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
}

/// Why a challenge is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum NoChallenge {
    #[error(
        "the challenge that it signs is none of this authority's, or of before it was restarted"
    )]
    Foreign,
    #[error("the challenge that it signs has expired; ask for a new one and sign again")]
    Expired,
}

impl AwsChallenges {
    /// With a new key.
    pub fn new(clock: Arc<dyn Clock>, entropy: Arc<dyn Entropy>) -> Self {
        let mut key = [0; 32];
        entropy.fill(&mut key);
        Self {
            key: hmac::Key::new(hmac::HMAC_SHA256, &key),
            clock,
            entropy,
        }
    }

    /// When `challenge`, which must be one of ours and good at `now`, may be forgotten.
    pub(super) fn check(&self, challenge: &str, now: Timestamp) -> Result<Timestamp, NoChallenge> {
        let bytes = URL_SAFE_NO_PAD.decode(challenge);
        let bytes = bytes.map_err(|_| NoChallenge::Foreign)?;
        let (body, mac) = bytes.split_at_checked(BODY).ok_or(NoChallenge::Foreign)?;
        hmac::verify(&self.key, body, mac).map_err(|_| NoChallenge::Foreign)?;
        let expiry = body.get(RANDOM..).and_then(|bytes| bytes.try_into().ok());
        let expiry = expiry.map(u64::from_be_bytes).ok_or(NoChallenge::Foreign)?;
        let until = Timestamp::from_secs(expiry);
        if now < until {
            Ok(until)
        } else {
            Err(NoChallenge::Expired)
        }
    }
}

impl Challenges for AwsChallenges {
    fn challenge(&self) -> Challenge {
        let mut random = [0; RANDOM];
        self.entropy.fill(&mut random);
        let expiry = self.clock.now().plus(LIFE).as_secs();
        let body = [&random[..], &expiry.to_be_bytes()].concat();
        let mac = hmac::sign(&self.key, &body);
        Challenge {
            value: URL_SAFE_NO_PAD.encode([&body, mac.as_ref()].concat()),
            expires_in: LIFE.as_secs(),
        }
    }
}

const RANDOM: usize = 16;
const BODY: usize = RANDOM + 8;
const LIFE: Duration = Duration::from_secs(120);

#[cfg(test)]
mod tests {
    use mandate_testkit::clock::FixedClock;
    use mandate_testkit::entropy::SeededEntropy;

    use super::*;
    use crate::fixtures::NOW;

    fn challenges(seed: u64) -> AwsChallenges {
        let clock = Arc::new(FixedClock::at(NOW));
        AwsChallenges::new(clock, Arc::new(SeededEntropy::new(seed)))
    }

    #[test]
    fn a_challenge_is_good_for_two_minutes_at_the_process_that_made_it() {
        let ours = challenges(1);
        let made = ours.challenge().value;
        assert_eq!(ours.check(&made, NOW), Ok(NOW.plus(LIFE)));
        let late = NOW.plus(LIFE);
        assert_eq!(ours.check(&made, late), Err(NoChallenge::Expired));
        assert_eq!(challenges(2).check(&made, NOW), Err(NoChallenge::Foreign));
        assert_ne!(made, ours.challenge().value);
    }

    #[test]
    fn what_is_changed_or_made_up_is_no_challenge() {
        let ours = challenges(1);
        let mut bytes = URL_SAFE_NO_PAD.decode(ours.challenge().value).unwrap();
        // A later expiry under the same MAC.
        bytes[BODY - 1] ^= 1;
        let changed = URL_SAFE_NO_PAD.encode(&bytes);
        for other in [changed.as_str(), "", "abc", "????", &"A".repeat(75)] {
            assert_eq!(ours.check(other, NOW), Err(NoChallenge::Foreign), "{other}");
        }
    }
}
