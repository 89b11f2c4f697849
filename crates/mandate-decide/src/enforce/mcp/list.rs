//! What a list shows, and whom it is for.
//!
//! What is shown stays, byte for byte, as the server wrote it; what is not shown is taken out. A list that cannot be
//! read in one way is no list for anybody.

use serde_json::value::RawValue;

use super::raw::{Members, PRIVATE, SCOPE, changed, changed_members, check_spelling, member, read};
use super::{Listed, UnreadableAnswer};

/// `message` without the items of lists that `shows` says no to, by name and whole, and private to who asked; `None` where nothing of
/// it changes.
pub fn shown(
    message: &[u8],
    shows: impl Fn(Listed, &str, &str) -> bool,
) -> Result<Option<Vec<u8>>, UnreadableAnswer> {
    let Members(message) = read(message)?;
    check_spelling(&message, &["result"])?;
    let list = |listed: Listed, naming: &str, list: &RawValue| {
        let items: Vec<&RawValue> =
            serde_json::from_str(list.get()).map_err(|_| UnreadableAnswer)?;
        let mut kept = Vec::with_capacity(items.len());
        for item in &items {
            if shows(listed, &named(item, naming)?, item.get()) {
                kept.push(item.get());
            }
        }
        let all = kept.len() == items.len();
        Ok((!all).then(|| format!("[{}]", kept.join(","))))
    };
    let known = ["tools", "prompts", "resources", "resourceTemplates", SCOPE];
    let result = |result: &RawValue| {
        changed(result, &known, |name, value| {
            // What a server says of itself may be as private as its lists.
            if name == SCOPE {
                return Ok(Some(PRIVATE.to_owned()));
            }
            let listed = Listed::ALL.iter().find(|(_, list, _)| *list == name);
            listed.map_or(Ok(None), |(listed, _, naming)| list(*listed, naming, value))
        })
    };
    let changed = changed_members(&message, |name, value| match name {
        "result" => result(value),
        _ => Ok(None),
    })?;
    Ok(changed.map(String::into_bytes))
}

pub(super) fn named(item: &RawValue, naming: &str) -> Result<String, UnreadableAnswer> {
    let Members(members) = read(item.get().as_bytes())?;
    check_spelling(&members, &[naming])?;
    let name = member(&members, naming).ok_or(UnreadableAnswer)?;
    serde_json::from_str(name.get()).map_err(|_| UnreadableAnswer)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(message: &str) -> Result<Option<String>, UnreadableAnswer> {
        let shows =
            |_, name: &str, _: &str| name.starts_with("ok") || name.starts_with("file:///ok");
        let shown = shown(message.as_bytes(), shows)?;
        Ok(shown.map(|bytes| String::from_utf8(bytes).unwrap()))
    }

    #[test]
    fn what_may_not_be_used_is_taken_out_and_the_rest_stays_as_it_was() {
        let list = r#"{"jsonrpc":"2.0", "id":1,"result":{"tools":[{"name":"ok1", "x":1.50},{"name":"no"},{"name":"ok2"}],"nextCursor":""}}"#;
        let expected = r#"{"jsonrpc":"2.0","id":1,"result":{"tools":[{"name":"ok1", "x":1.50},{"name":"ok2"}],"nextCursor":""}}"#;
        assert_eq!(of(list), Ok(Some(expected.to_owned())));
        let resources =
            r#"{"result":{"resources":[{"uri":"file:///no","name":"ok"},{"uri":"file:///ok"}]}}"#;
        let expected = r#"{"result":{"resources":[{"uri":"file:///ok"}]}}"#;
        assert_eq!(of(resources), Ok(Some(expected.to_owned())));
        let templates = r#"{"result":{"resourceTemplates":[{"uriTemplate":"file:///no/{x}"}]}}"#;
        let expected = r#"{"result":{"resourceTemplates":[]}}"#;
        assert_eq!(of(templates), Ok(Some(expected.to_owned())));
        let prompts = r#"{"result":{"prompts":[{"name":"no"}]}}"#;
        assert_eq!(
            of(prompts),
            Ok(Some(r#"{"result":{"prompts":[]}}"#.to_owned()))
        );
    }

    /// FAILURES 37: filtered lists cached across identities.
    #[test]
    fn a_list_is_private_to_who_asked() {
        let list = r#"{"result":{"tools":[{"name":"ok"}],"ttlMs":1000,"cacheScope":"public"}}"#;
        let expected =
            r#"{"result":{"tools":[{"name":"ok"}],"ttlMs":1000,"cacheScope":"private"}}"#;
        assert_eq!(of(list), Ok(Some(expected.to_owned())));
    }

    #[test]
    fn what_is_no_list_stays() {
        for other in [
            r#"{"jsonrpc":"2.0","id":1,"result":{"content":[{"type":"text","text":"tools"}]}}"#,
            r#"{"jsonrpc":"2.0","id":1,"error":{"code":-1,"message":"x"}}"#,
            r#"{"jsonrpc":"2.0","method":"notifications/message","params":{"tools":[{"name":"no"}]}}"#,
            r#"{"result":null}"#,
        ] {
            assert_eq!(of(other), Ok(None), "{other}");
        }
    }

    #[test]
    fn a_list_with_two_readings_is_none() {
        for bad in [
            r#"{"result":{"tools":[],"tools":[{"name":"no"}]}}"#,
            r#"{"result":{"tools":[]},"result":{"tools":[{"name":"no"}]}}"#,
            r#"{"result":{"tools":[],"\u0074ools":[{"name":"no"}]}}"#,
            r#"{"result":{"tools":[],"Tools":[{"name":"no"}]}}"#,
            r#"{"Result":{"tools":[{"name":"no"}]}}"#,
            r#"{"result":{"tools":[{"name":"ok","name":"no"}]}}"#,
            r#"{"result":{"tools":[{"name":"ok","Name":"no"}]}}"#,
            r#"{"result":{"tools":[{"title":"ok"}]}}"#,
            r#"{"result":{"tools":[{"name":7}]}}"#,
            r#"{"result":{"tools":["ok"]}}"#,
            r#"{"result":{"tools":{"name":"no"}}}"#,
            r#"[{"result":{"tools":[]}}]"#,
            r#"{"result":{"tools":[]}"#,
            "",
        ] {
            assert_eq!(of(bad), Err(UnreadableAnswer), "{bad}");
        }
    }
}
