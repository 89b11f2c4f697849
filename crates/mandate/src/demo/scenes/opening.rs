//! Scene 1: a person's request opens a task.

use http::StatusCode;
use serde_json::json;

use super::super::actor::Actor;
use super::super::orders::{Answer, Hidden, Order};
use super::super::stage::Stage;
use super::super::story::Story;
use super::{Players, reading};
use crate::client::http::{CALL, Door};
use crate::client::members::Members;
use crate::failure::Failure;

pub(super) async fn play(stage: &mut Stage, story: &mut Story) -> Result<Players, Failure> {
    story.scene("Alice asks for help, and the orchestrator opens a task");
    let data = stage.data.clone();
    let mut orchestrator = Actor::start("orchestrator", &stage.cast, data.path()).await?;
    story.says(&format!(
        "The orchestrator (pid {}) asks what it is; the kernel vouches for the process at the socket:",
        orchestrator.pid()
    ));
    super::introduce_agent(story, &mut orchestrator).await?;
    story.says(
        "Alice of acme's support logs in (at a test issuer) and asks. Her ID token is the cause:",
    );
    let order = Order::Open {
        purpose: "support-case".to_owned(),
        id_token: Some(log_in(stage).await?),
        event: None,
        access: reading(&["acme"]),
        expires_in: 600,
    };
    let task = orchestrator.expect(&order, Answer::task).await?;
    let what = format!("task {}", task.id);
    story.allowed(&what, task.elapsed_ms);
    story.adds(&format!(
        "{} where customer is acme, for ten minutes",
        task.scope
    ));
    story.fact("task", &task.id);
    story.fact("scope", &task.scope);
    Ok(Players {
        orchestrator,
        retriever: None,
        root: task.id,
        child: String::new(),
    })
}

/// What a browser would do with a real provider.
async fn log_in(stage: &mut Stage) -> Result<Hidden, Failure> {
    let issuer = stage.parts()?.server.endpoints.dev_issuer;
    let issuer = issuer.ok_or_else(|| Failure::failed("there is no test issuer", ""))?;
    let door = Door::Tcp(issuer.to_string());
    let who = json!({"user": "alice", "claims": {"groups": ["support"], "tenant": "acme"}});
    let answer = door.call(door.json("/login", &who)?, CALL).await?;
    let body: serde_json::Value = serde_json::from_slice(&answer.body).unwrap_or_default();
    match body.text("id_token") {
        Some(token) if answer.status == StatusCode::OK => Ok(Hidden::new(token)),
        Some(_) | None => Err(Failure::failed("the test issuer gave no ID token", "")),
    }
}
