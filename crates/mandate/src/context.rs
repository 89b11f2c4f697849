//! What every command gets: where the server's data is, and how to speak.

use std::path::{Path, PathBuf};

use mandate_ports::Clock;

use crate::client::http::Door;
use crate::client::session::{Session, Sessions};
use crate::client::tls::{Trust, door_of};
use crate::failure::Failure;
use crate::output::Output;
use crate::serve::machine::SystemClock;

/// What every command gets.
#[derive(Debug, Clone)]
pub(crate) struct Context {
    /// The server's folder.
    pub(crate) data: DataDir,
    /// The server that operators' commands speak with, if it is not the one of `data`.
    pub(crate) elsewhere: Option<Elsewhere>,
    /// Where results go.
    pub(crate) out: Output,
}

/// A server elsewhere, which knows this user by a session.
#[derive(Debug, Clone)]
pub(crate) struct Elsewhere {
    authority: String,
    ca: Option<PathBuf>,
    runtime: Option<PathBuf>,
}

impl Elsewhere {
    /// The server at the URL `authority`. Its certificate is checked against the public authorities
    /// and those in the file `ca`; sessions are kept below `runtime`.
    pub(crate) fn new(authority: &str, ca: Option<PathBuf>, runtime: Option<PathBuf>) -> Self {
        let authority = authority.trim_end_matches('/').to_owned();
        Self {
            authority,
            ca,
            runtime,
        }
    }

    /// Its URL.
    pub(crate) fn authority(&self) -> &str {
        &self.authority
    }

    /// Whom to trust to name it.
    pub(crate) fn trust(&self) -> Result<Trust, Failure> {
        Trust::of(self.ca.as_deref())
    }

    /// Where it listens.
    pub(crate) fn door(&self) -> Result<Door, Failure> {
        let (door, path) = door_of(&self.authority, &self.trust()?)?;
        if path == "/" {
            return Ok(door);
        }
        Err(Failure::usage(
            format!("`{}` has a path", self.authority),
            "a server is named by scheme, host and port alone",
        ))
    }

    /// Where this user's sessions are.
    pub(crate) fn sessions(&self) -> Result<Sessions, Failure> {
        Sessions::of(self.runtime.as_deref())
    }

    /// This user's session with it.
    pub(crate) fn session(&self) -> Result<Session, Failure> {
        self.sessions()?.read(&self.authority, SystemClock.now())
    }
}

impl Context {
    /// What can be done on the server's own machine alone.
    pub(crate) fn only_here(&self) -> Result<(), Failure> {
        match &self.elsewhere {
            None => Ok(()),
            Some(_) => Err(Failure::usage(
                "this works on files of the server's own machine",
                "run it there, without --authority",
            )),
        }
    }
}

/// The folder that a server keeps everything in.
#[derive(Debug, Clone)]
pub(crate) struct DataDir(PathBuf);

impl DataDir {
    /// `chosen`, or the default in the user's home.
    pub(crate) fn resolve(chosen: Option<PathBuf>) -> Result<Self, Failure> {
        if let Some(folder) = chosen {
            return std::path::absolute(&folder)
                .map(Self)
                .map_err(|e| Failure::file(&folder, &e));
        }
        match std::env::home_dir() {
            Some(home) if home.is_absolute() => Ok(Self(home.join(".local/share/mandate"))),
            Some(_) | None => Err(Failure::usage(
                "there is no home folder to keep data in",
                "say where: --data DIR, or set MANDATE_DATA",
            )),
        }
    }

    /// The folder itself.
    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// The embedded store's folder. It holds private keys and is nobody else's.
    pub(crate) fn store(&self) -> PathBuf {
        self.0.join("store")
    }

    /// The store's one file.
    pub(crate) fn database(&self) -> PathBuf {
        self.store().join("mandate.db")
    }

    /// The gateway's own records, before they reach the log.
    pub(crate) fn spool(&self) -> PathBuf {
        self.0.join("spool")
    }

    /// What the gateway keeps across restarts.
    pub(crate) fn gateway_state(&self) -> PathBuf {
        self.0.join("gateway.json")
    }

    /// Which secrets the gateway may send where.
    pub(crate) fn gateway_config(&self) -> PathBuf {
        self.0.join("gateway.yaml")
    }

    /// How the authority reaches those whose word on evidence it asks for.
    pub(crate) fn attest_config(&self) -> PathBuf {
        self.0.join("attest.yaml")
    }

    /// Keys the hashes of personal attributes.
    pub(crate) fn attribute_key(&self) -> PathBuf {
        self.0.join("attribute-key")
    }

    /// Says whose sessions of MCP servers are.
    pub(crate) fn session_key(&self) -> PathBuf {
        self.0.join("session-key")
    }

    /// What never changes in the life of a server: its trust domain and its issuer.
    pub(crate) fn identity(&self) -> PathBuf {
        self.0.join("server.json")
    }

    /// The public keys that sign checkpoints of the log, all that ever did, as note keys.
    pub(crate) fn log_keys(&self) -> PathBuf {
        self.0.join("log-keys")
    }

    /// Where sockets and addresses are while the server runs.
    pub(crate) fn run(&self) -> PathBuf {
        self.0.join("run")
    }

    /// Agents' door.
    pub(crate) fn agent_socket(&self) -> PathBuf {
        self.run().join("agent.sock")
    }

    /// Operators' door.
    pub(crate) fn operator_socket(&self) -> PathBuf {
        self.run().join("operator.sock")
    }

    /// Gateways' door.
    pub(crate) fn control_socket(&self) -> PathBuf {
        self.run().join("control.sock")
    }

    /// The addresses that the running server listens on.
    pub(crate) fn endpoints(&self) -> PathBuf {
        self.run().join("endpoints.json")
    }
}
