//! Scene 3: the type's policy would permit it, the task's mandate does not.

use super::super::orders::{Answer, Order};
use super::super::stage::Stage;
use super::super::story::Story;
use super::{Players, RECORDS, at_gateway, tell};
use crate::client::members::Members;
use crate::failure::Failure;

pub(super) async fn play(
    stage: &mut Stage,
    story: &mut Story,
    players: &mut Players,
) -> Result<(), Failure> {
    story.scene("The retriever asks for another customer");
    policy_would_permit(stage, story).await?;
    let order = Order::Fetch {
        resource: RECORDS.to_owned(),
        url: at_gateway(stage, "/customers/globex")?,
    };
    let retriever = players.retriever()?;
    let refused = retriever.expect(&order, Answer::refusal).await?;
    tell(story, "refusal", "GET /customers/globex", &refused);
    Ok(())
}

/// The same request in a task about globex would pass: asked of the very code of the gateway.
async fn policy_would_permit(stage: &Stage, story: &mut Story) -> Result<(), Failure> {
    let mandate = "records:read customer=globex";
    let request = "GET /customers/globex";
    let arguments = [
        "explain",
        "retriever",
        "records",
        request,
        "--mandate",
        mandate,
    ];
    let ran = stage.run(&arguments).await?;
    if ran.code != 0 {
        return Err(Failure::failed(format!("explain: {}", ran.value), ""));
    }
    story.says(
        "Its type's policy permits it: in a task about globex it would pass (`mandate explain`).",
    );
    story.says("This task is about acme:");
    story.fact("policy_permits", ran.value.at("permitted_by"));
    Ok(())
}
