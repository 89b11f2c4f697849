//! `mandate serve`: authority, gateway and log in one process, on one folder.

pub(crate) mod attest;
mod authority;
pub(crate) mod dev_issuer;
pub(crate) mod endpoints;
pub(crate) mod folder;
mod gateway;
pub(crate) mod hardening;
pub(crate) mod identity;
pub(crate) mod keys;
pub(crate) mod logging;
pub(crate) mod machine;
mod options;
mod server;
mod sockets;
mod tls;

pub(crate) use gateway::GATEWAY;
pub(crate) use options::{Args, DEFAULT_ADDRESSES};

use tokio::io::AsyncReadExt;
use tokio::signal::unix::{SignalKind, signal};

use crate::context::Context;
use crate::failure::{Exit, Failure, Outcome};
use server::Server;

/// Runs until a signal says to stop.
pub(crate) async fn run(args: Args, context: &Context) -> Outcome {
    hardening::harden().map_err(|e| {
        Failure::failed(
            format!("core dumps and tracing cannot be turned off: {e}"),
            "keys would not be safe; let the process lower its own limits",
        )
    })?;
    logging::begin(args.log_format, &args.log)?;
    let end_with_stdin = args.end_with_stdin;
    let mut server = Server::start(args, context).await?;
    announce(&server, context);
    let why = tokio::select! {
        why = signalled() => why?,
        () = stdin_ends(), if end_with_stdin => "whoever started this has ended",
        why = server.failed() => why,
    };
    tracing::info!(why, "stopping");
    server.stop().await;
    tracing::info!("stopped");
    Ok(Exit::Ok)
}

/// Where it listens, and aloud what is not for production.
fn announce(server: &Server, context: &Context) {
    let endpoints = server.endpoints();
    tracing::info!(
        issuer = endpoints.issuer,
        trust_domain = endpoints.trust_domain,
        authority = %endpoints.authority,
        gateway = %endpoints.gateway,
        metrics = %endpoints.metrics,
        data = %context.data.path().display(),
        release = env!("CARGO_PKG_VERSION"),
        "serving"
    );
    if let Some(dev) = endpoints.dev_issuer {
        tracing::warn!(
            address = %dev,
            "--dev: a TEST ISSUER that believes whoever asks; never use it where anything matters"
        );
    }
    context.out.result(endpoints, |paint| {
        let mut text = format!(
            "{}  trust domain {}, issuer {}\n  agents     {}\n  gateway    http://{}/<server workload>/\n  operators  {}\n  metrics    http://{}/metrics",
            paint.green("ready"),
            endpoints.trust_domain,
            endpoints.issuer,
            context.data.agent_socket().display(),
            endpoints.gateway,
            context.data.operator_socket().display(),
            endpoints.metrics,
        );
        if let Some(tls) = endpoints.gateway_tls {
            text.push_str(&format!("\n  with TLS   https://<host of a server workload>/ at {tls}"));
        }
        if let Some(dev) = endpoints.dev_issuer {
            let dev = format!("  --dev      TEST ISSUER http://{dev}: it believes whoever asks");
            text.push_str(&format!("\n{}", paint.yellow(dev)));
        }
        text
    });
}

/// Waits for SIGTERM or SIGINT, and says which came.
pub(crate) async fn signalled() -> Result<&'static str, Failure> {
    let failed = |e: std::io::Error| Failure::failed(format!("no signals: {e}"), "");
    let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
    Ok(tokio::select! {
        _ = interrupt.recv() => "interrupted",
        _ = terminate.recv() => "told to terminate",
    })
}

/// Waits until whoever holds our standard input has gone.
pub(crate) async fn stdin_ends() {
    // An error on it is its end too.
    let _ = tokio::io::stdin().read_to_end(&mut Vec::new()).await;
}
