//! What an agent brings that wants a gateway to exchange for it: `Authorization: DPoP|Bearer <SVID>`, one
//! `Txn-Token`, and beside a bound SVID a proof with `ath` and `tth`.

use http::{HeaderMap, StatusCode};
use mandate_model::stop::{Lineage, Shown as ShownToken, StopSet, Stopped};
use mandate_model::{ActorLevel, TaskId};
use mandate_token::{Audience, Expect, JwtSvid, SignedClaims, TaskToken, Verified};

use super::super::authenticate::{Scheme, Shown, shown};
use super::super::front::Front;
use super::super::proof::{Asking, Beside, DPOP};
use super::super::refusal::Refusal;
use crate::snapshot::Snapshot;

/// An SVID for gateways and a task token whose signatures, issuer, audiences and times hold, and the proof
/// of the SVID's key, which was shown for the first time.
pub(in crate::http) struct Brought<'h> {
    pub(super) svid_text: &'h str,
    pub(super) task_text: &'h str,
    pub(super) proof: Option<&'h str>,
    pub(in crate::http) pair: Pair,
}

/// The two tokens, verified: what an access token that was got for them stands and falls with.
#[derive(Clone)]
pub(in crate::http) struct Pair {
    pub(in crate::http) svid: Verified<JwtSvid>,
    pub(in crate::http) task: Verified<TaskToken>,
}

/// The task token of a request, if it brings one (draft-ietf-oauth-transaction-tokens-10, "Txn-Token HTTP
/// Header"): one field with one value.
pub(super) fn task_token(headers: &HeaderMap) -> Result<Option<&str>, Refusal> {
    let mut fields = headers.get_all(TXN_TOKEN).iter();
    let (Some(field), None) = (fields.next(), fields.next()) else {
        return if headers.contains_key(TXN_TOKEN) {
            Err(NOT_ONE)
        } else {
            Ok(None)
        };
    };
    let text = field.to_str().map_err(|_| NOT_ONE)?;
    let one = !text.is_empty() && !text.contains([',', ' ']);
    one.then_some(Some(text)).ok_or(NOT_ONE)
}

/// Verifies what comes with the task token `task`. What is cheap comes first, as for an access token.
pub(super) fn verify<'h>(
    front: &Front,
    snapshot: &Snapshot,
    headers: &'h HeaderMap,
    task: &'h str,
    asking: &Asking<'_>,
    signed: &SignedClaims<JwtSvid>,
) -> Result<Brought<'h>, Refusal> {
    let Shown { scheme, token } = shown(headers)?;
    let fresh = match scheme {
        Scheme::Bearer => None,
        Scheme::Dpop => Some(front.proofs.fresh(headers, asking.boot)?),
    };
    let svid = verified_svid(snapshot, asking, signed)?;
    let task_token = verified_task(front, snapshot, task, asking)?;
    let proof = match (svid.claims().confirmation, fresh) {
        (None, None) => None,
        (None, Some(_)) => return Err(Refusal::Unbound),
        (Some(_), None) => return Err(Refusal::NoProof),
        (Some(bound), Some(fresh)) => {
            // A certificate proves nothing here.
            let bound_to = bound.jkt().ok_or(Refusal::OtherKey)?;
            let beside = Beside {
                token,
                task: Some(task),
                bound_to,
                agent: &svid.claims().agent,
            };
            front.proofs.check(fresh, asking, &beside)?;
            let text = headers.get(DPOP).and_then(|value| value.to_str().ok());
            Some(text.ok_or(Refusal::NoProof)?)
        }
    };
    Ok(Brought {
        svid_text: token,
        task_text: task,
        proof,
        pair: Pair {
            svid,
            task: task_token,
        },
    })
}

/// A4: an SVID for gateways has their SPIFFE ID for its audience, and is none for the token endpoint.
fn verified_svid(
    snapshot: &Snapshot,
    asking: &Asking<'_>,
    signed: &SignedClaims<JwtSvid>,
) -> Result<Verified<JwtSvid>, Refusal> {
    let gateways = snapshot.trust_domain.gateways();
    let audience = Audience::parse(gateways.as_str()).map_err(|_| NO_AUDIENCE)?;
    let expect = Expect {
        issuer: &snapshot.issuer,
        audience: &audience,
    };
    signed.check(&expect, asking.now).map_err(Refusal::Token)
}

pub(super) fn verified_task(
    front: &Front,
    snapshot: &Snapshot,
    token: &str,
    asking: &Asking<'_>,
) -> Result<Verified<TaskToken>, Refusal> {
    let signed = front.exchanges.tasks.signed(token, snapshot)?;
    let audience = Audience::parse(&snapshot.trust_domain.id()).map_err(|_| NO_AUDIENCE)?;
    let expect = Expect {
        issuer: &snapshot.issuer,
        audience: &audience,
    };
    signed.check(&expect, asking.now).map_err(Refusal::Token)
}

impl Brought<'_> {
    /// What no upstream is to see.
    pub(super) fn shown(&self) -> [&str; 2] {
        [self.svid_text, self.task_text]
    }

    /// Whose it is: what is kept for agents is shared out among them.
    pub(super) fn owner(&self) -> ActorLevel {
        self.pair.svid.claims().agent.clone()
    }

    pub(super) fn task(&self) -> TaskId {
        self.pair.task.claims().path.leaf()
    }
}

impl Pair {
    /// Whether neither of the two tokens is stopped: revoked, signed by a suspended key, bound to a key that
    /// was replaced, issued before a resumption.
    pub(in crate::http) fn check_stops(&self, stops: &StopSet) -> Result<(), Stopped> {
        let svid = self.svid.claims();
        let holder = svid.confirmation.and_then(|bound| bound.jkt());
        stops.check(&Lineage {
            actors: std::slice::from_ref(&svid.agent),
            holder: holder.as_ref(),
            keys: std::slice::from_ref(self.svid.signed_by()),
            token: Some(ShownToken {
                id: svid.id,
                stops: svid.stops,
            }),
            ..Lineage::NONE
        })?;
        check_task_stops(&self.task, stops)
    }
}

/// Whether a task token is not stopped: its task and those above it, who delegated it, who may use it, itself.
pub(in crate::http) fn check_task_stops(
    verified: &Verified<TaskToken>,
    stops: &StopSet,
) -> Result<(), Stopped> {
    let task = verified.claims();
    let path: Vec<TaskId> = task.path.iter().collect();
    stops.check(&Lineage {
        actors: task.act.levels(),
        path: &path,
        principal: Some(&task.principal),
        trigger_provider: task.trigger.provider.as_ref(),
        keys: std::slice::from_ref(verified.signed_by()),
        recipient: Some(&task.may_act.sub),
        token: Some(ShownToken {
            id: task.id,
            stops: task.stops,
        }),
        ..Lineage::NONE
    })
}

pub(super) const TXN_TOKEN: &str = "txn-token";
const NOT_ONE: Refusal = Refusal::Request {
    status: StatusCode::BAD_REQUEST,
    rule: "request.txn_token",
    detail: "`Txn-Token` is one field with one task token",
};
const NO_AUDIENCE: Refusal = Refusal::NotNow {
    rule: "gateway.not_ready",
    detail: "the trust domain makes no audience",
};
