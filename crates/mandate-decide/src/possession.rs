//! Which proofs a process has seen (RFC 9449 §11.1), for as long as one could come again.
//!
//! It is enough for a process to remember its own: a proof is good only with a nonce that this very
//! process gave ([`Nonces`](mandate_token::dpop::Nonces)), so it is good at no other replica and after
//! no restart.

use std::collections::{HashSet, VecDeque};
use std::time::Duration;

use mandate_model::{BootTime, Thumbprint};
use mandate_token::dpop::NONCE_LIFE;

/// The proofs that were shown here. Bounded: when it is full, nothing is accepted.
#[derive(Debug)]
pub struct SeenProofs {
    known: HashSet<Id>,
    /// In the order in which they came, which is the order in which they may be forgotten.
    order: VecDeque<(BootTime, Id)>,
    most: usize,
}

/// Half of a proof's digest: as many bits as nobody finds a second proof for.
type Id = [u8; 16];

/// Why a proof is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SeenError {
    /// It was shown before.
    #[error("this proof was shown before: make one for each request")]
    Again,
    /// There is no room to remember it.
    #[error("too many proofs are being shown here; try again")]
    Full,
}

impl SeenProofs {
    /// Room for `most` proofs.
    pub fn new(most: usize) -> Self {
        Self {
            known: HashSet::new(),
            order: VecDeque::new(),
            most,
        }
    }

    /// Takes the proof `id` for the first and only time.
    pub fn take(&mut self, id: &Thumbprint, now: BootTime) -> Result<(), SeenError> {
        self.forget(now);
        let (id, _) = id.as_bytes().split_first_chunk().unwrap_or((&[0; 16], &[]));
        if self.known.contains(id) {
            return Err(SeenError::Again);
        }
        if self.known.len() >= self.most {
            return Err(SeenError::Full);
        }
        self.known.insert(*id);
        self.order.push_back((now, *id));
        Ok(())
    }

    /// A proof whose nonce is dead by now cannot come again.
    fn forget(&mut self, now: BootTime) {
        while let Some((seen, id)) = self.order.front() {
            if now.since(*seen) < LONGEST {
                return;
            }
            self.known.remove(id);
            self.order.pop_front();
        }
    }
}

/// A nonce lives half as long again as it must, and a moment more is no loss.
const LONGEST: Duration = NONCE_LIFE.saturating_mul(2);

#[cfg(test)]
mod tests {
    use super::*;

    fn proof(n: u8) -> Thumbprint {
        Thumbprint::new([n; 32])
    }

    fn at(secs: u64) -> BootTime {
        BootTime::from_nanos(secs * 1_000_000_000)
    }

    #[test]
    fn a_proof_is_taken_once_for_as_long_as_its_nonce_could_live() {
        let mut seen = SeenProofs::new(10);
        assert_eq!(seen.take(&proof(1), at(1)), Ok(()));
        assert_eq!(seen.take(&proof(1), at(2)), Err(SeenError::Again));
        assert_eq!(seen.take(&proof(2), at(3)), Ok(()));
        assert_eq!(seen.take(&proof(1), at(240)), Err(SeenError::Again));
        assert!(NONCE_LIFE.as_secs() * 3 / 2 < LONGEST.as_secs());
        assert_eq!(seen.take(&proof(1), at(241)), Ok(()), "its nonce is dead");
    }

    #[test]
    fn without_room_nothing_is_taken_and_room_comes_by_itself() {
        let mut seen = SeenProofs::new(2);
        seen.take(&proof(1), at(1)).unwrap();
        seen.take(&proof(2), at(100)).unwrap();
        assert_eq!(seen.take(&proof(3), at(101)), Err(SeenError::Full));
        assert_eq!(seen.take(&proof(1), at(101)), Err(SeenError::Again));
        assert_eq!(seen.take(&proof(3), at(241)), Ok(()));
        assert_eq!(seen.known.len(), 2);
    }
}
