//! `POST /control/v1/ack`.

use axum::extract::{Request, State};
use http::StatusCode;
use mandate_ports::control::Acknowledgement;

use super::{MAX_BODY, OwnUser};
use crate::body;
use crate::gateways::Figures;
use crate::listen::Connection;
use crate::problem::Problem;

pub(super) async fn ack(
    State(at): State<Connection>,
    _: OwnUser,
    request: Request,
) -> Result<StatusCode, Problem> {
    let ack: Acknowledgement = body::json(request, MAX_BODY).await?;
    if ack.run != at.authority.run() {
        return Err(Problem::another_run());
    }
    let told = at.authority.world().told().stops;
    if ack.stops > told {
        let detail = format!(
            "the gateway has applied `stops` version {}, and the store is at {told}",
            ack.stops
        );
        return Err(Problem::ahead(detail));
    }
    let figures = Figures {
        cut: ack.cut,
        unknown: ack.unknown,
    };
    at.authority
        .gateways()
        .acknowledged(&ack.gateway, ack.stops, figures);
    Ok(StatusCode::NO_CONTENT)
}
