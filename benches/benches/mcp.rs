//! The gateway in front of an MCP server, beside Envoy: calls of a tool, and lists of a thousand tools.
//!
//! `cargo build --release -p mandate && cargo bench -p mandate-bench --bench mcp`, all of it, or only the parts that
//! are named: `-- calls`, `-- lists`, `-- filter`.
//!
//! The gateway decides each call by tool and argument within a task that pins the argument, records it durably before it
//! is forwarded, and injects the server's key. Envoy verifies a token (`jwt_authn`), reads the message (`mcp`), permits
//! by the name of the tool (`rbac`) and adds the key; once with its cache of verified tokens and once without.
//! ContextForge verifies a token and keeps a session with the server. The server answers nobody without the key and counts
//! the calls that it carries out, so no denial is taken for an answer.
//! Load generator and server are this process; what is compared is measured in alternation.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::disallowed_methods,
    clippy::indexing_slicing,
    reason = "a bench stops where it cannot go on, and reads the clock"
)]

use std::hint::black_box;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;
use mandate_bench::contextforge::ContextForge;
use mandate_bench::figures::{Samples, ms, us};
use mandate_bench::issuer::Issuer;
use mandate_bench::load::{Shot, ask, connect, send};
use mandate_bench::mcp::{self, SHOWN, TOOLS, Upstream, With};
use mandate_bench::proxy::{self, Caches, Proxy};
use mandate_bench::server::Server;
use mandate_bench::way::Way;
use mandate_decide::enforce::{may_be_shown, shown};
use mandate_model::mandate::parse_entries;
use mandate_model::task::TaskPath;
use mandate_model::{
    ActChain, ActorLevel, AttestationKind, InstanceId, Principal, ProviderName, ServerName,
    SpiffeId, StopVersion, TaskId, Timestamp, TokenId, Trigger, TriggerKind, TrustDomain, Verified,
};
use mandate_policy::{Bundle, LoadEnv, SourceFile, load};
use mandate_token::{AccessToken, ActingChain, Audience};
use serde_json::{Value, json};

const ROUNDS: usize = 5;
const SPAN: Duration = Duration::from_secs(3);
const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() {
    proxy::serve_if_asked().await;
    let named: Vec<String> = std::env::args()
        .skip(1)
        .filter(|a| !a.starts_with("--"))
        .collect();
    let runs = |part: &str| named.is_empty() || named.iter().any(|name| name == part);
    if runs("filter") {
        filter();
    }
    if !runs("calls") && !runs("lists") {
        return;
    }
    let upstream = Upstream::start().await;
    let server = Server::start_with(upstream.address, &mcp::bundle()).await;
    if runs("lists") {
        lists(&server, &upstream).await;
    }
    if runs("calls") {
        let scene = Scene::checked(&server, &upstream).await;
        for connections in [8, 16, 64] {
            scene.saturated(connections).await;
        }
        scene.paced().await;
    }
    println!("memory: server {:.1} MiB", server.process.resident_mib());
}

/// A list of a thousand tools, without sockets.
fn filter() {
    let message = format!(
        r#"{{"jsonrpc":"2.0","id":7,"result":{}}}"#,
        mcp::tools(TOOLS)
    );
    let (bundle, token) = (policies(), claims());
    let server = ServerName::parse("catalogue").unwrap();
    let server = bundle.server(&server).unwrap();
    let may = |listed, named: &str, _: &str| may_be_shown(&bundle, server, &token, listed, named);
    let answer = shown(message.as_bytes(), may).unwrap().unwrap();
    assert_eq!(tools_in(&answer), SHOWN);
    let (mut whole, mut without) = (Samples::default(), Samples::default());
    for _ in 0..500 {
        let began = Instant::now();
        black_box(shown(message.as_bytes(), may)).unwrap();
        whole.push(began.elapsed());
        let began = Instant::now();
        black_box(shown(message.as_bytes(), |_, named, _| named < "crm_250")).unwrap();
        without.push(began.elapsed());
    }
    println!(
        "a list of {TOOLS} tools, {:.2} MB, filtered to {SHOWN}: fastest {}, median {}, p99 {} (without asking the policies: fastest {}, median {})",
        f64::from(u32::try_from(message.len()).unwrap()) / 1e6,
        ms(whole.quantile(0.0)),
        ms(whole.median()),
        ms(whole.p99()),
        ms(without.quantile(0.0)),
        ms(without.median())
    );
}

fn tools_in(answer: &[u8]) -> usize {
    let answer: Value = serde_json::from_slice(answer).unwrap();
    answer["result"]["tools"].as_array().unwrap().len()
}

fn policies() -> Bundle {
    let text = mcp::bundle()
        .replace("${uid}", "1000")
        .replace("${upstream}", "127.0.0.1:1");
    let file = SourceFile {
        name: "bench.yaml".to_owned(),
        text,
    };
    let env = LoadEnv {
        trust_domain: TrustDomain::parse("bench.example").unwrap(),
        issuer: "http://127.0.0.1:7701".to_owned(),
    };
    load(&[file], &env, NOW).unwrap().bundle
}

fn claims() -> AccessToken {
    let level = ActorLevel {
        sub: SpiffeId::parse("spiffe://bench.example/agent/bench").unwrap(),
        inst: InstanceId::parse("bench-1").unwrap(),
        prv: ProviderName::parse("process").unwrap(),
        att: AttestationKind::Process,
        host: None,
    };
    let actions = ["act-0", "act-1", "act-2", "act-3", "act-4"];
    let entries = json!([{"type": "mandate_access", "server": "catalogue", "actions": actions}]);
    AccessToken {
        issuer: mandate_token::Issuer::parse("https://id.bench.example").unwrap(),
        audience: Audience::parse("https://catalogue.bench.example/mcp").unwrap(),
        principal: Principal::parse("user:login:alice").unwrap(),
        acting: ActingChain::new(ActChain::from_levels(vec![level]).unwrap()).unwrap(),
        entries: parse_entries(serde_json::from_value(entries).unwrap()).unwrap(),
        trigger: Trigger {
            kind: TriggerKind::User,
            verified: Verified::User,
            provider: None,
            item: None,
        },
        purpose: "bench".to_owned(),
        path: TaskPath::root_of(TaskId::new(NOW, [1; 10])),
        task_expires_at: NOW.plus(Duration::from_secs(600)),
        uses: None,
        confirmation: None,
        via: None,
        stops: StopVersion::default(),
        id: TokenId::new(NOW, [2; 10]),
        issued_at: NOW,
        not_before: None,
        expires_at: NOW.plus(Duration::from_secs(120)),
    }
}

/// The same list from the server, through a proxy that forwards it whole, and through the gateway.
async fn lists(server: &Server, upstream: &Upstream) {
    let bare = Proxy::bare(upstream.address);
    let token = With::Token(token(server, "catalogue").await);
    let ways = [
        (upstream.address, mcp::list("", &With::Key), TOOLS),
        (bare.address, mcp::list("", &With::Key), TOOLS),
        (server.gateway, mcp::list("/catalogue", &token), SHOWN),
    ];
    let mut took = [(); 3].map(|()| Samples::default());
    let mut senders = Vec::new();
    for (to, ..) in &ways {
        senders.push(connect(*to).await);
    }
    for _ in 0..200 {
        for (((_, shot, count), sender), took) in ways.iter().zip(&mut senders).zip(&mut took) {
            let began = Instant::now();
            let answer = send(sender, shot).await;
            took.push(began.elapsed());
            assert_eq!(tools_in(&answer), *count);
        }
    }
    let [direct, bare, gateway] = &took;
    let added = |way: &Samples| way.median().saturating_sub(direct.median());
    println!(
        "a list of {TOOLS} tools: direct median {}, p99 {}; bare hyper proxy median {}, {} added; gateway median {}, p99 {}, {} added",
        ms(direct.median()),
        ms(direct.p99()),
        ms(bare.median()),
        ms(added(bare)),
        ms(gateway.median()),
        ms(gateway.p99()),
        ms(added(gateway))
    );
}

/// All that stands before the one MCP server.
struct Scene<'a> {
    server: &'a Server,
    upstream: &'a Upstream,
    issuer: Issuer,
    envoy: Option<Proxy>,
    caching: Option<Proxy>,
    forge: Option<ContextForge>,
}

impl<'a> Scene<'a> {
    /// Every way permits what it should, and nothing beside it.
    async fn checked(server: &'a Server, upstream: &'a Upstream) -> Self {
        let (issuer, to) = (Issuer::new(), upstream.address);
        let scene = Self {
            envoy: Proxy::envoy_mcp(to, &issuer, Caches::Nothing).await,
            caching: Proxy::envoy_mcp(to, &issuer, Caches::Tokens).await,
            forge: ContextForge::start(to).await,
            server,
            upstream,
            issuer,
        };
        check_gateway(server, upstream).await;
        for envoy in scene.envoy.iter().chain(&scene.caching) {
            check_envoy(envoy.address, &scene.issuer, upstream).await;
        }
        if let Some(forge) = &scene.forge {
            check_forge(forge, upstream).await;
        }
        scene
    }

    /// Each way with what goes it. Tokens live two minutes: each round gets its own.
    async fn shots(&self) -> Vec<Shot> {
        let token = With::Token(token(self.server, "desk").await);
        let envoy = mcp::call("", TOOL, "acme", &With::Token(self.issuer.token()));
        let direct = mcp::call("", TOOL, "acme", &With::Key);
        let mut shots = vec![direct, mcp::call("/desk", TOOL, "acme", &token)];
        shots.extend(
            self.envoy
                .iter()
                .chain(&self.caching)
                .map(|_| envoy.clone()),
        );
        shots.extend(
            self.forge
                .iter()
                .map(|forge| forge.call("desk-look-up", true)),
        );
        shots
    }

    /// In the order of `shots`.
    fn ways(&self) -> Vec<Way<'_>> {
        let mut ways = vec![
            Way::new("direct", self.upstream.address, None),
            Way::new("gateway", self.server.gateway, Some(&self.server.process)),
        ];
        ways.extend(of("Envoy", self.envoy.as_ref()));
        ways.extend(of("Envoy with cached tokens", self.caching.as_ref()));
        let forge = self.forge.as_ref();
        ways.extend(forge.map(|forge| Way::new(FORGE, forge.address, Some(&forge.process))));
        ways
    }

    async fn saturated(&self, connections: usize) {
        let mut ways = self.ways();
        for _ in 0..ROUNDS {
            for (way, shot) in ways.iter_mut().zip(&self.shots().await) {
                let answered = way.saturate(shot, connections, SPAN).await;
                assert_eq!(self.upstream.carried_out(), answered, "{}", way.name);
            }
        }
        println!("-- {connections} connections");
        let gateway = ways[1].median().per_second;
        for way in &mut ways {
            way.report();
            let memory = way
                .resident_mib()
                .map(|mib| format!(", memory {mib:.1} MiB"));
            println!(
                "    the gateway's throughput is {:.2} times that of {}{}",
                gateway / way.median().per_second,
                way.name,
                memory.unwrap_or_default()
            );
        }
    }

    async fn paced(&self) {
        let mut ways = self.ways();
        // It serves fewer than that.
        ways.retain(|way| way.name != FORGE);
        for _ in 0..ROUNDS {
            for (way, shot) in ways.iter_mut().zip(&self.shots().await) {
                let answered = way.pace(shot, SPAN).await;
                assert_eq!(self.upstream.carried_out(), answered, "{}", way.name);
            }
        }
        println!("-- 1,000 calls a second");
        let direct = ways[0].steady.clone();
        for way in ways {
            println!(
                "{}: p50 {}, p99 {}; added: p50 {}, p99 {}",
                way.name,
                us(way.steady.median()),
                us(way.steady.p99()),
                us(way.steady.median().saturating_sub(direct.median())),
                us(way.steady.p99().saturating_sub(direct.p99()))
            );
        }
    }
}

fn of<'p>(name: &'static str, proxy: Option<&'p Proxy>) -> Option<Way<'p>> {
    proxy.map(|proxy| Way::new(name, proxy.address, Some(&proxy.process)))
}

/// It carries out what the task is for, and nothing beside it.
async fn check_gateway(server: &Server, upstream: &Upstream) {
    let token = With::Token(token(server, "desk").await);
    let denied = |answer: &Bytes| {
        let answer: Value = serde_json::from_slice(answer).unwrap();
        answer["result"]["isError"] == true
    };
    for (tool, customer, is_permitted) in [
        (TOOL, "acme", true),
        (TOOL, "globex", false),
        ("search", "acme", false),
    ] {
        let (status, answer) =
            once(server.gateway, &mcp::call("/desk", tool, customer, &token)).await;
        assert_eq!(
            (status, denied(&answer)),
            (200, !is_permitted),
            "{answer:?}"
        );
        assert_eq!(upstream.carried_out(), usize::from(is_permitted));
    }
    let stranger = With::Token(Issuer::new().token());
    let (status, answer) = once(server.gateway, &mcp::call("/desk", TOOL, "acme", &stranger)).await;
    assert_eq!((status, upstream.carried_out()), (401, 0), "{answer:?}");
}

async fn check_envoy(envoy: SocketAddr, issuer: &Issuer, upstream: &Upstream) {
    let own = With::Token(issuer.token());
    let stranger = With::Token(Issuer::new().token());
    for (tool, with, expected) in [
        (TOOL, &own, 200),
        ("search", &own, 403),
        (TOOL, &stranger, 401),
    ] {
        let (status, answer) = once(envoy, &mcp::call("", tool, "acme", with)).await;
        assert_eq!(status, expected, "{answer:?}");
        assert_eq!(upstream.carried_out(), usize::from(expected == 200));
    }
}

async fn check_forge(forge: &ContextForge, upstream: &Upstream) {
    for (tool, with_token, expected) in [("desk-look-up", true, 200), ("desk-look-up", false, 401)]
    {
        let (status, answer) = once(forge.address, &forge.call(tool, with_token)).await;
        assert_eq!(status, expected, "{answer:?}");
        assert_eq!(
            upstream.carried_out(),
            usize::from(expected == 200),
            "{answer:?}"
        );
    }
}

async fn once(to: SocketAddr, shot: &Shot) -> (u16, Bytes) {
    ask(&mut connect(to).await, shot).await
}

async fn token(server: &Server, name: &str) -> String {
    let agent = server.agent();
    let svid = agent.svid().await;
    let task = agent.open(&svid).await;
    let resource = format!("https://{name}.bench.example/mcp");
    agent
        .token(&agent.access_shot(&svid, &task, &resource))
        .await
}

const TOOL: &str = "look_up";
const FORGE: &str = "ContextForge";
