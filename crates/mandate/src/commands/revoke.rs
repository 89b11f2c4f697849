//! `mandate revoke`: void one token, by the id that records name it by.

use mandate_model::TokenId;
use serde_json::{Value, json};

use crate::client::operator::Operator;
use crate::context::Context;
use crate::failure::{Exit, Outcome};

#[derive(Debug, clap::Args)]
#[command(after_help = "\
A task token's task goes on: end it with `mandate task close`, or stop it with `mandate suspend task`.

Example:
  mandate revoke tok-0190a5b4-7e6c-7a11-8a11-0123456789ab --reason 'INC-4711: leaked'")]
pub(crate) struct Args {
    /// The token's id: `tok-…`, as `mandate trace` and `mandate audit search` show it
    #[arg(value_parser = TokenId::parse)]
    token: TokenId,
    /// Why, for the record
    #[arg(long, value_name = "TEXT")]
    reason: String,
}

pub(crate) async fn run(args: Args, context: &Context) -> Outcome {
    let path = format!("/tokens/{}/revoke", args.token);
    let body = json!({ "reason": args.reason });
    let answer: Value = Operator::of(context)?.post(&path, &body).await?;
    context.out.result(&answer, |paint| {
        paint.green(format!("{} is void", args.token))
    });
    Ok(Exit::Ok)
}
