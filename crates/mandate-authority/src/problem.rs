//! Errors of everything but the OAuth endpoints: RFC 9457.

use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};

/// A problem, as the caller sees it. Never a secret or another tenant's name in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Problem(Box<Members>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Members {
    status: StatusCode,
    name: &'static str,
    title: &'static str,
    detail: String,
    rule: Option<String>,
    next: Option<u64>,
    retry_after: Option<u32>,
    mistakes: Option<serde_json::Value>,
}

impl Problem {
    fn new(status: StatusCode, name: &'static str, title: &'static str, detail: String) -> Self {
        Self(Box::new(Members {
            status,
            name,
            title,
            detail,
            rule: None,
            next: None,
            retry_after: None,
            mistakes: None,
        }))
    }

    /// The body or query is not of its shape.
    pub(crate) fn malformed(detail: impl Into<String>) -> Self {
        let title = "the request is not of its shape";
        Self::new(StatusCode::BAD_REQUEST, "malformed", title, detail.into())
    }

    /// The kernel names another user than the one asked for.
    pub(crate) fn peer(detail: impl Into<String>) -> Self {
        let title = "this socket is for another user";
        Self::new(StatusCode::FORBIDDEN, "peer", title, detail.into())
    }

    /// Policy says no.
    pub(crate) fn forbidden(rule: impl Into<String>, detail: impl Into<String>) -> Self {
        let title = "not permitted";
        Self::new(StatusCode::FORBIDDEN, "forbidden", title, detail.into()).with_rule(rule)
    }

    /// Somebody else does not answer now.
    pub(crate) fn elsewhere(detail: impl Into<String>) -> Self {
        let title = "somebody else does not answer";
        let status = StatusCode::SERVICE_UNAVAILABLE;
        let mut problem = Self::new(status, "elsewhere", title, detail.into());
        problem.0.retry_after = Some(RETRY_AFTER);
        problem
    }

    /// There is no session that holds.
    pub(crate) fn session(rule: impl Into<String>, detail: impl Into<String>) -> Self {
        let title = "an operator's session is needed";
        Self::new(StatusCode::UNAUTHORIZED, "session", title, detail.into()).with_rule(rule)
    }

    /// A token that a gateway was shown is not good.
    pub(crate) fn token(rule: impl Into<String>, detail: impl Into<String>) -> Self {
        let title = "the access token is not accepted";
        Self::new(StatusCode::FORBIDDEN, "token", title, detail.into()).with_rule(rule)
    }

    /// There is no such thing.
    pub(crate) fn unknown(detail: impl Into<String>) -> Self {
        let title = "there is no such thing";
        Self::new(StatusCode::NOT_FOUND, "unknown", title, detail.into())
    }

    /// The store is behind what a gateway has seen (B4).
    pub(crate) fn ahead(detail: impl Into<String>) -> Self {
        let title = "the store is behind the gateway";
        Self::new(StatusCode::CONFLICT, "ahead", title, detail.into())
    }

    /// A gateway speaks of what another run of the authority told it (docs/control-stream.md, *Runs*).
    pub(crate) fn another_run() -> Self {
        let title = "the authority was started anew";
        let detail =
            "what was applied was told by another run of the authority; open the stream again";
        Self::new(StatusCode::CONFLICT, "run", title, detail.to_owned())
    }

    /// Shipped records begin above what the authority has.
    pub(crate) fn gap(next: u64) -> Self {
        let detail = format!("records begin above {next}, the first that is missing");
        let mut problem = Self::new(StatusCode::CONFLICT, "gap", "records are missing", detail);
        problem.0.next = Some(next);
        problem
    }

    /// Something moved since the caller looked.
    pub(crate) fn conflict(rule: impl Into<String>, detail: impl Into<String>) -> Self {
        let title = "this conflicts with the present state";
        Self::new(StatusCode::CONFLICT, "conflict", title, detail.into()).with_rule(rule)
    }

    /// A bundle does not load; every mistake is listed.
    pub(crate) fn bundle(mistakes: serde_json::Value) -> Self {
        let detail = "the bundle does not load; see `mistakes`".to_owned();
        let title = "the bundle has mistakes";
        let mut problem = Self::new(StatusCode::UNPROCESSABLE_ENTITY, "bundle", title, detail)
            .with_rule("bundle");
        problem.0.mistakes = Some(mistakes);
        problem
    }

    /// Over a limit.
    pub(crate) fn too_large(detail: impl Into<String>) -> Self {
        let title = "the request is too large";
        Self::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "too-large",
            title,
            detail.into(),
        )
    }

    /// The store cannot be read or written now. What exactly failed is for the log.
    pub(crate) fn unavailable() -> Self {
        let detail = "the store cannot be read or written now; nothing was done".to_owned();
        let title = "the authority cannot record";
        let mut problem = Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "unavailable",
            title,
            detail,
        );
        problem.0.retry_after = Some(RETRY_AFTER);
        problem
    }

    /// The rule by which a request that was permitted and made sense led to nothing; `None` for one
    /// that is not of its shape or not permitted, and where nothing could be read or written.
    pub(crate) fn declined(&self) -> Option<(&str, &str)> {
        let Members {
            status,
            name,
            rule,
            detail,
            ..
        } = &*self.0;
        let declined = [
            StatusCode::NOT_FOUND,
            StatusCode::CONFLICT,
            StatusCode::UNPROCESSABLE_ENTITY,
        ];
        let rule = rule.as_deref().unwrap_or(name);
        declined.contains(status).then_some((rule, detail))
    }

    fn with_rule(mut self, rule: impl Into<String>) -> Self {
        self.0.rule = Some(rule.into());
        self
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let Members {
            status,
            name,
            title,
            detail,
            rule,
            next,
            retry_after,
            mistakes,
        } = *self.0;
        let mut body = serde_json::json!({
            "type": format!("urn:mandate:problem:{name}"),
            "title": title,
            "status": status.as_u16(),
            "detail": detail,
        });
        if let serde_json::Value::Object(members) = &mut body {
            let optional = [
                ("rule", rule.map(Into::into)),
                ("next", next.map(Into::into)),
                ("mistakes", mistakes),
            ];
            let present = optional
                .into_iter()
                .filter_map(|(k, v)| Some((k.to_owned(), v?)));
            members.extend(present);
        }
        let kind = HeaderValue::from_static("application/problem+json");
        let mut response = (status, body.to_string()).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, kind);
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if status == StatusCode::UNAUTHORIZED {
            // RFC 9110 §11.6.1, RFC 6750 §3.
            let scheme = HeaderValue::from_static("Bearer");
            headers.insert(header::WWW_AUTHENTICATE, scheme);
        }
        if let Some(seconds) = retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}

/// Seconds until an unavailable store is worth another try.
pub(crate) const RETRY_AFTER: u32 = 1;
