//! An OpenID provider for tests: signs ID tokens and publishes its keys over loopback HTTP.

use std::sync::{Arc, Mutex};

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use mandate_model::Timestamp;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// How the issuer answers.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Mood {
    /// As it should.
    #[default]
    Well,
    /// Connections are closed without an answer.
    Down,
    /// Everything is redirected to this address.
    Redirects(String),
    /// Every answer has this many bytes more than it should, white space.
    Padded(usize),
    /// The key set is a SPIFFE bundle, with this refresh hint in seconds.
    Bundle(u64),
    /// The discovery document names this issuer.
    Claims(String),
    /// The discovery document names this place for keys.
    KeysAt(String),
    /// Every answer has this text as its body.
    Says(String),
}

/// A running issuer. It ends with the runtime that it was started on.
pub struct OidcIssuer {
    issuer: String,
    state: Mutex<State>,
    fetches: watch::Sender<u64>,
}

struct State {
    keys: Vec<(String, EcdsaKeyPair)>,
    made: u64,
    mood: Mood,
}

impl OidcIssuer {
    /// Starts an issuer on a free port of 127.0.0.1, with one key.
    pub async fn start() -> Arc<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let issuer = Arc::new(Self {
            issuer: format!("http://{}", listener.local_addr().unwrap()),
            state: Mutex::new(State {
                keys: Vec::new(),
                made: 0,
                mood: Mood::Well,
            }),
            fetches: watch::Sender::new(0),
        });
        issuer.rotate();
        tokio::spawn(issuer.clone().serve(listener));
        issuer
    }

    /// Its `iss`.
    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    /// Changes how it answers.
    pub fn set_mood(&self, mood: Mood) {
        self.state.lock().unwrap().mood = mood;
    }

    /// Replaces its keys by a new one with a new `kid`.
    pub fn rotate(&self) {
        let mut state = self.state.lock().unwrap();
        state.made += 1;
        let kid = format!("key-{}", state.made);
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
        state.keys = vec![(kid, pair)];
    }

    /// How often its key set was asked for.
    pub fn fetches(&self) -> u64 {
        *self.fetches.borrow()
    }

    /// Waits until its key set was asked for `n` times.
    pub async fn fetched(&self, n: u64) {
        let mut fetches = self.fetches.subscribe();
        fetches.wait_for(|count| *count >= n).await.unwrap();
    }

    /// A good ID token of `subject` for `audience`, issued at `now` for five minutes. Members of
    /// `others` are added, or replace those.
    pub fn id_token(
        &self,
        subject: &str,
        audience: &str,
        now: Timestamp,
        others: &Value,
    ) -> String {
        let mut claims = json!({
            "iss": self.issuer,
            "sub": subject,
            "aud": audience,
            "iat": now.as_secs(),
            "exp": now.as_secs() + 300,
        });
        let members = others.as_object().into_iter().flatten();
        let into = claims.as_object_mut().unwrap();
        into.extend(members.map(|(name, value)| (name.clone(), value.clone())));
        self.sign(&claims)
    }

    /// `claims` signed with its key.
    pub fn sign(&self, claims: &Value) -> String {
        let kid = self.state.lock().unwrap().keys.last().unwrap().0.clone();
        self.sign_as(&kid, claims)
    }

    /// `claims` signed with its key, under whatever `kid`.
    pub fn sign_as(&self, kid: &str, claims: &Value) -> String {
        self.sign_with(&json!({"alg": "ES256", "kid": kid, "typ": "JWT"}), claims)
    }

    /// `claims` signed with its key, as a token of this `typ`.
    pub fn typed(&self, typ: &str, claims: &Value) -> String {
        let kid = self.state.lock().unwrap().keys.last().unwrap().0.clone();
        self.sign_with(&json!({"alg": "ES256", "kid": kid, "typ": typ}), claims)
    }

    /// `claims` signed with its key, under whatever header.
    pub fn sign_with(&self, header: &Value, claims: &Value) -> String {
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let message = format!("{}.{}", part(header), part(claims));
        let state = self.state.lock().unwrap();
        let (_, pair) = state.keys.last().unwrap();
        let signature = pair.sign(&SystemRandom::new(), message.as_bytes()).unwrap();
        format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature))
    }

    /// Its key set (RFC 7517 §5).
    pub fn jwks(&self) -> Value {
        let state = self.state.lock().unwrap();
        let keys: Vec<Value> = state
            .keys
            .iter()
            .map(|(kid, pair)| jwk(kid, pair))
            .collect();
        json!({ "keys": keys })
    }

    /// Its key set as the bundle of a SPIFFE trust domain, with an authority for X.509-SVIDs that
    /// nobody can sign JWTs with.
    pub fn bundle(&self, hint: u64) -> Value {
        let mut bundle = self.jwks();
        for key in bundle["keys"].as_array_mut().unwrap() {
            key["use"] = "jwt-svid".into();
        }
        let x509 = json!({"kty": "EC", "crv": "P-256", "use": "x509-svid", "x": "", "y": "", "x5c": ["AA=="]});
        bundle["keys"].as_array_mut().unwrap().push(x509);
        bundle["spiffe_refresh_hint"] = hint.into();
        bundle["spiffe_sequence"] = 1.into();
        bundle
    }

    async fn serve(self: Arc<Self>, listener: TcpListener) {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(self.clone().answer(stream));
        }
    }

    /// Answers one request. A client that went away is no concern of the issuer's.
    async fn answer(self: Arc<Self>, mut stream: TcpStream) {
        let Some(path) = request_path(&mut stream).await else {
            return;
        };
        if let Some(response) = self.respond(&path) {
            let _ = stream.write_all(response.as_bytes()).await;
            let _ = stream.shutdown().await;
        }
    }

    fn respond(&self, path: &str) -> Option<String> {
        if path == "/keys" {
            self.fetches.send_modify(|count| *count += 1);
        }
        let mood = self.state.lock().unwrap().mood.clone();
        match mood {
            Mood::Down => return None,
            Mood::Redirects(to) => return Some(redirect(&to)),
            Mood::Says(body) => return Some(ok(&body)),
            Mood::Well | Mood::Padded(_) | Mood::Bundle(_) | Mood::Claims(_) | Mood::KeysAt(_) => {}
        }
        let padding = if let Mood::Padded(count) = mood {
            " ".repeat(count)
        } else {
            String::new()
        };
        let document = match path {
            "/.well-known/openid-configuration" => self.discovery(&mood),
            "/keys" => {
                if let Mood::Bundle(hint) = mood {
                    self.bundle(hint)
                } else {
                    self.jwks()
                }
            }
            _ => return Some(NOT_FOUND.to_owned()),
        };
        Some(ok(&format!("{document}{padding}")))
    }

    fn discovery(&self, mood: &Mood) -> Value {
        let (mut issuer, mut keys) = (self.issuer.clone(), format!("{}/keys", self.issuer));
        if let Mood::Claims(other) = mood {
            issuer.clone_from(other);
        }
        if let Mood::KeysAt(place) = mood {
            keys.clone_from(place);
        }
        json!({"issuer": issuer, "jwks_uri": keys})
    }
}

fn jwk(kid: &str, pair: &EcdsaKeyPair) -> Value {
    // 0x04, x and y (SEC 1 §2.3.3).
    let (x, y) = pair.public_key().as_ref().split_at(1).1.split_at(32);
    json!({
        "kty": "EC", "crv": "P-256", "use": "sig", "alg": "ES256", "kid": kid,
        "x": URL_SAFE_NO_PAD.encode(x), "y": URL_SAFE_NO_PAD.encode(y),
    })
}

async fn request_path(stream: &mut TcpStream) -> Option<String> {
    let mut request = Vec::new();
    while !request.windows(4).any(|w| w == b"\r\n\r\n") {
        let mut chunk = [0; 1024];
        let n = stream.read(&mut chunk).await.ok().filter(|n| *n > 0)?;
        request.extend(chunk.iter().take(n));
    }
    let request = String::from_utf8(request).ok()?;
    let path = request.strip_prefix("GET ")?.split(' ').next()?;
    Some(path.to_owned())
}

fn ok(body: &str) -> String {
    let length = body.len();
    format!(
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
    )
}

fn redirect(to: &str) -> String {
    format!(
        "HTTP/1.1 302 Found\r\nLocation: {to}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    )
}

const NOT_FOUND: &str = "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
