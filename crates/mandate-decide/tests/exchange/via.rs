//! What a gateway gets for an agent, and what it does not (A9).

use aws_lc_rs::signature::{EcdsaKeyPair, KeyPair};
use mandate_decide::exchange::{ActorError, ExchangeError, FormError, GrantError, ViaError};
use mandate_model::stop::{Stopped, Subject};
use mandate_model::{GatewayId, Thumbprint};
use mandate_token::dpop::{ProofError, thumbprint_of_point};
use mandate_token::{AccessToken, Audience, Confirmation, Expect, Kind, Verified, Via};

use super::lab::{ASSERTION, BUNDLE, GRANT, JWT, Lab, Refused, TXN, key_pair};
use super::{ACME, BOTH, MORNING, exchange_error};

const GATEWAYS: &str = "spiffe://acme.example/mandate/gateway";
const RECORDS: &str = "https://records.acme.example";
const ADDRESS: &str = "https://edge.acme.example/records";
const HERE: &str = "https://edge.acme.example/records/customers/acme/x";

fn edge() -> GatewayId {
    GatewayId::parse("edge").unwrap()
}

/// `records`, assigned to the gateway `edge`.
fn assigned() -> String {
    let resource = format!("  resource: {RECORDS}\n");
    assert!(BUNDLE.contains(&resource));
    let with = format!("{resource}  gateways: {{edge: \"{ADDRESS}\"}}\n");
    BUNDLE.replacen(&resource, &with, 1)
}

/// A retriever with a task and an SVID for gateways, and the key of a gateway.
struct Scene {
    lab: Lab,
    /// The agent's, where its SVID is bound to one.
    key: Option<EcdsaKeyPair>,
    svid: String,
    task: String,
    gateway: EcdsaKeyPair,
}

/// What a gateway sends, to be changed by one detail.
#[derive(Clone)]
struct Asked {
    gateway: String,
    task: String,
    svid: String,
    resource: String,
    /// Proof, method and address.
    proof: Option<(String, String, String)>,
}

impl Scene {
    fn bound() -> Self {
        Self::with(&assigned(), true)
    }

    fn unbound() -> Self {
        Self::with(&assigned(), false)
    }

    fn with(bundle: &str, bound: bool) -> Self {
        let mut lab = Lab::with_bundle(bundle);
        let orchestrator = lab.svid("orchestrator", "o-1");
        let root = lab.open(&orchestrator, BOTH, MORNING).unwrap();
        let task = lab.delegate(&orchestrator, &root, "retriever", ACME);
        let key = bound.then(key_pair);
        let proof = key.as_ref().map(|key| lab.proof(key));
        let svid = lab.attest_for("retriever", "r-1", proof.as_ref(), Some(GATEWAYS));
        Self {
            key,
            svid: svid.unwrap().0,
            task: task.unwrap(),
            gateway: key_pair(),
            lab,
        }
    }

    /// As it should be.
    fn asked(&mut self) -> Asked {
        let proof = self.proof(HERE);
        Asked {
            gateway: "edge".to_owned(),
            task: self.task.clone(),
            svid: self.svid.clone(),
            resource: RECORDS.to_owned(),
            proof,
        }
    }

    /// The agent's proof for a `GET` of `uri`.
    fn proof(&mut self, uri: &str) -> Option<(String, String, String)> {
        let key = self.key.as_ref()?;
        let tokens = (Some(self.svid.as_str()), Some(self.task.as_str()));
        let proof = self.lab.prove(key, ("GET", uri), tokens);
        Some((proof, "GET".to_owned(), uri.to_owned()))
    }

    fn ask(&mut self, asked: &Asked) -> Result<String, Refused> {
        let proof = self.lab.proof(&self.gateway);
        let proved = asked.proof.clone().unwrap_or_default();
        let form = [
            ("grant_type", GRANT),
            ("client_id", &asked.gateway),
            ("subject_token", &asked.task),
            ("subject_token_type", TXN),
            ("actor_token", &asked.svid),
            ("actor_token_type", JWT),
            ("resource", &asked.resource),
            ("actor_dpop", &proved.0),
            ("actor_htm", &proved.1),
            ("actor_htu", &proved.2),
        ];
        let token = self.lab.exchange_via(Some(&proof), &form);
        token.map(|(token, _)| token)
    }

    /// The refusal of what `change` makes of a good request; which is good without it.
    #[track_caller]
    fn refusal(&mut self, change: impl FnOnce(&mut Asked)) -> ExchangeError {
        let mut asked = self.asked();
        change(&mut asked);
        let refused = exchange_error(self.ask(&asked));
        let good = self.asked();
        assert!(self.ask(&good).is_ok(), "without the change it is good");
        refused
    }

    fn verified(&self, token: &str) -> Verified<AccessToken> {
        let audience = Audience::parse(RECORDS).unwrap();
        let expect = Expect {
            issuer: &self.lab.issuer,
            audience: &audience,
        };
        AccessToken::verify(token, self.lab.keys(), &expect, self.lab.now).unwrap()
    }
}

fn thumbprint(key: &EcdsaKeyPair) -> Thumbprint {
    let point: [u8; 65] = key.public_key().as_ref().try_into().unwrap();
    thumbprint_of_point(&point)
}

#[test]
fn what_a_gateway_gets_is_bound_to_its_key_and_names_it_and_the_agents() {
    let mut scene = Scene::bound();
    let agents = thumbprint(scene.key.as_ref().unwrap());
    let gateways = thumbprint(&scene.gateway);
    let asked = scene.asked();
    let token = scene.ask(&asked).unwrap();
    let verified = scene.verified(&token);
    let claims = verified.claims();
    assert_eq!(claims.confirmation, Some(Confirmation::Jkt(gateways)));
    let via = Via {
        gateway: edge(),
        jkt: Some(agents),
    };
    assert_eq!(claims.via, Some(via));
    assert_eq!(claims.acting.actor().inst.as_str(), "r-1");
    let issued = scene.lab.events.last().unwrap();
    assert_eq!(issued.via, Some(edge()));
    assert_eq!(issued.jkt, Some(agents), "the agent's, not the gateway's");

    // An agent that has no key gets it all the same, and the token is worth nothing to anybody else.
    let mut scene = Scene::unbound();
    let gateways = thumbprint(&scene.gateway);
    let asked = scene.asked();
    let token = scene.ask(&asked).unwrap();
    let verified = scene.verified(&token);
    let bound_to = verified.claims().confirmation;
    assert_eq!(bound_to, Some(Confirmation::Jkt(gateways)));
    assert_eq!(verified.claims().agent_key(), None);
}

#[test]
fn a_forwarded_proof_is_used_once() {
    let mut scene = Scene::bound();
    let asked = scene.asked();
    scene.ask(&asked).unwrap();
    assert_eq!(scene.ask(&asked).unwrap_err(), Refused::Conflict);
    let another = scene.asked();
    scene.ask(&another).unwrap();
}

#[test]
fn a_gateway_gets_nothing_for_what_is_not_assigned_to_it() {
    let unassigned = ExchangeError::Via(ViaError::Unassigned);
    let refused = Scene::bound().refusal(|asked| asked.gateway = "other".to_owned());
    assert_eq!(refused, unassigned);
    assert_eq!(refused.oauth().code, "unauthorized_client");
    let mut nobodys = Scene::with(BUNDLE, true);
    let asked = nobodys.asked();
    assert_eq!(exchange_error(nobodys.ask(&asked)), unassigned);
    let unknown = Scene::bound().refusal(|asked| asked.resource = "https://x.example".to_owned());
    assert_eq!(unknown, ExchangeError::Grant(GrantError::NoSuchResource));
}

#[test]
fn a_forwarded_proof_is_for_this_request_these_tokens_and_this_key() {
    let other = key_pair();
    type Change<'a> = &'a dyn Fn(&mut Scene, &mut Asked);
    let made = |scene: &mut Scene, key: &EcdsaKeyPair, tokens: (Option<&str>, Option<&str>)| {
        let proof = scene.lab.prove(key, ("GET", HERE), tokens);
        Some((proof, "GET".to_owned(), HERE.to_owned()))
    };
    let with = |scene: &mut Scene, svid: Option<&str>, task: Option<&str>| {
        let key = scene.key.take().unwrap();
        let proof = made(scene, &key, (svid, task));
        scene.key = Some(key);
        proof
    };
    let without_tth: Change<'_> = &|scene, asked| {
        let svid = asked.svid.clone();
        asked.proof = with(scene, Some(&svid), None);
    };
    let of_another_task: Change<'_> = &|scene, asked| {
        let svid = asked.svid.clone();
        asked.proof = with(scene, Some(&svid), Some("another"));
    };
    let without_ath: Change<'_> = &|scene, asked| {
        let task = asked.task.clone();
        asked.proof = with(scene, None, Some(&task));
    };
    let another_method: Change<'_> = &|_, asked| {
        asked.proof.as_mut().unwrap().1 = "POST".to_owned();
    };
    let another_path: Change<'_> = &|_, asked| {
        asked.proof.as_mut().unwrap().2 = format!("{ADDRESS}/customers/globex/x");
    };
    let by_another: Change<'_> = &|scene, asked| {
        let (svid, task) = (asked.svid.clone(), asked.task.clone());
        asked.proof = made(scene, &other, (Some(&svid), Some(&task)));
    };
    let none: Change<'_> = &|_, asked| asked.proof = None;
    let elsewhere: Change<'_> = &|scene, asked| {
        asked.proof = scene.proof("https://edge.acme.example/second/customers/acme/x");
    };
    let elsewhere_still: Change<'_> = &|scene, asked| {
        asked.proof = scene.proof("https://other.acme.example/records/customers/acme/x");
    };
    for (n, change, expected) in [
        (1, without_tth, ViaError::Proof(ProofError::Hash("tth"))),
        (2, of_another_task, ViaError::Proof(ProofError::Hash("tth"))),
        (3, without_ath, ViaError::Proof(ProofError::Hash("ath"))),
        (4, another_method, ViaError::Proof(ProofError::Method)),
        (5, another_path, ViaError::Proof(ProofError::Target)),
        (6, by_another, ViaError::OtherKey),
        (7, none, ViaError::NoProof),
        (8, elsewhere, ViaError::Elsewhere),
        (9, elsewhere_still, ViaError::Elsewhere),
    ] {
        let mut scene = Scene::bound();
        let mut asked = scene.asked();
        change(&mut scene, &mut asked);
        let refused = exchange_error(scene.ask(&asked));
        assert_eq!(refused, ExchangeError::Via(expected), "{n}");
        assert_eq!(refused.oauth().code, "invalid_dpop_proof", "{n}");
        let good = scene.asked();
        assert!(scene.ask(&good).is_ok(), "{n}");
    }
}

#[test]
fn a_forwarded_proof_is_no_older_than_any_other() {
    let mut scene = Scene::bound();
    let asked = scene.asked();
    scene.lab.advance(std::time::Duration::from_secs(60));
    let old = ExchangeError::Via(ViaError::Proof(ProofError::TooOld));
    assert_eq!(exchange_error(scene.ask(&asked)), old);
}

#[test]
fn a_proof_beside_an_svid_without_a_key_proves_nothing_to_a_gateway_either() {
    let mut scene = Scene::unbound();
    let stray = key_pair();
    let refused = {
        let tokens = (Some(scene.svid.clone()), Some(scene.task.clone()));
        let tokens = (tokens.0.as_deref(), tokens.1.as_deref());
        let proof = scene.lab.prove(&stray, ("GET", HERE), tokens);
        scene.refusal(|asked| asked.proof = Some((proof, "GET".to_owned(), HERE.to_owned())))
    };
    assert_eq!(refused, ExchangeError::Via(ViaError::Unbound));
}

#[test]
fn an_svid_for_the_token_endpoint_is_none_for_a_gateway_and_the_other_way_round() {
    let mut scene = Scene::unbound();
    let client = scene.lab.svid("retriever", "r-1");
    let refused = scene.refusal(|asked| asked.svid = client.clone());
    assert!(
        matches!(refused, ExchangeError::Via(ViaError::Actor(_))),
        "{refused:?}"
    );
    assert_eq!(refused.oauth().code, "invalid_request");
    let (svid, task) = (scene.svid.clone(), scene.task.clone());
    let refused = exchange_error(scene.lab.reach(&svid, &task));
    assert!(matches!(refused, ExchangeError::Client(_)), "{refused:?}");
    let task = scene.refusal(|asked| asked.svid = asked.task.clone());
    assert!(matches!(task, ExchangeError::Via(ViaError::Actor(_))));
}

#[test]
fn a_gateway_gets_no_more_for_an_agent_than_the_agent_itself() {
    // Whose task is another's.
    let mut scene = Scene::unbound();
    let executor = scene
        .lab
        .attest_for("executor", "e-1", None, Some(GATEWAYS));
    let executor = executor.unwrap().0;
    let refused = scene.refusal(|asked| asked.svid = executor);
    assert_eq!(refused, ExchangeError::Actor(ActorError::MayAct));
    // Who is suspended.
    let asked = scene.asked();
    let retriever = mandate_model::SpiffeId::parse("spiffe://acme.example/agent/retriever");
    scene.lab.suspend(Subject::Agent {
        id: retriever.unwrap(),
    });
    let refused = exchange_error(scene.ask(&asked));
    assert!(matches!(refused, ExchangeError::Stopped(_)), "{refused:?}");
    // Whose key was replaced.
    let mut scene = Scene::bound();
    let asked = scene.asked();
    let newer = scene.lab.proof(&key_pair());
    scene.lab.attest("retriever", "r-1", Some(&newer)).unwrap();
    let replaced = ExchangeError::Stopped(Stopped::KeyReplaced);
    assert_eq!(exchange_error(scene.ask(&asked)), replaced);
    // Whose type needs a key.
    let required = assigned().replace(
        "name: retriever}\nspec:\n",
        "name: retriever}\nspec:\n  proof: required\n",
    );
    let mut scene = Scene::unbound();
    scene.lab.apply(&required);
    let asked = scene.asked();
    let refused = exchange_error(scene.ask(&asked));
    assert_eq!(refused.rule(), "proof.required");
}

#[test]
fn a_gateway_that_is_suspended_or_shows_no_key_gets_nothing() {
    let mut scene = Scene::unbound();
    let asked = scene.asked();
    let form = [
        ("grant_type", GRANT),
        ("client_id", "edge"),
        ("subject_token", asked.task.as_str()),
        ("subject_token_type", TXN),
        ("actor_token", asked.svid.as_str()),
        ("actor_token_type", JWT),
        ("resource", RECORDS),
    ];
    let refused = exchange_error(scene.lab.exchange_via(None, &form).map(|(t, _)| t));
    assert_eq!(refused, ExchangeError::Via(ViaError::NoKey));
    scene.ask(&asked).unwrap();
    scene.lab.suspend(Subject::Gateway { id: edge() });
    let refused = exchange_error(scene.ask(&asked));
    assert!(matches!(refused, ExchangeError::Stopped(_)), "{refused:?}");
}

#[test]
fn a_gateways_form_takes_what_it_has_a_use_for_and_nothing_else() {
    let mut scene = Scene::unbound();
    let asked = scene.asked();
    let good = [
        ("grant_type", GRANT),
        ("client_id", "edge"),
        ("subject_token", asked.task.as_str()),
        ("subject_token_type", TXN),
        ("actor_token", asked.svid.as_str()),
        ("actor_token_type", JWT),
        ("resource", RECORDS),
    ];
    let mut form_error = |form: &[(&str, &str)]| {
        let proof = scene.lab.proof(&scene.gateway);
        let refused = scene.lab.exchange_via(Some(&proof), form);
        let refused = exchange_error(refused.map(|(token, _)| token));
        let ExchangeError::Form(why) = refused else {
            panic!("{refused:?}");
        };
        why
    };
    for (name, _) in &good[1..] {
        let without: Vec<_> = good.iter().filter(|(n, _)| n != name).copied().collect();
        assert_eq!(form_error(&without), FormError::Missing(name), "{name}");
    }
    for (extra, expected) in [
        (
            ("client_assertion", "x"),
            FormError::Unexpected("client_assertion"),
        ),
        (
            ("client_assertion_type", ASSERTION),
            FormError::Unexpected("client_assertion_type"),
        ),
        (("scope", "records:read"), FormError::Unexpected("scope")),
        (
            ("audience", "acme.example"),
            FormError::Unexpected("audience"),
        ),
        (
            ("requested_actor", GATEWAYS),
            FormError::Unexpected("requested_actor"),
        ),
        (("actor_htm", "GET"), FormError::Missing("actor_dpop")),
        (("actor_htu", HERE), FormError::Missing("actor_dpop")),
        (("actor_dpop", "x"), FormError::Missing("actor_htm")),
        (
            ("resource", RECORDS),
            FormError::Repeated("resource".to_owned()),
        ),
    ] {
        let with = [good.as_slice(), &[extra]].concat();
        assert_eq!(form_error(&with), expected, "{extra:?}");
    }
    // What is a gateway's has no place in an agent's own exchange.
    let client = scene.lab.svid("retriever", "r-2");
    for name in ["actor_dpop", "actor_htm", "actor_htu"] {
        let form = [
            ("subject_token", asked.task.as_str()),
            ("subject_token_type", TXN),
            ("resource", RECORDS),
            (name, "x"),
        ];
        let refused = exchange_error(scene.lab.exchange(&client, &form).map(|(t, _)| t));
        assert_eq!(refused, ExchangeError::Form(FormError::Unexpected(name)));
    }
}
