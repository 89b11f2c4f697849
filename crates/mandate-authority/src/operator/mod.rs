//! The operators' doors: people of this machine, named by the kernel, and people elsewhere, whom an
//! OpenID provider vouched for. Both are permitted by policy.

mod bundle;
mod caller;
mod gateways;
mod keys;
mod log;
mod login;
mod open;
mod person;
mod query;
mod remote;
mod resume;
mod rights;
mod session;
mod status;
mod suspend;
mod tasks;
mod tiles;
mod tokens;

use axum::Router;
use axum::routing::{get, post};

use crate::listen::Connection;
use crate::problem::Problem;

pub(crate) use bundle::{__path_apply, __path_back, __path_check, __path_show};
pub(crate) use gateways::__path_accept_epoch;
pub(crate) use keys::{__path_list, __path_rotate};
pub(crate) use log::{__path_consistency, __path_entries, __path_inclusion, __path_search};
pub(crate) use login::{__path_begin, __path_providers};
pub(crate) use open::__path_open;
pub(crate) use remote::router as remote;
pub(crate) use resume::__path_resume;
pub(crate) use session::__path_end;
pub(crate) use status::__path_status;
pub(crate) use suspend::{__path_suspend, __path_suspensions};
pub(crate) use tasks::{__path_cancel, __path_task};
pub(crate) use tiles::{__path_checkpoint, __path_tile};
pub(crate) use tokens::__path_revoke_token;

/// The routes of the operators' socket, and nothing else.
pub(crate) fn router() -> Router<Connection> {
    Router::new()
        .route("/operator/v1/status", get(status::status))
        .route("/operator/v1/suspend", post(suspend::suspend))
        .route("/operator/v1/resume", post(resume::resume))
        .route("/operator/v1/suspensions", get(suspend::suspensions))
        .route("/operator/v1/bundle", get(bundle::show))
        .route("/operator/v1/bundle/check", post(bundle::check))
        .route("/operator/v1/bundle/apply", post(bundle::apply))
        .route("/operator/v1/bundle/back", post(bundle::back))
        .route("/operator/v1/tasks", post(open::open))
        .route("/operator/v1/tasks/{id}", get(tasks::task))
        .route("/operator/v1/tasks/{id}/cancel", post(tasks::cancel))
        .route(
            "/operator/v1/tokens/{id}/revoke",
            post(tokens::revoke_token),
        )
        .route("/operator/v1/log/search", get(log::search))
        .route("/operator/v1/log/entries", get(log::entries))
        .route("/operator/v1/log/proof", get(log::inclusion))
        .route("/operator/v1/log/consistency", get(log::consistency))
        .route("/operator/v1/keys", get(keys::list))
        .route("/operator/v1/keys/rotate", post(keys::rotate))
        .route(
            "/operator/v1/gateways/accept-epoch",
            post(gateways::accept_epoch),
        )
        .route("/log/checkpoint", get(tiles::checkpoint))
        .route("/log/tile/{*path}", get(tiles::tile))
        .fallback(|| async { Problem::unknown("no such path") })
}

/// The largest body: a bundle.
const MAX_BODY: usize = 32 * 1024 * 1024;
