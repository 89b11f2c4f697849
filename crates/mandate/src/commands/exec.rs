//! `mandate exec`: a command with an attested identity and a task in its environment.
//!
//! The command gets files and never tokens in its environment: an environment is inherited by
//! everything it starts, shows in crash reports and cannot be renewed. The files are in a folder that only
//! this user can enter, replaced whole before they expire, and gone when the command ends.

mod child;
mod door;
mod keeper;

use std::ffi::OsString;

use super::agent_options::{AgentOptions, Cause, Limits, TaskFile};
use crate::client::agent::{Attested, Token};
use crate::context::Context;
use crate::failure::{Exit, Failure, Outcome};
use crate::serve::endpoints::Endpoints;
use door::{Doors, GatewayUrl};
use keeper::Keeper;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
The command finds in its environment:
  MANDATE_SPIFFE_ID   what it is
  MANDATE_SVID_FILE   its JWT-SVID, renewed before it expires
  MANDATE_TASK_ID     its task, where it has one
  MANDATE_TOKEN_FILE  the task token, renewed before it expires
  MANDATE_GATEWAY_SOCKET  plain HTTP to the gateway; exec adds token and proof
  MANDATE_PROOF_SOCKET    proofs of its key (RFC 9449), which exec has and shows to nobody

A request through MANDATE_GATEWAY_SOCKET names the server workload:
  curl --unix-socket \"$MANDATE_GATEWAY_SOCKET\" -H 'Mandate-Resource: https://records.acme.example' http://gateway/records/customers/acme

Within it, `mandate task` and `mandate token` act as the same instance.

Examples:
  mandate exec -- ./agent
  mandate exec --task child.jwt -- ./retriever
  mandate exec --bearer --task child.jwt -- ./agent-that-exchanges-tokens-itself
  mandate exec --purpose nightly-backlog --schedule nightly --item 4711 -- ./backlog")]
pub(crate) struct Args {
    /// Open a root task for this purpose, and close it when the command ends
    #[arg(long, value_name = "PURPOSE", conflicts_with = "task_file")]
    purpose: Option<String>,
    #[command(flatten)]
    cause: Cause,
    #[command(flatten)]
    limits: Limits,
    #[command(flatten)]
    task: TaskFile,
    #[command(flatten)]
    agent: AgentOptions,
    /// Bring no key: for a command that makes its own exchanges and knows no proofs. Its tokens are good
    /// for whoever has them
    #[arg(long)]
    bearer: bool,
    /// The gateway's address [default: http:// and where the server's gateway listens]
    #[arg(long, env = "MANDATE_GATEWAY_URL", value_name = "URL")]
    gateway: Option<String>,
    /// The command and its arguments
    #[arg(trailing_var_arg = true, required = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

pub(crate) async fn run(args: Args, context: &Context) -> Outcome {
    let gateway = gateway(&args, context)?;
    let agent = if args.bearer {
        args.agent.attest_bearer(context).await?
    } else {
        args.agent.attest(context).await?
    };
    // What can fail without a task fails before there is one.
    let folder = keeper::folder()?;
    let (task, own) = task_of(&args, &agent).await?;
    let mut keeper = Keeper::new(folder, args.agent.clone(), context.clone(), agent, task);
    let ended = match Doors::open(keeper.folder(), keeper.shared(), gateway) {
        Ok(_open) => work(&args.command, &mut keeper).await,
        Err(why) => Err(why),
    };
    if own {
        keeper.close().await;
    }
    ended.map(Exit::Passed)
}

fn gateway(args: &Args, context: &Context) -> Result<GatewayUrl, Failure> {
    let address = match &args.gateway {
        Some(address) => address.clone(),
        None => match Endpoints::read(&context.data.endpoints()) {
            Ok(endpoints) => endpoints.gateway_url(),
            // A server that is not this machine's own, or another folder: where it listens by default.
            Err(_) => DEFAULT_GATEWAY.to_owned(),
        },
    };
    GatewayUrl::parse(&address).map_err(|why| Failure::usage(why, "say --gateway http://HOST:PORT"))
}

/// Starts the command and attends it to its end.
async fn work(command: &[OsString], keeper: &mut Keeper) -> Result<u8, Failure> {
    let environment = keeper.environment().await?;
    let child = child::spawn(command, &environment)?;
    tokio::select! {
        ended = child::attend(child) => ended,
        never = keeper.keep() => match never {},
    }
}

/// The task to work on, and whether it is ours to close.
async fn task_of(args: &Args, agent: &Attested) -> Result<(Option<Token>, bool), Failure> {
    if let Some(purpose) = &args.purpose {
        let open = args.cause.open(purpose, &args.limits)?;
        return Ok((Some(agent.open(&open).await?), true));
    }
    match args.task.optional()? {
        // Renewed at once: this tells whether it is ours, and how long it lives.
        Some(token) => Ok((Some(agent.renew(token.expose()).await?), false)),
        None => Ok((None, false)),
    }
}

const DEFAULT_GATEWAY: &str = "http://127.0.0.1:7700";
