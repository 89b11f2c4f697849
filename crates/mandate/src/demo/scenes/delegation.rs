//! Scene 2: a sub-agent gets a part of the task and reads through the gateway.

use super::super::actor::Actor;
use super::super::cast::Isolation;
use super::super::orders::{Answer, Handed, Order};
use super::super::stage::Stage;
use super::super::story::Story;
use super::{Players, RECORDS, at_gateway, reading, spiffe_id};
use crate::failure::Failure;

pub(super) async fn play(
    stage: &mut Stage,
    story: &mut Story,
    players: &mut Players,
) -> Result<(), Failure> {
    story.scene("The orchestrator spawns a retriever with a narrower mandate");
    let handed = delegate(story, players).await?;
    let data = stage.data.clone();
    let mut retriever = Actor::start("retriever", &stage.cast, data.path()).await?;
    say_who_started_it(story, stage.cast.isolation, retriever.pid());
    story.fact("pid", retriever.pid());
    super::introduce_agent(story, &mut retriever).await?;
    let accept = Order::Accept {
        token: handed.token,
    };
    let task = retriever.expect(&accept, Answer::task).await?;
    story.fact("task", &task.id);
    players.child = task.id;
    read_acme(stage, story, &mut retriever).await?;
    go_around(stage, story, &mut retriever).await?;
    players.retriever = Some(retriever);
    Ok(())
}

async fn delegate(story: &mut Story, players: &mut Players) -> Result<Handed, Failure> {
    let order = Order::Delegate {
        to: spiffe_id("retriever")?,
        access: reading(&["acme"]),
    };
    let handed = players.orchestrator.expect(&order, Answer::handed).await?;
    let what = format!(
        "a task for the retriever: {} where customer is acme",
        handed.scope
    );
    story.allowed(&what, handed.elapsed_ms);
    story.fact("scope", &handed.scope);
    Ok(handed)
}

/// Aloud: who really starts the process, and how it gets its task.
fn say_who_started_it(story: &Story, isolation: Isolation, pid: u32) {
    story.says(&format!(
        "The retriever is a process of its own (pid {pid})."
    ));
    if isolation == Isolation::Users {
        story.says(
            "An unprivileged process cannot start another user's, so this program does, as a",
        );
        story.says(
            "service manager would. The task token goes through a pipe; the identity does not:",
        );
    } else {
        story.says("The task token goes to it through a pipe; the identity does not:");
    }
}

async fn read_acme(
    stage: &mut Stage,
    story: &mut Story,
    retriever: &mut Actor,
) -> Result<(), Failure> {
    let order = Order::Fetch {
        resource: RECORDS.to_owned(),
        url: at_gateway(stage, "/customers/acme")?,
    };
    let http = retriever.expect(&order, |answer| answer.http(200)).await?;
    story.allowed("GET /customers/acme", http.elapsed_ms);
    story.adds(http.body.trim());
    story.fact("status", http.status);
    story.fact("body", http.body);
    Ok(())
}

async fn go_around(
    stage: &mut Stage,
    story: &mut Story,
    retriever: &mut Actor,
) -> Result<(), Failure> {
    let upstream = stage.parts()?.upstream.address.clone();
    let url = format!("http://{upstream}/customers/acme");
    let order = Order::GoAround { url };
    let http = retriever.expect(&order, |answer| answer.http(401)).await?;
    let what = "the same, straight to the records API, past the gateway";
    story.refused(what, "401", http.body.trim(), http.elapsed_ms);
    story.says(
        "The retriever has no key to show. The gateway put it into the request it forwarded.",
    );
    story.fact("past_the_gateway", http.status);
    Ok(())
}
