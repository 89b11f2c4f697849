//! One decision among 10 policies and among 10,000, in alternation.
//!
//! `cargo bench -p mandate-bench --bench decision`

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a bench stops where it cannot go on, and reads the clock"
)]

use std::fmt::Write as _;
use std::hint::black_box;
use std::time::Instant;

use mandate_bench::figures::{Samples, us};
use mandate_model::mandate::{Entries, RawEntry, parse_entries};
use mandate_model::{
    ActionName, ActorLevel, AttestationKind, AttributeName, AttributeValue, InstanceId, Principal,
    ProviderName, RequestAttributes, ServerName, SpiffeId, Timestamp, Trigger, TriggerKind,
    TrustDomain, Verified,
};
use mandate_policy::{Bundle, LoadEnv, PolicyRequest, PolicyVerdict, SourceFile, load};

const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);

fn main() {
    let sizes = [10, 10_000];
    let bundles: Vec<Bundle> = sizes.iter().map(|n| bundle(*n)).collect();
    let question = Question::new();
    let mut samples = vec![Samples::default(); sizes.len()];
    for _ in 0..200 {
        for (bundle, samples) in bundles.iter().zip(&mut samples) {
            let began = Instant::now();
            for _ in 0..100 {
                let verdict = black_box(bundle.permits(&question.request()));
                assert!(
                    matches!(verdict, PolicyVerdict::Permitted { .. }),
                    "{verdict:?}"
                );
            }
            samples.push(began.elapsed() / 100);
        }
    }
    for (size, samples) in sizes.iter().zip(&samples) {
        println!(
            "decision among {size:>6} policies: median {}, p99 of batches {}",
            us(samples.median()),
            us(samples.p99())
        );
    }
    if let [few, many] = &samples[..] {
        println!(
            "ratio {:.2}",
            many.median().as_secs_f64() / few.median().as_secs_f64()
        );
    }
}

/// `policies` access policies over a hundred agent types and ten server workloads, ten guardrails.
fn bundle(policies: usize) -> Bundle {
    let agents = policies.clamp(1, 100);
    let mut text = String::new();
    for n in 0..agents {
        write!(text, "kind: AgentType\nmetadata: {{name: agent-{n}}}\nspec:\n  attestation: [{{process: {{uid: {}}}}}]\n  breakGlass: {{contact: x, impact: y}}\n---\n", 10_000 + n).unwrap();
    }
    for s in 0..10 {
        write!(text, "kind: ServerWorkload\nmetadata: {{name: server-{s}}}\nspec:\n  resource: https://s{s}.example\n  upstream: http://127.0.0.1:1\n  credential: none\n  actions:\n").unwrap();
        for a in 0..10 {
            writeln!(
                text,
                "    act-{a}: {{effect: read, match: \"GET /a{a}/{{customer}}/**\"}}"
            )
            .unwrap();
        }
        text.push_str("---\n");
    }
    for g in 0..10 {
        write!(text, "kind: Guardrail\nmetadata: {{name: guard-{g}}}\nspec: {{forbid: 'context.attestation == \"hosted\" && context.purpose == \"p{g}\"'}}\n---\n").unwrap();
    }
    for p in 0..policies {
        let (agent, server, action) = (p % agents, (p / agents) % 10, (p / agents / 10) % 10);
        write!(text, "kind: AccessPolicy\nmetadata: {{name: policy-{p}}}\nspec: {{agents: [agent-{agent}], server: server-{server}, actions: [act-{action}], taskMustFix: [customer]}}\n---\n").unwrap();
    }
    let file = SourceFile {
        name: "bench.yaml".to_owned(),
        text,
    };
    let env = LoadEnv {
        trust_domain: TrustDomain::parse("bench.example").unwrap(),
        issuer: "http://127.0.0.1:7701".to_owned(),
    };
    match load(&[file], &env, NOW) {
        Ok(loaded) => loaded.bundle,
        Err(mistakes) => panic!("{:#?}", mistakes.first()),
    }
}

struct Question {
    actor: ActorLevel,
    server: ServerName,
    action: ActionName,
    attributes: RequestAttributes,
    entries: Entries,
    principal: Principal,
    trigger: Trigger,
}

impl Question {
    fn new() -> Self {
        let mut attributes = RequestAttributes::new();
        let customer = AttributeName::parse("customer").unwrap();
        attributes.add(customer, AttributeValue::Text("acme".to_owned()));
        let entry = r#"[{"type":"mandate_access","server":"server-0","actions":["act-0"],"constraints":{"customer":{"in":["acme"]}}}]"#;
        let raw: Vec<RawEntry> = serde_json::from_str(entry).unwrap();
        Self {
            actor: ActorLevel {
                sub: SpiffeId::parse("spiffe://bench.example/agent/agent-0").unwrap(),
                inst: InstanceId::parse("i-1").unwrap(),
                prv: ProviderName::parse("process").unwrap(),
                att: AttestationKind::Process,
                host: None,
            },
            server: ServerName::parse("server-0").unwrap(),
            action: ActionName::parse("act-0").unwrap(),
            attributes,
            entries: parse_entries(raw).unwrap(),
            principal: Principal::parse("user:login:alice").unwrap(),
            trigger: Trigger {
                kind: TriggerKind::User,
                verified: Verified::User,
                provider: None,
                item: None,
            },
        }
    }

    fn request(&self) -> PolicyRequest<'_> {
        PolicyRequest {
            actor: &self.actor,
            act: &[],
            server: &self.server,
            action: &self.action,
            attributes: &self.attributes,
            entry: self.entries.iter().next(),
            principal: &self.principal,
            trigger: &self.trigger,
            purpose: "case",
            now: NOW,
        }
    }
}
