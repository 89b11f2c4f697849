//! Replies and events as far as they say what they took: the members of OpenAI's chat completions, responses and
//! embeddings, and of Anthropic's messages. What is of another type than it should be was not said.

use std::fmt;
use std::marker::PhantomData;

use mandate_audit::Usage;
use mandate_policy::decl::LlmApi;
use serde::Deserialize;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

/// A reply, or an event of one.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Reply {
    #[serde(rename = "type")]
    kind: Said<Word>,
    pub(super) model: Said<Word>,
    pub(super) usage: Said<Tokens>,
    /// Of events of OpenAI's responses.
    pub(super) response: Said<Part>,
    /// Of the event that begins a message of Anthropic's.
    pub(super) message: Said<Part>,
}

/// What it is of.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Part {
    pub(super) model: Said<Word>,
    pub(super) usage: Said<Tokens>,
}

/// Under the names of both APIs; chat completions have those of their own.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Tokens {
    input_tokens: Said<Count>,
    prompt_tokens: Said<Count>,
    output_tokens: Said<Count>,
    completion_tokens: Said<Count>,
    cache_read_input_tokens: Said<Count>,
    cache_creation_input_tokens: Said<Count>,
    input_tokens_details: Said<Details>,
    prompt_tokens_details: Said<Details>,
    output_tokens_details: Said<Details>,
    completion_tokens_details: Said<Details>,
}

#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(default)]
struct Details {
    cached_tokens: Said<Count>,
    cache_write_tokens: Said<Count>,
    reasoning_tokens: Said<Count>,
    thinking_tokens: Said<Count>,
}

impl Reply {
    /// `None` of what is no JSON, or says a member twice.
    pub(super) fn read(json: &[u8]) -> Option<Self> {
        let said: Said<Self> = serde_json::from_slice(json).ok()?;
        said.0
    }

    /// Whether nothing of the reply comes after it. Of OpenAI's streams, all events with a type and a usage end
    /// theirs.
    pub(super) fn is_last(&self, api: LlmApi) -> bool {
        let kind = self.kind.0.as_ref().map(|kind| kind.0.as_str());
        match (api, kind) {
            (LlmApi::Anthropic, kind) => kind == Some("message_stop"),
            (
                LlmApi::OpenAi,
                Some("response.completed" | "response.incomplete" | "response.failed"),
            ) => true,
            (LlmApi::OpenAi, Some(_)) => self.usage.0.is_some(),
            (LlmApi::OpenAi, None) => false,
        }
    }
}

impl Tokens {
    /// What `later` says takes the place of what was said.
    pub(super) fn take(&mut self, later: Self) {
        let Self {
            input_tokens,
            prompt_tokens,
            output_tokens,
            completion_tokens,
            cache_read_input_tokens,
            cache_creation_input_tokens,
            input_tokens_details,
            prompt_tokens_details,
            output_tokens_details,
            completion_tokens_details,
        } = later;
        self.input_tokens.take(input_tokens);
        self.prompt_tokens.take(prompt_tokens);
        self.output_tokens.take(output_tokens);
        self.completion_tokens.take(completion_tokens);
        self.cache_read_input_tokens.take(cache_read_input_tokens);
        self.cache_creation_input_tokens
            .take(cache_creation_input_tokens);
        self.input_tokens_details.take(input_tokens_details);
        self.prompt_tokens_details.take(prompt_tokens_details);
        self.output_tokens_details.take(output_tokens_details);
        self.completion_tokens_details
            .take(completion_tokens_details);
    }

    /// In the words of records.
    pub(super) fn usage(&self, api: LlmApi) -> Usage {
        let count = |said: Said<Count>| said.0.map(|count| count.0);
        let either =
            |one: Said<Details>, other: Said<Details>| one.0.or(other.0).unwrap_or_default();
        let of_input = either(self.input_tokens_details, self.prompt_tokens_details);
        let of_output = either(self.output_tokens_details, self.completion_tokens_details);
        let (cached, cache_write, reasoning) = match api {
            LlmApi::OpenAi => (
                of_input.cached_tokens,
                of_input.cache_write_tokens,
                of_output.reasoning_tokens,
            ),
            LlmApi::Anthropic => (
                self.cache_read_input_tokens,
                self.cache_creation_input_tokens,
                of_output.thinking_tokens,
            ),
        };
        let (cached, cache_write) = (count(cached), count(cache_write));
        let mut input = count(self.input_tokens).or(count(self.prompt_tokens));
        if api == LlmApi::Anthropic {
            // Its `input_tokens` are those that no cache had to do with.
            let around = cached
                .unwrap_or_default()
                .saturating_add(cache_write.unwrap_or_default());
            input = input.map(|input| input.saturating_add(around));
        }
        Usage {
            model: None,
            input,
            output: count(self.output_tokens).or(count(self.completion_tokens)),
            cached,
            cache_write,
            reasoning: count(reasoning),
            incomplete: None,
        }
    }
}

/// A member, if it is of the type that it should be of.
#[derive(Debug, Clone, Copy)]
pub(super) struct Said<T>(pub(super) Option<T>);

impl<T> Default for Said<T> {
    fn default() -> Self {
        Self(None)
    }
}

impl<T> Said<T> {
    fn take(&mut self, later: Self) {
        if later.0.is_some() {
            *self = later;
        }
    }
}

/// A number of tokens that can be one.
#[derive(Debug, Clone, Copy)]
pub(super) struct Count(u64);

/// A name as a record shows it.
#[derive(Debug, Clone)]
pub(super) struct Word(pub(super) String);

/// What a member may be of.
trait Member: Sized {
    fn of_number(_: u64) -> Option<Self> {
        None
    }

    fn of_text(_: &str) -> Option<Self> {
        None
    }

    fn of_object<'de, M: MapAccess<'de>>(mut members: M) -> Result<Option<Self>, M::Error> {
        while members.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(None)
    }
}

impl Member for Count {
    fn of_number(number: u64) -> Option<Self> {
        (number <= Usage::MOST).then_some(Self(number))
    }
}

impl Member for Word {
    fn of_text(text: &str) -> Option<Self> {
        let shown = |c: char| if c.is_ascii_graphic() { c } else { '_' };
        let text: String = text.chars().take(Usage::LONGEST_MODEL).map(shown).collect();
        (!text.is_empty()).then_some(Self(text))
    }
}

macro_rules! object {
    ($($of:ty),*) => {$(
        impl Member for $of {
            fn of_object<'de, M: MapAccess<'de>>(members: M) -> Result<Option<Self>, M::Error> {
                Self::deserialize(MapAccessDeserializer::new(members)).map(Some)
            }
        }
    )*};
}

object!(Reply, Part, Tokens, Details);

impl<'de, T: Member> Deserialize<'de> for Said<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Any(PhantomData)).map(Self)
    }
}

struct Any<T>(PhantomData<T>);

impl<'de, T: Member> Visitor<'de> for Any<T> {
    type Value = Option<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("anything")
    }

    fn visit_u64<E>(self, number: u64) -> Result<Self::Value, E> {
        Ok(T::of_number(number))
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(T::of_text(text))
    }

    fn visit_map<M: MapAccess<'de>>(self, members: M) -> Result<Self::Value, M::Error> {
        T::of_object(members)
    }

    fn visit_seq<S: SeqAccess<'de>>(self, mut items: S) -> Result<Self::Value, S::Error> {
        while items.next_element::<IgnoredAny>()?.is_some() {}
        Ok(None)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(None)
    }
}
