//! A running `mandate serve`, as a child process.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::Value;

use super::http::Door;

/// The child. It ends when this is dropped, or when this process does: it reads a pipe of ours.
#[derive(Debug)]
pub(crate) struct Server {
    child: Child,
    endpoints: Value,
}

/// How it is started, beside the folder.
#[derive(Debug, Clone)]
pub(crate) struct Options {
    /// How long a gateway goes on without the authority, in seconds.
    pub(crate) lease: u64,
    /// What it logs.
    pub(crate) log: &'static str,
    /// Certificate and key of a gateway's door with TLS.
    pub(crate) tls: Option<(PathBuf, PathBuf)>,
    /// Certificate and key of the authority's door.
    pub(crate) listen_tls: Option<(PathBuf, PathBuf)>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            lease: 15,
            log: "info",
            tls: None,
            listen_tls: None,
        }
    }
}

impl Options {
    fn tls_arguments(&self) -> Vec<std::ffi::OsString> {
        let mut arguments = Vec::new();
        if let Some((cert, key)) = &self.tls {
            arguments.extend(["--tls-listen", "127.0.0.1:0", "--tls-cert"].map(Into::into));
            arguments.extend([cert.into(), "--tls-key".into(), key.into()]);
        }
        if let Some((cert, key)) = &self.listen_tls {
            arguments.extend(["--listen-cert".into(), cert.into()]);
            arguments.extend(["--listen-key".into(), key.into()]);
        }
        arguments
    }
}

impl Server {
    /// The door with TLS.
    pub(crate) fn gateway_tls(&self) -> SocketAddr {
        self.endpoints["gateway_tls"]
            .as_str()
            .unwrap()
            .parse()
            .unwrap()
    }

    /// Starts it on free ports and waits until it says that it is ready. What it logs is added to `log`.
    pub(crate) fn start(data: &Path, log: &Path, options: &Options) -> Result<Self, String> {
        let file = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(log);
        // What an earlier one left behind is not this one's word.
        drop(std::fs::remove_file(data.join("run/endpoints.json")));
        let mut child = Command::new(PROGRAM)
            .arg("--data")
            .arg(data)
            .args([
                "serve",
                "--dev",
                "--end-with-stdin",
                "--trust-domain",
                DOMAIN,
            ])
            .args(FREE_PORTS)
            .args(["--lease", &options.lease.to_string(), "--log", options.log])
            .args(options.tls_arguments())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(file.unwrap())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        if lines.read_line(&mut line).unwrap_or(0) == 0 {
            let ended = child.wait().unwrap();
            let text = std::fs::read_to_string(log).unwrap_or_default();
            return Err(format!("{ended}: {text}"));
        }
        // Nobody reads on; the pipe must not fill.
        std::thread::spawn(move || std::io::copy(&mut lines, &mut std::io::sink()));
        let endpoints = std::fs::read(data.join("run/endpoints.json")).unwrap();
        Ok(Self {
            child,
            endpoints: serde_json::from_slice(&endpoints).unwrap(),
        })
    }

    /// Kills it as a crash would, and waits until it is gone.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Tells it to end, and waits until it has.
    pub(crate) fn stop(&mut self) {
        drop(self.child.stdin.take());
        let status = self.child.wait().unwrap();
        assert!(status.success(), "{status}");
    }

    /// `iss` of its tokens.
    pub(crate) fn issuer(&self) -> String {
        self.endpoints["issuer"].as_str().unwrap().to_owned()
    }

    fn door(&self, name: &str) -> Door {
        let address: SocketAddr = self.endpoints[name].as_str().unwrap().parse().unwrap();
        Door::Tcp(address)
    }

    pub(crate) fn authority(&self) -> Door {
        self.door("authority")
    }

    pub(crate) fn gateway(&self) -> Door {
        self.door("gateway")
    }

    pub(crate) fn metrics(&self) -> Door {
        self.door("metrics")
    }

    pub(crate) fn dev_issuer(&self) -> Door {
        self.door("dev_issuer")
    }

    pub(crate) fn dev_issuer_url(&self) -> String {
        format!("http://{}", self.endpoints["dev_issuer"].as_str().unwrap())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended; what is left of it goes with its folder.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// One of the server's Unix sockets.
pub(crate) fn socket(data: &Path, name: &str) -> Door {
    let path: PathBuf = data.join("run").join(name);
    Door::Unix(path)
}

/// The built program.
pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_mandate");
/// The trust domain of all tests.
pub(crate) const DOMAIN: &str = "acme.example";
const FREE_PORTS: [&str; 8] = [
    "--listen",
    "127.0.0.1:0",
    "--gateway-listen",
    "127.0.0.1:0",
    "--metrics-listen",
    "127.0.0.1:0",
    "--dev-listen",
    "127.0.0.1:0",
];
