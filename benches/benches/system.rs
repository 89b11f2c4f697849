//! The whole system, as a release build: exchanges, the gateway, suspension, memory.
//!
//! `cargo build --release -p mandate && cargo bench -p mandate-bench --bench system`, all of it, or only
//! the parts that are named: `-- gateway exchanges suspension`, and `-- memory`, which takes minutes and
//! is part of nothing else.
//!
//! Load generator and upstream are this process; the server and the proxies that it is compared with are
//! processes of their own, and all share the machine's cores. What is compared is measured in
//! alternation in one run; compare ratios, not machines.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::disallowed_methods,
    clippy::indexing_slicing,
    clippy::cast_precision_loss,
    reason = "a bench stops where it cannot go on, and reads the clock"
)]

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::BodyExt;
use mandate_bench::figures::{Samples, ms, us};
use mandate_bench::load::{Shot, closed_loop, connect};
use mandate_bench::proxy::Proxy;
use mandate_bench::server::Server;
use mandate_bench::way::{Way, report};
use mandate_bench::{proxy, upstream};

const ROUNDS: usize = 5;
const SPAN: Duration = Duration::from_secs(3);
/// So many connections saturate all that is compared; with fewer, the time of a sync limits the gateway.
const SATURATING: usize = 64;

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() {
    proxy::serve_if_asked().await;
    let named: Vec<String> = std::env::args()
        .skip(1)
        .filter(|a| !a.starts_with("--"))
        .collect();
    let is_asked = |part: &str| named.iter().any(|name| name == part);
    let runs = |part: &str| named.is_empty() || is_asked(part);
    let upstream = upstream::start().await;
    let server = Server::start(upstream).await;
    let memory = |when: &str| println!("memory: {when} {:.1} MiB", server.process.resident_mib());
    memory("idle after start");
    if runs("suspension") {
        suspension(&server, "before the load").await;
    }
    if runs("exchanges") {
        exchanges(&server).await;
    }
    if runs("gateway") {
        gateway(&server, upstream).await;
    }
    if runs("suspension") && (runs("exchanges") || runs("gateway")) {
        suspension(&server, "after it").await;
    }
    memory("after all of this");
    if is_asked("memory") {
        million(&server).await;
    }
}

/// Resident memory over a million accesses.
async fn million(server: &Server) {
    let mut done = 0.0;
    let began = Instant::now();
    while done < 1e6 {
        let token = access_token(server, "https://records.bench.example").await;
        let shot = get("/records/customers/acme", &token);
        let span = Duration::from_secs(10);
        let before = server.process.cpu();
        let run = closed_loop(server.gateway, &shot, SATURATING, span).await;
        let busy = server.process.cpu() - before;
        let these = run.latencies.len() as f64;
        done += these;
        let resident = server.process.resident_mib();
        let each = busy.as_secs_f64() * 1e6 / these;
        println!(
            "memory: {resident:.1} MiB after {done:.0} accesses (its own CPU {each:.1} µs each)"
        );
    }
    println!(
        "a million accesses took {:.0} s",
        began.elapsed().as_secs_f64()
    );
}

async fn exchanges(server: &Server) {
    let agent = server.agent();
    let svid = agent.svid().await;
    let task = agent.open(&svid).await;
    let shot = agent.access_shot(&svid, &task, "https://records.bench.example");
    for connections in [1, 8, 32] {
        let run = closed_loop(server.tokens, &shot, connections, SPAN).await;
        report(
            &format!("access exchanges, durable records, {connections} clients"),
            &run,
        );
    }
}

async fn access_token(server: &Server, resource: &str) -> String {
    let agent = server.agent();
    let svid = agent.svid().await;
    let task = agent.open(&svid).await;
    agent
        .token(&agent.access_shot(&svid, &task, resource))
        .await
}

fn get(path: &str, token: &str) -> Shot {
    let headers = vec![("authorization", format!("Bearer {token}"))];
    Shot {
        method: "GET",
        path: path.to_owned(),
        headers,
        body: Bytes::new(),
    }
}

async fn gateway(server: &Server, upstream: SocketAddr) {
    let bare = Proxy::bare(upstream);
    let envoy = Proxy::envoy(upstream).await;
    for connections in [16, SATURATING] {
        println!("-- {connections} connections");
        ways(server, upstream, &bare, envoy.as_ref(), connections).await;
    }
}

async fn ways(
    server: &Server,
    upstream: SocketAddr,
    bare: &Proxy,
    envoy: Option<&Proxy>,
    connections: usize,
) {
    let mut alone = Way::new("upstream alone", upstream, None);
    let mut bare = Way::new("bare hyper proxy", bare.address, Some(&bare.process));
    let mut envoy = envoy.map(|e| Way::new("Envoy, plain proxy", e.address, Some(&e.process)));
    let process = Some(&server.process);
    let mut read = Way::new("gateway, record before release", server.gateway, process);
    let mut first = Way::new("gateway, record before forwarding", server.gateway, process);
    for _ in 0..ROUNDS {
        // Tokens live two minutes: each round gets its own.
        let internal = access_token(server, "https://records.bench.example").await;
        let strict = access_token(server, "https://strict.bench.example").await;
        let plain = get("/customers/acme", "-");
        let reading = get("/records/customers/acme", &internal);
        let recorded_first = get("/strict/customers/acme", &strict);
        let mut all = vec![(&mut alone, &plain), (&mut bare, &plain)];
        all.extend(envoy.as_mut().map(|envoy| (envoy, &plain)));
        all.push((&mut read, &reading));
        all.push((&mut first, &recorded_first));
        for (way, shot) in &mut all {
            way.saturate(shot, connections, SPAN).await;
        }
        for (way, shot) in &mut all[1..] {
            way.pace(shot, SPAN).await;
        }
    }
    for way in [
        Some(&mut alone),
        Some(&mut bare),
        envoy.as_mut(),
        Some(&mut read),
        Some(&mut first),
    ] {
        way.into_iter().for_each(Way::report);
    }
    let share = |way: &mut Way<'_>, of: f64| 100.0 * way.median().per_second / of;
    let hyper = bare.median().per_second;
    println!(
        "gateway's share of the bare proxy's throughput: {:.0} % internal reads, {:.0} % others",
        share(&mut read, hyper),
        share(&mut first, hyper)
    );
    if let Some(envoy) = &mut envoy {
        let envoy = envoy.median().per_second;
        println!(
            "gateway's share of Envoy's throughput: {:.0} % internal reads, {:.0} % others",
            share(&mut read, envoy),
            share(&mut first, envoy)
        );
    }
    for (name, way) in [("internal reads", &read), ("others", &first)] {
        println!(
            "added at 1,000 requests/s, {name}: p50 {}, p99 {} (bare: p50 {}, p99 {})",
            us(way.steady.median().saturating_sub(bare.steady.median())),
            us(way.steady.p99().saturating_sub(bare.steady.p99())),
            us(bare.steady.median()),
            us(bare.steady.p99())
        );
    }
}

/// From the operator's request to the last byte of an open download, and to "effective".
/// `when` tells whether the tokens of the load are among those that each resumption leaves void.
async fn suspension(server: &Server, when: &str) {
    let subject = serde_json::json!({"kind": "agent", "id": "spiffe://bench.example/agent/bench"});
    let order = serde_json::json!({"subject": subject, "reason": "bench"});
    let (mut last_byte, mut answered) = (Samples::default(), Samples::default());
    let mut acknowledged = Samples::default();
    for _ in 0..100 {
        let token = access_token(server, "https://records.bench.example").await;
        let (reading, stopped) = download(server.gateway, &token).await;
        let began = Instant::now();
        let told = server.operate("/operator/v1/suspend", &order).await;
        answered.push(began.elapsed());
        assert_eq!(told["effective"], true, "{told}");
        acknowledged.push(Duration::from_millis(told["after_ms"].as_u64().unwrap()));
        let last = stopped.await.unwrap();
        reading.abort();
        last_byte.push(last.saturating_duration_since(began));
        server.operate("/operator/v1/resume", &order).await;
    }
    println!(
        "suspension to the last byte of an open download, {when}: p50 {}, p99 {}",
        ms(last_byte.median()),
        ms(last_byte.p99())
    );
    println!(
        "commit of a suspension to the last acknowledgement of a gateway, in whole milliseconds, {when}: p50 {}, p99 {}",
        ms(acknowledged.median()),
        ms(acknowledged.p99())
    );
    println!(
        "suspension to the answer \"effective\", which says what it hit, {when}: p50 {}, p99 {}",
        ms(answered.median()),
        ms(answered.p99())
    );
}

type Stopped = tokio::sync::oneshot::Receiver<Instant>;

/// Begins an endless download; tells when the last byte of it came.
async fn download(gateway: SocketAddr, token: &str) -> (tokio::task::JoinHandle<()>, Stopped) {
    // A resumption reaches the gateway within moments.
    let (sender, response) = loop {
        let mut sender = connect(gateway).await;
        let request = hyper::Request::get("/records/customers/acme/export")
            .header("host", "bench")
            .header("authorization", format!("Bearer {token}"))
            .body(http_body_util::Full::new(Bytes::new()))
            .unwrap();
        let response = sender.send_request(request).await.unwrap();
        if response.status() == 200 {
            break (sender, response);
        }
        // Not yet: the resumption is on its way, or the gateway ships what the load left behind.
        tokio::time::sleep(Duration::from_millis(5)).await;
    };
    let mut body = response.into_body();
    body.frame().await.unwrap().unwrap();
    let (tell, stopped) = tokio::sync::oneshot::channel();
    let reading = tokio::spawn(async move {
        let _sender = sender;
        let mut last = Instant::now();
        while let Some(Ok(_)) = body.frame().await {
            last = Instant::now();
        }
        tell.send(last).ok();
    });
    (reading, stopped)
}
