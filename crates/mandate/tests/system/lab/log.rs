//! The log as it is on disk, read beside the server that writes it.

use std::path::Path;

use mandate_ports::LogReader;
use mandate_store_sqlite::LogFile;
use serde_json::Value;
use tokio::runtime::Runtime;

/// Reads records in their order, each once.
pub(crate) struct LogTail {
    runtime: Runtime,
    file: LogFile,
    next: u64,
}

impl LogTail {
    /// Begins with this record: 0, or where another one stopped.
    pub(crate) fn open_at(data: &Path, next: u64) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().build();
        Self {
            runtime: runtime.unwrap(),
            file: LogFile::open_read_only(&data.join("store")).unwrap(),
            next,
        }
    }

    /// How many have been read.
    pub(crate) fn position(&self) -> u64 {
        self.next
    }

    /// The records that were added since the last call.
    pub(crate) fn more(&mut self) -> Vec<Value> {
        let mut records = Vec::new();
        loop {
            let page = self.runtime.block_on(self.file.entries(self.next, 1_000));
            let page = page.unwrap().entries;
            if page.is_empty() {
                return records;
            }
            self.next += page.len() as u64;
            records.extend(
                page.iter()
                    .map(|bytes| serde_json::from_slice::<Value>(bytes).unwrap()),
            );
        }
    }
}

/// What happened.
pub(crate) fn kind(record: &Value) -> &str {
    record["what"]["kind"].as_str().unwrap_or_default()
}

/// The value of a record's attribute.
pub(crate) fn attribute<'a>(record: &'a Value, name: &str) -> &'a str {
    record["attributes"][name][0].as_str().unwrap_or_default()
}
