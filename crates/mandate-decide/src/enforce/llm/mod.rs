//! What replies of LLM endpoints say of the tokens that they took.
//!
//! A reader is shown a copy of the bytes that pass. It keeps no more of them than it must, and whatever they are they
//! are only ever not understood: no reply is held up, changed or refused for what it says here.

mod events;
mod reply;
#[cfg(test)]
mod tests;

use std::fmt;

use http::{HeaderMap, header};
use mandate_audit::{Incomplete, Usage};
use mandate_policy::decl::LlmApi;

use events::{Event, Events};
use reply::{Part, Reply, Tokens};

/// Reads the usage of one reply as its bytes pass, in whatever pieces they come.
pub struct UsageReader {
    api: LlmApi,
    form: Form,
    found: Found,
}

/// How a reply says what it took.
enum Form {
    /// In one JSON object, kept until it is whole.
    Whole(Vec<u8>),
    /// In server-sent events.
    Events(Box<Events>),
    /// Not at all, or not to us.
    Silent(Incomplete),
}

#[derive(Debug, Clone, Default)]
struct Found {
    model: Option<String>,
    tokens: Tokens,
    /// The event came that ends the stream.
    ended: bool,
    too_long: bool,
    unreadable: bool,
}

impl fmt::Debug for UsageReader {
    /// Without what is kept of a reply.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("UsageReader");
        shown.field("api", &self.api).finish_non_exhaustive()
    }
}

impl UsageReader {
    /// Of a reply with these header fields.
    pub fn of(api: LlmApi, headers: &HeaderMap) -> Self {
        let encodings = headers.get_all(header::CONTENT_ENCODING).iter();
        let is_encoded = encodings
            .map(http::HeaderValue::as_bytes)
            .any(|coding| !coding.eq_ignore_ascii_case(b"identity"));
        let form = match media_type(headers) {
            _ if is_encoded => Form::Silent(Incomplete::Encoded),
            Some(json) if json == "application/json" || json.ends_with("+json") => {
                Form::Whole(Vec::new())
            }
            Some(events) if events == "text/event-stream" => Form::Events(Box::default()),
            Some(_) | None => Form::Silent(Incomplete::NotSaid),
        };
        Self {
            api,
            form,
            found: Found::default(),
        }
    }

    /// Reads on.
    pub fn read(&mut self, bytes: &[u8]) {
        match &mut self.form {
            Form::Whole(kept) => {
                if kept.len().saturating_add(bytes.len()) > LONGEST {
                    self.form = Form::Silent(Incomplete::TooLong);
                } else {
                    kept.extend_from_slice(bytes);
                }
            }
            Form::Events(events) => {
                let (api, found) = (self.api, &mut self.found);
                events.read(bytes, |event| found.hear(api, &event));
            }
            Form::Silent(_) => {}
        }
    }

    /// What was said until now. `ended` says whether the reply came to its end.
    pub fn usage(&self, ended: bool) -> Usage {
        match &self.form {
            Form::Silent(why) => Usage {
                incomplete: Some(*why),
                ..Usage::default()
            },
            Form::Events(_) => self.found.usage(self.api),
            Form::Whole(kept) => {
                let mut found = Found::default();
                match Reply::read(kept) {
                    Some(reply) => {
                        found.take(self.api, reply);
                        found.ended = true;
                    }
                    None => found.unreadable = ended,
                }
                found.usage(self.api)
            }
        }
    }
}

impl Found {
    fn hear(&mut self, api: LlmApi, event: &Event<'_>) {
        match event {
            Event::TooLong => self.too_long = true,
            Event::Data(data) if data.trim_ascii() == b"[DONE]" => self.ended = true,
            Event::Data(data) => match Reply::read(data) {
                Some(reply) => {
                    self.ended |= reply.is_last(api);
                    self.take(api, reply);
                }
                None => self.unreadable = true,
            },
        }
    }

    /// What is said later counts: figures of a stream are those of all of it until then.
    fn take(&mut self, api: LlmApi, reply: Reply) {
        let inner = match api {
            LlmApi::OpenAi => reply.response.0,
            LlmApi::Anthropic => reply.message.0,
        };
        let outer = Part {
            model: reply.model,
            usage: reply.usage,
        };
        for part in [Some(outer), inner].into_iter().flatten() {
            self.model = part.model.0.map(|name| name.0).or(self.model.take());
            if let Some(tokens) = part.usage.0 {
                self.tokens.take(tokens);
            }
        }
    }

    fn usage(&self, api: LlmApi) -> Usage {
        let mut usage = self.tokens.usage(api);
        usage.model.clone_from(&self.model);
        let is_said = usage.counts().next().is_some();
        usage.incomplete = if self.ended && is_said {
            None
        } else if self.too_long {
            Some(Incomplete::TooLong)
        } else if self.unreadable {
            Some(Incomplete::Unreadable)
        } else if self.ended {
            Some(Incomplete::NotSaid)
        } else {
            Some(Incomplete::BrokeOff)
        };
        usage
    }
}

/// Without its parameters, in lower case.
fn media_type(headers: &HeaderMap) -> Option<String> {
    let said = headers.get(header::CONTENT_TYPE)?.to_str().ok()?;
    let essence = said.split(';').next()?.trim();
    Some(essence.to_ascii_lowercase())
}

/// The longest reply or event that is read. Usage comes last, after all that the model said.
const LONGEST: usize = 8 * 1024 * 1024;
