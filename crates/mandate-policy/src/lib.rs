//! Bundle to checked declarations to Cedar, and the decision. The only crate that sees Cedar.

/// A compiled bundle.
#[derive(Debug)]
pub struct Bundle {
    _private: (),
}
