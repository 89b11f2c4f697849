//! `application/x-www-form-urlencoded`, strictly: what has two readings is refused.

use axum::extract::Request;

use crate::body::{self, BodyError};

/// The pairs of a form, in order, those that come twice included.
pub(crate) type Pairs = Vec<(String, String)>;

/// Why a body is no form.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum MalformedForm {
    /// It could not be read.
    #[error("{0}")]
    Body(#[from] BodyError),
    /// A `%` without two hexadecimal digits.
    #[error("the form has a `%` without two hexadecimal digits after it")]
    Percent,
    /// Bytes that are no UTF-8.
    #[error("the form has bytes that are no UTF-8")]
    Utf8,
    /// A pair without `=`.
    #[error("the form has a parameter without `=`")]
    NoValue,
}

/// Reads the form of `request`, of 256 KiB at most.
pub(crate) async fn read(request: Request) -> Result<Pairs, MalformedForm> {
    let bytes = body::read(request, "application/x-www-form-urlencoded", MAX_FORM).await?;
    decode(&bytes)
}

/// Reads pairs, strictly.
pub(crate) fn decode(bytes: &[u8]) -> Result<Pairs, MalformedForm> {
    if bytes.is_empty() {
        return Ok(Vec::new());
    }
    bytes.split(|b| *b == b'&').map(pair).collect()
}

fn pair(bytes: &[u8]) -> Result<(String, String), MalformedForm> {
    let mut halves = bytes.splitn(2, |b| *b == b'=');
    let name = halves.next().unwrap_or_default();
    let value = halves.next().ok_or(MalformedForm::NoValue)?;
    Ok((text(name)?, text(value)?))
}

fn text(encoded: &[u8]) -> Result<String, MalformedForm> {
    let mut decoded = Vec::with_capacity(encoded.len());
    let mut rest = encoded.iter();
    while let Some(byte) = rest.next() {
        decoded.push(match byte {
            b'+' => b' ',
            b'%' => hex(rest.next())? * 16 + hex(rest.next())?,
            plain => *plain,
        });
    }
    String::from_utf8(decoded).map_err(|_| MalformedForm::Utf8)
}

fn hex(byte: Option<&u8>) -> Result<u8, MalformedForm> {
    let digit = byte.and_then(|b| char::from(*b).to_digit(16));
    digit
        .and_then(|d| u8::try_from(d).ok())
        .ok_or(MalformedForm::Percent)
}

const MAX_FORM: usize = 256 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_keep_their_order_and_their_duplicates() {
        let pairs = decode(b"a=1&b=x+y%2Fz&a=").unwrap();
        let expected = [("a", "1"), ("b", "x y/z"), ("a", "")];
        assert!(
            pairs
                .iter()
                .map(|(k, v)| (k.as_str(), v.as_str()))
                .eq(expected)
        );
    }

    #[test]
    fn what_has_two_readings_is_refused() {
        for (bad, why) in [
            (&b"a=%2"[..], MalformedForm::Percent),
            (b"a=%zz", MalformedForm::Percent),
            (b"a=%ff", MalformedForm::Utf8),
            (b"a", MalformedForm::NoValue),
            (b"a=1&&b=2", MalformedForm::NoValue),
        ] {
            assert_eq!(decode(bad), Err(why));
        }
    }
}
