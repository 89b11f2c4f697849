//! `mandate audit`: search, verify, prove and export the log, and keep its checkpoints.

mod checkpoint;
mod export;
mod kept;
mod prove;
mod search;
mod tiles;
mod verify;

use crate::context::Context;
use crate::failure::Outcome;

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Find records, the latest first
    Search(search::Args),
    /// Check that no record was changed, removed or added, and name those that were
    Verify(verify::Args),
    /// Print the latest signed checkpoint, or keep it elsewhere if the log goes on from the one there
    Checkpoint(checkpoint::Args),
    /// Print a proof that a record is in the log, for people who have no access to it
    Prove(prove::Args),
    /// Write all records, one JSON object a line, or as files for any client of a transparency log
    Export(export::Args),
}

pub(crate) async fn run(command: Command, context: &Context) -> Outcome {
    match command {
        Command::Search(args) => search::run(args, context).await,
        Command::Verify(args) => verify::run(args, context).await,
        Command::Checkpoint(args) => checkpoint::run(args, context).await,
        Command::Prove(args) => prove::run(args, context).await,
        Command::Export(args) => export::run(args, context).await,
    }
}
