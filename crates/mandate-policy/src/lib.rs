//! Bundle to checked declarations to Cedar, and the decision. The only crate that sees Cedar.
//!
//! [`load`] takes the text of a bundle's files and gives a [`Bundle`] or every mistake at once.
//! A [`Bundle`] is immutable: it answers who may do what ([`Bundle::permits`]), open which task
//! ([`Bundle::open_task`]), delegate what to whom ([`Bundle::may_spawn`]), host whom
//! ([`Bundle::may_host`]) and operate what ([`Bundle::operator_may`]).
//!
//! It reads no file and no clock, and decides nothing about task mandates or suspensions: what an
//! agent may do in a task is the intersection of these three, and this is one of them.

#![cfg_attr(
    test,
    allow(
        clippy::unwrap_used,
        clippy::indexing_slicing,
        clippy::string_slice,
        clippy::panic,
        clippy::too_many_lines,
        reason = "tests may panic"
    )
)]

mod bundle;
mod check;
mod compile;
mod decide;
pub mod decl;
mod entries;
#[cfg(test)]
mod fixtures;
mod fold;
pub mod headers;
mod mistake;
mod open;
mod operator;
mod plan;
#[cfg(test)]
mod rights_tests;
mod shape;
mod source;
mod spawn;
mod table;

pub use bundle::Bundle;
pub use check::{LoadEnv, Loaded, UnfitConstraint, load, read_manifest};
pub use compile::context_schema;
pub use decide::{Explanation, PolicyDenial, PolicyRequest, PolicyVerdict, Why};
pub use entries::UndeclaredEntry;
pub use fold::fold;
pub use mistake::{Mistake, Severity, did_you_mean};
pub use open::{Ceiling, OpenDenial, OpenRequest, StandingTask, TriggerEvidence};
pub use operator::{BOOTSTRAP, OperatorDenial, OperatorIdentity, Target};
pub use plan::{Change, ConditionChange, Plan, plan};
pub use shape::json_schema;
pub use source::{SourceFile, digest};
pub use spawn::{HostDenial, SpawnDenial};
pub use table::{AccessRow, Way};
