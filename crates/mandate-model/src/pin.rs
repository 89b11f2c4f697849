//! What a trust provider for people is pinned by.

/// Whose word an OpenID provider's is: who may sign it, and for whom it is meant.
///
/// A provider's name says nothing of that, and a bundle can give the name to somebody else. Whoever
/// compares two bundles, or a bundle with a session that began under another one, compares this.
#[derive(
    Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
)]
#[serde(deny_unknown_fields)]
pub struct ProviderPin {
    /// `iss` of its tokens.
    #[serde(rename = "iss")]
    pub issuer: String,
    /// `aud` of its tokens.
    #[serde(rename = "aud")]
    pub audience: String,
    /// Where its keys are, if not where the issuer's discovery document says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jwks_uri: Option<String>,
    /// `typ` of its tokens, where it is another one than `JWT` or none.
    #[serde(rename = "typ", default, skip_serializing_if = "Option::is_none")]
    pub token_type: Option<String>,
}
