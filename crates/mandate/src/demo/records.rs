//! The quickstart's upstream: a records API that knows nothing of Mandate and wants an API key.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Path, Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use bytes::Bytes;
use futures_util::stream;
use mandate_model::Secret;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::net::TcpListener;

use crate::context::Context;
use crate::failure::{Exit, Failure, Outcome};

/// Reads its key from the first line of standard input, says where it listens on standard output, and
/// ends with standard input.
pub(super) async fn run(context: &Context) -> Outcome {
    let failed = |e: std::io::Error| Failure::failed(e.to_string(), "");
    let mut input = BufReader::new(tokio::io::stdin());
    let mut key = String::new();
    input.read_line(&mut key).await.map_err(failed)?;
    let key = Arc::new(Secret::new(key.trim().as_bytes().to_vec()));
    let listener = TcpListener::bind("127.0.0.1:0").await.map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    context.out.raw(&address.to_string());
    let router = Router::new()
        .route("/customers/{customer}", get(customer))
        .route("/customers/{customer}/export", get(export))
        .layer(middleware::from_fn_with_state(key, with_key));
    let mut rest = Vec::new();
    tokio::select! {
        served = axum::serve(listener, router) => served.map_err(failed)?,
        // An error on it is its end too.
        _ = input.read_to_end(&mut rest) => {}
    }
    Ok(Exit::Ok)
}

/// Only who holds the key gets anything.
async fn with_key(
    State(key): State<Arc<Secret<Vec<u8>>>>,
    request: Request,
    next: Next,
) -> Response {
    let shown = request
        .headers()
        .get(header::AUTHORIZATION)
        .and_then(|value| value.as_bytes().strip_prefix(b"Bearer "));
    if shown.map(|shown| Secret::new(shown.to_vec())) == Some(Secret::new(key.expose().clone())) {
        next.run(request).await
    } else {
        (StatusCode::UNAUTHORIZED, "an API key is needed\n").into_response()
    }
}

async fn customer(Path(name): Path<String>) -> Response {
    match record(&name) {
        Some(record) => Json(record).into_response(),
        None => StatusCode::NOT_FOUND.into_response(),
    }
}

fn record(name: &str) -> Option<Value> {
    let (plan, open) = match name {
        "acme" => ("gold", 2),
        "globex" => ("platinum", 5),
        _ => return None,
    };
    Some(json!({ "customer": name, "plan": plan, "open_cases": open }))
}

/// A line every 20 ms, for a minute: a download that is under way when the glass is broken.
async fn export(Path(name): Path<String>) -> Response {
    let Some(record) = record(&name) else {
        return StatusCode::NOT_FOUND.into_response();
    };
    let lines = stream::unfold(0_u32, move |number| {
        let line = format!("{number} {record}\n");
        async move {
            if number == LINES {
                return None;
            }
            tokio::time::sleep(PACE).await;
            Some((Ok::<_, Infallible>(Bytes::from(line)), number + 1))
        }
    });
    Body::from_stream(lines).into_response()
}

const PACE: Duration = Duration::from_millis(20);
const LINES: u32 = 3_000;
