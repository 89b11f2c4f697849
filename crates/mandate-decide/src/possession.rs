//! Which proofs a process has seen (RFC 9449 §11.1), for as long as one could come again.
//!
//! It is enough for a process to remember its own: a proof is good only with a nonce that this very
//! process gave ([`Nonces`](mandate_token::dpop::Nonces)), so it is good at no other replica and after
//! no restart.
//!
//! A proof that is not remembered is not taken, so whoever fills the memory stops all others. Only
//! callers who have proved what they are get anything remembered, and none of them can fill it: an agent
//! type holds at most as much as is still free, an instance half of that. So the greediest type has half
//! of the memory, the next one half of the rest, and who comes new finds room, unless some fifteen types
//! flood it at the same time. Forgetting the oldest instead would have proofs come again; a fixed share
//! would be filled by as few, and be too small for an agent that works alone.

mod shares;
#[cfg(test)]
mod tests;

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use mandate_model::{ActorLevel, BootTime, Thumbprint};
use mandate_token::dpop::NONCE_LIFE;

use shares::Shares;

/// The proofs that were shown here. Bounded: what finds no room is not accepted.
#[derive(Debug)]
pub struct SeenProofs {
    known: HashSet<Id>,
    /// In the order in which they came, which is the order in which they may be forgotten.
    order: VecDeque<Seen>,
    working: Shares,
    /// Room that no flood of proofs from agents at work takes: for those that attest.
    reserved: Shares,
}

/// How many proofs a process remembers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Room {
    /// Of agents at work.
    pub working: usize,
    /// Of agents that attest.
    pub reserved: usize,
}

#[derive(Debug)]
struct Seen {
    at: BootTime,
    id: Id,
    by: Arc<Shower>,
}

/// Half of a proof's digest: as many bits as nobody finds a second proof for.
type Id = [u8; 16];

/// Who shows a proof, and has proved what it is.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Shower {
    role: Role,
    /// The agent type.
    kind: String,
    /// Trust provider and instance.
    one: (String, String),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Role {
    Working,
    Attesting,
}

impl Shower {
    /// An agent that shows a token.
    pub fn agent(agent: &ActorLevel) -> Self {
        Self {
            role: Role::Working,
            kind: agent.sub.to_string(),
            one: (agent.prv.to_string(), agent.inst.to_string()),
        }
    }

    /// An agent whose evidence held, and that has no token yet.
    pub fn attesting(agent: &ActorLevel) -> Self {
        Self {
            role: Role::Attesting,
            ..Self::agent(agent)
        }
    }
}

/// Why a proof is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SeenError {
    /// It was shown before.
    #[error("this proof was shown before: make one for each request")]
    Again,
    /// This caller has its share.
    #[error(
        "this agent, or its agent type, shows more proofs than its share of the memory for them; try again later"
    )]
    Share,
    /// There is no room to remember it.
    #[error("too many proofs are being shown here; try again")]
    Full,
}

impl SeenProofs {
    /// Nothing was shown yet.
    pub fn new(room: Room) -> Self {
        Self {
            known: HashSet::new(),
            order: VecDeque::new(),
            working: Shares::of(room.working),
            reserved: Shares::of(room.reserved),
        }
    }

    /// Takes the proof `id` of `shower` for the first and only time. One that is not taken for want of
    /// room may be shown again.
    pub fn take(
        &mut self,
        id: &Thumbprint,
        shower: Shower,
        now: BootTime,
    ) -> Result<(), SeenError> {
        self.forget(now);
        let (id, _) = id.as_bytes().split_first_chunk().unwrap_or((&[0; 16], &[]));
        if self.known.contains(id) {
            return Err(SeenError::Again);
        }
        let by = self.shares(shower.role).enter(shower)?;
        self.known.insert(*id);
        self.order.push_back(Seen {
            at: now,
            id: *id,
            by,
        });
        Ok(())
    }

    fn shares(&mut self, role: Role) -> &mut Shares {
        match role {
            Role::Working => &mut self.working,
            Role::Attesting => &mut self.reserved,
        }
    }

    /// A proof whose nonce is dead by now cannot come again.
    fn forget(&mut self, now: BootTime) {
        while let Some(seen) = self.order.front() {
            if now.since(seen.at) < LONGEST {
                return;
            }
            let Some(seen) = self.order.pop_front() else {
                return;
            };
            self.known.remove(&seen.id);
            self.shares(seen.by.role).leave(&seen.by);
        }
    }
}

/// A nonce lives half as long again as it must, and a moment more is no loss.
const LONGEST: Duration = NONCE_LIFE.saturating_mul(2);
