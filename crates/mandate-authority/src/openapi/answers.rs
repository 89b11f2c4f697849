//! Answers that every request of an operator, or of an agent, can get, whatever it asks for.

use utoipa::openapi::path::Operation;
use utoipa::openapi::{ContentBuilder, OpenApi, Ref, RefOr, Response, ResponseBuilder};

/// Adds them where a handler does not say more of the same status, and names the media type of problems
/// (RFC 9457 §3).
pub(super) fn complete(api: &mut OpenApi) {
    let paths = api.paths.paths.iter_mut();
    let for_operators = |path: &str| path.starts_with("/operator/") || path.starts_with("/log/");
    for (path, item) in paths {
        for operation in [&mut item.get, &mut item.post].into_iter().flatten() {
            if for_operators(path) {
                refuse(operation, path != PROVIDERS);
            } else if operation.request_body.is_some() {
                refuse_agent(operation);
            }
        }
    }
}

/// Whoever takes a form from an agent authenticates it (RFC 6749 §5.2).
fn refuse_agent(operation: &mut Operation) {
    let always = [
        ("400", BROKEN_RULE),
        ("401", UNPROVED),
        ("403", STOPPED),
        ("503", NOT_RECORDED),
    ];
    for (status, description) in always {
        let body = Ref::from_schema_name("OauthErrorBody");
        let content = ContentBuilder::new().schema(Some(body)).build();
        let error = ResponseBuilder::new()
            .description(description)
            .content("application/json", content);
        let responses = &mut operation.responses.responses;
        let entry = responses.entry(status.to_owned());
        entry.or_insert_with(|| RefOr::T(error.build()));
    }
}

fn refuse(operation: &mut Operation, needs_session: bool) {
    let has_body = operation.request_body.is_some();
    let takes_something = operation.parameters.is_some() || has_body;
    let always = [("403", NOT_PERMITTED), ("503", UNAVAILABLE)];
    let malformed = takes_something.then_some(("400", MALFORMED));
    let too_large = has_body.then_some(("413", TOO_LARGE));
    let without = needs_session.then_some(("401", NO_SESSION));
    let at_times = [malformed, too_large, without].into_iter().flatten();
    let responses = &mut operation.responses.responses;
    for (status, description) in always.into_iter().chain(at_times) {
        let problem = || RefOr::T(problem(description));
        responses.entry(status.to_owned()).or_insert_with(problem);
    }
    for (status, response) in responses {
        if let RefOr::T(response) = response
            && status.starts_with(['4', '5'])
            && let Some(content) = response.content.shift_remove("application/json")
        {
            response.content.insert(PROBLEM.to_owned(), content);
        }
    }
}

fn problem(description: &str) -> Response {
    let body = Ref::from_schema_name("ProblemBody");
    let content = ContentBuilder::new().schema(Some(body)).build();
    ResponseBuilder::new()
        .description(description)
        .content(PROBLEM, content)
        .build()
}

/// It is for everybody.
const PROVIDERS: &str = "/operator/v1/login";
const BROKEN_RULE: &str = "A rule is broken; `error_description` names it";
const UNPROVED: &str = "The caller did not prove what it is";
const STOPPED: &str =
    "Something about the caller or the request is suspended, or no bundle is live";
const NOT_RECORDED: &str = "Nothing can be read or recorded now, or somebody who has to be asked does not answer; `retry-after` says when to try again";
const TOO_LARGE: &str = "The body is longer than it may be";
const NO_SESSION: &str = "Over the network: no operator's session that holds (RFC 6750 §3)";
const PROBLEM: &str = "application/problem+json";
const MALFORMED: &str = "The request is not of its shape";
const NOT_PERMITTED: &str = "The caller is no operator who may do this";
const UNAVAILABLE: &str = "The store cannot be read or written now, and nothing was done; `retry-after` says when to try again";
