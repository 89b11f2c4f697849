//! Token exchanges over HTTP with durable records, as a share of what their cryptography alone would allow, and
//! beside the token exchange of zitadel/oidc.
//!
//! `cargo build --release -p mandate && cargo bench -p mandate-bench --bench exchange`
//!
//! The ceiling is two ES256 verifications and one signature, in a loop on every core, and nothing else. The load
//! generator is this process; server and peer are processes of their own, and all share the machine's cores.
//! What is compared is measured in alternation in one run.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::disallowed_methods,
    clippy::indexing_slicing,
    clippy::cast_precision_loss,
    reason = "a bench stops where it cannot go on, and reads the clock"
)]

use std::time::{Duration, Instant};

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair,
    ParsedPublicKey,
};
use mandate_bench::agent::Agent;
use mandate_bench::figures::us;
use mandate_bench::load::{Run, Shot, each_once, in_turn};
use mandate_bench::peer::Peer;
use mandate_bench::server::Server;
use mandate_bench::upstream;

const ROUNDS: usize = 5;
const SPAN: Duration = Duration::from_secs(3);
const CONNECTIONS: usize = 32;
/// What the agents' socket takes of one user at once is bounded.
const ATTESTING: usize = 16;
/// Pairs of a JWT-SVID and a task token that the authority has never seen, for each round.
const UNSEEN: usize = 3_000;
/// Pairs that are shown again and again.
const SEEN: usize = 64;

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() {
    let upstream = upstream::start().await;
    let server = Server::start(upstream).await;
    let peer = Peer::start().await;
    let agent = server.agent();
    let mut ceiling = Vec::new();
    let (mut unseen, mut seen, mut of_peer) = (Vec::new(), Vec::new(), Vec::new());
    let mut busy = [Duration::ZERO; 2];
    for _ in 0..ROUNDS {
        ceiling.push(pure(Duration::from_secs(1)));
        let shots = shots(&agent, UNSEEN).await;
        let before = server.process.cpu();
        unseen.push(each_once(server.tokens, &shots, CONNECTIONS).await);
        busy[0] += server.process.cpu() - before;
        let again = &shots[..SEEN];
        let before = server.process.cpu();
        seen.push(in_turn(server.tokens, again, CONNECTIONS, SPAN).await);
        busy[1] += server.process.cpu() - before;
        if let Some(peer) = &peer {
            let shots = std::slice::from_ref(&peer.shot);
            of_peer.push(in_turn(peer.address, shots, CONNECTIONS, SPAN).await);
        }
    }
    ceiling.sort_by(f64::total_cmp);
    let ceiling = ceiling[ROUNDS / 2];
    println!("ceiling, two ES256 verifications and one signature on every core: {ceiling:.0}/s");
    let unseen = report(
        "exchanges, tokens never seen before",
        &mut unseen,
        Some(busy[0]),
    );
    let seen = report("exchanges, tokens seen before", &mut seen, Some(busy[1]));
    println!(
        "share of the ceiling, never seen: {:.0} %",
        100.0 * unseen / ceiling
    );
    println!(
        "share of the ceiling, seen: {:.0} %",
        100.0 * seen / ceiling
    );
    println!("seen to never seen: {:.2}", seen / unseen);
    if !of_peer.is_empty() {
        let peer = report("exchanges at zitadel/oidc", &mut of_peer, None);
        println!(
            "against zitadel/oidc: {:.2} never seen, {:.2} seen",
            unseen / peer,
            seen / peer
        );
    }
    println!("memory: {:.1} MiB", server.process.resident_mib());
}

/// Two verifications and one signature, on as many threads as there are cores.
fn pure(span: Duration) -> f64 {
    let cores = std::thread::available_parallelism().unwrap().get();
    let threads: Vec<_> = (0..cores)
        .map(|_| {
            std::thread::spawn(move || {
                let random = SystemRandom::new();
                let pkcs8 = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random);
                let pkcs8 = pkcs8.unwrap();
                let pair =
                    EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8.as_ref());
                let pair = pair.unwrap();
                let public =
                    ParsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, pair.public_key().as_ref());
                let public = public.unwrap();
                // As long as the tokens are.
                let message = [7_u8; 1024];
                let (began, mut count) = (Instant::now(), 0_u32);
                while began.elapsed() < span {
                    let signature = pair.sign(&random, &message).unwrap();
                    public.verify_sig(&message, signature.as_ref()).unwrap();
                    public.verify_sig(&message, signature.as_ref()).unwrap();
                    count += 1;
                }
                f64::from(count) / began.elapsed().as_secs_f64()
            })
        })
        .collect();
    threads
        .into_iter()
        .map(|thread| thread.join().unwrap())
        .sum()
}

/// Exchanges for access tokens, each with an SVID and a task token of its own.
async fn shots(agent: &Agent, count: usize) -> Vec<Shot> {
    let mut workers = Vec::new();
    for part in 0..ATTESTING {
        let agent = agent.clone();
        let mine = (part..count).step_by(ATTESTING).count();
        workers.push(tokio::spawn(async move {
            let mut shots = Vec::new();
            for _ in 0..mine {
                let svid = agent.svid().await;
                let task = agent.open(&svid).await;
                shots.push(agent.access_shot(&svid, &task, "https://records.bench.example"));
            }
            shots
        }));
    }
    let mut shots = Vec::new();
    for worker in workers {
        shots.extend(worker.await.unwrap());
    }
    shots
}

/// Says the median run, and tells its rate.
fn report(name: &str, runs: &mut [Run], busy: Option<Duration>) -> f64 {
    let served: f64 = runs.iter().map(|run| run.latencies.len() as f64).sum();
    let own = busy.map(|busy| busy.as_secs_f64() * 1e6 / served);
    let own = own.map(|own| format!(" (its own CPU {own:.1} µs each)"));
    runs.sort_by(|a, b| a.per_second.total_cmp(&b.per_second));
    let run = &runs[runs.len() / 2];
    println!(
        "{name}{}: {:.0}/s, p50 {}, p99 {}",
        own.unwrap_or_default(),
        run.per_second,
        us(run.latencies.median()),
        us(run.latencies.p99())
    );
    run.per_second
}
