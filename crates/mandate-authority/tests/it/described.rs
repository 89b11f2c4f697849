//! What `docs/openapi.json` says of an answer. Every answer of every test is held against it.

use std::sync::LazyLock;

use hyper::header::CONTENT_TYPE;
use hyper::{HeaderMap, Method, StatusCode};
use serde_json::Value;

static API: LazyLock<Value> = LazyLock::new(|| {
    let text = include_str!("../../../../docs/openapi.json");
    serde_json::from_str(text).unwrap()
});

/// Panics if the operation is described, and this answer of it is not. What has no description is no
/// part of the interface: doors of gateways, and paths and methods that are none.
pub(crate) fn hold(method: &Method, path: &str, status: StatusCode, headers: &HeaderMap) {
    let path = path.split('?').next().unwrap();
    let paths = API["paths"].as_object().unwrap();
    let item = paths.iter().find(|(template, _)| fits(template, path));
    let operation = item.map(|(_, item)| &item[method.as_str().to_lowercase()]);
    let Some(operation) = operation.filter(|operation| operation.is_object()) else {
        return;
    };
    let described = &operation["responses"][status.as_str()];
    assert!(
        described.is_object(),
        "{method} {path} answers with {status}, which docs/openapi.json does not say"
    );
    let came = headers.get(CONTENT_TYPE).map(|kind| {
        let kind = kind.to_str().unwrap().split(';').next().unwrap();
        kind.to_owned()
    });
    let kinds = described["content"].as_object();
    match came {
        Some(kind) => assert!(
            kinds.is_some_and(|kinds| kinds.contains_key(&kind)),
            "{method} {path} answers {status} with {kind}, which docs/openapi.json does not say"
        ),
        None => assert!(
            kinds.is_none_or(|kinds| kinds.is_empty()),
            "{method} {path} answers {status} without a body, which docs/openapi.json promises"
        ),
    }
}

/// Whether `path` is one of `template`, in which `{…}` is one segment, and at the end any number.
fn fits(template: &str, path: &str) -> bool {
    let (mut wanted, mut found) = (template.split('/'), path.split('/'));
    loop {
        match (wanted.next(), found.next()) {
            (None, None) => return true,
            (Some("{path}"), Some(_)) => return true,
            (Some(one), Some(segment)) if one == segment || one.starts_with('{') => {}
            (_, _) => return false,
        }
    }
}

#[test]
fn a_template_is_fitted_by_whole_segments() {
    assert!(fits("/a/{id}/b", "/a/x/b"));
    assert!(fits("/log/tile/{path}", "/log/tile/0/000"));
    for path in ["/a/x", "/a/x/c", "/a/x/b/c", "/a"] {
        assert!(!fits("/a/{id}/b", path), "{path}");
    }
}

#[test]
#[should_panic(expected = "which docs/openapi.json does not say")]
fn an_answer_that_is_not_described_is_noticed() {
    hold(
        &Method::POST,
        "/token",
        StatusCode::IM_A_TEAPOT,
        &HeaderMap::new(),
    );
}
