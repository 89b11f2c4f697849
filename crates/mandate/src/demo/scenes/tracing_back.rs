//! Scene 5: from a record back to its cause.

use std::time::Duration;

use serde_json::Value;

use super::super::stage::Stage;
use super::super::story::Story;
use super::Players;
use crate::failure::Failure;

pub(super) async fn play(
    stage: &mut Stage,
    story: &mut Story,
    players: &Players,
) -> Result<(), Failure> {
    story.scene("Why did this happen? From Alice down to each access");
    story.types(&format!("mandate trace {}", players.root));
    let trace = shipped(stage, &players.root).await?;
    story.shows(&stage.show(&["trace", &players.root]).await?);
    story.fact("trace", trace);
    Ok(())
}

/// The gateway ships its records when it can; the trace is whole once both accesses are in the log.
async fn shipped(stage: &Stage, task: &str) -> Result<Value, Failure> {
    for _ in 0..LOOKS {
        let trace = stage.run(&["trace", task]).await?;
        let text = trace.value.to_string();
        if text.contains("globex") && text.contains("\"status\":200") {
            return Ok(trace.value);
        }
        tokio::time::sleep(PAUSE).await;
    }
    Err(Failure::failed(
        "the gateway's records do not arrive in the log",
        "",
    ))
}

const LOOKS: u32 = 100;
const PAUSE: Duration = Duration::from_millis(100);
