//! The cases of `vectors/http`, each on a connection of its own to a real gateway, in front of an
//! upstream that tells what reached it.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::panic,
    reason = "tests may panic"
)]

mod common;

#[path = "hostile/case.rs"]
mod case;
#[path = "hostile/http1.rs"]
mod http1;
#[path = "hostile/http2.rs"]
mod http2;

use std::collections::BTreeSet;
use std::time::Duration;

use case::{Answer, Case, Send};
use common::upstream::Arrived;
use common::{Options, World, vectors};
use mandate_gateway::Limits;

const FILES: [&str; 7] = [
    "smuggling.txt",
    "targets.txt",
    "fields.txt",
    "bodies.txt",
    "http2.txt",
    "upgrades.txt",
    "limits.txt",
];

#[tokio::test]
async fn smuggled_requests_are_refused_or_framed_anew() {
    hold("smuggling.txt").await;
}

#[tokio::test]
async fn targets_with_two_readings_are_refused_and_others_sent_byte_for_byte() {
    hold("targets.txt").await;
}

#[tokio::test]
async fn fields_that_say_who_calls_or_what_is_meant_reach_no_upstream() {
    hold("fields.txt").await;
}

#[tokio::test]
async fn bodies_with_two_readings_are_refused() {
    hold("bodies.txt").await;
}

#[tokio::test]
async fn upgrades_that_are_not_declared_or_not_asked_for_as_they_must_be_are_refused() {
    hold("upgrades.txt").await;
}

#[tokio::test]
async fn floods_and_malformed_frames_of_http2_are_refused() {
    hold("http2.txt").await;
}

#[tokio::test]
async fn what_is_slow_or_too_large_is_given_up() {
    let short = Duration::from_secs(1);
    let limits = Limits {
        header_timeout: short,
        idle: short,
        ..Limits::default()
    };
    let http = "idleTimeout: 2s, responseTimeout: 2s, maxBodyBytes: 1000";
    let world = world(limits, http).await;
    let token = token(&world);
    let cases = case::read("limits.txt", &token);
    assert!(cases.iter().all(|case| case.short));
    let driven = cases.iter().map(|case| drive(&world, case));
    let wrong: Vec<_> = futures_util::future::join_all(driven).await;
    let mut wrong: Vec<String> = wrong.into_iter().flatten().collect();
    // All at once, so what reached the upstream is told apart by what must have.
    let mut due: Vec<String> = cases
        .iter()
        .flat_map(|case| &case.upstream)
        .map(|a| a.line.clone())
        .collect();
    let mut came: Vec<String> = whole(&world).iter().map(line).collect();
    due.sort();
    came.sort();
    if due != came {
        wrong.push(format!("due {due:#?}, came {came:#?}"));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_case_has_a_name_of_its_own() {
    let cases: Vec<Case> = FILES
        .iter()
        .flat_map(|file| case::read(file, "t"))
        .collect();
    let names: BTreeSet<&str> = cases.iter().map(|case| case.name.as_str()).collect();
    assert_eq!(names.len(), cases.len());
    assert!(cases.len() >= 600, "{}", cases.len());
}

/// Sends each case of `file` after the other, and compares what was answered and what arrived.
async fn hold(file: &str) {
    let world = world(Limits::default(), "").await;
    let token = token(&world);
    let mut wrong = Vec::new();
    for case in case::read(file, &token) {
        let before = whole(&world).len();
        let driven = drive(&world, &case).await;
        wrong.extend(driven);
        let came = whole(&world).split_off(before);
        if let Err(why) = arrived_as_due(&case, &came) {
            wrong.push(format!("{}: {why}", case.name));
        }
    }
    assert!(
        wrong.is_empty(),
        "{} wrong:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}

/// Sends one case; what of its answers is wrong.
async fn drive(world: &World, case: &Case) -> Option<String> {
    let driving = async {
        match &case.send {
            Send::Http1(bytes) => http1::drive(world.address, case, bytes).await,
            Send::Http2(frames) => http2::drive(world.address, case, frames).await,
        }
    };
    let name = &case.name;
    let Ok(answers) = tokio::time::timeout(PATIENCE, driving).await else {
        return Some(format!("{name}: no end, waiting for {:?}", case.answers));
    };
    let fits = |answer: &Answer, due: &Answer| match (answer, due) {
        (Answer::Status(a, _), Answer::Status(b, None)) => a == b,
        _ => answer == due,
    };
    let mut pairs = answers.iter().zip(&case.answers);
    let held = pairs.all(|(answer, due)| due.iter().any(|due| fits(answer, due)));
    let as_many = answers.len() == case.answers.len();
    (!held || !as_many).then(|| format!("{name}: answered {answers:?}, due {:?}", case.answers))
}

fn arrived_as_due(case: &Case, came: &[Arrived]) -> Result<(), String> {
    let lines: Vec<String> = came.iter().map(line).collect();
    let maybe = case.upstream.iter().any(|arrival| arrival.maybe);
    let due: Vec<&str> = case
        .upstream
        .iter()
        .map(|arrival| arrival.line.as_str())
        .collect();
    if lines != due && !(maybe && lines.is_empty()) {
        return Err(format!("reached the upstream {lines:?}, due {due:?}"));
    }
    for arrived in came {
        for (name, value) in &case.has {
            let got = arrived.headers.get(name.as_str());
            if got.is_none_or(|got| got.as_bytes() != value.as_bytes()) {
                return Err(format!("the upstream got `{name}` as {got:?}"));
            }
        }
        // Only the gateway's own credential arrives.
        let own = format!("Bearer {}", common::SECRET);
        if arrived
            .headers
            .get("authorization")
            .is_none_or(|got| got.as_bytes() != own.as_bytes())
        {
            return Err("the upstream got another credential".to_owned());
        }
        let of_interest = case
            .lacks
            .iter()
            .find(|name| arrived.headers.contains_key(name.as_str()));
        if let Some(name) = of_interest {
            return Err(format!("the upstream got `{name}`"));
        }
    }
    Ok(())
}

fn line(arrived: &Arrived) -> String {
    format!(
        "{} {} body={}",
        arrived.method,
        arrived.target,
        arrived.body.len()
    )
}

fn whole(world: &World) -> Vec<Arrived> {
    world
        .upstream
        .arrived()
        .into_iter()
        .filter(|arrived| arrived.whole)
        .collect()
}

async fn world(limits: Limits, http: &str) -> World {
    let world = World::with(Options {
        limits,
        ..Options::default()
    })
    .await;
    let bundle = vectors::bundle(world.upstream.address, http);
    world.apply(bundle).await;
    world
}

fn token(world: &World) -> String {
    let actions = ["read", "search", "refund", "list", "show", "open", "live"];
    vectors::token(world, &actions)
}

/// Longer than anything here takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);
