//! The log as C2SP tlog-tiles, so that tools of others can follow it.

use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use http::header;
use mandate_audit::{NodeId, Tile, TileKind, entry_bundle};
use mandate_policy::decl::Right;

use super::caller::Operator;
use crate::listen::Connection;
use crate::problem::Problem;

/// The latest signed checkpoint.
#[utoipa::path(
    get, path = "/log/checkpoint", tag = "operators",
    responses(
        (status = 200, description = "A C2SP signed note", body = String, content_type = "text/plain"),
        (status = 404, description = "Nothing was signed yet", body = crate::openapi::ProblemBody),
    ),
)]
pub(crate) async fn checkpoint(State(at): State<Connection>) -> Result<Response, Problem> {
    let operator = Operator::permitted(&at, "log_checkpoint", Right::Audit, None).await?;
    operator.looks(&at, "log_checkpoint").await?;
    let note = at.authority.ports().log.checkpoint().await?;
    let note = note.ok_or_else(|| Problem::unknown("nothing was signed yet"))?;
    let headers = [
        (header::CONTENT_TYPE, "text/plain; charset=utf-8"),
        (header::CACHE_CONTROL, "no-store"),
    ];
    Ok((headers, note).into_response())
}

/// A tile of hashes or a bundle of entries.
#[utoipa::path(
    get, path = "/log/tile/{path}", tag = "operators",
    params(("path" = String, Path, description = "C2SP tlog-tiles: `<level>/<index>` or `entries/<index>`, with `.p/<width>` for a partial one; it has slashes")),
    responses(
        (status = 200, description = "The tile", body = Vec<u8>, content_type = "application/octet-stream"),
        (status = 404, description = "The log has no such tile yet", body = crate::openapi::ProblemBody),
    ),
)]
pub(crate) async fn tile(
    State(at): State<Connection>,
    Path(path): Path<String>,
) -> Result<Response, Problem> {
    let tile =
        Tile::parse(&format!("tile/{path}")).map_err(|why| Problem::malformed(why.to_string()))?;
    let operator = Operator::permitted(&at, "log_tile", Right::Audit, None).await?;
    // Tiles come by the hundreds: one record tells of a minute of them, and comes first.
    let (looks, now) = (at.authority.looks(), at.authority.boot());
    if looks.is_due(operator.name(), now) {
        operator.looks(&at, "log_tile").await?;
        looks.recorded(operator.name(), now);
    }
    let bytes = match tile.kind() {
        TileKind::Entries => entries(&at, &tile).await?,
        TileKind::Hashes { .. } => hashes(&at, &tile).await?,
    };
    let headers = [
        (header::CONTENT_TYPE, "application/octet-stream"),
        (header::CACHE_CONTROL, "no-store"),
    ];
    Ok((headers, bytes).into_response())
}

async fn entries(at: &Connection, tile: &Tile) -> Result<Vec<u8>, Problem> {
    let width = usize::from(tile.width());
    let range = at
        .authority
        .ports()
        .log
        .entries(tile.first(), width)
        .await?;
    if range.entries.len() < width {
        return Err(not_yet());
    }
    entry_bundle(range.entries.iter().map(Vec::as_slice))
        .map_err(|why| Problem::unknown(why.to_string()))
}

async fn hashes(at: &Connection, tile: &Tile) -> Result<Vec<u8>, Problem> {
    let ids: Vec<NodeId> = tile.nodes().collect();
    let found = at.authority.ports().log.nodes(&ids).await?;
    let hashes: Option<Vec<[u8; 32]>> = ids.iter().map(|id| found.get(id).copied()).collect();
    Ok(hashes.ok_or_else(not_yet)?.concat())
}

fn not_yet() -> Problem {
    Problem::unknown("the log has no such tile yet")
}
