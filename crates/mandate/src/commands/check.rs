//! `mandate check`.

use std::path::PathBuf;

use super::bundle_files;
use crate::context::Context;
use crate::failure::{Exit, Outcome};

#[derive(Debug, clap::Args)]
#[command(
    after_help = "Needs no server. Exits with 1 if the bundle does not load.

Examples:
  mandate check support
  mandate check support --output json"
)]
pub(crate) struct Args {
    /// The bundle's folder, or one file
    bundle: PathBuf,
    /// Fail on warnings too
    #[arg(long)]
    strict: bool,
}

pub(crate) fn run(args: Args, context: &Context) -> Outcome {
    let files = bundle_files::read(&args.bundle)?;
    let environment = bundle_files::environment(context)?;
    let loaded = mandate_policy::load(&files, &environment, bundle_files::now());
    let (loads, mistakes) = match loaded {
        Ok(loaded) => (true, loaded.warnings),
        Err(mistakes) => (false, mistakes),
    };
    let good = loads && (mistakes.is_empty() || !args.strict);
    let result = serde_json::json!({ "loads": loads, "mistakes": mistakes });
    context.out.result(&result, |paint| {
        let mut text = bundle_files::show(&mistakes, &files, paint);
        let verdict = if good {
            paint.green("the bundle loads")
        } else {
            paint.red("the bundle does not load")
        };
        text.push_str(&format!("{verdict}: {}", bundle_files::count(&mistakes)));
        text
    });
    Ok(if good { Exit::Ok } else { Exit::Failed })
}
