//! The request as its upstream gets it: the agent's credential gone, the gateway's put in (C4).

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, HeaderName, HeaderValue, header};
use mandate_model::Secret;
use mandate_policy::decl::{Credential, SecretTemplate, ServerWorkload, Upstream};
use mandate_ports::{Credentials, Origin};
use zeroize::Zeroizing;

use super::echo::Needles;
use super::refusal::Refusal;
use crate::upstream::Place;

/// What goes out instead of what came in.
pub(super) struct Outgoing {
    pub(super) place: Place,
    pub(super) headers: HeaderMap,
    pub(super) target: String,
    pub(super) needles: Needles,
    /// Whether it asks for another protocol, which takes a connection of its own.
    pub(super) upgrades: bool,
}

/// What is put into a request.
enum Injected {
    Nothing,
    Header(HeaderName, Zeroizing<Vec<u8>>),
    Query(String, Zeroizing<Vec<u8>>),
}

/// Where an upstream is, and by which authority it proves it.
pub(super) fn place_of(server: &ServerWorkload) -> Place {
    Place {
        origin: origin_of(&server.upstream),
        ca: server.ca.clone(),
    }
}

/// Where an upstream is, as secrets are pinned to it.
pub(super) fn origin_of(upstream: &Upstream) -> Origin {
    Origin {
        scheme: upstream.scheme().to_owned(),
        host: upstream.host.clone(),
        port: upstream.port,
    }
}

/// Builds the outgoing head from `headers`, which were stripped before the request was classified.
/// `upstream_token` is there where the credential is a Mandate token.
pub(super) async fn outgoing(
    credentials: &dyn Credentials,
    server: &ServerWorkload,
    mut headers: HeaderMap,
    target: &str,
    upstream_token: Option<&str>,
) -> Result<Outgoing, Refusal> {
    let place = place_of(server);
    let (injected, needles) = match upstream_token {
        Some(token) => with_token(token),
        None => with_secret(credentials, &server.credential, &place.origin).await?,
    };
    if !needles.is_empty() {
        // A compressed echo could not be seen.
        let plain = HeaderValue::from_static("identity");
        headers.insert(header::ACCEPT_ENCODING, plain);
    }
    let mut target = format!("{}{target}", server.upstream.base_path);
    match injected {
        Injected::Nothing => {}
        Injected::Header(name, value) => {
            headers.insert(name, sensitive(&value)?);
        }
        Injected::Query(name, value) => {
            target = with_parameter(&target, &name, &percent_encode(&value));
        }
    }
    Ok(Outgoing {
        place,
        headers,
        target,
        needles,
        upgrades: false,
    })
}

fn with_token(token: &str) -> (Injected, Needles) {
    let value = Zeroizing::new(format!("Bearer {token}").into_bytes());
    let needles = Needles::of(token.as_bytes(), &value);
    (Injected::Header(header::AUTHORIZATION, value), needles)
}

async fn with_secret(
    credentials: &dyn Credentials,
    credential: &Credential,
    origin: &Origin,
) -> Result<(Injected, Needles), Refusal> {
    let Some(name) = credential.secret() else {
        return match credential {
            Credential::None => Ok((Injected::Nothing, Needles::default())),
            // Only reached without a token: nothing else may stand in for it.
            Credential::MandateToken
            | Credential::Header { .. }
            | Credential::Basic { .. }
            | Credential::Query { .. } => Err(Refusal::UpstreamToken),
        };
    };
    let secret = credentials
        .secret(name, origin)
        .await
        .map_err(Refusal::Credential)?;
    if secret.expose().len() < mandate_ports::MIN_SECRET {
        // An echo of it could not be told from an accident.
        return Err(unusable());
    }
    let (injected, sent) = fill(credential, &secret)?;
    Ok((injected, Needles::of(secret.expose(), &sent)))
}

type Filled = (Injected, Zeroizing<Vec<u8>>);

fn fill(credential: &Credential, secret: &Secret<Vec<u8>>) -> Result<Filled, Refusal> {
    match credential {
        Credential::Header { name, value } => {
            let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| unusable())?;
            let value = filled(value, secret);
            Ok((Injected::Header(name, value.clone()), value))
        }
        Credential::Basic { user, .. } => {
            let mut pair = Zeroizing::new(format!("{user}:").into_bytes());
            pair.extend_from_slice(secret.expose());
            let encoded = Zeroizing::new(STANDARD.encode(&*pair));
            let value = Zeroizing::new(format!("Basic {}", *encoded).into_bytes());
            let sent = Zeroizing::new(encoded.as_bytes().to_vec());
            Ok((Injected::Header(header::AUTHORIZATION, value), sent))
        }
        Credential::Query { name, value } => {
            let value = filled(value, secret);
            Ok((Injected::Query(name.clone(), value.clone()), value))
        }
        Credential::None | Credential::MandateToken => Err(unusable()),
    }
}

fn filled(template: &SecretTemplate, secret: &Secret<Vec<u8>>) -> Zeroizing<Vec<u8>> {
    let mut value = Zeroizing::new(template.before.clone().into_bytes());
    value.extend_from_slice(secret.expose());
    value.extend_from_slice(template.after.as_bytes());
    value
}

fn sensitive(value: &[u8]) -> Result<HeaderValue, Refusal> {
    let mut value = HeaderValue::from_bytes(value).map_err(|_| unusable())?;
    value.set_sensitive(true);
    Ok(value)
}

fn unusable() -> Refusal {
    Refusal::NotNow {
        rule: "upstream.credential",
        detail: "the credential for the upstream cannot be put into a request",
    }
}

fn with_parameter(target: &str, name: &str, value: &str) -> String {
    let before = if target.contains('?') { '&' } else { '?' };
    format!(
        "{target}{before}{}={value}",
        percent_encode(name.as_bytes())
    )
}

/// Percent-encodes everything that is not unreserved (RFC 3986 §2.3).
pub(super) fn percent_encode(bytes: &[u8]) -> String {
    bytes
        .iter()
        .map(|b| match b {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                char::from(*b).to_string()
            }
            _ => format!("%{b:02X}"),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use mandate_model::SecretName;
    use mandate_ports::CredentialError;

    use super::*;

    /// Every secret is this one.
    struct Always(&'static str);

    #[async_trait::async_trait]
    impl Credentials for Always {
        async fn secret(
            &self,
            _name: &SecretName,
            _origin: &Origin,
        ) -> Result<Arc<Secret<Vec<u8>>>, CredentialError> {
            Ok(Arc::new(Secret::new(self.0.as_bytes().to_vec())))
        }
    }

    #[tokio::test]
    async fn a_secret_whose_echo_could_not_be_recognised_is_not_sent() {
        let credential = Credential::Basic {
            user: "alice".to_owned(),
            secret: SecretName::parse("password").unwrap(),
        };
        let origin = Origin {
            scheme: "https".to_owned(),
            host: "records.internal".to_owned(),
            port: 443,
        };
        let short = with_secret(&Always("12345"), &credential, &origin).await;
        assert_eq!(short.map(drop).unwrap_err().rule(), "upstream.credential");
        let long = with_secret(&Always("123456"), &credential, &origin).await;
        assert!(!long.unwrap().1.is_empty());
    }

    #[test]
    fn a_query_credential_is_put_after_the_agents_parameters() {
        assert_eq!(
            with_parameter("/a?x=1&k=3", "key", "s%2F"),
            "/a?x=1&k=3&key=s%2F"
        );
        assert_eq!(with_parameter("/a", "key", "s"), "/a?key=s");
    }
}
