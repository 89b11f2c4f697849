//! `GET /control/v1/stream`: the whole state first, then what changes.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{RawQuery, State};
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use futures_util::stream;
use http::header;
use mandate_model::{GatewayId, StopVersion, Timestamp};
use mandate_ports::Versions;
use mandate_ports::control::{ControlMessage, PROTOCOL, PublicKeyRecord, WireStops};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::OwnUser;
use crate::Authority;
use crate::listen::Connection;
use crate::problem::Problem;
use crate::world::{PublicKey, World};

pub(super) async fn stream(
    State(at): State<Connection>,
    _: OwnUser,
    RawQuery(query): RawQuery,
) -> Result<Response, Problem> {
    let id = gateway_of(query.as_deref().unwrap_or_default())?;
    // Subscribed before the state is read: what changes in between is sent, not missed.
    let changed = at.authority.versions();
    let world = at.authority.refresh().await?;
    let feed = Feed::open(at.authority, id, &world, changed);
    let lines = stream::unfold(feed, |mut feed| async move {
        let message = feed.next().await?;
        let mut line = serde_json::to_vec(&message).ok()?;
        line.push(b'\n');
        Some((Ok::<_, Infallible>(Bytes::from(line)), feed))
    });
    let headers = [
        (header::CONTENT_TYPE, "application/x-ndjson"),
        (header::CACHE_CONTROL, "no-store"),
    ];
    Ok((headers, Body::from_stream(lines)).into_response())
}

fn gateway_of(query: &str) -> Result<GatewayId, Problem> {
    let malformed = || Problem::malformed("the query is `gateway=<id>` and nothing else");
    let id = query.strip_prefix("gateway=").ok_or_else(malformed)?;
    if id.contains(['&', '%', '+', '=']) {
        return Err(malformed());
    }
    GatewayId::parse(id).map_err(|why| Problem::malformed(why.to_string()))
}

struct Feed {
    authority: Authority,
    id: GatewayId,
    serial: u64,
    /// Another stream of the same gateway began.
    replaced: CancellationToken,
    changed: watch::Receiver<Versions>,
    opening: VecDeque<ControlMessage>,
    sent: Versions,
    /// How far the store had the stops that were sent.
    durable: StopVersion,
    quiet: Duration,
}

impl Feed {
    fn open(
        authority: Authority,
        id: GatewayId,
        world: &World,
        changed: watch::Receiver<Versions>,
    ) -> Self {
        let serial = authority.serial();
        let replaced = authority.gateways().stream(&id, serial);
        let config = authority.config();
        let hello = ControlMessage::Hello {
            protocol: PROTOCOL,
            epoch: world.versions.epoch,
            run: authority.run(),
            issuer: config.issuer.as_str().to_owned(),
            trust_domain: config.trust_domain.clone(),
        };
        let stops = stops(world, &authority);
        let opening = [hello, keys(world), bundle(world), stops].into();
        let (sent, quiet) = (world.told(), config.lease / 3);
        let durable = world.versions.stops;
        Self {
            authority,
            id,
            serial,
            replaced,
            changed,
            opening,
            sent,
            durable,
            quiet,
        }
    }

    /// The next message; `None` at the end.
    async fn next(&mut self) -> Option<ControlMessage> {
        if self.replaced.is_cancelled() || self.authority.closing().is_cancelled() {
            return None;
        }
        if let Some(message) = self.opening.pop_front() {
            return Some(message);
        }
        loop {
            if let Some(message) = self.news() {
                return Some(message);
            }
            tokio::select! {
                biased;
                () = self.replaced.cancelled() => return None,
                () = self.authority.closing().cancelled() => return None,
                changed = self.changed.changed() => changed.ok()?,
                () = tokio::time::sleep(self.quiet) => return Some(ControlMessage::Ping),
            }
        }
    }

    /// What has changed since it was last sent: stops before all else.
    fn news(&mut self) -> Option<ControlMessage> {
        let world = self.authority.world();
        let now = world.told();
        if now.epoch != self.sent.epoch {
            // Another store: the gateway must begin again, and will refuse it (B4).
            self.replaced.cancel();
            return None;
        }
        // The same stops again, once the store has them: gateways refuse a store that goes back behind what is
        // durable, and behind nothing else.
        let durable = world.versions.stops;
        if now.stops > self.sent.stops || durable > self.durable {
            (self.sent.stops, self.durable) = (now.stops, durable);
            Some(stops(&world, &self.authority))
        } else if now.keys > self.sent.keys {
            self.sent.keys = now.keys;
            Some(keys(&world))
        } else if now.bundle > self.sent.bundle {
            self.sent.bundle = now.bundle;
            Some(bundle(&world))
        } else {
            None
        }
    }
}

impl Drop for Feed {
    /// Only forgets that the stream is open: the peer's going away is known nowhere else.
    fn drop(&mut self) {
        self.authority.gateways().stream_over(&self.id, self.serial);
    }
}

/// The stops, without resumptions, ended tasks and revoked tokens that can matter to no gateway any more: the
/// store keeps them for hours, and each message is one line that every gateway reads whole.
///
/// What is left out goes by a time that no jump of a clock brings near. A gateway that missed a
/// version for so long lets nothing go on either: no access outlives its token.
fn stops(world: &World, authority: &Authority) -> ControlMessage {
    let mut told = WireStops::from(&*world.stops);
    let now = authority.steady();
    let matters = |until: Timestamp| until.plus(TOLD) >= now;
    told.resumptions.retain(|r| matters(r.until));
    told.ended.retain(|(_, until)| matters(*until));
    told.revoked.retain(|(_, until)| matters(*until));
    told.replaced_keys.retain(|(_, until)| matters(*until));
    told.undurable = u64::try_from(world.undurable).unwrap_or(u64::MAX);
    ControlMessage::Stops(told)
}

fn bundle(world: &World) -> ControlMessage {
    ControlMessage::Bundle {
        version: world.live.version(),
        files: world.live.files().to_vec(),
    }
}

fn keys(world: &World) -> ControlMessage {
    let record = |key: &PublicKey| PublicKeyRecord {
        id: key.id.clone(),
        purpose: key.purpose,
        state: key.state,
        public: URL_SAFE_NO_PAD.encode(&key.public),
    };
    let keys = world.keys.all.iter().map(record).collect();
    ControlMessage::Keys {
        version: world.versions.keys,
        keys,
    }
}

/// So long after its last token has expired an end is still told: the clocks of gateways differ.
const TOLD: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_names_one_gateway_and_nothing_else() {
        assert_eq!(gateway_of("gateway=g-1").unwrap().as_str(), "g-1");
        for bad in [
            "",
            "gateway=",
            "gateway=a&gateway=b",
            "gateway=%41",
            "id=a",
            "gateway=a&x=1",
        ] {
            assert!(gateway_of(bad).is_err(), "{bad}");
        }
    }
}
