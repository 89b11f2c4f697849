//! `mandate token`: an access token for a server workload, or a JWT-SVID for another audience.

use super::agent_options::{AgentOptions, TaskFile};
use crate::client::agent::Token;
use crate::context::Context;
use crate::failure::{Exit, Outcome};

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  mandate token https://records.acme.example --task task.jwt
  curl -H \"Authorization: Bearer $(mandate token https://records.acme.example)\" http://127.0.0.1:7700/records/customers/acme
  mandate token --identity spiffe://acme.example/mandate/gateway")]
pub(crate) struct Args {
    /// The server workload's resource indicator, or with --identity an audience
    audience: String,
    /// A JWT-SVID of this process for this audience, in place of an access token; it attests the process
    /// itself, whatever --svid says
    #[arg(long)]
    identity: bool,
    #[command(flatten)]
    task: TaskFile,
    #[command(flatten)]
    agent: AgentOptions,
}

pub(crate) async fn run(args: Args, context: &Context) -> Outcome {
    let token = if args.identity {
        args.agent
            .agent(context)
            .svid_for(&args.audience, args.agent.claim())
            .await?
    } else {
        let task = args.task.token()?;
        // Whoever gets the token has no key of this process.
        let agent = args.agent.attest_bearer(context).await?;
        agent.access(task.expose(), &args.audience).await?
    };
    show(&token, context);
    Ok(Exit::Ok)
}

/// The token alone, for `$(…)`; with everything about it as JSON.
pub(crate) fn show(token: &Token, context: &Context) {
    let text = token.text.expose();
    let value = serde_json::json!({
        "token": text,
        "token_type": token.token_type,
        "expires_in": token.lifetime.as_secs(),
        "scope": token.scope,
    });
    context.out.result(&value, |_| text.clone());
}
