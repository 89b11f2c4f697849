//! Enforcement as a chain of steps: classify, authenticate, decide.
//!
//! The gateway and `mandate explain` call the same functions; only the gateway has sockets.

mod a2a;
mod body;
mod brought;
mod classify;
mod decide;
mod durability;
mod llm;
mod mcp;
mod method;
mod parameter;
mod right;
mod sent;
mod target;

pub use a2a::A2aFault;
pub use body::{Scalar, UnreadableBody, scalars_at, strict_json};
pub use brought::{BroughtFacts, brought_record};
pub use classify::{Classified, Pending, RequestHead, Unclassifiable, classify, shape_of};
pub use decide::{
    Admission, Denial, Facts, Spend, Verdict, admission_record, check_token_stops, decide,
    decide_with, deciding_entry, recheck,
};
pub use durability::{RecordedBefore, recorded_before};
pub use llm::UsageReader;
pub use mcp::{
    Addressee, Era, GivenTask, Kept, Listed, McpFault, Round, Seen, ToolPage, UnreadableAnswer,
    accepted_tool, as_call, as_field, check_tool, given, may_be_shown, seen, shown, tells_of,
    tool_page, with_kept, with_restored,
};
pub use method::MethodOverrides;
pub use right::{LeaseState, Right, right_to_admit};
pub use sent::{headers_as_sent, named_by_connection, target_as_sent};
pub use target::{Ambiguous, Target};
