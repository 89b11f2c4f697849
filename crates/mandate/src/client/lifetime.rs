//! How long a token still lives.

use std::time::Duration;

use mandate_model::Timestamp;
use serde_json::Value;

use super::members::Members;

/// What is left of the life of a token, of which `about` is the introspection; one that was handed on
/// has used up a part of it.
pub(super) fn left(about: &Value, now: Timestamp) -> Duration {
    Duration::from_secs(about.number("exp").saturating_sub(now.as_secs()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_token_that_was_handed_on_is_renewed_by_what_is_left_of_it() {
        let about = json!({"iat": 1_000, "exp": 1_300});
        let at = |secs| left(&about, Timestamp::from_secs(secs));
        assert_eq!(at(1_000), Duration::from_secs(300));
        assert_eq!(at(1_250), Duration::from_secs(50));
        assert_eq!(at(1_301), Duration::ZERO);
    }
}
