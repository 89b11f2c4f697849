//! What a list shows, and whom it is for.
//!
//! What is shown stays, byte for byte, as the server wrote it; what is not shown is taken out. A list that cannot be
//! read in one way is no list for anybody. Lists are long, so each byte of one is read once.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserialize, DeserializeSeed, Error, IgnoredAny, MapAccess, Visitor};
use serde_json::Deserializer;
use serde_json::value::RawValue;

use super::raw::{MOST_MEMBERS, PRIVATE, SCOPE, is_twin};
use super::{Listed, UnreadableAnswer};

/// `message` without the items of lists that `shows` says no to, by name and whole, and private to who asked; `None` where nothing of
/// it changes.
pub fn shown(
    message: &[u8],
    shows: impl Fn(Listed, &str, &str) -> bool,
) -> Result<Option<Vec<u8>>, UnreadableAnswer> {
    let message = std::str::from_utf8(message).map_err(|_| UnreadableAnswer)?;
    let mut reader = Reader {
        rest: message,
        written: String::with_capacity(message.len()),
    };
    let mut changes = false;
    reader.object(&["result"], |reader, name| {
        // What is no object has no lists.
        if name != "result" || reader.next() != Some(b'{') {
            return reader.copy();
        }
        // What a server says of itself may be as private as its lists.
        reader.object(OF_A_RESULT, |reader, name| {
            let listed = Listed::ALL.iter().find(|(_, list, _)| *list == name);
            changes |= name == SCOPE || listed.is_some();
            match listed {
                Some((listed, _, naming)) => {
                    reader.list(naming, |named, item| shows(*listed, named, item))
                }
                None if name == SCOPE => reader.replace(PRIVATE),
                None => reader.copy(),
            }
        })
    })?;
    if reader.next().is_some() {
        return Err(UnreadableAnswer);
    }
    Ok(changes.then(|| reader.written.into_bytes()))
}

const OF_A_RESULT: &[&str] = &["tools", "prompts", "resources", "resourceTemplates", SCOPE];

/// Reads JSON from left to right and writes what is to be shown of it.
struct Reader<'r> {
    rest: &'r str,
    written: String,
}

impl<'r> Reader<'r> {
    /// What comes after white space (RFC 8259 §2).
    fn next(&mut self) -> Option<u8> {
        self.rest = self.rest.trim_start_matches([' ', '\t', '\n', '\r']);
        self.rest.bytes().next()
    }

    fn is_next(&mut self, mark: char) -> bool {
        self.next();
        let after = self.rest.strip_prefix(mark);
        self.rest = after.unwrap_or(self.rest);
        after.is_some()
    }

    fn expect(&mut self, mark: char) -> Result<(), UnreadableAnswer> {
        self.is_next(mark).then_some(()).ok_or(UnreadableAnswer)
    }

    /// A value, and how it is written.
    fn value<T: Deserialize<'r>>(&mut self) -> Result<(T, &'r str), UnreadableAnswer> {
        self.value_by(std::marker::PhantomData)
    }

    fn value_by<S: DeserializeSeed<'r>>(
        &mut self,
        seed: S,
    ) -> Result<(S::Value, &'r str), UnreadableAnswer> {
        self.next();
        let mut json = Deserializer::from_str(self.rest);
        let value = seed.deserialize(&mut json).map_err(|_| UnreadableAnswer)?;
        let end = json.into_iter::<IgnoredAny>().byte_offset();
        let parts = self.rest.split_at_checked(end);
        let (text, rest) = parts.ok_or(UnreadableAnswer)?;
        self.rest = rest;
        Ok((value, text))
    }

    fn copy(&mut self) -> Result<(), UnreadableAnswer> {
        let (_, text) = self.value::<&RawValue>()?;
        self.written.push_str(text);
        Ok(())
    }

    fn replace(&mut self, by: &str) -> Result<(), UnreadableAnswer> {
        self.value::<&RawValue>()?;
        self.written.push_str(by);
        Ok(())
    }

    /// An object with its members in their order, none of them twice and none taken for one of `known`; `value` reads
    /// and writes the value of each.
    fn object(
        &mut self,
        known: &[&str],
        mut value: impl FnMut(&mut Self, &str) -> Result<(), UnreadableAnswer>,
    ) -> Result<(), UnreadableAnswer> {
        self.expect('{')?;
        self.written.push('{');
        let mut names: Vec<String> = Vec::new();
        while !self.is_next('}') {
            if !names.is_empty() {
                self.expect(',')?;
                self.written.push(',');
            }
            let (name, _) = self.value::<String>()?;
            let is_twice = names.contains(&name);
            if is_twice || names.len() >= MOST_MEMBERS || is_twin(&name, known) {
                return Err(UnreadableAnswer);
            }
            self.expect(':')?;
            let quoted = serde_json::to_string(&name).map_err(|_| UnreadableAnswer)?;
            self.written.push_str(&quoted);
            self.written.push(':');
            value(self, &name)?;
            names.push(name);
        }
        self.written.push('}');
        Ok(())
    }

    /// A list of what `naming` names, without the items that `shows` says no to.
    fn list(
        &mut self,
        naming: &str,
        shows: impl Fn(&str, &str) -> bool,
    ) -> Result<(), UnreadableAnswer> {
        self.next();
        let (list, start) = (self.rest, self.written.len());
        self.expect('[')?;
        self.written.push('[');
        let (mut items, mut kept) = (0_usize, 0_usize);
        let mut members = Vec::new();
        while !self.is_next(']') {
            if items > 0 {
                self.expect(',')?;
            }
            items += 1;
            members.clear();
            let (name, item) = self.value_by(Item {
                naming,
                members: &mut members,
            })?;
            if !shows(&name, item) {
                continue;
            }
            if kept > 0 {
                self.written.push(',');
            }
            kept += 1;
            self.written.push_str(item);
        }
        self.written.push(']');
        if kept == items {
            // As it came, with the white space between its items.
            let length = list.len() - self.rest.len();
            self.written.truncate(start);
            self.written
                .push_str(list.get(..length).ok_or(UnreadableAnswer)?);
        }
        Ok(())
    }
}

/// An item of a list, of which the value of the member `naming` is read.
struct Item<'m, 'r> {
    naming: &'m str,
    /// The names of its members; room for them, at first.
    members: &'m mut Vec<Cow<'r, str>>,
}

impl<'de> DeserializeSeed<'de> for Item<'_, 'de> {
    type Value = Cow<'de, str>;

    fn deserialize<D: serde::Deserializer<'de>>(self, json: D) -> Result<Self::Value, D::Error> {
        json.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Item<'_, 'de> {
    type Value = Cow<'de, str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Self::Value, M::Error> {
        let mut found = None;
        while let Some(Text(name)) = map.next_key()? {
            let is_twice = self.members.contains(&name);
            let are_many = self.members.len() >= MOST_MEMBERS;
            if is_twice || are_many || is_twin(&name, &[self.naming]) {
                return Err(M::Error::custom(
                    "a member stands twice, or there are too many",
                ));
            }
            if name == self.naming {
                let Text(named) = map.next_value()?;
                found = Some(named);
            } else {
                map.next_value::<IgnoredAny>()?;
            }
            self.members.push(name);
        }
        found.ok_or_else(|| M::Error::custom("it has no name"))
    }
}

/// Text where it stands, unless something of it is escaped.
struct Text<'r>(Cow<'r, str>);

impl<'de> Deserialize<'de> for Text<'de> {
    fn deserialize<D: serde::Deserializer<'de>>(json: D) -> Result<Self, D::Error> {
        json.deserialize_str(WhereItStands)
    }
}

struct WhereItStands;

impl<'de> Visitor<'de> for WhereItStands {
    type Value = Text<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("text")
    }

    fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(Text(Cow::Borrowed(text)))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Text(Cow::Owned(text.to_owned())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(message: &str) -> Result<Option<String>, UnreadableAnswer> {
        let shows =
            |_, name: &str, _: &str| name.starts_with("ok") || name.starts_with("file:///ok");
        let shown = shown(message.as_bytes(), shows)?;
        Ok(shown.map(|bytes| String::from_utf8(bytes).unwrap()))
    }

    #[test]
    fn what_may_not_be_used_is_taken_out_and_the_rest_stays_as_it_was() {
        let list = r#"{"jsonrpc":"2.0", "id":1,"result":{"tools":[{"name":"ok1", "x":1.50},{"name":"no"},{"name":"ok2"}],"nextCursor":""}}"#;
        let expected = r#"{"jsonrpc":"2.0","id":1,"result":{"tools":[{"name":"ok1", "x":1.50},{"name":"ok2"}],"nextCursor":""}}"#;
        assert_eq!(of(list), Ok(Some(expected.to_owned())));
        let resources =
            r#"{"result":{"resources":[{"uri":"file:///no","name":"ok"},{"uri":"file:///ok"}]}}"#;
        let expected = r#"{"result":{"resources":[{"uri":"file:///ok"}]}}"#;
        assert_eq!(of(resources), Ok(Some(expected.to_owned())));
        let templates = r#"{"result":{"resourceTemplates":[{"uriTemplate":"file:///no/{x}"}]}}"#;
        let expected = r#"{"result":{"resourceTemplates":[]}}"#;
        assert_eq!(of(templates), Ok(Some(expected.to_owned())));
        let prompts = r#"{"result":{"prompts":[{"name":"no"}]}}"#;
        assert_eq!(
            of(prompts),
            Ok(Some(r#"{"result":{"prompts":[]}}"#.to_owned()))
        );
    }

    /// FAILURES 37: filtered lists cached across identities.
    #[test]
    fn a_list_is_private_to_who_asked() {
        let list = r#"{"result":{"tools":[{"name":"ok"}],"ttlMs":1000,"cacheScope":"public"}}"#;
        let expected =
            r#"{"result":{"tools":[{"name":"ok"}],"ttlMs":1000,"cacheScope":"private"}}"#;
        assert_eq!(of(list), Ok(Some(expected.to_owned())));
    }

    #[test]
    fn white_space_is_between_any_two_marks() {
        let list = " {\t\"result\" : { \"tools\" :\r\n[ {\"name\" : \"ok\"} , {\"name\":\"ok2\"} ] , \"x\" : -1.5e3 } , \"id\" : null } \n";
        let all =
            r#"{"result":{"tools":[ {"name" : "ok"} , {"name":"ok2"} ],"x":-1.5e3},"id":null}"#;
        assert_eq!(of(list), Ok(Some(all.to_owned())));
        let less = list.replace("\"ok\"", "\"no\"");
        let expected = r#"{"result":{"tools":[{"name":"ok2"}],"x":-1.5e3},"id":null}"#;
        assert_eq!(of(&less), Ok(Some(expected.to_owned())));
        assert_eq!(of("{}"), Ok(None));
        let none = r#"{"result":{"tools":[ ]}}"#;
        assert_eq!(of(none), Ok(Some(none.to_owned())));
    }

    #[test]
    fn what_is_no_list_stays() {
        for other in [
            r#"{"jsonrpc":"2.0","id":1,"result":{"content":[{"type":"text","text":"tools"}]}}"#,
            r#"{"jsonrpc":"2.0","id":1,"error":{"code":-1,"message":"x"}}"#,
            r#"{"jsonrpc":"2.0","method":"notifications/message","params":{"tools":[{"name":"no"}]}}"#,
            r#"{"result":null}"#,
        ] {
            assert_eq!(of(other), Ok(None), "{other}");
        }
    }

    #[test]
    fn a_list_with_two_readings_is_none() {
        for bad in [
            r#"{"result":{"tools":[],"tools":[{"name":"no"}]}}"#,
            r#"{"result":{"tools":[]},"result":{"tools":[{"name":"no"}]}}"#,
            r#"{"result":{"tools":[],"\u0074ools":[{"name":"no"}]}}"#,
            r#"{"result":{"tools":[],"Tools":[{"name":"no"}]}}"#,
            r#"{"Result":{"tools":[{"name":"no"}]}}"#,
            r#"{"result":{"tools":[{"name":"ok","name":"no"}]}}"#,
            r#"{"result":{"tools":[{"name":"ok","Name":"no"}]}}"#,
            r#"{"result":{"tools":[{"name":"ok","x":1,"\u0078":2}]}}"#,
            r#"{"result":{"tools":[{"title":"ok"}]}}"#,
            r#"{"result":{"tools":[{"name":7}]}}"#,
            r#"{"result":{"tools":["ok"]}}"#,
            r#"{"result":{"tools":{"name":"no"}}}"#,
            r#"[{"result":{"tools":[]}}]"#,
            r#"{"result":{"tools":[]}"#,
            r#"{"result":{"tools":[]}}}"#,
            r#"{"result":{"tools":[]}} {}"#,
            r#"{"result":{"tools":[{"name":"ok"},]}}"#,
            r#"{"result":{"tools":[,{"name":"ok"}]}}"#,
            r#"{"result":{"tools":[{"name":"ok"}{"name":"ok"}]}}"#,
            r#"{"result":{"tools":[{"name":"ok","x":[1,]}]}}"#,
            r#"{"result":{"tools":[],}}"#,
            r#"{"result":{"tools":[]"x":1}}"#,
            r#"{"result":{"tools":[]},id:1}"#,
            r#"{"result":{"tools":[]},"id":1 2}"#,
            r#"{"result":{"\u017fools":[],"\u212a":1,"tool\u017f":[]}}"#,
            "\u{feff}{\"result\":{\"tools\":[]}}",
            "",
        ] {
            assert_eq!(of(bad), Err(UnreadableAnswer), "{bad}");
        }
    }
}
