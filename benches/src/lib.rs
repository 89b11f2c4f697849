//! What the benches share: figures, a real server, an agent, an upstream and a bare proxy.
//!
//! Nothing here is asserted: machines differ. Compare figures of one run, in ratios and medians.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::disallowed_methods,
    clippy::panic,
    missing_docs,
    reason = "a bench stops where it cannot go on, and reads the clock"
)]

pub mod agent;
pub mod figures;
pub mod load;
pub mod peer;
pub mod process;
pub mod proxy;
pub mod server;
pub mod upstream;
