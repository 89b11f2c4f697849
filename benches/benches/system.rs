//! The whole system, as a release build: exchanges, the gateway, suspension, memory.
//!
//! `cargo build --release -p mandate && cargo bench -p mandate-bench --bench system`
//!
//! Load generator, server and upstream share the machine's cores. What is compared is measured in
//! alternation in one run; compare ratios, not machines.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a bench stops where it cannot go on, and reads the clock"
)]

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::BodyExt;
use mandate_bench::figures::{Samples, ms, us};
use mandate_bench::load::{Run, Shot, closed_loop, connect, fixed_rate};
use mandate_bench::server::Server;
use mandate_bench::{proxy, upstream};

const ROUNDS: usize = 5;
const SPAN: Duration = Duration::from_secs(3);

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() {
    let upstream = upstream::start().await;
    let server = Server::start(upstream).await;
    println!("memory: idle after start {:.1} MiB", server.resident_mib());
    suspension(&server, "before the load").await;
    exchanges(&server).await;
    gateway(&server, upstream).await;
    suspension(&server, "after it").await;
    println!("memory: after all of this {:.1} MiB", server.resident_mib());
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
    let bare = proxy::start(upstream).await;
    let mut runs = [(); 4].map(|()| Vec::new());
    let mut slow = [(); 3].map(|()| Samples::default());
    for _ in 0..ROUNDS {
        // Tokens live two minutes: each round gets its own.
        let internal = access_token(server, "https://records.bench.example").await;
        let strict = access_token(server, "https://strict.bench.example").await;
        let plain = get("/customers/acme", "-");
        let read = get("/records/customers/acme", &internal);
        let recorded_first = get("/strict/customers/acme", &strict);
        let routes = [
            (upstream, &plain),
            (bare, &plain),
            (server.gateway, &read),
            (server.gateway, &recorded_first),
        ];
        for ((to, shot), runs) in routes.iter().zip(&mut runs) {
            runs.push(closed_loop(*to, shot, 16, SPAN).await);
        }
        let routes = [
            (bare, &plain),
            (server.gateway, &read),
            (server.gateway, &recorded_first),
        ];
        for ((to, shot), samples) in routes.iter().zip(&mut slow) {
            samples.extend(fixed_rate(*to, shot, 1000, SPAN).await);
        }
    }
    let names = [
        "upstream alone",
        "bare hyper proxy",
        "gateway, record before release",
        "gateway, record before forwarding",
    ];
    let throughput = runs.map(|mut runs| {
        runs.sort_by(|a, b| a.per_second.total_cmp(&b.per_second));
        runs.swap_remove(ROUNDS / 2)
    });
    for (name, run) in names.iter().zip(&throughput) {
        report(name, run);
    }
    let [_, bare, internal, strict] = &throughput;
    println!(
        "gateway's share of the bare proxy's throughput: {:.0} % internal reads, {:.0} % others",
        100.0 * internal.per_second / bare.per_second,
        100.0 * strict.per_second / bare.per_second
    );
    let [bare, internal, strict] = &slow;
    for (name, samples) in [("internal reads", internal), ("others", strict)] {
        println!(
            "added at 1,000 requests/s, {name}: p50 {}, p99 {} (bare: p50 {}, p99 {})",
            us(samples.median().saturating_sub(bare.median())),
            us(samples.p99().saturating_sub(bare.p99())),
            us(bare.median()),
            us(bare.p99())
        );
    }
}

/// From the operator's request to the last byte of an open download, and to "effective".
/// `when` tells whether the tokens of the load are among those that each resumption leaves void.
async fn suspension(server: &Server, when: &str) {
    let subject = serde_json::json!({"kind": "agent", "id": "spiffe://bench.example/agent/bench"});
    let order = serde_json::json!({"subject": subject, "reason": "bench"});
    let (mut last_byte, mut effective) = (Samples::default(), Samples::default());
    for _ in 0..100 {
        let token = access_token(server, "https://records.bench.example").await;
        let (reading, stopped) = download(server.gateway, &token).await;
        let began = Instant::now();
        server.operate("/operator/v1/suspend", &order).await;
        effective.push(began.elapsed());
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
        "suspension to the word \"effective\", {when}: p50 {}, p99 {}",
        ms(effective.median()),
        ms(effective.p99())
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

fn report(name: &str, run: &Run) {
    println!(
        "{name}: {:.0}/s, p50 {}, p99 {}",
        run.per_second,
        us(run.latencies.median()),
        us(run.latencies.p99())
    );
}
