//! Agents that are called by other agents.

use mandate_model::{AgentTypeName, SpiffeId};

/// That a server workload is an agent, spoken to by the Agent2Agent protocol.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct A2aSettings {
    /// The type of the agent that is called: where it is suspended, nobody reaches it.
    pub agent: AgentTypeName,
    /// The SPIFFE ID of that type.
    pub id: SpiffeId,
    /// The path of its JSON-RPC endpoint, the same at the gateway and below the upstream's base; `/` is the base.
    pub path: String,
}
