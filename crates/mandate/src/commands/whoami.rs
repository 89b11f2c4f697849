//! `mandate whoami`.

use super::agent_options::AgentOptions;
use crate::client::members::Members;
use crate::context::Context;
use crate::failure::{Exit, Outcome};

#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  mandate whoami --socket /run/mandate/agent.sock")]
pub(crate) struct Args {
    #[command(flatten)]
    agent: AgentOptions,
}

pub(crate) async fn run(args: Args, context: &Context) -> Outcome {
    let agent = args.agent.attest(context).await?;
    let svid = mandate_model::Secret::new(agent.svid().to_owned());
    let about = agent.introspect(&svid).await?;
    context.out.result(&about, |paint| {
        let field = |name: &str| about.at(name).as_str().unwrap_or("?").to_owned();
        format!(
            "{}\n  instance   {}\n  vouched by {} ({})\n  for        {} s, then attest again",
            paint.bold(&agent.id),
            field("inst"),
            field("prv"),
            field("att"),
            agent.lifetime.as_secs(),
        )
    });
    Ok(Exit::Ok)
}
