//! What claims must be, as bundles say it.

use crate::decl::{ClaimPath, ClaimTest, Pattern, Wanted};
use crate::mistake::Mistakes;
use crate::source::{Node, Value};

/// A test of the claim at `path` by what `node` says.
pub(super) fn test(path: ClaimPath, node: &Node, mistakes: &mut Mistakes) -> Option<ClaimTest> {
    let wanted = wanted(node, mistakes)?;
    let may_lack = false;
    Some(ClaimTest {
        path,
        wanted,
        may_lack,
    })
}

/// A test of the claim at `path`, a text of ours, by what `field` says, if it says anything.
pub(super) fn field(
    node: &Node,
    field: &str,
    path: &str,
    mistakes: &mut Mistakes,
) -> Option<ClaimTest> {
    test(ClaimPath::parse(path).ok()?, node.get(field)?, mistakes)
}

/// A test of ours.
pub(super) fn fixed(path: &str, wanted: Wanted) -> Option<ClaimTest> {
    let may_lack = false;
    Some(ClaimTest {
        path: ClaimPath::parse(path).ok()?,
        wanted,
        may_lack,
    })
}

/// A test of ours that a token without the claim passes too.
pub(super) fn if_there(path: &str, wanted: Wanted) -> Option<ClaimTest> {
    let test = fixed(path, wanted)?;
    Some(ClaimTest {
        may_lack: true,
        ..test
    })
}

/// A test that the claim at `path` is the text under `field`.
pub(super) fn is_text(node: &Node, field: &str, path: &str) -> Option<ClaimTest> {
    fixed(path, Wanted::Text(node.get(field)?.text()?.to_owned()))
}

fn wanted(node: &Node, mistakes: &mut Mistakes) -> Option<Wanted> {
    match &node.value {
        Value::Text(text) => Some(Wanted::Text(text.clone())),
        Value::Integer(n) => Some(Wanted::Integer(*n)),
        Value::Bool(b) => Some(Wanted::Bool(*b)),
        Value::Map(_) => member(node, mistakes),
        Value::Null | Value::Number | Value::List(_) => None,
    }
}

fn member(node: &Node, mistakes: &mut Mistakes) -> Option<Wanted> {
    if let Some(like) = node.get("like") {
        return match Pattern::parse(like.text()?) {
            Ok(pattern) => Some(Wanted::Like(pattern)),
            Err(why) => {
                let message = format!("`like` is no pattern: {why}");
                mistakes.error(like.at, message, "");
                None
            }
        };
    }
    if let Some(list) = node.get("oneOf") {
        let texts = list.items().iter();
        let texts: Vec<String> = texts.filter_map(|n| Some(n.text()?.to_owned())).collect();
        return (!texts.is_empty()).then_some(Wanted::OneOf(texts));
    }
    Some(Wanted::Has(node.get("has")?.text()?.to_owned()))
}
