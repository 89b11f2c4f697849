//! A test issuer for people, on loopback, with `serve --dev` alone. It believes whoever asks.
//!
//! It is an ordinary OpenID provider to the authority: discovery, JWKS, ID tokens of ES256. Its key lives
//! as long as the process.

use std::net::SocketAddr;
use std::sync::Arc;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use mandate_model::TokenId;
use mandate_ports::{Clock, Entropy};
use serde_json::{Map, Value, json};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::machine::{SystemClock, SystemEntropy};

/// The audience of its tokens where nobody asks for another: the client that a bundle's `TrustProvider`
/// names.
pub(crate) const AUDIENCE: &str = "mandate-dev";

struct Issuer {
    url: String,
    key: EcdsaKeyPair,
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Login {
    user: String,
    #[serde(default = "usual_audience")]
    audience: String,
    #[serde(default)]
    claims: Map<String, Value>,
}

fn usual_audience() -> String {
    AUDIENCE.to_owned()
}

/// Runs it on `listener` until `end`.
pub(crate) async fn run(listener: TcpListener, end: CancellationToken) -> std::io::Result<()> {
    let address = listener.local_addr()?;
    let key = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING)
        .map_err(|_| std::io::Error::other("the test issuer's key could not be made"))?;
    let url = url(address);
    let router = Router::new()
        .route("/.well-known/openid-configuration", get(discovery))
        .route("/jwks", get(jwks))
        .route("/login", post(login))
        .with_state(Arc::new(Issuer { url, key }));
    axum::serve(listener, router)
        .with_graceful_shutdown(end.cancelled_owned())
        .await
}

/// Its `iss`.
pub(crate) fn url(address: SocketAddr) -> String {
    format!("http://{address}")
}

async fn discovery(State(issuer): State<Arc<Issuer>>) -> Json<Value> {
    Json(json!({
        "issuer": issuer.url,
        "jwks_uri": format!("{}/jwks", issuer.url),
        "response_types_supported": ["id_token"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["ES256"],
    }))
}

async fn jwks(State(issuer): State<Arc<Issuer>>) -> Json<Value> {
    // An uncompressed point: 0x04, then x and y of 32 bytes each.
    let point = issuer.key.public_key().as_ref();
    let part = |range: std::ops::Range<usize>| {
        URL_SAFE_NO_PAD.encode(point.get(range).unwrap_or_default())
    };
    Json(json!({"keys": [{
        "kty": "EC", "crv": "P-256", "alg": "ES256", "use": "sig", "kid": KID,
        "x": part(1..33), "y": part(33..65),
    }]}))
}

async fn login(State(issuer): State<Arc<Issuer>>, Json(login): Json<Login>) -> Response {
    match issuer.id_token(login) {
        Some(token) => Json(json!({ "id_token": token })).into_response(),
        None => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

impl Issuer {
    fn id_token(&self, login: Login) -> Option<String> {
        let now = SystemClock.now();
        let mut random = [0; 10];
        SystemEntropy.fill(&mut random);
        let mut claims = login.claims;
        for (name, value) in [
            ("iss", json!(self.url)),
            ("sub", json!(login.user)),
            ("aud", json!(login.audience)),
            ("iat", json!(now.as_secs())),
            ("exp", json!(now.as_secs() + LIFETIME_SECONDS)),
            ("jti", json!(TokenId::new(now, random))),
        ] {
            claims.insert(name.to_owned(), value);
        }
        let header = json!({"alg": "ES256", "kid": KID, "typ": "JWT"});
        let input = format!(
            "{}.{}",
            URL_SAFE_NO_PAD.encode(header.to_string()),
            URL_SAFE_NO_PAD.encode(Value::Object(claims).to_string()),
        );
        let signature = self.key.sign(&SystemRandom::new(), input.as_bytes()).ok()?;
        Some(format!("{input}.{}", URL_SAFE_NO_PAD.encode(signature)))
    }
}

const KID: &str = "dev-issuer";
const LIFETIME_SECONDS: u64 = 300;
