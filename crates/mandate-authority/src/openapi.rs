//! The interface's description, generated from the handlers and checked in as `docs/openapi.json`.

mod answers;

use utoipa::{OpenApi, ToSchema};

use crate::{endpoint, operator, token};

/// The parameters of an exchange; which of them, `docs/tokens.md` says.
#[derive(Debug, ToSchema)]
#[expect(dead_code, reason = "its shape is all that is used")]
pub(crate) struct TokenRequest {
    /// `urn:ietf:params:oauth:grant-type:token-exchange`.
    grant_type: String,
    /// What is exchanged.
    subject_token: String,
    /// Its type.
    subject_token_type: String,
    /// What is asked for.
    requested_token_type: Option<String>,
    /// Whom the result is for.
    audience: Option<String>,
    /// The server workload's resource indicator (RFC 8707).
    resource: Option<String>,
    /// `server:action` words.
    scope: Option<String>,
    /// The mandate's entries, as JSON (RFC 9396).
    authorization_details: Option<String>,
    /// The task's purpose, trigger and limits, as JSON.
    request_details: Option<String>,
    /// The SPIFFE ID of the child or hosted agent type.
    requested_actor: Option<String>,
    /// The key that the child must have, as JSON: `{"jkt": …}` (RFC 7800 §3.1, RFC 9449 §6.1).
    requested_cnf: Option<String>,
    /// `urn:ietf:params:oauth:client-assertion-type:jwt-spiffe`.
    client_assertion_type: Option<String>,
    /// The client's JWT-SVID.
    client_assertion: Option<String>,
}

/// What was issued (RFC 8693 §2.2.1).
#[derive(Debug, ToSchema)]
#[expect(dead_code, reason = "its shape is all that is used")]
pub(crate) struct TokenResponse {
    /// The token, of whatever kind.
    access_token: String,
    /// Its type.
    issued_token_type: String,
    /// `DPoP` for an access token that is bound to a key, `Bearer` for another one, or `N_A` for what
    /// is no access token.
    token_type: String,
    /// Seconds.
    expires_in: u64,
    /// What was granted.
    scope: Option<String>,
    /// What was granted (RFC 9396 §7).
    #[schema(value_type = Option<Vec<Object>>)]
    authorization_details: Option<()>,
}

/// A token and who shows it.
#[derive(Debug, ToSchema)]
#[expect(dead_code, reason = "its shape is all that is used")]
pub(crate) struct TokenForm {
    /// The token.
    token: String,
    /// `urn:ietf:params:oauth:client-assertion-type:jwt-spiffe`.
    client_assertion_type: String,
    /// The caller's JWT-SVID.
    client_assertion: String,
}

/// A task token, who shows it, and perhaps a child.
#[derive(Debug, ToSchema)]
#[expect(dead_code, reason = "its shape is all that is used")]
pub(crate) struct CloseForm {
    /// The task token.
    token: String,
    /// A task below it; the token's own by default.
    task: Option<String>,
    /// `urn:ietf:params:oauth:client-assertion-type:jwt-spiffe`.
    client_assertion_type: String,
    /// The caller's JWT-SVID.
    client_assertion: String,
}

/// An error (RFC 6749 §5.2).
#[derive(Debug, ToSchema)]
#[expect(dead_code, reason = "its shape is all that is used")]
pub(crate) struct OauthErrorBody {
    /// `invalid_request`, `invalid_client`, `invalid_target`, `access_denied`, …
    error: String,
    /// The rule that was broken, and the mend.
    error_description: String,
}

/// A problem (RFC 9457).
#[derive(Debug, ToSchema)]
#[expect(dead_code, reason = "its shape is all that is used")]
pub(crate) struct ProblemBody {
    /// `urn:mandate:problem:<name>`.
    r#type: String,
    /// What kind of problem.
    title: String,
    /// The HTTP status.
    status: u16,
    /// What is wrong here, and the mend.
    detail: String,
    /// The rule.
    rule: Option<String>,
}

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Mandate authority",
        description = "Identity for AI agents: exchanges, discovery, tasks, operators.",
        license(name = "Apache-2.0", identifier = "Apache-2.0"),
    ),
    paths(
        token::token,
        endpoint::metadata,
        endpoint::openid_configuration,
        endpoint::authorize,
        endpoint::jwks,
        endpoint::spiffe_bundle,
        endpoint::challenge,
        endpoint::introspect,
        endpoint::revoke,
        endpoint::show,
        endpoint::close,
        operator::status,
        operator::suspend,
        operator::resume,
        operator::suspensions,
        operator::show,
        operator::check,
        operator::apply,
        operator::back,
        operator::open,
        operator::task,
        operator::cancel,
        operator::revoke_token,
        operator::search,
        operator::entries,
        operator::inclusion,
        operator::consistency,
        operator::checkpoint,
        operator::tile,
        operator::list,
        operator::rotate,
        operator::accept_epoch,
        operator::providers,
        operator::begin,
        operator::end,
    )
)]
struct Api;

/// The description as JSON, one member a line.
pub fn openapi() -> Result<String, serde_json::Error> {
    let mut api = Api::openapi();
    answers::complete(&mut api);
    let mut text = api.to_pretty_json()?;
    text.push('\n');
    Ok(text)
}

#[cfg(test)]
mod tests {
    #[test]
    fn every_request_of_an_operator_may_be_refused_or_find_the_store_away() {
        let text = super::openapi().unwrap();
        let api: serde_json::Value = serde_json::from_str(&text).unwrap();
        let mut seen = 0;
        for (path, item) in api["paths"].as_object().unwrap() {
            if !path.starts_with("/operator/") && !path.starts_with("/log/") {
                continue;
            }
            for operation in item.as_object().unwrap().values() {
                for status in ["403", "503"] {
                    let content = &operation["responses"][status]["content"];
                    let problem = &content["application/problem+json"]["schema"]["$ref"];
                    assert_eq!(
                        problem, "#/components/schemas/ProblemBody",
                        "{path} {status}"
                    );
                    seen += 1;
                }
            }
        }
        assert!(seen > 40, "{seen}");
    }

    #[test]
    fn every_kind_of_refusal_is_described_wherever_agents_authenticate() {
        let api: serde_json::Value = serde_json::from_str(&super::openapi().unwrap()).unwrap();
        for path in [
            "/token",
            "/introspect",
            "/revoke",
            "/task/show",
            "/task/close",
        ] {
            let responses = &api["paths"][path]["post"]["responses"];
            for refusal in crate::token::one_refusal_of_each_kind() {
                let status = refusal.oauth().status.to_string();
                let schema = &responses[&status]["content"]["application/json"]["schema"];
                assert_eq!(
                    schema["$ref"], "#/components/schemas/OauthErrorBody",
                    "{path} {status}: {refusal:?}"
                );
            }
        }
    }

    #[test]
    fn the_checked_in_description_is_the_generated_one() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/openapi.json");
        let checked_in = std::fs::read_to_string(path).unwrap_or_default();
        let generated = super::openapi().unwrap();
        assert!(
            checked_in == generated,
            "docs/openapi.json is old: `cargo run -p mandate-authority --example openapi > docs/openapi.json`"
        );
    }
}
