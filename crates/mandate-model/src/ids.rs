//! Identifiers that are made at run time, and versions that only grow.

use std::fmt;
use std::sync::Arc;

use uuid::Uuid;

use crate::Timestamp;

/// Text that is not an identifier of the kind asked for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{input}` is no {kind}: {form}")]
pub struct MalformedId {
    kind: &'static str,
    form: &'static str,
    input: String,
}

impl MalformedId {
    fn new(kind: &'static str, form: &'static str, input: &str) -> Self {
        Self {
            kind,
            form,
            input: input.chars().take(80).collect(),
        }
    }

    pub(crate) fn of_principal(input: &str) -> Self {
        let form = "`user:<provider>:<subject>`, `operator:<name>` or a SPIFFE ID";
        Self::new("principal", form, input)
    }
}

/// A UUIDv7 of `now` and ten random bytes (RFC 9562 §5.7): sorts by time, cannot be guessed.
fn uuid_v7(now: Timestamp, random: [u8; 10]) -> Uuid {
    uuid::Builder::from_unix_timestamp_millis(now.as_millis(), &random).into_uuid()
}

macro_rules! uuids {
    ($($(#[$doc:meta])* $name:ident = $prefix:literal, $kind:literal;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(Uuid);

        impl $name {
            /// A new identifier, of `now` and bytes from a cryptographic source.
            pub fn new(now: Timestamp, random: [u8; 10]) -> Self {
                Self(uuid_v7(now, random))
            }

            /// The one way to read this identifier from text. The text form is canonical:
            /// each identifier has exactly one.
            pub fn parse(text: &str) -> Result<Self, MalformedId> {
                let malformed = || MalformedId::new($kind, concat!("`", $prefix, "` and a lower-case UUID"), text);
                let rest = text.strip_prefix($prefix).ok_or_else(malformed)?;
                let uuid = Uuid::try_parse(rest).map_err(|_| malformed())?;
                if uuid.hyphenated().to_string() == rest { Ok(Self(uuid)) } else { Err(malformed()) }
            }

            /// The sixteen bytes of the UUID.
            pub fn as_bytes(&self) -> &[u8; 16] {
                self.0.as_bytes()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($prefix, "{}"), self.0.hyphenated())
            }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }
        impl TryFrom<String> for $name {
            type Error = MalformedId;
            fn try_from(text: String) -> Result<Self, MalformedId> {
                Self::parse(&text)
            }
        }
        impl From<$name> for String {
            fn from(id: $name) -> String {
                id.to_string()
            }
        }
        impl std::str::FromStr for $name {
            type Err = MalformedId;
            fn from_str(text: &str) -> Result<Self, MalformedId> {
                Self::parse(text)
            }
        }
    )*};
}

uuids! {
    /// One task, `task-<uuid>`.
    TaskId = "task-", "task id";
    /// One token (`jti`), `tok-<uuid>`. Safe to log; the token itself never is.
    TokenId = "tok-", "token id";
}

macro_rules! labels {
    ($($(#[$doc:meta])* $name:ident = $kind:literal;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(Arc<str>);

        impl $name {
            /// The one way to read this identifier from text.
            pub fn parse(text: &str) -> Result<Self, MalformedId> {
                let fits = (1..=200).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic());
                fits.then(|| Self(text.into())).ok_or_else(|| {
                    MalformedId::new($kind, "1 to 200 visible ASCII characters", text)
                })
            }

            /// The identifier as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
        impl TryFrom<String> for $name {
            type Error = MalformedId;
            fn try_from(text: String) -> Result<Self, MalformedId> {
                Self::parse(&text)
            }
        }
        impl From<$name> for String {
            fn from(id: $name) -> String {
                id.0.as_ref().to_owned()
            }
        }
        impl std::str::FromStr for $name {
            type Err = MalformedId;
            fn from_str(text: &str) -> Result<Self, MalformedId> {
                Self::parse(text)
            }
        }
    )*};
}

labels! {
    /// One running agent of a type, as its attestor names it (`pid-4711@…`, a pod's uid).
    /// Unique per trust provider; recorded, never a directory object.
    InstanceId = "instance id";
    /// A signing key's `kid`.
    KeyId = "key id";
    /// One gateway instance.
    GatewayId = "gateway id";
}

macro_rules! versions {
    ($($(#[$doc:meta])* $name:ident;)*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
        #[serde(transparent)]
        pub struct $name(u64);

        impl $name {
            /// The version numbered `n`; zero is "nothing yet".
            pub const fn new(n: u64) -> Self {
                Self(n)
            }

            /// Its number.
            pub const fn get(self) -> u64 {
                self.0
            }

            /// The version after this one; saturates.
            #[must_use]
            pub const fn next(self) -> Self {
                Self(self.0.saturating_add(1))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}", self.0)
            }
        }
    )*};
}

versions! {
    /// Which bundle is live.
    BundleVersion;
    /// The state of all stops (suspensions, ended tasks, revoked tokens); grows with each change.
    StopVersion;
    /// The state of the key sets.
    KeysVersion;
}

macro_rules! random_marks {
    ($($(#[$doc:meta])* $name:ident, $what:literal;)*) => { $(
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(Uuid);

        impl $name {
            /// One of sixteen random bytes.
            pub fn from_random(random: [u8; 16]) -> Self {
                Self(uuid::Builder::from_random_bytes(random).into_uuid())
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}", self.0.hyphenated())
            }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }
        impl TryFrom<String> for $name {
            type Error = MalformedId;
            fn try_from(text: String) -> Result<Self, MalformedId> {
                Uuid::try_parse(&text)
                    .map(Self)
                    .map_err(|_| MalformedId::new($what, "a UUID", &text))
            }
        }
        impl From<$name> for String {
            fn from(mark: $name) -> String {
                mark.to_string()
            }
        }
    )* };
}

random_marks! {
    /// A store's random birth mark. A store with another epoch is another store, whatever its
    /// versions say (B4).
    StoreEpoch, "store epoch";
    /// One run of an authority: from its start to its end or crash. Within a run the versions that are told
    /// only grow; what was told and was in memory alone is gone after a crash, and the next run gives its
    /// version to something else.
    RunId, "run of the authority";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_have_one_text_form() {
        let id = TaskId::new(Timestamp::from_millis(1_700_000_000_000), [7; 10]);
        let text = id.to_string();
        assert_eq!(TaskId::parse(&text).unwrap(), id);
        assert!(TaskId::parse(&text.to_uppercase()).is_err());
        assert!(TaskId::parse(&text.replace("task-", "tok-")).is_err());
        assert!(TaskId::parse(&text.replacen('-', "", 2)).is_err());
    }

    #[test]
    fn ids_sort_by_time() {
        let early = TaskId::new(Timestamp::from_millis(1000), [255; 10]);
        let late = TaskId::new(Timestamp::from_millis(1001), [0; 10]);
        assert!(early < late);
    }
}
