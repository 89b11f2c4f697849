//! What every [`Clock`] and every [`Entropy`] must do.

use mandate_ports::{Clock, Entropy};

/// The boot clock never goes back, and both clocks are set.
pub fn clock(clock: &impl Clock) {
    let mut last = clock.boot();
    for _ in 0..1000 {
        let now = clock.boot();
        assert!(now >= last, "the boot clock went back");
        last = now;
    }
    assert!(clock.now().as_millis() > 0);
}

/// Every byte is filled, and nothing comes twice.
pub fn entropy(entropy: &impl Entropy) {
    let mut seen = std::collections::BTreeSet::new();
    let mut union = [0u8; 32];
    for _ in 0..64 {
        let mut bytes = [0u8; 32];
        entropy.fill(&mut bytes);
        union.iter_mut().zip(bytes).for_each(|(u, b)| *u |= b);
        assert!(seen.insert(bytes), "the same bytes came twice");
    }
    assert!(union.iter().all(|b| *b != 0), "a byte is never filled");
    entropy.fill(&mut []);
}
