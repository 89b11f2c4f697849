//! Suspensions that act and could not be stored (C3).

use mandate_model::StopVersion;
use mandate_model::stop::Suspension;

/// Those that wait to be stored, in order. Nothing else is committed before they are.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Undurable {
    waiting: Vec<Suspension>,
    /// The stop version that the first one gets, while it is being stored. A store that is as far has it
    /// already; counted a second time, it would make gateways believe in a version that is taken back
    /// a moment later and then given to another suspension.
    storing: Option<StopVersion>,
}

impl Undurable {
    /// None waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// One more waits.
    pub(crate) fn add(&mut self, suspension: Suspension) {
        self.waiting.push(suspension);
    }

    /// The first one.
    pub(crate) fn first(&self) -> Option<Suspension> {
        self.waiting.first().cloned()
    }

    /// The first one is being stored, and will get `version`.
    pub(crate) fn storing(&mut self, version: StopVersion) {
        self.storing = Some(version);
    }

    /// The first one is stored.
    pub(crate) fn stored(&mut self) {
        self.storing = None;
        self.waiting.drain(..self.waiting.len().min(1));
    }

    /// Nobody knows whether the first one is stored: it is stored again.
    pub(crate) fn not_stored(&mut self) {
        self.storing = None;
    }

    /// Those that a store at `version` has not got, each with the version that it will get: what is told, since
    /// nothing else is committed before.
    pub(crate) fn beyond(&self, version: StopVersion) -> Vec<Suspension> {
        let has_first = self.storing.is_some_and(|first| first <= version);
        let waiting = self.waiting.iter().skip(usize::from(has_first));
        let numbered = waiting.scan(version, |last, suspension| {
            *last = last.next();
            let version = *last;
            Some(Suspension {
                version,
                ..suspension.clone()
            })
        });
        numbered.collect()
    }
}

#[cfg(test)]
mod tests {
    use mandate_model::stop::Subject;
    use mandate_model::{Principal, Timestamp};

    use super::*;

    fn suspension(reason: &str) -> Suspension {
        Suspension {
            subject: Subject::Everything,
            reason: reason.to_owned(),
            operator: Principal::parse("operator:root").unwrap(),
            version: StopVersion::default(),
            at: Timestamp::from_secs(1),
        }
    }

    fn told(undurable: &Undurable, store: u64) -> Vec<(String, u64)> {
        let beyond = undurable.beyond(StopVersion::new(store)).into_iter();
        beyond.map(|s| (s.reason, s.version.get())).collect()
    }

    #[test]
    fn one_that_the_store_has_meanwhile_is_not_counted_twice() {
        let mut undurable = Undurable::default();
        undurable.add(suspension("a"));
        undurable.add(suspension("b"));
        let (a, b) = (|n| ("a".to_owned(), n), |n| ("b".to_owned(), n));
        assert_eq!(told(&undurable, 7), [a(8), b(9)]);
        undurable.storing(StopVersion::new(8));
        assert_eq!(told(&undurable, 7), [a(8), b(9)], "not there yet");
        assert_eq!(told(&undurable, 8), [b(9)], "there, and not said so yet");
        let mut failed = undurable.clone();
        failed.not_stored();
        assert_eq!(told(&failed, 8), [a(9), b(10)], "it is stored again");
        undurable.stored();
        assert_eq!(told(&undurable, 8), [b(9)]);
        undurable.stored();
        undurable.stored();
        assert!(undurable.is_empty());
    }
}
