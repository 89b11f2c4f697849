//! `mandate suspend`: break the glass, and say when it was effective.

use std::time::Duration;

use mandate_model::stop::Subject;
use mandate_model::{Timestamp, TrustDomain};
use mandate_policy::did_you_mean;
use mandate_ports::Clock;
use serde_json::{Value, json};

use super::live;
use super::moment::{moment, plural};
use super::subject::SubjectWords;
use crate::client::members::Members;
use crate::client::operator::Operator;
use crate::context::Context;
use crate::failure::{Exit, Failure, Outcome};
use crate::progress;
use crate::serve::endpoints::Endpoints;
use crate::serve::machine::SystemClock;

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
    /// Why, for the record and for other operators
    #[arg(long, value_name = "TEXT")]
    reason: String,
}

pub(crate) async fn run(args: Args, context: &Context) -> Outcome {
    let subject = args.subject.parse(&domain(context)?)?;
    let body = json!({ "subject": subject, "reason": args.reason });
    let operator = Operator::of(context)?;
    let posted = operator.post_within("/suspend", &body, LONGEST);
    let proof: Value =
        progress::waiting(&context.out, "waiting until it is effective", posted).await?;
    let effective = proof.at("effective").as_bool() == Some(true);
    let durable = proof.at("durable").as_bool() != Some(false);
    let known = proof.at("known").as_bool() != Some(false);
    let hint = if known {
        String::new()
    } else {
        hint(&subject, &operator, context).await
    };
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
            let said = format!("NOTHING is known as `{subject}`: {hint}\n");
            paint.red(said)
        };
        format!("{unknown}{headline}\n{}", sentence(&proof))
    });
    Ok(if effective && durable && known {
        Exit::Ok
    } else {
        Exit::Incomplete
    })
}

/// The name that was meant, as far as the live bundle tells. Nothing here may fail: it is suspended.
async fn hint(subject: &Subject, operator: &Operator, context: &Context) -> String {
    let spelt = "is it spelt as it should be?".to_owned();
    let Ok(bundle) = live::bundle(operator, context).await else {
        return spelt;
    };
    let (name, known): (&str, Vec<&str>) = match subject {
        Subject::Agent { id } => (
            id.as_str().rsplit('/').next().unwrap_or_default(),
            bundle.agents().map(|a| a.name.as_str()).collect(),
        ),
        Subject::Server { name } => (
            name.as_str(),
            bundle.servers().map(|s| s.name.as_str()).collect(),
        ),
        Subject::Provider { .. }
        | Subject::Instance { .. }
        | Subject::Task { .. }
        | Subject::Principal { .. }
        | Subject::Gateway { .. }
        | Subject::Key { .. }
        | Subject::Everything => return spelt,
    };
    did_you_mean(name, known)
}

/// The name space in which an agent type's name is a SPIFFE ID.
pub(crate) fn domain(context: &Context) -> Result<TrustDomain, Failure> {
    let name = match &context.elsewhere {
        Some(elsewhere) => elsewhere.session()?.trust_domain,
        None => Endpoints::read(&context.data.endpoints())?.trust_domain,
    };
    TrustDomain::parse(&name).map_err(|e| Failure::failed(e.to_string(), "restart the server"))
}

/// When it is effective at the latest, where it is not.
fn not_effective(proof: &Value) -> String {
    match proof.at("not_effective_until").as_u64() {
        Some(until) => {
            let until = moment(Timestamp::from_millis(until), SystemClock.now());
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
    let at_least = if proof.at("at_least").as_bool() == Some(true) {
        "at least "
    } else {
        ""
    };
    let effective = match proof.at("effective").as_bool() {
        Some(false) => "after",
        Some(true) | None => "effective in",
    };
    let mut text = format!(
        "{effective} {} ms: {}, {} cut, {at_least}{} halted, {at_least}{} void",
        proof.number("after_ms"),
        acknowledged(proof),
        plural(proof.number("cut"), "connection"),
        plural(proof.number("tasks_halted"), "task"),
        plural(proof.number("tokens_void"), "token"),
    );
    text.push_str(match proof.number("lease_bounded") {
        0 => "",
        1 => "\n1 gateway did not answer; its lease has run out, so it admits nothing",
        _ => "\nsome gateways did not answer; their leases have run out, so they admit nothing",
    });
    let unknown = proof.number("unknown");
    if unknown > 0 {
        let accesses = if unknown == 1 { "access" } else { "accesses" };
        text.push_str(&format!(
            "\n{unknown} {accesses} had been forwarded and not answered: what came of it upstream is not known"
        ));
    }
    let untold = proof.number("untold");
    if untold > 0 {
        let gateways = if untold == 1 { "gateway" } else { "gateways" };
        text.push_str(&format!(
            "\n{untold} {gateways} acknowledged and did not say yet what they cut: the figures are without that"
        ));
    }
    text.extend(going_on(proof));
    if let Some(until) = proof.at("valid_elsewhere_until").as_u64() {
        let until = moment(Timestamp::from_millis(until), SystemClock.now());
        text.push_str(&format!(
            "\nJWT-SVIDs for audiences elsewhere stay good there until {until}"
        ));
    }
    text
}

fn acknowledged(proof: &Value) -> String {
    match proof.number("gateways") {
        0 => "no gateway could admit anything".to_owned(),
        gateways => format!(
            "{} of {} acknowledged",
            proof.number("acknowledged"),
            plural(gateways, "gateway")
        ),
    }
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
        assert!(not_effective(&silent).starts_with("NOT effective until 2027-01-15T08:02:06.000Z"));
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
        assert!(sentence(&bounded).contains("\n1 gateway did not answer; its lease has run out"));
        assert!(sentence(&bounded).contains("0 of 1 gateway acknowledged, 1 connection cut"));
        let untold = json!({"gateways": 1, "acknowledged": 1, "cut": 0, "untold": 1});
        assert!(
            sentence(&untold)
                .contains("\n1 gateway acknowledged and did not say yet what they cut")
        );
        let nobody = sentence(&json!({"effective": true, "after_ms": 2, "gateways": 0}));
        assert!(nobody.contains("no gateway could admit anything"));
        let not = sentence(&json!({"effective": false, "after_ms": 9, "unknown": 2}));
        assert!(not.starts_with("after 9 ms"), "{not}");
        assert!(not.contains("\n2 accesses had been forwarded"), "{not}");
    }
}
