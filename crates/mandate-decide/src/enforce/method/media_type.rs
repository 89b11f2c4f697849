//! What a body says it is, read strictly.

use http::HeaderValue;

use super::is_plain_charset;

/// A media type (RFC 9110 §8.3.1) that everybody takes apart in the same way.
#[derive(Debug)]
pub(super) struct MediaType {
    /// In lower case.
    whole: String,
    essence: usize,
    boundary: Option<String>,
}

impl MediaType {
    /// Reads `type/subtype *( OWS ";" OWS [ name "=" value ] )`, with nothing before, between or after it
    /// (RFC 9110 §5.6.6, §8.3.1). `None` for anything else, and for what readers differ about all the same: a
    /// parameter twice, one that is extended or continued (RFC 2231), a quoted pair, a charset in which a name
    /// may be other bytes, a boundary that has to be looked for.
    pub(super) fn parse(value: &HeaderValue) -> Option<Self> {
        let text = value.to_str().ok()?;
        let (_type, rest) = token(text)?;
        let (_subtype, mut rest) = token(rest.strip_prefix('/')?)?;
        let essence = text.len().checked_sub(rest.len())?;
        let mut names: Vec<String> = Vec::new();
        let mut boundary = None;
        while !rest.is_empty() {
            rest = skip_space(skip_space(rest).strip_prefix(';')?);
            if rest.is_empty() || rest.starts_with(';') {
                continue;
            }
            let (name, value, after) = parameter(rest)?;
            rest = after;
            let name = name.to_ascii_lowercase();
            if name.contains('*') || names.contains(&name) {
                return None;
            }
            match name.as_str() {
                "charset" if !is_plain_charset(value) => return None,
                "boundary" => boundary = Some(value.to_owned()),
                _other => {}
            }
            names.push(name);
        }
        Some(Self {
            whole: text.to_ascii_lowercase(),
            essence,
            boundary,
        })
    }

    /// Whether `word` stands anywhere in it.
    pub(super) fn mentions(&self, word: &str) -> bool {
        self.whole.contains(word)
    }

    pub(super) fn is_json(&self) -> bool {
        self.essence().contains("json") || self.mentions("/json") || self.mentions("+json")
    }

    pub(super) fn is_xml(&self) -> bool {
        self.essence().ends_with("/xml") || self.essence().ends_with("+xml")
    }

    fn essence(&self) -> &str {
        self.whole.get(..self.essence).unwrap_or_default()
    }

    /// What parts a multipart body, if there is no doubt: PHP goes by the first `boundary` that stands anywhere,
    /// Rack by the last `boundary=`, so that both must be this one, and of bytes that do not end it
    /// (RFC 2046 §5.1.1).
    pub(super) fn boundary(&self) -> Option<&str> {
        let boundary = self.boundary.as_deref()?;
        let known = |b: u8| b.is_ascii_alphanumeric() || b"'()+_-./:=?".contains(&b);
        let holds = (1..=70).contains(&boundary.len())
            && boundary.bytes().all(known)
            && self.whole.matches("boundary=").count() == 1
            && self.whole.find("boundary") == self.whole.find("boundary=");
        holds.then_some(boundary)
    }
}

/// `name "=" ( token / quoted-string )`, and what follows.
fn parameter(text: &str) -> Option<(&str, &str, &str)> {
    let (name, rest) = token(text)?;
    let rest = rest.strip_prefix('=')?;
    let (value, rest) = match rest.strip_prefix('"') {
        Some(quoted) => quoted.split_once('"')?,
        None => token(rest)?,
    };
    let plain = |b: u8| matches!(b, b' '..=b'~') && b != b'\\';
    value.bytes().all(plain).then_some((name, value, rest))
}

/// A token (RFC 9110 §5.6.2), and what follows.
fn token(text: &str) -> Option<(&str, &str)> {
    let end = text
        .bytes()
        .position(|b| !is_token_byte(b))
        .unwrap_or(text.len());
    (end > 0).then_some(text.split_at_checked(end)).flatten()
}

pub(super) fn is_token_byte(b: u8) -> bool {
    b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b)
}

fn skip_space(text: &str) -> &str {
    text.trim_start_matches([' ', '\t'])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Option<MediaType> {
        MediaType::parse(&HeaderValue::from_str(text).unwrap())
    }

    #[test]
    fn a_type_as_it_must_be_written_is_read() {
        let said = parsed("Multipart/Form-Data ; charset=\"UTF-8\";; boundary=\"a b\"; x=;y=1");
        assert!(said.is_none(), "a parameter without value");
        let said = parsed("Multipart/Form-Data ; charset=\"UTF-8\"; boundary=\"==a'?\";").unwrap();
        assert!(said.mentions("multipart/form-data") && !said.is_json());
        assert_eq!(said.boundary(), Some("==a'?"));
        for json in [
            "application/json",
            "application/x+json",
            "application/json-seq",
            "a/b;c=\"/json\"",
        ] {
            assert!(parsed(json).unwrap().is_json(), "{json}");
        }
        assert!(!parsed("a/b; boundary=json").unwrap().is_json());
    }

    #[test]
    fn what_readers_take_apart_in_different_ways_is_no_type() {
        for bad in [
            "",
            "form",
            "a/",
            "/b",
            "a/b/c",
            "a /b",
            "a/b, c/d",
            "a/b,c/d",
            "a/b c",
            "a/b c; charset=utf-8",
            ";a/b",
            "a/b; charset",
            "a/b; charset =utf-8",
            "a/b; charset= utf-8",
            "a/b; charset=utf-8, c/d",
            "a/b; charset=utf-7",
            "a/b; charset=\"utf-16\"",
            "a/b; charset=utf-8; charset=utf-8",
            "a/b; charset*=utf-8''utf-7",
            "a/b; x*0=a",
            "a/b; x=\"a\\\"\"",
            "a/b; x=\"a",
            "a/b; x=\"a\"b",
        ] {
            assert!(parsed(bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn a_boundary_is_the_same_to_everybody_or_none() {
        let boundary = |text: &str| parsed(text).unwrap().boundary().is_some();
        assert!(boundary(
            "multipart/mixed; boundary=----WebKitFormBoundaryAbC"
        ));
        for bad in [
            "multipart/mixed",
            "multipart/mixed; boundary=\"\"",
            "multipart/mixed; boundary=\"a,b\"",
            "multipart/mixed; boundary=\"a;b\"",
            "multipart/mixed; boundary=\"a b\"",
            "multipart/mixed; x=\"boundary=b\"; boundary=a",
            "multipart/mixed; xboundary=b; boundary=a",
            "multipart/mixed; boundary=a; xboundary=b",
            "multipart/mixed; boundary=\"boundary=a\"",
        ] {
            assert!(!boundary(bad), "{bad}");
        }
        assert!(!boundary(&format!(
            "multipart/mixed; boundary={}",
            "a".repeat(71)
        )));
    }
}
