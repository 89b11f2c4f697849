//! Tools as they were accepted: what a server says of one now is compared with what somebody looked at.
//!
//! A server that changes a tool under an agent's feet may have it do something else, or say something else to the
//! model that reads it.

use mandate_policy::decl::{ServerWorkload, ToolDigest};
use serde_json::Value;
use serde_json::value::RawValue;

use super::super::body::{has_at_most, strict_json};
use super::super::classify::Classified;
use super::super::decide::Denial;
use super::UnreadableAnswer;
use super::raw::{Members, check_spelling, member, read};

/// What a server says of a tool now; `None` where that can be read in more than one way, which is never what was
/// accepted.
pub type Seen = Option<ToolDigest>;

/// A page of a server's tools.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ToolPage {
    /// Each tool that it names.
    pub tools: Vec<(String, Seen)>,
    /// The cursor of the next page, if there is one.
    pub next: Option<String>,
}

/// Reads an answer to `tools/list`.
pub fn tool_page(message: &[u8]) -> Result<ToolPage, UnreadableAnswer> {
    let Members(message) = read(message)?;
    check_spelling(&message, &["result"])?;
    let result = member(&message, "result").ok_or(UnreadableAnswer)?;
    let Members(result) = read(result.get().as_bytes())?;
    check_spelling(&result, &["tools", "nextCursor"])?;
    let tools = member(&result, "tools").ok_or(UnreadableAnswer)?;
    let tools: Vec<&RawValue> = serde_json::from_str(tools.get()).map_err(|_| UnreadableAnswer)?;
    let tools = tools.into_iter().map(|tool| {
        let name = named(tool)?;
        Ok((name, seen(tool.get())))
    });
    let next = member(&result, "nextCursor").map(|next| serde_json::from_str(next.get()));
    let next: Option<Option<String>> = next.transpose().map_err(|_| UnreadableAnswer)?;
    Ok(ToolPage {
        tools: tools.collect::<Result<_, _>>()?,
        next: next.flatten(),
    })
}

fn named(tool: &RawValue) -> Result<String, UnreadableAnswer> {
    let Members(members) = read(tool.get().as_bytes())?;
    check_spelling(&members, &["name"])?;
    let name = member(&members, "name").ok_or(UnreadableAnswer)?;
    serde_json::from_str(name.get()).map_err(|_| UnreadableAnswer)
}

/// What an item of a list says of its tool.
pub fn seen(item: &str) -> Seen {
    if !has_at_most(item.as_bytes(), MOST_VALUES) {
        return None;
    }
    let tool: Value = strict_json(item.as_bytes()).ok()?;
    Some(ToolDigest::of(&tool))
}

/// The tool of `server` that is used, where its tools were accepted one by one.
pub fn accepted_tool<'c>(server: &ServerWorkload, classified: &'c Classified) -> Option<&'c str> {
    let is_pinned = server.mcp.as_ref()?.manifest.is_some();
    classified.used_tool().filter(|_| is_pinned)
}

/// Whether `message` is the notification `method`.
pub fn tells_of(message: &[u8], method: &str) -> bool {
    let Ok(Members(members)) = read(message) else {
        return false;
    };
    let said = member(&members, "method");
    let said = said.and_then(|said| serde_json::from_str::<String>(said.get()).ok());
    said.as_deref() == Some(method)
}

/// That a tool of `server`, as it is `seen`, is what was accepted.
pub fn check_tool(server: &ServerWorkload, tool: &str, seen: Seen) -> Result<(), Denial> {
    let Some(manifest) = server.mcp.as_ref().and_then(|mcp| mcp.manifest.as_ref()) else {
        return Ok(());
    };
    match (manifest.tool(tool), seen) {
        (Some(accepted), Some(seen)) if *accepted == seen => Ok(()),
        (_, _) => Err(Denial::ToolChanged),
    }
}

/// What is said of one tool. What is read takes many times the room of its bytes.
const MOST_VALUES: usize = 10_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_says_what_each_tool_is_and_where_the_next_one_is() {
        let page = r#"{"result":{"tools":[{"name":"a","x":1},{"name":"b","x":{"y":1,"y":2}}],"nextCursor":""}}"#;
        let page = tool_page(page.as_bytes()).unwrap();
        let a = ToolDigest::of(&serde_json::json!({"x": 1, "name": "a"}));
        assert_eq!(
            page.tools,
            [("a".to_owned(), Some(a)), ("b".to_owned(), None)]
        );
        // The empty text is a cursor (MCP 2026-07-28, "Pagination").
        assert_eq!(page.next.as_deref(), Some(""));
        let last = tool_page(br#"{"result":{"tools":[],"nextCursor":null}}"#).unwrap();
        assert_eq!((last.tools.len(), last.next), (0, None));
    }

    #[test]
    fn an_answer_without_a_list_of_tools_is_no_page() {
        for bad in [
            r#"{"error":{"code":1,"message":""}}"#,
            r#"{"result":{}}"#,
            r#"{"result":{"tools":[],"Tools":[]}}"#,
            r#"{"result":{"tools":[{}]}}"#,
            r#"{"result":{"tools":[],"nextCursor":7}}"#,
            r#"{"result":{"tools":[]},"result":{"tools":[]}}"#,
        ] {
            assert_eq!(tool_page(bad.as_bytes()), Err(UnreadableAnswer), "{bad}");
        }
    }
}
