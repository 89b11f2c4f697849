//! `mandate quickstart`: the whole of it, with real processes, in seconds; and the parts that it runs.

mod actor;
mod agent;
mod cast;
mod leftovers;
mod orders;
mod records;
mod scenes;
mod server;
mod stage;
mod story;
mod tamper;

use std::path::PathBuf;

use crate::context::Context;
use crate::failure::{Exit, Failure, Outcome};
use stage::Stage;
use story::Story;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Starts a server, an upstream and agents as processes of their own, in a temporary folder and on free
loopback ports, and ends and removes them all. As root it makes a user for each agent type, so that the
kernel can tell them apart, and removes those users again; otherwise it says what it could not do.

Examples:
  mandate quickstart
  mandate quickstart --output json")]
pub(crate) struct Args {
    /// Write the audit log there, a record a line, before it is tampered with
    #[arg(long, value_name = "FILE")]
    export: Option<PathBuf>,
}

/// A process of the demonstration.
#[derive(Debug, Clone, Copy, clap::Subcommand)]
pub(crate) enum Part {
    /// The upstream: a records API that wants an API key
    Records,
    /// An agent that opens tasks and hands them on
    Orchestrator,
    /// An agent that reads
    Retriever,
    /// An agent that no policy mentions
    Summarizer,
    /// A process that is no agent
    Stray,
}

/// Plays all seven scenes. Whatever happens, nothing keeps running.
pub(crate) async fn run(args: Args, context: &Context) -> Outcome {
    let mut stage = Stage::new()?;
    let mut story = Story::begin(context.out);
    for left in leftovers::clear(&std::env::temp_dir()).await {
        story.says(&format!(
            "Removed what a run that was killed had left: {left}"
        ));
    }
    let played = tokio::select! {
        played = scenes::play(&mut stage, &mut story, args.export.as_deref()) => played,
        interrupted = interrupted() => Err(interrupted),
    };
    let left = stage.strike().await;
    played?;
    story.end(&left);
    Ok(Exit::Ok)
}

/// Ends when somebody wants this to end.
async fn interrupted() -> Failure {
    use tokio::signal::unix::{SignalKind, signal};
    let streams = (
        signal(SignalKind::interrupt()),
        signal(SignalKind::terminate()),
        signal(SignalKind::hangup()),
    );
    let (Ok(mut interrupt), Ok(mut terminate), Ok(mut hangup)) = streams else {
        return Failure::failed("signals cannot be waited for", "");
    };
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
        _ = hangup.recv() => {}
    }
    Failure::failed("interrupted; everything that was started is ended", "")
}

/// Runs one of the processes.
pub(crate) async fn run_part(part: Part, context: &Context) -> Outcome {
    match part {
        Part::Records => records::run(context).await,
        Part::Orchestrator | Part::Retriever | Part::Summarizer | Part::Stray => {
            agent::run(context).await
        }
    }
}
