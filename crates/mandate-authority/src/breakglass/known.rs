//! Whether there is what a suspension names: a name that is wrong by a letter stops nobody.

use mandate_audit::Event;
use mandate_model::stop::Subject;
use mandate_model::{BundleVersion, Principal, SpiffeId};
use mandate_policy::Bundle;
use mandate_ports::{Search, StoreError};

use super::LOG_TIMEOUT;
use crate::Authority;

/// Whether the live bundle, the store, the log's last records or the key set has the subject. What
/// cannot be told counts as known.
pub(super) async fn is_known(authority: &Authority, subject: &Subject) -> bool {
    let looked = tokio::time::timeout(LOG_TIMEOUT, look(authority, subject)).await;
    !matches!(looked, Ok(Ok(false)))
}

async fn look(authority: &Authority, subject: &Subject) -> Result<bool, StoreError> {
    let world = authority.world();
    let declared = |has: &dyn Fn(&Bundle) -> bool| world.bundle().is_none_or(|l| has(&l.bundle));
    Ok(match subject {
        Subject::Agent { id } => declared(&|b| b.agent_by_id(id).is_some()),
        Subject::Server { name } => declared(&|b| b.server(name).is_some()),
        Subject::Provider { name } => declared(&|b| b.provider(name).is_some()),
        Subject::Task { id } => authority.ports().state.task(*id).await?.is_some(),
        Subject::Key { id } => world.keys.all.iter().any(|key| key.id == *id),
        Subject::Gateway { id } => {
            let view = authority.gateways().view(authority.boot());
            view.iter().any(|gateway| gateway.id == *id)
        }
        Subject::Instance { provider, id } => {
            let is_it = |event: &Event| {
                let mut levels = event.actors.iter();
                levels.any(|level| level.prv == *provider && level.inst == *id)
            };
            found(authority, "attested", is_it).await?
        }
        Subject::Principal { id } => {
            let declares = |b: &Bundle| match id {
                Principal::Operator(name) => b.operators().any(|o| o.name == *name),
                Principal::Agent(agent) => b.agent_by_id(agent).is_some(),
                Principal::User { .. } => false,
            };
            let is_theirs = |event: &Event| event.principal.as_ref() == Some(id);
            declared(&declares) || found(authority, "task_opened", is_theirs).await?
        }
        Subject::Everything => true,
    })
}

/// Whether one of the log's last records of `kind` is one. With more records than are looked at, or a
/// log that is damaged, it cannot be told, and counts as one.
async fn found(
    authority: &Authority,
    kind: &str,
    is_one: impl Fn(&Event) -> bool,
) -> Result<bool, StoreError> {
    let search = Search {
        kind: Some(kind.to_owned()),
        limit: LOOKED_AT,
        ..Search::default()
    };
    let found = authority.ports().log.search(&search).await?;
    let mut events = found
        .records
        .iter()
        .filter_map(|(_, bytes)| Event::parse(bytes).ok());
    let is_cut_off = found.records.len() >= LOOKED_AT || !found.damaged.is_empty();
    Ok(is_cut_off || events.any(|event| is_one(&event)))
}

/// Whether any bundle that was ever live declared the agent type. A bundle that cannot be read may have.
pub(crate) async fn was_ever_declared(
    authority: &Authority,
    agent: &SpiffeId,
) -> Result<bool, StoreError> {
    let live = authority.world().live.version().get();
    if live > VERSIONS_LOOKED_AT {
        return Ok(true);
    }
    for version in 1..=live {
        let version = BundleVersion::new(version);
        let Some((_, record)) = authority.ports().state.bundle(Some(version)).await? else {
            return Ok(true);
        };
        let compiled = authority.compiler().applied(&record, authority.config());
        match compiled.await {
            Ok(Ok(bundle)) if bundle.agent_by_id(agent).is_none() => {}
            Ok(Ok(_) | Err(_)) | Err(_) => return Ok(true),
        }
    }
    Ok(false)
}

const LOOKED_AT: usize = 10_000;
const VERSIONS_LOOKED_AT: u64 = 500;
