//! What a person can do about an answer that an agent did not want.

use std::io::ErrorKind;

use super::agent::AgentError;
use super::holder::ProofFailure;
use super::http::HttpError;
use crate::failure::Failure;

impl From<AgentError> for Failure {
    fn from(error: AgentError) -> Failure {
        match error {
            AgentError::Refused { error, description } => {
                Failure::failed(format!("{error}: {description}"), mend(&error))
            }
            AgentError::Http(error) => error.into(),
            AgentError::Proof(ProofFailure::Lent(error)) => error.into(),
            AgentError::Proof(why) => Failure::failed(
                why.to_string(),
                "run it within `mandate exec`, which has the key, or attest again",
            ),
            AgentError::Answer(why) => Failure::failed(
                format!("the authority's answer is not understood: {why}"),
                "use a command of the server's own release",
            ),
        }
    }
}

/// What an agent, or whoever runs it, can do about an OAuth error. The description names the rule.
fn mend(error: &str) -> &'static str {
    match error {
        "invalid_client" => {
            "compare this process's user and program with the agent types' attestation rules; a program that its own user can change needs `isolation: none`"
        }
        "invalid_dpop_proof" => {
            "attest with a key: `mandate exec` brings one, and makes the proofs for its command"
        }
        "access_denied" => {
            "something on the way is stopped: `mandate suspensions` shows an operator what; a task that has ended is opened anew"
        }
        "invalid_target" => {
            "name the server workload by its `resource`; `mandate access` shows an operator what each agent type may use"
        }
        "invalid_authorization_details" | "invalid_scope" => {
            "ask for less: `mandate task show` prints what the task may do"
        }
        "invalid_request" => "send it as the rule says; a token that is void or over is got anew",
        _ => "an operator finds the whole record with `mandate audit search --decision denied`",
    }
}

impl From<HttpError> for Failure {
    fn from(error: HttpError) -> Failure {
        let mend = match &error {
            HttpError::Connect { error, .. } if error.kind() == ErrorKind::PermissionDenied => {
                "the server may well run: run this as a user who can reach the path"
            }
            HttpError::Slow(_) => "look at the server's load and its logs",
            HttpError::Connect { .. } | HttpError::Broken { .. } | HttpError::Request(_) => {
                "start the server with `mandate serve`, or point --data (agents: --socket) at a running one"
            }
        };
        Failure::unreachable(error.to_string(), mend)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::http::Door;

    #[test]
    fn a_closed_socket_is_not_mended_by_starting_the_server() {
        let at = |kind: ErrorKind| {
            Failure::from(HttpError::Connect {
                door: Door::Unix("/run/mandate/run/agent.sock".into()),
                error: kind.into(),
            })
        };
        let closed = at(ErrorKind::PermissionDenied);
        assert!(!closed.mend.contains("start the server"), "{}", closed.mend);
        let gone = at(ErrorKind::NotFound);
        assert!(gone.mend.contains("start the server"), "{}", gone.mend);
    }

    #[test]
    fn each_oauth_error_has_a_mend_of_its_own() {
        let errors = [
            "invalid_client",
            "access_denied",
            "invalid_target",
            "invalid_request",
        ];
        let mends: std::collections::BTreeSet<&str> = errors.map(mend).into();
        assert_eq!(mends.len(), errors.len());
    }
}
