//! `scope` in tokens of ours: words `server:action`, derived from `authorization_details` (A10).

use std::collections::BTreeSet;
use std::fmt;

use mandate_model::mandate::Entries;
use mandate_model::{ActionName, ServerName};

/// A set of `server:action` words. A summary: it says which actions, never on what.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Scope(BTreeSet<(ServerName, ActionName)>);

/// Text that is no scope of ours.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MalformedScope {
    /// A word is not `server:action`, or spaces are doubled (RFC 6749 §3.3).
    #[error("`{0}` is no scope word: words are `server:action`, with one space between them")]
    Word(String),
    /// A word appears twice.
    #[error("scope word `{0}` appears twice")]
    Duplicate(String),
}

/// The scope of `entries`: their `server:action` words, each once, sorted.
pub fn scope_of(entries: &Entries) -> String {
    Scope::of(entries).to_string()
}

/// Reads a scope, in any order. Empty text is the empty scope.
pub fn parse_scope(text: &str) -> Result<Scope, MalformedScope> {
    let mut words = BTreeSet::new();
    if text.is_empty() {
        return Ok(Scope(words));
    }
    for word in text.split(' ') {
        let parsed = parse_word(word).ok_or_else(|| MalformedScope::Word(shown(word)))?;
        if !words.insert(parsed) {
            return Err(MalformedScope::Duplicate(shown(word)));
        }
    }
    Ok(Scope(words))
}

fn parse_word(word: &str) -> Option<(ServerName, ActionName)> {
    let (server, action) = word.split_once(':')?;
    Some((
        ServerName::parse(server).ok()?,
        ActionName::parse(action).ok()?,
    ))
}

fn shown(word: &str) -> String {
    word.chars().take(80).collect()
}

impl Scope {
    /// The scope of `entries`.
    pub fn of(entries: &Entries) -> Self {
        let word = |e: &mandate_model::mandate::Entry| (e.server.clone(), e.action.clone());
        Self(entries.iter().map(word).collect())
    }

    /// The words, sorted.
    pub fn iter(&self) -> impl Iterator<Item = (&ServerName, &ActionName)> {
        self.0.iter().map(|(server, action)| (server, action))
    }

    /// Whether it has no word.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, (server, action)) in self.iter().enumerate() {
            let space = if n == 0 { "" } else { " " };
            write!(f, "{space}{server}:{action}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scope_is_a_set_of_words() {
        let scope = parse_scope("records:refund records:read").unwrap();
        assert_eq!(scope.to_string(), "records:read records:refund");
        assert_eq!(parse_scope("").unwrap().to_string(), "");
        assert_eq!(
            parse_scope("a:b a:b"),
            Err(MalformedScope::Duplicate("a:b".into()))
        );
        for bad in [
            "a", "a:b  c:d", " a:b", "a:b ", "a:*", ":b", "a:b:c", "a:b\tc:d",
        ] {
            assert!(
                matches!(parse_scope(bad), Err(MalformedScope::Word(_))),
                "{bad:?}"
            );
        }
    }
}
