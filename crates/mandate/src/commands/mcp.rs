//! `mandate mcp`: MCP servers that are to be server workloads.

mod accept;
mod import;
mod source;
mod wrap;

use crate::context::Context;
use crate::failure::Outcome;
use crate::mcp::child::{BecomeArgs, become_program};

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Serve an MCP server that speaks on standard input and output to the gateway, over HTTP
    Wrap(wrap::Args),
    /// Read a live server, and write the documents of a bundle that it would be
    Import(import::Args),
    /// Compare the tools that a live server has with those that were accepted, and accept them
    Accept(accept::Args),
    /// What a wrapped server is started through
    #[command(hide = true)]
    Child(BecomeArgs),
}

/// What has to be done before this process has a second thread, and needs no context.
pub(crate) fn at_once(command: &Command) -> Option<Outcome> {
    match command {
        Command::Child(args) => Some(become_program(args)),
        Command::Wrap(_) | Command::Import(_) | Command::Accept(_) => None,
    }
}

pub(crate) async fn run(command: Command, context: &Context) -> Outcome {
    match command {
        Command::Wrap(args) => wrap::run(args, context).await,
        Command::Import(args) => import::run(args, context).await,
        Command::Accept(args) => accept::run(args, context).await,
        Command::Child(args) => become_program(&args),
    }
}
