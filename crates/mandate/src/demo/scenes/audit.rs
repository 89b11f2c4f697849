//! Scene 7: the log is whole; then one byte of it is changed.

use std::path::Path;
use std::time::Duration;

use serde_json::Value;

use super::super::stage::{Ran, Stage};
use super::super::story::Story;
use super::super::tamper;
use crate::failure::{Exit, Failure};

pub(super) async fn play(
    stage: &mut Stage,
    story: &mut Story,
    export: Option<&Path>,
) -> Result<(), Failure> {
    story.scene("The log proves itself, and one changed byte shows");
    if let Some(file) = export {
        let file = file.display().to_string();
        expect(
            &stage.run(&["audit", "export", "--to", &file]).await?,
            Exit::Ok,
        )?;
    }
    all_shipped(stage).await?;
    let before = verify(stage, story).await?;
    expect(&before, Exit::Ok)?;
    story.fact("before", &before.value);
    stage.parts()?.server.stop().await?;
    let flipped = flip(stage)?;
    story.says("The server is stopped, and one byte of a record is changed in mandate.db: `globex` becomes `globey`.");
    story.fact("bytes_changed", flipped);
    let after = verify(stage, story).await?;
    expect(&after, Exit::Failed)?;
    story.fact("after", &after.value);
    Ok(())
}

/// What the gateway has announced and is still shipping would show up as withheld.
async fn all_shipped(stage: &Stage) -> Result<(), Failure> {
    for _ in 0..LOOKS {
        let ran = stage.run(&["audit", "verify"]).await?;
        if ran.code != i32::from(Exit::Incomplete.number()) {
            return Ok(());
        }
        tokio::time::sleep(PAUSE).await;
    }
    Err(Failure::failed(
        "the gateway's records do not arrive in the log",
        "",
    ))
}

async fn verify(stage: &Stage, story: &Story) -> Result<Ran, Failure> {
    story.types("mandate audit verify");
    story.shows(&stage.show(&["audit", "verify"]).await?);
    stage.run(&["audit", "verify"]).await
}

/// The record of scene 3 names the customer that was asked for.
fn flip(stage: &Stage) -> Result<usize, Failure> {
    let flipped = tamper::flip(&stage.data.database(), "\"customer\":[\"globex", b'y')?;
    if flipped == 0 {
        return Err(Failure::failed(
            "the record to tamper with is not in mandate.db",
            "",
        ));
    }
    Ok(flipped)
}

fn expect(ran: &Ran, exit: Exit) -> Result<(), Failure> {
    if ran.code == i32::from(exit.number()) {
        return Ok(());
    }
    let value: &Value = &ran.value;
    Err(Failure::failed(
        format!("exit code {} and not {}: {value}", ran.code, exit.number()),
        "",
    ))
}

const LOOKS: u32 = 100;
const PAUSE: Duration = Duration::from_millis(100);
