//! What the benches share: figures, a real server, an agent, upstreams and proxies.
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
pub mod contextforge;
pub mod figures;
pub mod issuer;
pub mod load;
pub mod mcp;
pub mod peer;
pub mod process;
pub mod proxy;
pub mod server;
pub mod upstream;
pub mod way;
