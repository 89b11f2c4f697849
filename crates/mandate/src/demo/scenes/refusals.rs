//! Scene 4: no policy, no evidence, no widening.

use super::super::actor::Actor;
use super::super::orders::{Answer, Order};
use super::super::stage::Stage;
use super::super::story::Story;
use super::{Players, reading, spiffe_id, tell};
use crate::failure::Failure;

pub(super) async fn play(
    stage: &mut Stage,
    story: &mut Story,
    players: &mut Players,
) -> Result<(), Failure> {
    story.scene("Who has no policy, no evidence or too little mandate gets nothing");
    summarizer(stage, story).await?;
    unheard_of(story, players).await?;
    stray(stage, story).await?;
    widening(story, players).await
}

/// An agent type that no policy mentions: it has an identity, and nothing else.
async fn summarizer(stage: &mut Stage, story: &mut Story) -> Result<(), Failure> {
    let data = stage.data.clone();
    let mut summarizer = Actor::start("summarizer", &stage.cast, data.path()).await?;
    story.says("No policy mentions the summarizer. It has an identity, and that is all:");
    super::introduce_agent(story, &mut summarizer).await?;
    let order = Order::Open {
        purpose: "support-case".to_owned(),
        id_token: None,
        event: Some("curiosity".to_owned()),
        access: reading(&["acme"]),
        expires_in: 60,
    };
    let refused = summarizer.expect(&order, Answer::refusal).await?;
    tell(
        story,
        "summarizer_opens",
        "it opens a task of its own",
        &refused,
    );
    summarizer.dismiss().await;
    Ok(())
}

/// Nor can the orchestrator, which may spawn it, give it what its type could never use.
async fn unheard_of(story: &mut Story, players: &mut Players) -> Result<(), Failure> {
    let order = Order::Delegate {
        to: spiffe_id("summarizer")?,
        access: reading(&["acme"]),
    };
    let refused = players.orchestrator.expect(&order, Answer::refusal).await?;
    let what = "the orchestrator hands it a part of Alice's task";
    tell(story, "summarizer_is_given", what, &refused);
    Ok(())
}

/// A process that says that it is the retriever.
async fn stray(stage: &mut Stage, story: &mut Story) -> Result<(), Failure> {
    let data = stage.data.clone();
    let mut stray = Actor::start("stray", &stage.cast, data.path()).await?;
    let claim = Some(spiffe_id("retriever")?);
    let order = Order::Attest { claim };
    let refused = stray.expect(&order, Answer::refusal).await?;
    let what = format!(
        "a stray process (pid {}) says that it is the retriever",
        stray.pid()
    );
    tell(story, "stray", &what, &refused);
    story.fact("stray_pid", stray.pid());
    stray.dismiss().await;
    Ok(())
}

/// Authority only narrows.
async fn widening(story: &mut Story, players: &mut Players) -> Result<(), Failure> {
    let order = Order::Delegate {
        to: spiffe_id("retriever")?,
        access: reading(&["acme", "globex"]),
    };
    let refused = players.retriever()?.expect(&order, Answer::refusal).await?;
    let what = "the retriever, whose task is about acme, delegates acme and globex";
    tell(story, "widening", what, &refused);
    Ok(())
}
