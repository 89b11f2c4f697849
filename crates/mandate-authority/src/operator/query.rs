//! Query strings, strictly: each parameter once, none that is unknown.

use std::fmt::Display;
use std::str::FromStr;

use crate::form::{self, Pairs};
use crate::problem::Problem;

/// A query's parameters that nobody has taken yet.
#[derive(Debug)]
pub(super) struct Query(Pairs);

impl Query {
    pub(super) fn parse(query: Option<String>) -> Result<Self, Problem> {
        let pairs = form::decode(query.unwrap_or_default().as_bytes())
            .map_err(|why| Problem::malformed(why.to_string()))?;
        let is_repeated = |(n, (name, _)): (usize, &(String, String))| {
            pairs.iter().skip(n + 1).any(|(other, _)| other == name)
        };
        if pairs.iter().enumerate().any(is_repeated) {
            return Err(Problem::malformed(
                "a parameter of the query is given more than once",
            ));
        }
        Ok(Self(pairs))
    }

    /// The text of `name`.
    pub(super) fn text(&mut self, name: &str) -> Option<String> {
        let at = self.0.iter().position(|(n, _)| n == name)?;
        Some(self.0.swap_remove(at).1)
    }

    /// The value of `name`, parsed.
    pub(super) fn parsed<T: FromStr<Err: Display>>(
        &mut self,
        name: &str,
    ) -> Result<Option<T>, Problem> {
        let parse = |text: String| {
            text.parse()
                .map_err(|why: T::Err| Problem::malformed(format!("`{name}`: {why}")))
        };
        self.text(name).map(parse).transpose()
    }

    /// The whole number `name`.
    pub(super) fn number(&mut self, name: &str) -> Result<Option<u64>, Problem> {
        self.parsed(name)
    }

    /// The whole number `name`, which must be there.
    pub(super) fn needed(&mut self, name: &str) -> Result<u64, Problem> {
        self.number(name)?
            .ok_or_else(|| Problem::malformed(format!("`{name}` is missing")))
    }

    /// Nothing is left over.
    pub(super) fn end(self) -> Result<(), Problem> {
        match self.0.first() {
            None => Ok(()),
            Some((name, _)) => {
                let name: String = name.chars().take(40).collect();
                Err(Problem::malformed(format!(
                    "`{name}` is no parameter of this query"
                )))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_with_a_repeated_or_unknown_parameter_is_refused() {
        assert!(Query::parse(Some("a=1&a=2".to_owned())).is_err());
        let mut query = Query::parse(Some("a=1&b=2".to_owned())).unwrap();
        assert_eq!(query.number("a").unwrap(), Some(1));
        assert!(query.number("b").is_ok());
        assert!(query.end().is_ok());
        let query = Query::parse(Some("c=1".to_owned())).unwrap();
        assert!(query.end().is_err());
    }
}
