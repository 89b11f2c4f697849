//! The authority end to end: a real store, real sockets, a test client.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::wildcard_enum_match_arm,
    reason = "tests may panic"
)]

mod attestations;
mod breakglass;
mod client;
mod control;
mod described;
mod doors;
mod endings;
mod exchanges;
mod fakes;
mod faults;
mod lab;
mod load;
mod openings;
mod operators;
mod operators_on_record;
mod people;
mod possession;
mod refusals;
mod resumptions;
mod sessions;
