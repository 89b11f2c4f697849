use std::sync::Arc;

use mandate_model::{AttestationKind, Secret, Timestamp};
use mandate_policy::Bundle;
use mandate_ports::{AttestRefusal, Attested, Attestor, Evidence};
use mandate_testkit::attest_suite;
use mandate_testkit::clock::FixedClock;
use mandate_testkit::oidc_issuer::{Mood, OidcIssuer};
use serde_json::{Value, json};

use super::{Clusters, TokenAttestor};
use crate::fixtures::{NOW, bundle, somewhere};
use crate::{IssuerKeys, OidcOptions};

mod platforms;
mod reviews;

/// An issuer, an attestor that trusts it by the bundle, and what the bundle says.
struct World {
    issuer: Arc<OidcIssuer>,
    attestor: TokenAttestor,
    bundle: Bundle,
}

fn agent(name: &str, rules: &str) -> String {
    format!(
        "---\nkind: AgentType\nmetadata: {{name: {name}}}\nspec:\n  attestation: [{rules}]\n  breakGlass: {{contact: x, impact: y}}\n"
    )
}

fn attestor(clusters: Clusters) -> TokenAttestor {
    let clock = Arc::new(FixedClock::at(NOW));
    let keys = IssuerKeys::new(OidcOptions::default(), clock.clone()).unwrap();
    TokenAttestor::new(Arc::new(keys), clusters, clock)
}

impl World {
    /// `text` with `ISSUER` in it for the issuer's address.
    async fn of(text: &str) -> Self {
        let issuer = OidcIssuer::start().await;
        let bundle = bundle(&text.replace("ISSUER", issuer.issuer()));
        Self {
            issuer,
            attestor: attestor(Clusters::default()),
            bundle,
        }
    }

    /// One agent type that is known by `sub` and more.
    async fn plain() -> Self {
        let rules = "{oidc: {provider: idp, claims: {sub: agent-7, /realm/roles: {has: agent}}}}";
        Self::of(&format!("{IDP}{}", agent("retriever", rules))).await
    }

    fn token(&self, others: &Value) -> String {
        let mut claims = json!({"jti": "j1", "realm": {"roles": ["agent"]}});
        claims
            .as_object_mut()
            .unwrap()
            .extend(others.as_object().unwrap().clone());
        self.issuer.id_token("agent-7", "mandate", NOW, &claims)
    }

    async fn attest(&self, token: &str) -> Result<Attested, AttestRefusal> {
        let evidence = Evidence::Token(Secret::new(token.to_owned()));
        let from = somewhere();
        self.attestor.attest(evidence, &from, &self.bundle).await
    }

    async fn attest_with(&self, others: &Value) -> Result<Attested, AttestRefusal> {
        self.attest(&self.token(others)).await
    }
}

const IDP: &str = "kind: TrustProvider\nmetadata: {name: idp}\nspec: {oidc: {issuer: 'ISSUER', audience: mandate}}\n";

fn broken(refusal: Result<Attested, AttestRefusal>) -> String {
    match refusal {
        Err(AttestRefusal::Broken(why)) => why,
        other => panic!("{other:?}"),
    }
}

fn no_rule(refusal: Result<Attested, AttestRefusal>) -> String {
    match refusal {
        Err(AttestRefusal::NoRule { nearest }) => nearest,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn keeps_what_the_port_promises() {
    let world = World::plain().await;
    let with = |rules: &str| {
        let text = format!("{IDP}{rules}").replace("ISSUER", world.issuer.issuer());
        bundle(&text)
    };
    let fits = "{oidc: {provider: idp, claims: {sub: agent-7}}}";
    let token = world.token(&json!({}));
    let old = NOW.as_secs() - 7200;
    let gone = world.token(&json!({"iat": old, "exp": old + 300}));
    let cases = attest_suite::Cases {
        evidence: || Evidence::Token(Secret::new(token.clone())),
        gone: || Evidence::Token(Secret::new(gone.clone())),
        one: (
            world.bundle.clone(),
            mandate_model::AgentTypeName::parse("retriever").unwrap(),
        ),
        none: with(&agent("retriever", &fits.replace("agent-7", "agent-8"))),
        two: with(&format!("{}{}", agent("one", fits), agent("two", fits))),
    };
    attest_suite::run(&world.attestor, cases).await;
}

#[tokio::test]
async fn a_token_that_fits_says_agent_provider_instance_and_facts() {
    let world = World::plain().await;
    let attested = world.attest_with(&json!({})).await.unwrap();
    assert_eq!(attested.agent.as_str(), "retriever");
    assert_eq!(attested.provider.as_str(), "idp");
    assert_eq!(attested.instance.as_str(), "j1");
    assert_eq!(attested.kind, AttestationKind::Oidc);
    assert_eq!(attested.facts["subject"], "agent-7");
    let unnamed = world.attest_with(&json!({"jti": null})).await.unwrap();
    assert!(unnamed.instance.as_str().starts_with("sha256:"));
}

#[tokio::test]
async fn each_rule_about_the_token_itself_is_checked() {
    let world = World::plain().await;
    let now = NOW.as_secs();
    for (others, part) in [
        (json!({"aud": "other"}), "another audience"),
        (json!({"aud": ["mandate", "other"]}), "several audiences"),
        (json!({"aud": null}), "lacks `aud`"),
        (json!({"exp": now - 61}), "expired"),
        (json!({"exp": null}), "lacks `exp`"),
        (json!({"iat": null}), "lacks `iat`"),
        (json!({"iat": now + 120}), "in the future"),
        (json!({"nbf": now + 120}), "not valid yet"),
        (json!({"sub": null}), "lacks `sub`"),
    ] {
        let why = broken(world.attest_with(&others).await);
        assert!(why.contains(part), "{others}: {why}");
    }
    world
        .attest_with(&json!({"aud": ["mandate"]}))
        .await
        .unwrap();
}

/// FAILURES 26 and 30: what a platform made to last proves only what once was.
#[tokio::test]
async fn tokens_that_live_or_are_older_than_the_provider_allows_are_refused() {
    let world = World::plain().await;
    let now = NOW.as_secs();
    let year = json!({"exp": now + 365 * 86_400});
    assert!(broken(world.attest_with(&year).await).contains("longer than the 3600 s"));
    world
        .attest_with(&json!({"exp": now + 3600}))
        .await
        .unwrap();
    let second = json!({"exp": now + 3601});
    assert!(broken(world.attest_with(&second).await).contains("longer than"));

    let text = IDP.replace("audience: mandate", "audience: mandate, maxAge: 10m");
    let rules = "{oidc: {provider: idp, claims: {sub: agent-7}}}";
    let world = World::of(&format!("{text}{}", agent("retriever", rules))).await;
    let aged = |age: u64| json!({"iat": now - age, "exp": now + 600});
    world.attest_with(&aged(600)).await.unwrap();
    let why = broken(world.attest_with(&aged(661)).await);
    assert!(why.contains("more than the 600 s ago"), "{why}");
}

/// FAILURES 14.
#[tokio::test]
async fn another_subject_of_the_same_issuer_and_audience_is_nobody() {
    let world = World::plain().await;
    let nearest = no_rule(world.attest_with(&json!({"sub": "agent-8"})).await);
    assert_eq!(nearest, "agent type `retriever`: sub is `agent-7`");
    let roles = json!({"realm": {"roles": ["user"]}});
    let nearest = no_rule(world.attest_with(&roles).await);
    assert_eq!(nearest, "agent type `retriever`: /realm/roles has `agent`");
}

#[tokio::test]
async fn a_foreign_issuer_or_a_foreign_key_proves_nothing() {
    let world = World::plain().await;
    let other = OidcIssuer::start().await;
    let foreign = other.id_token("agent-7", "mandate", NOW, &json!({}));
    let nearest = no_rule(world.attest(&foreign).await);
    assert!(nearest.contains("no trust provider has its issuer"));
    assert_eq!((other.fetches(), world.issuer.fetches()), (0, 0));
    let posing = json!({"iss": world.issuer.issuer()});
    let forged = other.id_token("agent-7", "mandate", NOW, &posing);
    assert!(broken(world.attest(&forged).await).contains("signature"));
}

/// Nobody learns by forged tokens which subjects are pinned (P8).
#[tokio::test]
async fn a_forged_token_is_refused_alike_whatever_subject_it_claims() {
    let world = World::plain().await;
    let other = OidcIssuer::start().await;
    let mut said = Vec::new();
    for subject in ["agent-7", "nobody"] {
        let claims = json!({"iss": world.issuer.issuer(), "realm": {"roles": ["agent"]}});
        let forged = other.id_token(subject, "mandate", NOW, &claims);
        said.push(world.attest(&forged).await);
    }
    assert_eq!(said[0], said[1]);
}

/// FAILURES 12.
#[tokio::test]
async fn a_token_of_another_kind_is_refused_by_its_type() {
    let world = World::plain().await;
    let access = world.issuer.typed("at+jwt", &claims(&world, "agent-7"));
    assert!(broken(world.attest(&access).await).contains("`typ`"));
    let text = IDP.replace("audience: mandate", "audience: mandate, tokenType: at+jwt");
    let rules = "{oidc: {provider: idp, claims: {sub: agent-7}}}";
    let machines = World::of(&format!("{text}{}", agent("retriever", rules))).await;
    let access = machines
        .issuer
        .typed("at+jwt", &claims(&machines, "agent-7"));
    machines.attest(&access).await.unwrap();
    let long = claims(&machines, "agent-7");
    let long = machines.issuer.typed("application/at+jwt", &long);
    machines.attest(&long).await.unwrap();
    assert!(broken(machines.attest_with(&json!({})).await).contains("`typ`"));
}

fn claims(world: &World, subject: &str) -> Value {
    let now = NOW.as_secs();
    json!({"iss": world.issuer.issuer(), "sub": subject, "aud": "mandate", "iat": now, "exp": now + 60})
}

#[tokio::test]
async fn a_token_of_this_authority_is_no_evidence_and_the_mend_is_said() {
    let world = World::plain().await;
    let own = json!({"iss": "https://mandate.acme.example"});
    let why = broken(world.attest_with(&own).await);
    assert!(why.contains("`client_assertion`"), "{why}");
}

#[tokio::test]
async fn an_issuer_that_cannot_be_asked_is_unavailable_and_said_in_the_log_alone() {
    let world = World::plain().await;
    world.issuer.set_mood(Mood::Down);
    let refusal = world.attest_with(&json!({})).await.unwrap_err();
    assert!(
        matches!(&refusal, AttestRefusal::Unavailable(why) if why.contains(world.issuer.issuer()))
    );
    assert!(!refusal.to_string().contains(world.issuer.issuer()));
}

#[tokio::test]
async fn rules_of_two_agent_types_that_fit_are_ambiguous() {
    let rules = "{oidc: {provider: idp, claims: {sub: {like: 'agent-*'}}}}";
    let exact = rules.replace("{like: 'agent-*'}", "agent-7");
    let world = World::of(&format!(
        "{IDP}{}{}",
        agent("one", rules),
        agent("two", &exact)
    ))
    .await;
    assert_eq!(
        world.attest_with(&json!({})).await,
        Err(AttestRefusal::Ambiguous)
    );
    let one = world.attest_with(&json!({"sub": "agent-8"})).await.unwrap();
    assert_eq!(one.agent.as_str(), "one");
}

/// Of two providers with one issuer, what is wrong is said by the rules of the one that is meant.
#[tokio::test]
async fn a_token_is_held_against_the_provider_that_it_is_for() {
    let other = IDP
        .replace("name: idp", "name: zzz")
        .replace("audience: mandate", "audience: other");
    let rules = "{oidc: {provider: idp, claims: {sub: agent-7}}}";
    let world = World::of(&format!("{IDP}---\n{other}{}", agent("retriever", rules))).await;
    world.attest_with(&json!({})).await.unwrap();
    let late = json!({"exp": NOW.as_secs() - 61});
    assert!(broken(world.attest_with(&late).await).contains("expired"));
}

#[tokio::test]
async fn other_evidence_is_no_token() {
    let world = World::plain().await;
    let aws = Evidence::Aws(Secret::new("x".to_owned()));
    let refused = world
        .attestor
        .attest(aws, &somewhere(), &world.bundle)
        .await;
    assert!(matches!(refused, Err(AttestRefusal::Broken(_))));
    assert!(matches!(
        world.attest("not.a.token").await,
        Err(AttestRefusal::Broken(_))
    ));
}

#[tokio::test]
async fn doctor_learns_whether_keys_can_be_had() {
    let world = World::plain().await;
    let clock = Arc::new(FixedClock::at(NOW));
    let keys = IssuerKeys::new(OidcOptions::default(), clock).unwrap();
    let found = crate::reach(&keys, &world.bundle).await;
    assert_eq!((found.len(), found[0].keys.clone()), (1, Ok(1)));
    world.issuer.set_mood(Mood::Down);
    assert!(crate::reach(&keys, &world.bundle).await[0].keys.is_err());
}
