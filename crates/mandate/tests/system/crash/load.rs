//! What goes on until the server is killed: accesses, exchanges, suspensions.

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use serde_json::{Value, json};

use super::{Books, Known, Stops};
use crate::lab::Lab;
use crate::lab::agent::{Agent, access_form, attest_form, resource, token};
use crate::lab::http::{Answer, Broken, Door};
use crate::lab::wait;

/// What the clients of a round hold.
pub(super) struct Tokens {
    pub(super) worker: String,
    records: String,
    inner: String,
    /// Of the task that is suspended and resumed.
    pub(super) child: String,
    /// None can be had while the server workload is suspended.
    pub(super) dark: Option<String>,
}

impl Tokens {
    pub(super) fn get(lab: &Lab, books: &mut Books) -> Self {
        let worker = lab.worker();
        books.root = token(worker.renew(&books.root));
        if let (child, Known::Free) = &books.stops["task"] {
            // A suspension voids what was out before it, so the parent asks anew.
            books.child = token(worker.resume(&books.root, &child["id"]));
        }
        let dark = worker.access(&books.root, "dark");
        Self {
            records: token(worker.access(&books.root, "records")),
            inner: token(worker.access(&books.root, "inner")),
            dark: (dark.status == 200).then(|| dark.text("access_token")),
            child: books.child.clone(),
            worker: worker.svid,
        }
    }
}

/// The load of one round. It holds nothing of the server but where it listens.
pub(super) struct Load<'a> {
    tokens: &'a Tokens,
    root: String,
    gateway: Door,
    authority: Door,
    agents: Door,
    operators: Door,
    /// What was answered so far.
    pub(super) steps: AtomicU64,
    /// The server was killed.
    pub(super) over: AtomicBool,
    numbers: AtomicU64,
    admitted: Mutex<BTreeSet<u64>>,
}

impl<'a> Load<'a> {
    pub(super) fn new(lab: &Lab, tokens: &'a Tokens, books: &Books) -> Self {
        Self {
            tokens,
            root: books.root.clone(),
            gateway: lab.server.gateway(),
            authority: lab.server.authority(),
            agents: lab.agents(),
            operators: lab.operators(),
            steps: AtomicU64::new(0),
            over: AtomicBool::new(false),
            numbers: AtomicU64::new(books.numbers),
            admitted: Mutex::default(),
        }
    }

    /// The next free number, and the accesses that were answered.
    pub(super) fn into_results(self) -> (u64, BTreeSet<u64>) {
        (
            self.numbers.into_inner(),
            self.admitted.into_inner().unwrap(),
        )
    }

    /// Reads, of both kinds of server workload.
    pub(super) fn access(&self) {
        loop {
            let number = self.numbers.fetch_add(1, Ordering::Relaxed);
            let (server, token) = if is_inner(number) {
                ("inner", &self.tokens.inner)
            } else {
                ("records", &self.tokens.records)
            };
            let target = format!("/{server}/items/{number}");
            if !self.through_gateway("GET", &target, token, number) {
                return;
            }
        }
    }

    /// Attestations, access tokens, single-use writes, renewals.
    pub(super) fn exchange(&self) {
        let worker = Agent::new(self.authority.clone(), self.tokens.worker.clone());
        let records = resource("records");
        loop {
            let attested = self.agents.try_form("/token", &attest_form(None));
            let access = worker.try_exchange(&access_form(&self.root, &records));
            let (Some(_), Some(access)) = (self.step(attested), self.step(access)) else {
                return;
            };
            let number = self.even_number();
            let target = format!("/records/items/{number}");
            let token = access.text("access_token");
            if !self.through_gateway("POST", &target, &token, number) {
                return;
            }
        }
    }

    /// Suspends what is free, resumes what is suspended, and keeps what the server said.
    pub(super) fn break_glass(&self, stops: &mut Stops) {
        loop {
            for (subject, known) in stops.values_mut() {
                let (verb, then) = match known {
                    Known::Free => ("suspend", Known::Suspended),
                    Known::Suspended | Known::Asked => ("resume", Known::Free),
                };
                *known = Known::Asked;
                let Some(answer) = self.step(self.order(verb, subject)) else {
                    return;
                };
                if then == Known::Suspended {
                    let proof = answer.json();
                    assert_eq!(
                        [&proof["effective"], &proof["durable"]],
                        [true, true],
                        "{proof}"
                    );
                }
                *known = then;
            }
        }
    }

    fn order(&self, verb: &str, subject: &Value) -> Result<Answer, Broken> {
        let order = json!({"subject": subject, "reason": "INC-1"}).to_string();
        let kind = [("content-type", "application/json")];
        let target = format!("/operator/v1/{verb}");
        self.operators
            .send("POST", &target, &kind, order.as_bytes())
    }

    fn through_gateway(&self, method: &str, target: &str, token: &str, number: u64) -> bool {
        let bearer = format!("Bearer {token}");
        let field = [("authorization", bearer.as_str())];
        let answer = self.gateway.send(method, target, &field, b"");
        let status = match &answer {
            Ok(answer) => Some(answer.status),
            Err(broken) => broken.status,
        };
        if status == Some(200) {
            self.admitted.lock().unwrap().insert(number);
        }
        // A single-use token of the second in which the gateway started may be from before it.
        if answer
            .as_ref()
            .is_ok_and(|answer| answer.body.contains("token.spent"))
        {
            return true;
        }
        self.step(answer).is_some()
    }

    /// An answer, which must be a good one; `None` if the server was killed.
    fn step(&self, answer: Result<Answer, Broken>) -> Option<Answer> {
        match answer {
            Ok(answer) => {
                self.steps.fetch_add(1, Ordering::Relaxed);
                Some(answer.expect(200))
            }
            Err(broken) => {
                wait::until(&format!("the kill that explains {broken:?}"), || {
                    self.over.load(Ordering::Relaxed).then_some(())
                });
                None
            }
        }
    }

    fn even_number(&self) -> u64 {
        loop {
            let number = self.numbers.fetch_add(1, Ordering::Relaxed);
            if !is_inner(number) {
                return number;
            }
        }
    }
}

/// Whether the access with this number goes where the record may come after forwarding.
pub(super) fn is_inner(number: u64) -> bool {
    number % 2 == 1
}

/// The number of the access that has this target.
pub(super) fn number(target: &str) -> Option<u64> {
    target.strip_prefix("/items/")?.parse().ok()
}
