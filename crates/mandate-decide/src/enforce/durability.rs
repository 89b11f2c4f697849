//! When the record of an admission is durable enough for what it lets happen (C1, C2).

use mandate_model::Effect;
use mandate_policy::decl::{Durability, ServerWorkload};

/// What an admission waits for with its record, and what for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RecordedBefore {
    /// Durable in the gateway's spool before anything of the response is released.
    Release,
    /// Durable in the gateway's spool before anything is forwarded.
    Forwarding,
    /// In the authority's log before anything is forwarded.
    ForwardingInTheLog,
}

/// What an access with `effect` to `server` waits for. That the authority has the record is asked of
/// everything that the server workload does, reads included: arrival then matters to somebody.
pub fn recorded_before(server: &ServerWorkload, effect: Effect) -> RecordedBefore {
    match (server.durability, server.internal, effect) {
        (Durability::Shipped, _, _) => RecordedBefore::ForwardingInTheLog,
        (Durability::Local, true, Effect::Read) => RecordedBefore::Release,
        (Durability::Local, true, Effect::Write) | (Durability::Local, false, _) => {
            RecordedBefore::Forwarding
        }
    }
}
