//! Access tokens that this gateway gets for agents (A9).
//!
//! An agent that brings a JWT-SVID and a task token is decided as if it had exchanged them itself: for
//! the access token that the authority gives for the two and the server workload. It is bound to this
//! gateway's key and stays here; nobody is shown it.

mod ask;
mod brought;
mod handed;
mod kept;
mod refused;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use mandate_decide::enforce::{
    Classified, Denial, Facts, GivenTask, Pending, RequestHead, Right, as_field, check_token_stops,
    with_restored,
};
use mandate_model::stop::Stopped;
use mandate_model::{Effect, Secret, Timestamp};
use mandate_policy::Bundle;
use mandate_policy::decl::ServerWorkload;
use mandate_token::{AccessToken, JwtSvid, SignedClaims, TaskToken, Verified};

use super::attributes::{self, Announced};
use super::authenticate::{self, TokenCache};
use super::bindings::{Owner, Session};
use super::front::Front;
use super::headers;
use super::holder::Holder;
use super::proof::Asking;
use super::refusal::Refusal;
use super::refused::Refused;

use super::upgrade::{self, Upgrade};
use crate::body::{AnyBody, full};
use crate::snapshot::Snapshot;

pub(crate) use ask::{Asker, AskerParts};
pub(super) use brought::{Brought, Pair, check_task_stops};
use handed::Handed;
use kept::{Kept, Key};
pub(crate) use refused::ExchangeRefusal;

/// Gets access tokens for agents, and keeps those that may be used again.
pub(crate) struct Exchanges {
    asker: Asker,
    kept: Kept,
    svids: TokenCache<JwtSvid>,
    tasks: TokenCache<TaskToken>,
}

/// Who asks. Of what was brought, the access token is still to be got: only for a request that is an action.
pub(super) enum Authenticated<'h> {
    /// By an access token.
    Access {
        token: Verified<AccessToken>,
        text: &'h str,
        /// The task token of the agent that is called.
        handed: Option<Handed<'h>>,
    },
    /// By a JWT-SVID and a task token (A9).
    Brought(Brought<'h>),
}

/// Who asks, and the access token by which it is decided.
pub(super) struct Caller<'h> {
    token: Verified<AccessToken>,
    text: Text<'h>,
    /// What the agent showed, where this gateway exchanged for it.
    brought: Option<Pair>,
    session: Session,
    brought_back: BroughtBack,
    /// The task token of the agent that is called, which it delegated to it.
    handed: Option<Handed<'h>>,
}

/// What an MCP server gave an agent to bring back, and the agent has brought.
#[derive(Default)]
struct BroughtBack {
    state: Option<String>,
    tasks: Vec<GivenTask>,
}

enum Text<'h> {
    Shown(&'h str),
    Got(Arc<Secret<String>>),
}

/// An access token that the authority gave for an agent.
#[derive(Clone)]
pub(super) struct Got {
    text: Arc<Secret<String>>,
    token: Verified<AccessToken>,
}

/// What an access token is wanted for.
struct Wanted<'a> {
    brought: &'a Brought<'a>,
    server: &'a ServerWorkload,
    asking: &'a Asking<'a>,
}

/// A request that is decided on.
pub(super) struct Coming<'a, 'h> {
    pub(super) snapshot: &'a Snapshot,
    pub(super) bundle: &'a Arc<Bundle>,
    /// On which ground it may be admitted.
    pub(super) right: Right,
    pub(super) server: &'a ServerWorkload,
    pub(super) head: &'h Parts,
    /// As it came.
    pub(super) asked: &'a RequestHead<'h>,
    /// As it will be sent.
    pub(super) as_sent: &'a RequestHead<'a>,
    /// What a proof must have been made for.
    pub(super) asking: Asking<'a>,
    pub(super) body: Announced,
}

impl<'a> Coming<'a, '_> {
    /// What it is decided against at `now`, by `token`.
    pub(super) fn facts<'f>(
        &'f self,
        front: &'f Front,
        token: &'f Verified<AccessToken>,
        now: Timestamp,
    ) -> Facts<'f> {
        Facts {
            now,
            bundle: self.bundle,
            bundle_version: self.snapshot.versions.bundle,
            stops: &self.snapshot.stops,
            gateway: &front.gateway,
            right: self.right,
            server: self.server,
            token,
        }
    }
}

/// Who makes a request: by the access token that it shows, or by what it brings to get one for.
pub(super) fn authenticate<'h>(
    front: &Front,
    coming: &Coming<'_, 'h>,
    holder: &Holder,
) -> Result<Authenticated<'h>, Refusal> {
    let headers = coming.asked.headers;
    let asking = &coming.asking;
    let (signed, handed) = match (brought::task_token(headers)?, holder) {
        (task, Holder::Access(signed)) if task.is_none() || coming.server.a2a.is_some() => {
            (signed, task)
        }
        (Some(task), Holder::Svid(signed)) => {
            let brought = brought::verify(front, coming.snapshot, headers, task, asking, signed)?;
            return Ok(Authenticated::Brought(brought));
        }
        (_, Holder::Access(_)) => return Err(BESIDE_AN_ACCESS_TOKEN),
        (None, Holder::Svid(_)) => return Err(NO_TASK),
    };
    let (proofs, snapshot) = (&front.proofs, coming.snapshot);
    let server = coming.server;
    let token = authenticate::authenticate(proofs, snapshot, server, headers, asking, signed)?;
    let handed = handed.map(|task| handed::check(front, coming, task, token.claims()));
    let handed = handed.transpose()?;
    Ok(Authenticated::Access {
        token,
        text: authenticate::shown(headers)?.token,
        handed,
    })
}

impl<'h> Authenticated<'h> {
    /// That the head is one that goes on, and that nothing of what the agent showed goes with it; and the upgrade
    /// that it asks for.
    pub(super) fn check_head(
        &self,
        front: &Front,
        coming: &Coming<'_, '_>,
        pending: &Pending<'_>,
    ) -> Result<Option<Upgrade>, Refusal> {
        let assigned = coming.server.gateways.is_assigned(&front.gateway);
        if matches!(self, Authenticated::Brought(_)) && !assigned {
            return Err(Refusal::Exchange(ExchangeRefusal::Unassigned));
        }
        let (shown, sent) = (self.shown(), coming.as_sent);
        headers::keeps_tokens(&shown, sent.path_and_query, sent.headers)?;
        let action = pending
            .action()
            .and_then(|name| coming.server.actions.get(name));
        let upgrade = upgrade::of(coming.head, action, &shown)?;
        attributes::check_head(pending, sent, coming.body)?;
        Ok(upgrade)
    }

    /// What the agent showed, and no upstream is to see.
    fn shown(&self) -> Vec<&str> {
        match self {
            Authenticated::Access { text, handed, .. } => {
                let handed = handed.as_ref().map(|handed| handed.text);
                std::iter::once(*text).chain(handed).collect()
            }
            Authenticated::Brought(brought) => brought.shown().to_vec(),
        }
    }

    /// When the first of the tokens ends that the agent showed.
    pub(super) fn expires_at(&self) -> Timestamp {
        match self {
            Authenticated::Access { token, .. } => token.claims().expires_at,
            Authenticated::Brought(brought) => {
                let Pair { svid, task } = &brought.pair;
                svid.claims().expires_at.min(task.claims().expires_at)
            }
        }
    }

    fn owner(&self, server: &ServerWorkload) -> Owner {
        match self {
            Authenticated::Access { token, .. } => owner(server, token.claims()),
            Authenticated::Brought(brought) => Owner {
                server: server.name.clone(),
                agent: brought.owner().sub,
                task: brought.task(),
            },
        }
    }

    /// The record of a request of its that is refused before it is decided on.
    pub(super) fn refused(
        &self,
        front: &Front,
        coming: &Coming<'_, '_>,
        refusal: Refusal,
        classified: Option<&Classified>,
    ) -> Refused {
        match self {
            Authenticated::Brought(brought) => {
                let words = classified.map(|classified| classified.shape().to_owned());
                Refused::brought(front, coming, brought, refusal).in_words(words)
            }
            Authenticated::Access { token, .. } => {
                let facts = coming.facts(front, token, front.now());
                Refused::after_authentication(front, &facts, coming.asked, refusal, classified)
            }
        }
    }

    /// With the access token for what was `classified`, which is got where the agent brought what one is got for;
    /// and with the session of an MCP server that it names, if that is its own.
    pub(super) async fn with_token(
        self,
        front: &Front,
        coming: &Coming<'_, '_>,
        classified: &Classified,
    ) -> Result<Caller<'h>, Refused> {
        let era = classified.era();
        let owner = self.owner(coming.server);
        let refused = |why| self.refused(front, coming, why, Some(classified));
        let session = front.bindings.of(&owner, coming.asked.headers, era);
        let session = session.map_err(refused)?;
        let brought_back = BroughtBack::of(front, &owner, classified).map_err(refused)?;
        let brought = match self {
            Authenticated::Access {
                token,
                text,
                handed,
            } => {
                return Ok(Caller {
                    token,
                    text: Text::Shown(text),
                    brought: None,
                    session,
                    brought_back,
                    handed,
                });
            }
            Authenticated::Brought(brought) => brought,
        };
        let wanted = Wanted {
            brought: &brought,
            server: coming.server,
            asking: &coming.asking,
        };
        // A token for a write is good for one.
        let again = classified.effect() != Effect::Write;
        let got = front.exchanges.access_token(front, &wanted, again).await;
        // About the access token it is asked with every decision; it does not say by which tokens it was got.
        // The authority has been asked first: what it refuses it says in its own words.
        let stopped = |why| Refusal::Denied(Denial::Stopped(why));
        let standing = |got| {
            let stops = &coming.snapshot.stops;
            brought
                .pair
                .check_stops(stops)
                .map(|()| got)
                .map_err(stopped)
        };
        match got.and_then(standing) {
            Ok(got) => Ok(Caller {
                token: got.token,
                text: Text::Got(got.text),
                brought: Some(brought.pair),
                session,
                brought_back,
                handed: None,
            }),
            Err(why) => {
                let refused = Refused::brought(front, coming, &brought, why);
                Err(refused.in_words(Some(classified.shape().to_owned())))
            }
        }
    }
}

impl BroughtBack {
    /// By `owner`, who must be the one that it was given to.
    fn of(front: &Front, owner: &Owner, classified: &Classified) -> Result<Self, Refusal> {
        front.bindings.check_tasks(owner, classified.tasks())?;
        Ok(Self {
            state: front.bindings.state_of(owner, classified.round())?,
            tasks: classified.tasks().to_vec(),
        })
    }

    fn is_empty(&self) -> bool {
        self.state.is_none() && self.tasks.is_empty()
    }
}

/// What an answer of an MCP server may give its agent.
pub(super) struct Given {
    owner: Owner,
    begins: bool,
    session: Session,
}

impl Given {
    /// Leaves in an answer's head what is the agent's.
    pub(super) fn put(&self, front: &Front, headers: &mut HeaderMap) {
        let session = (self.begins, &self.session);
        front.bindings.give(&self.owner, session, headers);
        // The server's own authorization server is none of the agent's: it would go and ask there.
        headers.remove(header::WWW_AUTHENTICATE);
    }
}

/// Whose a session of `server` is that is begun with `token`.
pub(super) fn owner(server: &ServerWorkload, token: &AccessToken) -> Owner {
    Owner {
        server: server.name.clone(),
        agent: token.acting.actor().sub.clone(),
        task: token.path.leaf(),
    }
}

impl Caller<'_> {
    /// What an answer may give it, if `server` is an MCP server.
    pub(super) fn of_server(
        &self,
        classified: &Classified,
        server: &ServerWorkload,
    ) -> Option<Given> {
        classified.era().map(|_| Given {
            owner: owner(server, self.token.claims()),
            begins: classified.shape() == "mcp initialize",
            session: self.session.clone(),
        })
    }

    /// The body that goes on: what an MCP server gave the agent to bring back goes as that gave it.
    pub(super) fn body(&self, (body, bytes): (AnyBody, Option<Bytes>)) -> Result<AnyBody, Refused> {
        let BroughtBack { state, tasks } = &self.brought_back;
        let Some(bytes) = bytes.filter(|_| !self.brought_back.is_empty()) else {
            return Ok(body);
        };
        let changed = with_restored(&bytes, state.as_deref(), tasks);
        let changed = changed.map_err(|_| Refused::from(UNREADABLE))?;
        Ok(full(Bytes::from(changed)))
    }

    /// Puts into an outgoing head what goes on of what an MCP server gave it, or of what it hands to an agent.
    pub(super) fn put(&self, headers: &mut HeaderMap) -> Result<(), Refusal> {
        self.session.put(headers);
        handed::put(self.handed.as_ref(), headers);
        if self.brought_back.is_empty() {
            return Ok(());
        }
        // The body has another length than the one that came.
        headers.remove(header::CONTENT_LENGTH);
        if let ([task], true) = (&*self.brought_back.tasks, headers.contains_key(MCP_NAME)) {
            let name = HeaderValue::from_str(&as_field(task.id())).map_err(|_| UNREADABLE)?;
            headers.insert(MCP_NAME, name);
        }
        Ok(())
    }

    /// The access token's claims.
    pub(super) fn token(&self) -> &Verified<AccessToken> {
        &self.token
    }

    /// The access token, for the authority alone.
    pub(super) fn text(&self) -> &str {
        match &self.text {
            Text::Shown(text) => text,
            Text::Got(text) => text.expose(),
        }
    }

    /// The task token that it hands to the agent which it calls.
    pub(super) fn handed(&self) -> Option<&Verified<TaskToken>> {
        self.handed.as_ref().map(Handed::token)
    }

    /// The tokens that the agent brought.
    pub(super) fn brought(&self) -> Option<&Pair> {
        self.brought.as_ref()
    }
}

impl Exchanges {
    pub(crate) fn new(asker: Asker) -> Self {
        Self {
            asker,
            kept: Kept::new(MOST, MOST_OF_ONE),
            svids: TokenCache::new(),
            tasks: TokenCache::new(),
        }
    }

    /// The claims of the JWT-SVID `token`, if a key of ours signed it.
    pub(super) fn svid(
        &self,
        token: &str,
        snapshot: &Snapshot,
    ) -> Result<SignedClaims<JwtSvid>, Refusal> {
        self.svids.signed(token, snapshot)
    }

    /// The access token for what is `wanted`; one that was got before, if it may be used `again`. Nobody
    /// waits for longer than it takes to ask, however many want the same of an authority that is silent.
    async fn access_token(
        &self,
        front: &Front,
        wanted: &Wanted<'_>,
        again: bool,
    ) -> Result<Got, Refusal> {
        if !again {
            return self.asker.ask(front, wanted).await;
        }
        let had = tokio::time::timeout(WAIT, self.kept_or_asked(front, wanted)).await;
        had.unwrap_or(Err(Refusal::Exchange(ExchangeRefusal::NoAnswer)))
    }

    /// Of several that want the same at once, one asks.
    async fn kept_or_asked(&self, front: &Front, wanted: &Wanted<'_>) -> Result<Got, Refusal> {
        let (key, owner) = (Key::of(wanted), wanted.brought.owner());
        for _ in 0..TRIES {
            let place = self.kept.place(&owner, &key);
            let mut own = false;
            let asked = place.get_or_try_init(|| {
                own = true;
                self.asker.ask(front, wanted)
            });
            let got = match asked.await {
                Ok(got) => got.clone(),
                Err(why) => {
                    // What came to nothing keeps no place. Whoever waits for it asks anew.
                    self.kept.forget(&key, &place);
                    return Err(why);
                }
            };
            let standing = got.standing(front)?;
            if standing != Standing::Good {
                self.kept.forget(&key, &place);
            }
            if own || standing != Standing::Over {
                return Ok(got);
            }
        }
        self.asker.ask(front, wanted).await
    }

    /// Forgets what nobody may use any more.
    pub(crate) fn tidy(&self, front: &Front) {
        let good = |got: &Got| matches!(got.standing(front), Ok(Standing::Good));
        self.kept.retain(good);
    }
}

/// Whether a token that was got before may be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    /// As often as somebody asks.
    Good,
    /// Something about it is suspended. The decision says so and records it; then it is forgotten.
    Stopped,
    /// It is used up, void or about to expire: another one may be had.
    Over,
}

impl Got {
    fn standing(&self, front: &Front) -> Result<Standing, Refusal> {
        let snapshot = front.snapshot()?;
        let claims = self.token.claims();
        let ends = claims.expires_at <= front.now().plus(MARGIN);
        let known = snapshot
            .keys
            .iter()
            .any(|(id, _, _)| id == self.token.signed_by());
        if ends || claims.uses.is_some() || !known {
            return Ok(Standing::Over);
        }
        let Some(server) = claims.server() else {
            return Ok(Standing::Over);
        };
        // Whether an agent that is called is suspended, each decision asks.
        let server = (server, None);
        let stops = check_token_stops(&self.token, server, &front.gateway, &snapshot.stops);
        Ok(match stops {
            Ok(()) => Standing::Good,
            Err(Stopped::Suspended(_)) => Standing::Stopped,
            Err(_) => Standing::Over,
        })
    }
}

/// A little longer than asking may take.
const WAIT: Duration = Duration::from_secs(6);
/// Of one that expires sooner another one is got.
const MARGIN: Duration = Duration::from_secs(5);
/// One that has ended meanwhile is got anew, and that once more.
const TRIES: usize = 2;
/// Some megabytes.
const MOST: usize = 4096;
/// Of one instance.
const MOST_OF_ONE: usize = 256;
const MCP_NAME: &str = "mcp-name";
const BESIDE_AN_ACCESS_TOKEN: Refusal = Refusal::Request {
    status: StatusCode::BAD_REQUEST,
    rule: "request.txn_token",
    detail: "an access token names its task itself: send it without `Txn-Token`, or a JWT-SVID for gateways with it",
};
const NO_TASK: Refusal = Refusal::Request {
    status: StatusCode::UNAUTHORIZED,
    rule: "token.invalid",
    detail: "a JWT-SVID is no access token: exchange it for one, or send it with its task token in `Txn-Token`",
};
const UNREADABLE: Refusal = Refusal::Body {
    status: StatusCode::BAD_REQUEST,
    detail: "the message cannot be read in one way",
};
