//! Access tokens that a gateway got for an agent (A9): where they are good, and whose key they speak of.

use aws_lc_rs::signature::EcdsaKeyPair;
use mandate_decide::enforce::{Denial, admission_record};
use mandate_model::GatewayId;
use mandate_model::stop::Stopped;

use super::lab::{BUNDLE, GRANT, JWT, Lab, TXN, key_pair};
use super::{READ, Setting, task_for};

const RESOURCE: &str = "https://records.acme.example";
const ADDRESS: &str = "https://g-1.acme.example/records";
const TARGET: &str = "/customers/acme";

/// What `g-1` got for a retriever, which has proved `key` where it has one.
fn got(key: Option<&EcdsaKeyPair>) -> Setting {
    let resource = format!("  resource: {RESOURCE}\n");
    let assigned = format!("{resource}  gateways: {{g-1: \"{ADDRESS}\"}}\n");
    let mut lab = Lab::with_bundle(&BUNDLE.replacen(&resource, &assigned, 1));
    let task = task_for(&mut lab, "retriever", READ);
    let proof = key.map(|key| lab.proof(key));
    let audience = Some("spiffe://acme.example/mandate/gateway");
    let svid = lab.attest_for("retriever", "a-1", proof.as_ref(), audience);
    let (svid, _) = svid.unwrap();
    let uri = format!("{ADDRESS}{TARGET}");
    let tokens = (Some(svid.as_str()), Some(task.as_str()));
    let proof = key.map(|key| lab.prove(key, ("GET", &uri), tokens));
    let mut form = vec![
        ("grant_type", GRANT),
        ("client_id", "g-1"),
        ("subject_token", &task),
        ("subject_token_type", TXN),
        ("actor_token", &svid),
        ("actor_token_type", JWT),
        ("resource", RESOURCE),
    ];
    if let Some(proof) = &proof {
        form.extend([
            ("actor_dpop", proof.as_str()),
            ("actor_htm", "GET"),
            ("actor_htu", &uri),
        ]);
    }
    let own = lab.proof(&key_pair());
    let (access, _) = lab.exchange_via(Some(&own), &form).unwrap();
    Setting::with(lab, &access)
}

#[test]
fn what_a_gateway_got_is_good_at_that_gateway_alone() {
    let mut setting = got(None);
    assert!(setting.get(TARGET).is_ok());
    setting.gateway = GatewayId::parse("g-2").unwrap();
    let denied = setting.get(TARGET).unwrap_err();
    assert_eq!(denied, Denial::OtherGateway);
    assert_eq!(denied.rule(), "token.gateway");
}

#[test]
fn a_key_that_the_agent_replaced_voids_what_a_gateway_got_for_it() {
    let key = key_pair();
    let mut setting = got(Some(&key));
    assert!(setting.get(TARGET).is_ok());
    let newer = setting.lab.proof(&key_pair());
    let attested = setting.lab.attest("retriever", "a-1", Some(&newer));
    attested.unwrap();
    let denied = setting.get(TARGET).unwrap_err();
    assert_eq!(denied, Denial::Stopped(Stopped::KeyReplaced));
}

#[test]
fn a_gateways_key_is_not_taken_for_one_that_the_agent_proved() {
    let required = |setting: &mut Setting| {
        let bundle = BUNDLE.replacen(
            "name: retriever}\nspec:\n",
            "name: retriever}\nspec:\n  proof: required\n",
            1,
        );
        setting.lab.apply(&bundle);
    };
    let mut without = got(None);
    required(&mut without);
    let denied = without.get(TARGET).unwrap_err();
    assert_eq!(denied, Denial::ProofRequired("agent type"));
    let key = key_pair();
    let mut with = got(Some(&key));
    required(&mut with);
    assert!(with.get(TARGET).is_ok());
}

#[test]
fn the_record_names_the_gateway_and_the_agents_own_key() {
    let key = key_pair();
    let mut setting = got(Some(&key));
    let agents = setting.lab.proof(&key).key();
    let verdict = setting.get(TARGET);
    let record = admission_record(&setting.facts(), None, &verdict, str::to_owned);
    assert_eq!(record.via, Some(setting.gateway.clone()));
    assert_eq!(record.jkt, Some(agents));
    let unbound = got(None);
    let verdict = unbound.get(TARGET);
    let record = admission_record(&unbound.facts(), None, &verdict, str::to_owned);
    assert_eq!((record.via.is_some(), record.jkt), (true, None));
}
