//! An admitted access, as it is decided again.

use std::borrow::Cow;
use std::sync::Arc;

use http::{HeaderMap, HeaderName, HeaderValue, Method};
use mandate_decide::enforce::{Classified, Denial, Facts, RequestHead, Right, classify, recheck};
use mandate_model::{GatewayId, ServerName, TaskId, Timestamp};
use mandate_policy::Bundle;
use mandate_policy::decl::{LeaseLoss, RPC, ServerWorkload};
use mandate_token::{AccessToken, TaskToken, Verified};

use super::exchange::{Caller, Pair, check_task_stops};
use super::front::Front;
use super::refusal::Refusal;
use crate::admission::{Admission, Cut, Standing};
use crate::snapshot::Snapshot;

/// What an access was decided on.
pub(super) struct Access {
    gateway: GatewayId,
    /// The declarations under which it was classified, and is carried out.
    bundle: Arc<Bundle>,
    server: ServerName,
    token: Verified<AccessToken>,
    /// What the token was got for, if this gateway got it (A9).
    brought: Option<Pair>,
    /// What is handed to the agent that is called.
    handed: Option<Verified<TaskToken>>,
    request: Asked,
    classified: Classified,
}

/// What a request is classified by, but for its body, which has passed.
pub(super) struct Asked {
    pub(super) method: Method,
    pub(super) target: String,
    pub(super) headers: HeaderMap,
    /// What the connection switches to.
    pub(super) upgrade: Option<String>,
}

impl Access {
    pub(super) fn new(
        front: &Front,
        bundle: &Arc<Bundle>,
        server: &ServerWorkload,
        caller: &Caller<'_>,
        request: Asked,
        classified: &Classified,
    ) -> Self {
        Self {
            gateway: front.gateway.clone(),
            bundle: Arc::clone(bundle),
            server: server.name.clone(),
            token: caller.token().clone(),
            brought: caller.brought().cloned(),
            handed: caller.handed().cloned(),
            request,
            classified: classified.clone(),
        }
    }

    /// What the request is under `bundle`, whose word for its server workload is `server`.
    fn classified_under(
        &self,
        bundle: &Arc<Bundle>,
        server: &ServerWorkload,
    ) -> Result<Cow<'_, Classified>, Cut> {
        if Arc::ptr_eq(bundle, &self.bundle) {
            return Ok(Cow::Borrowed(&self.classified));
        }
        let before = self.bundle.server(&self.server);
        if before == Some(server) {
            return Ok(Cow::Borrowed(&self.classified));
        }
        let leads_elsewhere = before.is_none_or(|before| {
            before.upstream != server.upstream
                || before.ca != server.ca
                || before.credential != server.credential
                || before.upstream_audience != server.upstream_audience
        });
        if leads_elsewhere {
            return Err(changed(
                "its upstream or credential is declared otherwise now",
            ));
        }
        let head = RequestHead {
            method: self.request.method.as_str(),
            path_and_query: &self.request.target,
            headers: &self.request.headers,
        };
        let is_call = self.classified.shape().split(' ').next() == Some(RPC);
        if self.classified.era().is_some() || is_call {
            return self.message_under(before, server);
        }
        let again = classify(server, &head);
        let again = again
            .map_err(|why| Cut::new(Denial::Unclassifiable(why.clone()).rule(), why.to_string()))?;
        let action = |server: &'_ ServerWorkload| server.actions.get(again.action()?).cloned();
        let upgrade = self.request.upgrade.as_ref();
        let action_now = again.action().and_then(|name| server.actions.get(name));
        if upgrade.is_some_and(|to| action_now.is_none_or(|action| !action.upgrade.contains(to))) {
            return Err(changed("its action declares no such upgrade now"));
        }
        let same =
            again.action() == self.classified.action() && before.and_then(action) == action(server);
        if same {
            return Ok(Cow::Borrowed(&self.classified));
        }
        // The body has passed: what it said is known in the words of the former declaration alone.
        again
            .without_body()
            .map(Cow::Owned)
            .map_err(|_| changed("its action is declared otherwise now, and its body has passed"))
    }
}

impl Access {
    /// A message to an MCP server or a call of an agent has passed: it is what it was if its action is declared as it was.
    fn message_under(
        &self,
        before: Option<&ServerWorkload>,
        server: &ServerWorkload,
    ) -> Result<Cow<'_, Classified>, Cut> {
        let action = |server: &ServerWorkload| {
            let name = self.classified.action()?;
            server.actions.get(name).cloned()
        };
        let same = before.and_then(action) == action(server);
        let endpoint = |server: &ServerWorkload| {
            let called = server.a2a.as_ref().map(|a2a| &a2a.path);
            let path = server.mcp.as_ref().map(|mcp| &mcp.path).or(called);
            path.cloned()
        };
        if same && before.and_then(endpoint) == endpoint(server) {
            Ok(Cow::Borrowed(&self.classified))
        } else {
            Err(changed(
                "its action is declared otherwise now, and its message has passed",
            ))
        }
    }
}

fn changed(detail: &'static str) -> Cut {
    Cut::new("request.server_changed", detail)
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
            .as_ref()
            .and_then(|bundle| Some((bundle, bundle.server(&self.server)?)));
        let Some((bundle, server)) = server else {
            return Err(Cut::new("request.no_server", "the server workload is gone"));
        };
        // It may be another gateway's by now, or this one may exchange for nobody any more (A9).
        let exchanged = self.token.claims().via.is_some();
        let assigned = server.gateways.is_assigned(&self.gateway);
        if !server.gateways.serves(&self.gateway) || exchanged && !assigned {
            return Err(changed("it is not assigned to this gateway any more"));
        }
        if let Some(brought) = &self.brought {
            let stopped = brought
                .check_stops(&snapshot.stops)
                .map_err(Denial::Stopped);
            stopped.map_err(|why| Cut::new(why.rule(), why.to_string()))?;
        }
        if let Some(handed) = &self.handed {
            let stopped = check_task_stops(handed, &snapshot.stops).map_err(Denial::Stopped);
            stopped.map_err(|why| Cut::new(why.rule(), why.to_string()))?;
            if handed.claims().expires_at <= now {
                return Err(Cut::new(
                    "token.expired",
                    "the task token that is handed on has expired",
                ));
            }
        }
        let classified = self.classified_under(bundle, server)?;
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
        recheck(&facts, &classified)
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

/// Trace id and parent id of a well-formed `traceparent` (W3C Trace Context §3.2): a version that is
/// known or later, ids in lower-case hex that are not zero. What is not well-formed is no trace at all.
pub(super) fn trace_of(headers: &HeaderMap) -> Option<(String, String)> {
    let mut said = headers.get_all("traceparent").iter();
    let (Some(text), None) = (said.next(), said.next()) else {
        return None;
    };
    let text = text.to_str().ok()?;
    let mut parts = text.split('-');
    let (version, trace, span, flags) =
        (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let is_hex = |text: &str, digits: usize| {
        text.len() == digits && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
    };
    let is_id = |text: &str, digits| is_hex(text, digits) && text.bytes().any(|b| b != b'0');
    // Only later versions may have more parts, and version ff is forbidden.
    let known = match version {
        "00" => parts.next().is_none(),
        other => other != "ff",
    };
    let is_whole =
        known && is_hex(version, 2) && is_id(trace, 32) && is_id(span, 16) && is_hex(flags, 2);
    is_whole.then(|| (trace.to_owned(), span.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
    const SPAN: &str = "00f067aa0ba902b7";

    fn of(said: &[&str]) -> Option<(String, String)> {
        let mut headers = HeaderMap::new();
        for text in said {
            headers.append("traceparent", HeaderValue::from_str(text).unwrap());
        }
        trace_of(&headers)
    }

    #[test]
    fn a_well_formed_traceparent_says_trace_and_span() {
        let both = Some((TRACE.to_owned(), SPAN.to_owned()));
        assert_eq!(of(&[&format!("00-{TRACE}-{SPAN}-01")]), both);
        assert_eq!(of(&[&format!("cc-{TRACE}-{SPAN}-01-later")]), both);
    }

    #[test]
    fn what_is_no_traceparent_says_nothing() {
        let good = format!("00-{TRACE}-{SPAN}-01");
        for bad in [
            "",
            "00-1-1-01",
            &format!("ff-{TRACE}-{SPAN}-01"),
            &format!("0-{TRACE}-{SPAN}-01"),
            &format!("00-{TRACE}-{SPAN}-01-more"),
            &format!("00-{TRACE}-{SPAN}"),
            &format!("00-{}-{SPAN}-01", TRACE.to_uppercase()),
            &format!("00-{}-{SPAN}-01", "0".repeat(32)),
            &format!("00-{TRACE}-{}-01", "0".repeat(16)),
            &format!("00-{TRACE}-{SPAN}-0g"),
        ] {
            assert_eq!(of(&[bad]), None, "{bad}");
        }
        assert_eq!(of(&[&good, &good]), None, "said twice");
        assert_eq!(of(&[]), None);
    }
}
