//! The seven scenes, one file each, in order.

mod audit;
mod break_glass;
mod delegation;
mod mandate_limits;
mod opening;
mod refusals;
mod tracing_back;

use std::path::Path;

use mandate_model::SpiffeId;
use serde_json::Value;

use super::actor::Actor;
use super::orders::Refusal;
use super::stage::Stage;
use super::story::Story;
use crate::failure::Failure;

/// The agents that are running, and what the scenes learn on the way.
struct Players {
    orchestrator: Actor,
    retriever: Option<Actor>,
    /// The root task.
    root: String,
    /// The retriever's task.
    child: String,
}

/// Plays them all.
pub(super) async fn play(
    stage: &mut Stage,
    story: &mut Story,
    export: Option<&Path>,
) -> Result<(), Failure> {
    stage.set().await?;
    introduce(stage, story)?;
    let mut players = opening::play(stage, story).await?;
    delegation::play(stage, story, &mut players).await?;
    mandate_limits::play(stage, story, &mut players).await?;
    refusals::play(stage, story, &mut players).await?;
    tracing_back::play(stage, story, &players).await?;
    break_glass::play(stage, story, &mut players).await?;
    players.orchestrator.dismiss().await;
    if let Some(retriever) = players.retriever.take() {
        retriever.dismiss().await;
    }
    audit::play(stage, story, export).await
}

fn introduce(stage: &mut Stage, story: &mut Story) -> Result<(), Failure> {
    let isolation = stage.cast.isolation;
    let parts = stage.parts()?;
    story.says(&format!(
        "A Mandate server (pid {}) runs, and in front of a records API its gateway. The API wants",
        parts.server.pid()
    ));
    story
        .says("a key, which the gateway has and no agent will get. A bundle says who may do what.");
    story.isolated(isolation, stage.cast.made_all());
    Ok(())
}

impl Players {
    fn retriever(&mut self) -> Result<&mut Actor, Failure> {
        let missing = || Failure::failed("the retriever does not run", "");
        self.retriever.as_mut().ok_or_else(missing)
    }
}

/// An agent proves what it is, and that is told.
async fn introduce_agent(story: &mut Story, agent: &mut Actor) -> Result<(), Failure> {
    let identity = agent.attest().await?;
    let what = format!("identity {} ({})", identity.id, identity.kind);
    story.allowed(&what, identity.elapsed_ms);
    story.fact("agent", &identity.id);
    story.fact("attestation", &identity.kind);
    Ok(())
}

/// The SPIFFE ID of an agent type of the demonstration.
fn spiffe_id(role: &str) -> Result<SpiffeId, Failure> {
    SpiffeId::parse(&format!("spiffe://{}/agent/{role}", super::server::DOMAIN))
        .map_err(|e| Failure::failed(e.to_string(), ""))
}

/// Reading the records of `customers`.
fn reading(customers: &[&str]) -> Value {
    serde_json::json!([{
        "type": "mandate_access", "server": "records", "actions": ["read"],
        "constraints": {"customer": {"in": customers}},
    }])
}

/// An address of the records workload at the gateway.
fn at_gateway(stage: &mut Stage, path: &str) -> Result<String, Failure> {
    let gateway = stage.parts()?.server.endpoints.gateway;
    Ok(format!("http://{gateway}/records{path}"))
}

/// Tells a refusal and keeps it as a fact.
fn tell(story: &mut Story, name: &str, what: &str, refusal: &Refusal) {
    story.refused(what, &refusal.rule, &refusal.why, refusal.elapsed_ms);
    story.fact(name, refusal);
}

/// The resource indicator of the records workload.
const RECORDS: &str = "https://records.acme.example";
