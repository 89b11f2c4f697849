//! Scene 6: stop it, everywhere, now; and it stays stopped.

use mandate_model::TaskId;
use mandate_ports::Clock;
use serde_json::Value;

use super::super::actor::Actor;
use super::super::orders::{Answer, Order};
use super::super::stage::Stage;
use super::super::story::Story;
use super::{Players, RECORDS, at_gateway, tell};
use crate::commands::suspend;
use crate::failure::Failure;
use crate::serve::machine::SystemClock;

pub(super) async fn play(
    stage: &mut Stage,
    story: &mut Story,
    players: &mut Players,
) -> Result<(), Failure> {
    story.scene("Break the glass: the retriever misbehaves, and is stopped");
    let retriever = players.retriever()?;
    download(stage, story, retriever).await?;
    suspend_it(stage, story, retriever).await?;
    token_in_hand(stage, story, retriever).await?;
    another_token(stage, story, retriever, "next_access").await?;
    restart(stage, story, retriever).await?;
    resume(stage, story, retriever).await?;
    go_on(stage, story, players).await
}

async fn download(
    stage: &mut Stage,
    story: &mut Story,
    retriever: &mut Actor,
) -> Result<(), Failure> {
    let order = Order::Download {
        resource: RECORDS.to_owned(),
        url: at_gateway(stage, "/customers/acme/export")?,
    };
    let http = retriever.expect(&order, |answer| answer.http(200)).await?;
    let what = "GET /customers/acme/export: a download of a minute is under way";
    story.allowed(what, http.elapsed_ms);
    Ok(())
}

async fn suspend_it(
    stage: &mut Stage,
    story: &mut Story,
    retriever: &mut Actor,
) -> Result<(), Failure> {
    let arguments = ["suspend", "agent", "retriever", "--reason", "INC-4711"];
    let proof = operate(stage, story, &arguments).await?;
    let returned_at = SystemClock.now().as_millis();
    story.says(&suspend::sentence(&proof));
    let ended = retriever.download_ended().await?;
    story.says(&format!(
        "The download was cut after {} bytes; the last of them came before the command returned.",
        ended.bytes
    ));
    story.fact("proof", &proof);
    story.fact("download", &ended);
    story.fact(
        "last_byte_before_effective",
        ended.last_byte_at <= returned_at,
    );
    Ok(())
}

/// Types an operator's command; an error if it fails.
async fn operate(stage: &Stage, story: &Story, arguments: &[&str]) -> Result<Value, Failure> {
    let quoted = |word: &&str| {
        if word.contains(' ') {
            format!("'{word}'")
        } else {
            (*word).to_owned()
        }
    };
    let words: Vec<String> = arguments.iter().map(quoted).collect();
    story.types(&format!("mandate {}", words.join(" ")));
    let ran = stage.run(arguments).await?;
    if ran.code == 0 {
        Ok(ran.value)
    } else {
        Err(Failure::failed(format!("it failed: {}", ran.value), ""))
    }
}

/// A token that is out already is void.
async fn token_in_hand(
    stage: &mut Stage,
    story: &mut Story,
    retriever: &mut Actor,
) -> Result<(), Failure> {
    let url = at_gateway(stage, "/customers/acme")?;
    let refused = retriever
        .expect(&Order::Replay { url }, Answer::refusal)
        .await?;
    let what = "GET /customers/acme, with an access token that it has already";
    tell(story, "token_in_hand", what, &refused);
    Ok(())
}

async fn another_token(
    stage: &mut Stage,
    story: &mut Story,
    retriever: &mut Actor,
    name: &str,
) -> Result<(), Failure> {
    let order = Order::Fetch {
        resource: RECORDS.to_owned(),
        url: at_gateway(stage, "/customers/acme")?,
    };
    let refused = retriever.expect(&order, Answer::refusal).await?;
    tell(story, name, "asking for another access token", &refused);
    Ok(())
}

async fn restart(
    stage: &mut Stage,
    story: &mut Story,
    retriever: &mut Actor,
) -> Result<(), Failure> {
    story.says("The server is killed (SIGKILL) and started again. Suspended is suspended:");
    stage.crash_and_restart().await?;
    another_token(stage, story, retriever, "after_restart").await?;
    let order = Order::Attest { claim: None };
    let refused = retriever.expect(&order, Answer::refusal).await?;
    tell(
        story,
        "attestation_after_restart",
        "attesting again",
        &refused,
    );
    Ok(())
}

async fn resume(
    stage: &mut Stage,
    story: &mut Story,
    retriever: &mut Actor,
) -> Result<(), Failure> {
    let arguments = [
        "resume",
        "agent",
        "retriever",
        "--reason",
        "INC-4711 is mended",
    ];
    let resumed = operate(stage, story, &arguments).await?;
    story.fact("resume", resumed);
    story.says("What it was issued before stays void. It attests afresh:");
    super::introduce_agent(story, retriever).await
}

/// Who delegated hands the task out again; then the work goes on.
async fn go_on(stage: &mut Stage, story: &mut Story, players: &mut Players) -> Result<(), Failure> {
    let task = TaskId::parse(&players.child).map_err(|e| Failure::failed(e.to_string(), ""))?;
    let order = Order::Resume { task };
    let handed = players.orchestrator.expect(&order, Answer::handed).await?;
    let retriever = players.retriever()?;
    let accept = Order::Accept {
        token: handed.token,
    };
    let task = retriever.expect(&accept, Answer::task).await?;
    story.allowed(
        "the orchestrator hands the same task out again",
        task.elapsed_ms,
    );
    let order = Order::Fetch {
        resource: RECORDS.to_owned(),
        url: at_gateway(stage, "/customers/acme")?,
    };
    let http = retriever.expect(&order, |answer| answer.http(200)).await?;
    story.allowed("GET /customers/acme", http.elapsed_ms);
    story.fact("resumed", true);
    Ok(())
}
