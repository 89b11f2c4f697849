//! Responses that echo the injected secret (C4).
//!
//! What is looked for are the secret's bytes as they are, percent-encoded in either letter case, as
//! they are in a JSON string, and in base64 at each of the three places that they can have in a longer
//! encoded text. Response heads, trailers and the
//! first 64 KiB of a body are searched. A chunk that ends in what could be the beginning of an echo
//! has that end held back until it is known, so that no more than three bytes of one ever leave:
//! holding back fewer would delay the last letters of many an event, for nothing.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use mandate_model::Secret;
use memchr::memmem;

/// What a response must not hold.
#[derive(Debug, Clone, Default)]
pub(super) struct Needles(Arc<[Secret<Vec<u8>>]>);

/// A response that holds it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the upstream's response echoes the injected credential")]
pub(super) struct Echo;

impl Needles {
    /// The forms of `secret`, and `sent`, the text that was injected with it.
    pub(super) fn of(secret: &[u8], sent: &[u8]) -> Self {
        let mut forms = vec![secret.to_vec(), sent.to_vec()];
        let percent = super::inject::percent_encode(secret);
        forms.push(lower_hex(&percent));
        forms.push(percent.into_bytes());
        forms.extend([b"\"\\/".as_slice(), b"\"\\"].map(|escaped| in_json(secret, escaped)));
        for offset in 0..3 {
            forms.push(base64_inside(&STANDARD, secret, offset));
            forms.push(base64_inside(&URL_SAFE, secret, offset));
        }
        // Shorter forms occur by accident. No secret is this short; parts in base64 can be.
        forms.retain(|form| form.len() >= MIN_NEEDLE);
        forms.sort();
        forms.dedup();
        Self(forms.into_iter().map(Secret::new).collect())
    }

    /// Whether there is nothing to look for.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether `headers` hold one.
    pub(super) fn check_headers(&self, headers: &HeaderMap) -> Result<(), Echo> {
        headers.iter().try_for_each(|(name, value)| {
            self.check_bytes(name.as_str().as_bytes())?;
            self.check_bytes(value.as_bytes())
        })
    }

    /// Whether `bytes`, all of it, hold one.
    pub(super) fn check_bytes(&self, bytes: &[u8]) -> Result<(), Echo> {
        let echoed = |needle: &Secret<Vec<u8>>| memmem::find(bytes, needle.expose()).is_some();
        if self.0.iter().any(echoed) {
            Err(Echo)
        } else {
            Ok(())
        }
    }

    /// How many of the last bytes could begin one.
    fn held_back(&self, bytes: &[u8]) -> usize {
        let could_begin = |needle: &Secret<Vec<u8>>| beginning_at_end(bytes, needle.expose());
        self.0.iter().map(could_begin).max().unwrap_or(0)
    }
}

/// Looks through one body as it passes.
#[derive(Debug)]
pub(super) struct Sieve {
    needles: Needles,
    /// What has passed already and could belong to an echo, then what is held back.
    held: BytesMut,
    passed: usize,
    searched: usize,
}

impl Sieve {
    pub(super) fn new(needles: Needles) -> Self {
        Self {
            needles,
            held: BytesMut::new(),
            passed: 0,
            searched: 0,
        }
    }

    /// What may pass of what was held and of `bytes`; maybe nothing yet.
    pub(super) fn pass(&mut self, bytes: Bytes) -> Result<Bytes, Echo> {
        if self.needles.0.is_empty() || (self.searched >= SEARCHED && self.is_empty()) {
            return Ok(bytes);
        }
        self.searched = self.searched.saturating_add(bytes.len());
        self.held.extend_from_slice(&bytes);
        self.needles.check_bytes(&self.held)?;
        let keep = if self.searched >= SEARCHED {
            0
        } else {
            self.needles.held_back(&self.held)
        };
        Ok(self.let_go(self.held.len() - keep))
    }

    /// What was held when the body ends.
    pub(super) fn rest(&mut self) -> Bytes {
        self.let_go(self.held.len())
    }

    /// Lets pass what comes before `end`, and remembers the last of it.
    fn let_go(&mut self, end: usize) -> Bytes {
        let end = end.max(self.passed);
        let kept = self.held.split_off(end);
        let looked_at = std::mem::take(&mut self.held).freeze();
        let out = looked_at.slice(self.passed..);
        // The chunk itself is not copied again; what is remembered of it is a few bytes.
        let remembered = end.min(SHORTEST_HELD - 1);
        self.held
            .extend_from_slice(&looked_at.slice(end - remembered..));
        self.held.extend_from_slice(&kept);
        self.passed = remembered;
        out
    }

    /// Whether trailers are clean.
    pub(super) fn check_trailers(&self, trailers: &HeaderMap) -> Result<(), Echo> {
        self.needles.check_headers(trailers)
    }

    /// Whether nothing is held.
    pub(super) fn is_empty(&self) -> bool {
        self.held() == 0
    }

    /// How many bytes are held.
    pub(super) fn held(&self) -> usize {
        self.held.len() - self.passed
    }
}

/// The part of a base64 text that depends on `secret` alone when `offset` bytes stand before it.
fn base64_inside(engine: &impl Engine, secret: &[u8], offset: usize) -> Vec<u8> {
    let mut padded = vec![0_u8; offset];
    padded.extend_from_slice(secret);
    let text = engine.encode(&padded);
    let begin = match offset {
        0 => 0,
        1 => 2,
        _two => 3,
    };
    let end = padded.len() / 3 * 4;
    text.get(begin..end).unwrap_or_default().as_bytes().to_vec()
}

/// A percent-encoded text as others write it (RFC 3986 §2.1): `%2f` for `%2F`.
fn lower_hex(percent_encoded: &str) -> Vec<u8> {
    let mut digits = 0;
    let folded = percent_encoded.bytes().map(|b| {
        let is_digit = digits > 0;
        digits = if b == b'%' {
            2
        } else {
            digits - u8::from(is_digit)
        };
        if is_digit { b.to_ascii_lowercase() } else { b }
    });
    folded.collect()
}

/// The secret within a JSON string (RFC 8259 §7); writers differ in whether they escape `/`.
fn in_json(secret: &[u8], escaped: &[u8]) -> Vec<u8> {
    let mut text = Vec::with_capacity(secret.len());
    for byte in secret {
        if escaped.contains(byte) {
            text.push(b'\\');
        }
        text.push(*byte);
    }
    text
}

/// How many of the last of `bytes` are a beginning of `needle`, the most; none if fewer than
/// [`SHORTEST_HELD`] are.
fn beginning_at_end(bytes: &[u8], needle: &[u8]) -> usize {
    let Some((head, _)) = needle.split_first_chunk::<SHORTEST_HELD>() else {
        return 0;
    };
    let most = needle.len().saturating_sub(1).min(bytes.len());
    let mut tail = bytes.get(bytes.len() - most..).unwrap_or_default();
    while let Some(at) = memmem::find(tail, head) {
        let found = tail.get(at..).unwrap_or_default();
        if needle.starts_with(found) {
            return found.len();
        }
        tail = found.get(1..).unwrap_or_default();
    }
    0
}

const SEARCHED: usize = 64 * 1024;
const MIN_NEEDLE: usize = mandate_ports::MIN_SECRET;
const SHORTEST_HELD: usize = 4;

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &[u8] = b"s3cr3t-key/value";

    fn sieve() -> Sieve {
        Sieve::new(Needles::of(SECRET, b"Bearer s3cr3t-key/value"))
    }

    #[test]
    fn an_echo_is_found_raw_encoded_and_in_base64_at_every_place() {
        let clean = Bytes::from_static(b"nothing to see, s3cr3t-ke");
        assert!(sieve().pass(clean).is_ok());
        for prefix in ["", "a", "ab", "abc"] {
            let mut inner = prefix.as_bytes().to_vec();
            inner.extend_from_slice(SECRET);
            inner.extend_from_slice(b" and more");
            for text in [STANDARD.encode(&inner), URL_SAFE.encode(&inner)] {
                assert_eq!(sieve().pass(Bytes::from(text)), Err(Echo), "{prefix}");
            }
        }
        let encoded = Bytes::from_static(b"?key=s3cr3t-key%2Fvalue");
        assert_eq!(sieve().pass(encoded), Err(Echo));
    }

    #[test]
    fn an_echo_is_found_in_the_spellings_of_other_writers() {
        for text in ["?key=s3cr3t-key%2fvalue", r#"{"key":"s3cr3t-key\/value"}"#] {
            assert_eq!(sieve().pass(Bytes::from(text)), Err(Echo), "{text}");
        }
        let quoted = Needles::of(br#"s3"cr\3t"#, b"sent-otherwise");
        for text in [r#"s3\"cr\\3t"#, "s3%22cr%5C3t", "s3%22cr%5c3t"] {
            assert_eq!(quoted.check_bytes(text.as_bytes()), Err(Echo), "{text}");
        }
        assert_eq!(quoted.check_bytes(br#"s3\"cr3t"#), Ok(()));
    }

    #[test]
    fn no_part_of_an_echo_leaves_when_it_comes_in_pieces() {
        let mut sieve = sieve();
        let passed = sieve.pass(Bytes::from_static(b"hello s3cr3t")).unwrap();
        assert_eq!(&passed[..], b"hello ");
        assert_eq!(sieve.pass(Bytes::from_static(b"-key/value")), Err(Echo));
    }

    #[test]
    fn an_echo_that_comes_byte_by_byte_is_cut_after_three() {
        let mut sieve = sieve();
        let mut passed = Vec::new();
        let end = SECRET.iter().try_for_each(|b| {
            passed.extend_from_slice(&sieve.pass(Bytes::copy_from_slice(&[*b]))?);
            Ok(())
        });
        assert_eq!(end, Err(Echo));
        assert_eq!(passed, b"s3c");
    }

    #[test]
    fn what_only_looked_like_an_echo_passes_whole() {
        let mut sieve = sieve();
        let mut all = Vec::new();
        for piece in [&b"hello s3cr"[..], b"3t is not", b" it s3c"] {
            all.extend_from_slice(&sieve.pass(Bytes::from_static(piece)).unwrap());
        }
        all.extend_from_slice(&sieve.rest());
        assert_eq!(all, b"hello s3cr3t is not it s3c");
    }

    #[test]
    fn the_longest_beginning_at_the_end_is_held_back() {
        let held = |bytes: &[u8]| beginning_at_end(bytes, b"abcdabcdX");
        assert_eq!(held(b"..abcdabcd"), 8);
        assert_eq!(held(b"..abcdabc"), 7);
        assert_eq!(held(b"abcd"), 4);
        assert_eq!(held(b"abcdabcabcdab"), 6);
        for none in [&b"..abc"[..], b"abcd.", b"", b"abcdabcdX"] {
            assert_eq!(held(none), 0, "{none:?}");
        }
    }

    #[test]
    fn an_echo_in_a_header_is_found() {
        let needles = Needles::of(SECRET, SECRET);
        let mut headers = HeaderMap::new();
        headers.insert("x-debug", "key=s3cr3t-key/value".parse().unwrap());
        assert_eq!(needles.check_headers(&headers), Err(Echo));
        headers.insert("x-debug", "key=…".parse().unwrap());
        assert_eq!(needles.check_headers(&headers), Ok(()));
    }
}
