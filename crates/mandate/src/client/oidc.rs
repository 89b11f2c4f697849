//! An OpenID Connect client for one login: authorization code with PKCE and a loopback redirect, or the
//! device grant where there is no browser.
//!
//! A public client: it has no secret, and what it gets it verifies. What the authority verifies again
//! is signature, issuer, audience and age; that this is the answer to *this* login (`state`, `nonce`,
//! `iss`) nobody else can.

mod code;
mod device;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use mandate_model::Secret;
use mandate_ports::{Clock, Entropy};
use mandate_token::{IdToken, IdTokenKeys, Issuer, LoginSecret};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::http::{Answer, CALL};
use super::tls::{Trust, door_of};
use crate::failure::Failure;
use crate::serve::machine::{SystemClock, SystemEntropy};

/// A provider at which this command is a client.
#[derive(Debug)]
pub(crate) struct Provider {
    issuer: String,
    client_id: String,
    metadata: Metadata,
    trust: Trust,
}

/// OpenID Connect Discovery §3, RFC 8414 §2, RFC 8628 §4, RFC 9207 §3.
#[derive(Debug, Deserialize)]
struct Metadata {
    issuer: String,
    jwks_uri: String,
    token_endpoint: String,
    #[serde(default)]
    authorization_endpoint: Option<String>,
    #[serde(default)]
    device_authorization_endpoint: Option<String>,
    #[serde(default)]
    authorization_response_iss_parameter_supported: bool,
}

/// What binds one login to the authority that it is for: whoever else is shown what comes of it can do
/// nothing with it there.
pub(crate) struct Binding {
    secret: LoginSecret,
    nonce: String,
}

impl Binding {
    /// Of a login at `authority`, anew.
    pub(crate) fn to(authority: &Issuer) -> Self {
        let mut random = [0; 32];
        SystemEntropy.fill(&mut random);
        let secret = LoginSecret::new(random);
        let nonce = secret.nonce(authority);
        Self { secret, nonce }
    }
}

/// What came of a login.
pub(crate) struct Proved {
    /// The ID token.
    pub(crate) id_token: Secret<String>,
    /// What its nonce was made of; absent where the provider gave it none.
    pub(crate) login_secret: Option<Secret<String>>,
}

impl Provider {
    /// The provider `issuer`, by its discovery document, which must be its own (OpenID Connect
    /// Discovery §4.3).
    pub(crate) async fn discover(
        issuer: &str,
        client_id: &str,
        trust: &Trust,
    ) -> Result<Self, Failure> {
        let base = issuer.trim_end_matches('/');
        let place = format!("{base}/.well-known/openid-configuration");
        let metadata: Metadata = read(get(&place, trust).await?, &place)?;
        if metadata.issuer != issuer {
            return Err(Failure::failed(
                format!("{place} is the document of another issuer"),
                "the trust provider's `issuer` must be the provider's, byte for byte",
            ));
        }
        Ok(Self {
            issuer: issuer.to_owned(),
            client_id: client_id.to_owned(),
            metadata,
            trust: trust.clone(),
        })
    }

    /// Whether there is a device grant (RFC 8628).
    pub(crate) fn has_devices(&self) -> bool {
        self.metadata.device_authorization_endpoint.is_some()
    }

    /// Posts a form to one of the provider's endpoints.
    async fn post(&self, place: &str, pairs: &[(&str, Option<&str>)]) -> Result<Answer, Failure> {
        let (door, path) = door_of(place, &self.trust)?;
        Ok(door.call(door.form(&path, pairs)?, CALL).await?)
    }

    /// The ID token of a token response (OpenID Connect Core §3.1.3.3), verified (§3.1.3.7).
    async fn id_token(&self, answer: &Answer, binding: &Binding) -> Result<Proved, Failure> {
        let place = &self.metadata.token_endpoint;
        if !answer.status.is_success() {
            return Err(refused(&error_of(answer)));
        }
        let tokens: Tokens = read(answer.clone(), place)?;
        let jwks = get(&self.metadata.jwks_uri, &self.trust).await?;
        let keys = IdTokenKeys::from_jwks(&jwks.body).map_err(|e| odd(&e.to_string()))?;
        let now = SystemClock.now();
        let verified = IdToken::verify(&tokens.id_token, &keys, &self.issuer, &self.client_id, now);
        let verified = verified.map_err(|e| odd(&e.to_string()))?;
        let login_secret = match verified.claims().get("nonce") {
            None => None,
            Some(said) if *said == binding.nonce => Some(Secret::new(binding.secret.expose_text())),
            Some(_) => {
                return Err(odd(
                    "the ID token is of another login: its `nonce` is not this one's",
                ));
            }
        };
        Ok(Proved {
            id_token: Secret::new(tokens.id_token),
            login_secret,
        })
    }
}

#[derive(Deserialize)]
struct Tokens {
    id_token: String,
}

/// RFC 6749 §5.2.
#[derive(Default, Deserialize)]
struct OauthError {
    #[serde(default)]
    error: String,
    #[serde(default)]
    error_description: String,
}

fn error_of(answer: &Answer) -> OauthError {
    serde_json::from_slice(&answer.body).unwrap_or_default()
}

fn refused(why: &OauthError) -> Failure {
    let error = printable(&why.error);
    let more = printable(&why.error_description);
    let said = match (error.as_str(), more.as_str()) {
        ("", _) => "the provider refused without a reason".to_owned(),
        (error, "") => format!("the provider refused: {error}"),
        (error, more) => format!("the provider refused: {error} ({more})"),
    };
    Failure::failed(
        said,
        "log in again; the provider's administrator knows more",
    )
}

/// What a provider, or whoever answers in its place, says on a terminal: nothing that moves a cursor.
fn printable(text: &str) -> String {
    let plain = text.chars().filter(|c| !c.is_control());
    plain.take(LONGEST_SAID).collect()
}

fn odd(why: &str) -> Failure {
    Failure::failed(
        format!("the provider's answer is not accepted: {why}"),
        "log in again; if that does not help, look at the trust provider in the bundle",
    )
}

async fn get(place: &str, trust: &Trust) -> Result<Answer, Failure> {
    let (door, path) = door_of(place, trust)?;
    let answer = door.call(door.get(&path)?, CALL).await?;
    if answer.status.is_success() {
        return Ok(answer);
    }
    // Redirects are not followed.
    let said = format!("{place} answered with status {}", answer.status.as_u16());
    Err(Failure::failed(
        said,
        "is the trust provider's `issuer` right?",
    ))
}

fn read<T: DeserializeOwned>(answer: Answer, place: &str) -> Result<T, Failure> {
    serde_json::from_slice(&answer.body).map_err(|e| odd(&format!("{place}: {e}")))
}

/// 32 random bytes, base64url: 43 characters of RFC 7636 §4.1's alphabet.
fn random() -> Secret<String> {
    let mut bytes = [0; 32];
    SystemEntropy.fill(&mut bytes);
    Secret::new(URL_SAFE_NO_PAD.encode(bytes))
}

const SCOPE: &str = "openid profile email";
const LONGEST_SAID: usize = 300;
