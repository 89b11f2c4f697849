//! Operators.

use mandate_model::OperatorName;

use super::agent::user;
use super::read::text;
use crate::decl::{Operator, Right};
use crate::mistake::Mistakes;
use crate::source::Node;

pub(super) fn operator(name: &str, spec: &Node, mistakes: &mut Mistakes) -> Option<Operator> {
    let user = user(spec, "unixUser", mistakes);
    if user.is_none() && spec.get("uid").is_none() && spec.get("unixUser").is_none() {
        mistakes.error(
            spec.at,
            "the operator names no user",
            "add `unixUser` or `uid`",
        );
    }
    let rights = spec.get("rights").map_or(&[] as &[Node], Node::items);
    Some(Operator {
        name: OperatorName::parse(name).ok()?,
        user: user?,
        rights: rights
            .iter()
            .filter_map(|n| Right::parse(n.text()?))
            .collect(),
        when: text(spec, "when"),
    })
}
