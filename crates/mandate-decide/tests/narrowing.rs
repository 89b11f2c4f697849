//! P3: no sequence of exchanges gives more than the root task allowed.
//!
//! Random sequences of exchanges, honest and not, run against the very functions that the authority
//! uses. Whatever they yield is held against a model: what the root task, and each task on the way
//! down, was given.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::panic,
    reason = "tests may panic"
)]

mod lab;

use std::collections::BTreeMap;
use std::time::Duration;

use lab::{JWT, Lab, TXN};
use mandate_model::task::Task;
use mandate_model::{TaskId, Timestamp};
use mandate_token::{AccessToken, Kind, TaskToken};
use proptest::prelude::*;
use proptest::test_runner::FileFailurePersistence;

const AGENTS: [&str; 7] = [
    "backlog",
    "orchestrator",
    "retriever",
    "executor",
    "pinned",
    "summarizer",
    "helper",
];

const SPAWNED: [&str; 5] = ["orchestrator", "retriever", "executor", "pinned", "helper"];

/// What `request_details` ask for.
#[derive(Debug, Clone)]
struct Limits {
    budget: Option<(u64, u64)>,
    minutes: u64,
    /// From how many minutes on.
    begins: Option<u64>,
    depth: Option<u8>,
}

/// One move of an adversary who holds every token that was ever issued and can be any agent.
#[derive(Debug, Clone)]
enum Move {
    Open {
        agent: usize,
        entries: usize,
        limits: Limits,
    },
    Delegate {
        agent: usize,
        token: usize,
        child: usize,
        entries: usize,
        limits: Limits,
    },
    Renew {
        agent: usize,
        token: usize,
        entries: Option<usize>,
    },
    Resume {
        agent: usize,
        token: usize,
        task: usize,
    },
    Access {
        agent: usize,
        token: usize,
        entries: Option<usize>,
        mail: bool,
    },
    Wait {
        seconds: u64,
    },
}

const ENTRIES: [&str; 7] = [
    r#"[{"type":"mandate_access","server":"records","actions":["read"],"constraints":{"customer":{"in":["acme"]}}}]"#,
    r#"[{"type":"mandate_access","server":"records","actions":["read"],"constraints":{"customer":{"in":["acme","globex"]}}}]"#,
    r#"[{"type":"mandate_access","server":"records","actions":["read"]}]"#,
    r#"[{"type":"mandate_access","server":"records","actions":["read","refund"],"constraints":{"customer":{"in":["globex"]}}}]"#,
    r#"[{"type":"mandate_access","server":"records","actions":["refund"],"constraints":{"customer":{"in":["acme"]},"amount_cents":{"max":500}}}]"#,
    r#"[{"type":"mandate_access","server":"mail","actions":["send"]}]"#,
    r#"[{"type":"mandate_access","server":"records","actions":["read"],"constraints":{"customer":{"prefix":"ac"}}},
        {"type":"mandate_access","server":"mail","actions":["send"],"constraints":{"to":{"in":["x"]}}}]"#,
];

fn any_move() -> impl Strategy<Value = Move> {
    // Beyond the list: whoever may act with the token that is used.
    let agent = || 0..AGENTS.len() * 4;
    let entries = || 0..ENTRIES.len();
    let limits = || {
        let budget = prop::option::weighted(0.4, (0..4u64, 0..3u64));
        let begins = prop::option::weighted(0.1, 0..8u64);
        let depth = prop::option::weighted(0.3, 0..9u8);
        (budget, 1..90u64, begins, depth).prop_map(|(budget, minutes, begins, depth)| Limits {
            budget,
            minutes,
            begins,
            depth,
        })
    };
    prop_oneof![
        2 => (0..2usize, entries(), limits())
            .prop_map(|(agent, entries, limits)| Move::Open { agent, entries, limits }),
        6 => (agent(), 0..40usize, 0..AGENTS.len() * 3, 0..ENTRIES.len() * 3, limits())
            .prop_map(|(agent, token, child, entries, limits)| Move::Delegate { agent, token, child, entries, limits }),
        2 => (agent(), 0..40usize, prop::option::of(entries()))
            .prop_map(|(agent, token, entries)| Move::Renew { agent, token, entries }),
        1 => (agent(), 0..40usize, 0..40usize)
            .prop_map(|(agent, token, task)| Move::Resume { agent, token, task }),
        4 => (agent(), 0..40usize, prop::option::of(entries()), any::<bool>())
            .prop_map(|(agent, token, entries, mail)| Move::Access { agent, token, entries, mail }),
        1 => (0..400u64).prop_map(|seconds| Move::Wait { seconds }),
    ]
}

/// Everything that the adversary has, and what the model knows of it.
struct Game {
    lab: Lab,
    tokens: Vec<String>,
    accesses: BTreeMap<TaskId, u64>,
}

impl Game {
    fn svid(&mut self, agent: usize) -> String {
        match AGENTS[agent] {
            "helper" => self.hosted_svid("helper"),
            name => self.lab.svid(name, &format!("{name}-1")),
        }
    }

    /// A hosted agent has no evidence of its own: its host vouches (A6).
    fn hosted_svid(&mut self, hosted: &str) -> String {
        let host = self.lab.svid("orchestrator", "orchestrator-1");
        let hosted = format!("spiffe://acme.example/agent/{hosted}");
        let form = [
            ("subject_token", host.as_str()),
            ("subject_token_type", JWT),
            ("requested_actor", hosted.as_str()),
        ];
        self.lab.exchange(&host, &form).unwrap().0
    }

    fn details(&self, limits: &Limits, purpose: Option<&str>) -> String {
        let mut details = serde_json::json!({"expires_in": limits.minutes * 60});
        if let Some((accesses, children)) = limits.budget {
            details["budget"] =
                serde_json::json!({"max_accesses": accesses, "max_children": children});
        }
        if let Some(minutes) = limits.begins {
            let from = self.lab.now.plus(Duration::from_secs(minutes * 60));
            details["not_before"] = from.as_millis().into();
        }
        if let Some(depth) = limits.depth {
            details["max_depth"] = depth.into();
        }
        if let Some(purpose) = purpose {
            details["purpose"] = purpose.into();
            details["trigger"] =
                serde_json::json!({"kind": "schedule", "name": purpose, "item": "4711"});
        }
        details.to_string()
    }

    /// The agent that plays: mostly the one that may act in the task, sometimes any.
    fn player(&mut self, agent: usize, token: &str) -> (usize, String) {
        let honest = || {
            let name = self.task_claims(token).may_act.sub.agent_type();
            AGENTS
                .iter()
                .position(|a| name.as_ref().is_some_and(|n| n.as_str() == *a))
        };
        let agent = if agent < AGENTS.len() {
            agent
        } else {
            honest().unwrap_or(0)
        };
        (agent, self.svid(agent))
    }

    fn token(&self, n: usize) -> Option<String> {
        (!self.tokens.is_empty()).then(|| self.tokens[n % self.tokens.len()].clone())
    }

    #[allow(clippy::too_many_lines, reason = "one arm for each move")]
    fn play(&mut self, step: &Move) -> Option<()> {
        match step {
            Move::Wait { seconds } => self.lab.advance(Duration::from_secs(*seconds)),
            Move::Open {
                agent,
                entries,
                limits,
            } => {
                let svid = self.svid(*agent);
                let purpose = ["nightly", "morning"][*agent];
                let details = self.details(limits, Some(purpose));
                let form = [
                    ("subject_token", svid.as_str()),
                    ("subject_token_type", JWT),
                    ("requested_token_type", TXN),
                    ("audience", "acme.example"),
                    ("authorization_details", ENTRIES[*entries]),
                    ("request_details", details.as_str()),
                ];
                let (token, _) = self.lab.exchange(&svid, &form).ok()?;
                self.tokens.push(token);
            }
            Move::Delegate {
                agent,
                token,
                child,
                entries,
                limits,
            } => {
                let token = self.token(*token)?;
                let (_, svid) = self.player(*agent, &token);
                let whole = || {
                    serde_json::to_string(&self.task_claims(&token).mandate.entries.to_wire())
                        .unwrap()
                };
                let entries = ENTRIES
                    .get(*entries)
                    .map_or_else(whole, |text| (*text).to_owned());
                let details = self.details(limits, None);
                // Beyond the list: somebody who may be spawned, and all that the parent has.
                let child = AGENTS
                    .get(*child)
                    .unwrap_or(&SPAWNED[child % SPAWNED.len()]);
                let child = format!("spiffe://acme.example/agent/{child}");
                let form = [
                    ("subject_token", token.as_str()),
                    ("subject_token_type", TXN),
                    ("requested_token_type", TXN),
                    ("audience", "acme.example"),
                    ("requested_actor", child.as_str()),
                    ("authorization_details", entries.as_str()),
                    ("request_details", details.as_str()),
                ];
                let (new, _) = self.lab.exchange(&svid, &form).ok()?;
                self.check_task_token(&new, Some(&token));
                self.tokens.push(new);
            }
            Move::Renew {
                agent,
                token,
                entries,
            } => {
                let token = self.token(*token)?;
                let (_, svid) = self.player(*agent, &token);
                let mut form = vec![
                    ("subject_token", token.as_str()),
                    ("subject_token_type", TXN),
                    ("requested_token_type", TXN),
                    ("audience", "acme.example"),
                ];
                form.extend(entries.map(|n| ("authorization_details", ENTRIES[n])));
                let (new, _) = self.lab.exchange(&svid, &form).ok()?;
                self.check_renewed(&new, &token);
                self.tokens.push(new);
            }
            Move::Resume { agent, token, task } => {
                let token = self.token(*token)?;
                let (_, svid) = self.player(*agent, &token);
                let ids: Vec<TaskId> = self.lab.tasks.keys().copied().collect();
                let id = ids[task % ids.len()];
                let details = format!(r#"{{"task":"{id}"}}"#);
                let form = [
                    ("subject_token", token.as_str()),
                    ("subject_token_type", TXN),
                    ("requested_token_type", TXN),
                    ("audience", "acme.example"),
                    ("request_details", details.as_str()),
                ];
                let (new, _) = self.lab.exchange(&svid, &form).ok()?;
                self.check_task_token(&new, None);
                self.tokens.push(new);
            }
            Move::Access {
                agent,
                token,
                entries,
                mail,
            } => {
                let token = self.token(*token)?;
                let (agent, svid) = self.player(*agent, &token);
                let resource = if *mail {
                    "https://mail.acme.example"
                } else {
                    "https://records.acme.example"
                };
                let mut form = vec![
                    ("subject_token", token.as_str()),
                    ("subject_token_type", TXN),
                    ("resource", resource),
                ];
                form.extend(entries.map(|n| ("authorization_details", ENTRIES[n])));
                let (access, _) = self.lab.exchange(&svid, &form).ok()?;
                self.check_access(&access, AGENTS[agent]);
            }
        }
        Some(())
    }

    fn task_claims(&self, token: &str) -> TaskToken {
        let verified = TaskToken::verify_signature(token, self.lab.keys()).unwrap();
        // Whatever the time is by now: at some second of its life the token was good.
        let audience = mandate_token::Audience::parse("spiffe://acme.example").unwrap();
        let expect = mandate_token::Expect {
            issuer: &self.lab.issuer,
            audience: &audience,
        };
        let seconds = (0..30_000).map(|s| Timestamp::from_secs(1_800_000_000 + s));
        let mut seen = seconds.filter_map(|at| verified.check(&expect, at).ok());
        seen.next().unwrap().claims().clone()
    }

    fn ancestors(&self, path: impl Iterator<Item = TaskId>) -> Vec<&Task> {
        path.map(|id| &self.lab.tasks[&id]).collect()
    }

    /// A task token lies within every task on its path, and keeps principal, trigger and act.
    fn check_task_token(&self, new: &str, parent: Option<&str>) {
        let claims = self.task_claims(new);
        let line = self.ancestors(claims.path.iter());
        for task in &line {
            let mandate = &task.record.mandate;
            assert!(
                claims.mandate.entries.are_within(&mandate.entries),
                "wider than {task:?}"
            );
            assert!(claims.mandate.expires_at <= mandate.expires_at, "outlives");
            assert!(claims.mandate.max_depth <= mandate.max_depth, "deeper");
            assert!(claims.mandate.not_before >= mandate.not_before, "earlier");
            assert_eq!(claims.principal, task.principal);
            assert_eq!(claims.trigger, task.trigger);
        }
        assert_eq!(claims.act.levels().len(), line.len() - 1, "`act` was shed");
        assert!(
            line.len() <= usize::from(claims.mandate.max_depth),
            "too deep"
        );
        self.check_children(&line);
        assert!(claims.expires_at <= claims.mandate.expires_at);
        if let Some(parent) = parent {
            let parent = self.task_claims(parent);
            assert!(claims.mandate.entries.are_within(&parent.mandate.entries));
            assert_eq!(claims.path.parent(), Some(parent.path.leaf()), "spliced");
        }
    }

    /// No task has more tasks below it, at any depth, than it was given.
    fn check_children(&self, line: &[&Task]) {
        for task in line {
            let Some(most) = task.record.mandate.budget.max_children else {
                continue;
            };
            let id = task.record.id;
            let below = self.lab.tasks.values().filter(|other| {
                other.record.id != id && other.path.iter().any(|on_path| on_path == id)
            });
            let below = u64::try_from(below.count()).unwrap();
            assert!(
                below <= most,
                "{below} tasks below one that may have {most}"
            );
        }
    }

    fn check_renewed(&self, new: &str, old: &str) {
        self.check_task_token(new, None);
        let (new, old) = (self.task_claims(new), self.task_claims(old));
        assert_eq!(
            (new.path, new.chain, new.may_act.sub),
            (old.path, old.chain, old.may_act.sub)
        );
        assert!(new.mandate.entries.are_within(&old.mandate.entries));
    }

    fn check_access(&mut self, access: &str, agent: &str) {
        let audience = access_audience(access);
        let audience = mandate_token::Audience::parse(&audience).unwrap();
        let expect = mandate_token::Expect {
            issuer: &self.lab.issuer,
            audience: &audience,
        };
        let verified = AccessToken::verify(access, self.lab.keys(), &expect, self.lab.now).unwrap();
        let claims = verified.claims();
        let line = self.ancestors(claims.path.iter());
        for task in &line {
            assert!(claims.entries.are_within(&task.record.mandate.entries));
            assert!(claims.expires_at <= task.record.mandate.expires_at);
            assert!(
                task.record
                    .mandate
                    .not_before
                    .is_none_or(|from| from <= self.lab.now)
            );
            assert_eq!(claims.principal, task.principal);
        }
        let leaf = line[line.len() - 1];
        assert_eq!(
            claims.acting.actor().sub,
            leaf.record.may_act,
            "someone else acts"
        );
        assert_eq!(claims.acting.actor().sub.path(), format!("/agent/{agent}"));
        assert_eq!(claims.acting.levels().len(), line.len(), "`act` was shed");
        for entry in claims.entries.iter() {
            let name = claims.acting.actor().sub.agent_type().unwrap();
            assert!(
                self.lab
                    .bundle
                    .could_exercise(&name, &entry.server, &entry.action)
            );
        }
        let limited: Vec<TaskId> = line
            .iter()
            .filter(|t| t.record.mandate.budget.max_accesses.is_some())
            .map(|t| t.record.id)
            .collect();
        if !limited.is_empty() {
            assert_eq!(claims.uses.map(std::num::NonZeroU32::get), Some(1));
        }
        for id in limited {
            *self.accesses.entry(id).or_default() += 1;
            let most = self.lab.tasks[&id]
                .record
                .mandate
                .budget
                .max_accesses
                .unwrap();
            assert!(
                self.accesses[&id] <= most,
                "siblings spent more than {most} together"
            );
        }
    }
}

fn access_audience(token: &str) -> String {
    use base64::Engine;
    let claims = token.split('.').nth(1).unwrap();
    let json = base64::engine::general_purpose::URL_SAFE_NO_PAD
        .decode(claims)
        .unwrap();
    serde_json::from_slice::<serde_json::Value>(&json).unwrap()["aud"]
        .as_str()
        .unwrap()
        .to_owned()
}

/// Counts what the sequences reach, so that the property is not true for want of successes.
fn play(moves: &[Move]) -> (usize, Game) {
    let mut game = Game {
        lab: Lab::new(),
        tokens: Vec::new(),
        accesses: BTreeMap::new(),
    };
    let granted = moves
        .iter()
        .filter(|step| game.play(step).is_some())
        .count();
    (granted, game)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, failure_persistence: Some(Box::new(FileFailurePersistence::WithSource("proptest-regressions"))), ..ProptestConfig::default() })]

    #[test]
    fn no_sequence_of_exchanges_gives_more_than_the_root_allowed(
        moves in prop::collection::vec(any_move(), 1..50),
    ) {
        play(&moves);
    }
}

#[test]
fn the_sequences_reach_deep_trees_and_accesses() {
    use proptest::strategy::ValueTree;
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let (mut deepest, mut granted, mut accesses, mut hosted) = (0, 0, 0, 0);
    for _ in 0..40 {
        let moves = prop::collection::vec(any_move(), 60)
            .new_tree(&mut runner)
            .unwrap()
            .current();
        let (count, game) = play(&moves);
        let by_hosted = |t: &&Task| t.record.may_act.path() == "/agent/helper";
        hosted += game.lab.tasks.values().filter(by_hosted).count();
        granted += count;
        accesses += game.accesses.values().sum::<u64>();
        deepest = deepest.max(
            game.lab
                .tasks
                .values()
                .map(|t| t.path.depth())
                .max()
                .unwrap_or(0),
        );
    }
    assert!(
        deepest >= 3 && granted > 200 && accesses > 0 && hosted > 0,
        "{deepest} {granted} {accesses} {hosted}"
    );
}
