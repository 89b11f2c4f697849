//! People of several trust providers who begin tasks of one purpose.

use std::sync::Arc;

use mandate_testkit::oidc_issuer::{Mood, OidcIssuer};
use serde_json::{Value, json};

use crate::client::Answer;
use crate::lab::{DOMAIN, ID_TOKEN, Lab, TXN};

/// People of a partner, and of the same house by another client, open support cases too.
const MORE: &str = "
---
apiVersion: mandate.dev/v1alpha1
kind: TrustProvider
metadata: {name: partners}
spec: {oidc: {issuer: \"PARTNERS\", audience: partner-app}}
---
apiVersion: mandate.dev/v1alpha1
kind: TrustProvider
metadata: {name: kiosk}
spec: {oidc: {issuer: \"PEOPLE\", audience: kiosk-app}}
---
apiVersion: mandate.dev/v1alpha1
kind: TaskPolicy
metadata: {name: partner-case}
spec:
  opener: orchestrator
  purpose: support-case
  trigger: {user: {provider: partners, anyUser: true}}
  ceiling: [{server: records, actions: [read], constraints: {customer: {in: [partner]}}}]
  maxDuration: 5m
---
apiVersion: mandate.dev/v1alpha1
kind: TaskPolicy
metadata: {name: a-kiosk-case}
spec:
  opener: orchestrator
  purpose: support-case
  trigger: {user: {provider: kiosk, anyUser: true}}
  ceiling: [{server: records, actions: [read], constraints: {customer: {in: [kiosk]}}}]
  maxDuration: 5m
";

struct People {
    lab: Lab,
    partners: Arc<OidcIssuer>,
    orchestrator: String,
}

impl People {
    async fn new() -> Self {
        let lab = Lab::new().await;
        let partners = OidcIssuer::start().await;
        let orchestrator = lab.svid("orchestrator").await;
        let people = Self {
            lab,
            partners,
            orchestrator,
        };
        let text = people.bundle();
        people.lab.apply(&text, 1).await.expect(200);
        people
    }

    fn bundle(&self) -> String {
        let more = MORE.replace("PARTNERS", self.partners.issuer());
        let more = more.replace("PEOPLE", self.lab.ground.people.issuer());
        format!("{}{more}", self.lab.bundle())
    }

    /// An ID token of alice.
    fn token(&self, issuer: &OidcIssuer, audience: &str) -> String {
        let claims = json!({"groups": ["support"], "tenant": "acme"});
        issuer.id_token("alice", audience, self.lab.now(), &claims)
    }

    async fn open(&self, token: &str) -> Answer {
        let details = json!({"purpose": "support-case"}).to_string();
        let form = [
            ("subject_token", token),
            ("subject_token_type", ID_TOKEN),
            ("requested_token_type", TXN),
            ("audience", DOMAIN),
            ("request_details", details.as_str()),
        ];
        self.lab.exchange(&self.orchestrator, &form).await
    }

    /// The principal and the policy of the task that was opened last.
    async fn last(&self) -> (String, String) {
        let events = self.lab.events().await;
        let opened = events.iter().rev().find(|e| e.what.kind() == "task_opened");
        let opened = opened.unwrap();
        let principal = opened.principal.as_ref().unwrap().to_string();
        (principal, opened.policies[0].as_str().to_owned())
    }
}

fn customers(opened: &Value) -> Vec<Value> {
    let entries = opened["authorization_details"].as_array().unwrap();
    let customers = entries.iter().map(|e| &e["constraints"]["customer"]["in"]);
    customers.cloned().collect()
}

#[tokio::test]
async fn the_id_token_says_whose_policy_a_task_is_opened_under() {
    let people = People::new().await;
    let house = people.lab.ground.people.clone();
    for (issuer, audience, provider, policy, customer) in [
        (&house, "support-app", "login", "support-case", "acme"),
        (
            &people.partners,
            "partner-app",
            "partners",
            "partner-case",
            "partner",
        ),
        (&house, "kiosk-app", "kiosk", "a-kiosk-case", "kiosk"),
    ] {
        let opened = people.open(&people.token(issuer, audience)).await;
        let opened = opened.expect(200);
        let all = customers(&opened);
        assert!(all.iter().all(|c| *c == json!([customer])), "{opened}");
        let wanted = (format!("user:{provider}:alice"), policy.to_owned());
        assert_eq!(people.last().await, wanted);
    }
}

#[tokio::test]
async fn an_id_token_that_belongs_to_no_provider_of_the_purpose_opens_nothing() {
    let people = People::new().await;
    let house = people.lab.ground.people.clone();
    let stranger = OidcIssuer::start().await;
    for (issuer, audience) in [
        (&stranger, "support-app"),
        (&stranger, "partner-app"),
        // A good issuer, with the audience that another one is declared with.
        (&people.partners, "support-app"),
        (&house, "partner-app"),
    ] {
        let refused = people.open(&people.token(issuer, audience)).await;
        assert_eq!(refused.error(), "invalid_request", "{audience}");
    }
    assert_eq!(people.open("nonsense").await.error(), "invalid_request");
    assert_eq!(people.lab.refused_rules().await, ["person.token"; 5]);
    assert_eq!(stranger.fetches(), 0, "no address that a token names");
    let good = people.token(&house, "support-app");
    people.open(&good).await.expect(200);
    let again = people.open(&good).await;
    assert_eq!(again.error(), "invalid_request", "used before");
}

#[tokio::test]
async fn a_provider_that_is_away_stops_its_own_people_alone() {
    let people = People::new().await;
    people.partners.set_mood(Mood::Down);
    let theirs = people.token(&people.partners, "partner-app");
    assert_eq!(people.open(&theirs).await.status, 503);
    let house = people.lab.ground.people.clone();
    let ours = people.token(&house, "support-app");
    people.open(&ours).await.expect(200);
}

#[tokio::test]
async fn a_task_goes_on_under_the_policy_of_its_own_provider_and_no_other() {
    let people = People::new().await;
    let theirs = people.token(&people.partners, "partner-app");
    let task = people.open(&theirs).await.token();
    people
        .lab
        .renew(&people.orchestrator, &task)
        .await
        .expect(200);
    // The partners' policy goes; the house's now covers the partner too, and that helps nothing.
    let wider = people
        .bundle()
        .replace("provider: partners, anyUser", "provider: kiosk, anyUser")
        .replace(
            "purpose: support-case\n  trigger: {user: {provider: kiosk, anyUser: true}}\n  ceiling: [{server: records, actions: [read], constraints: {customer: {in: [kiosk]}}}]",
            "purpose: other\n  trigger: {user: {provider: kiosk, anyUser: true}}\n  ceiling: [{server: records, actions: [read], constraints: {customer: {in: [kiosk]}}}]",
        );
    people.lab.apply(&wider, 2).await.expect(200);
    let refused = people.lab.renew(&people.orchestrator, &task).await;
    assert_eq!(refused.error(), "invalid_request");
    assert_eq!(people.lab.refused_rules().await, ["task_policy"]);
}
