//! The words of Mandate as types.
//!
//! Every other crate speaks in these: identities, mandates and [`narrow`](mandate::narrow),
//! tasks and their chain, suspensions, time and secrets. Bytes become one of these types once,
//! at the edge; nothing behind the edge takes a `String` for an id, a scope or a time.
//!
//! This crate never reads a clock, draws randomness, or touches a file, a socket or the
//! environment. `now` and random bytes are arguments.

#![cfg_attr(test, allow(clippy::unwrap_used, reason = "tests may panic"))]

mod actor;
mod attribute;
mod canonical;
mod delegator;
mod ids;
pub mod mandate;
mod name;
mod pin;
mod secret;
mod spiffe;
pub mod stop;
pub mod task;
mod thumbprint;
mod time;
mod trigger;

pub use actor::{ActChain, ActorLevel, AttestationKind, Host, Instance, MAX_ACT_LEVELS};
pub use attribute::{AttributeType, AttributeValue, Effect, RequestAttributes, UnfitAttribute};
pub use canonical::{
    MemberPlace, NotCanonical, canonical_json, write_canonical_json, write_canonical_members,
};
pub use ids::{
    BundleVersion, GatewayId, InstanceId, KeyId, KeysVersion, MalformedId, RunId, StopVersion,
    StoreEpoch, TaskId, TokenId,
};
pub use name::{
    ActionName, AgentTypeName, AttributeName, MalformedName, OperatorName, PolicyName,
    ProviderName, SecretName, ServerName,
};
pub use pin::ProviderPin;
pub use secret::Secret;
pub use spiffe::{MalformedSpiffeId, SpiffeId, TrustDomain};
pub use thumbprint::{MalformedThumbprint, Thumbprint};
pub use time::{BootTime, MalformedTimestamp, Timestamp};
pub use trigger::{Principal, Trigger, TriggerKind, Verified};
