//! `mandate doctor`: what would keep this from working, and the mend.

mod checks;
mod providers;
mod upstreams;

use serde::Serialize;

use crate::context::Context;
use crate::failure::{Exit, Outcome};
use crate::output::Paint;

#[derive(Debug, clap::Args)]
#[command(
    after_help = "Exits with 1 if something would keep this from working.\n\nExample:\n  mandate doctor"
)]
pub(crate) struct Args {}

/// How something stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum State {
    /// As it should be.
    Good,
    /// It works, and somebody should look at it.
    Warning,
    /// It keeps this from working.
    Bad,
}

/// What one check found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Finding {
    check: &'static str,
    state: State,
    found: String,
    /// Empty where there is nothing to mend.
    mend: String,
}

impl Finding {
    fn good(check: &'static str, found: impl Into<String>) -> Self {
        Self::new(check, State::Good, found, "")
    }

    fn warning(check: &'static str, found: impl Into<String>, mend: impl Into<String>) -> Self {
        Self::new(check, State::Warning, found, mend)
    }

    fn bad(check: &'static str, found: impl Into<String>, mend: impl Into<String>) -> Self {
        Self::new(check, State::Bad, found, mend)
    }

    fn new(
        check: &'static str,
        state: State,
        found: impl Into<String>,
        mend: impl Into<String>,
    ) -> Self {
        Self {
            check,
            state,
            found: found.into(),
            mend: mend.into(),
        }
    }
}

pub(crate) async fn run(_args: Args, context: &Context) -> Outcome {
    let findings = checks::all(context).await;
    let bad = findings.iter().any(|finding| finding.state == State::Bad);
    let result = serde_json::json!({ "healthy": !bad, "findings": findings });
    context.out.result(&result, |paint| text(&findings, paint));
    Ok(if bad { Exit::Failed } else { Exit::Ok })
}

fn text(findings: &[Finding], paint: Paint) -> String {
    let mut lines = Vec::new();
    for finding in findings {
        let mark = match finding.state {
            State::Good => paint.green("good   "),
            State::Warning => paint.yellow("warning"),
            State::Bad => paint.red("bad    "),
        };
        lines.push(format!("{mark} {:<22} {}", finding.check, finding.found));
        if !finding.mend.is_empty() {
            lines.push(format!(
                "        {:<22} {} {}",
                "",
                paint.bold("mend:"),
                finding.mend
            ));
        }
    }
    lines.join("\n")
}
