//! The decision about one access: type policy ∩ task mandate ∩ not suspended.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::panic,
    reason = "tests may panic"
)]

mod lab;
#[path = "enforce/via.rs"]
mod via;

use lab::{JWT, Lab, TXN};
use mandate_audit::Decision;
use mandate_decide::enforce::{
    Ambiguous, Classified, Denial, Facts, RecordedBefore, RequestHead, Right, Unclassifiable,
    Verdict, admission_record, classify, decide, decide_with, deciding_entry, headers_as_sent,
    recorded_before,
};
use mandate_model::mandate::Uncovered;
use mandate_model::stop::{Stopped, Subject};
use mandate_model::{BundleVersion, Effect, GatewayId, ServerName, SpiffeId};
use mandate_policy::{PolicyDenial, PolicyVerdict};
use mandate_token::{AccessToken, Audience, Expect, Kind, Verified};

const READ: &str = r#"[{"type":"mandate_access","server":"records","actions":["read"],"constraints":{"customer":{"in":["acme"]}}}]"#;
const REFUND: &str = r#"[{"type":"mandate_access","server":"records","actions":["refund"],"constraints":{"customer":{"in":["acme"]},"amount_cents":{"max":5000}}}]"#;
const ANY_CUSTOMER: &str = r#"[{"type":"mandate_access","server":"records","actions":["read"]}]"#;

struct Setting {
    lab: Lab,
    token: Verified<AccessToken>,
    gateway: GatewayId,
    right: Right,
}

fn setting(agent: &str, entries: &str) -> Setting {
    let mut lab = Lab::new();
    let task = task_for(&mut lab, agent, entries);
    let svid = lab.svid(agent, "a-1");
    let access = [
        ("subject_token", task.as_str()),
        ("subject_token_type", TXN),
        ("resource", "https://records.acme.example"),
    ];
    let (access, _) = lab.exchange(&svid, &access).unwrap();
    Setting::with(lab, &access)
}

/// A task token for `agent`.
fn task_for(lab: &mut Lab, agent: &str, entries: &str) -> String {
    let orchestrator = lab.svid("orchestrator", "o-1");
    let open = [
        ("subject_token", orchestrator.as_str()),
        ("subject_token_type", JWT),
        ("requested_token_type", TXN),
        ("audience", "acme.example"),
        (
            "request_details",
            r#"{"purpose":"morning","trigger":{"kind":"schedule","name":"morning"}}"#,
        ),
    ];
    let (root, _) = lab.exchange(&orchestrator, &open).unwrap();
    let child = format!("spiffe://acme.example/agent/{agent}");
    let delegate = [
        ("subject_token", root.as_str()),
        ("subject_token_type", TXN),
        ("requested_token_type", TXN),
        ("audience", "acme.example"),
        ("requested_actor", &child),
        ("authorization_details", entries),
    ];
    lab.exchange(&orchestrator, &delegate).unwrap().0
}

impl Setting {
    /// An access token, at the gateway `g-1`.
    fn with(lab: Lab, access: &str) -> Self {
        let audience = Audience::parse("https://records.acme.example").unwrap();
        let expect = Expect {
            issuer: &lab.issuer,
            audience: &audience,
        };
        let token = AccessToken::verify(access, lab.keys(), &expect, lab.now).unwrap();
        Self {
            lab,
            token,
            gateway: GatewayId::parse("g-1").unwrap(),
            right: Right::Leased,
        }
    }

    fn facts(&self) -> Facts<'_> {
        Facts {
            now: self.lab.now,
            bundle: &self.lab.bundle,
            bundle_version: BundleVersion::new(1),
            stops: &self.lab.stops,
            gateway: &self.gateway,
            right: self.right,
            server: self
                .lab
                .bundle
                .server(&ServerName::parse("records").unwrap())
                .unwrap(),
            token: &self.token,
        }
    }

    fn classify(
        &self,
        method: &str,
        target: &str,
        body: &str,
    ) -> Result<Classified, Unclassifiable> {
        let mut headers = http::HeaderMap::new();
        headers.insert("content-type", "application/json".parse().unwrap());
        let head = RequestHead {
            method,
            path_and_query: target,
            headers: &headers,
        };
        match classify(self.facts().server, &head)?.without_body() {
            Ok(classified) => Ok(classified),
            Err(pending) => pending.with_body(&headers, body.as_bytes()),
        }
    }

    fn verdict(&self, method: &str, target: &str, body: &str) -> Verdict {
        let classified = self
            .classify(method, target, body)
            .map_err(Denial::Unclassifiable)?;
        decide(&self.facts(), &classified)
    }

    fn get_with(&self, target: &str, answer: PolicyVerdict) -> Verdict {
        let classified = self.classify("GET", target, "").unwrap();
        decide_with(&self.facts(), &classified, |_| answer.clone())
    }

    fn get(&self, target: &str) -> Verdict {
        self.verdict("GET", target, "")
    }
}

#[test]
fn reads_what_the_task_fixes_and_not_what_the_type_would_permit() {
    let s = setting("retriever", READ);
    let admitted = s.get("/customers/acme").unwrap();
    assert_eq!(admitted.policies()[0].as_str(), "reading");
    assert!(admitted.spend().is_none());
    let customer = mandate_model::AttributeName::parse("customer").unwrap();
    assert_eq!(
        s.get("/customers/globex"),
        Err(Denial::Mandate(Uncovered::Unfit(customer)))
    );
    assert_eq!(
        s.get("/customers/globex").unwrap_err().rule(),
        "mandate.unfit"
    );
}

#[test]
fn a_task_that_fixes_nothing_never_means_every_customer() {
    let s = setting("retriever", ANY_CUSTOMER);
    let denied = s.get("/customers/acme").unwrap_err();
    assert!(
        matches!(denied, Denial::Policy(PolicyDenial::TaskMustFix { .. })),
        "{denied}"
    );
}

#[test]
fn ambiguous_paths_are_refused() {
    let s = setting("retriever", READ);
    for target in [
        "/customers/acme/../globex",
        "/customers//acme",
        "/customers/acme/%2E%2E/globex",
        "/customers/acme%2Fx",
        "/customers/acme;x",
        "/customers/%61cme",
    ] {
        let denied = s.get(target).unwrap_err();
        assert_eq!(denied.rule(), "request.ambiguous", "{target}");
    }
    assert_eq!(
        s.get("/CUSTOMERS/acme").unwrap_err().rule(),
        "request.no_action"
    );
    assert_eq!(
        s.verdict("get", "/customers/acme", "").unwrap_err().rule(),
        "request.no_action"
    );
}

#[test]
fn an_amount_within_mandate_and_policy_passes_and_spends_the_token() {
    let s = setting("executor", REFUND);
    let post = |body| s.verdict("POST", "/customers/acme/refunds", body);
    let admitted = post(r#"{"amount_cents":5000}"#).unwrap();
    assert_eq!(admitted.spend().unwrap().token, s.token.claims().id);
    for (body, rule) in [
        (r#"{"amount_cents":5001}"#, "mandate.unfit"),
        (r#"{"amount_cents":-1}"#, "mandate.unfit"),
        (r#"{"amount_cents":"5000"}"#, "request.attribute"),
        (r#"{"amount_cents":[1,5001]}"#, "mandate.unfit"),
        (
            r#"{"amount_cents":1,"Amount_Cents":999999}"#,
            "request.attribute",
        ),
        (r#"{}"#, "mandate.missing"),
        (r#"{"amount_cents":5e3}"#, "request.attribute"),
        (
            r#"{"amount_cents":1,"amount_cents":9}"#,
            "request.attribute",
        ),
        ("", "request.attribute"),
    ] {
        assert_eq!(post(body).unwrap_err().rule(), rule, "{body}");
    }
}

#[test]
fn a_suspension_of_anyone_on_the_way_stops_the_access() {
    for agent in ["retriever", "orchestrator"] {
        let mut s = setting("retriever", READ);
        let id = SpiffeId::parse(&format!("spiffe://acme.example/agent/{agent}")).unwrap();
        let subject = Subject::Agent { id };
        s.lab.suspend(subject.clone());
        assert_eq!(
            s.get("/customers/acme"),
            Err(Denial::Stopped(Stopped::Suspended(subject)))
        );
    }
    let mut s = setting("retriever", READ);
    s.lab.suspend(Subject::Gateway {
        id: s.gateway.clone(),
    });
    assert!(s.get("/customers/acme").is_err());
}

#[test]
fn record_shows_person_agent_chain_and_cause() {
    let s = setting("retriever", READ);
    let classified = s.classify("GET", "/customers/globex/notes", "").unwrap();
    let verdict = decide(&s.facts(), &classified);
    let event = admission_record(&s.facts(), Some(&classified), &verdict, |_| {
        "hashed".to_owned()
    });
    assert_eq!(event.decision, Decision::Denied);
    assert_eq!(event.rule.as_deref(), Some("mandate.unfit"));
    let types: Vec<_> = event
        .actors
        .iter()
        .map(|a| a.sub.path().to_owned())
        .collect();
    assert_eq!(types, ["/agent/retriever", "/agent/orchestrator"]);
    assert_eq!(
        event.principal.unwrap().to_string(),
        "spiffe://acme.example/agent/orchestrator"
    );
    assert!(event.trigger.unwrap().to_string().contains("morning"));
    assert_eq!(event.task.unwrap().depth(), 2);
    assert_eq!(event.token, Some(s.token.claims().id));
    let bytes = serde_json::to_string(&event.what).unwrap();
    assert!(bytes.contains("GET /customers/{customer}/**"), "{bytes}");
}

#[test]
fn what_is_decided_without_a_lease_is_decided_alike_and_marked() {
    let mut s = setting("retriever", READ);
    for (right, marked) in [(Right::Leased, false), (Right::WithoutLease, true)] {
        s.right = right;
        for (target, allowed) in [("/customers/acme", true), ("/customers/globex", false)] {
            let classified = s.classify("GET", target, "").unwrap();
            let verdict = decide(&s.facts(), &classified);
            assert_eq!(verdict.is_ok(), allowed);
            let record =
                admission_record(&s.facts(), Some(&classified), &verdict, |v| v.to_owned());
            assert_eq!(record.without_lease, marked);
            let text = String::from_utf8(record.canonical().unwrap()).unwrap();
            assert_eq!(text.contains("\"without_lease\":true"), marked, "{text}");
            assert_eq!(text.contains("without_lease"), marked, "{text}");
        }
    }
    let id = SpiffeId::parse("spiffe://acme.example/agent/retriever").unwrap();
    s.lab.suspend(Subject::Agent { id });
    assert_eq!(s.get("/customers/acme").unwrap_err().rule(), "stopped");
}

#[test]
fn a_record_comes_first_and_from_further_away_where_that_is_asked_for() {
    let of = |more: &str, effect| {
        let mut s = setting("retriever", READ);
        s.lab
            .apply(&lab::BUNDLE.replacen("  internal: true\n", more, 1));
        recorded_before(s.facts().server, effect)
    };
    let (internal, shipped) = (
        "  internal: true\n",
        "  internal: true\n  durability: shipped\n",
    );
    for (more, effect, expected) in [
        ("", Effect::Read, RecordedBefore::Forwarding),
        ("", Effect::Write, RecordedBefore::Forwarding),
        (internal, Effect::Read, RecordedBefore::Release),
        (internal, Effect::Write, RecordedBefore::Forwarding),
        (shipped, Effect::Read, RecordedBefore::ForwardingInTheLog),
        (shipped, Effect::Write, RecordedBefore::ForwardingInTheLog),
    ] {
        assert_eq!(of(more, effect), expected, "{more} {effect}");
    }
}

#[test]
fn observing_waives_policy_and_mandate_and_nothing_else() {
    let until = "2027-01-20";
    let observed = lab::BUNDLE.replacen(
        "  internal: true\n",
        &format!("  internal: true\n  observe: {{until: {until}}}\n"),
        1,
    );
    let mut s = setting("retriever", READ);
    s.lab.apply(&observed);
    let admitted = s.get("/customers/globex").unwrap();
    assert_eq!(admitted.would_deny().unwrap().rule(), "mandate.unfit");
    assert!(admitted.policies().is_empty());
    let classified = s.classify("GET", "/customers/globex", "").unwrap();
    let event = admission_record(&s.facts(), Some(&classified), &Ok(admitted), |v| {
        v.to_owned()
    });
    assert_eq!(event.decision, Decision::WouldDeny);
    assert_eq!(event.rule.as_deref(), Some("mandate.unfit"));
    assert!(s.get("/customers/acme").unwrap().would_deny().is_none());
    // What is no action stays denied, and so does who is suspended.
    assert_eq!(s.get("/nowhere").unwrap_err().rule(), "request.no_action");
    let id = SpiffeId::parse("spiffe://acme.example/agent/retriever").unwrap();
    s.lab.suspend(Subject::Agent { id });
    assert_eq!(s.get("/customers/globex").unwrap_err().rule(), "stopped");
    // And it ends by itself.
    let mut s = setting("retriever", READ);
    s.lab.apply(&observed);
    s.lab
        .advance(std::time::Duration::from_secs(30 * 24 * 3600));
    assert_eq!(
        s.get("/customers/globex").unwrap_err().rule(),
        "mandate.unfit"
    );
}

#[test]
fn a_parameter_that_some_server_takes_for_a_declared_one_is_refused() {
    let s = setting("executor", REFUND);
    let mail = s.lab.bundle.server(&ServerName::parse("mail").unwrap());
    let post = |target: &str| {
        let head = RequestHead {
            method: "POST",
            path_and_query: target,
            headers: &http::HeaderMap::new(),
        };
        classify(mail.unwrap(), &head).map(drop)
    };
    for good in [
        "/send?to=x",
        "/send?to=x&to=y&total=1",
        "/send?to=x&method=y",
    ] {
        assert_eq!(post(good), Ok(()), "{good}");
    }
    for twin in [
        "/send?to=x&+to=y",
        "/send?to=x&TO=y",
        "/send?to=x&to[]=y",
        "/send?to=x&t_o=y",
    ] {
        let refused = post(twin);
        assert!(
            matches!(refused, Err(Unclassifiable::QueryTwin(_))),
            "{twin}"
        );
    }
    for overriding in ["/send?to=x&_method=GET", "/send?_METHOD=GET"] {
        let refused = post(overriding);
        assert_eq!(refused, Err(Unclassifiable::Ambiguous(Ambiguous::Method)));
    }
}

#[test]
fn nothing_in_the_query_may_pass_for_the_credential_of_the_upstream() {
    let (before, after) = lab::BUNDLE
        .split_once("https://mail.acme.example\n")
        .unwrap();
    let keyed = after.replacen(
        "credential: none",
        "credential: {query: {name: key, value: \"${secret:mail}\"}}",
        1,
    );
    let lab = Lab::with_bundle(&format!("{before}https://mail.acme.example\n{keyed}"));
    let mail = lab
        .bundle
        .server(&ServerName::parse("mail").unwrap())
        .unwrap();
    let post = |target: &str| {
        let head = RequestHead {
            method: "POST",
            path_and_query: target,
            headers: &http::HeaderMap::new(),
        };
        classify(mail, &head).map(drop)
    };
    assert_eq!(post("/send?to=x&keys=1"), Ok(()));
    for twin in [
        "/send?to=x;key=mine",
        "/send?KEY=mine",
        "/send?key[]=mine",
        "/send?x=%4",
    ] {
        let refused = post(twin);
        assert_eq!(
            refused,
            Err(Unclassifiable::Ambiguous(Ambiguous::Query)),
            "{twin}"
        );
    }
}

/// The fields of `names` that `mail` would get if its declaration said `http` and `credential`.
fn sent(names: &[(&'static str, &'static str)], http: &str, credential: &str) -> Vec<String> {
    let (before, after) = lab::BUNDLE
        .split_once("https://mail.acme.example\n")
        .unwrap();
    let said = format!("credential: {credential}\n  http: {http}");
    let after = after.replacen("credential: none", &said, 1);
    let lab = Lab::with_bundle(&format!("{before}https://mail.acme.example\n{after}"));
    let mail = lab.bundle.server(&ServerName::parse("mail").unwrap());
    let fields = names.iter().map(|(name, value)| {
        let name = http::HeaderName::from_static(name);
        (name, value.parse().unwrap())
    });
    let sent = headers_as_sent(&fields.collect(), mail.unwrap());
    let mut left: Vec<_> = sent.keys().map(ToString::to_string).collect();
    left.sort_unstable();
    left
}

#[test]
fn inbound_identity_headers_are_stripped() {
    let fields = [
        ("accept", "*/*"),
        ("idempotency-key", "4711"),
        ("cookie", "a=b"),
        ("x-method-override", "DELETE"),
        ("x-original-uri", "/admin"),
        ("x-original-method", "DELETE"),
        ("x-original-host", "evil"),
        ("x-rewrite-url", "/admin"),
        ("impersonate-user", "root"),
        ("x-webauth-user", "root"),
        ("x-user-id", "0"),
        ("x-consumer-username", "root"),
        ("cf-connecting-ip", "1.1.1.1"),
        ("cf-access-authenticated-user-email", "root@acme.example"),
        ("cf-access-jwt-assertion", "x"),
        ("remote-user", "root"),
        ("remote-groups", "admins"),
        ("remote-email", "root@acme.example"),
        ("ssl-client-cert", "x"),
        ("ssl-client-verify", "SUCCESS"),
        ("ssl-client-subject-dn", "CN=root"),
        ("x-user", "root"),
        ("x-username", "root"),
        ("x-userid", "0"),
        ("tailscale-user-login", "root@acme.example"),
        ("l5d-client-id", "root.acme"),
        ("x-pomerium-jwt-assertion", "x"),
        ("x-api-key", "x"),
        ("private-token", "x"),
        ("true-client-ip", "1.1.1.1"),
        ("x-b3-traceid", "1"),
        ("trailer", "x-user"),
        ("authorization", "Bearer x"),
        ("x-forwarded-for", "1.1.1.1"),
        ("x_forwarded_host", "evil"),
        ("x_customer", "globex"),
        ("x-remote-user", "root"),
        ("forwarded", "for=1"),
        ("proxy-authorization", "x"),
        ("txn-token", "x"),
        ("x-mandate-task", "x"),
        ("x-http-method-override", "DELETE"),
        ("connection", "close, x-hop"),
        ("x-hop", "1"),
        ("te", "trailers"),
        ("x-tenant", "acme"),
        ("traceparent", "00-1-1-01"),
    ];
    let left = sent(&fields, "{stripHeaders: [X-Tenant]}", "none");
    assert_eq!(left, ["accept", "idempotency-key"]);
}

#[test]
fn trace_context_passes_where_it_is_declared() {
    let fields = [("traceparent", "00-1-1-01"), ("baggage", "a=b")];
    assert_eq!(sent(&fields, "{traceparent: true}", "none").len(), 2);
    assert_eq!(sent(&fields, "{traceparent: false}", "none").len(), 0);
}

#[test]
fn what_the_gateway_sets_itself_is_not_passed_on_from_the_agent() {
    let fields = [
        ("x-key", "1"),
        ("x-task", "2"),
        ("accept-encoding", "gzip"),
        ("range", "bytes=0-1"),
    ];
    let passes = |http, credential| sent(&fields, http, credential);
    assert_eq!(passes("{traceparent: false}", "none").len(), 4);
    let http = "{passTaskId: X-Task}";
    let keyed = "{header: X-Key, value: \"${secret:mail}\"}";
    assert_eq!(passes(http, "none"), ["accept-encoding", "range", "x-key"]);
    assert!(passes(http, keyed).is_empty());
}

#[test]
fn the_entry_that_decides_is_the_one_that_policy_permits_by() {
    // Both cover a refund of 50 for acme; the first does not pin the customer, as policy asks.
    let wide = r#"{"type":"mandate_access","server":"records","actions":["refund"],"constraints":{"customer":{"in":["acme","globex"]},"amount_cents":{"max":100}}}"#;
    let pinned = &REFUND[1..REFUND.len() - 1];
    let s = setting("executor", &format!("[{wide},{pinned}]"));
    let of = |cents: u64| {
        let body = format!(r#"{{"amount_cents":{cents}}}"#);
        let classified = s
            .classify("POST", "/customers/acme/refunds", &body)
            .unwrap();
        let entry = deciding_entry(&s.facts(), &classified);
        let customer = entry.map(|entry| entry.constraints["customer"].single_value().is_some());
        (decide(&s.facts(), &classified).is_ok(), customer)
    };
    assert_eq!(of(50), (true, Some(true)));
    assert_eq!(of(6000), (false, None));
    let s = setting("executor", &format!("[{wide}]"));
    let classified = s.classify("POST", "/customers/acme/refunds", r#"{"amount_cents":50}"#);
    let classified = classified.unwrap();
    assert!(decide(&s.facts(), &classified).is_err());
    assert!(
        deciding_entry(&s.facts(), &classified).is_some(),
        "the first that covers"
    );
}

#[test]
fn an_answer_of_the_policy_that_is_brought_along_stands_in_for_the_policy_alone() {
    let permitted = || PolicyVerdict::Permitted {
        policies: Vec::new(),
        max_token_lifetime: None,
    };
    let denied = || PolicyVerdict::Denied(PolicyDenial::TooManyValues);
    let mut setting = setting("retriever", READ);
    assert!(
        setting
            .get_with("/customers/acme/notes", permitted())
            .is_ok()
    );
    let refused = setting.get_with("/customers/acme/notes", denied());
    assert_eq!(refused, Err(Denial::Policy(PolicyDenial::TooManyValues)));
    let other = setting.get_with("/customers/globex/notes", permitted());
    assert!(matches!(other, Err(Denial::Mandate(_))), "{other:?}");
    let subject = Subject::Server {
        name: ServerName::parse("records").unwrap(),
    };
    setting.lab.suspend(subject);
    let stopped = setting.get_with("/customers/acme/notes", permitted());
    assert!(matches!(stopped, Err(Denial::Stopped(_))), "{stopped:?}");
}
