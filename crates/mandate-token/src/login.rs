//! What binds an ID token to one login at one authority.

use aws_lc_rs::digest::{Context, SHA256};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use mandate_model::Secret;

use crate::Issuer;

/// What only whoever logs in knows, until they show it to the authority with their ID token.
///
/// The login's `nonce` (OpenID Connect Core §3.1.2.1) is made of it and of the authority's issuer. So
/// an authority that was shown both can show them to no other one: there they would have to give the
/// nonce of *its* issuer, and no secret does that.
pub struct LoginSecret(Secret<[u8; LENGTH]>);

impl LoginSecret {
    /// Of random bytes.
    pub fn new(random: [u8; LENGTH]) -> Self {
        Self(Secret::new(random))
    }

    /// As it is shown: base64url without padding.
    pub fn parse(text: &str) -> Option<Self> {
        let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
        Some(Self::new(bytes.try_into().ok()?))
    }

    /// To be shown.
    pub fn expose_text(&self) -> String {
        URL_SAFE_NO_PAD.encode(self.0.expose())
    }

    /// The `nonce` of a login at `authority` with this secret.
    pub fn nonce(&self, authority: &Issuer) -> String {
        // The lengths of first and last are fixed, and no issuer has a line feed.
        let mut digest = Context::new(&SHA256);
        digest.update(b"mandate login\n");
        digest.update(authority.as_str().as_bytes());
        digest.update(b"\n");
        digest.update(self.0.expose());
        URL_SAFE_NO_PAD.encode(digest.finish())
    }
}

const LENGTH: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_nonce_is_of_one_secret_and_one_authority() {
        let issuer = |text: &str| Issuer::parse(text).unwrap();
        let (one, other) = (LoginSecret::new([7; 32]), LoginSecret::new([8; 32]));
        let here = issuer("https://id.acme.example");
        // SHA-256 of "mandate login\nhttps://id.acme.example\n" and 32 bytes 7, by another tool.
        let nonce = "CBEupgXpFMZOS3ap_qhjaSIzZcvBcRgdj0ood471TOY";
        assert_eq!(one.nonce(&here), nonce);
        assert_ne!(other.nonce(&here), nonce);
        assert_ne!(one.nonce(&issuer("https://id.acme.example/")), nonce);
        let shown = LoginSecret::parse(&one.expose_text()).unwrap();
        assert_eq!(shown.nonce(&here), nonce);
    }

    #[test]
    fn a_secret_has_32_bytes() {
        let text = LoginSecret::new([7; 32]).expose_text();
        assert!(LoginSecret::parse(&text).is_some());
        for bad in [
            "",
            text.get(1..).unwrap(),
            &format!("{text}A"),
            &format!("{text}="),
        ] {
            assert!(LoginSecret::parse(bad).is_none(), "{bad}");
        }
    }
}
