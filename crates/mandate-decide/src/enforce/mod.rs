//! Enforcement as a chain of steps: classify, authenticate, decide.
//!
//! The gateway and `mandate explain` call the same functions; only the gateway has sockets.

mod body;
mod classify;
mod decide;
mod target;

pub use body::{Scalar, UnreadableBody, scalars_at, strict_json};
pub use classify::{Classified, Pending, RequestHead, Unclassifiable, classify, shape_of};
pub use decide::{Admission, Denial, Facts, Spend, Verdict, admission_record, decide, recheck};
pub use target::{Ambiguous, Target};
