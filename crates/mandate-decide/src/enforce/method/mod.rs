//! Members of a body by which some frameworks replace the method of a `POST`. What was decided on as one
//! method would be carried out as another (FAILURES 33).
//!
//! Symfony, Rails, Rack, Spring, Yii and CakePHP look into forms; Laravel and Slim into JSON, Slim into XML
//! too; Parse Server takes every body for JSON. They tell kinds of bodies apart by the type that the request
//! names, and no two of them read it alike: one cuts it at a comma, one looks for `/json` anywhere in it. So
//! a type that is not, byte for byte, what RFC 9110 §8.3.1 writes is refused, and of the others each part
//! that some reader could go by counts.

mod form;
mod json;
mod media_type;
mod multipart;
mod xml;

use http::HeaderMap;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE};

use super::target::Ambiguous;
use form::Pairs;
use json::Members;
use media_type::MediaType;
use multipart::Parts;
use xml::Elements;

/// Looks through one body as it passes.
#[derive(Debug)]
pub struct MethodOverrides(Vec<Form>);

#[derive(Debug)]
enum Form {
    UrlEncoded(Pairs),
    Multipart(Parts),
    Json(Members),
    Xml(Elements),
}

impl MethodOverrides {
    /// What to look through the body of a request with, if some framework looks for a method there. An error if
    /// nobody could tell whether there is one.
    pub fn of(method: &str, headers: &HeaderMap) -> Result<Option<Self>, Ambiguous> {
        if method != "POST" {
            return Ok(None);
        }
        // body-parser of Express inflates whatever it is told to read.
        if headers.contains_key(CONTENT_ENCODING) {
            return Err(Ambiguous::BodyMethod);
        }
        let mut types = headers.get_all(CONTENT_TYPE).iter();
        match (types.next(), types.next()) {
            // Rack takes what has no type for a form.
            (None, _) => Ok(Some(Self(vec![
                Form::UrlEncoded(Pairs::default()),
                Form::Json(Members::sniffed()),
            ]))),
            (Some(value), None) => {
                let said = MediaType::parse(value).ok_or(Ambiguous::BodyType)?;
                forms_of(&said).map(|forms| Some(Self(forms)))
            }
            (Some(_), Some(_)) => Err(Ambiguous::BodyType),
        }
    }

    /// Looks at the next bytes. They must not go on if this is an error.
    pub fn look(&mut self, bytes: &[u8]) -> Result<(), Ambiguous> {
        let mut found = false;
        for form in &mut self.0 {
            found |= match form {
                Form::UrlEncoded(pairs) => bytes.iter().any(|b| pairs.finds(*b)),
                Form::Multipart(parts) => bytes.iter().any(|b| parts.finds(*b)),
                Form::Json(members) => bytes.iter().any(|b| members.finds(*b)),
                Form::Xml(elements) => bytes.iter().any(|b| elements.finds(*b)),
            };
        }
        if found {
            Err(Ambiguous::BodyMethod)
        } else {
            Ok(())
        }
    }

    /// The same for a whole body.
    pub fn look_at_whole(mut self, bytes: &[u8]) -> Result<(), Ambiguous> {
        self.look(bytes)?;
        // A name that ends with the body ends there too.
        let mut pairs = self.0.iter_mut().filter_map(|form| match form {
            Form::UrlEncoded(pairs) => Some(pairs),
            Form::Multipart(_) | Form::Json(_) | Form::Xml(_) => None,
        });
        if pairs.any(|pairs| pairs.finds(b'&')) {
            Err(Ambiguous::BodyMethod)
        } else {
            Ok(())
        }
    }
}

/// By every part of the type that some reader goes by: Undertow and ASP.NET by how it begins, Laravel by
/// what stands anywhere in it.
fn forms_of(said: &MediaType) -> Result<Vec<Form>, Ambiguous> {
    let mut forms = Vec::new();
    if said.mentions("urlencoded") {
        forms.push(Form::UrlEncoded(Pairs::default()));
    }
    if said.mentions("multipart") {
        let boundary = said.boundary().ok_or(Ambiguous::BodyType)?;
        forms.push(Form::Multipart(Parts::between(boundary)));
    }
    if said.is_xml() {
        forms.push(Form::Xml(Elements::default()));
    }
    forms.push(Form::Json(if said.is_json() {
        Members::said()
    } else {
        Members::sniffed()
    }));
    Ok(forms)
}

/// In all of these the names that are looked for are the same bytes.
fn is_plain_charset(name: &str) -> bool {
    ["utf-8", "utf8", "us-ascii", "iso-8859-1"]
        .iter()
        .any(|plain| name.eq_ignore_ascii_case(plain))
}

/// As much of a name as is looked at. A member of JSON that is longer is refused.
const LONGEST_NAME: usize = 4096;

#[cfg(test)]
mod tests;
