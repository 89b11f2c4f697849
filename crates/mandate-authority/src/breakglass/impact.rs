//! What a suspension hit, as far as the log's last minutes tell.

use std::collections::{BTreeMap, BTreeSet};

use mandate_audit::{Event, What};
use mandate_model::stop::{Lineage, Resumption, Shown, StopSet, Subject, Suspension};
use mandate_model::{KeyId, OperatorName, Principal, ServerName, StopVersion, TaskId, Timestamp};
use mandate_ports::{Search, StoreError};

use super::LOG_TIMEOUT;
use super::going_on::Servers;
use crate::Authority;

/// Figures of a suspension's reach.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, utoipa::ToSchema)]
pub(crate) struct Impact {
    /// Tasks under the subject with a token that was still good.
    pub(crate) tasks_halted: u64,
    /// Tokens under the subject that had not expired, and are void.
    pub(crate) tokens_void: u64,
    /// Whether there are more than were counted.
    pub(crate) at_least: bool,
    /// Until when JWT-SVIDs of the subject, issued for audiences outside of this trust domain, are
    /// good there: nobody here can call those back.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<u64>)]
    pub(crate) valid_elsewhere_until: Option<Timestamp>,
}

/// Counts what was issued under `subject` and had not expired at `now`. `None` if the log cannot
/// be read: the figures are for people, and a suspension does not wait for them.
pub(super) async fn of(authority: &Authority, subject: &Subject, now: Timestamp) -> Option<Impact> {
    let stops = only(subject).ok()?;
    let tally = tally(authority, subject, stops, now).await.ok()?;
    let tasks_halted = tally.tasks.len() as u64;
    Some(Impact {
        tasks_halted,
        ..tally.impact
    })
}

/// Counts what a resumption left void: what was issued under its subject before, and had not expired
/// at `now`. `None` if the log cannot be read in time.
pub(crate) async fn left_void(
    authority: &Authority,
    resumption: Resumption,
    now: Timestamp,
) -> Option<Impact> {
    let subject = resumption.subject.clone();
    let stops = StopSet::new(resumption.version, [], [resumption], [], []);
    let counting = tally(authority, &subject, stops, now);
    let counted = tokio::time::timeout(LOG_TIMEOUT, counting).await.ok()?;
    Some(counted.ok()?.impact)
}

/// The latest end of an access token under `subject` for one of `servers` that has not expired at
/// `now`.
pub(super) async fn latest_access(
    authority: &Authority,
    subject: &Subject,
    servers: &Servers,
    now: Timestamp,
) -> Result<Option<Timestamp>, StoreError> {
    let mut tally = Tally::begin(authority, only(subject)?, now);
    let mut search = issued_under(authority, subject, now);
    while tally.read(authority, &mut search).await? {}
    let of_these = tally.access.iter();
    let of_these = of_these.filter(|(server, _)| servers.may_be(server.as_ref()));
    Ok(of_these.map(|(_, expires_at)| *expires_at).max())
}

async fn tally(
    authority: &Authority,
    subject: &Subject,
    stops: StopSet,
    now: Timestamp,
) -> Result<Tally, StoreError> {
    let mut tally = Tally::begin(authority, stops, now);
    let mut search = issued_under(authority, subject, now);
    for _ in 0..COUNTED / PAGE {
        if !tally.read(authority, &mut search).await? {
            return Ok(tally);
        }
    }
    tally.impact.at_least = true;
    Ok(tally)
}

/// Issuances of which a token can still be good at `now`. Asked of the store by subject only where
/// it can tell all that the subject stops: its index of agents knows the latest level alone, and a
/// suspension matches every level.
fn issued_under(authority: &Authority, subject: &Subject, now: Timestamp) -> Search {
    let longest = authority.config().lifetimes.for_agents();
    let mut search = Search {
        kind: Some("issued".to_owned()),
        since: Some(now.minus(longest)),
        limit: PAGE,
        ..Search::default()
    };
    if let Subject::Task { id } = subject {
        search.under_task = Some(*id);
    } else if let Subject::Server { name } = subject {
        search.server = Some(name.clone());
    }
    search
}

struct Tally {
    stops: StopSet,
    now: Timestamp,
    /// The audiences of this trust domain.
    here: [String; 2],
    tasks: BTreeSet<TaskId>,
    /// The latest end of an access token for each server workload.
    access: BTreeMap<Option<ServerName>, Timestamp>,
    impact: Impact,
}

impl Tally {
    fn begin(authority: &Authority, stops: StopSet, now: Timestamp) -> Self {
        let config = authority.config();
        Self {
            stops,
            now,
            here: [
                config.issuer.as_str().to_owned(),
                config.trust_domain.gateways().to_string(),
            ],
            tasks: BTreeSet::new(),
            access: BTreeMap::new(),
            impact: Impact::default(),
        }
    }

    /// Reads a page, the latest first; says whether there is another one.
    async fn read(
        &mut self,
        authority: &Authority,
        search: &mut Search,
    ) -> Result<bool, StoreError> {
        let found = authority.ports().log.search(search).await?;
        if !found.damaged.is_empty() {
            // An issuance may be what is missing: nothing is reckoned from the rest.
            let why = "what was issued of late is not as it was committed to the log";
            return Err(StoreError::Damaged(why.to_owned()));
        }
        let found = found.records;
        for (_, bytes) in &found {
            if let Ok(event) = Event::parse(bytes) {
                self.add(&event);
            }
        }
        search.before = found.last().map(|(index, _)| *index);
        Ok(found.len() >= PAGE && search.before.is_some())
    }

    fn add(&mut self, event: &Event) {
        let What::Issued {
            audience,
            expires_at,
            key,
            token_kind,
            ..
        } = &event.what
        else {
            return;
        };
        if *expires_at <= self.now || !self.is_hit(event, key) {
            return;
        }
        self.tasks.extend(event.task.iter().map(|path| path.leaf()));
        if token_kind == "access" {
            let latest = self
                .access
                .entry(event.server.clone())
                .or_insert(*expires_at);
            *latest = (*latest).max(*expires_at);
        }
        if token_kind == "jwt-svid" && !self.here.contains(audience) {
            let until = self.impact.valid_elsewhere_until.max(Some(*expires_at));
            self.impact.valid_elsewhere_until = until;
        } else {
            self.impact.tokens_void += 1;
        }
    }

    fn is_hit(&self, event: &Event, key: &KeyId) -> bool {
        let path: Vec<TaskId> = event.task.iter().flat_map(|path| path.iter()).collect();
        let issued = event.token.zip(event.stops);
        let lineage = Lineage {
            actors: &event.actors,
            path: &path,
            principal: event.principal.as_ref(),
            trigger_provider: event.trigger.as_ref().and_then(|t| t.provider.as_ref()),
            server: event.server.as_ref(),
            gateway: event.gateway.as_ref(),
            keys: std::slice::from_ref(key),
            recipient: None,
            operates: false,
            token: issued.map(|(id, stops)| Shown { id, stops }),
            holder: None,
        };
        self.stops.check(&lineage).is_err()
    }
}

/// A set of stops with nothing but `subject`.
fn only(subject: &Subject) -> Result<StopSet, StoreError> {
    let operator =
        OperatorName::parse("mandate").map_err(|why| StoreError::Unavailable(why.to_string()))?;
    let suspension = Suspension {
        subject: subject.clone(),
        reason: String::new(),
        operator: Principal::Operator(operator),
        version: StopVersion::default(),
        at: Timestamp::from_millis(0),
    };
    Ok(StopSet::of_suspensions(
        StopVersion::default(),
        [suspension],
    ))
}

const PAGE: usize = 1000;
const COUNTED: usize = 10_000;
