//! Calls of tools that go on as tasks after they were answered (2025-11-25, "Tasks"; the extension
//! `io.modelcontextprotocol/tasks` of 2026-07-28).
//!
//! Whoever asks after a task, ends it or gives it something names its id alone, and it is decided as the call that it
//! was. So the agent gets the id with that call in it. Who it was given to is in its code, which a gateway checks
//! before anything is decided.

use std::collections::BTreeMap;
use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use mandate_model::{AttributeName, RequestAttributes};
use mandate_policy::decl::{ServerWorkload, TOOL};
use serde::{Deserialize, Serialize};

use super::super::classify::{Classified, Unclassifiable, add, found};
use super::message::Era;
use super::{McpFault, spoken};

/// A task as an agent has its id: the server's own, the call that it was, and a code.
#[derive(Clone, PartialEq, Eq)]
pub struct GivenTask {
    id: String,
    call: String,
    code: String,
    tool: String,
}

impl fmt::Debug for GivenTask {
    /// Without the attributes and the code.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("GivenTask");
        shown.field("tool", &self.tool).finish_non_exhaustive()
    }
}

impl GivenTask {
    /// The tool that was called.
    pub fn tool(&self) -> &str {
        &self.tool
    }

    /// The server's own id.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The call that it was, as [`as_call`] wrote it.
    pub fn call(&self) -> &str {
        &self.call
    }

    /// What says whose it is. Unchecked.
    pub fn code(&self) -> &str {
        &self.code
    }

    /// The id as the agent has it.
    pub fn given(&self) -> String {
        given(&self.id, &self.call, &self.code)
    }

    fn read(given: &str) -> Option<(Self, Called)> {
        let (rest, code) = given.rsplit_once(BETWEEN)?;
        let (id, call) = rest.rsplit_once(BETWEEN)?;
        let called = URL_SAFE_NO_PAD.decode(call).ok()?;
        let called: Called = serde_json::from_slice(&called).ok()?;
        let task = Self {
            id: id.to_owned(),
            call: call.to_owned(),
            code: code.to_owned(),
            tool: called.tool.clone(),
        };
        Some((task, called))
    }
}

/// The id of a task as an agent gets it: the server's `id`, the `call` that it was ([`as_call`]), and a `code` over
/// both and whose it is.
pub fn given(id: &str, call: &str, code: &str) -> String {
    format!("{id}{BETWEEN}{call}{BETWEEN}{code}")
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Called {
    tool: String,
    attributes: BTreeMap<String, Vec<String>>,
}

/// What the call of a tool was decided on, in characters of a header field; `None` where it is no such call, or too
/// long for one.
pub fn as_call(classified: &Classified) -> Option<String> {
    let tool = classified.tool()?.to_owned();
    let attributes = classified.attributes.iter().map(|(name, values)| {
        let values = values.iter().map(ToString::to_string).collect();
        (name.to_string(), values)
    });
    let called = Called {
        tool,
        attributes: attributes.collect(),
    };
    let call = URL_SAFE_NO_PAD.encode(serde_json::to_vec(&called).ok()?);
    (call.len() <= LONGEST).then_some(call)
}

/// The call that the task `given` to an agent was, as the declarations have it now.
pub(super) fn again(
    server: &ServerWorkload,
    given: &str,
    era: Era,
) -> Result<Classified, Unclassifiable> {
    let (task, called) = GivenTask::read(given).ok_or(NO_TASK)?;
    let undeclared = |_| Unclassifiable::Undeclared(TOOL);
    let (action, shape, _) = found(server, TOOL, &[&called.tool]).map_err(undeclared)?;
    let mut attributes = RequestAttributes::new();
    for (name, values) in &called.attributes {
        let name = AttributeName::parse(name).map_err(|_| NO_TASK)?;
        // What is an attribute no more, nothing is asked about.
        if let Some(attribute) = action.attributes.get(&name) {
            let values = values.iter().map(String::as_str);
            add(&mut attributes, &name, attribute, values)?;
        }
    }
    let mut spoken = spoken(&format!("task of {shape}"), era);
    if let Some(said) = &mut spoken.said {
        said.tasks.push(task);
    }
    Ok(Classified {
        action: Some(action.name.clone()),
        effect: action.effect,
        attributes,
        ..spoken
    })
}

impl McpFault {
    /// A task that is nobody's, or another's.
    pub const NO_TASK: Self = NO_TASK;
}

const NO_TASK: McpFault =
    McpFault::Params("this `taskId` was not given to this agent in this task");
/// A character of no call and no code.
const BETWEEN: char = '~';
/// An id goes in a header field too, beside a token.
const LONGEST: usize = 4 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_read_as_it_was_given_whatever_the_server_puts_into_it() {
        let call = URL_SAFE_NO_PAD.encode(r#"{"tool":"refund","attributes":{}}"#);
        for id in ["t-1", "", "~", "a~b~c", "ü\n"] {
            let (task, _) = GivenTask::read(&given(id, &call, "Y29k")).unwrap();
            assert_eq!((task.id(), task.call(), task.code()), (id, &*call, "Y29k"));
            assert_eq!(
                (task.given(), task.tool()),
                (given(id, &call, "Y29k"), "refund")
            );
        }
        for none in ["t-1", "t-1~Y29k", "t-1~Y2Fs~Y29k"] {
            assert!(GivenTask::read(none).is_none(), "{none}");
        }
    }
}
