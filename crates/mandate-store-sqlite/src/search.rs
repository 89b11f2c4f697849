//! Finding records by what they are about.

use mandate_ports::{Search, StoreError};
use rusqlite::types::Value;
use rusqlite::{Connection, params_from_iter};

use crate::column::{int, moment, uint};
use crate::failure::store_error;

/// Matching records, the latest first.
pub(crate) fn search(db: &Connection, search: &Search) -> Result<Vec<(u64, Vec<u8>)>, StoreError> {
    let filter = Filter::of(search);
    let mut statement = db.prepare_cached(&filter.sql()).map_err(store_error)?;
    let row = |row: &rusqlite::Row<'_>| Ok((uint(row.get(0)?), row.get(1)?));
    let found = statement
        .query_map(params_from_iter(filter.values), row)
        .map_err(store_error)?;
    found.collect::<Result<_, _>>().map_err(store_error)
}

/// Conditions that must all hold, and the values in them, in order.
#[derive(Default)]
struct Filter {
    conditions: Vec<&'static str>,
    values: Vec<Value>,
}

impl Filter {
    fn of(search: &Search) -> Self {
        let mut filter = Self::default();
        let bytes = |id: &[u8; 16]| Value::Blob(id.to_vec());
        filter.add(
            UNDER_TASK,
            search.under_task.map(|task| bytes(task.as_bytes())),
        );
        filter.add(
            ROOT_TASK,
            search.root_task.map(|task| bytes(task.as_bytes())),
        );
        filter.add(
            "agent = ?",
            search.agent.as_ref().map(|id| text(id.as_str())),
        );
        filter.add(
            "server = ?",
            search.server.as_ref().map(|name| text(name.as_str())),
        );
        filter.add(
            "token = ?",
            search.token.map(|token| bytes(token.as_bytes())),
        );
        filter.add("kind = ?", search.kind.as_deref().map(text));
        filter.add("decision = ?", search.decision.as_deref().map(text));
        filter.add("at >= ?", search.since.map(|at| Value::Integer(moment(at))));
        filter.add("at < ?", search.until.map(|at| Value::Integer(moment(at))));
        // An index beyond what SQLite compares is beyond every record.
        let before = search
            .before
            .map(|idx| Value::Integer(i64::try_from(idx).unwrap_or(i64::MAX)));
        filter.add("idx < ?", before);
        let limit = u64::try_from(search.limit)
            .unwrap_or(u64::MAX)
            .min(MAX_FOUND);
        filter.values.push(Value::Integer(int(limit)));
        filter
    }

    fn add(&mut self, condition: &'static str, value: Option<Value>) {
        if let Some(value) = value {
            self.conditions.push(condition);
            self.values.push(value);
        }
    }

    fn sql(&self) -> String {
        let all = if self.conditions.is_empty() {
            "true".to_owned()
        } else {
            self.conditions.join(" AND ")
        };
        format!("SELECT idx, entry FROM log WHERE {all} ORDER BY idx DESC LIMIT ?")
    }
}

fn text(text: &str) -> Value {
    Value::Text(text.to_owned())
}

const UNDER_TASK: &str = "idx IN (SELECT idx FROM log_task WHERE task = ?)";

/// A task's tree is what is under its root; a task that is not known is its own root.
const ROOT_TASK: &str = "idx IN (SELECT log_task.idx FROM (SELECT ? AS id) AS asked
    LEFT JOIN task ON task.id = asked.id JOIN log_task ON log_task.task = ifnull(task.root, asked.id))";

/// One answer is never larger, whatever is asked for; `before` asks for the next page.
const MAX_FOUND: u64 = 10_000;
