//! The authority: token endpoint, tasks, operators, control stream.
//!
//! It loads, calls the pure chains of `mandate-decide`, commits, and replies. Three rules hold in
//! every handler:
//!
//! - what is handed out was committed together with its records, and the reply asks for the
//!   receipt;
//! - what is issued names the versions that it was decided under, and is decided anew if one has
//!   moved;
//! - a refusal of an authenticated caller is recorded before it is sent.
//!
//! It knows no adapter: stores, keys, attestors, clocks and randomness are traits of
//! `mandate-ports`. It never parses a token or a policy itself.

#![cfg_attr(
    test,
    allow(
        clippy::unwrap_used,
        clippy::indexing_slicing,
        clippy::panic,
        clippy::wildcard_enum_match_arm,
        reason = "tests may panic"
    )
)]

mod authority;
mod body;
mod breakglass;
mod bundle;
mod checkpoint;
mod commit;
mod config;
mod control;
mod endpoint;
mod form;
mod gateways;
mod health;
mod keys;
mod listen;
mod looks;
mod metrics;
mod names;
mod openapi;
mod operator;
mod possession;
mod problem;
mod refusals;
mod rollout;
mod run;
mod seen;
mod steady;
mod tasks;
mod token;
mod undurable;
mod world;
mod writable;

pub use authority::{Authority, StartError};
pub use checkpoint::log_origin;
pub use config::{Config, Ports};
pub use listen::{Access, Door, Origin, PublicSocket, SessionHolder};
pub use metrics::Metrics;
pub use openapi::openapi;
pub use run::Doors;
