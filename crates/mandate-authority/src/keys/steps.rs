//! Which key goes where, as a pure function.

use std::time::Duration;

use mandate_model::{KeyId, Timestamp};
use mandate_ports::{KeyPurpose, KeyState};

use crate::world::PublicKey;

/// How long a key stays in a state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ages {
    /// The longest that a verifier keeps a key set, and as long again for the refresh hint: after it
    /// every verifier can have fetched an announced key.
    pub(crate) announced: Duration,
    /// The longest lifetime of a token, and room for clocks that differ.
    pub(crate) verifying: Duration,
}

/// A change of a key's state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Step {
    pub(crate) key: KeyId,
    pub(crate) purpose: KeyPurpose,
    pub(crate) to: KeyState,
}

/// The steps that are due at `now`: an announced key that every verifier can have fetched takes the
/// place of the one that signs; a key whose last token has expired is retired.
///
/// A key whose clock seems to have jumped back stays where it is: it was announced in what is now
/// the future, and nobody knows for how long verifiers have seen it.
pub(crate) fn next_steps(keys: &[PublicKey], now: Timestamp, ages: &Ages) -> Vec<Step> {
    let mut steps = Vec::new();
    for purpose in super::PURPOSES {
        let of = |state: KeyState| {
            keys.iter()
                .filter(move |key| key.purpose == purpose && key.state == state)
        };
        let is_old = |key: &&PublicKey, age: Duration| now >= key.since.plus(age);
        let mut ripe: Vec<&PublicKey> = of(KeyState::Announced)
            .filter(|key| is_old(key, ages.announced))
            .collect();
        ripe.sort_by_key(|key| key.since);
        if let Some(next) = ripe.first() {
            steps.push(step(next, KeyState::Signing));
            steps.extend(of(KeyState::Signing).map(|key| step(key, KeyState::Verifying)));
        }
        // What the log's key signed is to be verified for as long as the log is kept; it stays
        // published.
        if purpose != KeyPurpose::Log {
            let spent = of(KeyState::Verifying).filter(|key| is_old(key, ages.verifying));
            steps.extend(spent.map(|key| step(key, KeyState::Retired)));
        }
    }
    // The one that signs gives way before the next one signs: at no moment are there two.
    steps.sort_by_key(|step| step.to == KeyState::Signing);
    steps
}

fn step(key: &PublicKey, to: KeyState) -> Step {
    Step {
        key: key.id.clone(),
        purpose: key.purpose,
        to,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AGES: Ages = Ages {
        announced: Duration::from_secs(600),
        verifying: Duration::from_secs(360),
    };

    fn key(id: &str, state: KeyState, since: u64) -> PublicKey {
        PublicKey {
            id: KeyId::parse(id).unwrap(),
            purpose: KeyPurpose::Oauth,
            state,
            since: Timestamp::from_secs(since),
            public: Vec::new(),
        }
    }

    fn at(keys: &[PublicKey], now: u64) -> Vec<(String, KeyState)> {
        let steps = next_steps(keys, Timestamp::from_secs(now), &AGES);
        steps
            .into_iter()
            .map(|step| (step.key.to_string(), step.to))
            .collect()
    }

    #[test]
    fn a_key_signs_only_when_every_verifier_can_have_fetched_it() {
        let keys = [
            key("a", KeyState::Signing, 0),
            key("b", KeyState::Announced, 1000),
        ];
        assert_eq!(at(&keys, 1599), []);
        let swap = [
            ("a".to_owned(), KeyState::Verifying),
            ("b".to_owned(), KeyState::Signing),
        ];
        assert_eq!(at(&keys, 1600), swap);
    }

    #[test]
    fn a_key_is_retired_only_when_its_last_token_has_expired() {
        let keys = [
            key("a", KeyState::Verifying, 1000),
            key("b", KeyState::Signing, 1000),
        ];
        assert_eq!(at(&keys, 1359), []);
        assert_eq!(at(&keys, 1360), [("a".to_owned(), KeyState::Retired)]);
    }

    #[test]
    fn a_clock_that_jumped_back_moves_no_key() {
        let keys = [
            key("a", KeyState::Signing, 0),
            key("b", KeyState::Announced, 1000),
        ];
        assert_eq!(at(&keys, 10), []);
    }

    #[test]
    fn the_logs_old_key_stays_published() {
        let old = PublicKey {
            purpose: KeyPurpose::Log,
            ..key("a", KeyState::Verifying, 0)
        };
        assert_eq!(at(&[old], 1_000_000), []);
    }
}
