//! Members of JSON answers that need no type of their own: what is missing is null, never a panic.

use serde_json::Value;

/// Looking into a JSON value.
pub(crate) trait Members {
    /// The member `name`; null if there is none.
    fn at(&self, name: &str) -> &Value;

    /// The text of the member `name`.
    fn text(&self, name: &str) -> Option<&str> {
        self.at(name).as_str()
    }

    /// The number of the member `name`; 0 if there is none.
    fn number(&self, name: &str) -> u64 {
        self.at(name).as_u64().unwrap_or_default()
    }

    /// The items of the member `name`; none if it is no list.
    fn items(&self, name: &str) -> &[Value] {
        self.at(name).as_array().map_or(&[], Vec::as_slice)
    }
}

impl Members for Value {
    fn at(&self, name: &str) -> &Value {
        self.get(name).unwrap_or(&Value::Null)
    }
}
