//! What a server gives with an answer, for the agent to bring back: with a code in the answer, and without it in the
//! request that brings it. Every other byte stays as it came.

use serde_json::Value;
use serde_json::value::RawValue;

use super::UnreadableAnswer;
use super::raw::{Members, PRIVATE, SCOPE, changed, changed_members, check_spelling, member, read};
use super::task::GivenTask;

/// Something that is brought back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kept<'m> {
    /// What a server wants back with the next round of a request (2026-07-28, "Multi Round-Trip Requests").
    State(&'m str),
    /// The id of a task.
    Task(&'m str),
}

/// The answer `message` with what `give` makes of all that is brought back, and private to who asked; `None` where
/// nothing of it changes. What `give` has nothing for makes the whole unreadable; and so does an answer to another
/// request than that of this `id`: clients take it for what they asked elsewhere, where it was not looked at.
pub fn with_kept(
    message: &[u8],
    id: Option<&Value>,
    give: impl Fn(Kept<'_>) -> Option<String>,
) -> Result<Option<Vec<u8>>, UnreadableAnswer> {
    let Members(members) = read(message)?;
    check_spelling(&members, &["id", "result", "error", "params", "method"])?;
    check_id(&members, id)?;
    let method = member(&members, "method").map(text).transpose()?;
    let tells_of_a_task = method.is_some_and(|method| method.starts_with("notifications/tasks"));
    let task = |id: &RawValue| {
        let id = text(id)?;
        let id = give(Kept::Task(&id)).ok_or(UnreadableAnswer)?;
        Ok(Some(Value::String(id).to_string()))
    };
    let related = |meta: &RawValue| {
        changed(meta, &[RELATED], |name, value| match name {
            RELATED => changed(value, &[TASK_ID], |name, id| match name {
                TASK_ID => task(id),
                _ => Ok(None),
            }),
            _ => Ok(None),
        })
    };
    let result = |result: &RawValue| {
        let known = [STATE, SCOPE, TASK_ID, TASK, META];
        changed(result, &known, |name, value| match name {
            SCOPE => Ok(Some(PRIVATE.to_owned())),
            STATE => {
                let state = give(Kept::State(&text(value)?)).ok_or(UnreadableAnswer)?;
                Ok(Some(Value::String(state).to_string()))
            }
            TASK_ID => task(value),
            TASK => changed(value, &[TASK_ID], |name, id| match name {
                TASK_ID => task(id),
                _ => Ok(None),
            }),
            META => related(value),
            _ => Ok(None),
        })
    };
    let params = |params: &RawValue| {
        changed(params, &[TASK_ID, META], |name, value| match name {
            TASK_ID if tells_of_a_task => task(value),
            META => related(value),
            _ => Ok(None),
        })
    };
    let changed = changed_members(&members, |name, value| match name {
        "result" => result(value),
        "params" => params(value),
        _ => Ok(None),
    })?;
    Ok(changed.map(String::into_bytes))
}

/// The request `body` with what the server gave, where the agent has it with codes.
pub fn with_restored(
    body: &[u8],
    state: Option<&str>,
    tasks: &[GivenTask],
) -> Result<Vec<u8>, UnreadableAnswer> {
    let Members(members) = read(body)?;
    let task = |id: &RawValue| {
        let id = text(id)?;
        let task = tasks.iter().find(|task| task.given() == id);
        let task = task.ok_or(UnreadableAnswer)?;
        Ok(Value::String(task.id().to_owned()).to_string())
    };
    let listened = |wanted: &RawValue| {
        changed(wanted, &[TASK_IDS], |name, ids| {
            if name != TASK_IDS {
                return Ok(None);
            }
            let ids: Vec<&RawValue> =
                serde_json::from_str(ids.get()).map_err(|_| UnreadableAnswer)?;
            let ids: Result<Vec<_>, _> = ids.into_iter().map(task).collect();
            Ok(Some(format!("[{}]", ids?.join(","))))
        })
    };
    let params = |params: &RawValue| {
        let known = [STATE, TASK_ID, LISTENED];
        changed(params, &known, |name, value| match name {
            STATE => Ok(state.map(|state| Value::from(state).to_string())),
            TASK_ID if !tasks.is_empty() => task(value).map(Some),
            LISTENED if !tasks.is_empty() => listened(value),
            _ => Ok(None),
        })
    };
    let changed = changed_members(&members, |name, value| match name {
        "params" => params(value),
        _ => Ok(None),
    })?;
    Ok(changed.map_or_else(|| body.to_vec(), String::into_bytes))
}

/// An error without an id is of what could not be read (JSON-RPC 2.0 §5).
fn check_id(members: &[(String, &RawValue)], id: Option<&Value>) -> Result<(), UnreadableAnswer> {
    let has = |name| member(members, name).is_some();
    if !has("result") && !has("error") {
        return Ok(());
    }
    let said = member(members, "id").map(|id| serde_json::from_str::<Value>(id.get()));
    let said = said.transpose().map_err(|_| UnreadableAnswer)?;
    match said.filter(|said| !said.is_null()) {
        None if !has("result") => Ok(()),
        Some(said) if Some(&said) == id => Ok(()),
        None | Some(_) => Err(UnreadableAnswer),
    }
}

fn text(value: &RawValue) -> Result<String, UnreadableAnswer> {
    serde_json::from_str(value.get()).map_err(|_| UnreadableAnswer)
}

pub(super) const STATE: &str = "requestState";
const META: &str = "_meta";
/// 2025-11-25, "Tasks": what belongs to a task says so.
const RELATED: &str = "io.modelcontextprotocol/related-task";
const TASK: &str = "task";
const TASK_ID: &str = "taskId";
const TASK_IDS: &str = "taskIds";
const LISTENED: &str = "notifications";

#[cfg(test)]
mod tests {
    use super::*;

    fn given(message: &str) -> Result<Option<String>, UnreadableAnswer> {
        let given = with_kept(
            message.as_bytes(),
            Some(&Value::from(7)),
            |kept| match kept {
                Kept::State(state) => Some(format!("{state}~M")),
                Kept::Task("other") => None,
                Kept::Task(id) => Some(format!("{id}~T")),
            },
        );
        given.map(|given| given.map(|bytes| String::from_utf8(bytes).unwrap()))
    }

    #[test]
    fn only_the_state_changes_in_a_request() {
        let body = br#"{"id":1, "params":{"requestState":"s\u007eM", "arguments":{"n":1.50}}}"#;
        let sent = with_restored(body, Some("s\""), &[]).unwrap();
        assert_eq!(
            String::from_utf8(sent).unwrap(),
            r#"{"id":1,"params":{"requestState":"s\"","arguments":{"n":1.50}}}"#
        );
    }

    #[test]
    fn what_is_brought_back_gets_a_code_wherever_an_answer_has_it() {
        for (message, expected) in [
            (
                r#"{"id":7,"result":{"resultType":"input_required","requestState":"s"}}"#,
                r#"{"id":7,"result":{"resultType":"input_required","requestState":"s~M"}}"#,
            ),
            (
                r#"{"id":7,"result":{"contents":[],"cacheScope":"public"}}"#,
                r#"{"id":7,"result":{"contents":[],"cacheScope":"private"}}"#,
            ),
            (
                r#"{"id":7,"result":{"resultType":"task","taskId":"t","ttlMs":1.0}}"#,
                r#"{"id":7,"result":{"resultType":"task","taskId":"t~T","ttlMs":1.0}}"#,
            ),
            (
                r#"{"id":7,"result":{"task":{"taskId":"t","status":"working"}}}"#,
                r#"{"id":7,"result":{"task":{"taskId":"t~T","status":"working"}}}"#,
            ),
            (
                r#"{"id":7,"result":{"_meta":{"io.modelcontextprotocol/related-task":{"taskId":"t"}}}}"#,
                r#"{"id":7,"result":{"_meta":{"io.modelcontextprotocol/related-task":{"taskId":"t~T"}}}}"#,
            ),
            (
                r#"{"method":"notifications/tasks","params":{"taskId":"t","status":"failed"}}"#,
                r#"{"method":"notifications/tasks","params":{"taskId":"t~T","status":"failed"}}"#,
            ),
        ] {
            assert_eq!(given(message), Ok(Some(expected.to_owned())));
        }
    }

    #[test]
    fn what_is_not_brought_back_stays() {
        for without in [
            r#"{"id":7,"result":{"content":[]}}"#,
            r#"{"id":7,"error":{"code":1}}"#,
            r#"{"error":{"code":1}}"#,
            r#"{"id":null,"error":{"code":1}}"#,
            r#"{"method":"x"}"#,
            r#"{"id":7,"result":{"structuredContent":{"taskId":"t"}}}"#,
            // The client's own task, which the server asks after.
            r#"{"id":1,"method":"tasks/get","params":{"taskId":"other"}}"#,
        ] {
            assert_eq!(given(without), Ok(None), "{without}");
        }
    }

    #[test]
    fn what_has_two_readings_or_is_anothers_is_no_answer() {
        for bad in [
            r#"{"id":7,"result":{"requestState":"s","requestState":"t"}}"#,
            r#"{"id":7,"result":{"RequestState":"s"}}"#,
            r#"{"id":7,"result":{"taskid":"t"}}"#,
            r#"{"id":7,"result":{"requestState":7}}"#,
            r#"{"id":7,"result":{"taskId":"other"}}"#,
            r#"{"method":"notifications/tasks/status","params":{"taskId":"other"}}"#,
            r#"{"method":7}"#,
            r#"{"id":8,"result":{"tools":[]}}"#,
            r#"{"id":"7","result":{"tools":[]}}"#,
            r#"{"result":{"tools":[]}}"#,
            r#"{"id":8,"error":{"code":1}}"#,
            r#"[]"#,
        ] {
            assert_eq!(given(bad), Err(UnreadableAnswer), "{bad}");
        }
    }
}
