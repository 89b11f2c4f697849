//! `mandate mcp wrap`: a server on standard input and output, behind the gateway.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::pin::pin;
use std::time::Duration;

use serde_json::json;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::context::Context;
use crate::failure::{Exit, Failure, Outcome};
use crate::mcp::child::Program;
use crate::mcp::environment::{Environment, EnvironmentOptions};
use crate::mcp::secret_file;
use crate::mcp::wrap::{Discovered, Door, Limits, PATH, Settings, serve};
use crate::mcp::{STATELESS, WITH_SESSIONS};
use crate::serve::hardening;
use crate::serve::logging::{self, LogFormat};
use crate::serve::{signalled, stdin_ends};

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Only who has the key is served: the gateway, which sends it as the server workload's credential. In the bundle:
  upstream: http://127.0.0.1:7750
  credential: {header: Authorization, value: \"Bearer ${secret:desk-key}\"}
  mcp: {}
and in the gateway's gateway.yaml the secret `desk-key` with the key file and that upstream.

The server finds PATH, HOME, LANG, LC_*, TMPDIR and TZ in its environment, and what is named here.
SIGTERM or SIGINT ends it with all that it started.

Examples:
  mandate mcp wrap --listen 127.0.0.1:7750 --key-file desk.key -- mcp-server-git --repository project
  mandate mcp wrap --listen 127.0.0.1:0 --key-file desk.key --secret API_KEY=api.key --env MODE=live -- ./desk")]
pub(crate) struct Args {
    /// Where to listen, on loopback; port 0 is any free one
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// The key that the gateway brings; made, for you alone, where there is no such file
    #[arg(long, value_name = "FILE")]
    key_file: PathBuf,
    #[command(flatten)]
    environment: EnvironmentOptions,
    /// How many sessions there may be, each a process of its own
    #[arg(long, value_name = "NUMBER", default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..=256))]
    max_sessions: u16,
    /// After how many seconds without any use a session ends
    #[arg(long, value_name = "SECONDS", default_value_t = 1800, value_parser = clap::value_parser!(u64).range(1..=MOST_SECONDS))]
    session_idle: u64,
    /// The longest message, either way, in bytes
    #[arg(long, value_name = "BYTES", default_value_t = 8 << 20, value_parser = clap::value_parser!(u32).range(1024..=64 << 20))]
    max_message: u32,
    /// How many seconds the server has to answer its first message
    #[arg(long, value_name = "SECONDS", default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=MOST_SECONDS))]
    start_timeout: u64,
    /// How many seconds it has to end after SIGTERM
    #[arg(long, value_name = "SECONDS", default_value_t = 5, value_parser = clap::value_parser!(u64).range(0..=MOST_SECONDS))]
    grace: u64,
    /// What is logged: `info`, `debug` …
    #[arg(
        long,
        env = "MANDATE_LOG",
        value_name = "FILTER",
        default_value = "info"
    )]
    log: String,
    /// How it is logged, on standard error
    #[arg(long, value_enum, default_value_t = LogFormat::Text)]
    log_format: LogFormat,
    /// End when standard input ends
    #[arg(long, hide = true)]
    end_with_stdin: bool,
    /// The server and its arguments
    #[arg(trailing_var_arg = true, required = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

pub(crate) async fn run(args: Args, context: &Context) -> Outcome {
    if !args.listen.ip().is_loopback() {
        return Err(Failure::usage(
            format!("--listen {} is not on loopback and has no TLS", args.listen),
            "listen on 127.0.0.1, where the gateway is",
        ));
    }
    hardening::harden().map_err(|e| {
        Failure::failed(
            format!("core dumps and tracing cannot be turned off: {e}"),
            "the key would not be safe; let the process lower its own limits",
        )
    })?;
    logging::begin(args.log_format, &args.log)?;
    let key = secret_file::key(&args.key_file)?;
    let environment = Environment::of(&args.environment)?;
    let listener = TcpListener::bind(args.listen).await;
    let listener = listener.map_err(|e| unbound(args.listen, &e))?;
    let address = listener
        .local_addr()
        .map_err(|e| unbound(args.listen, &e))?;
    let end_with_stdin = args.end_with_stdin;
    let key_file = args.key_file.clone();
    let stop = CancellationToken::new();
    // One for both: a signal that came between two would be lost.
    let mut signal = pin!(signalled());
    let mut door = pin!(Door::open(settings(args, environment), key, address, &stop));
    let opened = tokio::select! {
        opened = door.as_mut() => opened,
        why = signal.as_mut() => {
            stop.cancel();
            let _ = door.await;
            return why.map(|_| Exit::Ok);
        }
    };
    let opened = opened.map_err(|why| {
        Failure::failed(
            format!("the MCP server cannot be started: {why}"),
            "check the command after `--`; the log says what the server said",
        )
    })?;
    let Some((door, discovered)) = opened else {
        return Ok(Exit::Ok);
    };
    announce(address, &key_file, &discovered, context);
    let serving = tokio::spawn(serve(listener, door, stop.clone()));
    let why = tokio::select! {
        why = signal => why?,
        () = stdin_ends(), if end_with_stdin => "whoever started this has ended",
    };
    tracing::info!(why, "stopping");
    stop.cancel();
    // It was told; a panic in it is in the log.
    let _ = serving.await;
    tracing::info!("stopped");
    Ok(Exit::Ok)
}

fn settings(args: Args, environment: Environment) -> std::sync::Arc<Settings> {
    let program = Program {
        command: args.command,
        environment,
        longest: args.max_message as usize,
        grace: Duration::from_secs(args.grace),
    };
    let limits = Limits {
        sessions: args.max_sessions.into(),
        idle: Duration::from_secs(args.session_idle),
        start: Duration::from_secs(args.start_timeout),
    };
    Settings::new(program, limits)
}

fn announce(
    address: SocketAddr,
    key_file: &std::path::Path,
    discovered: &Discovered,
    context: &Context,
) {
    let mut revisions = WITH_SESSIONS.to_vec();
    match discovered {
        Discovered::Spoken => revisions.push(STATELESS),
        Discovered::Unspoken { said, .. } => {
            tracing::info!(
                said,
                "the server does not speak {STATELESS}: sessions alone"
            );
        }
    }
    let url = format!("http://{address}{PATH}");
    let result = json!({ "url": url, "key_file": key_file, "revisions": revisions });
    context.out.result(&result, |paint| {
        let newest = revisions.last().copied().unwrap_or_default();
        format!(
            "{}  {url}\n  key        {}\n  speaks     up to {newest}",
            paint.green("ready"),
            key_file.display(),
        )
    });
}

fn unbound(address: SocketAddr, error: &std::io::Error) -> Failure {
    Failure::failed(
        format!("{address} cannot be listened on: {error}"),
        "say another one: --listen 127.0.0.1:PORT",
    )
}

/// A year.
const MOST_SECONDS: u64 = 366 * 86_400;
