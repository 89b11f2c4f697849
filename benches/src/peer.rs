//! What exchanges are compared with: the example server of zitadel/oidc, which exchanges a subject and an actor
//! token (RFC 8693) in memory and records nothing.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{Request, StatusCode};
use tokio::net::TcpStream;

use crate::agent::form;
use crate::load::{self, Shot};
use crate::process::Process;

/// A running peer and the exchange that is asked of it.
#[derive(Debug)]
pub struct Peer {
    pub process: Process,
    pub address: SocketAddr,
    pub shot: Shot,
}

impl Peer {
    /// Starts it and signs its example user in; `None`, and said so, where it is not there.
    pub async fn start() -> Option<Self> {
        let Some(binary) = binary() else {
            println!(
                "no zitadel/oidc: set ZITADEL_OIDC, or run benches/zitadel.sh once; its figures are missing"
            );
            return None;
        };
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = free.local_addr().unwrap().port();
        drop(free);
        let mut command = Command::new(binary);
        let command = command
            .env("PORT", port.to_string())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let process = Process::start(command);
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        while TcpStream::connect(address).await.is_err() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let token = sign_in(address).await;
        let shot = exchange(&token);
        Some(Self {
            process,
            address,
            shot,
        })
    }
}

/// An access token of the example's user, by the authorization code flow.
async fn sign_in(to: SocketAddr) -> String {
    let begin = format!(
        "/auth?client_id=web&redirect_uri={REDIRECT}&response_type=code&scope=openid&state=x"
    );
    let login = redirected(to, "GET", &begin, String::new()).await;
    let (_, id) = login.split_once("authRequestID=").unwrap();
    let user = [
        ("username", "test-user@localhost"),
        ("password", "verysecure"),
        ("id", id),
    ];
    let callback = redirected(to, "POST", "/login/username", form(&user)).await;
    let (_, id) = callback.split_once("/auth/callback?id=").unwrap();
    let callback = format!("/auth/callback?id={id}");
    let back = redirected(to, "GET", &callback, String::new()).await;
    let (_, code) = back.split_once("code=").unwrap();
    let code = code.split('&').next().unwrap();
    let pairs = [
        ("grant_type", "authorization_code"),
        ("code", code),
        ("redirect_uri", REDIRECT),
    ];
    let (status, _, body) = request(to, "POST", "/oauth/token", form(&pairs)).await;
    assert_eq!(status, 200, "{body}");
    let answer: serde_json::Value = serde_json::from_str(&body).unwrap();
    answer["access_token"].as_str().unwrap().to_owned()
}

fn exchange(token: &str) -> Shot {
    let access = "urn:ietf:params:oauth:token-type:access_token";
    let pairs = [
        (
            "grant_type",
            "urn:ietf:params:oauth:grant-type:token-exchange",
        ),
        ("subject_token", token),
        ("subject_token_type", access),
        ("actor_token", token),
        ("actor_token_type", access),
        ("requested_token_type", access),
    ];
    Shot {
        method: "POST",
        path: "/oauth/token".to_owned(),
        headers: vec![
            ("content-type", FORM.to_owned()),
            ("authorization", CLIENT.to_owned()),
        ],
        body: Bytes::from(form(&pairs)),
    }
}

async fn redirected(to: SocketAddr, method: &str, path: &str, body: String) -> String {
    let (status, location, body) = request(to, method, path, body).await;
    assert!(status.is_redirection(), "{status} {body}");
    location
}

async fn request(
    to: SocketAddr,
    method: &str,
    path: &str,
    body: String,
) -> (StatusCode, String, String) {
    let mut sender = load::connect(to).await;
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header("host", format!("localhost:{}", to.port()))
        .header("content-type", FORM)
        .header("authorization", CLIENT)
        .body(Full::new(Bytes::from(body)))
        .unwrap();
    let response = sender.send_request(request).await.unwrap();
    let status = response.status();
    let location = response.headers().get("location").cloned();
    let location = location.map(|l| l.to_str().unwrap().to_owned());
    let body = response.into_body().collect().await.unwrap().to_bytes();
    let body = String::from_utf8_lossy(&body).into_owned();
    (status, location.unwrap_or_default(), body)
}

/// `ZITADEL_OIDC`, or what `benches/zitadel.sh` has put into the target folder.
fn binary() -> Option<PathBuf> {
    if let Ok(path) = std::env::var("ZITADEL_OIDC") {
        return Some(PathBuf::from(path));
    }
    let path = crate::process::release_folder().with_file_name("zitadel/server");
    path.exists().then_some(path)
}

const REDIRECT: &str = "http://localhost:9999/auth/callback";
const FORM: &str = "application/x-www-form-urlencoded";
/// `web:secret`, the example's client.
const CLIENT: &str = "Basic d2ViOnNlY3JldA==";
