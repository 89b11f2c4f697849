//! The built program as a whole: real processes, real sockets, real files, real kills.
//!
//! One test program for all of it, so that it is linked once.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    reason = "tests may panic, and say why they skip"
)]

mod accept;
mod breakglass;
mod calls;
mod command_line;
mod commands;
mod crash;
mod disks;
mod doctor;
mod elsewhere;
mod exchanges;
mod exec;
mod going_on;
mod kinds;
mod lab;
mod logs;
mod names;
mod openings;
mod operations;
mod proofs;
mod secrecy;
mod smuggling;
mod tls;
mod tracing;
mod via;
mod wrap;
