//! LLM endpoints: whose shape their replies have.

use std::fmt;

/// That a server workload is an LLM endpoint, and of which shape.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct LlmSettings {
    /// The API that it speaks.
    pub api: LlmApi,
}

/// The shape of an LLM's requests and replies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum LlmApi {
    /// OpenAI's: chat completions, responses, embeddings.
    OpenAi,
    /// Anthropic's: messages.
    Anthropic,
}

impl LlmApi {
    /// Each, by its name in bundles.
    pub const ALL: [(&'static str, Self); 2] =
        [("openai", Self::OpenAi), ("anthropic", Self::Anthropic)];

    /// The ends of paths that calls of a model have, which each say in their body which model.
    pub(crate) fn calls(self) -> &'static [&'static str] {
        match self {
            LlmApi::OpenAi => &["completions", "responses", "embeddings"],
            LlmApi::Anthropic => &["messages"],
        }
    }
}

impl fmt::Display for LlmApi {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut all = Self::ALL.iter();
        let name = all.find(|(_, api)| api == self).map(|(name, _)| *name);
        f.write_str(name.unwrap_or_default())
    }
}
