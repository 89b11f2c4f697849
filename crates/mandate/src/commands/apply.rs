//! `mandate apply`: makes a bundle live, or an earlier version of it again.

use std::io::{BufRead, IsTerminal};
use std::path::PathBuf;

use mandate_model::BundleVersion;
use serde_json::{Value, json};

use super::bundle_files;
use super::live::Live;
use super::plan::Planned;
use crate::client::members::Members;
use crate::client::operator::Operator;
use crate::context::Context;
use crate::failure::{Exit, Failure, Outcome};

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Shows the plan and asks, on a terminal. The bundle becomes live whole or not at all, and only if what is
live is still what the plan was made against.

Examples:
  mandate apply support
  mandate apply support --yes
  mandate apply --back 3")]
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
}

pub(crate) async fn run(args: Args, context: &Context) -> Outcome {
    match (args.bundle, args.back) {
        (Some(bundle), _) => apply(&bundle, args.yes, context).await,
        (None, Some(version)) => back(BundleVersion::new(version), context).await,
        (None, None) => Err(Failure::usage("no bundle", "mandate apply FOLDER")),
    }
}

async fn apply(bundle: &std::path::Path, yes: bool, context: &Context) -> Outcome {
    let planned = Planned::against_live(bundle, context).await?;
    context.out.tell(&planned.text(context.out.paint()));
    if !yes && !planned.is_empty() && !agreed(context)? {
        return Err(Failure::failed(
            "nothing was applied",
            "answer `yes`, or say --yes",
        ));
    }
    let body = json!({ "files": bundle_files::wire(&planned.files), "base": planned.base });
    let operator = Operator::of(&context.data);
    let mut answer: Value = operator.post("/bundle/apply", &body).await?;
    if let Some(members) = answer.as_object_mut() {
        members.insert("plan".to_owned(), planned.value());
    }
    done(&answer, context);
    Ok(Exit::Ok)
}

async fn back(version: BundleVersion, context: &Context) -> Outcome {
    let operator = Operator::of(&context.data);
    let base = Live::read(&operator, None).await?.version;
    let body = json!({ "version": version, "base": base });
    let answer: Value = operator.post("/bundle/back", &body).await?;
    done(&answer, context);
    Ok(Exit::Ok)
}

fn done(answer: &Value, context: &Context) {
    context.out.result(answer, |paint| {
        paint.green(format!("bundle version {} is live", answer.at("version")))
    });
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
