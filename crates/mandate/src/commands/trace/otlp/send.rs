//! Posting a trace to a collector on this machine (OTLP/HTTP with JSON).

use std::net::IpAddr;
use std::str::FromStr;

use http::Uri;
use http::uri::Scheme;
use serde::Deserialize;
use serde_json::Value;

use super::Traces;
use crate::client::http::{CALL, Door, HttpError};
use crate::failure::Failure;

/// A collector of this machine. What it sends on, and with which TLS and credentials, is its own affair: a trace
/// names people, so it goes nowhere else in plain text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Collector {
    door: Door,
    path: String,
}

impl FromStr for Collector {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let uri: Uri = text.parse().map_err(|_| format!("`{text}` is no URL"))?;
        let authority = uri.authority().ok_or("the URL has no host")?;
        if uri.scheme() != Some(&Scheme::HTTP) || !is_loopback(authority.host()) {
            return Err(
                "a trace names people: it is posted to a collector on this machine, `http://127.0.0.1:4318`, which sends it on with TLS"
                    .to_owned(),
            );
        }
        if uri.query().is_some() || authority.as_str().contains('@') {
            return Err("the URL of a collector has neither query nor user".to_owned());
        }
        let host = authority.host();
        let port = authority.port_u16().unwrap_or(PORT);
        Ok(Self {
            door: Door::Tcp(format!("{host}:{port}")),
            path: format!("{}/v1/traces", uri.path().trim_end_matches('/')),
        })
    }
}

fn is_loopback(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || bare.parse().is_ok_and(|ip: IpAddr| ip.is_loopback())
}

/// `ExportTraceServiceResponse`.
#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Accepted {
    partial_success: PartialSuccess,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct PartialSuccess {
    /// A 64-bit number: text, or a number where a receiver is lenient.
    rejected_spans: Value,
    error_message: String,
}

impl Collector {
    /// Posts `traces`; fails unless the collector takes all of it.
    pub(crate) async fn take(&self, traces: Traces) -> Result<(), Failure> {
        for part in traces.in_parts(SPANS) {
            let body = serde_json::to_value(&part)
                .map_err(|e| Failure::failed(format!("the trace has no JSON form: {e}"), ""))?;
            let request = self.door.json(&self.path, &body).map_err(unreachable)?;
            let answer = self.door.call(request, CALL).await.map_err(unreachable)?;
            if !answer.status.is_success() {
                let said = String::from_utf8_lossy(&answer.body).into_owned();
                return Err(refused(format!("{}: {}", answer.status, said.trim())));
            }
            let accepted: Accepted = serde_json::from_slice(&answer.body).unwrap_or_default();
            let PartialSuccess {
                rejected_spans,
                error_message,
            } = accepted.partial_success;
            if !matches!(rejected_spans.to_string().trim_matches('"'), "null" | "0") {
                return Err(refused(format!("{rejected_spans} spans: {error_message}")));
            }
        }
        Ok(())
    }
}

fn unreachable(error: HttpError) -> Failure {
    let mend = "start the collector, or say where its OTLP receiver listens for HTTP";
    Failure::unreachable(error.to_string(), mend)
}

fn refused(why: String) -> Failure {
    Failure::failed(
        format!("the collector did not take the trace: {why}"),
        "see that its OTLP receiver has `http` and takes JSON; `--format otlp` prints what was sent",
    )
}

/// OTLP/HTTP's own.
const PORT: u16 = 4318;
/// A collector takes 20 MiB at once by default, and a span has two kilobytes.
const SPANS: usize = 2_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trace_is_posted_to_this_machine_alone() {
        let read = |text: &str| text.parse::<Collector>();
        let collector = read("http://127.0.0.1:4318").unwrap();
        assert_eq!(collector.path, "/v1/traces");
        assert_eq!(
            read("http://localhost/").unwrap().door,
            Door::Tcp("localhost:4318".to_owned())
        );
        assert_eq!(
            read("http://[::1]:99/otlp/").unwrap().path,
            "/otlp/v1/traces"
        );
        for elsewhere in [
            "https://127.0.0.1:4318",
            "http://collector.example:4318",
            "http://10.0.0.1:4318",
            "http://127.0.0.1.example",
            "http://user@127.0.0.1",
            "http://127.0.0.1/?x",
            "127.0.0.1",
            "",
        ] {
            assert!(read(elsewhere).is_err(), "{elsewhere}");
        }
    }
}
