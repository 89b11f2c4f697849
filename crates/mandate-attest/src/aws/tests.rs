//! A stand-in for STS that checks signatures as AWS documents them (Signature Version 4); a real
//! signer against an imitation of AWS is in `interop/aws`.

use std::collections::BTreeMap;
use std::sync::Mutex;

use aws_lc_rs::{digest, hmac};
use mandate_model::Secret;
use mandate_ports::Challenges;
use mandate_testkit::clock::FixedClock;
use mandate_testkit::entropy::SeededEntropy;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::*;
use crate::fixtures::{NOW, bundle, somewhere};

const ISSUER: &str = "https://mandate.acme.example";
const SECRET: &str = "the secret of the temporary credentials";
const DAY: &str = "20261124";
const DATE: &str = "20261124T070000Z";

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

fn sha256(text: &str) -> String {
    hex(digest::digest(&digest::SHA256, text.as_bytes()).as_ref())
}

fn mac(key: &[u8], text: &str) -> Vec<u8> {
    let key = hmac::Key::new(hmac::HMAC_SHA256, key);
    hmac::sign(&key, text.as_bytes()).as_ref().to_vec()
}

/// The signature of a POST of `body` to `/` with these headers, all of them signed.
fn signature(secret: &str, region: &str, headers: &BTreeMap<String, String>, body: &str) -> String {
    let lines: String = headers.iter().map(|(k, v)| format!("{k}:{v}\n")).collect();
    let names: Vec<&str> = headers.keys().map(String::as_str).collect();
    let names = names.join(";");
    let canonical = format!("POST\n/\n\n{lines}\n{names}\n{}", sha256(body));
    let day = DAY;
    let scope = format!("{day}/{region}/sts/aws4_request");
    let text = format!("AWS4-HMAC-SHA256\n{DATE}\n{scope}\n{}", sha256(&canonical));
    let start = format!("AWS4{secret}").into_bytes();
    let key = [day, region, "sts", "aws4_request"]
        .iter()
        .fold(start, |key, part| mac(&key, part));
    hex(&mac(&key, &text))
}

/// What STS answers where a signature holds.
#[derive(Clone)]
struct Answer {
    status: u16,
    arn: String,
    user: String,
    account: String,
}

impl Default for Answer {
    fn default() -> Self {
        Self {
            status: 200,
            arn: "arn:aws:sts::123456789012:assumed-role/Retriever/chosen-by-the-caller".to_owned(),
            user: "AROAEXAMPLE:chosen-by-the-caller".to_owned(),
            account: "123456789012".to_owned(),
        }
    }
}

/// STS: it knows one secret.
struct Sts {
    address: String,
    answer: Answer,
    asked: Mutex<Vec<BTreeMap<String, String>>>,
}

impl Sts {
    async fn start(answer: Answer) -> Arc<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let asked = Mutex::default();
        let sts = Arc::new(Self {
            address,
            answer,
            asked,
        });
        let serving = sts.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serving.clone().serve(stream));
            }
        });
        sts
    }

    async fn serve(self: Arc<Self>, mut stream: TcpStream) {
        let (line, headers, body) = request(&mut stream).await;
        assert_eq!(
            (line.as_str(), body.as_str()),
            ("POST / HTTP/1.1", request::BODY)
        );
        let status = if holds(&headers, &body) {
            self.answer.status
        } else {
            403
        };
        self.asked.lock().unwrap().push(headers);
        let Answer {
            arn, user, account, ..
        } = &self.answer;
        let xml = format!(
            r#"<GetCallerIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><GetCallerIdentityResult><Arn>{arn}</Arn><UserId>{user}</UserId><Account>{account}</Account></GetCallerIdentityResult></GetCallerIdentityResponse>"#
        );
        let (length, more) = (
            xml.len(),
            if status == 302 {
                "Location: /x\r\n"
            } else {
                ""
            },
        );
        let answer = format!(
            "HTTP/1.1 {status} X\r\n{more}Content-Length: {length}\r\nConnection: close\r\n\r\n{xml}"
        );
        let _ = stream.write_all(answer.as_bytes()).await;
        let _ = stream.shutdown().await;
    }
}

/// Whether the signature holds over what was received, by the headers that it says it covers.
fn holds(headers: &BTreeMap<String, String>, body: &str) -> bool {
    let authorization = &headers["authorization"];
    let part = |name: &str| {
        let (_, rest) = authorization.split_once(name).unwrap();
        rest.split(", ").next().unwrap().to_owned()
    };
    let region = part("Credential=").split('/').nth(2).unwrap().to_owned();
    let signed = part("SignedHeaders=");
    let signed: BTreeMap<String, String> = signed
        .split(';')
        .filter_map(|name| Some((name.to_owned(), headers.get(name)?.clone())))
        .collect();
    part("Signature=") == signature(SECRET, &region, &signed, body)
}

async fn request(stream: &mut TcpStream) -> (String, BTreeMap<String, String>, String) {
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
        let mut lines = head.split("\r\n");
        let line = lines.next().unwrap().to_owned();
        let headers = lines.map(|line| line.split_once(": ").unwrap());
        let headers: BTreeMap<String, String> = headers
            .map(|(name, value)| (name.to_lowercase(), value.to_owned()))
            .collect();
        if body.len() == headers["content-length"].parse::<usize>().unwrap() {
            return (line, headers, body.to_owned());
        }
    }
}

struct World {
    sts: Arc<Sts>,
    challenges: Arc<AwsChallenges>,
    attestor: AwsAttestor,
    bundle: Bundle,
}

const RULE: &str = "{aws: {provider: sts, role: 'arn:aws:iam::123456789012:role/Retriever'}}";

impl World {
    async fn of(rules: &[&str], answer: Answer) -> Self {
        let sts = Sts::start(answer).await;
        let clock = Arc::new(FixedClock::at(NOW));
        let challenges = AwsChallenges::new(clock.clone(), Arc::new(SeededEntropy::new(7)));
        let challenges = Arc::new(challenges);
        let attestor = AwsAttestor::new(challenges.clone(), clock).unwrap();
        let attestor = attestor.dangerous_asking_instead(Some(sts.address.clone()));
        let mut text = "kind: TrustProvider\nmetadata: {name: sts}\nspec: {aws: {accounts: ['123456789012'], regions: [eu-central-1]}}\n".to_owned();
        for (n, rule) in rules.iter().enumerate() {
            text += &format!(
                "---\nkind: AgentType\nmetadata: {{name: agent-{n}}}\nspec: {{attestation: [{rule}], breakGlass: {{contact: x, impact: y}}}}\n"
            );
        }
        Self {
            sts,
            challenges,
            attestor,
            bundle: bundle(&text),
        }
    }

    async fn new() -> Self {
        Self::of(&[RULE], Answer::default()).await
    }

    /// The headers that an honest signer signs, before they are signed.
    fn unsigned(&self) -> BTreeMap<String, String> {
        [
            (
                "content-type",
                "application/x-www-form-urlencoded; charset=utf-8".to_owned(),
            ),
            ("host", "sts.eu-central-1.amazonaws.com".to_owned()),
            ("x-amz-date", DATE.to_owned()),
            ("x-amz-security-token", "session-token".to_owned()),
            ("x-mandate-audience", ISSUER.to_owned()),
            ("x-mandate-challenge", self.challenges.challenge().value),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .into()
    }

    async fn attest(&self, evidence: &Value) -> Result<Attested, AttestRefusal> {
        self.attest_from(evidence, &somewhere()).await
    }

    async fn attest_from(
        &self,
        evidence: &Value,
        from: &ShownFrom,
    ) -> Result<Attested, AttestRefusal> {
        let evidence = Evidence::Aws(Secret::new(evidence.to_string()));
        self.attestor.attest(evidence, from, &self.bundle).await
    }

    async fn attest_signed(
        &self,
        headers: &BTreeMap<String, String>,
    ) -> Result<Attested, AttestRefusal> {
        self.attest(&signed(headers, "eu-central-1")).await
    }

    fn asked(&self) -> usize {
        self.sts.asked.lock().unwrap().len()
    }
}

/// What is shown of a request with these headers, all of them signed.
fn signed(headers: &BTreeMap<String, String>, region: &str) -> Value {
    let names: Vec<&str> = headers.keys().map(String::as_str).collect();
    let signature = signature(SECRET, region, headers, request::BODY);
    let authorization = format!(
        "AWS4-HMAC-SHA256 Credential=ASIAEXAMPLE/{}/{region}/sts/aws4_request, SignedHeaders={}, Signature={signature}",
        DAY,
        names.join(";")
    );
    let mut shown = headers.clone();
    shown.insert("authorization".to_owned(), authorization);
    shown.retain(|name, _| name != "host" && name != "x-mandate-audience");
    json!({ "headers": shown })
}

fn broken(refusal: Result<Attested, AttestRefusal>) -> String {
    match refusal {
        Err(AttestRefusal::Broken(why)) => why,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_role_that_signed_our_challenge_is_known_by_account_and_role() {
    let world = World::new().await;
    let headers = world.unsigned();
    let attested = world.attest_signed(&headers).await.unwrap();
    assert_eq!(attested.agent.as_str(), "agent-0");
    assert_eq!(
        (attested.kind, attested.instance.as_str()),
        (AttestationKind::Aws, "ASIAEXAMPLE")
    );
    assert_eq!(
        attested.facts["claimed_session_name"],
        "chosen-by-the-caller"
    );
    let once = attested.once.unwrap();
    assert_eq!(
        (once.scope, once.id),
        ("aws-challenge", headers["x-mandate-challenge"].clone())
    );
    assert_eq!(once.until, NOW.plus(Duration::from_secs(120)));
    let asked = world.sts.asked.lock().unwrap();
    assert_eq!(asked[0]["host"], "sts.eu-central-1.amazonaws.com");
}

/// FAILURES 28: a session name is whatever the caller wants it to be.
#[tokio::test]
async fn a_session_name_makes_nobody_an_agent() {
    for session in ["Retriever", "agent-0", "i-0abcdef"] {
        let answer = Answer {
            arn: format!("arn:aws:sts::123456789012:assumed-role/Other/{session}"),
            user: format!("AROAOTHER:{session}"),
            ..Answer::default()
        };
        let world = World::of(&[RULE], answer).await;
        let refused = world.attest_signed(&world.unsigned()).await;
        assert!(
            matches!(refused, Err(AttestRefusal::NoRule { .. })),
            "{refused:?}"
        );
    }
}

#[tokio::test]
async fn another_account_and_a_role_made_again_under_its_name_are_nobody() {
    let foreign = Answer {
        arn: "arn:aws:sts::999999999999:assumed-role/Retriever/s".to_owned(),
        user: "AROAEXAMPLE:s".to_owned(),
        account: "999999999999".to_owned(),
        ..Answer::default()
    };
    let world = World::of(&[RULE], foreign).await;
    let refused = world.attest_signed(&world.unsigned()).await;
    assert!(
        matches!(refused, Err(AttestRefusal::NoRule { .. })),
        "{refused:?}"
    );
    let pinned = |id: &str| RULE.replace("Retriever'}", &format!("Retriever', roleId: {id}}}"));
    let (same, made_again) = (pinned("AROAEXAMPLE"), pinned("AROAFORMER"));
    let world = World::of(&[&same], Answer::default()).await;
    world.attest_signed(&world.unsigned()).await.unwrap();
    let world = World::of(&[&made_again], Answer::default()).await;
    let refused = world.attest_signed(&world.unsigned()).await;
    assert!(
        matches!(refused, Err(AttestRefusal::NoRule { .. })),
        "{refused:?}"
    );
}

#[tokio::test]
async fn rules_of_two_agent_types_that_fit_are_ambiguous() {
    let world = World::of(&[RULE, RULE], Answer::default()).await;
    let refused = world.attest_signed(&world.unsigned()).await;
    assert_eq!(refused, Err(AttestRefusal::Ambiguous));
}

/// FAILURES 28: it replays for fifteen minutes where nothing of ours is signed.
#[tokio::test]
async fn a_request_without_our_challenge_under_its_signature_is_never_sent() {
    let world = World::new().await;
    let mut without = world.unsigned();
    without.remove("x-mandate-challenge");
    assert!(broken(world.attest_signed(&without).await).contains("lacks header"));
    let mut beside = signed(&without, "eu-central-1");
    beside["headers"]["x-mandate-challenge"] = world.challenges.challenge().value.into();
    assert!(broken(world.attest(&beside).await).contains("is not signed"));
    let mut foreign = world.unsigned();
    foreign.insert("x-mandate-challenge".to_owned(), "AAAA".to_owned());
    assert!(broken(world.attest_signed(&foreign).await).contains("none of this authority's"));
    assert_eq!(world.asked(), 0);
}

/// Somebody else's server could hand out our challenge as its own: what is signed for it is not for us.
#[tokio::test]
async fn a_request_that_was_signed_for_another_authority_does_not_hold() {
    let world = World::new().await;
    let mut elsewhere = world.unsigned();
    elsewhere.insert(
        "x-mandate-audience".to_owned(),
        "https://evil.example".to_owned(),
    );
    assert!(broken(world.attest_signed(&elsewhere).await).contains("AWS does not accept"));
    assert_eq!(world.asked(), 1);
    let mut unnamed = world.unsigned();
    unnamed.remove("x-mandate-audience");
    assert!(
        broken(world.attest_signed(&unnamed).await).contains("`x-mandate-audience` is not signed")
    );
    let mut said = signed(&world.unsigned(), "eu-central-1");
    said["headers"]["x-mandate-audience"] = "https://evil.example".into();
    assert!(broken(world.attest(&said).await).contains("has no place"));
    assert_eq!(world.asked(), 1);
}

/// FAILURES 28: the caller never names a host.
#[tokio::test]
async fn only_regions_of_the_list_and_of_the_bundle_are_asked() {
    let world = World::new().await;
    for region in [
        "evil.example",
        "eu-central-1.evil.example",
        "eu-central-1@evil",
        "",
    ] {
        let refused = world.attest(&signed(&world.unsigned(), region)).await;
        assert!(broken(refused).contains("region"), "{region}");
    }
    let refused = world.attest(&signed(&world.unsigned(), "us-east-1")).await;
    assert!(
        matches!(refused, Err(AttestRefusal::NoRule { .. })),
        "{refused:?}"
    );
    let mut with_host = signed(&world.unsigned(), "eu-central-1");
    with_host["headers"]["host"] = "evil.example".into();
    assert!(broken(world.attest(&with_host).await).contains("has no place"));
    assert_eq!(world.asked(), 0);
}

#[tokio::test]
async fn a_changed_signature_date_or_token_does_not_hold() {
    let world = World::new().await;
    let good = signed(&world.unsigned(), "eu-central-1");
    let edited = |name: &str, edit: &dyn Fn(&str) -> String| {
        let mut shown = good.clone();
        let value = edit(shown["headers"][name].as_str().unwrap());
        shown["headers"][name] = value.into();
        shown
    };
    let flipped = edited("authorization", &|v| {
        let (head, end) = v.split_at(v.len() - 1);
        format!("{head}{}", if end == "0" { "1" } else { "0" })
    });
    for bad in [
        flipped,
        edited("x-amz-date", &|_| "20261124T070001Z".to_owned()),
        edited("x-amz-security-token", &|v| format!("{v}x")),
    ] {
        assert!(broken(world.attest(&bad).await).contains("AWS does not accept"));
    }
    world.attest(&good).await.unwrap();
}

#[tokio::test]
async fn long_lived_keys_other_services_and_other_algorithms_are_refused() {
    let world = World::new().await;
    let good = signed(&world.unsigned(), "eu-central-1").to_string();
    for (old, new) in [
        ("Credential=ASIA", "Credential=AKIA"),
        ("/sts/", "/iam/"),
        ("AWS4-HMAC-SHA256 ", "AWS4-ECDSA-P256-SHA256 "),
        ("/aws4_request", "/aws5_request"),
        ("Signature=", "Signature=0"),
        ("SignedHeaders=", "SignedHeaders=x-other;"),
        (
            "{\"headers\":",
            "{\"url\":\"http://evil.example\",\"headers\":",
        ),
        ("{\"headers\":", "{\"headers\":{},\"headers\":"),
    ] {
        assert!(good.contains(old), "{old}");
        let evidence = Evidence::Aws(Secret::new(good.replacen(old, new, 1)));
        let refused = world
            .attestor
            .attest(evidence, &somewhere(), &world.bundle)
            .await;
        assert!(
            matches!(refused, Err(AttestRefusal::Broken(_))),
            "{new}: {refused:?}"
        );
    }
    assert_eq!(world.asked(), 0);
}

#[tokio::test]
async fn an_sts_that_fails_throttles_or_redirects_is_unavailable() {
    for status in [302, 429, 500, 503, 204] {
        let answer = Answer {
            status,
            ..Answer::default()
        };
        let world = World::of(&[RULE], answer).await;
        let refused = world.attest_signed(&world.unsigned()).await;
        assert!(
            matches!(refused, Err(AttestRefusal::Unavailable(_))),
            "{status}: {refused:?}"
        );
        assert_eq!(world.asked(), 1, "{status}: asked once");
    }
}

/// Whoever asks gets a challenge, and only AWS can tell a forged signature.
#[tokio::test]
async fn a_flood_of_forged_requests_from_one_source_leaves_turns_to_others() {
    let world = World::new().await;
    let forged = |n: usize| {
        let mut shown = signed(&world.unsigned(), "eu-central-1");
        let authorization = shown["headers"]["authorization"].as_str().unwrap();
        let (head, _) = authorization.split_once("Signature=").unwrap();
        shown["headers"]["authorization"] = format!("{head}Signature={n:064x}").into();
        shown
    };
    let flood = (0..500).map(|n| {
        let (world, shown) = (&world, forged(n));
        async move { world.attest(&shown).await }
    });
    let others = async {
        let shown = signed(&world.unsigned(), "eu-central-1");
        let from = ShownFrom::new("198.51.100.0/24");
        world.attest_from(&shown, &from).await
    };
    let (refused, honest) = tokio::join!(futures_util::future::join_all(flood), others);
    honest.unwrap();
    let busy = |r: &&Result<_, _>| matches!(r, Err(AttestRefusal::Unavailable(_)));
    assert!(
        refused.iter().filter(busy).count() > 400,
        "beyond its share"
    );
    assert!(world.asked() < 100, "{}", world.asked());
}
