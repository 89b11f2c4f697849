//! Mandate: the identity layer for AI agents.

fn main() {}
