//! Randomness that a test can repeat.

use std::sync::atomic::{AtomicU64, Ordering};

use mandate_ports::Entropy;
use sha2::{Digest, Sha256};

/// SHA-256 of a seed and a counter: as good as random to look at, the same in every run.
#[derive(Debug)]
pub struct SeededEntropy {
    seed: u64,
    blocks: AtomicU64,
}

impl SeededEntropy {
    /// The stream of `seed`.
    pub fn new(seed: u64) -> Self {
        let blocks = AtomicU64::new(0);
        Self { seed, blocks }
    }

    /// The next `N` bytes.
    pub fn bytes<const N: usize>(&self) -> [u8; N] {
        let mut bytes = [0; N];
        self.fill(&mut bytes);
        bytes
    }
}

impl Entropy for SeededEntropy {
    fn fill(&self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(32) {
            let block = self.blocks.fetch_add(1, Ordering::Relaxed);
            let mut hash = Sha256::new();
            hash.update(self.seed.to_be_bytes());
            hash.update(block.to_be_bytes());
            chunk.copy_from_slice(&hash.finalize()[..chunk.len()]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_what_the_port_promises() {
        crate::machine_suite::entropy(&SeededEntropy::new(1));
    }

    #[test]
    fn a_seed_gives_the_same_stream_and_no_bytes_twice() {
        let (one, two) = (SeededEntropy::new(1), SeededEntropy::new(1));
        let first: [u8; 40] = one.bytes();
        assert_eq!(first, two.bytes::<40>());
        assert_ne!(first, one.bytes());
        assert_ne!(first, SeededEntropy::new(2).bytes());
    }
}
