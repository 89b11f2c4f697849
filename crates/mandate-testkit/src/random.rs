//! Chance that a seed repeats.

/// SplitMix64: small, fast, and the same numbers for the same seed on every machine.
#[derive(Debug, Clone)]
pub struct Random(u64);

impl Random {
    /// The numbers of `seed`.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number.
    pub fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// One of the numbers below `limit`, which is not zero.
    pub fn below(&mut self, limit: u64) -> u64 {
        self.number() % limit
    }

    /// True `times` times out of `of`.
    pub fn chance(&mut self, times: u64, of: u64) -> bool {
        self.below(of) < times
    }

    /// One of `all`, which is not empty.
    pub fn one_of<'a, T>(&mut self, all: &'a [T]) -> &'a T {
        &all[usize::try_from(self.below(all.len() as u64)).unwrap()]
    }

    /// Another sequence, which `name` tells apart from other ones of this moment.
    pub fn apart(&self, name: &[u8]) -> Self {
        let mix = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        Self(name.iter().fold(self.0 ^ 0xcbf2_9ce4_8422_2325, mix))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_the_same_numbers_and_names_tell_sequences_apart() {
        let numbers = |random: &mut Random| [(); 4].map(|()| random.number());
        let (mut one, mut two) = (Random::new(7), Random::new(7));
        let (mut a, mut b) = (one.apart(b"a"), one.apart(b"b"));
        assert_ne!(numbers(&mut a), numbers(&mut b));
        assert_eq!(numbers(&mut one), numbers(&mut two));
        assert!((0..100).all(|_| one.below(3) < 3));
    }
}
