//! The shape of each kind, said once: what is checked, the JSON Schema for editors and the
//! reference's list of fields all come from the tables in [`kinds`].

mod check;
mod kinds;
mod providers;
mod rules;
mod schema;

pub(crate) use check::check;
pub(crate) use kinds::{API_VERSION, KINDS, Kind, METADATA};
pub(crate) use providers::NOT_YET;
pub use schema::json_schema;

/// What a value looks like.
#[derive(Debug)]
pub(crate) enum Shape {
    /// Text that is not empty.
    Text,
    /// A whole number of at least this.
    Integer(i64),
    /// `true` or `false`.
    Bool,
    /// A time span: `90s`, `10m`, `2h`.
    Duration,
    /// One of these words.
    Word(&'static [&'static str]),
    /// A list with at least one item.
    List(&'static Shape),
    /// A value, or a list with at least one.
    OneOrMany(&'static Shape),
    /// A mapping with these members.
    Record(&'static [Field]),
    /// A mapping with exactly one of these members, or the name of one whose shape is `Nothing`.
    Choice(&'static [Field]),
    /// A mapping of names, at least one, to values.
    Map(&'static Shape),
    /// Text, or this.
    TextOr(&'static Shape),
    /// What a claim must be: text, a whole number, `true` or `false`, or a test of it.
    Claim,
    /// `{}`.
    Nothing,
}

/// A member of a mapping.
#[derive(Debug)]
pub(crate) struct Field {
    pub(crate) name: &'static str,
    pub(crate) required: bool,
    pub(crate) shape: Shape,
    pub(crate) doc: &'static str,
}

/// A member that must be there.
pub(crate) const fn required(name: &'static str, shape: Shape, doc: &'static str) -> Field {
    Field {
        name,
        required: true,
        shape,
        doc,
    }
}

/// A member that may be there.
pub(crate) const fn optional(name: &'static str, shape: Shape, doc: &'static str) -> Field {
    Field {
        name,
        required: false,
        shape,
        doc,
    }
}
