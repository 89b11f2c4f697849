//! A signed request as the caller shows it.

use std::collections::BTreeMap;

use http::{HeaderName, HeaderValue};
use mandate_token::check_json;

/// The header that names the authority that the request is for.
pub(super) const AUDIENCE: HeaderName = HeaderName::from_static("x-mandate-audience");
/// The header with the authority's challenge.
const CHALLENGE: &str = "x-mandate-challenge";
/// The one body of these requests.
pub(super) const BODY: &str = "Action=GetCallerIdentity&Version=2011-06-15";

/// A request that could be what it should be. AWS alone knows who signed it.
#[derive(Debug)]
pub(super) struct SignedRequest {
    region: String,
    access_key: String,
    challenge: String,
    headers: Vec<(HeaderName, HeaderValue)>,
}

/// Why something is no request that would be sent to AWS.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Unsendable {
    #[error("it is no JSON object with `headers` alone")]
    Json,
    #[error("header `{0}` has no place in it")]
    Header(String),
    #[error("it lacks header `{0}`")]
    Missing(&'static str),
    #[error(
        "`authorization` is no `AWS4-HMAC-SHA256` with Credential, SignedHeaders and Signature"
    )]
    Authorization,
    #[error("it is not signed for STS in one region, as temporary credentials of a role sign")]
    Scope,
    #[error("header `{0}` is not signed")]
    Unsigned(&'static str),
    #[error("header `{0}` is signed, and is not sent")]
    Unsent(String),
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    headers: BTreeMap<String, String>,
}

impl SignedRequest {
    /// Reads `{"headers": {…}}`, names in lower case.
    pub(super) fn parse(text: &str) -> Result<Self, Unsendable> {
        check_json(text.as_bytes()).map_err(|_| Unsendable::Json)?;
        let raw: Raw = serde_json::from_str(text).map_err(|_| Unsendable::Json)?;
        let mut headers = Vec::new();
        for (name, value) in &raw.headers {
            let known = SENT.iter().find(|known| *known == name);
            let value = HeaderValue::from_str(value);
            let (Some(known), Ok(value)) = (known, value) else {
                return Err(Unsendable::Header(name.chars().take(40).collect()));
            };
            headers.push((HeaderName::from_static(known), value));
        }
        let value = |name: &'static str| raw.headers.get(name).ok_or(Unsendable::Missing(name));
        let challenge = value(CHALLENGE)?.clone();
        for name in ["x-amz-date", "x-amz-security-token"] {
            value(name)?;
        }
        let authorization = Authorization::parse(value("authorization")?)?;
        authorization.check_signed(&raw.headers)?;
        Ok(Self {
            region: authorization.region.to_owned(),
            access_key: authorization.access_key.to_owned(),
            challenge,
            headers,
        })
    }

    /// The region in whose STS the request holds, as it is signed.
    pub(super) fn region(&self) -> &str {
        &self.region
    }

    /// The id of the temporary credentials that signed it. No secret: it comes with every request.
    pub(super) fn access_key(&self) -> &str {
        &self.access_key
    }

    pub(super) fn challenge(&self) -> &str {
        &self.challenge
    }

    /// What is sent of it.
    pub(super) fn headers(&self) -> &[(HeaderName, HeaderValue)] {
        &self.headers
    }
}

/// `AWS4-HMAC-SHA256 Credential=…/date/region/sts/aws4_request, SignedHeaders=…, Signature=…`
struct Authorization<'a> {
    access_key: &'a str,
    region: &'a str,
    signed: Vec<&'a str>,
}

impl<'a> Authorization<'a> {
    fn parse(text: &'a str) -> Result<Self, Unsendable> {
        let rest = text.strip_prefix("AWS4-HMAC-SHA256 ");
        let parts: Vec<&str> = rest.unwrap_or_default().split(',').map(str::trim).collect();
        let [credential, signed, signature] = parts.as_slice() else {
            return Err(Unsendable::Authorization);
        };
        let value = |part: &'a str, name| part.strip_prefix(name).ok_or(Unsendable::Authorization);
        let credential = value(credential, "Credential=")?;
        let signed = value(signed, "SignedHeaders=")?;
        let signature = value(signature, "Signature=")?;
        if signature.len() != 64 || !signature.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(Unsendable::Authorization);
        }
        let scope: Vec<&str> = credential.split('/').collect();
        let [access_key, _date, region, "sts", "aws4_request"] = scope.as_slice() else {
            return Err(Unsendable::Scope);
        };
        let plain = access_key.bytes().all(|b| b.is_ascii_alphanumeric());
        // Long-lived keys, of people, begin otherwise.
        if !access_key.starts_with("ASIA") || !plain || access_key.len() > 128 {
            return Err(Unsendable::Scope);
        }
        Ok(Self {
            access_key,
            region,
            signed: signed.split(';').collect(),
        })
    }

    /// What matters is signed, and what is signed is sent: a header that is not could be anybody's.
    fn check_signed(&self, sent: &BTreeMap<String, String>) -> Result<(), Unsendable> {
        for name in MUST_BE_SIGNED {
            if !self.signed.contains(&name) {
                return Err(Unsendable::Unsigned(name));
            }
        }
        let ours = ["host", "x-mandate-audience", "content-length"];
        let unsent = |name: &&&str| !ours.contains(*name) && !sent.contains_key(**name);
        match self.signed.iter().find(unsent) {
            Some(name) => Err(Unsendable::Unsent(name.chars().take(40).collect())),
            None => Ok(()),
        }
    }
}

const MUST_BE_SIGNED: [&str; 5] = [
    "host",
    "x-amz-date",
    "x-amz-security-token",
    "x-mandate-audience",
    CHALLENGE,
];

/// The headers that a caller may say. `host` and the authority's name are ours.
const SENT: [&str; 6] = [
    "authorization",
    "content-type",
    "x-amz-content-sha256",
    "x-amz-date",
    "x-amz-security-token",
    CHALLENGE,
];
