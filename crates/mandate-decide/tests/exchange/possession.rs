//! Keys that agents prove (A5): what is bound to them, and what a token is worth without.

use aws_lc_rs::signature::EcdsaKeyPair;
use mandate_audit::What;
use mandate_decide::exchange::{ActorError, ClientError, ExchangeError, GrantError};
use mandate_model::Thumbprint;
use mandate_model::stop::Stopped;
use mandate_token::{AccessToken, Audience, Confirmation, Expect, JwtSvid, Kind};

use super::lab::{BUNDLE, Lab, Refused, TXN, key_pair};
use super::{ACME, BOTH, MORNING, exchange_error};

const NO_PROOF: ExchangeError = ExchangeError::Client(ClientError::NoProof);
const KEY_REPLACED: ExchangeError = ExchangeError::Stopped(Stopped::KeyReplaced);

/// An agent with a key.
struct Keyed {
    key: EcdsaKeyPair,
    svid: String,
}

impl Keyed {
    fn attested(lab: &mut Lab, agent: &str, instance: &str) -> Self {
        let key = key_pair();
        let proof = lab.proof(&key);
        let (svid, _) = lab.attest(agent, instance, Some(&proof)).unwrap();
        Self { key, svid }
    }

    /// `exchange` beside a proof of this agent's key.
    fn proving<T>(&self, lab: &mut Lab, exchange: impl FnOnce(&mut Lab, &str) -> T) -> T {
        by(&self.key, lab, |lab| exchange(lab, &self.svid))
    }
}

/// `exchange` beside a proof of `key`.
fn by<T>(key: &EcdsaKeyPair, lab: &mut Lab, exchange: impl FnOnce(&mut Lab) -> T) -> T {
    lab.showing = Some(lab.proof(key));
    let result = exchange(lab);
    lab.showing = None;
    result
}

fn thumbprint(lab: &mut Lab, key: &EcdsaKeyPair) -> Thumbprint {
    lab.proof(key).key()
}

/// A retriever with a key, and a task for it.
fn scene() -> (Lab, Keyed, String) {
    with_bundle(BUNDLE)
}

fn with_bundle(bundle: &str) -> (Lab, Keyed, String) {
    let mut lab = Lab::with_bundle(bundle);
    let orchestrator = lab.svid("orchestrator", "o-1");
    let root = lab.open(&orchestrator, BOTH, MORNING).unwrap();
    let child = lab
        .delegate(&orchestrator, &root, "retriever", ACME)
        .unwrap();
    let retriever = Keyed::attested(&mut lab, "retriever", "r-1");
    (lab, retriever, child)
}

fn bound_to(lab: &Lab, access: &str) -> Option<Confirmation> {
    let audience = Audience::parse("https://records.acme.example").unwrap();
    let expect = Expect {
        issuer: &lab.issuer,
        audience: &audience,
    };
    let verified = AccessToken::verify(access, lab.keys(), &expect, lab.now).unwrap();
    verified.claims().confirmation
}

#[test]
fn what_a_bound_agent_gets_is_bound_to_its_key_and_says_so() {
    let (mut lab, agent, child) = scene();
    let key = thumbprint(&mut lab, &agent.key);
    let issuer = lab.issuer.as_audience();
    let expect = Expect {
        issuer: &lab.issuer,
        audience: &issuer,
    };
    let svid = JwtSvid::verify(&agent.svid, lab.keys(), &expect, lab.now).unwrap();
    assert_eq!(svid.claims().confirmation, Some(Confirmation::Jkt(key)));
    let form = [
        ("subject_token", child.as_str()),
        ("subject_token_type", TXN),
        ("resource", "https://records.acme.example"),
    ];
    let proof = lab.proof(&agent.key);
    let (token, response) = lab.exchange_with(&agent.svid, Some(&proof), &form).unwrap();
    assert_eq!(response["token_type"], "DPoP");
    assert_eq!(bound_to(&lab, &token), Some(Confirmation::Jkt(key)));
    let told: Vec<_> = lab.events.iter().rev().take(1).map(|e| e.jkt).collect();
    assert_eq!(told, [Some(key)], "the record says how it was proved");

    // Who brings no key has tokens without.
    let plain = lab.svid("retriever", "r-2");
    let (token, response) = lab.exchange(&plain, &form).unwrap();
    assert_eq!(response["token_type"], "Bearer");
    assert_eq!(bound_to(&lab, &token), None);
}

#[test]
fn a_stolen_bound_assertion_is_worth_nothing_on_any_path() {
    type Path = fn(&mut Lab, &str, &str) -> Result<String, Refused>;
    let paths: [Path; 5] = [
        |lab, svid, child| lab.reach(svid, child),
        |lab, svid, child| lab.renew(svid, child),
        |lab, svid, _| lab.open(svid, ACME, MORNING),
        |lab, svid, child| lab.delegate(svid, child, "retriever", ACME),
        |lab, svid, _| lab.host(svid, "helper"),
    ];
    let (mut lab, agent, child) = scene();
    let thief = key_pair();
    for (n, path) in paths.iter().enumerate() {
        let without = exchange_error(path(&mut lab, &agent.svid, &child));
        assert_eq!(without, NO_PROOF, "path {n}");
        assert_eq!(without.oauth().code, "invalid_dpop_proof");
        let other = by(&thief, &mut lab, |lab| path(lab, &agent.svid, &child));
        let other = exchange_error(other);
        assert_eq!(
            other,
            ExchangeError::Client(ClientError::OtherKey),
            "path {n}"
        );
    }
    assert!(
        agent
            .proving(&mut lab, |lab, svid| lab.reach(svid, &child))
            .is_ok()
    );
}

#[test]
fn a_proof_beside_an_assertion_that_is_bound_to_no_key_proves_nothing() {
    let (mut lab, agent, child) = scene();
    let plain = lab.svid("retriever", "r-2");
    let refused = by(&agent.key, &mut lab, |lab| lab.reach(&plain, &child));
    assert_eq!(
        exchange_error(refused),
        ExchangeError::Client(ClientError::Unbound)
    );
    assert!(lab.reach(&plain, &child).is_ok());
}

#[test]
fn each_exchange_uses_its_proof_up() {
    let (mut lab, agent, child) = scene();
    let proof = lab.proof(&agent.key);
    let form = [
        ("subject_token", child.as_str()),
        ("subject_token_type", TXN),
        ("resource", "https://records.acme.example"),
    ];
    assert!(lab.exchange_with(&agent.svid, Some(&proof), &form).is_ok());
    let again = lab.exchange_with(&agent.svid, Some(&proof), &form);
    assert_eq!(again.map(drop), Err(Refused::Conflict));
    // Whatever it is shown for: each path of issuance has it in its effects.
    type Path = fn(&mut Lab, &Keyed, &str, &str);
    let paths: [Path; 4] = [
        |lab, agent, child, _| drop(lab.renew(&agent.svid, child).unwrap()),
        |lab, agent, child, _| drop(lab.reach(&agent.svid, child).unwrap()),
        |lab, agent, _, _| drop(lab.open(&agent.svid, ACME, MORNING).unwrap()),
        |lab, agent, _, root| drop(lab.delegate(&agent.svid, root, "retriever", ACME).unwrap()),
    ];
    let orchestrator = Keyed::attested(&mut lab, "orchestrator", "o-2");
    let root = orchestrator
        .proving(&mut lab, |lab, svid| lab.open(svid, BOTH, MORNING))
        .unwrap();
    for (n, path) in paths.iter().enumerate() {
        let agent = if n < 2 { &agent } else { &orchestrator };
        let used = lab.used.len();
        by(&agent.key, &mut lab, |lab| path(lab, agent, &child, &root));
        assert_eq!(lab.used.len(), used + 1, "path {n}");
    }
    let used = lab.used.len();
    orchestrator
        .proving(&mut lab, |lab, svid| lab.host(svid, "helper"))
        .unwrap();
    let task = lab.task(&root);
    orchestrator
        .proving(&mut lab, |lab, svid| {
            lab.resume(svid, svid, super::JWT, task)
        })
        .unwrap();
    Keyed::attested(&mut lab, "retriever", "r-9");
    assert_eq!(lab.used.len(), used + 3);
}

#[test]
fn attesting_another_key_voids_the_former_and_is_told() {
    let (mut lab, former, child) = scene();
    let (from, other) = (thumbprint(&mut lab, &former.key), key_pair());
    let token = former
        .proving(&mut lab, |lab, svid| lab.reach(svid, &child))
        .unwrap();
    assert!(bound_to(&lab, &token).is_some());
    let proof = lab.proof(&other);
    let (svid, _) = lab.attest("retriever", "r-1", Some(&proof)).unwrap();
    let to = proof.key();
    let rekeyed = What::Rekeyed { from, to };
    assert!(lab.events.iter().any(|event| event.what == rekeyed));
    let refused = former.proving(&mut lab, |lab, svid| lab.reach(svid, &child));
    assert_eq!(exchange_error(refused), KEY_REPLACED);
    let now = Keyed { key: other, svid };
    assert!(
        now.proving(&mut lab, |lab, svid| lab.reach(svid, &child))
            .is_ok()
    );
    // The former does not come back, and the same key again is nothing to tell of.
    let proof = lab.proof(&former.key);
    let back = lab.attest("retriever", "r-1", Some(&proof));
    assert_eq!(back.map(drop), Err(Refused::Exchange(KEY_REPLACED)));
    let told = lab.events.len();
    let proof = lab.proof(&now.key);
    lab.attest("retriever", "r-1", Some(&proof)).unwrap();
    let again = lab.events.split_at(told).1;
    assert!(
        again
            .iter()
            .all(|e| !matches!(e.what, What::Rekeyed { .. }))
    );
}

#[test]
fn another_providers_instance_of_the_same_name_keeps_its_key() {
    let mut lab = Lab::new();
    let one = Keyed::attested(&mut lab, "orchestrator", "process/a");
    let other = Keyed::attested(&mut lab, "orchestrator", "cloud/a");
    for agent in [one, other] {
        let opened = agent.proving(&mut lab, |lab, svid| lab.open(svid, BOTH, MORNING));
        assert!(opened.is_ok());
    }
}

#[test]
fn an_instance_with_a_key_gets_nothing_without_it() {
    let (mut lab, agent, child) = scene();
    let refused = lab.attest("retriever", "r-1", None).map(drop);
    let held = ExchangeError::Client(ClientError::KeyHeld);
    assert_eq!(refused, Err(Refused::Exchange(held)));
    assert!(
        agent
            .proving(&mut lab, |lab, svid| lab.reach(svid, &child))
            .is_ok()
    );
    // What it had got before it brought a key goes with it.
    let early = lab.svid("retriever", "r-2");
    assert!(lab.reach(&early, &child).is_ok());
    Keyed::attested(&mut lab, "retriever", "r-2");
    assert_eq!(lab.reach(&early, &child), Err(Refused::Conflict));
}

#[test]
fn a_hosted_agent_has_its_hosts_key() {
    let mut lab = Lab::new();
    let host = Keyed::attested(&mut lab, "orchestrator", "o-1");
    let svid = host
        .proving(&mut lab, |lab, svid| lab.host(svid, "helper"))
        .unwrap();
    let root = host
        .proving(&mut lab, |lab, svid| lab.open(svid, BOTH, MORNING))
        .unwrap();
    let task = host
        .proving(&mut lab, |lab, svid| {
            lab.delegate(svid, &root, "helper", ACME)
        })
        .unwrap();
    assert_eq!(exchange_error(lab.reach(&svid, &task)), NO_PROOF);
    let token = by(&host.key, &mut lab, |lab| lab.reach(&svid, &task)).unwrap();
    let key = thumbprint(&mut lab, &host.key);
    assert_eq!(bound_to(&lab, &token), Some(Confirmation::Jkt(key)));
}

#[test]
fn an_agent_type_that_requires_proof_gets_nothing_without() {
    let required = BUNDLE.replace(
        "spec:\n  attestation: [{process: {user: retriever}}]",
        "spec:\n  proof: required\n  attestation: [{process: {user: retriever}}]",
    );
    assert_ne!(required, BUNDLE);
    let (mut lab, agent, child) = with_bundle(&required);
    assert!(
        agent
            .proving(&mut lab, |lab, svid| lab.reach(svid, &child))
            .is_ok()
    );
    let name = "retriever".to_owned();
    let rule = ExchangeError::Client(ClientError::ProofRequired { agent: name });
    let refused = lab.attest("retriever", "r-2", None).map(drop);
    assert_eq!(refused, Err(Refused::Exchange(rule.clone())));
    // And what it got while the bundle did not say so is good no more.
    let mut before = Lab::new();
    let orchestrator = before.svid("orchestrator", "o-1");
    let root = before.open(&orchestrator, BOTH, MORNING).unwrap();
    let child = before
        .delegate(&orchestrator, &root, "retriever", ACME)
        .unwrap();
    let svid = before.svid("retriever", "r-1");
    assert!(before.reach(&svid, &child).is_ok());
    before.apply(&required);
    assert_eq!(exchange_error(before.reach(&svid, &child)), rule);
}

#[test]
fn a_server_workload_that_requires_proof_has_no_unbound_tokens() {
    let required = BUNDLE.replace(
        "  internal: true\n",
        "  internal: true\n  proof: required\n",
    );
    let (mut lab, agent, child) = with_bundle(&required);
    assert!(
        agent
            .proving(&mut lab, |lab, svid| lab.reach(svid, &child))
            .is_ok()
    );
    let plain = lab.svid("retriever", "r-2");
    let server = "records".to_owned();
    let rule = ExchangeError::Grant(GrantError::ProofRequired { server });
    assert_eq!(exchange_error(lab.reach(&plain, &child)), rule);
    assert_eq!(rule.oauth().code, "invalid_dpop_proof");
    assert!(lab.renew(&plain, &child).is_ok(), "only its access tokens");
}

#[test]
fn a_pin_compares_the_provider_too() {
    let mut lab = Lab::new();
    let orchestrator = lab.svid("orchestrator", "o-1");
    let root = lab.open(&orchestrator, BOTH, MORNING).unwrap();
    let task = lab.delegate(&orchestrator, &root, "pinned", ACME).unwrap();
    let first = lab.svid("pinned", "p-1");
    let namesake = lab.svid("pinned", "cloud/p-1");
    assert!(lab.reach(&first, &task).is_ok());
    let pinned = ExchangeError::Actor(ActorError::Pinned);
    assert_eq!(exchange_error(lab.reach(&namesake, &task)), pinned);
    let renewed = lab.renew(&first, &task).unwrap();
    let may_act = lab.claims(&renewed).may_act;
    assert_eq!(may_act.prv.unwrap().as_str(), "process");
    // An opener's namesake does not resume its task either.
    let namesake = lab.svid("orchestrator", "cloud/o-1");
    let task = lab.task(&root);
    let refused = lab.resume(&namesake, &namesake, super::JWT, task);
    let not_delegator = ExchangeError::Actor(ActorError::NotDelegator);
    assert_eq!(exchange_error(refused), not_delegator);
}

#[test]
fn a_delegator_names_the_key_of_the_child() {
    let mut lab = Lab::new();
    let orchestrator = lab.svid("orchestrator", "o-1");
    let root = lab.open(&orchestrator, BOTH, MORNING).unwrap();
    let agent = Keyed::attested(&mut lab, "retriever", "r-1");
    let key = thumbprint(&mut lab, &agent.key);
    let delegate = |lab: &mut Lab, cnf: &str| {
        let form = [
            ("subject_token", root.as_str()),
            ("subject_token_type", TXN),
            ("requested_token_type", TXN),
            ("audience", "acme.example"),
            ("requested_actor", "spiffe://acme.example/agent/retriever"),
            ("requested_cnf", cnf),
            ("authorization_details", ACME),
        ];
        lab.exchange(&orchestrator, &form).map(|(token, _)| token)
    };
    let task = delegate(&mut lab, &format!(r#"{{"jkt":"{key}"}}"#)).unwrap();
    assert_eq!(lab.claims(&task).may_act.cnf, Some(Confirmation::Jkt(key)));
    let another = Keyed::attested(&mut lab, "retriever", "r-2");
    let plain = lab.svid("retriever", "r-3");
    let refused = ExchangeError::Actor(ActorError::PinnedKey);
    assert_eq!(exchange_error(lab.reach(&plain, &task)), refused);
    let other = another.proving(&mut lab, |lab, svid| lab.reach(svid, &task));
    assert_eq!(exchange_error(other), refused);
    assert!(
        agent
            .proving(&mut lab, |lab, svid| lab.reach(svid, &task))
            .is_ok()
    );
    for malformed in [
        "x",
        "{}",
        r#"{"kid":"a"}"#,
        r#"{"jkt":"AAAA"}"#,
        r#"{"x5t#S256":"AAAA"}"#,
    ] {
        assert!(matches!(
            exchange_error(delegate(&mut lab, malformed)),
            ExchangeError::Form(_)
        ));
    }
}
