//! Tokens of each platform, in the shapes that the platforms document. None of these was ever seen
//! from a live cloud.

use mandate_model::ProviderName;
use mandate_token::{EvidenceToken, IdTokenKeys};

use super::super::{matched, rules_of};
use super::*;

/// A provider of a platform whose issuer is fixed, and a signer in its place.
struct Platform {
    issuer: Arc<OidcIssuer>,
    bundle: Bundle,
    iss: &'static str,
    claims: Value,
}

impl Platform {
    async fn new(provider: &str, rule: &str, iss: &'static str, claims: Value) -> Self {
        let text = format!(
            "kind: TrustProvider\nmetadata: {{name: there}}\nspec: {provider}\n{}",
            agent("retriever", rule)
        );
        Self {
            issuer: OidcIssuer::start().await,
            bundle: bundle(&text),
            iss,
            claims,
        }
    }

    /// The platform's own way, but for where the keys come from.
    fn attest(&self, others: &Value) -> Result<Attested, AttestRefusal> {
        let now = NOW.as_secs();
        let mut claims = json!({"iss": self.iss, "sub": "somebody", "aud": "mandate",
            "iat": now, "exp": now + 300});
        for more in [&self.claims, others] {
            let into = claims.as_object_mut().unwrap();
            into.extend(more.as_object().unwrap().clone());
        }
        // A claim that is said to be nothing is not there at all.
        claims.as_object_mut().unwrap().retain(|_, v| !v.is_null());
        let token = self.issuer.sign(&claims);
        let provider = ProviderName::parse("there").unwrap();
        let provider = self.bundle.provider(&provider).unwrap();
        let tokens = provider.tokens().unwrap();
        let keys = self.issuer.jwks().to_string();
        let keys = IdTokenKeys::from_jwks(keys.as_bytes()).unwrap();
        let verified = EvidenceToken::verify(&token, &keys, &rules_of(tokens), NOW)
            .map_err(|why| AttestRefusal::Broken(why.to_string()))?;
        matched(&verified, tokens.kind, provider, &self.bundle)
    }

    /// Each of these differs by one detail from what fits.
    #[track_caller]
    fn refuses(&self, cases: &[Value]) {
        for others in cases {
            let refused = self.attest(others);
            assert!(
                matches!(refused, Err(AttestRefusal::NoRule { .. })),
                "{others}: {refused:?}"
            );
        }
    }
}

async fn github() -> Platform {
    Platform::new(
        "{github: {audience: mandate}}",
        "{github: {provider: there, repositoryId: '4711', ownerId: '12', events: [push, workflow_dispatch], ref: refs/heads/main, environment: production}}",
        "https://token.actions.githubusercontent.com",
        json!({
            "sub": "repo:acme@12/agents@4711:environment:production", "jti": "j1",
            "repository": "acme/agents", "repository_id": "4711", "repository_owner": "acme",
            "repository_owner_id": "12", "event_name": "push", "ref": "refs/heads/main",
            "environment": "production", "runner_environment": "github-hosted",
            "job_workflow_ref": "acme/agents/.github/workflows/run.yml@refs/heads/main",
            "run_id": "99", "run_attempt": "1", "sha": "abc", "actor_id": "7",
        }),
    )
    .await
}

/// FAILURES 29: repositories renamed or created since July 2026 carry ids in `sub`, and names can be
/// taken over.
#[tokio::test]
async fn a_github_job_is_known_by_ids_whatever_its_repository_is_called() {
    let github = github().await;
    let attested = github.attest(&json!({})).unwrap();
    assert_eq!(attested.kind, AttestationKind::Github);
    assert_eq!(attested.facts["run_id"], "99");
    let renamed = json!({"sub": "repo:other/name:ref:refs/heads/main", "repository": "other/name", "repository_owner": "other"});
    github.attest(&renamed).unwrap();
    github.refuses(&[
        json!({"repository_id": "4712"}),
        json!({"repository_id": 4711}),
        json!({"repository_id": null}),
        json!({"repository_owner_id": "13"}),
        json!({"ref": "refs/heads/main2"}),
        json!({"ref": "refs/pull/1/merge"}),
        json!({"environment": null}),
    ]);
}

#[tokio::test]
async fn a_github_job_that_strangers_can_start_or_run_is_nobody() {
    let github = github().await;
    github.refuses(&[
        json!({"event_name": "pull_request_target"}),
        json!({"event_name": null}),
        json!({"runner_environment": "self-hosted"}),
        json!({"runner_environment": null}),
    ]);
}

#[tokio::test]
async fn a_gitlab_job_is_known_by_ids_on_a_protected_ref() {
    let gitlab = Platform::new(
        "{gitlab: {audience: mandate}}",
        "{gitlab: {provider: there, projectId: '20', namespaceId: '72', ref: main, refType: branch}}",
        "https://gitlab.com",
        json!({
            "sub": "project_path:acme/agents:ref_type:branch:ref:main", "jti": "j1",
            "namespace_id": "72", "namespace_path": "acme", "project_id": "20",
            "project_path": "acme/agents", "pipeline_source": "push", "job_id": "302",
            "ref": "main", "ref_type": "branch", "ref_protected": "true",
        }),
    )
    .await;
    let attested = gitlab.attest(&json!({})).unwrap();
    assert_eq!(attested.instance.as_str(), "302");
    gitlab
        .attest(&json!({"project_path": "other/name"}))
        .unwrap();
    gitlab.refuses(&[
        json!({"project_id": "21"}),
        json!({"namespace_id": "73"}),
        json!({"ref": "feature"}),
        json!({"ref_type": "tag"}),
        json!({"ref_protected": "false"}),
        json!({"ref_protected": null}),
    ]);
}

#[tokio::test]
async fn a_google_service_account_counts_in_allowed_projects_alone() {
    let email = "retriever@acme-agents.iam.gserviceaccount.com";
    let google = Platform::new(
        "{google: {audience: mandate, projects: [acme-agents]}}",
        &format!("{{google: {{provider: there, serviceAccount: {email}, uniqueId: '115'}}}}"),
        "https://accounts.google.com",
        json!({"sub": "115", "azp": "115", "email": email, "email_verified": true}),
    )
    .await;
    // Cloud Run: no block about an instance, and nothing that names one.
    let attested = google.attest(&json!({})).unwrap();
    assert!(attested.instance.as_str().starts_with("sha256:"));
    let engine = |project: &str| {
        json!({"google": {"compute_engine": {"project_id": project, "project_number": 1,
            "zone": "europe-west1-b", "instance_id": "456", "instance_name": "vm-1"}}})
    };
    let attested = google.attest(&engine("acme-agents")).unwrap();
    assert_eq!(attested.instance.as_str(), "456");
    assert_eq!(attested.facts["instance_name"], "vm-1");
    google.refuses(&[
        engine("evil"),
        json!({"email": "retriever@evil.iam.gserviceaccount.com"}),
        json!({"email_verified": false}),
        json!({"email_verified": null}),
        json!({"sub": "116"}),
    ]);
}

/// FAILURES 30: what a metadata service serves for the life of a machine is no fresh evidence.
#[tokio::test]
async fn a_machine_is_known_only_by_a_fresh_token_for_this_audience() {
    let email = "retriever@acme-agents.iam.gserviceaccount.com";
    let google = Platform::new(
        "{google: {audience: mandate, projects: [acme-agents]}}",
        &format!("{{google: {{provider: there, serviceAccount: {email}, computeEngine: {{zone: europe-west1-b}}}}}}"),
        "https://accounts.google.com",
        json!({"sub": "115", "email": email, "email_verified": true, "google": {"compute_engine":
            {"project_id": "acme-agents", "zone": "europe-west1-b", "instance_id": "456"}}}),
    )
    .await;
    google.attest(&json!({})).unwrap();
    google.refuses(&[json!({"google": null})]);
    let old = NOW.as_secs() - 7200;
    for stale in [
        json!({"iat": old, "exp": old + 3600}),
        json!({"iat": old, "exp": old + 86_400}),
        json!({"iat": null}),
        json!({"exp": null}),
        json!({"aud": "https://elsewhere.example"}),
    ] {
        let refused = google.attest(&stale);
        assert!(
            matches!(refused, Err(AttestRefusal::Broken(_))),
            "{stale}: {refused:?}"
        );
    }
}

#[tokio::test]
async fn an_azure_identity_is_known_by_tenant_object_and_resource() {
    let vm = "/subscriptions/s/resourcegroups/rg/providers/Microsoft.Compute/virtualMachines/vm";
    let azure = Platform::new(
        "{azure: {tenant: 11111111-2222-3333-4444-555555555555, audience: mandate}}",
        &format!("{{azure: {{provider: there, objectId: 99999999-2222-3333-4444-555555555555, resource: '{vm}'}}}}"),
        "https://sts.windows.net/11111111-2222-3333-4444-555555555555/",
        json!({"tid": "11111111-2222-3333-4444-555555555555", "oid": "99999999-2222-3333-4444-555555555555",
            "sub": "99999999-2222-3333-4444-555555555555", "xms_mirid": vm, "uti": "u1", "idtyp": "app",
            "exp": NOW.as_secs() + 86_700}),
    )
    .await;
    let attested = azure.attest(&json!({})).unwrap();
    assert_eq!(
        (attested.kind, attested.instance.as_str()),
        (AttestationKind::Azure, "u1")
    );
    azure.attest(&json!({"idtyp": null})).unwrap();
    azure.refuses(&[
        json!({"tid": "11111111-2222-3333-4444-555555555556"}),
        json!({"oid": "99999999-2222-3333-4444-555555555556"}),
        json!({"xms_mirid": null}),
        json!({"idtyp": "user"}),
    ]);
}

#[tokio::test]
async fn an_aws_role_is_known_by_account_and_arn_and_never_by_tags_of_a_request() {
    let sts = |more: Value| {
        let mut claims = json!({"aws_account": "123456789012", "source_region": "eu-central-1",
            "principal_tags": {"env": "prod"}, "request_tags": {"env": "dev"}});
        claims
            .as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        json!({"https://sts.amazonaws.com/": claims})
    };
    let mut base = sts(json!({}));
    base["sub"] = "arn:aws:iam::123456789012:role/agents/Retriever".into();
    let aws = Platform::new(
        "{awsToken: {issuer: 'https://abc.tokens.sts.global.api.aws', account: '123456789012', audience: mandate}}",
        "{awsToken: {provider: there, role: 'arn:aws:iam::123456789012:role/agents/Retriever', principalTags: {env: prod}}}",
        "https://abc.tokens.sts.global.api.aws",
        base,
    )
    .await;
    let attested = aws.attest(&json!({"jti": "j9"})).unwrap();
    assert_eq!(attested.instance.as_str(), "j9");
    aws.refuses(&[
        json!({"sub": "arn:aws:iam::123456789012:role/Retriever"}),
        sts(json!({"aws_account": "999999999999"})),
        sts(json!({"principal_tags": {}, "request_tags": {"env": "prod"}})),
    ]);
}

const SPIRE: &str = "kind: TrustProvider\nmetadata: {name: spire}\nspec: {spiffe: {trustDomain: partner.example, bundleEndpoint: {url: 'ISSUER/keys', profile: https_web}}}\n";

async fn spire() -> World {
    let rule = "{spiffe: {provider: spire, under: 'spiffe://partner.example/ns/agents'}}";
    let world = World::of(&format!("{SPIRE}{}", agent("retriever", rule))).await;
    world.issuer.set_mood(Mood::Bundle(60));
    world
}

fn svid(sub: &str) -> Value {
    let now = NOW.as_secs();
    json!({"sub": sub, "aud": ["https://mandate.acme.example"], "exp": now + 300})
}

/// Who runs SPIRE keeps SPIRE: the audience is this authority, and `iss` and `iat` need not be there.
#[tokio::test]
async fn a_jwt_svid_of_another_trust_domain_is_evidence_by_its_bundle() {
    let world = spire().await;
    let good = world
        .issuer
        .sign(&svid("spiffe://partner.example/ns/agents/r1"));
    let attested = world.attest(&good).await.unwrap();
    assert_eq!(attested.kind, AttestationKind::Spiffe);
    assert_eq!(
        attested.facts["subject"],
        "spiffe://partner.example/ns/agents/r1"
    );
    for other in [
        "spiffe://partner.example/ns/agents-evil/r1",
        "spiffe://partner.example/ns/agents",
    ] {
        no_rule(world.attest(&world.issuer.sign(&svid(other))).await);
    }
    let foreign = world
        .issuer
        .sign(&svid("spiffe://evil.example/ns/agents/r1"));
    no_rule(world.attest(&foreign).await);
    let crooked = world
        .issuer
        .sign(&svid("spiffe://partner.example/ns/agents/../x"));
    assert!(broken(world.attest(&crooked).await).contains("no SPIFFE ID"));
}

#[tokio::test]
async fn a_jwt_svid_has_three_headers_and_a_short_life() {
    let world = spire().await;
    let claims = svid("spiffe://partner.example/ns/agents/r1");
    let kid = "key-1";
    let header = json!({"alg": "ES256", "kid": kid, "typ": "JOSE"});
    world
        .attest(&world.issuer.sign_with(&header, &claims))
        .await
        .unwrap();
    let more = json!({"alg": "ES256", "kid": kid, "x5t": "abc"});
    let why = broken(world.attest(&world.issuer.sign_with(&more, &claims)).await);
    assert!(why.contains("JWT-SVID §2"), "{why}");
    let mut long = claims.clone();
    long["exp"] = (NOW.as_secs() + 3_700).into();
    assert!(broken(world.attest(&world.issuer.sign(&long)).await).contains("longer than"));
}

/// Only keys whose use is `jwt-svid` sign JWT-SVIDs, and a bundle without any revokes them all.
#[tokio::test]
async fn a_bundle_whose_keys_are_for_other_uses_vouches_for_nobody() {
    let world = spire().await;
    // As a plain key set its keys say `sig`.
    world.issuer.set_mood(Mood::Well);
    let good = world
        .issuer
        .sign(&svid("spiffe://partner.example/ns/agents/r1"));
    assert!(broken(world.attest(&good).await).contains("no usable key"));
}

/// SPIFFE Trust Domain and Bundle §4.1.1: `spiffe_sequence` grows with each change of the keys.
#[tokio::test]
async fn an_older_bundle_of_a_trust_domain_brings_no_withdrawn_key_back() {
    let world = spire().await;
    let bundle = |sequence: Option<u64>| {
        let mut bundle = world.issuer.bundle(60);
        let members = bundle.as_object_mut().unwrap();
        members.remove("spiffe_sequence");
        members.extend(sequence.map(|n| ("spiffe_sequence".to_owned(), n.into())));
        Mood::Says(bundle.to_string())
    };
    let sign = || {
        let claims = svid("spiffe://partner.example/ns/agents/r1");
        world.issuer.sign(&claims)
    };
    let (former, withdrawn) = (bundle(Some(7)), sign());
    world.issuer.set_mood(former.clone());
    world.attest(&withdrawn).await.unwrap();

    world.issuer.rotate();
    let good = sign();
    for older in [Some(6), Some(0), None] {
        world.issuer.set_mood(bundle(older));
        broken(world.attest(&good).await);
        world.attest(&withdrawn).await.unwrap();
    }
    world.issuer.set_mood(bundle(Some(8)));
    world.attest(&good).await.unwrap();
    // A server that lags behind, or a copy that somebody kept.
    world.issuer.set_mood(former);
    broken(world.attest(&withdrawn).await);
    world.attest(&good).await.unwrap();
}

#[tokio::test]
async fn a_bundle_in_a_file_serves_and_what_is_no_file_does_not() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("bundle.json");
    let issuer = OidcIssuer::start().await;
    std::fs::write(&path, issuer.bundle(60).to_string()).unwrap();
    let good = issuer.sign(&svid("spiffe://partner.example/ns/agents/r1"));
    let with = |place: &str| {
        let rule = "{spiffe: {provider: spire, id: 'spiffe://partner.example/ns/agents/r1'}}";
        let text = SPIRE.replace(
            "bundleEndpoint: {url: 'ISSUER/keys', profile: https_web}",
            &format!("bundleFile: '{place}'"),
        );
        World {
            issuer: issuer.clone(),
            attestor: attestor(Clusters::default()),
            bundle: bundle(&format!("{text}{}", agent("retriever", rule))),
        }
    };
    with(path.to_str().unwrap()).attest(&good).await.unwrap();
    for other in ["/dev/zero", "/nonexistent", "/"] {
        let refused = with(other).attest(&good).await;
        assert!(
            matches!(refused, Err(AttestRefusal::Unavailable(_))),
            "{other}: {refused:?}"
        );
    }
}
