//! `mandate status`.

use std::time::Duration;

use serde_json::Value;

use crate::client::operator::{Operator, OperatorError};
use crate::context::Context;
use crate::failure::{Exit, Failure, Outcome};
use crate::output::Paint;
use crate::progress;
use crate::serve::endpoints::Endpoints;

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  mandate status\n  mandate status --wait 10 --output json")]
pub(crate) struct Args {
    /// Wait for a server that is only starting, at most so long
    #[arg(long, value_name = "SECONDS", default_value_t = 0)]
    wait: u64,
}

pub(crate) async fn run(args: Args, context: &Context) -> Outcome {
    let asked = asked(args.wait, context);
    let mut status = progress::waiting(&context.out, "waiting for the server", asked).await?;
    // The addresses are the server's own word too, and not part of its interface.
    if let (Ok(endpoints), Some(members)) = (
        Endpoints::read(&context.data.endpoints()),
        status.as_object_mut(),
    ) {
        members.insert(
            "endpoints".to_owned(),
            serde_json::to_value(endpoints).unwrap_or(Value::Null),
        );
    }
    context.out.result(&status, |paint| lines(&status, paint));
    Ok(Exit::Ok)
}

/// Asks until somebody answers, or the time is over.
async fn asked(wait: u64, context: &Context) -> Result<Value, Failure> {
    let operator = Operator::of(&context.data);
    let mut looks = wait.saturating_mul(LOOKS_PER_SECOND);
    loop {
        match operator.get("/status", &[]).await {
            Ok(status) => return Ok(status),
            Err(OperatorError::Http(_)) if looks > 0 => looks -= 1,
            Err(why) => return Err(why.into()),
        }
        tokio::time::sleep(Duration::from_secs(1) / LOOK_DIVISOR).await;
    }
}

/// Whatever the server tells, a line each, nested under its heading.
fn lines(status: &Value, paint: Paint) -> String {
    let mut text = String::new();
    for (name, value) in status.as_object().into_iter().flatten() {
        let heading = paint.bold(name.replace('_', " "));
        match value {
            Value::Object(members) => {
                text.push_str(&format!("{heading}\n"));
                for (name, value) in members {
                    text.push_str(&format!(
                        "  {:<18} {}\n",
                        name.replace('_', " "),
                        plain(value)
                    ));
                }
            }
            Value::Array(items) if items.iter().any(Value::is_object) => {
                text.push_str(&format!("{heading}\n"));
                for item in items {
                    text.push_str(&format!("  {}\n", members(item)));
                }
            }
            Value::Null
            | Value::Bool(_)
            | Value::Number(_)
            | Value::String(_)
            | Value::Array(_) => text.push_str(&format!("{heading}  {}\n", plain(value))),
        }
    }
    text
}

fn members(item: &Value) -> String {
    let pairs = item.as_object().into_iter().flatten();
    let pairs: Vec<String> = pairs
        .map(|(name, value)| format!("{} {}", name.replace('_', " "), plain(value)))
        .collect();
    pairs.join(", ")
}

fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(items) if items.is_empty() => "none".to_owned(),
        Value::Array(items) => items.iter().map(plain).collect::<Vec<_>>().join(", "),
        Value::Object(_) => members(value),
        Value::Null => "none".to_owned(),
        Value::Bool(_) | Value::Number(_) => value.to_string(),
    }
}

const LOOKS_PER_SECOND: u64 = 20;
const LOOK_DIVISOR: u32 = 20;
