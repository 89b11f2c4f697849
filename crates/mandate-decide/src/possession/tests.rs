use mandate_model::{ActorLevel, AttestationKind, InstanceId, ProviderName, SpiffeId};

use super::*;

fn proof(n: u32) -> Thumbprint {
    let mut bytes = [0; 32];
    bytes[..4].copy_from_slice(&n.to_be_bytes());
    Thumbprint::new(bytes)
}

fn at(secs: u64) -> BootTime {
    BootTime::from_nanos(secs * 1_000_000_000)
}

fn level(agent: &str, instance: &str) -> ActorLevel {
    ActorLevel {
        sub: SpiffeId::parse(&format!("spiffe://acme.example/agent/{agent}")).unwrap(),
        inst: InstanceId::parse(instance).unwrap(),
        prv: ProviderName::parse("prod").unwrap(),
        att: AttestationKind::Kubernetes,
        host: None,
    }
}

fn agent(name: &str, instance: &str) -> Shower {
    Shower::agent(&level(name, instance))
}

fn room(working: usize, reserved: usize) -> Room {
    Room { working, reserved }
}

/// Proofs that nobody has shown yet, for as long as they are taken; how many, and why no more.
fn fill(seen: &mut SeenProofs, next: &mut u32, shower: &Shower) -> (usize, SeenError) {
    for taken in 0.. {
        *next += 1;
        if let Err(why) = seen.take(&proof(*next), shower.clone(), at(1)) {
            return (taken, why);
        }
    }
    panic!("the memory is bounded")
}

#[test]
fn a_proof_is_taken_once_for_as_long_as_its_nonce_could_live() {
    let mut seen = SeenProofs::new(room(100, 10));
    let mut take = |n, secs| seen.take(&proof(n), agent("a", "1"), at(secs));
    assert_eq!(take(1, 1), Ok(()));
    assert_eq!(take(1, 2), Err(SeenError::Again));
    assert_eq!(take(2, 3), Ok(()));
    assert_eq!(take(1, 240), Err(SeenError::Again));
    assert!(NONCE_LIFE.as_secs() * 3 / 2 < LONGEST.as_secs());
    assert_eq!(take(1, 241), Ok(()), "its nonce is dead");
}

#[test]
fn a_proof_is_taken_once_whoever_shows_it() {
    let mut seen = SeenProofs::new(room(100, 100));
    let attesting = Shower::attesting(&level("a", "1"));
    seen.take(&proof(1), attesting.clone(), at(1)).unwrap();
    let again = Err(SeenError::Again);
    assert_eq!(seen.take(&proof(1), agent("a", "1"), at(1)), again);
    assert_eq!(seen.take(&proof(1), agent("b", "2"), at(1)), again);
    seen.take(&proof(2), agent("a", "1"), at(1)).unwrap();
    assert_eq!(seen.take(&proof(2), attesting, at(1)), again);
}

#[test]
fn one_agent_that_shows_proofs_as_fast_as_it_can_leaves_room_for_all_others() {
    let (mut seen, mut next) = (SeenProofs::new(room(1200, 10)), 0);
    let filled = fill(&mut seen, &mut next, &agent("a", "1"));
    assert_eq!(filled, (400, SeenError::Share), "a third");
    let sibling = fill(&mut seen, &mut next, &agent("a", "2"));
    assert_eq!(sibling, (200, SeenError::Share), "of its type half is gone");
    let other = fill(&mut seen, &mut next, &agent("b", "1"));
    assert_eq!(other, (200, SeenError::Share), "another one has its own");
    // And so has who comes after ten more of the kind.
    for n in 0..11 {
        let (taken, why) = fill(&mut seen, &mut next, &agent(&format!("c{n}"), "1"));
        assert!(taken > 0, "{n}: {why}");
    }
}

#[test]
fn many_instances_of_one_type_hold_no_more_than_their_type() {
    let (mut seen, mut next) = (SeenProofs::new(room(1200, 10)), 0);
    let all: usize = (0..100)
        .map(|n| fill(&mut seen, &mut next, &agent("a", &n.to_string())).0)
        .sum();
    assert_eq!(all, 600, "half");
    assert!(fill(&mut seen, &mut next, &agent("b", "1")).0 > 100);
}

#[test]
fn no_flood_of_agents_at_work_keeps_one_from_attesting() {
    let (mut seen, mut next) = (SeenProofs::new(room(8, 8)), 0);
    let mut types = 0;
    loop {
        types += 1;
        let (taken, why) = fill(&mut seen, &mut next, &agent(&format!("t{types}"), "1"));
        if taken == 0 {
            assert_eq!(why, SeenError::Full);
            break;
        }
    }
    let attesting = Shower::attesting(&level("t1", "1"));
    assert!(seen.take(&proof(9_000), attesting, at(1)).is_ok());
    // And one that attests all the time leaves room for the others that do.
    let filled = fill(&mut seen, &mut next, &Shower::attesting(&level("t1", "2")));
    assert_eq!(filled.1, SeenError::Share);
    let other = Shower::attesting(&level("t2", "1"));
    assert!(seen.take(&proof(9_002), other, at(1)).is_ok());
}

#[test]
fn room_comes_by_itself_and_callers_are_forgotten_with_their_proofs() {
    let (mut seen, mut next) = (SeenProofs::new(room(4, 4)), 0);
    let full = fill(&mut seen, &mut next, &agent("a", "1"));
    assert_eq!(full, (2, SeenError::Share));
    let again = |seen: &mut SeenProofs, secs| seen.take(&proof(9_000), agent("a", "1"), at(secs));
    assert_eq!(again(&mut seen, 240), Err(SeenError::Share));
    assert_eq!(again(&mut seen, 241), Ok(()));
    assert_eq!(seen.known.len(), 1);
    assert_eq!(seen.working.callers(), (1, 1));
}
