//! The only crate that parses, assembles and verifies token bytes.
