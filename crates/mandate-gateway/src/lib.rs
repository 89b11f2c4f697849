//! The gateway: enforcement in front of server workloads.
//!
//! It admits an access only when an access token, the bundle and the stops of this moment say so,
//! only under a lease of the authority, and only after the record of the decision is durable. It
//! holds the credentials for upstreams so that agents never do. It is a client of the control
//! stream (`docs/control-stream.md`) and knows neither the authority nor any adapter.
//!
//! What is promised about suspensions is kept in three places, from the outside in: every decision
//! looks at the current `snapshot`; every admitted access is registered and decided again when
//! the snapshot changes (`admission`); and what was cut cannot leave a buffer any more because its
//! `socket` is reset.

#![cfg_attr(
    test,
    allow(
        clippy::unwrap_used,
        clippy::indexing_slicing,
        clippy::panic,
        reason = "tests may panic"
    )
)]

mod admission;
mod body;
mod control;
mod egress;
mod gateway;
mod hmac;
mod http;
mod lease;
mod listener;
mod load;
mod marks;
mod metrics;
mod record;
mod refusals;
mod snapshot;
mod socket;
mod spent;
mod status;
mod upstream;
mod wire;

pub use control::{ControlIo, ControlSocket, UnixControl};
pub use gateway::{Gateway, GatewayConfig, GatewayPorts, GatewayStatus, StartError};
pub use http::{PublicAddress, Routing};
pub use listener::{Limits, Listener};
pub use marks::{Marks, MarksError, WentBack};
pub use upstream::UpstreamTls;
