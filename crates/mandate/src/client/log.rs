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

#[derive(Deserialize)]
struct Found {
    records: Vec<Record>,
}

/// One page of matching records, the latest first.
pub(crate) async fn search(
    operator: &Operator,
    query: &[(&str, Option<&str>)],
) -> Result<Vec<Record>, OperatorError> {
    let found: Found = operator.get("/log/search", query).await?;
    Ok(found.records)
}

/// All matching records, the earliest first; at most `most` of them, the latest ones.
pub(crate) async fn search_all(
    operator: &Operator,
    query: &[(&str, Option<&str>)],
    most: usize,
) -> Result<Vec<Record>, OperatorError> {
    let mut records: Vec<Record> = Vec::new();
    while records.len() < most {
        let before = records.last().map(|record| record.index.to_string());
        let limit = PAGE.min(most - records.len()).to_string();
        let mut query = query.to_vec();
        query.push(("before", before.as_deref()));
        query.push(("limit", Some(&limit)));
        let page = search(operator, &query).await?;
        if page.is_empty() {
            break;
        }
        records.extend(page);
    }
    records.reverse();
    Ok(records)
}

/// The record with this index.
pub(crate) async fn record(
    operator: &Operator,
    index: u64,
) -> Result<Option<Record>, OperatorError> {
    let before = index.saturating_add(1).to_string();
    let query = [("before", Some(before.as_str())), ("limit", Some("1"))];
    let found = search(operator, &query).await?;
    Ok(found.into_iter().find(|record| record.index == index))
}

/// `kind` of an event, with its other members, as JSON.
pub(crate) fn what(event: &Event) -> Value {
    serde_json::to_value(&event.what).unwrap_or(Value::Null)
}

const PAGE: usize = 500;
