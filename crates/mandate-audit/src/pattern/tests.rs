use mandate_model::{GatewayId, Timestamp};
use proptest::prelude::*;

use super::*;
use crate::{Decision, Outcome, SpoolKey, What};

fn completed(at: u64, seq: u64, (admitted, up, down): (u64, u64, u64), text: &str) -> Event {
    let what = What::AccessCompleted {
        admitted,
        admitted_in: None,
        outcome: Outcome::Completed,
        status: Some(200),
        bytes_up: up,
        bytes_down: down,
        usage: None,
    };
    Event {
        detail: Some(text.to_owned()),
        rule: Some(r#"{"at":1,"seq":2,"admitted":3}"#.to_owned()),
        spool: Some(SpoolKey {
            gateway: GatewayId::parse("gateway-1").unwrap(),
            spool: "f".repeat(32),
            seq,
        }),
        ..Event::new(Timestamp::from_millis(at), what, Decision::Allowed)
    }
}

#[test]
fn a_record_that_differs_in_its_numbers_alone_fits() {
    let first = completed(1_800_000_000_000, 7, (6, 0, 12), "x");
    let pattern = Pattern::of(&first.canonical().unwrap(), &first).unwrap();
    assert_eq!(pattern.holes.len(), 5);
    let next = completed(1_800_000_000_999, 1_000, (998, 5, 123_456), "x");
    let said = Numbers {
        at: next.at,
        seq: 1_000,
    };
    assert_eq!(pattern.fits(&next.canonical().unwrap()), Some(said));
    let other = completed(1_800_000_000_999, 1_000, (998, 5, 123_456), "y");
    assert_eq!(pattern.fits(&other.canonical().unwrap()), None);
}

#[test]
fn a_record_of_no_spool_has_no_pattern() {
    let event = Event {
        spool: None,
        ..completed(1, 2, (3, 4, 5), "x")
    };
    assert!(Pattern::of(&event.canonical().unwrap(), &event).is_none());
}

proptest! {
    /// Whatever is put into a record's place: what fits is a canonical event that says the same.
    #[test]
    fn what_fits_is_canonical_and_says_the_same(
        text in ".{0,20}",
        at in 0_u64..1 << 49,
        seq in 0_u64..1 << 49,
        counts in (0_u64..1 << 49, 0_u64..1 << 49, 0_u64..1 << 49),
        place in any::<prop::sample::Index>(),
        put in "[0-9\",}{\\\\a.e-]{0,3}",
        cut in 0_usize..4,
        is_whole in any::<bool>(),
    ) {
        let first = completed(1_800_000_000_000, 7, (6, 0, 12), &text);
        let pattern = Pattern::of(&first.canonical().unwrap(), &first).unwrap();
        let next = completed(at, seq, counts, &text);
        let mut bytes = next.canonical().unwrap();
        if is_whole {
            prop_assert!(pattern.fits(&bytes).is_some());
        } else {
            let from = place.index(bytes.len());
            let to = (from + cut).min(bytes.len());
            bytes.splice(from..to, put.bytes());
        }
        if let Some(numbers) = pattern.fits(&bytes) {
            let event = Event::parse(&bytes).unwrap();
            prop_assert_eq!(&event.canonical().unwrap(), &bytes);
            prop_assert_eq!(event.at, numbers.at);
            prop_assert_eq!(event.spool.as_ref().unwrap().seq, numbers.seq);
            let What::AccessCompleted { admitted, bytes_up, bytes_down, .. } = event.what else {
                return Err(TestCaseError::fail("another kind"));
            };
            let same = completed(event.at.as_millis(), numbers.seq, (admitted, bytes_up, bytes_down), &text);
            prop_assert_eq!(event, same);
        }
    }
}
