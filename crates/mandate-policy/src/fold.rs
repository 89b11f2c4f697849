//! Names without their letter case.

/// Letter case taken away as generously as any upstream does: `ſ` and `K` (the Kelvin sign) too.
/// Names that are alike after that, and not byte for byte, are one name to some servers and two to
/// others (FAILURES 33).
pub fn fold(text: &str) -> String {
    text.to_uppercase().to_lowercase()
}
