//! `mandate resume`: lift a suspension.

use serde_json::{Value, json};

use super::moment::plural;
use super::subject::SubjectWords;
use super::suspend;
use crate::client::members::Members;
use crate::client::operator::Operator;
use crate::context::Context;
use crate::failure::{Exit, Outcome};

#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  mandate resume agent retriever --reason 'INC-4711 is mended'")]
pub(crate) struct Args {
    #[command(flatten)]
    subject: SubjectWords,
    /// Why, for the record
    #[arg(long, value_name = "TEXT")]
    reason: String,
}

pub(crate) async fn run(args: Args, context: &Context) -> Outcome {
    let subject = args.subject.parse(&suspend::domain(context)?)?;
    let body = json!({ "subject": subject, "reason": args.reason });
    let answer: Value = Operator::of(context)?.post("/resume", &body).await?;
    context.out.result(&answer, |paint| {
        let resumed = paint.green(format!("{subject} is resumed"));
        format!(
            "{resumed}\n{}; agents under it have to attest afresh",
            left_void(&answer)
        )
    });
    Ok(Exit::Ok)
}

/// Everything issued under it before is void, whatever the log could tell of how much that is.
fn left_void(answer: &Value) -> String {
    let at_least = match answer.at("at_least").as_bool() {
        Some(true) => " at least",
        Some(false) | None => "",
    };
    match answer.at("tokens_void").as_u64() {
        Some(tokens) => format!(
            "what was issued under it before is void:{at_least} {}",
            plural(tokens, "token")
        ),
        None => "what was issued under it before is void".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_says_what_is_void_also_where_nobody_could_count() {
        let counted = json!({"tokens_void": 2, "at_least": false});
        assert!(left_void(&counted).ends_with("is void: 2 tokens"));
        let many = json!({"tokens_void": 10_000, "at_least": true});
        assert!(left_void(&many).ends_with("is void: at least 10000 tokens"));
        assert!(left_void(&json!({"at_least": false})).ends_with("is void"));
    }
}
