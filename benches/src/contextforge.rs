//! What the gateway is compared with as an MCP gateway: ContextForge, with one worker and SQLite, in front of the same
//! server. It speaks 2025-11-25 on both sides.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use bytes::Bytes;
use serde_json::json;
use tokio::net::TcpStream;

use crate::load::{self, Shot};
use crate::mcp::FEW;
use crate::process::{Process, release_folder};
use crate::proxy::free_address;
use crate::server::CREDENTIAL;

/// A running ContextForge that knows the server as `desk`.
#[derive(Debug)]
pub struct ContextForge {
    pub process: Process,
    pub address: SocketAddr,
    token: String,
    _folder: tempfile::TempDir,
}

impl ContextForge {
    /// `None`, and said so, where it is not there.
    pub async fn start(upstream: SocketAddr) -> Option<Self> {
        let Some(venv) = venv() else {
            println!(
                "no ContextForge: set CONTEXTFORGE, or run benches/contextforge.sh once; its figures are missing"
            );
            return None;
        };
        let folder = tempfile::tempdir().unwrap();
        let (address, secret) = (free_address(), random());
        let mut command = Command::new(venv.join("bin/mcpgateway"));
        let database = folder.path().join("contextforge.db");
        let command = command
            .current_dir(folder.path())
            .args(["mcpgateway.main:app", "--host", "127.0.0.1", "--port"])
            .arg(address.port().to_string())
            .env("JWT_SECRET_KEY", &secret)
            .env("AUTH_ENCRYPTION_SECRET", random())
            .env("BASIC_AUTH_PASSWORD", format!("A-{}", random()))
            .env("PLATFORM_ADMIN_PASSWORD", format!("A-{}", random()))
            .env("PLATFORM_ADMIN_EMAIL", ADMIN)
            .env("DATABASE_URL", format!("sqlite:///{}", database.display()))
            .envs(SETTINGS)
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let process = Process::start(command);
        while TcpStream::connect(address).await.is_err() {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        let token = token(&venv, &secret);
        let server = json!({
            "name": "desk", "url": format!("http://{upstream}{FEW}/mcp"), "transport": "STREAMABLEHTTP",
            "auth_type": "authheaders", "auth_headers": [{"key": "X-Api-Key", "value": CREDENTIAL}],
        });
        let shot = shot("/gateways", &token, &server);
        let (status, answer) = load::ask(&mut load::connect(address).await, &shot).await;
        assert!(
            status < 300,
            "{status} {}",
            String::from_utf8_lossy(&answer)
        );
        Some(Self {
            process,
            address,
            token,
            _folder: folder,
        })
    }

    /// The call of a tool, with a token or without.
    pub fn call(&self, tool: &str, with_token: bool) -> Shot {
        let arguments = json!({"customer_id": "acme", "fields": ["name", "plan", "notes"]});
        let params = json!({"name": tool, "arguments": arguments});
        let message = json!({"jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": params});
        shot(
            "/mcp/",
            if with_token { &self.token } else { "none" },
            &message,
        )
    }
}

fn shot(path: &str, token: &str, body: &serde_json::Value) -> Shot {
    let headers = [
        ("content-type", "application/json"),
        ("accept", "application/json, text/event-stream"),
        ("mcp-protocol-version", "2025-11-25"),
    ];
    let headers = headers.map(|(name, value)| (name, value.to_owned()));
    let token = ("authorization", format!("Bearer {token}"));
    Shot {
        method: "POST",
        path: path.to_owned(),
        headers: headers.into_iter().chain([token]).collect(),
        body: Bytes::from(body.to_string()),
    }
}

fn token(venv: &std::path::Path, secret: &str) -> String {
    let output = Command::new(venv.join("bin/python"))
        .args(["-m", "mcpgateway.utils.create_jwt_token", "--username"])
        .args([ADMIN, "--admin", "--exp", "60", "--secret", secret])
        .env("JWT_SECRET_KEY", secret)
        .env("AUTH_ENCRYPTION_SECRET", random())
        .env("BASIC_AUTH_PASSWORD", format!("A-{}", random()))
        .env("PLATFORM_ADMIN_PASSWORD", format!("A-{}", random()))
        .stderr(Stdio::null())
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let token = text.lines().find(|line| line.starts_with("ey"));
    token.expect("a token").to_owned()
}

/// It takes no secret of low entropy.
fn random() -> String {
    let mut bytes = [0; 32];
    aws_lc_rs::rand::fill(&mut bytes).unwrap();
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// `CONTEXTFORGE`, or what `benches/contextforge.sh` has put into the target folder.
fn venv() -> Option<PathBuf> {
    if let Ok(path) = std::env::var("CONTEXTFORGE") {
        return Some(PathBuf::from(path));
    }
    let path = release_folder().with_file_name("contextforge");
    path.join("bin/mcpgateway").exists().then_some(path)
}

const ADMIN: &str = "admin@example.com";
/// No more than a gateway needs, and a server on loopback.
const SETTINGS: [(&str, &str); 9] = [
    ("MCPGATEWAY_UI_ENABLED", "false"),
    ("MCPGATEWAY_ADMIN_API_ENABLED", "false"),
    ("PLUGINS_ENABLED", "false"),
    ("OTEL_ENABLE_OBSERVABILITY", "false"),
    ("LOG_LEVEL", "ERROR"),
    ("CACHE_TYPE", "memory"),
    ("RATE_LIMITING_ENABLED", "false"),
    ("SSRF_ALLOW_LOCALHOST", "true"),
    ("SSRF_ALLOW_PRIVATE_NETWORKS", "true"),
];
