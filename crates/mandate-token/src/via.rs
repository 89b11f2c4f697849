//! Who got a token for the agent that acts with it (A9).

use mandate_model::{GatewayId, Thumbprint};

/// The gateway that got an access token for the agent which brought it an SVID and a task token.
///
/// The token is bound to that gateway's key, so `cnf` says nothing of the agent: the key that the agent
/// has proved is said here.
#[derive(Debug, Clone, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Via {
    /// The gateway. The token is good there alone.
    pub gateway: GatewayId,
    /// The key that the agent's SVID is bound to, where it is bound to one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jkt: Option<Thumbprint>,
}
