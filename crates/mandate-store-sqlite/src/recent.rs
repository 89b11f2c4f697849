//! Tasks that were read of late, so that an agent at work does not have its task read from the database for
//! each of its tokens.
//!
//! What is here is what a reading at some moment since the last commit that touched it would have given: the
//! writer takes out what a commit changes before it answers for that commit. A decision that rests on an older
//! reading than its commit is found out there, as ever (B4).

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use mandate_model::TaskId;
use mandate_model::task::Task;
use mandate_ports::{Change, Unit};

/// Shared by readers and the writer.
#[derive(Debug, Default)]
pub(crate) struct Recent(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    /// How often something was taken out. What was read before the last time may be what was taken out.
    taken: u64,
    tasks: HashMap<TaskId, Arc<Task>>,
}

/// A moment before a reading.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Moment(u64);

impl Recent {
    /// A task that is known, or the moment from which it is to be read.
    pub(crate) fn find(&self, id: TaskId) -> Result<Arc<Task>, Moment> {
        let known = self.known();
        known.tasks.get(&id).cloned().ok_or(Moment(known.taken))
    }

    /// Keeps what was read after `since`, unless something was taken out meanwhile.
    pub(crate) fn keep(&self, task: &Arc<Task>, since: Moment) {
        let mut known = self.known();
        if known.taken != since.0 {
            return;
        }
        if known.tasks.len() >= MOST {
            known.tasks.clear();
        }
        known.tasks.insert(task.record.id, Arc::clone(task));
    }

    /// Takes out what `units` change, which are committed.
    pub(crate) fn take_out<'u>(&self, units: impl Iterator<Item = &'u Unit>) {
        for change in units.flat_map(|unit| &unit.changes) {
            match touched(change) {
                Touched::Nothing => {}
                Touched::One(id) => {
                    let mut known = self.known();
                    known.taken += 1;
                    known.tasks.remove(&id);
                }
                Touched::All => self.forget(),
            }
        }
    }

    /// Takes out everything.
    pub(crate) fn forget(&self) {
        let mut known = self.known();
        known.taken += 1;
        known.tasks.clear();
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The rows of tasks that a change writes.
enum Touched {
    Nothing,
    One(TaskId),
    All,
}

fn touched(change: &Change) -> Touched {
    match change {
        // A new row. If the id was taken, nothing is committed.
        Change::OpenTask(_) => Touched::Nothing,
        // What its parent has left.
        Change::DelegateTask(task) => task.record.parent.map_or(Touched::All, Touched::One),
        // All below it, and what its parent has left.
        Change::EndTask { .. } => Touched::All,
        Change::ReserveAccesses { task, .. } | Change::PinInstance { task, .. } => {
            Touched::One(*task)
        }
        Change::BindKey { .. }
        | Change::UseOnce { .. }
        | Change::Suspend(_)
        | Change::Resume(_)
        | Change::VoidAll { .. }
        | Change::RevokeToken { .. }
        | Change::ApplyBundle { .. }
        | Change::AddKey(_)
        | Change::SetKeyState { .. }
        | Change::RenewGateway(_)
        | Change::Ingest(_) => Touched::Nothing,
    }
}

/// Some kilobytes each.
const MOST: usize = 4096;
