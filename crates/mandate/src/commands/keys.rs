//! `mandate keys`: signing keys and their states; `mandate keys rotate`.

use mandate_model::{KeyId, KeysVersion, Timestamp};
use mandate_ports::Clock;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{moment, table};
use crate::client::members::Members;
use crate::client::operator::Operator;
use crate::context::Context;
use crate::failure::{Exit, Outcome};
use crate::serve::machine::SystemClock;

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  mandate keys\n  mandate keys rotate oauth")]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Announce a new key; it signs once verifiers can have fetched it, and nothing live is voided
    #[command(after_help = "Example:\n  mandate keys rotate oauth")]
    Rotate {
        /// What it signs
        purpose: Purpose,
    },
}

#[derive(Debug, Clone, Copy, clap::ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
enum Purpose {
    /// JWT-SVIDs
    Svid,
    /// Task tokens, access tokens, tokens for upstreams
    Oauth,
    /// Checkpoints of the log
    Log,
}

#[derive(Serialize, Deserialize)]
struct Keys {
    version: KeysVersion,
    keys: Vec<Key>,
}

#[derive(Serialize, Deserialize)]
struct Key {
    id: KeyId,
    purpose: String,
    state: String,
    since: Timestamp,
}

pub(crate) async fn run(args: Args, context: &Context) -> Outcome {
    let operator = Operator::of(context)?;
    match args.command {
        None => list(&operator, context).await,
        Some(Command::Rotate { purpose }) => {
            let body = json!({ "purpose": purpose });
            let answer: Value = operator.post("/keys/rotate", &body).await?;
            context.out.result(&answer, |_| announced(&answer));
            Ok(Exit::Ok)
        }
    }
}

fn announced(answer: &Value) -> String {
    let signs_at = Timestamp::from_millis(answer.number("signs_at"));
    format!(
        "key {} is announced; it signs once verifiers can have fetched it: {}",
        answer.text("key").unwrap_or("?"),
        moment::moment(signs_at, SystemClock.now())
    )
}

async fn list(operator: &Operator, context: &Context) -> Outcome {
    let keys: Keys = operator.get("/keys", &[]).await?;
    let now = SystemClock.now();
    context.out.result(&keys, |_| {
        let rows = keys.keys.iter().map(|key| {
            [
                key.purpose.clone(),
                key.state.clone(),
                moment::moment(key.since, now),
                key.id.to_string(),
            ]
        });
        table::render(["signs", "state", "since", "key"], rows)
    });
    Ok(Exit::Ok)
}
