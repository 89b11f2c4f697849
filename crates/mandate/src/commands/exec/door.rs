//! What a command can ask of `mandate exec`, which has the key and shows it to nobody.
//!
//! Two sockets in the folder that only this user can enter. At `proof` it gets proofs (RFC 9449) for
//! requests that it makes itself. Through `gateway` its plain HTTP requests go to the gateway, each
//! with an access token for the server workload that it names and a proof for it.

use std::convert::Infallible;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode, header};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use mandate_model::Secret;
use mandate_token::dpop::UnverifiedProof;
use tokio::net::UnixListener;
use tokio_util::task::AbortOnDropHandle;

use crate::client::agent::{AgentError, Attested};
use crate::client::holder::{Given, Prover, Wanted};
use crate::client::http::{Door, HttpError};
use crate::failure::Failure;

/// What the command is at this moment.
pub(super) struct Present {
    pub(super) agent: Arc<Attested>,
    /// The task token.
    pub(super) task: Option<Secret<String>>,
}

/// Replaced whole at each renewal.
pub(super) type Shared = Arc<ArcSwap<Present>>;

/// Serves both sockets until it is dropped.
pub(super) struct Doors {
    _proof: AbortOnDropHandle<()>,
    _gateway: AbortOnDropHandle<()>,
}

/// The gateway as the command's requests reach it.
#[derive(Debug, Clone)]
pub(super) struct GatewayUrl {
    /// `http://host:port`, and what may stand before every path.
    base: String,
    door: Door,
    path: String,
}

impl GatewayUrl {
    /// Reads an address without TLS: what `exec` speaks.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let base = text.trim_end_matches('/');
        let rest = base.strip_prefix("http://");
        let rest = rest.ok_or("`exec` reaches a gateway at `http://HOST:PORT` alone")?;
        let end = rest.find('/').unwrap_or(rest.len());
        let (authority, path) = rest.split_at_checked(end).unwrap_or((rest, ""));
        if authority.is_empty() || authority.contains(['@', '?', '#']) {
            return Err(format!("`{text}` is no address"));
        }
        let with_port = if authority.rsplit(':').next().is_some_and(is_port) {
            authority.to_owned()
        } else {
            format!("{authority}:80")
        };
        Ok(Self {
            base: base.to_owned(),
            door: Door::Tcp(with_port),
            path: path.to_owned(),
        })
    }
}

fn is_port(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit())
}

impl Doors {
    /// Makes the sockets in `folder` and serves them.
    pub(super) fn open(
        folder: &Path,
        present: &Shared,
        gateway: GatewayUrl,
    ) -> Result<Self, Failure> {
        let bind = |name: &str| {
            let path = folder.join(name);
            UnixListener::bind(&path).map_err(|e| Failure::file(&path, &e))
        };
        let (proof, through) = (bind("proof")?, bind("gateway")?);
        let (one, two) = (Arc::clone(present), Arc::clone(present));
        let proof = serve(proof, move |request| proofs(Arc::clone(&one), request));
        let through = serve(through, move |request| {
            forward(Arc::clone(&two), gateway.clone(), request)
        });
        Ok(Self {
            _proof: AbortOnDropHandle::new(tokio::spawn(proof)),
            _gateway: AbortOnDropHandle::new(tokio::spawn(through)),
        })
    }
}

type Body = BoxBody<Bytes, hyper::Error>;

async fn serve<F>(
    listener: UnixListener,
    answer: impl Fn(Request<Incoming>) -> F + Clone + Send + 'static,
) where
    F: Future<Output = Response<Body>> + Send + 'static,
{
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            // Out of descriptors, say: the command may have closed some by then.
            tokio::time::sleep(AFTER_FAILURE).await;
            continue;
        };
        let answer = answer.clone();
        let service = service_fn(move |request| {
            let answer = answer(request);
            async move { Ok::<_, Infallible>(answer.await) }
        });
        tokio::spawn(async move {
            let http = hyper::server::conn::http1::Builder::new();
            // What goes wrong is told by the answer, or the command has gone.
            let _ = http.serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

/// `POST /proof`.
async fn proofs(present: Shared, request: Request<Incoming>) -> Response<Body> {
    if request.method() != http::Method::POST || request.uri().path() != "/proof" {
        return said(StatusCode::NOT_FOUND, "there is `POST /proof` here");
    }
    let Ok(body) = whole(request.into_body()).await else {
        return said(StatusCode::PAYLOAD_TOO_LARGE, TOO_LONG);
    };
    let wanted: Wanted = match serde_json::from_slice(&body) {
        Ok(wanted) => wanted,
        Err(why) => return said(StatusCode::BAD_REQUEST, &why.to_string()),
    };
    let Some(prover) = present.load().agent.prover().cloned() else {
        return said(StatusCode::NOT_FOUND, "this command has no key");
    };
    match prover.prove(&wanted).await {
        Ok(proof) => match serde_json::to_vec(&Given { proof }) {
            Ok(json) => Response::new(full(json)),
            Err(why) => said(StatusCode::INTERNAL_SERVER_ERROR, &why.to_string()),
        },
        Err(why) => said(StatusCode::BAD_REQUEST, &why.to_string()),
    }
}

/// Any request that names a server workload.
async fn forward(
    present: Shared,
    gateway: GatewayUrl,
    request: Request<Incoming>,
) -> Response<Body> {
    let (head, body) = request.into_parts();
    let Some(resource) = one(&head.headers, &RESOURCE) else {
        return said(StatusCode::BAD_REQUEST, NO_RESOURCE);
    };
    let Ok(body) = whole(body).await else {
        return said(StatusCode::PAYLOAD_TOO_LARGE, TOO_LONG);
    };
    let now = present.load_full();
    let Some(task) = &now.task else {
        return said(StatusCode::BAD_REQUEST, "this command has no task");
    };
    let token = match now.agent.access(task.expose(), resource).await {
        Ok(token) => token,
        Err(why) => return refused(&why),
    };
    let target = head
        .uri
        .path_and_query()
        .map_or("/", |target| target.as_str());
    let sent = Outgoing {
        method: head.method,
        target: format!("{}{target}", gateway.path),
        url: format!("{}{}", gateway.base, head.uri.path()),
        headers: passed_on(&head.headers),
        body,
        token: token.text,
    };
    let answer = match now.agent.prover() {
        Some(prover) => sent.proved(prover, &gateway.door).await,
        None => sent.send(&gateway.door, "Bearer", None).await,
    };
    answer.unwrap_or_else(|why| said(StatusCode::BAD_GATEWAY, &why.to_string()))
}

/// A request on its way to the gateway.
struct Outgoing {
    method: http::Method,
    target: String,
    url: String,
    headers: HeaderMap,
    body: Bytes,
    token: Secret<String>,
}

impl Outgoing {
    /// With a proof; once more where the gateway asks for another nonce than it has. Nothing was
    /// forwarded then: a gateway lets no upstream ask for one.
    async fn proved(&self, prover: &Prover, door: &Door) -> Result<Response<Body>, AgentError> {
        let mut wanted = Wanted {
            method: self.method.to_string(),
            url: self.url.clone(),
            access_token: Some(self.token.expose().clone()),
            task_token: None,
            nonce: None,
        };
        let proof = prover.prove(&wanted).await?;
        let answer = self.send(door, "DPoP", Some(&proof)).await?;
        wanted.nonce = nonce_asked_for(&answer).filter(|nonce| !has_nonce(&proof, nonce));
        if wanted.nonce.is_none() {
            return Ok(answer);
        }
        let proof = prover.prove(&wanted).await?;
        self.send(door, "DPoP", Some(&proof)).await
    }

    async fn send(
        &self,
        door: &Door,
        scheme: &str,
        proof: Option<&str>,
    ) -> Result<Response<Body>, AgentError> {
        let malformed = |why: http::Error| AgentError::Http(HttpError::from(why));
        let value = |text: &str| HeaderValue::from_str(text).map_err(http::Error::from);
        let mut request = Request::builder()
            .method(self.method.clone())
            .uri(&self.target)
            .body(Full::new(self.body.clone()))
            .map_err(malformed)?;
        let headers = request.headers_mut();
        headers.clone_from(&self.headers);
        headers.insert(header::HOST, value(door.host()).map_err(malformed)?);
        let token = format!("{scheme} {}", self.token.expose());
        headers.insert(header::AUTHORIZATION, value(&token).map_err(malformed)?);
        if let Some(proof) = proof {
            headers.insert(DPOP, value(proof).map_err(malformed)?);
        }
        let (mut head, body) = door.stream(request).await?.into_parts();
        head.headers.remove(header::CONNECTION);
        head.headers.remove(header::TRANSFER_ENCODING);
        Ok(Response::from_parts(head, body.boxed()))
    }
}

/// RFC 9449 §9, as a gateway of ours says it: that one challenge, and nothing beside it.
fn nonce_asked_for<B>(answer: &Response<B>) -> Option<String> {
    let challenge = one(answer.headers(), &header::WWW_AUTHENTICATE)?;
    let asks = answer.status() == StatusCode::UNAUTHORIZED
        && challenge.starts_with("DPoP error=\"use_dpop_nonce\"");
    asks.then(|| one(answer.headers(), &DPOP_NONCE).map(str::to_owned))
        .flatten()
}

/// Whether `proof` was made with `nonce`: then another one is no better.
fn has_nonce(proof: &str, nonce: &str) -> bool {
    let proof = UnverifiedProof::parse(proof);
    proof.is_ok_and(|proof| proof.untrusted_nonce() == Some(nonce))
}

/// The command's fields without those that are between it and `exec`.
fn passed_on(headers: &HeaderMap) -> HeaderMap {
    let mut passed = headers.clone();
    for name in [
        header::HOST,
        header::CONNECTION,
        header::TRANSFER_ENCODING,
        header::CONTENT_LENGTH,
        header::AUTHORIZATION,
        header::EXPECT,
        HeaderName::from_static("keep-alive"),
        RESOURCE,
        DPOP,
    ] {
        passed.remove(name);
    }
    passed
}

fn one<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Option<&'h str> {
    let mut fields = headers.get_all(name).iter();
    match (fields.next(), fields.next()) {
        (Some(only), None) => only.to_str().ok(),
        (Some(_), Some(_)) | (None, _) => None,
    }
}

async fn whole(body: Incoming) -> Result<Bytes, ()> {
    let body = Limited::new(body, LONGEST_BODY).collect().await;
    body.map(http_body_util::Collected::to_bytes)
        .map_err(|_| ())
}

fn refused(why: &AgentError) -> Response<Body> {
    let status = match why {
        AgentError::Refused { .. } => StatusCode::FORBIDDEN,
        AgentError::Http(_) | AgentError::Answer(_) | AgentError::Proof(_) => {
            StatusCode::BAD_GATEWAY
        }
    };
    said(status, &why.to_string())
}

/// An answer of `exec` itself (RFC 9457).
fn said(status: StatusCode, detail: &str) -> Response<Body> {
    let body = serde_json::json!({
        "type": "about:blank", "title": "mandate exec", "status": status.as_u16(), "detail": detail,
    });
    let mut response = Response::new(full(body.to_string().into_bytes()));
    *response.status_mut() = status;
    let kind = HeaderValue::from_static("application/problem+json");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}

fn full(bytes: Vec<u8>) -> Body {
    Full::new(Bytes::from(bytes))
        .map_err(|never| match never {})
        .boxed()
}

const RESOURCE: HeaderName = HeaderName::from_static("mandate-resource");
const DPOP: HeaderName = HeaderName::from_static("dpop");
const DPOP_NONCE: HeaderName = HeaderName::from_static("dpop-nonce");
const NO_RESOURCE: &str =
    "say for which server workload: one `Mandate-Resource` field with its `resource`";
const TOO_LONG: &str = "the body is longer than 10 MiB, or broke off";
const LONGEST_BODY: usize = 10 * 1024 * 1024;
const AFTER_FAILURE: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gateways_address_has_no_tls_and_may_have_a_path() {
        let parsed = GatewayUrl::parse("http://127.0.0.1:7700/").unwrap();
        assert_eq!(parsed.base, "http://127.0.0.1:7700");
        assert_eq!(parsed.door, Door::Tcp("127.0.0.1:7700".to_owned()));
        let with_path = GatewayUrl::parse("http://gateway/base").unwrap();
        assert_eq!(with_path.door, Door::Tcp("gateway:80".to_owned()));
        assert_eq!(with_path.path, "/base");
        for bad in [
            "https://127.0.0.1:7700",
            "127.0.0.1:7700",
            "http://",
            "http://a@b",
        ] {
            assert!(GatewayUrl::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_request_is_repeated_for_the_gateways_own_challenge_alone() {
        let asked = |status: u16, challenges: &[&str]| {
            let mut answer = Response::builder().status(status).header(DPOP_NONCE, "n-1");
            for challenge in challenges {
                answer = answer.header(header::WWW_AUTHENTICATE, *challenge);
            }
            nonce_asked_for(&answer.body(()).unwrap())
        };
        let own = r#"DPoP error="use_dpop_nonce", error_description="x", algs="ES256""#;
        assert_eq!(asked(401, &[own]).as_deref(), Some("n-1"));
        for (status, challenges) in [
            (200, &[own][..]),
            (403, &[own]),
            (401, &[]),
            (401, &[own, "Basic realm=\"a\""]),
            (401, &["Basic realm=\"DPoP error=\\\"use_dpop_nonce\\\"\""]),
            (401, &["DPoP error=\"invalid_token\""]),
        ] {
            assert_eq!(asked(status, challenges), None, "{challenges:?}");
        }
    }

    #[test]
    fn a_nonce_that_a_proof_has_is_no_reason_for_another_proof() {
        let holder = crate::client::holder::Holder::generate().unwrap();
        let wanted = Wanted {
            method: "GET".to_owned(),
            url: "http://a.example/x".to_owned(),
            access_token: None,
            task_token: None,
            nonce: Some("n-1".to_owned()),
        };
        let proof = holder.prove(&wanted).unwrap();
        assert!(has_nonce(&proof, "n-1"));
        assert!(!has_nonce(&proof, "n-2"));
        assert!(!has_nonce("no proof", "n-1"));
    }

    #[test]
    fn what_is_between_a_command_and_exec_is_not_passed_on() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("accept", "text/plain"),
            ("authorization", "Bearer x"),
            ("dpop", "x"),
            ("mandate-resource", "https://a"),
            ("host", "gateway"),
        ] {
            headers.insert(name, HeaderValue::from_static(value));
        }
        let passed = passed_on(&headers);
        assert_eq!(passed.len(), 1);
        assert_eq!(one(&passed, &header::ACCEPT), Some("text/plain"));
    }
}
