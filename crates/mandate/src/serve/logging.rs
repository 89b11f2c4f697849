//! Structured logs on standard error: text or JSON, never a secret.
//!
//! Nothing that is logged here can hold one: tokens and keys are `Secret`, whose `Debug` shows nothing.

use tracing_subscriber::EnvFilter;

use crate::failure::Failure;

/// How logs are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// Begins logging; once per process.
pub(crate) fn begin(format: LogFormat, filter: &str) -> Result<(), Failure> {
    let filter = EnvFilter::try_new(filter).map_err(|e| {
        Failure::usage(
            format!("--log: {e}"),
            "for example `info`, or `info,mandate_gateway=debug`",
        )
    })?;
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    let begun = match format {
        LogFormat::Text => builder.with_ansi(false).try_init(),
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
    };
    begun.map_err(|e| Failure::failed(format!("logs cannot be written: {e}"), ""))
}
