//! `mandate status`.

mod text;

use std::time::Duration;

use serde_json::Value;

use crate::client::members::Members;
use crate::client::operator::{Operator, OperatorError};
use crate::context::Context;
use crate::failure::{Exit, Failure, Outcome};
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
    if context.elsewhere.is_none()
        && let (Ok(endpoints), Some(members)) = (
            Endpoints::read(&context.data.endpoints()),
            status.as_object_mut(),
        )
    {
        members.insert(
            "endpoints".to_owned(),
            serde_json::to_value(endpoints).unwrap_or(Value::Null),
        );
    }
    context
        .out
        .result(&status, |paint| text::render(&status, paint));
    Ok(Exit::Ok)
}

/// Asks until somebody answers and is ready, or not only starting, or the time is over.
async fn asked(wait: u64, context: &Context) -> Result<Value, Failure> {
    let operator = Operator::of(context)?;
    let mut looks = wait.saturating_mul(LOOKS_PER_SECOND);
    loop {
        match operator.get("/status", &[]).await {
            Ok(status) if has_started(&status) || looks == 0 => return Ok(status),
            Ok(_) => looks -= 1,
            Err(OperatorError::Http(_)) if looks > 0 => looks -= 1,
            Err(why) => return Err(why.into()),
        }
        tokio::time::sleep(Duration::from_secs(1) / LOOK_DIVISOR).await;
    }
}

/// A server that only starts has a gateway without a lease, or none yet. What else keeps it from being
/// ready is an operator's to mend, and no time.
fn has_started(status: &Value) -> bool {
    let gateways = status.items("gateways");
    let leased = |gateway: &Value| gateway.at("leased").as_bool() == Some(true);
    let all_leased = !gateways.is_empty() && gateways.iter().all(leased);
    status.at("ready").as_bool() == Some(true) || all_leased
}

const LOOKS_PER_SECOND: u64 = 20;
const LOOK_DIVISOR: u32 = 20;

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_server_without_a_lease_is_only_starting_and_one_without_a_bundle_is_not() {
        let gateways = |leased: bool| json!([{"id": "local", "leased": leased}]);
        assert!(!has_started(&json!({"ready": false, "gateways": []})));
        assert!(!has_started(
            &json!({"ready": false, "gateways": gateways(false)})
        ));
        assert!(has_started(
            &json!({"ready": false, "gateways": gateways(true)})
        ));
        assert!(has_started(
            &json!({"ready": true, "gateways": gateways(false)})
        ));
    }
}
