//! Connections to upstreams: pooled, never followed elsewhere, each one killable.

mod connect;
mod pool;

pub use connect::UpstreamTls;
pub(crate) use connect::{ConnectError, Place};
pub(crate) use pool::{Lent, Pool, PoolLimits};
