//! Upstream credentials and trust: named secrets, mapped and pinned by local configuration (C4).
//!
//! A bundle only names a secret. Which file, variable or command it comes from, which origins it may
//! be sent to, and whose certificates those origins show, is said by a file on the gateway's own
//! machine, so that whoever can change bundles cannot send a secret elsewhere.
//!
//! ```yaml
//! secrets:
//!   records-key: {file: /etc/mandate/records-key, origins: ["https://records.internal:8443"]}
//!   billing-key: {command: [/usr/local/bin/fetch-key, billing], origins: ["https://billing.internal"]}
//! origins:
//!   "https://records.internal:8443": {ca: /etc/mandate/records-ca.pem}
//! cas:
//!   acme-internal: /etc/mandate/acme-ca.pem
//! ```
//!
//! A request never waits for a source: values are held in memory and renewed beside the traffic.

#![cfg_attr(
    test,
    allow(
        clippy::unwrap_used,
        clippy::indexing_slicing,
        clippy::panic,
        reason = "tests may panic"
    )
)]

mod config;
mod credentials;
mod guarded;
mod origin;
mod source;
mod tls;

pub use config::{ConfigError, Mistake};
pub use credentials::{FileCredentials, Lookup, UnmappedCa};
pub use origin::{MalformedOrigin, parse_origin};

#[cfg(test)]
mod tests;
