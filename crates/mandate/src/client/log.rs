//! Reading the audit log as an operator.

use mandate_audit::Event;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::operator::{Operator, OperatorError};

/// A record and where it is in the log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Record {
    /// Its index, from 0.
    pub(crate) index: u64,
    /// What it says.
    pub(crate) event: Event,
}

/// What a search found.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct Found {
    pub(crate) records: Vec<Record>,
    /// Where the server met what was not committed like that: records may be missing.
    #[serde(default)]
    pub(crate) damaged: Vec<u64>,
}

impl Found {
    /// What to tell whoever relies on it, if it may not be all.
    pub(crate) fn warning(&self) -> Option<String> {
        let at = self.damaged.iter().max()?;
        Some(format!(
            "the log is not as it was committed (at record {at}, for one): what is not is left out here; `mandate audit verify` names all that is wrong"
        ))
    }
}

/// One page of matching records, the latest first.
pub(crate) async fn search(
    operator: &Operator,
    query: &[(&str, Option<&str>)],
) -> Result<Found, OperatorError> {
    operator.get("/log/search", query).await
}

/// All matching records, the earliest first; at most `most` of them, the latest ones.
pub(crate) async fn search_all(
    operator: &Operator,
    query: &[(&str, Option<&str>)],
    most: usize,
) -> Result<Found, OperatorError> {
    let mut all = Found::default();
    while all.records.len() < most {
        let before = all.records.last().map(|record| record.index.to_string());
        let limit = PAGE.min(most - all.records.len()).to_string();
        let mut query = query.to_vec();
        query.push(("before", before.as_deref()));
        query.push(("limit", Some(&limit)));
        let page = search(operator, &query).await?;
        all.damaged.extend(page.damaged);
        if page.records.is_empty() {
            break;
        }
        all.records.extend(page.records);
    }
    all.records.reverse();
    Ok(all)
}

/// The record with this index, and no other one.
pub(crate) async fn record(operator: &Operator, index: u64) -> Result<Found, OperatorError> {
    let before = index.saturating_add(1).to_string();
    let query = [("before", Some(before.as_str())), ("limit", Some("1"))];
    let mut found = search(operator, &query).await?;
    found.records.retain(|record| record.index == index);
    Ok(found)
}

/// `kind` of an event, with its other members, as JSON.
pub(crate) fn what(event: &Event) -> Value {
    serde_json::to_value(&event.what).unwrap_or(Value::Null)
}

const PAGE: usize = 500;
