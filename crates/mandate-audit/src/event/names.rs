//! The names that records use, for whoever has to tell a misspelt one.

use super::{Decision, What};

impl What {
    /// Every event's name, as [`What::kind`] gives it.
    pub const KINDS: [&'static str; 21] = [
        "attested",
        "issued",
        "refused",
        "refused_count",
        "task_opened",
        "task_delegated",
        "task_ended",
        "access_decided",
        "access_progress",
        "access_completed",
        "suspended",
        "suspension_effective",
        "suspension_not_effective",
        "resumed",
        "revoked",
        "bundle_applied",
        "key_changed",
        "rekeyed",
        "gateway_connected",
        "operator_acted",
        "alarm",
    ];
}

impl Decision {
    /// Every decision, as records have it.
    pub const NAMES: [&'static str; 4] = ["allowed", "denied", "would_deny", "noted"];
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What serde says of a name that it does not know: all that it knows.
    fn known(error: &serde_json::Error) -> Vec<String> {
        let text = error.to_string();
        let names = text.split('`').skip(3).step_by(2);
        names.map(str::to_owned).collect()
    }

    #[test]
    fn the_lists_of_names_are_those_of_the_wire() {
        let error = serde_json::from_str::<What>("{\"kind\": \"nosuch\"}").unwrap_err();
        assert_eq!(known(&error), What::KINDS, "{error}");
        let error = serde_json::from_str::<Decision>("\"nosuch\"").unwrap_err();
        assert_eq!(known(&error), Decision::NAMES, "{error}");
    }
}
