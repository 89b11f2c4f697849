//! The record's form, as `docs/audit-log.md` has it.

use mandate_model::Timestamp;
use serde_json::Value;

use super::*;

const PAGE: &str = include_str!("../../../../docs/audit-log.md");

/// What serde says of a member that it does not know: all that it knows.
fn known(error: &serde_json::Error) -> Vec<String> {
    let text = error.to_string();
    let names = text.split('`').skip(3).step_by(2);
    names.map(str::to_owned).collect()
}

/// The rows of the page whose first cell names `word`.
fn row(word: &str) -> Option<&'static str> {
    let word = format!("`{word}`");
    let first = |line: &str| line.split('|').nth(1).is_some_and(|c| c.contains(&word));
    PAGE.lines().find(|line| first(line))
}

#[test]
fn the_page_on_the_log_has_every_member_of_a_record() {
    let what = What::Alarm {
        message: String::new(),
    };
    let event = Event::new(Timestamp::from_secs(1), what, Decision::Noted);
    let mut value = serde_json::to_value(event).unwrap();
    value["nosuch"] = Value::Null;
    let error = serde_json::from_value::<Event>(value).unwrap_err();
    let members = known(&error);
    assert!(members.len() > 15, "{error}");
    for member in members {
        assert!(row(&member).is_some(), "`{member}`");
    }
}

#[test]
fn the_page_on_the_log_has_every_kind_with_its_members() {
    for kind in What::KINDS {
        let row = row(kind).unwrap_or_else(|| panic!("`{kind}`"));
        let value = serde_json::json!({"kind": kind, "nosuch": 1});
        let Err(error) = serde_json::from_value::<What>(value) else {
            continue;
        };
        for member in known(&error) {
            assert!(
                row.contains(&format!("`{member}`")),
                "`{member}` of `{kind}`"
            );
        }
    }
}

#[test]
fn the_record_on_the_page_is_one() {
    let (_, rest) = PAGE.split_once("```json\n").unwrap();
    let (json, _) = rest.split_once("```").unwrap();
    let event = Event::parse(json.as_bytes()).unwrap();
    let value: Value = serde_json::from_str(json).unwrap();
    let canonical = event.canonical().unwrap();
    assert_eq!(canonical, mandate_model::canonical_json(&value));
    assert_eq!(event.rule.as_deref(), Some("mandate.unfit"));
}
