//! What the gateway is compared with: proxies that only forward, and Envoy as a gateway of an MCP server, each a process
//! of its own.

use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Arc;

use hyper::body::Incoming;
use hyper::client::conn::http1::SendRequest;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Mutex;

use crate::issuer::Issuer;
use crate::process::{Process, release_folder};
use crate::server::CREDENTIAL;

/// Whether tokens that were verified are known again.
#[derive(Debug, Clone, Copy)]
pub enum Caches {
    Tokens,
    Nothing,
}

/// A proxy in front of the upstream.
#[derive(Debug)]
pub struct Proxy {
    pub process: Process,
    pub address: SocketAddr,
    _folder: tempfile::TempDir,
}

impl Proxy {
    /// A bare hyper proxy: this very program, which goes into `serve` then.
    pub fn bare(upstream: SocketAddr) -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        let command = command.env(BARE, upstream.to_string());
        let mut process = Process::start(command.stdout(Stdio::piped()));
        let mut line = String::new();
        BufReader::new(process.stdout())
            .read_line(&mut line)
            .unwrap();
        Self {
            process,
            address: line.trim().parse().unwrap(),
            _folder: tempfile::tempdir().unwrap(),
        }
    }

    /// Envoy as a plain proxy.
    pub async fn envoy(upstream: SocketAddr) -> Option<Self> {
        Self::envoy_with(upstream, include_str!("envoy.yaml"), &[]).await
    }

    /// Envoy as a gateway of an MCP server, with what `issuer` signs as tokens.
    pub async fn envoy_mcp(upstream: SocketAddr, issuer: &Issuer, caches: Caches) -> Option<Self> {
        let cache = match caches {
            Caches::Tokens => "jwt_cache_config: {jwt_cache_size: 100}",
            Caches::Nothing => "",
        };
        let settings = [
            ("${jwks}", issuer.jwks()),
            ("${key}", CREDENTIAL.to_owned()),
            ("${cache}", cache.to_owned()),
        ];
        Self::envoy_with(upstream, include_str!("envoy-mcp.yaml"), &settings).await
    }

    /// Envoy with as many workers as there are cores; `None`, and said so, where there is no Envoy.
    async fn envoy_with(
        upstream: SocketAddr,
        config: &str,
        settings: &[(&str, String)],
    ) -> Option<Self> {
        let Some(binary) = envoy_binary() else {
            println!("no Envoy: set ENVOY, or run benches/envoy.sh once; its figures are missing");
            return None;
        };
        let folder = tempfile::tempdir().unwrap();
        let address = free_address();
        let mut config = config
            .replace("${port}", &address.port().to_string())
            .replace("${upstream_port}", &upstream.port().to_string());
        for (name, value) in settings {
            config = config.replace(name, value);
        }
        let path = folder.path().join("envoy.yaml");
        std::fs::write(&path, config).unwrap();
        let mut command = Command::new(binary);
        let command = command
            .args([
                "--log-level",
                "error",
                "--concurrency",
                "2",
                "--use-dynamic-base-id",
            ])
            .arg("-c")
            .arg(&path)
            .stdout(Stdio::null());
        let process = Process::start(command);
        while TcpStream::connect(address).await.is_err() {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
        Some(Self {
            process,
            address,
            _folder: folder,
        })
    }
}

/// Whether this process is to be the bare proxy; then it is one until it is killed.
pub async fn serve_if_asked() {
    if let Ok(upstream) = std::env::var(BARE) {
        serve(upstream.parse().unwrap()).await;
    }
}

/// Forwards to `upstream` from a free loopback port, which it prints.
async fn serve(upstream: SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    println!("{}", listener.local_addr().unwrap());
    std::io::stdout().flush().unwrap();
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        stream.set_nodelay(true).unwrap();
        // One upstream connection for each of the client's: a pool's best case.
        let sender = Arc::new(Mutex::new(connect(upstream).await));
        let service = service_fn(move |request| forward(Arc::clone(&sender), request));
        let serving = hyper::server::conn::http1::Builder::new()
            .serve_connection(TokioIo::new(stream), service);
        tokio::spawn(serving);
    }
}

async fn connect(upstream: SocketAddr) -> SendRequest<Incoming> {
    let stream = TcpStream::connect(upstream).await.unwrap();
    stream.set_nodelay(true).unwrap();
    let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .unwrap();
    tokio::spawn(connection);
    sender
}

async fn forward(
    sender: Arc<Mutex<SendRequest<Incoming>>>,
    request: Request<Incoming>,
) -> Result<Response<Incoming>, hyper::Error> {
    sender.lock().await.send_request(request).await
}

/// `ENVOY`, or what `benches/envoy.sh` has put into the target folder.
fn envoy_binary() -> Option<PathBuf> {
    if let Ok(path) = std::env::var("ENVOY") {
        return Some(PathBuf::from(path));
    }
    let path = release_folder().with_file_name("envoy/bin/envoy");
    path.exists().then_some(path)
}

/// Who does not tell which port it got is told one that was free just now.
pub fn free_address() -> SocketAddr {
    let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    socket.local_addr().unwrap()
}

const BARE: &str = "MANDATE_BENCH_BARE_PROXY_TO";
