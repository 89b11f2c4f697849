//! `mandate resume`: lift a suspension.

use serde_json::{Value, json};

use super::subject::SubjectWords;
use super::suspend;
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
    let answer: Value = Operator::of(&context.data).post("/resume", &body).await?;
    context.out.result(&answer, |paint| {
        format!(
            "{}\nagents under it have to attest afresh",
            paint.green(format!("{subject} is resumed"))
        )
    });
    Ok(Exit::Ok)
}
