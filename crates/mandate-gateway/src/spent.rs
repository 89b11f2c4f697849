//! Access tokens that are good for a number of accesses, and how often they were used.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use mandate_decide::enforce::Spend;
use mandate_model::{Timestamp, TokenId};
use mandate_token::FUTURE_LEEWAY;

/// The single-use tokens that this process has seen.
///
/// A gateway that was restarted cannot know what it had seen, so it refuses single-use tokens that
/// it could have accepted before it started. Since tokens from a clock that is ahead are accepted, these
/// are all that say to have been issued until [`FUTURE_LEEWAY`] after the start.
#[derive(Debug)]
pub(crate) struct Spent {
    /// The last moment of issue that is refused.
    until: Timestamp,
    tokens: Mutex<Tokens>,
}

#[derive(Debug, Default)]
struct Tokens {
    uses: BTreeMap<TokenId, u32>,
    by_end: BTreeMap<(Timestamp, TokenId), ()>,
    /// The latest end of a token that was forgotten.
    forgotten: Option<Timestamp>,
}

/// Why a single-use token is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum SpentError {
    #[error(
        "this access token is spent: get another one for each write, or for each counted access"
    )]
    Used,
    #[error(
        "this single-use access token may have been issued before this gateway started; one that is issued a few seconds later is good"
    )]
    BeforeStart,
    #[error(
        "this gateway's clock went back, so this single-use access token may have been used; one that is issued now is good as soon as it lives longer than those before"
    )]
    ClockWentBack,
    #[error("too many single-use tokens are in use at this gateway")]
    TooMany,
}

impl Spent {
    /// Nothing is spent; what could have been used before `started` is refused.
    pub(crate) fn since(started: Timestamp) -> Self {
        Self {
            until: started.floor_to_secs().plus(FUTURE_LEEWAY),
            tokens: Mutex::default(),
        }
    }

    /// Spends one of the `allowed` uses of a token.
    pub(crate) fn spend(
        &self,
        spend: &Spend,
        allowed: u32,
        now: Timestamp,
    ) -> Result<(), SpentError> {
        // `iat` is in whole seconds: one in the last of them may have been accepted before it.
        if spend.issued_at <= self.until {
            return Err(SpentError::BeforeStart);
        }
        let mut tokens = self.tokens.lock().unwrap_or_else(PoisonError::into_inner);
        tokens.forget_expired(now);
        if !tokens.uses.contains_key(&spend.token) {
            tokens.check_unknown(spend)?;
        }
        let used = tokens.uses.entry(spend.token).or_insert(0);
        if *used >= allowed {
            return Err(SpentError::Used);
        }
        *used += 1;
        tokens.by_end.insert((spend.until, spend.token), ());
        Ok(())
    }
}

impl Tokens {
    /// A token that is not known here was never used, unless it is one of those forgotten: a clock that
    /// was ahead for a while takes them for expired, and they live again when it is set back.
    fn check_unknown(&self, spend: &Spend) -> Result<(), SpentError> {
        if self.forgotten.is_some_and(|end| spend.until <= end) {
            return Err(SpentError::ClockWentBack);
        }
        if self.uses.len() >= MAX_SPENT {
            return Err(SpentError::TooMany);
        }
        Ok(())
    }

    /// A token is kept for a while after it expired: clocks move.
    fn forget_expired(&mut self, now: Timestamp) {
        while let Some(first) = self.by_end.first_entry() {
            let (until, token) = *first.key();
            if until.plus(KEEP) > now {
                return;
            }
            first.remove();
            self.uses.remove(&token);
            self.forgotten = self.forgotten.max(Some(until));
        }
    }
}

const KEEP: std::time::Duration = std::time::Duration::from_secs(120);
const MAX_SPENT: usize = 1_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    fn token(n: u8) -> TokenId {
        TokenId::new(Timestamp::from_secs(1), [n; 10])
    }
    fn at(secs: u64) -> Timestamp {
        Timestamp::from_secs(secs)
    }

    fn spend(n: u8, issued: u64, until: u64) -> Spend {
        Spend {
            token: token(n),
            until: at(until),
            issued_at: at(issued),
        }
    }

    #[test]
    fn a_token_is_spent_as_often_as_it_may_be() {
        let spent = Spent::since(at(100));
        let (one, two) = (spend(1, 106, 200), spend(2, 106, 200));
        assert_eq!(spent.spend(&one, 1, at(110)), Ok(()));
        assert_eq!(spent.spend(&one, 1, at(111)), Err(SpentError::Used));
        assert_eq!(spent.spend(&two, 2, at(111)), Ok(()));
        assert_eq!(spent.spend(&two, 2, at(111)), Ok(()));
        assert_eq!(spent.spend(&two, 2, at(111)), Err(SpentError::Used));
    }

    #[test]
    fn a_counted_token_that_could_have_been_used_before_the_start_is_refused() {
        let spent = Spent::since(Timestamp::from_millis(100_400));
        let refused = spent.spend(&spend(1, 105, 200), 1, at(110));
        assert_eq!(refused, Err(SpentError::BeforeStart));
        assert_eq!(spent.spend(&spend(1, 106, 200), 1, at(110)), Ok(()));
    }

    #[test]
    fn a_clock_that_was_ahead_for_a_while_makes_no_spent_token_good_again() {
        let spent = Spent::since(at(100));
        let used = spend(1, 106, 200);
        spent.spend(&used, 1, at(110)).unwrap();
        // Five minutes ahead, and back.
        spent.spend(&spend(2, 406, 500), 1, at(410)).unwrap();
        let again = spent.spend(&used, 1, at(111));
        assert_eq!(again, Err(SpentError::ClockWentBack));
        assert_eq!(spent.spend(&spend(3, 111, 201), 1, at(111)), Ok(()));
    }

    #[test]
    fn what_has_long_expired_is_forgotten() {
        let spent = Spent::since(at(100));
        spent.spend(&spend(1, 106, 200), 1, at(110)).unwrap();
        spent.spend(&spend(2, 301, 400), 1, at(321)).unwrap();
        assert_eq!(spent.tokens.lock().unwrap().uses.len(), 1);
    }
}
