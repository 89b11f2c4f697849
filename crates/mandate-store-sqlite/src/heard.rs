//! What the store believes of the time that it is told. It has no clock of its own.

use std::time::Duration;

use mandate_model::Timestamp;

/// The time as units told it.
///
/// Forgetting goes by [`steady`](Self::steady) alone: a moment that is past by every clock that the
/// store heard of for [`HOLD`]. A clock that jumps forward and back again within that span, however
/// far and whatever is committed meanwhile, makes the store forget nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Heard {
    /// What was told last.
    pub(crate) latest: Timestamp,
    /// Never later than `since`.
    pub(crate) steady: Timestamp,
    /// From here on, all that was told was later still; the next `steady` once that has held.
    pub(crate) since: Timestamp,
}

impl Heard {
    /// Hears that it is `now`.
    pub(crate) fn hear(&mut self, now: Timestamp) {
        if now.since(self.since) >= HOLD {
            self.steady = self.since;
            self.since = now;
        }
        // A clock that went back takes all along, or what it tells next would count as long past.
        self.since = self.since.min(now);
        self.steady = self.steady.min(now);
        self.latest = now;
    }
}

/// So long must a clock hold before it is believed; what is stored may be kept for twice as long.
const HOLD: Duration = Duration::from_secs(3600);

#[cfg(test)]
mod tests {
    use super::*;

    fn at(minutes: u64) -> Timestamp {
        Timestamp::from_secs(1_800_000_000 + 60 * minutes)
    }

    fn steady(told: impl IntoIterator<Item = u64>) -> Timestamp {
        let mut heard = Heard {
            latest: at(0),
            steady: at(0),
            since: at(0),
        };
        told.into_iter().for_each(|minutes| heard.hear(at(minutes)));
        heard.steady
    }

    #[test]
    fn steady_time_follows_within_two_spans() {
        assert_eq!(steady(0..60), at(0));
        assert_eq!(steady(0..121), at(60));
        assert_eq!(steady(0..1000), at(900));
    }

    #[test]
    fn a_jump_forward_that_is_taken_back_is_never_believed() {
        let day = 24 * 60;
        assert_eq!(steady((0..10).chain([9 * day]).chain(10..59)), at(0));
        // However often it is told, and whatever was told before.
        let jump = (9 * day)..(9 * day + 59);
        assert_eq!(steady((0..70).chain(jump).chain(70..80)), at(60));
        assert_eq!(steady([day, 1, 2 * day, 2, 3 * day, 3]), at(2));
    }

    #[test]
    fn a_jump_that_holds_is_believed() {
        let day = 24 * 60;
        assert_eq!(steady([1, day, day + 60]), at(day));
    }

    #[test]
    fn a_clock_that_goes_back_takes_everything_along() {
        let day = 24 * 60;
        assert_eq!(steady([day, day + 60, day + 120, 5]), at(5));
    }
}
