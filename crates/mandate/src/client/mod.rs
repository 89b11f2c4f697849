//! How commands speak: HTTP over a Unix socket or a loopback port, and the authority's interfaces over it.

pub(crate) mod agent;
pub(crate) mod form;
pub(crate) mod holder;
pub(crate) mod http;
mod lifetime;
pub(crate) mod log;
pub(crate) mod members;
mod mend;
pub(crate) mod oidc;
pub(crate) mod operator;
pub(crate) mod session;
pub(crate) mod tls;
pub(crate) mod token_file;
pub(crate) mod way;
pub(crate) mod words;
