//! What must hold of any input whatever.
//!
//! Each function takes bytes that anybody may send and asserts; it never asserts that an input is
//! accepted, and says whether it was. The fuzz targets in `fuzz/` call them with what a fuzzer makes up, and the tests here
//! with `fuzz/seeds/`, where every finding stays as a named case.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "the world that the properties are checked in is fixed, and made here"
)]

mod body;
mod bundle;
mod calls;
mod classify;
mod context;
mod kept;
mod lists;
mod mcp;
mod method;
mod tokens;
mod usage;
mod world;

pub use body::body;
pub use bundle::bundle;
pub use calls::calls;
pub use classify::classify;
pub use context::context;
pub use kept::kept;
pub use lists::lists;
pub use mcp::mcp;
pub use method::method;
pub use tokens::tokens;
pub use usage::usage;

/// A property, by the name of its fuzz target and of its folder of seeds.
pub type Property = (&'static str, fn(&[u8]) -> bool);

/// Every property.
pub const ALL: [Property; 11] = [
    ("tokens", tokens),
    ("bundle", bundle),
    ("classify", classify),
    ("body", body),
    ("context", context),
    ("method", method),
    ("mcp", mcp),
    ("lists", lists),
    ("kept", kept),
    ("usage", usage),
    ("calls", calls),
];
