//! The server that a command reads: at a URL with headers, or as a command.

use std::ffi::OsString;
use std::path::Path;
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue};

use crate::client::tls::{Trust, door_of};
use crate::context::Context;
use crate::failure::Failure;
use crate::mcp::child::Program;
use crate::mcp::environment::{Environment, EnvironmentOptions};
use crate::mcp::read::{Declared, HttpServer, LONGEST, ReadError, Server, declared};
use crate::mcp::secret_file;
use crate::progress::waiting;
use crate::serve::logging::{self, LogFormat};
use crate::serve::signalled;

/// How a server is read, whichever it is.
#[derive(Debug, clap::Args)]
pub(super) struct Reading {
    #[command(flatten)]
    environment: EnvironmentOptions,
    /// How many seconds all of it may take
    #[arg(long, value_name = "SECONDS", default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    timeout: u64,
    /// What is logged, on standard error: `info` has what a command says there
    #[arg(long, value_name = "FILTER", default_value = "off")]
    log: String,
}

impl Reading {
    /// Has what a command says logged, where that was asked for.
    pub(super) fn begin_log(&self) -> Result<(), Failure> {
        logging::begin(LogFormat::Text, &self.log)
    }

    /// How long all of it may take.
    pub(super) fn limit(&self) -> Duration {
        Duration::from_secs(self.timeout)
    }
}

/// The server at `url`, trusted as the command line says of the authority.
pub(super) fn at(url: &str, headers: HeaderMap, context: &Context) -> Result<Server, Failure> {
    let trust = match &context.elsewhere {
        Some(elsewhere) => elsewhere.trust()?,
        None => Trust::of(None)?,
    };
    let (door, path) = door_of(url, &trust)?;
    Ok(Server::Http(HttpServer {
        door,
        path,
        headers,
    }))
}

/// The server that `command` is.
pub(super) fn program(command: &[OsString], reading: &Reading) -> Result<Server, Failure> {
    Ok(Server::Stdio(Program {
        command: command.to_vec(),
        environment: Environment::of(&reading.environment)?,
        longest: LONGEST,
        grace: Duration::from_secs(5),
    }))
}

/// What `server` declares. A signal ends that, and a command that was started with it.
pub(super) async fn read(
    server: Server,
    limit: Duration,
    context: &Context,
) -> Result<Declared, Failure> {
    let stop = async {
        if signalled().await.is_err() {
            // Then a signal ends this process by itself.
            std::future::pending().await
        }
    };
    let found = declared(server, limit, stop);
    let found = waiting(&context.out, "reading the server", found).await;
    found.map_err(|why| failure(&why))
}

/// Headers as the command line and a file say them.
pub(super) fn headers(said: &[String], file: Option<&Path>) -> Result<HeaderMap, Failure> {
    let mut all = HeaderMap::new();
    let file = file.map(secret_file::read).transpose()?;
    let lines = file.iter().flat_map(|file| file.expose().lines());
    for line in said.iter().map(String::as_str).chain(lines) {
        let wrong = || {
            // Its value may be a secret.
            Failure::usage(
                "a header is none",
                "say it as `Name: value`, one a line in a file",
            )
        };
        let (name, value) = line.split_once(':').ok_or_else(wrong)?;
        let name: HeaderName = name.trim().parse().map_err(|_| wrong())?;
        let mut value = HeaderValue::from_str(value.trim()).map_err(|_| wrong())?;
        value.set_sensitive(true);
        all.append(name, value);
    }
    Ok(all)
}

/// Why a server could not be read, and what to do.
fn failure(why: &ReadError) -> Failure {
    let text = why.to_string();
    match why {
        ReadError::Unreachable(_) => {
            Failure::unreachable(text, "start the server, or look at its address or command")
        }
        ReadError::Stopped => Failure::failed(text, "nothing was written"),
        ReadError::Slow => Failure::unreachable(text, "give it longer: --timeout SECONDS"),
        ReadError::Unauthorized(_) => {
            Failure::failed(text, "bring what it wants: --header-file FILE")
        }
        ReadError::NotMcp(_) => {
            Failure::failed(text, "name the endpoint, which often ends in `/mcp`")
        }
        ReadError::Ended => Failure::failed(text, "`--log info` shows what it said"),
        ReadError::Refused { .. }
        | ReadError::TooMuch(_)
        | ReadError::Twice { .. }
        | ReadError::Malformed(_) => {
            Failure::failed(text, "the server has to be mended; nothing was written")
        }
    }
}
