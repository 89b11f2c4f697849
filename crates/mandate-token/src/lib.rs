//! The only crate that parses, assembles and verifies token bytes.

/// A verified ID token of a person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdToken {
    _private: (),
}
