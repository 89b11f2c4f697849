//! What is known beside the system: what was asked, what was answered, and what must follow from it.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use crate::begin::Shown;
use crate::client::{claims, key_of};

/// Subjects of suspensions, as canonical JSON: what one could name to stop something.
pub(crate) type Subjects = BTreeSet<String>;

/// Everything that is known.
#[derive(Default)]
pub(crate) struct Books {
    pub(crate) svids: Vec<Svid>,
    /// What instances and people have shown, used or not.
    pub(crate) evidence: Vec<Shown>,
    pub(crate) id_tokens: Vec<Shown>,
    /// Requests that reached the server workload that waits for the log.
    pub(crate) shipped: BTreeSet<u64>,
    pub(crate) tasks: Vec<Task>,
    pub(crate) accesses: Vec<Access>,
    pub(crate) requests: BTreeMap<u64, Request>,
    pub(crate) stops: BTreeMap<String, Known>,
    /// Suspensions that act in memory alone.
    pub(crate) undurable: BTreeSet<String>,
    pub(crate) bundle: Bundle,
    /// The log as it was last read.
    pub(crate) log: Vec<Vec<u8>>,
    pub(crate) seen: Seen,
    /// What it must tell of, since it was said that it happened.
    pub(crate) expected: Vec<Expected>,
    /// A checkpoint that was kept elsewhere.
    pub(crate) witnessed: Option<String>,
    /// The disk was told to fail.
    pub(crate) disk_fails: bool,
    /// So many instances were attested.
    pub(crate) instances: u64,
}

/// What must be seen, and how it is recognised.
pub(crate) type Expected = (String, Box<dyn Fn(&Seen) -> bool>);

/// Whether something is so.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Known {
    /// The system said so.
    Yes,
    #[default]
    No,
    /// It was asked for, and nobody knows what came of it.
    Asked,
}

/// A JWT-SVID in hand.
pub(crate) struct Svid {
    pub(crate) agent: &'static str,
    pub(crate) token: Token,
}

/// A token in hand.
#[derive(Clone)]
pub(crate) struct Token {
    pub(crate) text: String,
    pub(crate) id: String,
    pub(crate) subjects: Subjects,
    /// In seconds.
    pub(crate) expires_at: u64,
    /// It was issued before something that it depends on was suspended, and that was resumed since.
    pub(crate) void: bool,
    pub(crate) revoked: Known,
}

/// A task that somebody was told of.
pub(crate) struct Task {
    pub(crate) id: String,
    pub(crate) path: Vec<String>,
    pub(crate) parent: Option<usize>,
    /// The agent type that it is for.
    pub(crate) agent: &'static str,
    /// Who asked for it, by place among the SVIDs; `None` for an operator.
    pub(crate) delegator: Option<usize>,
    pub(crate) entries: Value,
    pub(crate) expires_at: u64,
    pub(crate) budget: Option<u64>,
    pub(crate) token: Token,
    pub(crate) ended: Known,
}

/// An access token in hand.
pub(crate) struct Access {
    pub(crate) task: usize,
    pub(crate) server: &'static str,
    pub(crate) entries: Value,
    pub(crate) token: Token,
    /// Good for one access.
    pub(crate) counted: bool,
}

/// A request to the gateway.
pub(crate) struct Request {
    pub(crate) access: usize,
    pub(crate) server: &'static str,
    pub(crate) write: bool,
    pub(crate) end: Ended,
}

/// How it ended, for whoever asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ended {
    /// The upstream's answer came.
    Released,
    /// It was refused.
    Refused,
    Unknown,
}

/// What is known of the bundle: revisions by version.
#[derive(Default)]
pub(crate) struct Bundle {
    pub(crate) version: u64,
    pub(crate) revision: u64,
    /// Those that were asked for since, without an answer.
    pub(crate) asked: BTreeSet<u64>,
    pub(crate) next_revision: u64,
    /// Every gateway decides by it.
    pub(crate) effective: bool,
}

impl Bundle {
    /// The one that histories begin with.
    pub(crate) fn first() -> Self {
        Self {
            version: 1,
            revision: 1,
            next_revision: 1,
            ..Self::default()
        }
    }
}

/// What the log told so far.
#[derive(Default)]
pub(crate) struct Seen {
    /// Tokens in hand.
    pub(crate) issued: BTreeSet<String>,
    /// Tokens whose issuance is recorded.
    pub(crate) recorded: BTreeSet<String>,
    pub(crate) tasks: BTreeSet<String>,
    /// Instances whose evidence was accepted, and people for whom a task was begun.
    pub(crate) attested: BTreeSet<String>,
    pub(crate) served: BTreeSet<String>,
    pub(crate) ended: BTreeSet<String>,
    pub(crate) revoked: BTreeSet<String>,
    /// Numbers of requests that were let through.
    pub(crate) allowed: BTreeSet<u64>,
    /// Issuances that are nobody's: so many had no answer.
    pub(crate) unclaimed: BTreeSet<String>,
    pub(crate) unanswered: usize,
}

impl Books {
    /// The suspension among `subjects` that the system said is effective.
    pub(crate) fn stop_of<'a>(
        &self,
        subjects: impl IntoIterator<Item = &'a String>,
    ) -> Option<&'a String> {
        let mut subjects = subjects.into_iter();
        subjects.find(|subject| self.stops.get(*subject) == Some(&Known::Yes))
    }

    /// Every token in hand.
    pub(crate) fn tokens(&mut self) -> impl Iterator<Item = &mut Token> {
        let svids = self.svids.iter_mut().map(|svid| &mut svid.token);
        let tasks = self.tasks.iter_mut().map(|task| &mut task.token);
        let accesses = self.accesses.iter_mut().map(|access| &mut access.token);
        svids.chain(tasks).chain(accesses)
    }

    /// What was issued under a subject stays void after it is resumed.
    pub(crate) fn void(&mut self, subject: &str) {
        for token in self.tokens() {
            token.void |= token.subjects.contains(subject);
        }
    }

    /// Whether a task of the path is known to have ended.
    pub(crate) fn has_ended(&self, path: &[String]) -> bool {
        let ended = |task: &&Task| task.ended == Known::Yes;
        self.tasks
            .iter()
            .filter(ended)
            .any(|task| path.contains(&task.id))
    }

    /// The process is gone: what was only in its memory is not known any more.
    pub(crate) fn forget_what_was_not_durable(&mut self) {
        for subject in std::mem::take(&mut self.undurable) {
            self.stops.insert(subject, Known::Asked);
        }
    }
}

impl Token {
    pub(crate) fn read(text: &str) -> Self {
        let claims = claims(text);
        Self {
            text: text.to_owned(),
            id: string(&claims["jti"]),
            subjects: subjects(text, &claims),
            expires_at: claims["exp"].as_u64().unwrap_or(0),
            void: false,
            revoked: Known::No,
        }
    }
}

/// Everything that a suspension could name to void this token.
fn subjects(text: &str, claims: &Value) -> Subjects {
    let mut found = Subjects::from([subject(&json!({"kind": "everything"}))]);
    found.insert(subject(&json!({"kind": "key", "id": key_of(text)})));
    let mut level = &claims["act"];
    while level.is_object() {
        level_of(level, &mut found);
        level = &level["act"];
    }
    if claims["inst"].is_string() {
        level_of(claims, &mut found);
    } else {
        found.insert(subject(&json!({"kind": "principal", "id": claims["sub"]})));
    }
    for task in claims["task"]["path"].as_array().into_iter().flatten() {
        found.insert(subject(&json!({"kind": "task", "id": task})));
    }
    if let Some(server) = server_of(&claims["aud"]) {
        found.insert(subject(&json!({"kind": "server", "name": server})));
    }
    found
}

fn level_of(level: &Value, found: &mut Subjects) {
    found.insert(subject(&json!({"kind": "agent", "id": level["sub"]})));
    let instance = json!({"kind": "instance", "provider": level["prv"], "id": level["inst"]});
    found.insert(subject(&instance));
    found.insert(subject(&json!({"kind": "provider", "name": level["prv"]})));
}

fn server_of(audience: &Value) -> Option<String> {
    let host = audience.as_str()?.strip_prefix("https://")?;
    Some(host.strip_suffix(".acme.example")?.to_owned())
}

/// A subject as it is compared: JSON with its members in order.
pub(crate) fn subject(of: &Value) -> String {
    let members: BTreeMap<&String, &Value> = of.as_object().into_iter().flatten().collect();
    serde_json::to_string(&members).unwrap()
}

pub(crate) fn string(of: &Value) -> String {
    of.as_str().unwrap_or_default().to_owned()
}

/// Whether each entry of `child` lies within one of `parent`: an account of `narrow` of its own.
pub(crate) fn is_within(child: &Value, parent: &Value) -> bool {
    let (child, parent) = (array(child), array(parent));
    child.iter().all(|entry| {
        array(&entry["actions"]).iter().all(|action| {
            parent.iter().any(|wider| {
                wider["server"] == entry["server"]
                    && array(&wider["actions"]).contains(action)
                    && is_tighter(&entry["constraints"], &wider["constraints"])
            })
        })
    })
}

fn is_tighter(child: &Value, parent: &Value) -> bool {
    let keys = parent.as_object().into_iter().flatten();
    keys.into_iter().all(|(key, wider)| {
        let own = array(&child[key]["in"]);
        !own.is_empty() && own.iter().all(|value| array(&wider["in"]).contains(value))
    })
}

/// Whether the entries let `action` at something of `team`.
pub(crate) fn covers(entries: &Value, action: &str, team: &str) -> bool {
    array(entries).iter().any(|entry| {
        let teams = &entry["constraints"]["team"];
        array(&entry["actions"]).contains(&json!(action))
            && (teams.is_null() || array(&teams["in"]).contains(&json!(team)))
    })
}

fn array(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}
