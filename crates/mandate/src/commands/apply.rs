//! `mandate apply`: makes a bundle live, or an earlier version of it again.

use std::io::{BufRead, IsTerminal};
use std::path::PathBuf;
use std::time::Duration;

use mandate_model::BundleVersion;
use serde_json::{Value, json};

use super::bundle_files;
use super::plan::Planned;
use crate::client::http::CALL;
use crate::client::members::Members;
use crate::client::operator::Operator;
use crate::context::Context;
use crate::failure::{Exit, Failure, Outcome};
use crate::output::Paint;
use crate::progress;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Shows the plan and asks, on a terminal. The bundle becomes live whole or not at all, and only if what is
live is still what the plan was made against. Returns once it is in force at every gateway that has a lease.
Exits with 3 if it is live, and not in force at one of them within --wait.

Examples:
  mandate apply support
  mandate apply support --yes
  mandate apply --back 3
  mandate apply --back 3 --yes")]
pub(crate) struct Args {
    /// The bundle's folder, or one file
    #[arg(required_unless_present = "back")]
    bundle: Option<PathBuf>,
    /// Go back: apply this earlier version again, as a new one
    #[arg(long, value_name = "VERSION", conflicts_with = "bundle")]
    back: Option<u64>,
    /// Do not ask
    #[arg(long)]
    yes: bool,
    /// How long to wait for the gateways; 0 does not
    #[arg(long, value_name = "SECONDS", default_value_t = 10, value_parser = clap::value_parser!(u64).range(0..=60))]
    wait: u64,
}

pub(crate) async fn run(args: Args, context: &Context) -> Outcome {
    match (args.bundle, args.back) {
        (Some(bundle), _) => apply(&bundle, args.yes, args.wait, context).await,
        (None, Some(version)) => {
            back(BundleVersion::new(version), args.yes, args.wait, context).await
        }
        (None, None) => Err(Failure::usage("no bundle", "mandate apply FOLDER")),
    }
}

async fn apply(bundle: &std::path::Path, yes: bool, wait: u64, context: &Context) -> Outcome {
    let planned = Planned::against_live(bundle, context).await?;
    let files = bundle_files::wire(&planned.files);
    let body = json!({ "files": files, "base": planned.base, "wait_ms": wait * 1000 });
    agreed_on(&planned, "/bundle/apply", &body, (yes, wait), context).await
}

async fn back(version: BundleVersion, yes: bool, wait: u64, context: &Context) -> Outcome {
    let planned = Planned::back_to(version, context).await?;
    let body = json!({ "version": version, "base": planned.base, "wait_ms": wait * 1000 });
    agreed_on(&planned, "/bundle/back", &body, (yes, wait), context).await
}

/// Shows the plan, asks where it changes something, and posts `body`.
async fn agreed_on(
    planned: &Planned,
    path: &str,
    body: &Value,
    (yes, wait): (bool, u64),
    context: &Context,
) -> Outcome {
    context.out.tell(&planned.text(context.out.paint()));
    if !yes && !planned.is_empty() && !agreed(context)? {
        return Err(Failure::failed(
            "nothing was applied",
            "answer `yes`, or say --yes",
        ));
    }
    let mut answer = post(path, body, wait, context).await?;
    if let Some(members) = answer.as_object_mut() {
        members.insert("plan".to_owned(), planned.value());
    }
    Ok(done(&answer, wait, context))
}

async fn post(path: &str, body: &Value, wait: u64, context: &Context) -> Result<Value, Failure> {
    let limit = CALL + Duration::from_secs(wait);
    let operator = Operator::of(context)?;
    let posted = operator.post_within(path, body, limit);
    Ok(progress::waiting(&context.out, "waiting for the gateways", posted).await?)
}

fn done(answer: &Value, wait: u64, context: &Context) -> Exit {
    context
        .out
        .result(answer, |paint| text(answer, wait, paint));
    if wait == 0 || answer.at("effective").as_bool() == Some(true) {
        Exit::Ok
    } else {
        Exit::Incomplete
    }
}

/// That it is live, and at which gateways it is in force.
fn text(answer: &Value, wait: u64, paint: Paint) -> String {
    let version = answer.at("version");
    let live = match answer.at("unchanged").as_bool() {
        Some(true) => {
            format!("nothing changed: bundle version {version} is this one, and stays live")
        }
        Some(false) | None => format!("bundle version {version} is live"),
    };
    let mut lines = vec![paint.green(live)];
    let gateways = answer.at("gateways").as_array();
    for gateway in gateways.into_iter().flatten() {
        lines.push(reached(gateway, wait, paint));
    }
    if gateways.is_none_or(Vec::is_empty) {
        lines.push(paint.yellow("  no gateway has a lease now: nothing is admitted until one has"));
    }
    lines.join("\n")
}

fn reached(gateway: &Value, wait: u64, paint: Paint) -> String {
    let id = gateway.at("id").as_str().unwrap_or("?");
    let older = gateway.at("bundle");
    match gateway.at("after_ms").as_u64() {
        Some(ms) => format!("  in force at gateway {id} after {ms} ms"),
        None if wait == 0 => format!("  not yet in force at gateway {id}: it has version {older}"),
        None => paint.yellow(format!(
            "  NOT in force at gateway {id} after {wait} s: it has version {older}; its log says why"
        )),
    }
}

/// Nobody is asked where nobody can answer.
fn agreed(context: &Context) -> Result<bool, Failure> {
    if !std::io::stdin().is_terminal() {
        return Err(Failure::usage(
            "nobody can be asked whether to apply this",
            "look at `mandate plan`, then say --yes",
        ));
    }
    context.out.note("Apply this? Type `yes`:");
    let mut line = String::new();
    let read = std::io::stdin().lock().read_line(&mut line);
    read.map_err(|e| Failure::failed(e.to_string(), ""))?;
    Ok(line.trim() == "yes")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(gateways: &Value) -> Value {
        json!({"version": 4, "effective": false, "gateways": gateways})
    }

    #[test]
    fn a_gateway_that_decides_by_an_older_bundle_is_named_in_words() {
        let late = json!({"id": "g-2", "effective": false, "bundle": 3});
        let there = json!({"id": "g-1", "effective": true, "after_ms": 12, "bundle": 4});
        let said = text(&answer(&json!([there, late])), 10, Paint::NONE);
        let expected = "bundle version 4 is live\n  \
            in force at gateway g-1 after 12 ms\n  \
            NOT in force at gateway g-2 after 10 s: it has version 3; its log says why";
        assert_eq!(said, expected);
    }

    #[test]
    fn a_bundle_that_was_live_before_is_said_to_be_unchanged() {
        let same = json!({"version": 4, "unchanged": true, "effective": true, "gateways": []});
        let said = text(&same, 10, Paint::NONE);
        assert!(
            said.starts_with("nothing changed: bundle version 4"),
            "{said}"
        );
    }

    #[test]
    fn a_bundle_that_no_gateway_can_use_is_not_passed_off_as_in_use() {
        let said = text(&answer(&json!([])), 10, Paint::NONE);
        assert!(said.contains("no gateway has a lease"), "{said}");
    }
}
