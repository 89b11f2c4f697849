//! What gateways may still let happen that go on without a lease, and until when (B3). Why it is so:
//! `docs/control-stream.md`, "Going on without a lease".

use std::collections::BTreeSet;
use std::time::Duration;

use mandate_model::stop::Subject;
use mandate_model::{BundleVersion, GatewayId, ServerName, StopVersion, Timestamp};
use mandate_policy::Bundle;
use mandate_policy::decl::LeaseLoss;
use mandate_ports::BundleRecord;
use mandate_token::FUTURE_LEEWAY;

use super::{LOG_TIMEOUT, impact};
use crate::Authority;
use crate::gateways::Silent;
use crate::world::Live;

/// What stands between a suspension and "effective".
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct GoingOn {
    /// How many gateways may go on.
    pub(super) gateways: u64,
    /// For which server workloads; for any, if there are none.
    pub(super) servers: Vec<ServerName>,
    /// Until when; `None` where that is not bounded.
    pub(super) until: Option<Timestamp>,
}

/// Server workloads for which a gateway may go on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Servers {
    These(BTreeSet<ServerName>),
    /// It cannot be told.
    Any,
}

impl Servers {
    pub(super) fn may_be(&self, server: Option<&ServerName>) -> bool {
        match (self, server) {
            (Servers::Any, _) | (Servers::These(_), None) => true,
            (Servers::These(these), Some(server)) => these.contains(server),
        }
    }
}

/// What may go on under `subject`, which was suspended as `version` and not later than
/// `committed_at`; `None` if nothing does any more.
pub(super) async fn under(
    authority: &Authority,
    subject: &Subject,
    version: StopVersion,
    committed_at: Timestamp,
) -> Option<GoingOn> {
    let silent = authority.gateways().silent(version);
    if silent.gateways.is_empty() {
        return None;
    }
    let declared = tokio::time::timeout(LOG_TIMEOUT, declared(authority, silent.bundle)).await;
    let reach = reach(subject, &silent, declared.unwrap_or(Servers::Any))?;
    let until = if reach.bounded {
        let now = authority.now();
        let latest = impact::latest_access(authority, subject, &reach.servers, now.minus(LEEWAY));
        let latest = tokio::time::timeout(LOG_TIMEOUT, latest).await;
        let longest = authority.config().lifetimes.access;
        let latest = match latest {
            Ok(Ok(latest)) => latest,
            // Nothing was issued after the commit.
            Ok(Err(_)) | Err(_) => Some(committed_at.plus(longest)),
        };
        Some(still(latest, authority.now())?)
    } else {
        None
    };
    Some(GoingOn {
        gateways: u64::try_from(reach.gateways).unwrap_or(u64::MAX),
        servers: match reach.servers {
            Servers::These(these) => these.into_iter().collect(),
            Servers::Any => Vec::new(),
        },
        until,
    })
}

/// When the last token is good nowhere any more; `None` if that was before `now`.
fn still(latest: Option<Timestamp>, now: Timestamp) -> Option<Timestamp> {
    latest
        .map(|expires_at| expires_at.plus(LEEWAY))
        .filter(|until| *until > now)
}

#[derive(Debug, PartialEq, Eq)]
struct Reach {
    gateways: usize,
    servers: Servers,
    /// Whether the suspension voids the tokens that could still be used.
    bounded: bool,
}

/// What of all that may go on the suspension of `subject` is about. Pure.
fn reach(subject: &Subject, silent: &Silent, declared: Servers) -> Option<Reach> {
    if declared == Servers::These(BTreeSet::new()) {
        return None;
    }
    let all = silent.gateways.len();
    let reach = |gateways, servers, bounded| {
        Some(Reach {
            gateways,
            servers,
            bounded,
        })
    };
    match subject {
        Subject::Gateway { id } => {
            let concerned = silent
                .gateways
                .iter()
                .any(|silent: &GatewayId| silent == id);
            concerned.then(|| reach(1, declared, false)).flatten()
        }
        Subject::Server { name } => {
            let concerned = declared.may_be(Some(name));
            let only = Servers::These([name.clone()].into());
            concerned.then(|| reach(all, only, true)).flatten()
        }
        Subject::Agent { .. }
        | Subject::Instance { .. }
        | Subject::Task { .. }
        | Subject::Principal { .. }
        | Subject::Provider { .. }
        | Subject::Key { .. }
        | Subject::Everything => reach(all, declared, true),
    }
}

/// Server workloads that go on by the live bundle or by one since `oldest`: whichever a silent
/// gateway has applied last.
async fn declared(authority: &Authority, oldest: BundleVersion) -> Servers {
    let world = authority.world();
    let mut all = match &world.live {
        Live::None => BTreeSet::new(),
        Live::Good(live) => going_on_in(&live.bundle),
        Live::Broken { .. } => return Servers::Any,
    };
    for version in oldest.get().max(1)..world.live.version().get() {
        let version = Some(BundleVersion::new(version));
        let Ok(Some((_, record))) = authority.ports().state.bundle(version).await else {
            return Servers::Any;
        };
        match declared_in(authority, &record).await {
            Servers::These(these) => all.extend(these),
            Servers::Any => return Servers::Any,
        }
    }
    Servers::These(all)
}

fn going_on_in(bundle: &Bundle) -> BTreeSet<ServerName> {
    let servers = bundle.servers();
    let goes_on = servers.filter(|server| server.lease_loss == LeaseLoss::Continue);
    goes_on.map(|server| server.name.clone()).collect()
}

async fn declared_in(authority: &Authority, record: &BundleRecord) -> Servers {
    // Most bundles do not have the word, and need not be compiled. In YAML it could also be written with
    // escapes, which begin with a backslash.
    let may_say = |(_, text): &(String, String)| text.contains('\\') || text.contains(FIELD);
    if !record.files.iter().any(may_say) {
        return Servers::These(BTreeSet::new());
    }
    let compiled = authority.compiler().applied(record, authority.config());
    match compiled.await {
        Ok(Ok(bundle)) => Servers::These(going_on_in(&bundle)),
        Ok(Err(_)) | Err(_) => Servers::Any,
    }
}

const FIELD: &str = "leaseLoss";
/// By how much a gateway's clock may be behind ours while it goes on: clocks of one authority differ by
/// what verifying allows for, and one that goes on does not notice a second.
const LEEWAY: Duration = FUTURE_LEEWAY.saturating_add(Duration::from_secs(1));

#[cfg(test)]
mod tests {
    use super::*;

    fn name(name: &str) -> ServerName {
        ServerName::parse(name).unwrap()
    }

    fn these(names: &[&str]) -> Servers {
        Servers::These(names.iter().map(|n| name(n)).collect())
    }

    fn silent() -> Silent {
        let id = |name: &str| GatewayId::parse(name).unwrap();
        Silent {
            gateways: [id("g-1"), id("g-2")].into(),
            bundle: BundleVersion::new(1),
        }
    }

    #[test]
    fn where_nothing_goes_on_a_silent_gateway_is_nothing_to_wait_for() {
        assert_eq!(reach(&Subject::Everything, &silent(), these(&[])), None);
    }

    #[test]
    fn what_goes_on_concerns_a_suspension_as_far_as_its_subject_reaches() {
        let server = |n: &str| Subject::Server { name: name(n) };
        let gateway = |n: &str| Subject::Gateway {
            id: GatewayId::parse(n).unwrap(),
        };
        let of = |gateways, servers, bounded| {
            Some(Reach {
                gateways,
                servers,
                bounded,
            })
        };
        for (subject, declared, expected) in [
            (
                Subject::Everything,
                these(&["a", "b"]),
                of(2, these(&["a", "b"]), true),
            ),
            (Subject::Everything, Servers::Any, of(2, Servers::Any, true)),
            (server("a"), these(&["a", "b"]), of(2, these(&["a"]), true)),
            (server("c"), these(&["a", "b"]), None),
            (server("c"), Servers::Any, of(2, these(&["c"]), true)),
            (gateway("g-1"), these(&["a"]), of(1, these(&["a"]), false)),
            (gateway("g-3"), these(&["a"]), None),
        ] {
            assert_eq!(reach(&subject, &silent(), declared), expected, "{subject}");
        }
    }

    #[test]
    fn a_token_may_be_good_somewhere_for_the_leeway_of_clocks_after_its_end() {
        let at = Timestamp::from_secs;
        assert_eq!(still(None, at(100)), None);
        assert_eq!(still(Some(at(100)), at(105)), Some(at(106)));
        assert_eq!(still(Some(at(100)), at(106)), None);
    }
}
