//! `mandate suspensions`.

use mandate_model::stop::Suspension;
use serde::{Deserialize, Serialize};

use super::table;
use crate::client::operator::Operator;
use crate::context::Context;
use crate::failure::{Exit, Outcome};

#[derive(Serialize, Deserialize)]
struct Suspensions {
    suspensions: Vec<Suspension>,
}

pub(crate) async fn run(context: &Context) -> Outcome {
    let all: Suspensions = Operator::of(&context.data).get("/suspensions", &[]).await?;
    context.out.result(&all, |_| {
        if all.suspensions.is_empty() {
            return "nothing is suspended".to_owned();
        }
        let rows = all.suspensions.iter().map(|s| {
            [
                s.subject.to_string(),
                s.at.to_string(),
                s.operator.to_string(),
                s.reason.clone(),
            ]
        });
        table::render(["suspended", "since", "by", "reason"], rows)
    });
    Ok(Exit::Ok)
}
