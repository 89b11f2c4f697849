//! Mandate: the identity plane for AI agents. One binary: authority, gateway, log and command line.
//!
//! This crate puts adapters and surfaces together ([`serve`]) and speaks to them for people
//! ([`commands`]). It decides nothing: decisions are made in `mandate-decide`, behind the sockets.

#![cfg_attr(
    test,
    allow(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::indexing_slicing,
        clippy::panic,
        reason = "tests may panic"
    )
)]

mod cli;
mod client;
mod commands;
mod context;
mod demo;
mod failure;
mod mcp;
mod output;
mod progress;
mod proof_key;
mod serve;

use std::process::ExitCode;

/// Records are made by one thread and freed by another; this allocator is made for that.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    cli::run()
}
