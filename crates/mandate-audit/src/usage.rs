//! What a reply of an LLM says of the tokens that it took.

/// The tokens that a reply said were used, as far as it said so. The upstream's word: nothing here is measured, and
/// nothing was decided on it.
///
/// Kinds of tokens mean the same for every API: what came from a cache or was written to one is part of `input`, and
/// reasoning is part of `output`.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Usage {
    /// The model, as the reply names it: printable ASCII, cut to [`Usage::LONGEST_MODEL`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// Tokens of the input, all of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input: Option<u64>,
    /// Tokens of the output, all of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<u64>,
    /// Those of the input that came from a cache.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cached: Option<u64>,
    /// Those of the input that were written to a cache.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache_write: Option<u64>,
    /// Those of the output that were reasoning.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reasoning: Option<u64>,
    /// Why this is not all, where it may not be. Figures beside it are what was said until then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub incomplete: Option<Incomplete>,
}

/// Why the tokens of a reply are not known, or not all of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Incomplete {
    /// It ended, and said nothing of them.
    NotSaid,
    /// It broke off, was cut, or its stream ended without the event that ends it.
    BrokeOff,
    /// It, or an event of its stream, was longer than what is read.
    TooLong,
    /// It had a content encoding.
    Encoded,
    /// It, or an event of its stream, was no JSON that can be read in one way.
    Unreadable,
}

impl Usage {
    /// The longest name of a model that a record has, in bytes.
    pub const LONGEST_MODEL: usize = 128;
    /// The largest number of tokens that is believed: some thousand times what any reply takes.
    pub const MOST: u64 = 1_000_000_000_000;

    /// Each kind of tokens that was said, by its name in records.
    pub fn counts(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let all = [
            ("input", self.input),
            ("output", self.output),
            ("cached", self.cached),
            ("cache_write", self.cache_write),
            ("reasoning", self.reasoning),
        ];
        all.into_iter()
            .filter_map(|(kind, count)| Some((kind, count?)))
    }
}
