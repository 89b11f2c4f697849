//! Answers that every request of an operator can get, whatever it asks for.

use utoipa::openapi::path::Operation;
use utoipa::openapi::{ContentBuilder, OpenApi, Ref, RefOr, Response, ResponseBuilder};

/// Adds them where a handler does not say more of the same status, and names the media type of problems
/// (RFC 9457 §3).
pub(super) fn complete(api: &mut OpenApi) {
    let paths = api.paths.paths.iter_mut();
    let for_operators = |path: &str| path.starts_with("/operator/") || path.starts_with("/log/");
    for (_, item) in paths.filter(|(path, _)| for_operators(path)) {
        for operation in [&mut item.get, &mut item.post].into_iter().flatten() {
            refuse(operation);
        }
    }
}

fn refuse(operation: &mut Operation) {
    let takes_something = operation.parameters.is_some() || operation.request_body.is_some();
    let always = [("403", NOT_PERMITTED), ("503", UNAVAILABLE)];
    let malformed = takes_something.then_some(("400", MALFORMED));
    let responses = &mut operation.responses.responses;
    for (status, description) in always.into_iter().chain(malformed) {
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

const PROBLEM: &str = "application/problem+json";
const MALFORMED: &str = "The request is not of its shape";
const NOT_PERMITTED: &str = "The caller is no operator who may do this";
const UNAVAILABLE: &str = "The store cannot be read or written now, and nothing was done; `retry-after` says when to try again";
