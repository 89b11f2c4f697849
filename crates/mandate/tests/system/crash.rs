//! Killed at random moments under load: what was admitted is recorded, what was suspended stays suspended.

mod load;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::Ordering;
use std::time::Duration;

use serde_json::{Value, json};

use crate::lab::Lab;
use crate::lab::agent::{self, Agent, entry, token};
use crate::lab::http::Answer;
use crate::lab::log::{self, LogTail};
use crate::lab::wait;
use load::{Load, Tokens, is_inner, number};

/// How often the server is killed.
const ROUNDS: u64 = 50;
/// Of the moments. Another number is another run.
const SEED: u64 = 0x4d61_6e64_6174_6521;
/// Clients that access at the same time.
const CLIENTS: usize = 3;
/// A kill comes after so many steps of the load at most, counted anew in each round.
const STEPS: u64 = 40;
/// And so much later at most.
const NUDGE_MICROS: u64 = 3_000;

#[test]
fn admitted_accesses_are_recorded_and_suspensions_hold_through_fifty_kills() {
    let mut lab = Lab::start();
    let mut random = Random(SEED);
    let mut books = Books::open(&lab);
    for round in 0..ROUNDS {
        let tokens = Tokens::get(&lab, &mut books);
        let load = Load::new(&lab, &tokens, &books);
        let kill_after = 1 + random.below(STEPS);
        let nudge = Duration::from_micros(random.below(NUDGE_MICROS));
        std::thread::scope(|scope| {
            for _ in 0..CLIENTS {
                scope.spawn(|| load.access());
            }
            scope.spawn(|| load.exchange());
            scope.spawn(|| load.break_glass(&mut books.stops));
            wait::until("the load goes on", || {
                (load.steps.load(Ordering::Relaxed) >= kill_after).then_some(())
            });
            wait::spin(nudge);
            lab.server.kill();
            load.over.store(true, Ordering::Relaxed);
        });
        let (numbers, admitted) = load.into_results();
        books.numbers = numbers;
        lab.restart();
        books.answered.extend(&admitted);
        books.check_records(&lab, &admitted, round);
        books.check_stops(&lab, &tokens, round);
        verify(&lab, round);
    }
    println!(
        "{} accesses had to be recorded and are, {} of them without an answer; seed {SEED:#x}",
        books.wanted.len(),
        books.wanted.difference(&books.answered).count()
    );
}

/// Whole, or whole as far as it goes: what a gateway announced right now is on its way.
fn verify(lab: &Lab, round: u64) {
    wait::until("all that was announced is shipped", || {
        let ran = lab.run(&["audit", "verify"]);
        assert!(matches!(ran.code, 0 | 3), "round {round}: {}", ran.value);
        (ran.code == 0).then_some(())
    });
}

/// What is known from one round to the next.
struct Books {
    /// The number that the next access has in its path.
    numbers: u64,
    /// Where the reading of the log stands.
    position: u64,
    /// Accesses that the log says were allowed, by number.
    recorded: BTreeSet<u64>,
    /// Accesses that must be among them.
    wanted: BTreeSet<u64>,
    /// Accesses that a client was let through with.
    answered: BTreeSet<u64>,
    root: String,
    /// A token of the task that is suspended and resumed.
    child: String,
    stops: Stops,
}

/// Whom the load suspends and resumes, and what is known of it.
type Stops = BTreeMap<&'static str, (Value, Known)>;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Known {
    /// The server said that it is effective.
    Suspended,
    /// The server said that it is lifted.
    Free,
    /// The server was killed before it said anything.
    Asked,
}

impl Books {
    fn open(lab: &Lab) -> Self {
        let worker = lab.worker();
        let root = token(worker.open());
        let part = json!([entry("records", "read")]);
        let child = token(worker.delegate(&root, "worker", &part));
        let id = agent::claims(&child)["task"]["id"].clone();
        let server = json!({"kind": "server", "name": "dark"});
        let task = json!({"kind": "task", "id": id});
        let stops = [("server", server), ("task", task)];
        Self {
            numbers: 0,
            position: 0,
            recorded: BTreeSet::new(),
            wanted: BTreeSet::new(),
            answered: BTreeSet::new(),
            root,
            child,
            stops: stops
                .map(|(name, subject)| (name, (subject, Known::Free)))
                .into(),
        }
    }

    /// Each access that the upstream saw, where the record comes first, and each that a client was let
    /// through with, has its record, and just one.
    fn check_records(&mut self, lab: &Lab, admitted: &BTreeSet<u64>, round: u64) {
        let seen = lab.upstream.seen("/items/");
        let seen = seen.iter().filter_map(|seen| number(&seen.target));
        self.wanted.extend(seen.filter(|n| !is_inner(*n)));
        self.wanted.extend(admitted);
        let mut tail = LogTail::open_at(lab.data(), self.position);
        wait::until(
            &format!("round {round}: each access has its record"),
            || {
                for record in tail.more() {
                    self.note(&record, round);
                }
                self.wanted.is_subset(&self.recorded).then_some(())
            },
        );
        self.position = tail.position();
    }

    fn note(&mut self, record: &Value, round: u64) {
        assert_ne!(log::kind(record), "alarm", "round {round}: {record}");
        if log::kind(record) != "access_decided" || record["decision"] != "allowed" {
            return;
        }
        if let Ok(number) = log::attribute(record, "item").parse() {
            assert!(
                self.recorded.insert(number),
                "round {round}: twice: {record}"
            );
        }
    }

    /// What the server said before it was killed is so after it, in its list and in its deeds.
    fn check_stops(&mut self, lab: &Lab, tokens: &Tokens, round: u64) {
        let answer = lab.operators().get("/operator/v1/suspensions", &[]);
        let listed = answer.expect(200).json();
        let listed = listed["suspensions"].as_array().unwrap();
        let worker = Agent::new(lab.server.authority(), tokens.worker.clone());
        for (name, (subject, known)) in &mut self.stops {
            let in_force = listed.iter().any(|s| s["subject"] == *subject);
            let as_told = match known {
                Known::Suspended => in_force,
                Known::Free => !in_force,
                Known::Asked => true,
            };
            assert!(
                as_told,
                "round {round}: {subject} was {known:?}, and now: {listed:?}"
            );
            *known = if in_force {
                Known::Suspended
            } else {
                Known::Free
            };
            let round = format!("round {round}: {subject}");
            let issued = match *name {
                "server" => worker.access(&self.root, "dark"),
                _ => worker.resume(&self.root, &subject["id"]),
            };
            let wanted = if in_force { 403 } else { 200 };
            assert_eq!(issued.status, wanted, "{round}: {issued:?}");
            let accesses = if in_force {
                with_old_tokens(name, lab, &worker, tokens)
            } else {
                vec![with_a_new_token(name, lab, &worker, &token(issued))]
            };
            for access in accesses {
                assert_eq!(access.status, wanted, "{round}: {access:?}");
            }
        }
    }
}

/// What is out already is void while the suspension is in force.
fn with_old_tokens(name: &str, lab: &Lab, worker: &Agent, tokens: &Tokens) -> Vec<Answer> {
    let at_gateway = |token: &String| lab.access("/dark/items/check", token);
    match name {
        "server" => tokens.dark.iter().map(at_gateway).collect(),
        _ => vec![worker.access(&tokens.child, "records")],
    }
}

/// What is issued after it was lifted is good.
fn with_a_new_token(name: &str, lab: &Lab, worker: &Agent, token: &str) -> Answer {
    match name {
        "server" => lab.access("/dark/items/check", token),
        _ => worker.access(token, "records"),
    }
}

/// SplitMix64: the same moments in each run.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % limit
    }
}
