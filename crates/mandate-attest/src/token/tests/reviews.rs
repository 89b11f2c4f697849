//! Service account tokens of Kubernetes: as a real API server signed and reviewed them (see
//! `interop/kubernetes`), and by one detail different.

use std::collections::HashMap;
use std::sync::Mutex;

use serde::Deserialize;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use mandate_ports::{Clock, ShownFrom};

use super::*;
use crate::ClusterAccess;

/// What a real API server said.
#[derive(Deserialize)]
struct Recorded {
    server: String,
    issuer: String,
    at: u64,
    jwks: Value,
    exchanges: Vec<Exchange>,
}

#[derive(Deserialize)]
struct Exchange {
    case: String,
    request: Value,
    status: u16,
    body: String,
}

impl Recorded {
    fn load() -> Self {
        let text = include_str!("../../../../../interop/kubernetes/recorded.json");
        serde_json::from_str(text).unwrap()
    }

    fn exchange(&self, case: &str) -> &Exchange {
        let found = self.exchanges.iter().find(|e| e.case == case);
        found.unwrap_or_else(|| panic!("{case} was not recorded"))
    }

    fn token(&self, case: &str) -> String {
        let token = &self.exchange(case).request["spec"]["token"];
        token.as_str().unwrap().to_owned()
    }

    fn now(&self) -> Timestamp {
        Timestamp::from_secs(self.at)
    }
}

/// An API server that answers each request as it is told to, and remembers what was asked.
struct Fake {
    address: String,
    answers: HashMap<String, (u16, String)>,
    /// Its own keys, if it tells them.
    keys: Mutex<Option<String>>,
    asked: Mutex<Vec<(String, String)>>,
}

impl Fake {
    async fn start(answers: HashMap<String, (u16, String)>, keys: &Value) -> Arc<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let fake = Arc::new(Self {
            address: format!("http://{}", listener.local_addr().unwrap()),
            answers,
            keys: Mutex::new(Some(keys.to_string())),
            asked: Mutex::default(),
        });
        let serving = fake.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serving.clone().answer(stream));
            }
        });
        fake
    }

    async fn answer(self: Arc<Self>, mut stream: TcpStream) {
        let (head, body) = request(&mut stream).await;
        let (status, body) = &if head.starts_with("GET /openid/v1/jwks HTTP/1.1\r\n") {
            assert!(head.contains("authorization: Bearer reviewers-own-token\r\n"));
            let keys = self.keys.lock().unwrap().clone();
            keys.map_or((403, String::new()), |keys| (200, keys))
        } else {
            let review: Value = serde_json::from_str(&body).unwrap();
            let token = review["spec"]["token"].as_str().unwrap().to_owned();
            self.asked.lock().unwrap().push((head, body));
            let no = json!({"kind": "TokenReview", "status": {"authenticated": false}});
            let forged = || (201, no.to_string());
            self.answers.get(&token).cloned().unwrap_or_else(forged)
        };
        let length = body.len();
        let location = if *status == 302 {
            "Location: /elsewhere\r\n"
        } else {
            ""
        };
        let answer = format!(
            "HTTP/1.1 {status} X\r\nContent-Type: application/json\r\n{location}Content-Length: {length}\r\nConnection: close\r\n\r\n{body}"
        );
        let _ = stream.write_all(answer.as_bytes()).await;
        let _ = stream.shutdown().await;
    }
}

async fn request(stream: &mut TcpStream) -> (String, String) {
    let mut bytes = Vec::new();
    loop {
        let mut chunk = [0; 4096];
        let n = stream.read(&mut chunk).await.unwrap();
        assert!(n > 0, "a request ends before it is whole");
        bytes.extend(&chunk[..n]);
        let text = String::from_utf8(bytes.clone()).unwrap();
        let Some((head, body)) = text.split_once("\r\n\r\n") else {
            continue;
        };
        let length = head.to_lowercase();
        let length = length.split("content-length: ").nth(1).unwrap_or("0");
        let length: usize = length.split("\r\n").next().unwrap().parse().unwrap();
        if body.len() == length {
            return (head.to_owned(), body.to_owned());
        }
    }
}

/// A cluster as it was recorded, where `edit` may change what it answers.
struct Cluster {
    recorded: Recorded,
    fake: Arc<Fake>,
    attestor: TokenAttestor,
    bundle: Bundle,
    _folder: tempfile::TempDir,
}

impl Cluster {
    async fn new(rule: &str, edit: impl Fn(&Exchange) -> (u16, String)) -> Self {
        let recorded = Recorded::load();
        let answers = recorded.exchanges.iter();
        let answers = answers.map(|e| {
            let token = e.request["spec"]["token"].as_str().unwrap();
            (token.to_owned(), edit(e))
        });
        let fake = Fake::start(answers.collect(), &recorded.jwks).await;
        let folder = tempfile::tempdir().unwrap();
        let token = folder.path().join("token");
        std::fs::write(&token, "reviewers-own-token\n").unwrap();
        let access = ClusterAccess {
            server: fake.address.clone(),
            ca: None,
            token,
        };
        let clock: Arc<dyn Clock> = Arc::new(FixedClock::at(recorded.now()));
        let clusters = Clusters::new(vec![access], &clock).unwrap();
        let provider = format!(
            "kind: TrustProvider\nmetadata: {{name: prod}}\nspec: {{kubernetes: {{issuer: '{}', audience: mandate, apiServer: '{}'}}}}\n",
            recorded.issuer, fake.address
        );
        Self {
            attestor: attestor_at(recorded.now(), clusters),
            bundle: bundle(&format!("{provider}{}", agent("retriever", rule))),
            fake,
            recorded,
            _folder: folder,
        }
    }

    async fn recorded() -> Self {
        Self::new(RULE, as_recorded).await
    }

    async fn attest(&self, case: &str) -> Result<Attested, AttestRefusal> {
        let token = self.recorded.token(case);
        self.attest_token(&token).await
    }

    async fn attest_token(&self, token: &str) -> Result<Attested, AttestRefusal> {
        self.attest_from(token, &somewhere()).await
    }

    async fn attest_from(&self, token: &str, from: &ShownFrom) -> Result<Attested, AttestRefusal> {
        let evidence = Evidence::Token(Secret::new(token.to_owned()));
        self.attestor.attest(evidence, from, &self.bundle).await
    }

    fn asked(&self) -> usize {
        self.fake.asked.lock().unwrap().len()
    }
}

fn as_recorded(exchange: &Exchange) -> (u16, String) {
    (exchange.status, exchange.body.clone())
}

/// What was recorded, with `status` of the review changed.
fn with_status(exchange: &Exchange, edit: impl Fn(&mut Value)) -> (u16, String) {
    let mut review: Value = serde_json::from_str(&exchange.body).unwrap();
    // An answer to a reviewer without rights is no review.
    if review["kind"] == "TokenReview" {
        edit(&mut review["status"]);
    }
    (exchange.status, review.to_string())
}

fn attestor_at(now: Timestamp, clusters: Clusters) -> TokenAttestor {
    let clock = Arc::new(FixedClock::at(now));
    let keys = IssuerKeys::new(OidcOptions::default(), clock.clone()).unwrap();
    TokenAttestor::new(Arc::new(keys), clusters, clock)
}

const RULE: &str = "{kubernetes: {provider: prod, serviceAccount: agents/retriever}}";

#[tokio::test]
async fn a_reviewed_token_says_namespace_account_pod_and_node_with_their_uids() {
    let cluster = Cluster::recorded().await;
    let attested = cluster.attest("good").await.unwrap();
    assert_eq!(attested.kind, AttestationKind::Kubernetes);
    let facts = &attested.facts;
    assert_eq!(facts["reviewed"], "true");
    assert_eq!(
        (
            facts["namespace"].as_str(),
            facts["service_account"].as_str()
        ),
        ("agents", "retriever")
    );
    assert_eq!(
        (facts["pod"].as_str(), facts["node"].as_str()),
        ("retriever-0", "node-a")
    );
    for uid in ["service_account_uid", "pod_uid", "node_uid", "jti"] {
        assert_eq!(facts[uid].len(), 36, "{uid}");
    }
    assert_eq!(attested.instance.as_str(), facts["pod_uid"]);
}

#[tokio::test]
async fn the_api_server_is_asked_as_it_was_when_it_was_recorded() {
    let cluster = Cluster::recorded().await;
    cluster.attest("good").await.unwrap();
    let asked = cluster.fake.asked.lock().unwrap().clone();
    let (head, body) = &asked[0];
    assert!(head.starts_with("POST /apis/authentication.k8s.io/v1/tokenreviews HTTP/1.1"));
    assert!(
        head.contains("authorization: Bearer reviewers-own-token\r\n"),
        "{head}"
    );
    let body: Value = serde_json::from_str(body).unwrap();
    assert_eq!(body, cluster.recorded.exchange("good").request);
}

/// FAILURES 26.
#[tokio::test]
async fn a_token_whose_pod_or_service_account_is_gone_is_refused() {
    let leaving = "{kubernetes: {provider: prod, serviceAccount: agents/leaving}}";
    for (case, rule) in [("pod deleted", RULE), ("service account deleted", leaving)] {
        let cluster = Cluster::new(rule, as_recorded).await;
        let why = broken(cluster.attest(case).await);
        assert!(why.contains("does not vouch"), "{case}: {why}");
    }
}

#[tokio::test]
async fn a_forged_token_is_refused_by_the_clusters_own_keys_before_anybody_is_asked() {
    let cluster = Cluster::recorded().await;
    let why = broken(cluster.attest("tampered").await);
    assert!(why.contains("signature"), "{why}");
    assert_eq!(cluster.asked(), 0);
    // Without them the API server says so.
    let cluster = Cluster::recorded().await;
    *cluster.fake.keys.lock().unwrap() = None;
    let why = broken(cluster.attest("tampered").await);
    assert!(why.contains("does not vouch"), "{why}");
    assert_eq!(cluster.asked(), 1);
}

/// `token` with another signature, a different one for each `n`.
fn forged(token: &str, n: usize) -> String {
    let (signed, _) = token.rsplit_once('.').unwrap();
    let digits = format!("{n:04}");
    format!("{signed}.{}", digits.repeat(64))
}

#[tokio::test]
async fn a_flood_of_forged_tokens_keeps_no_honest_one_from_its_review() {
    let cluster = Cluster::recorded().await;
    let good = cluster.recorded.token("good");
    let flood = (0..2000).map(|n| {
        let (cluster, token) = (&cluster, forged(&good, n));
        async move { cluster.attest_token(&token).await.is_err() }
    });
    let refused = futures_util::future::join_all(flood).await;
    assert!(refused.iter().all(|refused| *refused));
    assert_eq!(cluster.asked(), 0);
    // From the very same source.
    cluster.attest("good").await.unwrap();
}

#[tokio::test]
async fn where_a_cluster_gives_no_keys_a_flood_from_one_source_leaves_turns_to_others() {
    let cluster = Cluster::recorded().await;
    *cluster.fake.keys.lock().unwrap() = None;
    let good = cluster.recorded.token("good");
    let flood = (0..500).map(|n| {
        let (cluster, token) = (&cluster, forged(&good, n));
        async move { cluster.attest_token(&token).await }
    });
    let others = async {
        let from = ShownFrom::new("198.51.100.0/24");
        cluster.attest_from(&good, &from).await
    };
    let (refused, honest) = tokio::join!(futures_util::future::join_all(flood), others);
    honest.unwrap();
    let busy = |r: &&Result<_, _>| matches!(r, Err(AttestRefusal::Unavailable(_)));
    assert!(
        refused.iter().filter(busy).count() > 400,
        "beyond its share"
    );
    assert!(cluster.asked() < 50, "{}", cluster.asked());
}

/// Any pod of the cluster can have a token for us, and none of them is asked about that is no agent.
#[tokio::test]
async fn a_signed_token_that_no_rule_wants_takes_no_turn() {
    let other = "{kubernetes: {provider: prod, serviceAccount: agents/another}}";
    let cluster = Cluster::new(other, as_recorded).await;
    for _ in 0..50 {
        let refused = cluster.attest("good").await;
        assert!(
            matches!(refused, Err(AttestRefusal::NoRule { .. })),
            "{refused:?}"
        );
    }
    assert_eq!(cluster.asked(), 0);
}

/// Of a holder whose token is good, too.
#[tokio::test]
async fn a_flood_of_one_good_token_does_not_take_everybodys_turns() {
    let cluster = Cluster::recorded().await;
    for _ in 0..200 {
        let _ = cluster.attest("good").await;
    }
    assert!(cluster.asked() < 50, "{}", cluster.asked());
    let gone = broken(cluster.attest("pod deleted").await);
    assert!(gone.contains("does not vouch"), "{gone}");
}

/// FAILURES 26: a token for the API server itself may live a year, and would pass any review.
#[tokio::test]
async fn a_one_year_token_and_one_for_another_audience_are_refused_before_anybody_is_asked() {
    let cluster = Cluster::recorded().await;
    let why = broken(cluster.attest("one year").await);
    assert!(why.contains("longer than the 3600 s"), "{why}");
    let why = broken(cluster.attest("for the API server").await);
    assert!(why.contains("another audience"), "{why}");
    assert!(cluster.fake.asked.lock().unwrap().is_empty());
}

/// FAILURES 27.
#[tokio::test]
async fn authenticated_is_not_believed_without_our_audience_in_the_status() {
    for audiences in [json!([]), json!(["other"]), json!(["mandate2"])] {
        let cluster = Cluster::new(RULE, |e| {
            with_status(e, |s| s["audiences"] = audiences.clone())
        });
        let why = broken(cluster.await.attest("good").await);
        assert!(why.contains("is for this audience"), "{audiences}: {why}");
    }
    let absent = Cluster::new(RULE, |e| {
        with_status(e, |s| drop(s.as_object_mut().unwrap().remove("audiences")))
    });
    let why = broken(absent.await.attest("good").await);
    assert!(why.contains("is for this audience"), "{why}");
    let malformed = Cluster::new(RULE, |e| with_status(e, |s| s["audiences"] = json!(null)));
    let refused = malformed.await.attest("good").await;
    assert!(matches!(refused, Err(AttestRefusal::Unavailable(_))));
    let both = Cluster::new(RULE, |e| {
        with_status(e, |s| s["audiences"] = json!(["x", "mandate"]))
    });
    both.await.attest("good").await.unwrap();
}

#[tokio::test]
async fn what_is_no_clear_yes_is_a_no() {
    type Edit = fn(&mut Value);
    let edits: [(&str, Edit); 9] = [
        ("not authenticated", |s| s["authenticated"] = false.into()),
        ("silent about it", |s| {
            drop(s.as_object_mut().unwrap().remove("authenticated"))
        }),
        ("an error beside it", |s| s["error"] = "x".into()),
        ("nobody", |s| {
            drop(s.as_object_mut().unwrap().remove("user"))
        }),
        ("a person", |s| s["user"]["username"] = "alice".into()),
        ("another account", |s| {
            s["user"]["username"] = "system:serviceaccount:agents:x".into()
        }),
        ("another uid", |s| s["user"]["uid"] = "x".into()),
        ("another pod", |s| {
            s["user"]["extra"]["authentication.kubernetes.io/pod-uid"] = json!(["x"])
        }),
        ("another node", |s| {
            s["user"]["extra"]["authentication.kubernetes.io/node-name"] = json!(["x"])
        }),
    ];
    for (what, edit) in edits {
        let cluster = Cluster::new(RULE, |e| with_status(e, edit)).await;
        match cluster.attest("good").await {
            Err(AttestRefusal::Broken(_)) => assert_ne!(what, "nobody"),
            Err(AttestRefusal::Unavailable(why)) => assert!(why.contains("names nobody"), "{what}"),
            other => panic!("{what}: {other:?}"),
        }
        assert_eq!(cluster.asked(), 1, "{what}: it was asked");
    }
    let unchanged = Cluster::new(RULE, |e| with_status(e, |_| ())).await;
    unchanged.attest("good").await.unwrap();
}

#[tokio::test]
async fn an_api_server_that_cannot_be_asked_is_unavailable_and_never_a_yes() {
    type Edit = fn(&str) -> String;
    let bodies: [(&str, u16, Edit); 7] = [
        ("may not review", 403, str::to_owned),
        ("our token is not accepted", 401, str::to_owned),
        ("redirects", 302, str::to_owned),
        ("fails", 500, str::to_owned),
        ("another status", 202, str::to_owned),
        ("no JSON", 201, |_| "yes".to_owned()),
        ("twice", 201, |body| {
            body.replacen(
                "\"authenticated\":true",
                "\"authenticated\":false,\"authenticated\":true",
                1,
            )
        }),
    ];
    for (what, status, body) in bodies {
        let cluster = Cluster::new(RULE, |e| (status, body(&e.body))).await;
        let refused = cluster.attest("good").await;
        assert!(
            matches!(refused, Err(AttestRefusal::Unavailable(_))),
            "{what}: {refused:?}"
        );
        assert_eq!(
            cluster.fake.asked.lock().unwrap().len(),
            1,
            "{what}: asked once"
        );
    }
    // As a real one answers a reviewer without rights.
    let recorded = Recorded::load();
    let forbidden = recorded.exchange("reviewer without rights");
    assert_eq!(forbidden.status, 403);
    let cluster = Cluster::new(RULE, |_| as_recorded(forbidden)).await;
    let why = cluster.attest("good").await.unwrap_err();
    assert!(
        matches!(&why, AttestRefusal::Unavailable(why) if why.contains("system:auth-delegator"))
    );
}

#[tokio::test]
async fn without_credentials_of_its_own_for_the_api_server_nothing_is_attested() {
    let cluster = Cluster::recorded().await;
    let nobody = attestor_at(cluster.recorded.now(), Clusters::default());
    let evidence = Evidence::Token(Secret::new(cluster.recorded.token("good")));
    let refused = nobody.attest(evidence, &somewhere(), &cluster.bundle).await;
    assert!(
        matches!(&refused, Err(AttestRefusal::Unavailable(why)) if why.contains("attest.yaml"))
    );
}

#[tokio::test]
async fn another_service_account_and_a_token_without_pod_are_nobody_unless_the_rule_says_so() {
    let other = RULE.replace("agents/retriever", "agents/executor");
    let cluster = Cluster::new(&other, as_recorded).await;
    assert!(no_rule(cluster.attest("good").await).contains("sub is"));
    let cluster = Cluster::recorded().await;
    assert!(no_rule(cluster.attest("not bound to a pod").await).contains("/kubernetes.io/pod/uid"));
    let any = RULE.replace("retriever}}", "retriever, bound: any}}");
    let cluster = Cluster::new(&any, as_recorded).await;
    let attested = cluster.attest("not bound to a pod").await.unwrap();
    assert_eq!(attested.instance.as_str(), attested.facts["jti"]);
    let elsewhere = RULE.replace("retriever}}", "retriever, node: {like: 'pool-*'}}}");
    let cluster = Cluster::new(&elsewhere, as_recorded).await;
    assert!(no_rule(cluster.attest("good").await).contains("/kubernetes.io/node/name"));
}

/// Offline, a token is good until it expires, whatever became of its pod, and is stamped so.
#[tokio::test]
async fn without_an_api_server_the_signature_is_checked_and_the_difference_is_said() {
    let recorded = Recorded::load();
    let issuer = OidcIssuer::start().await;
    issuer.set_mood(Mood::Says(recorded.jwks.to_string()));
    let text = format!(
        "kind: TrustProvider\nmetadata: {{name: prod}}\nspec: {{kubernetes: {{issuer: '{}', audience: mandate, jwksUri: '{}/keys'}}}}\n",
        recorded
            .issuer
            .replace("https://127.0.0.1", "http://127.0.0.1"),
        issuer.issuer(),
    );
    // The recorded issuer is on this machine, as is where its keys are served from here.
    let text = text.replacen("http://127.0.0.1", "https://127.0.0.1", 1);
    let bundle = bundle(&format!("{text}{}", agent("retriever", RULE)));
    let keys = mandate_token::IdTokenKeys::from_jwks(recorded.jwks.to_string().as_bytes()).unwrap();
    let provider = mandate_model::ProviderName::parse("prod").unwrap();
    let provider = bundle.provider(&provider).unwrap();
    let tokens = provider.tokens().unwrap();
    let verify = |case: &str| {
        let token = recorded.token(case);
        let rules = super::super::rules_of(tokens);
        mandate_token::EvidenceToken::verify(&token, &keys, &rules, recorded.now())
    };
    assert!(verify("tampered").is_err());
    for case in ["good", "pod deleted"] {
        let verified = verify(case).unwrap();
        let kind = AttestationKind::KubernetesOffline;
        let attested = super::super::matched(&verified, kind, provider, &bundle).unwrap();
        assert_eq!(attested.facts["reviewed"], "false", "{case}");
    }
    assert_eq!(recorded.server, recorded.issuer);
}

/// The whole way, by a token of that shape.
#[tokio::test]
async fn a_token_that_nobody_reviewed_is_stamped_as_such() {
    let provider = "kind: TrustProvider\nmetadata: {name: prod}\nspec: {kubernetes: {issuer: 'ISSUER', audience: mandate}}\n";
    let world = World::of(&format!("{provider}{}", agent("retriever", RULE))).await;
    let claims = json!({"jti": "j1", "kubernetes.io": {
        "namespace": "agents", "pod": {"name": "retriever-0", "uid": "p1"},
        "serviceaccount": {"name": "retriever", "uid": "s1"}}});
    let subject = "system:serviceaccount:agents:retriever";
    let token = world.issuer.id_token(subject, "mandate", NOW, &claims);
    let attested = world.attest(&token).await.unwrap();
    assert_eq!(attested.kind, AttestationKind::KubernetesOffline);
    assert_eq!(attested.facts["reviewed"], "false");
    assert_eq!(attested.instance.as_str(), "p1");
    let forged = forged(&token, 1);
    let refused = world.attest(&forged).await;
    assert!(
        matches!(refused, Err(AttestRefusal::Broken(_))),
        "{refused:?}"
    );
}
