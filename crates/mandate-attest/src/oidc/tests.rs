use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use mandate_model::{BootTime, ProviderName, Timestamp};
use mandate_policy::Bundle;
use mandate_ports::{Clock, PersonRefusal, PersonVerifier};
use mandate_testkit::oidc_issuer::{Mood, OidcIssuer};
use mandate_token::{IdToken, IdTokenError};
use serde_json::json;

use super::{IssuerKeys, OidcOptions, OidcPersonVerifier};
use crate::fixtures::{NOW, bundle};

/// A clock that tests set.
struct SetClock(AtomicU64);

impl SetClock {
    fn advance(&self, span: Duration) {
        let ns = u64::try_from(span.as_nanos()).unwrap();
        self.0.fetch_add(ns, Ordering::SeqCst);
    }
}

impl Clock for SetClock {
    fn now(&self) -> Timestamp {
        NOW
    }

    fn boot(&self) -> BootTime {
        BootTime::from_nanos(self.0.load(Ordering::SeqCst))
    }
}

struct World {
    issuer: Arc<OidcIssuer>,
    verifier: OidcPersonVerifier,
    clock: Arc<SetClock>,
    bundle: Bundle,
}

fn declared(issuer: &str, jwks_uri: Option<&str>) -> Bundle {
    let jwks = jwks_uri.map_or(String::new(), |uri| format!(", jwksUri: '{uri}'"));
    bundle(&format!(
        "
apiVersion: mandate.dev/v1alpha1
kind: TrustProvider
metadata: {{name: login}}
spec: {{oidc: {{issuer: '{issuer}', audience: support-app{jwks}}}}}
"
    ))
}

fn options() -> OidcOptions {
    OidcOptions {
        timeout: Duration::from_secs(5),
        ..OidcOptions::default()
    }
}

fn verifier(options: OidcOptions, clock: Arc<SetClock>) -> OidcPersonVerifier {
    OidcPersonVerifier::new(Arc::new(IssuerKeys::new(options, clock).unwrap()))
}

impl World {
    async fn new() -> Self {
        let issuer = OidcIssuer::start().await;
        let clock = Arc::new(SetClock(AtomicU64::new(1_000_000_000)));
        let verifier = verifier(options(), clock.clone());
        let bundle = declared(issuer.issuer(), None);
        Self {
            issuer,
            verifier,
            clock,
            bundle,
        }
    }

    fn token(&self) -> String {
        let others = json!({"tenant": "acme"});
        self.issuer.id_token("alice", "support-app", NOW, &others)
    }

    fn token_with(&self, others: &serde_json::Value) -> String {
        self.issuer.id_token("alice", "support-app", NOW, others)
    }

    async fn verify(&self, token: &str) -> Result<IdToken, PersonRefusal> {
        let provider = ProviderName::parse("login").unwrap();
        self.verifier
            .verify(&provider, token, &self.bundle, NOW)
            .await
    }

    async fn verify_new(&self) -> Result<IdToken, PersonRefusal> {
        self.verify(&self.token()).await
    }
}

fn refused(error: &IdTokenError) -> Result<IdToken, PersonRefusal> {
    Err(PersonRefusal::Token(error.to_string()))
}

fn unavailable() -> Result<IdToken, PersonRefusal> {
    let provider = ProviderName::parse("login").unwrap();
    Err(PersonRefusal::Unavailable(provider))
}

#[tokio::test]
async fn keeps_what_the_port_promises() {
    let world = World::new().await;
    let none = json!({});
    let for_other = world.issuer.id_token("alice", "other-app", NOW, &none);
    let good = world.token();
    let (signed, _) = good.rsplit_once('.').unwrap();
    let cases = mandate_testkit::person_suite::Cases {
        bundle: world.bundle.clone(),
        provider: ProviderName::parse("login").unwrap(),
        bad: vec![
            ("another audience", for_other),
            ("no signature", format!("{signed}.")),
            ("no token", "nobody".to_owned()),
        ],
        good: (good.clone(), "alice"),
        now: NOW,
    };
    mandate_testkit::person_suite::run(&world.verifier, &cases).await;
}

#[tokio::test]
async fn a_good_token_names_the_person_and_keys_are_fetched_once() {
    let world = World::new().await;
    for _ in 0..3 {
        let person = world.verify_new().await.unwrap();
        assert_eq!(person.subject(), "alice");
        assert_eq!(person.claims()["tenant"], "acme");
    }
    assert_eq!(world.issuer.fetches(), 1);
}

#[tokio::test]
async fn tokens_of_another_issuer_audience_or_time_are_refused() {
    let world = World::new().await;
    for (others, error) in [
        (
            json!({"iss": "https://login.evil.example"}),
            IdTokenError::Issuer,
        ),
        (json!({"aud": "other-app"}), IdTokenError::Audience),
        (json!({"azp": "other-app"}), IdTokenError::AuthorizedParty),
        (json!({"exp": NOW.as_secs() - 120}), IdTokenError::Expired),
        (
            json!({"iat": NOW.as_secs() + 120}),
            IdTokenError::FromTheFuture,
        ),
    ] {
        let token = world.token_with(&others);
        assert_eq!(world.verify(&token).await, refused(&error));
    }
    world.verify_new().await.unwrap();
}

#[tokio::test]
async fn a_token_that_another_key_signed_under_the_same_kid_is_refused() {
    let world = World::new().await;
    let other = OidcIssuer::start().await;
    let claims = json!({"iss": world.issuer.issuer()});
    let forged = other.id_token("alice", "support-app", NOW, &claims);
    assert_eq!(
        world.verify(&forged).await,
        refused(&IdTokenError::Signature)
    );
}

#[tokio::test]
async fn what_needs_no_key_to_be_refused_causes_no_fetch() {
    let world = World::new().await;
    let foreign = world.token_with(&json!({"iss": "https://login.evil.example"}));
    assert_eq!(world.verify(&foreign).await, refused(&IdTokenError::Issuer));
    assert!(world.verify("not.a.token").await.is_err());
    let unknown = ProviderName::parse("unknown").unwrap();
    let process = ProviderName::parse("process").unwrap();
    for provider in [unknown, process] {
        let token = world.token();
        let refused = world
            .verifier
            .verify(&provider, &token, &world.bundle, NOW)
            .await;
        assert!(matches!(refused, Err(PersonRefusal::Token(_))));
    }
    assert_eq!(world.issuer.fetches(), 0);
}

#[tokio::test]
async fn an_address_that_a_token_names_is_never_asked() {
    let world = World::new().await;
    let other = OidcIssuer::start().await;
    let token = other.id_token("alice", "support-app", NOW, &json!({}));
    assert_eq!(world.verify(&token).await, refused(&IdTokenError::Issuer));
    assert_eq!(other.fetches(), 0);
}

#[tokio::test]
async fn a_rotated_key_is_fetched_once() {
    let world = World::new().await;
    world.verify_new().await.unwrap();
    world.issuer.rotate();
    world.verify_new().await.unwrap();
    world.verify_new().await.unwrap();
    assert_eq!(world.issuer.fetches(), 2);
}

#[tokio::test]
async fn sprayed_kids_cannot_make_it_fetch_without_end() {
    let world = World::new().await;
    world.verify_new().await.unwrap();
    for n in 0..100 {
        let claims = json!({"iss": world.issuer.issuer()});
        let token = world.issuer.sign_as(&format!("invented-{n}"), &claims);
        assert_eq!(
            world.verify(&token).await,
            refused(&IdTokenError::UnknownKey)
        );
    }
    assert_eq!(world.issuer.fetches(), 6, "the quota");
    world.verify_new().await.unwrap();

    world.clock.advance(Duration::from_secs(11));
    world.issuer.rotate();
    world.verify_new().await.unwrap();
    assert_eq!(world.issuer.fetches(), 7, "the quota fills up again");
}

#[tokio::test]
async fn waiters_share_one_fetch() {
    let world = Arc::new(World::new().await);
    let tasks: Vec<_> = (0..50)
        .map(|_| {
            let world = world.clone();
            tokio::spawn(async move { world.verify_new().await.unwrap() })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    assert_eq!(world.issuer.fetches(), 1);
}

#[tokio::test]
async fn stale_keys_serve_while_they_are_renewed_beside() {
    let world = World::new().await;
    world.verify_new().await.unwrap();
    let old = world.token();
    world.clock.advance(options().max_age);
    world.verify(&old).await.unwrap();
    world.issuer.fetched(2).await;
    world.verify(&old).await.unwrap();
}

#[tokio::test]
async fn keys_serve_while_the_issuer_is_down_until_they_are_too_old() {
    let world = World::new().await;
    world.verify_new().await.unwrap();
    world.issuer.set_mood(Mood::Down);
    world
        .clock
        .advance(options().max_stale - Duration::from_secs(1));
    world.verify_new().await.unwrap();
    world.clock.advance(Duration::from_secs(1));
    assert_eq!(world.verify_new().await, unavailable());
    world.issuer.set_mood(Mood::Well);
    world.clock.advance(Duration::from_secs(60));
    world.verify_new().await.unwrap();
}

#[tokio::test]
async fn an_issuer_that_cannot_be_asked_is_unavailable() {
    let trap = OidcIssuer::start().await;
    for mood in [
        Mood::Down,
        Mood::Redirects(format!("{}/keys", trap.issuer())),
        Mood::Padded(256 * 1024),
        Mood::Claims("https://login.evil.example".to_owned()),
        Mood::Claims(String::new()),
        Mood::KeysAt("http://login.evil.example/keys".to_owned()),
        Mood::KeysAt("file:///etc/passwd".to_owned()),
        Mood::Says("not json".to_owned()),
    ] {
        let world = World::new().await;
        world.issuer.set_mood(mood.clone());
        assert_eq!(world.verify_new().await, unavailable(), "{mood:?}");
    }
    assert_eq!(trap.fetches(), 0, "redirects are not followed");
}

#[tokio::test]
async fn an_answer_that_never_comes_is_given_up() {
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let issuer = format!("http://{}", silent.local_addr().unwrap());
    let clock = Arc::new(SetClock(AtomicU64::new(1)));
    let short = OidcOptions {
        timeout: Duration::from_millis(50),
        ..options()
    };
    let world = World {
        verifier: verifier(short, clock.clone()),
        clock,
        bundle: declared(&issuer, None),
        ..World::new().await
    };
    let token = world.token_with(&json!({"iss": issuer}));
    assert_eq!(world.verify(&token).await, unavailable());
}

#[tokio::test]
async fn keys_come_from_the_declared_place_where_there_is_one() {
    let world = World::new().await;
    let keys = format!("{}/keys", world.issuer.issuer());
    world
        .issuer
        .set_mood(Mood::Claims("https://login.evil.example".to_owned()));
    assert_eq!(world.verify_new().await, unavailable());
    let world = World {
        bundle: declared(world.issuer.issuer(), Some(&keys)),
        ..world
    };
    world.verify_new().await.unwrap();
}

#[test]
fn unusable_roots_are_an_error() {
    let extra_roots = b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n".to_vec();
    let options = OidcOptions {
        extra_roots,
        ..options()
    };
    let clock = Arc::new(SetClock(AtomicU64::new(1)));
    assert!(IssuerKeys::new(options, clock).is_err());
}
