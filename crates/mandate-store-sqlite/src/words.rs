//! What records are found by.

use std::sync::Arc;

use mandate_audit::{Event, What};
use mandate_model::stop::Subject;
use mandate_model::{TaskId, TokenId};
use mandate_ports::StoreError;

use crate::column::{moment, word_of};

/// What a word says of a record. The numbers are on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Sort {
    /// A task on its path, or the one that it is about.
    Task = 1,
    /// The agent type that acts, at the latest level.
    Agent = 2,
    /// The server workload.
    Server = 3,
    /// The token.
    Token = 4,
    /// What happened.
    Kind = 5,
    /// Whether it was let happen.
    Decision = 6,
}

/// One thing that a record is found by.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Word {
    pub(crate) sort: Sort,
    pub(crate) value: Vec<u8>,
}

impl Word {
    pub(crate) fn new(sort: Sort, value: &[u8]) -> Self {
        Self {
            sort,
            value: value.to_vec(),
        }
    }
}

/// All that a record is found by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) at: i64,
    pub(crate) words: Arc<[Word]>,
}

impl Found {
    /// What is to be found of `event`.
    pub(crate) fn of(event: &Event) -> Result<Self, StoreError> {
        let mut words = vec![
            Word::new(Sort::Kind, event.what.kind().as_bytes()),
            Word::new(Sort::Decision, word_of(&event.decision)?.as_bytes()),
        ];
        let agent = event.actors.first().map(|actor| actor.sub.as_str());
        words.extend(agent.map(|sub| Word::new(Sort::Agent, sub.as_bytes())));
        let server = event.server.as_ref().map(|server| server.as_str());
        words.extend(server.map(|name| Word::new(Sort::Server, name.as_bytes())));
        words.extend(token(event).map(|token| Word::new(Sort::Token, token.as_bytes())));
        let tasks = tasks(event).into_iter();
        words.extend(tasks.map(|task| Word::new(Sort::Task, task.as_bytes())));
        Ok(Self {
            at: moment(event.at),
            words: words.into(),
        })
    }
}

/// The tasks that find `event`: those on its path, and the one that it is about.
fn tasks(event: &Event) -> Vec<TaskId> {
    let mut tasks: Vec<TaskId> = event.task.iter().flat_map(|path| path.iter()).collect();
    tasks.extend(named_task(&event.what).filter(|task| !tasks.contains(task)));
    tasks
}

/// The task that an event is about without being done in it.
fn named_task(what: &What) -> Option<TaskId> {
    if let What::TaskEnded { task, .. }
    | What::Suspended {
        subject: Subject::Task { id: task },
        ..
    }
    | What::Resumed {
        subject: Subject::Task { id: task },
        ..
    } = what
    {
        Some(*task)
    } else {
        None
    }
}

fn token(event: &Event) -> Option<TokenId> {
    if let What::Revoked { token } = event.what {
        Some(token)
    } else {
        event.token
    }
}
