//! An admitted access, as it is decided again.

use http::{HeaderMap, HeaderName, HeaderValue};
use mandate_decide::enforce::{Classified, Facts, Right, recheck};
use mandate_model::{GatewayId, ServerName, TaskId, Timestamp};
use mandate_policy::decl::{LeaseLoss, ServerWorkload};
use mandate_token::{AccessToken, Verified};

use super::front::Front;
use super::refusal::Refusal;
use crate::admission::{Admission, Cut, Standing};
use crate::snapshot::Snapshot;

/// What an access was decided on.
pub(super) struct Access {
    gateway: GatewayId,
    server: ServerName,
    token: Verified<AccessToken>,
    classified: Classified,
}

impl Access {
    pub(super) fn new(
        front: &Front,
        server: &ServerWorkload,
        token: &Verified<AccessToken>,
        classified: &Classified,
    ) -> Self {
        Self {
            gateway: front.gateway.clone(),
            server: server.name.clone(),
            token: token.clone(),
            classified: classified.clone(),
        }
    }
}

impl Standing for Access {
    fn stands(&self, snapshot: &Snapshot, now: Timestamp) -> Result<LeaseLoss, Cut> {
        let signed_by = self.token.signed_by();
        if !snapshot.keys.iter().any(|(id, _, _)| id == signed_by) {
            return Err(Cut::new(
                "token.key",
                "the key that signed the token is gone",
            ));
        }
        let server = snapshot
            .bundle
            .as_deref()
            .and_then(|bundle| Some((bundle, bundle.server(&self.server)?)));
        let Some((bundle, server)) = server else {
            return Err(Cut::new("request.no_server", "the server workload is gone"));
        };
        let facts = Facts {
            now,
            bundle,
            bundle_version: snapshot.versions.bundle,
            stops: &snapshot.stops,
            gateway: &self.gateway,
            // For records alone, and none is made of this.
            right: Right::Leased,
            server,
            token: &self.token,
        };
        recheck(&facts, &self.classified)
            .map(|()| server.lease_loss)
            .map_err(|why| Cut::new(why.rule(), why.to_string()))
    }

    fn task(&self) -> Option<TaskId> {
        Some(self.token.claims().path.leaf())
    }
}

/// Tells the upstream for which task it works, where the bundle says so.
pub(super) fn pass_task_id(
    server: &ServerWorkload,
    access: &Admission,
    headers: &mut HeaderMap,
) -> Result<(), Refusal> {
    let (Some(name), Some(task)) = (&server.http.pass_task_id, access.task()) else {
        return Ok(());
    };
    let unusable = || Refusal::NotNow {
        rule: "upstream.header",
        detail: "the header that carries the task's id cannot be written",
    };
    let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| unusable())?;
    let value = HeaderValue::from_str(&task.to_string()).map_err(|_| unusable())?;
    headers.insert(name, value);
    Ok(())
}

/// The trace id of a well-formed `traceparent` (W3C Trace Context §3.2).
pub(super) fn trace_of(headers: &HeaderMap) -> Option<String> {
    let text = headers.get("traceparent")?.to_str().ok()?;
    let trace = text.split('-').nth(1)?;
    let hex = trace
        .bytes()
        .all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    (trace.len() == 32 && hex).then(|| trace.to_owned())
}
