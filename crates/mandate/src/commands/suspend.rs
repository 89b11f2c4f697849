//! `mandate suspend`: break the glass, and say when it was effective.

use std::time::Duration;

use mandate_model::TrustDomain;
use serde_json::{Value, json};

use super::subject::SubjectWords;
use crate::client::members::Members;
use crate::client::operator::Operator;
use crate::context::Context;
use crate::failure::{Exit, Failure, Outcome};
use crate::serve::endpoints::Endpoints;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Returns once it is effective: from then on no gateway hands a byte to an upstream or to an agent under the
subject, on new or open connections, and nothing is issued, also after a restart.
Exits with 3 if it holds, but is not effective or not durable yet: gateways that the server cannot reach may go on
without a lease where a server workload says so, and it tells until when.

Examples:
  mandate suspend agent retriever --reason INC-4711
  mandate suspend task task-0190a5b4-7e6c-7a11-8a11-0123456789ab --reason 'wrong customer'
  mandate suspend everything --reason 'INC-4712: call #security'")]
pub(crate) struct Args {
    #[command(flatten)]
    subject: SubjectWords,
    /// Why, for the record and for whoever is stopped by it
    #[arg(long, value_name = "TEXT")]
    reason: String,
}

pub(crate) async fn run(args: Args, context: &Context) -> Outcome {
    let subject = args.subject.parse(&domain(context)?)?;
    let body = json!({ "subject": subject, "reason": args.reason });
    let proof: Value = Operator::of(&context.data)
        .post_within("/suspend", &body, LONGEST)
        .await?;
    let effective = proof.at("effective").as_bool() == Some(true);
    let durable = proof.at("durable").as_bool() != Some(false);
    let known = proof.at("known").as_bool() != Some(false);
    context.out.result(&proof, |paint| {
        let headline = match (effective, durable) {
            (true, true) => paint.green(format!("{subject} is suspended")),
            (true, false) => {
                paint.yellow(format!("{subject} is suspended: effective, NOT durable"))
            }
            (false, durable) => {
                let so_far = if durable { "" } else { ", NOT durable" };
                paint.red(format!(
                    "{subject} is suspended: {}{so_far}",
                    not_effective(&proof)
                ))
            }
        };
        let unknown = if known {
            String::new()
        } else {
            paint.yellow(format!(
                "\nnothing named so is declared or known: is `{subject}` spelt as it should be?"
            ))
        };
        format!("{headline}\n{}{unknown}", sentence(&proof))
    });
    Ok(if effective && durable && known {
        Exit::Ok
    } else {
        Exit::Incomplete
    })
}

/// The name space in which an agent type's name is a SPIFFE ID.
pub(crate) fn domain(context: &Context) -> Result<TrustDomain, Failure> {
    let endpoints = Endpoints::read(&context.data.endpoints())?;
    TrustDomain::parse(&endpoints.trust_domain)
        .map_err(|e| Failure::failed(e.to_string(), "restart the server"))
}

/// When it is effective at the latest, where it is not.
fn not_effective(proof: &Value) -> String {
    match proof.at("not_effective_until").as_u64() {
        Some(until) => {
            let until = mandate_model::Timestamp::from_millis(until);
            format!("NOT effective until {until}")
        }
        None => "NOT effective until every gateway can be reached".to_owned(),
    }
}

/// Who may go on without a lease, and with what.
fn going_on(proof: &Value) -> Option<String> {
    let gateways = match proof.number("going_on") {
        0 => return None,
        1 => "1 gateway".to_owned(),
        more => format!("{more} gateways"),
    };
    let servers: Vec<&str> = proof
        .items("going_on_for")
        .iter()
        .filter_map(Value::as_str)
        .collect();
    let servers = if servers.is_empty() {
        "any server workload".to_owned()
    } else {
        servers.join(", ")
    };
    Some(format!(
        "\n{gateways} did not answer and may go on without a lease for {servers}, with tokens issued before"
    ))
}

/// The figures of a proof, as people read them.
pub(crate) fn sentence(proof: &Value) -> String {
    let plural = |n: u64, one: &str| format!("{n} {one}{}", if n == 1 { "" } else { "s" });
    let at_least = if proof.at("at_least").as_bool() == Some(true) {
        "at least "
    } else {
        ""
    };
    let effective = if proof.at("effective").as_bool() == Some(false) {
        "after"
    } else {
        "effective in"
    };
    let mut text = format!(
        "{effective} {} ms: {} of {} acknowledged, {} cut, {at_least}{} halted, {at_least}{} void",
        proof.number("after_ms"),
        proof.number("acknowledged"),
        plural(proof.number("gateways"), "gateway"),
        plural(proof.number("cut"), "connection"),
        plural(proof.number("tasks_halted"), "task"),
        plural(proof.number("tokens_void"), "token"),
    );
    for (name, what) in [
        (
            "lease_bounded",
            "did not answer, and their lease has run out",
        ),
        (
            "unknown",
            "had been forwarded and not answered: what they did upstream is not known",
        ),
    ] {
        if proof.number(name) > 0 {
            text.push_str(&format!("\n{} {what}", proof.number(name)));
        }
    }
    text.extend(going_on(proof));
    if let Some(until) = proof.at("valid_elsewhere_until").as_u64() {
        let until = mandate_model::Timestamp::from_millis(until);
        text.push_str(&format!(
            "\nJWT-SVIDs for audiences elsewhere are good until {until}"
        ));
    }
    text
}

/// Longer than any lease that a server grants.
const LONGEST: Duration = Duration::from_secs(600);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sentence_says_when_and_what() {
        let proof = json!({"after_ms": 41, "gateways": 12, "acknowledged": 12, "cut": 7,
            "tasks_halted": 3, "tokens_void": 19});
        assert_eq!(
            sentence(&proof),
            "effective in 41 ms: 12 of 12 gateways acknowledged, 7 connections cut, 3 tasks halted, 19 tokens void"
        );
        let silent = json!({"effective": false, "after_ms": 15150, "gateways": 1,
            "not_effective_until": 1_800_000_126_000_u64, "going_on": 1, "going_on_for": ["records"]});
        assert_eq!(
            not_effective(&silent),
            "NOT effective until 2027-01-15T08:02:06.000Z"
        );
        assert!(sentence(&silent).starts_with("after 15150 ms: 0 of 1 gateway acknowledged"));
        assert!(sentence(&silent).ends_with(
            "1 gateway did not answer and may go on without a lease for records, with tokens issued before"
        ));
        let unbounded = json!({"effective": false, "going_on": 2, "going_on_for": []});
        assert!(not_effective(&unbounded).ends_with("until every gateway can be reached"));
        assert!(
            sentence(&unbounded)
                .contains("2 gateways did not answer and may go on without a lease for any")
        );
        let bounded = json!({"after_ms": 15150, "gateways": 1, "lease_bounded": 1, "cut": 1});
        assert!(sentence(&bounded).contains("their lease has run out"));
        assert!(sentence(&bounded).contains("0 of 1 gateway acknowledged, 1 connection cut"));
    }
}
