//! An agent: attested by its process, with a task and tokens, over plain HTTP.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::Request;
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;

use crate::load::{self, Shot};

const GRANT: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
const ASSERTION: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-spiffe";
const JWT: &str = "urn:ietf:params:oauth:token-type:jwt";
const TXN: &str = "urn:ietf:params:oauth:token-type:txn_token";

/// Speaks to one authority.
#[derive(Debug, Clone)]
pub struct Agent {
    socket: PathBuf,
    tokens: SocketAddr,
}

impl Agent {
    pub fn new(socket: PathBuf, tokens: SocketAddr) -> Self {
        Self { socket, tokens }
    }

    /// A JWT-SVID for the token endpoint, on the kernel's word.
    pub async fn svid(&self) -> String {
        let pairs = [
            ("grant_type", GRANT),
            ("subject_token", "peer"),
            ("subject_token_type", "urn:mandate:token-type:process"),
        ];
        let (status, body) = post_unix(&self.socket, "/token", &pairs).await;
        assert_eq!(status, 200, "{body}");
        token_of(&body)
    }

    /// A task token of a new root task, begun by a schedule.
    pub async fn open(&self, svid: &str) -> String {
        let details = r#"{"purpose":"bench","trigger":{"kind":"schedule","name":"bench"}}"#;
        let shot = self.shot(&[
            ("grant_type", GRANT),
            ("client_assertion_type", ASSERTION),
            ("client_assertion", svid),
            ("subject_token", svid),
            ("subject_token_type", JWT),
            ("requested_token_type", TXN),
            ("audience", "bench.example"),
            ("request_details", details),
        ]);
        self.token(&shot).await
    }

    /// The request that exchanges a task token for an access token.
    pub fn access_shot(&self, svid: &str, task: &str, resource: &str) -> Shot {
        self.shot(&[
            ("grant_type", GRANT),
            ("client_assertion_type", ASSERTION),
            ("client_assertion", svid),
            ("subject_token", task),
            ("subject_token_type", TXN),
            ("resource", resource),
        ])
    }

    /// The token that an exchange gives.
    pub async fn token(&self, shot: &Shot) -> String {
        let mut sender = load::connect(self.tokens).await;
        let body = load::send(&mut sender, shot).await;
        token_of(&String::from_utf8_lossy(&body))
    }

    fn shot(&self, pairs: &[(&str, &str)]) -> Shot {
        Shot {
            method: "POST",
            path: "/token".to_owned(),
            headers: vec![(
                "content-type",
                "application/x-www-form-urlencoded".to_owned(),
            )],
            body: Bytes::from(form(pairs)),
        }
    }
}

/// Posts a form over a Unix socket.
pub async fn post_unix(socket: &Path, path: &str, pairs: &[(&str, &str)]) -> (u16, String) {
    let body = form(pairs);
    request_unix(socket, path, "application/x-www-form-urlencoded", body).await
}

/// Posts JSON over a Unix socket.
pub async fn post_unix_json(socket: &Path, path: &str, json: &serde_json::Value) -> (u16, String) {
    request_unix(socket, path, "application/json", json.to_string()).await
}

async fn request_unix(socket: &Path, path: &str, kind: &str, body: String) -> (u16, String) {
    let stream = UnixStream::connect(socket).await.unwrap();
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .unwrap();
    tokio::spawn(connection);
    let request = Request::post(path)
        .header("host", "mandate")
        .header("content-type", kind)
        .body(Full::new(Bytes::from(body)))
        .unwrap();
    let response = sender.send_request(request).await.unwrap();
    let status = response.status().as_u16();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    (status, String::from_utf8_lossy(&body).into_owned())
}

fn token_of(body: &str) -> String {
    let reply: serde_json::Value = serde_json::from_str(body).unwrap();
    reply["access_token"].as_str().unwrap().to_owned()
}

pub fn form(pairs: &[(&str, &str)]) -> String {
    let encode = |text: &str| -> String {
        text.bytes()
            .map(|b| match b {
                b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' => {
                    char::from(b).to_string()
                }
                _ => format!("%{b:02X}"),
            })
            .collect()
    };
    let pairs: Vec<String> = pairs
        .iter()
        .map(|(k, v)| format!("{}={}", encode(k), encode(v)))
        .collect();
    pairs.join("&")
}
