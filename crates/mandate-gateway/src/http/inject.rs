//! The request as its upstream gets it: the agent's credential gone, the gateway's put in (C4).

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, HeaderName, HeaderValue, header};
use mandate_model::{Secret, ServerName};
use mandate_policy::decl::{Credential, SecretTemplate, ServerWorkload, Upstream};
use mandate_ports::{Credentials, Origin};
use zeroize::Zeroizing;

use super::echo::Needles;
use super::refusal::Refusal;
use crate::upstream::Place;

/// What the secrets of server workloads come to, made once for as long as credential and secret stay
/// the same. One of each server workload; what it holds of a secret goes when the next one comes.
#[derive(Default)]
pub(crate) struct Injections(Mutex<HashMap<ServerName, Arc<Made>>>);

/// What one credential comes to with one secret.
struct Made {
    credential: Credential,
    secret: Arc<Secret<Vec<u8>>>,
    injected: Injected,
    needles: Needles,
}

impl Injections {
    /// What the `credential` of `server` comes to with `secret`.
    fn of(
        &self,
        server: &ServerName,
        credential: &Credential,
        secret: &Arc<Secret<Vec<u8>>>,
    ) -> Result<Arc<Made>, Refusal> {
        // The very same secret: comparing its bytes would take as long as its length tells.
        let known = self.locked().get(server).cloned();
        let same =
            |made: &Arc<Made>| Arc::ptr_eq(&made.secret, secret) && made.credential == *credential;
        if let Some(known) = known.filter(same) {
            return Ok(known);
        }
        let made = Arc::new(Made::new(credential, secret)?);
        let mut all = self.locked();
        if all.len() >= MAX_MADE {
            all.clear();
        }
        all.insert(server.clone(), Arc::clone(&made));
        Ok(made)
    }

    fn locked(&self) -> MutexGuard<'_, HashMap<ServerName, Arc<Made>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Made {
    fn new(credential: &Credential, secret: &Arc<Secret<Vec<u8>>>) -> Result<Self, Refusal> {
        if secret.expose().len() < mandate_ports::MIN_SECRET {
            // An echo of it could not be told from an accident.
            return Err(unusable());
        }
        let (injected, sent) = fill(credential, secret)?;
        Ok(Self {
            credential: credential.clone(),
            secret: Arc::clone(secret),
            injected,
            needles: Needles::of(secret.expose(), &sent),
        })
    }
}

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
#[derive(Clone)]
enum Injected {
    Nothing,
    Header(HeaderName, HeaderValue),
    /// A parameter, encoded.
    Query(Arc<Zeroizing<String>>),
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
    injections: &Injections,
    server: &ServerWorkload,
    mut headers: HeaderMap,
    target: &str,
    upstream_token: Option<&str>,
) -> Result<Outgoing, Refusal> {
    let place = place_of(server);
    let (injected, needles) = match upstream_token {
        Some(token) => with_token(token)?,
        None => with_secret(credentials, injections, server, &place.origin).await?,
    };
    if !needles.is_empty() || server.is_read() {
        // A compressed echo could not be seen, nor what a reply says.
        let plain = HeaderValue::from_static("identity");
        headers.insert(header::ACCEPT_ENCODING, plain);
    }
    let mut target = format!("{}{target}", server.upstream.base_path);
    match injected {
        Injected::Nothing => {}
        Injected::Header(name, value) => {
            headers.insert(name, value);
        }
        Injected::Query(parameter) => target = with_parameter(&target, &parameter),
    }
    Ok(Outgoing {
        place,
        headers,
        target,
        needles,
        upgrades: false,
    })
}

fn with_token(token: &str) -> Result<(Injected, Needles), Refusal> {
    let value = Zeroizing::new(format!("Bearer {token}").into_bytes());
    let needles = Needles::of(token.as_bytes(), &value);
    let injected = Injected::Header(header::AUTHORIZATION, sensitive(&value)?);
    Ok((injected, needles))
}

async fn with_secret(
    credentials: &dyn Credentials,
    injections: &Injections,
    server: &ServerWorkload,
    origin: &Origin,
) -> Result<(Injected, Needles), Refusal> {
    let Some(name) = server.credential.secret() else {
        return match &server.credential {
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
    let made = injections.of(&server.name, &server.credential, &secret)?;
    Ok((made.injected.clone(), made.needles.clone()))
}

type Filled = (Injected, Zeroizing<Vec<u8>>);

fn fill(credential: &Credential, secret: &Secret<Vec<u8>>) -> Result<Filled, Refusal> {
    match credential {
        Credential::Header { name, value } => {
            let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| unusable())?;
            let value = filled(value, secret);
            Ok((Injected::Header(name, sensitive(&value)?), value))
        }
        Credential::Basic { user, .. } => {
            let mut pair = Zeroizing::new(format!("{user}:").into_bytes());
            pair.extend_from_slice(secret.expose());
            let encoded = Zeroizing::new(STANDARD.encode(&*pair));
            let value = Zeroizing::new(format!("Basic {}", *encoded).into_bytes());
            let sent = Zeroizing::new(encoded.as_bytes().to_vec());
            let value = sensitive(&value)?;
            Ok((Injected::Header(header::AUTHORIZATION, value), sent))
        }
        Credential::Query { name, value } => {
            let value = filled(value, secret);
            let (name, encoded) = (percent_encode(name.as_bytes()), percent_encode(&value));
            let encoded = Zeroizing::new(encoded);
            let parameter = Zeroizing::new(format!("{name}={}", *encoded));
            Ok((Injected::Query(Arc::new(parameter)), value))
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

fn with_parameter(target: &str, parameter: &str) -> String {
    let before = if target.contains('?') { '&' } else { '?' };
    format!("{target}{before}{parameter}")
}

/// Percent-encodes everything that is not unreserved (RFC 3986 §2.3).
pub(super) fn percent_encode(bytes: &[u8]) -> String {
    let mut encoded = String::with_capacity(bytes.len());
    for byte in bytes {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                encoded.push(char::from(*byte));
            }
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}

const MAX_MADE: usize = 1024;

#[cfg(test)]
mod tests {
    use mandate_model::SecretName;

    use super::*;

    fn secret(text: &str) -> Arc<Secret<Vec<u8>>> {
        Arc::new(Secret::new(text.as_bytes().to_vec()))
    }

    fn basic(user: &str) -> Credential {
        Credential::Basic {
            user: user.to_owned(),
            secret: SecretName::parse("password").unwrap(),
        }
    }

    #[test]
    fn a_secret_whose_echo_could_not_be_recognised_is_not_sent() {
        let short = Made::new(&basic("alice"), &secret("12345"));
        assert_eq!(short.map(drop).unwrap_err().rule(), "upstream.credential");
        let long = Made::new(&basic("alice"), &secret("123456"));
        assert!(!long.unwrap().needles.is_empty());
    }

    fn value(made: &Made) -> Vec<u8> {
        match &made.injected {
            Injected::Header(_, value) => value.as_bytes().to_vec(),
            Injected::Nothing | Injected::Query(_) => Vec::new(),
        }
    }

    #[test]
    fn another_secret_and_another_credential_are_made_anew() {
        let injections = Injections::default();
        let server = ServerName::parse("records").unwrap();
        let (alice, bob) = (basic("alice"), basic("bob"));
        let first = secret("password-1");
        let made = injections.of(&server, &alice, &first).unwrap();
        let again = injections.of(&server, &alice, &first).unwrap();
        assert!(Arc::ptr_eq(&made, &again));
        let next = injections
            .of(&server, &alice, &secret("password-2"))
            .unwrap();
        assert_ne!(value(&next), value(&made));
        let other = injections.of(&server, &bob, &first).unwrap();
        assert_ne!(value(&other), value(&made));
        assert_eq!(
            injections.locked().len(),
            1,
            "the former secret is let go of"
        );
    }

    #[test]
    fn a_query_credential_is_put_after_the_agents_parameters() {
        assert_eq!(
            with_parameter("/a?x=1&k=3", "key=s%2F"),
            "/a?x=1&k=3&key=s%2F"
        );
        assert_eq!(with_parameter("/a", "key=s"), "/a?key=s");
    }
}
