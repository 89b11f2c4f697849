//! Looks at what comes in many pieces: one record for all that an operator looks at in a while.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use mandate_model::{BootTime, OperatorName};

/// When each operator's look was recorded last. Operators are declared: they are few.
#[derive(Debug, Default)]
pub(crate) struct Looks(Mutex<HashMap<OperatorName, BootTime>>);

impl Looks {
    /// Whether a look of `operator` at `now` needs a record of its own.
    pub(crate) fn is_due(&self, operator: &OperatorName, now: BootTime) -> bool {
        let seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        seen.get(operator)
            .is_none_or(|last| now.since(*last) >= INTERVAL)
    }

    /// A look of `operator` at `now` is recorded.
    pub(crate) fn recorded(&self, operator: &OperatorName, now: BootTime) {
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        seen.retain(|_, last| now.since(*last) < INTERVAL);
        seen.insert(operator.clone(), now);
    }
}

const INTERVAL: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_look_is_due_once_in_a_while_for_each_operator() {
        let at = |secs: u64| BootTime::from_nanos(secs * 1_000_000_000);
        let (amy, bob) = ("amy", "bob");
        let name = |text: &str| OperatorName::parse(text).unwrap();
        let looks = Looks::default();
        assert!(looks.is_due(&name(amy), at(1)));
        assert!(looks.is_due(&name(amy), at(2)), "nothing was recorded");
        looks.recorded(&name(amy), at(2));
        assert!(!looks.is_due(&name(amy), at(61)));
        assert!(looks.is_due(&name(bob), at(61)));
        assert!(looks.is_due(&name(amy), at(62)));
    }
}
