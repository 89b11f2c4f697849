//! The key that a token is bound to (`cnf`, RFC 7800 §3.1).

use mandate_model::Thumbprint;

/// Which key a holder must prove to have. Exactly one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub enum Confirmation {
    /// A DPoP key by its JWK thumbprint (RFC 9449 §6.1).
    #[serde(rename = "jkt")]
    Jkt(Thumbprint),
    /// A client certificate (RFC 8705 §3.1).
    #[serde(rename = "x5t#S256")]
    X5tS256(Thumbprint),
}

impl Confirmation {
    /// The DPoP key, where that is what it is.
    pub fn jkt(&self) -> Option<Thumbprint> {
        match self {
            Confirmation::Jkt(key) => Some(*key),
            Confirmation::X5tS256(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_confirmation_names_exactly_one_key() {
        let jkt = Thumbprint::new([7; 32]);
        let one = format!(r#"{{"jkt":"{jkt}"}}"#);
        let read = |text: &str| serde_json::from_str::<Confirmation>(text);
        assert_eq!(read(&one).unwrap(), Confirmation::Jkt(jkt));
        for bad in [
            "{}".to_owned(),
            format!(r#"{{"jkt":"{jkt}","x5t#S256":"{jkt}"}}"#),
            format!(r#"{{"kid":"{jkt}"}}"#),
            r#"{"jkt":"AAAA"}"#.to_owned(),
        ] {
            assert!(read(&bad).is_err(), "{bad}");
        }
    }
}
