//! Evidence of platforms at the token endpoint.

use mandate_audit::What;

use crate::client::{Answer, post_form_tcp};
use crate::lab::{ASSERTION, GRANT, JWT, Lab, agent};

const ACCESS: &str = "urn:ietf:params:oauth:token-type:access_token";
const AWS: &str = "urn:mandate:token-type:aws-request";

impl Lab {
    /// The answer to evidence that comes over the network.
    async fn evidence(&self, token: &str, kind: &str, more: &[(&str, &str)]) -> Answer {
        let mut form = vec![
            ("grant_type", GRANT),
            ("subject_token", token),
            ("subject_token_type", kind),
        ];
        form.extend(more);
        post_form_tcp(self.public, "/token", &form).await
    }
}

#[tokio::test]
async fn a_platforms_token_attests_over_the_network_and_the_record_says_how() {
    let lab = Lab::new().await;
    lab.say("backlog", "job-1");
    let answer = lab.evidence("good", JWT, &[]).await;
    let issued = answer.expect(200);
    assert_eq!(
        (
            issued["token_type"].as_str(),
            issued["issued_token_type"].as_str()
        ),
        (Some("N_A"), Some(JWT))
    );
    lab.open(&answer.token(), "nightly", &[]).await.expect(200);
}

#[tokio::test]
async fn the_record_of_an_attestation_has_kind_instance_and_facts_and_never_the_token() {
    let lab = Lab::new().await;
    lab.say("backlog", "job-1");
    lab.evidence("good", JWT, &[]).await.expect(200);
    let events = lab.events().await;
    let attested = events
        .iter()
        .find(|e| matches!(e.what, What::Attested { .. }))
        .unwrap();
    let level = &attested.actors[0];
    assert_eq!((level.att.as_str(), level.inst.as_str()), ("oidc", "job-1"));
}

/// Quotas of those who ask others go by it.
#[tokio::test]
async fn an_attestor_is_told_from_which_network_or_user_evidence_comes() {
    let lab = Lab::new().await;
    lab.say("backlog", "job-1");
    lab.evidence("good", JWT, &[]).await.expect(200);
    lab.attest("backlog", "job-2", &[]).await.expect(200);
    let from: Vec<String> = lab
        .events()
        .await
        .iter()
        .filter_map(|event| match &event.what {
            What::Attested { facts } => facts.get("from").cloned(),
            _ => None,
        })
        .collect();
    let uid = rustix::process::geteuid().as_raw();
    assert_eq!(from, ["127.0.0.0/24".to_owned(), format!("uid {uid}")]);
}

/// Clients of other token services ask for an access token, and take what they get.
#[tokio::test]
async fn a_client_that_asks_for_an_access_token_gets_a_jwt_svid_that_says_what_it_is() {
    let lab = Lab::new().await;
    lab.say("backlog", "job-1");
    let audience = "http://127.0.0.1:7701";
    let asked = [("requested_token_type", ACCESS), ("audience", audience)];
    let issued = lab.evidence("good", JWT, &asked).await.expect(200);
    assert_eq!(issued["issued_token_type"], JWT);
    for more in [
        ("scope", "openid"),
        ("client_id", "x"),
        ("resource", "https://records.acme.example"),
    ] {
        let mut asked = asked.to_vec();
        asked.push(more);
        assert_eq!(
            lab.evidence("good", JWT, &asked).await.error(),
            "invalid_request",
            "{more:?}"
        );
    }
}

#[tokio::test]
async fn evidence_that_is_good_for_one_use_attests_once() {
    let lab = Lab::new().await;
    lab.say("backlog", "ASIA1");
    lab.evidence("request-1", AWS, &[]).await.expect(200);
    let again = lab.evidence("request-1", AWS, &[]).await;
    assert_eq!(again.error(), "invalid_request");
    assert!(again.text.contains("used before"), "{}", again.text);
    assert_eq!(lab.refused_rules().await, ["subject.used"]);
    lab.evidence("request-2", AWS, &[]).await.expect(200);
    let lab = lab.restarted().await;
    lab.say("backlog", "ASIA1");
    assert_eq!(
        lab.evidence("request-1", AWS, &[]).await.error(),
        "invalid_request"
    );
}

#[tokio::test]
async fn evidence_at_once_from_two_callers_attests_one() {
    let lab = Lab::new().await;
    lab.say("backlog", "ASIA1");
    let (one, other) = tokio::join!(
        lab.evidence("request-1", AWS, &[]),
        lab.evidence("request-1", AWS, &[])
    );
    let good = [&one, &other]
        .iter()
        .filter(|a| a.status.is_success())
        .count();
    assert_eq!(good, 1, "{} {}", one.text, other.text);
}

#[tokio::test]
async fn a_refusal_says_the_rule_and_nothing_of_the_provider() {
    let lab = Lab::new().await;
    lab.say("backlog", "job-1");
    let broken = lab.evidence("broken", JWT, &[]).await;
    assert_eq!(
        (broken.status.as_u16(), broken.error().as_str()),
        (401, "invalid_client")
    );
    assert!(broken.text.contains("it is broken"));
    let unavailable = lab.evidence("unavailable", JWT, &[]).await;
    assert_eq!(unavailable.status.as_u16(), 503);
    assert_eq!(unavailable.error(), "temporarily_unavailable");
    assert!(
        !unavailable.text.contains("idp.example"),
        "{}",
        unavailable.text
    );
}

#[tokio::test]
async fn a_name_that_is_claimed_beside_evidence_is_only_held_against_it() {
    let lab = Lab::new().await;
    lab.say("backlog", "job-1");
    let own = [("requested_actor", "spiffe://acme.example/agent/backlog")];
    lab.evidence("good", JWT, &own).await.expect(200);
    let other = [("requested_actor", "spiffe://acme.example/agent/retriever")];
    assert_eq!(
        lab.evidence("good", JWT, &other).await.error(),
        "invalid_client"
    );
}

/// With a client assertion a JWT is a host's SVID, and never a platform's token (A6).
#[tokio::test]
async fn a_platforms_token_beside_a_client_assertion_attests_nobody() {
    let lab = Lab::new().await;
    let svid = lab.svid("orchestrator").await;
    lab.say("backlog", "job-1");
    let asserted = [
        ("client_assertion_type", ASSERTION),
        ("client_assertion", svid.as_str()),
        ("requested_actor", "spiffe://acme.example/agent/backlog"),
    ];
    let refused = lab.evidence("good", JWT, &asserted).await;
    assert_eq!(refused.error(), "invalid_request", "{}", refused.text);
}

#[tokio::test]
async fn a_suspended_agent_type_gets_nothing_for_a_platforms_token_either() {
    let lab = Lab::new().await;
    lab.suspend(agent("backlog")).await;
    lab.say("backlog", "job-1");
    let refused = lab.evidence("good", JWT, &[]).await;
    assert_eq!(refused.status.as_u16(), 403, "{}", refused.text);
}

#[tokio::test]
async fn a_challenge_is_handed_out_to_whoever_asks_and_not_kept_by_caches() {
    let lab = Lab::new().await;
    let answer = post_form_tcp(lab.public, "/attestation-challenge", &[]).await;
    assert_eq!(answer.expect(200)["attestation_challenge"], "sign-this");
    assert_eq!(answer.headers["cache-control"], "no-store");
    let metadata =
        crate::client::get_tcp(lab.public, "/.well-known/oauth-authorization-server").await;
    assert_eq!(
        metadata.expect(200)["challenge_endpoint"],
        "http://127.0.0.1:7701/attestation-challenge"
    );
}
