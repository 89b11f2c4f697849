//! `mandate gateway`.

use mandate_gateway::Marks;
use mandate_model::{BundleVersion, GatewayId, KeysVersion, StopVersion, StoreEpoch};
use serde::Deserialize;
use serde_json::{Value, json};

use super::moment::plural;
use crate::client::operator::Operator;
use crate::context::Context;
use crate::failure::{Exit, Failure, Outcome};
use crate::serve::GATEWAY;

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Let the gateway go on with a store that went back or is new
    Accept(AcceptArgs),
}

#[derive(Debug, clap::Args)]
#[command(after_help = "\
A gateway refuses a store that is older than the one it knows, since that may have forgotten suspensions.
Accepting suspends again what the gateway still holds, voids every token that was ever issued, and then
lets it go on, which takes it a few seconds.
Marks that are damaged are set aside instead: nobody can tell then what the gateway held.

Example:
  mandate gateway accept")]
pub(crate) struct AcceptArgs {}

/// What the store is after it took the suspensions back.
#[derive(Deserialize)]
struct Accepted {
    epoch: StoreEpoch,
    version: StopVersion,
    restored: u64,
}

pub(crate) async fn run(command: Command, context: &Context) -> Outcome {
    let Command::Accept(AcceptArgs {}) = command;
    context.only_here()?;
    let path = context.data.gateway_state();
    let failed = |e: mandate_gateway::MarksError| {
        Failure::failed(e.to_string(), "run this as the server's own user")
    };
    if let Some(aside) = Marks::set_aside_damaged(&path).map_err(failed)? {
        let set_aside = format!(
            "the gateway's marks were damaged and are now {}",
            aside.display()
        );
        return Err(Failure::failed(
            set_aside,
            "suspend again what was suspended (`mandate audit search --kind suspended`), then restart the server",
        ));
    }
    let held = Marks::read(&path).map_err(failed)?;
    let held = held.ok_or_else(|| {
        Failure::failed(
            "the gateway has not seen any store yet",
            "there is nothing to accept",
        )
    })?;
    let accepted = restore(&held, context).await?;
    // After a crash before this line the gateway still refuses, and accepting again does no harm.
    let marks = Marks {
        epoch: accepted.epoch,
        stops: accepted.version,
        bundle: BundleVersion::default(),
        keys: KeysVersion::default(),
        suspensions: held.suspensions,
        went_back: false,
    };
    marks
        .write(&path)
        .map_err(|e| Failure::failed(e.to_string(), "run this as the server's own user"))?;
    let result = json!({ "epoch": accepted.epoch, "restored": accepted.restored });
    context.out.result(&result, |_| {
        let restored = match accepted.restored {
            0 => "the store had lost no suspension".to_owned(),
            n => format!(
                "in force again: {} that the store had lost",
                plural(n, "suspension")
            ),
        };
        format!(
            "accepted; {restored}; what was issued before is void, and agents attest afresh\nthe gateway goes on within a few seconds: `mandate status` says when"
        )
    });
    Ok(Exit::Ok)
}

async fn restore(held: &Marks, context: &Context) -> Result<Accepted, Failure> {
    let gateway = GatewayId::parse(GATEWAY).map_err(|e| Failure::failed(e.to_string(), ""))?;
    let body: Value = json!({
        "gateway": gateway, "suspensions": held.suspensions, "stops": held.stops,
    });
    let operator = Operator::of(context)?;
    Ok(operator.post("/gateways/accept-epoch", &body).await?)
}
