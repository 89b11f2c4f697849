//! The URI of a resource, in segments.

use std::borrow::Cow;

use mandate_policy::decl::is_scheme;
use percent_encoding::percent_decode_str;

use super::fault::McpFault;

/// What stands between the slashes of a URI, decoded: the scheme is one with its colon. The next two may be empty, as
/// the authority of `file:///x` is; what could be read in two ways is refused, as in a request's path.
pub(super) fn segments(uri: &str) -> Result<Vec<Cow<'_, str>>, McpFault> {
    let scheme = uri.split_once(':').map(|(scheme, _)| scheme);
    if uri.len() > LONGEST || !scheme.is_some_and(is_scheme) {
        return Err(AMBIGUOUS);
    }
    let parts: Vec<&str> = uri.split('/').collect();
    let last = parts.len().saturating_sub(1);
    let mut segments = Vec::with_capacity(parts.len());
    for (n, part) in parts.into_iter().enumerate() {
        if part.is_empty() {
            if !(1..=2).contains(&n) && n != last {
                return Err(AMBIGUOUS);
            }
            segments.push(Cow::Borrowed(""));
        } else {
            segments.push(segment(part)?);
        }
    }
    Ok(segments)
}

fn segment(part: &str) -> Result<Cow<'_, str>, McpFault> {
    let plain = |c: char| !c.is_control() && !c.is_whitespace() && !"?#\\".contains(c);
    if !part.chars().all(plain) || !is_encoded_well(part) {
        return Err(AMBIGUOUS);
    }
    let decoded = percent_decode_str(part)
        .decode_utf8()
        .map_err(|_| AMBIGUOUS)?;
    // An encoded slash, or a percent sign that somebody decodes once more, would be another URI.
    let hidden = |c: char| c.is_control() || "/\\%".contains(c);
    if decoded == "." || decoded == ".." || decoded.chars().any(hidden) {
        return Err(AMBIGUOUS);
    }
    Ok(decoded)
}

fn is_encoded_well(part: &str) -> bool {
    let mut after = part.split('%').skip(1);
    after.all(|rest| {
        let mut digits = rest.bytes().take(2);
        digits.len() == 2 && digits.all(|b| b.is_ascii_hexdigit())
    })
}

const LONGEST: usize = 8 * 1024;
const AMBIGUOUS: McpFault = McpFault::Params(
    "a resource's URI must have a scheme in lower case, and no query, fragment, empty or dot segment, or encoded slash",
);
