//! `mandate suspensions`.

use mandate_model::stop::{Resumption, Suspension};
use mandate_model::{StopVersion, Timestamp};
use mandate_ports::Clock;
use serde::{Deserialize, Serialize};

use super::{moment, table};
use crate::client::operator::Operator;
use crate::context::Context;
use crate::failure::{Exit, Outcome};
use crate::output::Paint;
use crate::serve::machine::SystemClock;

/// As the server tells them.
#[derive(Serialize, Deserialize)]
struct Suspensions {
    version: StopVersion,
    /// Those that act in memory alone.
    undurable: u64,
    suspensions: Vec<Suspension>,
    /// What was issued before is void, as long as that matters.
    resumptions: Vec<Resumption>,
}

pub(crate) async fn run(context: &Context) -> Outcome {
    let all: Suspensions = Operator::of(context)?.get("/suspensions", &[]).await?;
    let now = SystemClock.now();
    context.out.result(&all, |paint| text(&all, now, paint));
    Ok(Exit::Ok)
}

fn text(all: &Suspensions, now: Timestamp, paint: Paint) -> String {
    let mut text = in_force(all, now);
    if !all.resumptions.is_empty() {
        text.push_str("\n\nresumed, and void what was issued under it before\n");
        let rows = all.resumptions.iter().map(|r| {
            [
                r.subject.to_string(),
                format!("stops version {}", r.version),
                moment::moment(r.until, now),
            ]
        });
        let header = ["resumed", "void if issued before", "all expired by"];
        text.push_str(&table::render(header, rows));
    }
    if all.undurable > 0 {
        let said = format!(
            "\n{} NOT durable: stored as soon as the store can be written, forgotten by a restart before that",
            all.undurable
        );
        text.push_str(&paint.red(said));
    }
    text
}

fn in_force(all: &Suspensions, now: Timestamp) -> String {
    if all.suspensions.is_empty() {
        return "nothing is suspended".to_owned();
    }
    let rows = all.suspensions.iter().map(|s| {
        [
            s.subject.to_string(),
            moment::moment(s.at, now),
            s.operator.to_string(),
            s.reason.clone(),
        ]
    });
    table::render(["suspended", "since", "by", "reason"], rows)
}

#[cfg(test)]
mod tests {
    use mandate_model::Principal;
    use mandate_model::stop::Subject;

    use super::*;

    #[test]
    fn a_suspension_that_a_restart_would_forget_is_said_to_be_one() {
        let at = Timestamp::from_secs(1_800_000_000);
        let suspension = Suspension {
            subject: Subject::Everything,
            reason: "INC-1".to_owned(),
            operator: Principal::parse("operator:root").unwrap(),
            version: StopVersion::new(1),
            at,
        };
        let mut all = Suspensions {
            version: StopVersion::new(1),
            undurable: 0,
            suspensions: vec![suspension],
            resumptions: Vec::new(),
        };
        let now = at.plus(std::time::Duration::from_secs(90));
        let durable = text(&all, now, Paint::NONE);
        assert!(durable.contains("(1 min 30 s ago)"), "{durable}");
        assert!(!durable.contains("NOT durable"), "{durable}");
        all.undurable = 1;
        assert!(text(&all, now, Paint::NONE).contains("1 NOT durable"));
    }

    #[test]
    fn what_a_resumption_left_void_is_told_as_long_as_it_matters() {
        let now = Timestamp::from_secs(1_800_000_000);
        let resumption = Resumption {
            subject: Subject::Everything,
            version: StopVersion::new(7),
            until: now.plus(std::time::Duration::from_secs(90)),
        };
        let all = Suspensions {
            version: StopVersion::new(7),
            undurable: 0,
            suspensions: Vec::new(),
            resumptions: vec![resumption],
        };
        let text = text(&all, now, Paint::NONE);
        assert!(text.starts_with("nothing is suspended\n"), "{text}");
        assert!(text.contains("stops version 7"), "{text}");
        assert!(text.contains("(in 1 min 30 s)"), "{text}");
    }
}
