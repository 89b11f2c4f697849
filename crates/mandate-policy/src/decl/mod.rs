//! What a bundle declares, checked. Only [`load`](crate::load) makes these.

mod a2a;
mod access;
mod agent;
mod claim;
mod credential;
mod gateways;
mod llm;
mod manifest;
mod operator;
mod provider;
mod route;
mod server;
mod task;

pub use a2a::A2aSettings;
pub use access::{AccessPolicy, Guardrail};
pub use agent::{
    AgentType, AwsRule, BreakGlass, Pin, Possession, ProcessRule, SpawnScope, TokenRule, UserRule,
};
pub use claim::{ClaimPath, ClaimTest, MalformedClaimPath, MalformedPattern, Pattern, Wanted};
pub use credential::{Credential, SecretTemplate};
pub use gateways::Gateways;
pub(crate) use gateways::is_within;
pub use llm::{LlmApi, LlmSettings};
pub(crate) use manifest::Accepted;
pub use manifest::{MalformedDigest, Manifest, ToolDigest};
pub use operator::{OidcRule, Operator, PERSONAL_CLAIMS, Right};
pub use provider::{
    AwsProvider, OidcProvider, ProviderKind, SpiffeBundlePlace, TokenIssuer, TokenProvider,
    TrustProvider,
};
pub(crate) use route::Matcher;
pub use route::{Matched, PROMPT, RESOURCE, RPC, Route, Segment, TOOL, is_scheme};
pub use server::{
    Action, Attribute, AttributeSource, Durability, HttpSettings, LeaseLoss, LogStyle, McpSettings,
    ServerWorkload, Upstream,
};
pub use task::{OccurrenceRule, PersonRule, TaskPolicy, TriggerRule};
