//! The log, for people: search, raw records, proofs.

use std::collections::HashMap;

use axum::extract::{RawQuery, State};
use axum::response::Response;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use mandate_audit::{Decision, Hash, NodeId, ProofPlan, What};
use mandate_model::Timestamp;
use mandate_policy::decl::Right;
use mandate_ports::Search;
use serde_json::{Value, json};

use super::caller::Operator;
use super::query::Query;
use crate::body;
use crate::listen::Connection;
use crate::problem::Problem;

/// Records, the latest first.
#[utoipa::path(
    get, path = "/operator/v1/log/search", tag = "operators",
    params(
        ("under_task" = Option<String>, Query, description = "Of this task and all below it"),
        ("root_task" = Option<String>, Query, description = "Of this task's whole tree"),
        ("agent" = Option<String>, Query, description = "In which this agent type acts"),
        ("server" = Option<String>, Query, description = "Of this server workload"),
        ("token" = Option<String>, Query, description = "Of this token"),
        ("kind" = Option<String>, Query, description = "Of this kind"),
        ("decision" = Option<String>, Query, description = "`allowed`, `denied`, `would_deny`, `noted`"),
        ("since" = Option<u64>, Query, description = "Milliseconds since the epoch; not earlier"),
        ("until" = Option<u64>, Query, description = "Earlier"),
        ("before" = Option<u64>, Query, description = "Below this index"),
        ("limit" = Option<u64>, Query, description = "At most so many; 100 by default, 1000 at most"),
    ),
    responses((
        status = 200,
        description = "Matching records; and `damaged`, where the log is not as it was committed, if the search met that",
        body = Object,
    )),
)]
pub(crate) async fn search(
    State(at): State<Connection>,
    RawQuery(query): RawQuery,
) -> Result<Response, Problem> {
    let search = what_to_look_for(query)?;
    let operator = Operator::permitted(&at, "log_search", Right::Audit, None).await?;
    operator.looks(&at, "log_search").await?;
    let found = at.authority.ports().log.search(&search).await?;
    let record = |(index, bytes): (u64, Vec<u8>)| {
        let event: Value = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
        json!({"index": index, "event": event})
    };
    let records: Vec<Value> = found.records.into_iter().map(record).collect();
    let answer = if found.damaged.is_empty() {
        json!({"records": records})
    } else {
        tracing::error!(at = ?found.damaged, "the log is not as it was committed");
        json!({"records": records, "damaged": found.damaged})
    };
    Ok(body::answer(&answer))
}

fn what_to_look_for(query: Option<String>) -> Result<Search, Problem> {
    let mut query = Query::parse(query)?;
    let search = Search {
        under_task: query.parsed("under_task")?,
        root_task: query.parsed("root_task")?,
        agent: query.parsed("agent")?,
        server: query.parsed("server")?,
        token: query.parsed("token")?,
        kind: one_of("kind", query.text("kind"), &What::KINDS)?,
        decision: one_of("decision", query.text("decision"), &Decision::NAMES)?,
        since: query.number("since")?.map(Timestamp::from_millis),
        until: query.number("until")?.map(Timestamp::from_millis),
        before: query.number("before")?,
        limit: limit(&mut query)?,
    };
    query.end()?;
    Ok(search)
}

/// A name that no record can have would be answered with nothing found, which reads as if all were well.
fn one_of(
    parameter: &str,
    said: Option<String>,
    known: &[&str],
) -> Result<Option<String>, Problem> {
    match said {
        Some(said) if !known.contains(&said.as_str()) => Err(Problem::malformed(format!(
            "`{parameter}` is one of {}",
            known.join(", ")
        ))),
        said => Ok(said),
    }
}

fn limit(query: &mut Query) -> Result<usize, Problem> {
    let limit = query.number("limit")?.unwrap_or(100);
    match usize::try_from(limit) {
        Ok(limit @ 1..=MOST) => Ok(limit),
        Ok(_) | Err(_) => Err(Problem::malformed(format!("`limit` is 1 to {MOST}"))),
    }
}

/// Raw records, as they are on disk.
#[utoipa::path(
    get, path = "/operator/v1/log/entries", tag = "operators",
    params(
        ("first" = u64, Query, description = "The index of the first"),
        ("limit" = Option<u64>, Query, description = "At most so many; 100 by default, 1000 at most"),
    ),
    responses((status = 200, description = "Records as text, byte for byte", body = Object)),
)]
pub(crate) async fn entries(
    State(at): State<Connection>,
    RawQuery(query): RawQuery,
) -> Result<Response, Problem> {
    let mut query = Query::parse(query)?;
    let (first, limit) = (query.needed("first")?, limit(&mut query)?);
    query.end()?;
    let operator = Operator::permitted(&at, "log_entries", Right::Audit, None).await?;
    operator.looks(&at, "log_entries").await?;
    let range = at.authority.ports().log.entries(first, limit).await?;
    let text = |bytes: &Vec<u8>| String::from_utf8_lossy(bytes).into_owned();
    let entries: Vec<String> = range.entries.iter().map(text).collect();
    let head = at.authority.ports().log.head().await?;
    Ok(body::answer(
        &json!({"first": range.first, "size": head.size, "entries": entries}),
    ))
}

/// The proof that a record is in the log.
#[utoipa::path(
    get, path = "/operator/v1/log/proof", tag = "operators",
    params(
        ("index" = u64, Query, description = "The record"),
        ("size" = Option<u64>, Query, description = "The log's size; the present one by default"),
    ),
    responses(
        (status = 200, description = "RFC 6962 §2.1.1, base64", body = Object),
        (status = 404, description = "The log of this size has no such record", body = crate::openapi::ProblemBody),
    ),
)]
pub(crate) async fn inclusion(
    State(at): State<Connection>,
    RawQuery(query): RawQuery,
) -> Result<Response, Problem> {
    let mut query = Query::parse(query)?;
    let (index, size) = (query.needed("index")?, query.number("size")?);
    query.end()?;
    let operator = Operator::permitted(&at, "log_proof", Right::Audit, None).await?;
    operator.looks(&at, "log_proof").await?;
    let size = within(&at, size).await?;
    let plan = ProofPlan::inclusion(index, size)
        .ok_or_else(|| Problem::unknown("the log of this size has no such record"))?;
    let proof = build(&at, &plan).await?;
    let root = build(&at, &ProofPlan::root(size)).await?;
    Ok(body::answer(
        &json!({"index": index, "size": size, "root": root.first(), "proof": proof}),
    ))
}

/// The proof that a later log begins with an earlier one.
#[utoipa::path(
    get, path = "/operator/v1/log/consistency", tag = "operators",
    params(
        ("old" = u64, Query, description = "The earlier size"),
        ("size" = Option<u64>, Query, description = "The later size; the present one by default"),
    ),
    responses(
        (status = 200, description = "RFC 6962 §2.1.2, base64", body = Object),
        (status = 404, description = "`old` is larger than the log of this size", body = crate::openapi::ProblemBody),
    ),
)]
pub(crate) async fn consistency(
    State(at): State<Connection>,
    RawQuery(query): RawQuery,
) -> Result<Response, Problem> {
    let mut query = Query::parse(query)?;
    let (old, size) = (query.needed("old")?, query.number("size")?);
    query.end()?;
    let operator = Operator::permitted(&at, "log_consistency", Right::Audit, None).await?;
    operator.looks(&at, "log_consistency").await?;
    let size = within(&at, size).await?;
    let plan = ProofPlan::consistency(old, size)
        .ok_or_else(|| Problem::unknown("`old` is larger than the log of this size"))?;
    let proof = build(&at, &plan).await?;
    Ok(body::answer(
        &json!({"old": old, "size": size, "proof": proof}),
    ))
}

async fn within(at: &Connection, size: Option<u64>) -> Result<u64, Problem> {
    let head = at.authority.ports().log.head().await?;
    match size.unwrap_or(head.size) {
        size if size <= head.size => Ok(size),
        _ => Err(Problem::unknown(format!(
            "the log has {} records",
            head.size
        ))),
    }
}

async fn build(at: &Connection, plan: &ProofPlan) -> Result<Vec<String>, Problem> {
    let ids: Vec<NodeId> = plan.nodes().collect();
    let found: HashMap<NodeId, Hash> = at.authority.ports().log.nodes(&ids).await?;
    let look_up = |id| Ok::<_, std::convert::Infallible>(found.get(&id).copied());
    let hashes = plan.build(look_up).map_err(|why| {
        tracing::error!(%why, "the log lacks a node");
        Problem::unavailable()
    })?;
    Ok(hashes.iter().map(|hash| STANDARD.encode(hash)).collect())
}

const MOST: usize = 1000;
