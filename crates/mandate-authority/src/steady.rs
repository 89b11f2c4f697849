//! A wall clock that no jump forward moves: for what must not happen too early.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use mandate_model::{BootTime, Timestamp};

/// The time that both clocks of this machine agree is past.
///
/// It follows the boot clock from where the wall clock stood, and goes back with the wall clock. A
/// wall clock that is ahead of it is believed once it has been so for [`HOLD`], by as much as it was
/// ahead all along.
#[derive(Debug)]
pub(crate) struct Steady(Mutex<Anchor>);

#[derive(Debug)]
struct Anchor {
    wall: Timestamp,
    boot: BootTime,
    /// Since when the wall clock is looked at for being ahead.
    since: BootTime,
    /// The least by which it was ahead since then; `None` if nobody has looked.
    ahead: Option<Duration>,
}

impl Steady {
    pub(crate) fn new(wall: Timestamp, boot: BootTime) -> Self {
        Self(Mutex::new(Anchor::new(wall, boot)))
    }

    /// The time, where the clocks show `wall` and `boot`.
    pub(crate) fn at(&self, wall: Timestamp, boot: BootTime) -> Timestamp {
        // Short and without await. Nothing in it panics half-way.
        let mut anchor = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let by_boot = anchor.wall.plus(boot.since(anchor.boot));
        if wall <= by_boot {
            *anchor = Anchor::new(wall, boot);
            return wall;
        }
        let ahead = wall.since(by_boot);
        let ahead = anchor.ahead.map_or(ahead, |least| least.min(ahead));
        if boot.since(anchor.since) < HOLD {
            anchor.ahead = Some(ahead);
            return by_boot;
        }
        let believed = by_boot.plus(ahead);
        *anchor = Anchor::new(believed, boot);
        believed
    }
}

impl Anchor {
    fn new(wall: Timestamp, boot: BootTime) -> Self {
        Self {
            wall,
            boot,
            since: boot,
            ahead: None,
        }
    }
}

/// So long must a wall clock that jumped forward hold before it is believed.
const HOLD: Duration = Duration::from_secs(3600);

#[cfg(test)]
mod tests {
    use super::*;

    /// What it says last of clocks that show these seconds, from `(1000, 0)` on.
    fn told(clocks: &[(u64, u64)]) -> u64 {
        let at = |secs: u64| BootTime::from_nanos(secs * 1_000_000_000);
        let steady = Steady::new(Timestamp::from_secs(1000), at(0));
        let told = clocks
            .iter()
            .map(|(wall, boot)| steady.at(Timestamp::from_secs(*wall), at(*boot)).as_secs());
        told.last().unwrap()
    }

    #[test]
    fn it_goes_with_clocks_that_go_together() {
        assert_eq!(told(&[(1005, 5)]), 1005);
        assert_eq!(told(&[(1005, 5), (9000, 8000)]), 9000);
    }

    #[test]
    fn a_jump_forward_is_not_believed_before_it_has_held() {
        assert_eq!(told(&[(90_000, 5)]), 1005);
        assert_eq!(told(&[(90_000, 5), (93_594, 3599)]), 4599);
        assert_eq!(told(&[(90_000, 5), (93_595, 3600)]), 93_595);
    }

    #[test]
    fn a_jump_that_was_taken_back_in_between_is_not_believed() {
        assert_eq!(told(&[(90_000, 5), (1010, 10), (93_595, 3600)]), 4600);
        let least = [(90_000, 5), (1030, 10), (93_595, 3600)];
        assert_eq!(told(&least), 4620, "by as much as it was ahead all along");
    }

    #[test]
    fn a_clock_that_goes_back_takes_it_along() {
        assert_eq!(told(&[(1005, 5), (200, 6)]), 200);
        assert_eq!(told(&[(1005, 5), (200, 6), (1007, 7)]), 201);
    }
}
