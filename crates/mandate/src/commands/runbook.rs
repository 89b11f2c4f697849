//! `mandate runbook`: how to stop an agent type and bring it back, from the bundle and the live state.

use mandate_model::stop::Suspension;
use mandate_model::{AgentTypeName, ServerName};
use mandate_policy::Bundle;
use mandate_policy::decl::{AgentType, ServerWorkload};
use mandate_ports::Clock;
use serde::{Deserialize, Serialize};

use super::live;
use super::moment::moment;
use crate::client::operator::Operator;
use crate::context::Context;
use crate::failure::{Exit, Failure, Outcome};
use crate::output::Paint;
use crate::serve::machine::SystemClock;

#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  mandate runbook retriever")]
pub(crate) struct Args {
    /// The agent type
    agent: AgentTypeName,
}

#[derive(Debug, Serialize)]
struct Runbook {
    agent: AgentTypeName,
    contact: String,
    impact: String,
    /// Agent types that hand tasks to it.
    spawned_by: Vec<AgentTypeName>,
    /// Agent types in whose process it may run: what stops them stops it too.
    hosted_by: Vec<AgentTypeName>,
    /// Purposes of the root tasks that it opens.
    opens: Vec<String>,
    /// Server workloads that it is: who calls them reaches nobody while it is stopped.
    called_as: Vec<ServerName>,
    /// Server workloads that it accesses.
    accesses: Vec<String>,
    /// The suspension that stops it now.
    suspended: Option<Suspension>,
    second_operator: bool,
    steps: Vec<String>,
    stop: String,
    resume: String,
}

#[derive(Deserialize)]
struct Suspensions {
    suspensions: Vec<Suspension>,
}

pub(crate) async fn run(args: Args, context: &Context) -> Outcome {
    let operator = Operator::of(context)?;
    let bundle = live::bundle(&operator, context).await?;
    let agent = bundle.agent(&args.agent).ok_or_else(|| {
        let known: Vec<&str> = bundle.agents().map(|agent| agent.name.as_str()).collect();
        Failure::failed(
            format!("the live bundle has no agent type `{}`", args.agent),
            format!("it has: {}", known.join(", ")),
        )
    })?;
    let all: Suspensions = operator.get("/suspensions", &[]).await?;
    let runbook = make(agent, &bundle, &all.suspensions);
    context.out.result(&runbook, |paint| text(&runbook, paint));
    Ok(Exit::Ok)
}

fn make(agent: &AgentType, bundle: &Bundle, suspensions: &[Suspension]) -> Runbook {
    let name = &agent.name;
    let spawning = bundle
        .agents()
        .filter(|other| other.name != *name && other.may_spawn.contains_key(name));
    let opened = bundle
        .task_policies()
        .filter(|policy| policy.opener == *name);
    let reached = bundle
        .access_policies()
        .filter(|policy| policy.agents.contains(name));
    let is_it =
        |server: &&ServerWorkload| server.a2a.as_ref().is_some_and(|a2a| a2a.agent == *name);
    let subject = mandate_model::stop::Subject::Agent {
        id: agent.id.clone(),
    };
    Runbook {
        agent: name.clone(),
        contact: agent.break_glass.contact.clone(),
        impact: agent.break_glass.impact.clone(),
        spawned_by: spawning.map(|other| other.name.clone()).collect(),
        hosted_by: agent.hosted_by.iter().cloned().collect(),
        opens: opened.map(|policy| policy.name.to_string()).collect(),
        called_as: bundle
            .servers()
            .filter(is_it)
            .map(|server| server.name.clone())
            .collect(),
        accesses: reached
            .map(|policy| {
                let actions: Vec<&str> = policy.actions.iter().map(|a| a.as_str()).collect();
                format!("{}:{}", policy.server, actions.join(","))
            })
            .collect(),
        suspended: suspensions.iter().find(|s| s.subject == subject).cloned(),
        second_operator: agent.break_glass.resume_needs_second_operator,
        steps: agent.break_glass.steps.clone(),
        stop: format!("mandate suspend agent {name} --reason INCIDENT"),
        resume: format!("mandate resume agent {name} --reason MENDED"),
    }
}

fn text(runbook: &Runbook, paint: Paint) -> String {
    let list = |items: &[String], none: &str| {
        if items.is_empty() {
            none.to_owned()
        } else {
            items.join(", ")
        }
    };
    let names = |all: &[AgentTypeName]| all.iter().map(ToString::to_string).collect::<Vec<_>>();
    let spawned = names(&runbook.spawned_by);
    let hosts = names(&runbook.hosted_by);
    let called: Vec<String> = runbook.called_as.iter().map(ToString::to_string).collect();
    let state = match &runbook.suspended {
        Some(s) => paint.red(format!(
            "SUSPENDED since {} by {}: {}",
            moment(s.at, SystemClock.now()),
            s.operator,
            s.reason
        )),
        None => paint.green("not suspended"),
    };
    let mut text = format!(
        "{}  {state}\n\nCall          {}\nIf it stops   {}\nOpens         {}\nIs spawned by {}\nIs hosted by  {}\nIs called as  {}\nAccesses      {}\n\nStop it\n  {}\n",
        paint.bold(format!("Runbook: {}", runbook.agent)),
        runbook.contact,
        runbook.impact,
        list(&runbook.opens, "nothing"),
        list(&spawned, "nobody"),
        list(&hosts, "nobody"),
        list(&called, "nothing"),
        list(&runbook.accesses, "nothing"),
        paint.bold(&runbook.stop),
    );
    if !runbook.steps.is_empty() {
        text.push_str("\nThen\n");
    }
    for (number, step) in runbook.steps.iter().enumerate() {
        text.push_str(&format!("  {}. {step}\n", number + 1));
    }
    let who = if runbook.second_operator {
        " (another operator than the one who suspended)"
    } else {
        ""
    };
    text.push_str(&format!(
        "\nBring it back{who}\n  {}",
        paint.bold(&runbook.resume)
    ));
    text
}
