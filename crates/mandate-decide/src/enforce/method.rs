//! Members of a body by which some frameworks replace the method of a `POST`: Rails, Symfony and Rack look
//! into forms, Laravel into JSON too. What was decided on as one method would be carried out as another
//! (FAILURES 33).

use http::HeaderMap;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use percent_encoding::percent_decode;

use super::parameter::overrides_method;
use super::target::Ambiguous;

/// Looks through one body as it passes.
#[derive(Debug)]
pub struct MethodOverrides(Form);

#[derive(Debug)]
enum Form {
    UrlEncoded(Pairs),
    Multipart(Parts),
    Json(Members),
}

impl MethodOverrides {
    /// What to look through the body of a request with, if some framework looks for a method there. An error if
    /// nobody could tell whether there is one.
    pub fn of(method: &str, headers: &HeaderMap) -> Result<Option<Self>, Ambiguous> {
        if method != "POST" {
            return Ok(None);
        }
        let mut types = headers.get_all(CONTENT_TYPE).iter();
        let text = match (types.next(), types.next()) {
            // Rack takes what has no type for a form.
            (None, _) => "application/x-www-form-urlencoded",
            (Some(value), None) => value.to_str().map_err(|_| Ambiguous::BodyMethod)?,
            (Some(_), Some(_)) => return Err(Ambiguous::BodyMethod),
        };
        let text = text.to_ascii_lowercase();
        let mut parts = text.split(';').map(str::trim);
        let Some(form) = form_of(parts.next().unwrap_or_default()) else {
            return Ok(None);
        };
        let plain_text = parts
            .filter_map(|parameter| parameter.strip_prefix("charset="))
            .all(|charset| CHARSETS.contains(&charset.trim_matches('"')));
        if headers.contains_key(CONTENT_ENCODING) || !plain_text {
            return Err(Ambiguous::BodyMethod);
        }
        Ok(Some(Self(form)))
    }

    /// Looks at the next bytes. They must not go on if this is an error.
    pub fn look(&mut self, bytes: &[u8]) -> Result<(), Ambiguous> {
        let found = match &mut self.0 {
            Form::UrlEncoded(pairs) => bytes.iter().any(|b| pairs.finds(*b)),
            Form::Multipart(parts) => bytes.iter().any(|b| parts.finds(*b)),
            Form::Json(members) => bytes.iter().any(|b| members.finds(*b)),
        };
        if found {
            Err(Ambiguous::BodyMethod)
        } else {
            Ok(())
        }
    }

    /// The same for a whole body.
    pub fn look_at_whole(mut self, bytes: &[u8]) -> Result<(), Ambiguous> {
        self.look(bytes)?;
        // What ends with the body ends there too.
        match self.0 {
            Form::UrlEncoded(_) => self.look(b"&"),
            Form::Multipart(_) => self.look(b"\n"),
            Form::Json(_) => Ok(()),
        }
    }
}

fn form_of(essence: &str) -> Option<Form> {
    match essence {
        "" | "application/x-www-form-urlencoded" => Some(Form::UrlEncoded(Pairs::default())),
        _ if essence.starts_with("multipart/") => Some(Form::Multipart(Parts::default())),
        _ if essence.ends_with("/json") || essence.ends_with("+json") => {
            Some(Form::Json(Members::default()))
        }
        _other => None,
    }
}

fn is_override(encoded: &[u8]) -> bool {
    let spaced: Vec<u8> = encoded
        .iter()
        .map(|b| if *b == b'+' { b' ' } else { *b })
        .collect();
    overrides_method(&percent_decode(&spaced).decode_utf8_lossy())
}

/// Names of `application/x-www-form-urlencoded`.
#[derive(Debug, Default)]
struct Pairs {
    name: Vec<u8>,
    in_value: bool,
}

impl Pairs {
    fn finds(&mut self, byte: u8) -> bool {
        match byte {
            // Some part pairs at `;` too.
            b'&' | b';' => {
                let found = !self.in_value && is_override(&self.name);
                *self = Self::default();
                return found;
            }
            b'=' if !self.in_value => {
                self.in_value = true;
                return is_override(&self.name);
            }
            _ if self.in_value || self.name.len() >= LONGEST_NAME => {}
            // However many spaces stand before a name, servers that trim it find it.
            b' ' | b'+' | b'\t' | b'\r' | b'\n' if self.name.is_empty() => {}
            _ => self.name.push(byte),
        }
        let encoded_space = matches!(
            &*self.name,
            b"%20" | b"%09" | b"%0a" | b"%0A" | b"%0d" | b"%0D"
        );
        if encoded_space {
            self.name.clear();
        }
        false
    }
}

/// `name` parameters of `Content-Disposition` fields, wherever they stand in the body.
#[derive(Debug, Default)]
struct Parts {
    line: Vec<u8>,
    /// The last line was such a field, or more of one.
    in_field: bool,
}

impl Parts {
    fn finds(&mut self, byte: u8) -> bool {
        if !matches!(byte, b'\n' | b'\r') {
            if self.line.len() < LONGEST_LINE {
                self.line.push(byte.to_ascii_lowercase());
            }
            return false;
        }
        let line = std::mem::take(&mut self.line);
        if line.is_empty() {
            // Between CR and LF; or the end of the fields, which nothing continues.
            self.in_field &= byte == b'\n';
            return false;
        }
        let continues = self.in_field && line.first().is_some_and(|b| matches!(b, b' ' | b'\t'));
        self.in_field = continues || line.trim_ascii().starts_with(b"content-disposition");
        // Of one that is too long nobody knows the rest.
        self.in_field && (line.len() >= LONGEST_LINE || names_override(&line))
    }
}

fn names_override(line: &[u8]) -> bool {
    let text = String::from_utf8_lossy(line);
    text.split("name").skip(1).any(|after| {
        let after = after.trim_start().trim_start_matches('*').trim_start();
        let Some(value) = after.strip_prefix('=') else {
            return false;
        };
        let value: String = value
            .trim_start()
            .chars()
            .filter(|c| !matches!(c, '\\'))
            .collect();
        let value = match value.strip_prefix('"') {
            Some(quoted) => quoted.split('"').next().unwrap_or_default(),
            None => value.split(';').next().unwrap_or_default(),
        };
        // RFC 8187 §3.2: charset and language stand before the value.
        let value = value.rsplit('\'').next().unwrap_or_default();
        is_override(value.as_bytes())
    })
}

/// Names of the members of the outermost object.
#[derive(Debug, Default)]
struct Members {
    depth: u32,
    /// A name is next, in the outermost object.
    name_next: bool,
    text: Option<Text>,
}

#[derive(Debug)]
struct Text {
    /// As it stands, with its quotes; of a name alone.
    name: Option<Vec<u8>>,
    escaped: bool,
}

impl Members {
    fn finds(&mut self, byte: u8) -> bool {
        if let Some(text) = &mut self.text {
            if let Some(name) = &mut text.name
                && name.len() < LONGEST_NAME
            {
                name.push(byte);
            }
            if text.escaped {
                text.escaped = false;
            } else if byte == b'\\' {
                text.escaped = true;
            } else if byte == b'"' {
                let name = self.text.take().and_then(|text| text.name);
                return name.is_some_and(|name| is_override_in_json(&name));
            }
            return false;
        }
        match byte {
            // In no JSON; in UTF-16 every second byte, and some readers guess that.
            0 => return true,
            b'"' => {
                let name = std::mem::take(&mut self.name_next).then(|| vec![byte]);
                self.text = Some(Text {
                    name,
                    escaped: false,
                });
            }
            b'{' | b'[' => {
                self.depth = self.depth.saturating_add(1);
                self.name_next = self.depth == 1 && byte == b'{';
            }
            b'}' | b']' => self.depth = self.depth.saturating_sub(1),
            b',' => self.name_next = self.depth == 1,
            _other => {}
        }
        false
    }
}

fn is_override_in_json(quoted: &[u8]) -> bool {
    let text: Result<String, _> = serde_json::from_slice(quoted);
    text.is_ok_and(|name| overrides_method(&name))
}

/// Names that replace a method are shorter, however they are encoded.
const LONGEST_NAME: usize = 256;
const LONGEST_LINE: usize = 1024;
/// In all of these the names that are looked for are the same bytes.
const CHARSETS: [&str; 4] = ["utf-8", "utf8", "us-ascii", "iso-8859-1"];

#[cfg(test)]
mod tests {
    use super::*;

    fn looked(kind: &str, body: &str) -> Result<(), Ambiguous> {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, kind.parse().unwrap());
        let mut looking = MethodOverrides::of("POST", &headers)?.unwrap();
        for byte in body.as_bytes() {
            looking.look(&[*byte])?;
        }
        let whole = MethodOverrides::of("POST", &headers)?.unwrap();
        whole.look_at_whole(body.as_bytes())
    }

    const FORM: &str = "application/x-www-form-urlencoded";
    const MULTIPART: &str = "multipart/form-data; boundary=x";
    const JSON: &str = "application/json";

    #[test]
    fn a_member_that_replaces_the_method_is_found_in_every_kind_of_form() {
        for (kind, body) in [
            (FORM, "_method=PUT"),
            (FORM, "a=b&%5FMethod=PUT"),
            (FORM, "a;_method[]=PUT"),
            (FORM, "_method"),
            (
                MULTIPART,
                "--x\r\ncontent-disposition: form-data; name=\"_method\"\r\n\r\nPUT",
            ),
            (
                MULTIPART,
                "--x\nContent-Disposition: form-data;\n\tNAME=_method; x=y\n\nPUT",
            ),
            (JSON, r#"{"a":{"b":[1,"}"]},"_method":"PUT"}"#),
            (JSON, r#" {"\u005Fmethod" : "PUT"}"#),
            ("application/ld+json", r#"{"X-HTTP-Method-Override":"PUT"}"#),
            (JSON, "{\0\"\0_\0"),
        ] {
            assert_eq!(looked(kind, body), Err(Ambiguous::BodyMethod), "{body}");
        }
        let spaces = format!("a=b&{}{}_method=PUT", "+".repeat(999), "%20".repeat(999));
        assert_eq!(looked(FORM, &spaces), Err(Ambiguous::BodyMethod));
    }

    #[test]
    fn what_only_looks_like_one_passes() {
        for (kind, body) in [
            (FORM, "method=PUT&x=_method"),
            (FORM, "a=_method=b&_methods=1"),
            (
                MULTIPART,
                "--x\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\n name=\"_method\"\r\n",
            ),
            (JSON, r#"{"a":"_method","b":{"_method":1},"c":["_method"]}"#),
            (JSON, r#"{"a":"\"","_methods":1}"#),
            (JSON, r#"[{"_method":1}]"#),
        ] {
            assert_eq!(looked(kind, body), Ok(()), "{body}");
        }
    }

    #[test]
    fn what_cannot_be_looked_through_is_refused_and_what_no_framework_looks_at_is_not() {
        for kind in [
            "application/json; charset=utf-16",
            "multipart/mixed;charset=\"utf-7\"",
        ] {
            assert_eq!(looked(kind, ""), Err(Ambiguous::BodyMethod), "{kind}");
        }
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_ENCODING, "gzip".parse().unwrap());
        assert!(MethodOverrides::of("POST", &headers).is_err());
        assert!(MethodOverrides::of("PUT", &headers).unwrap().is_none());
        headers.insert(CONTENT_TYPE, "text/plain".parse().unwrap());
        assert!(MethodOverrides::of("POST", &headers).unwrap().is_none());
    }
}
