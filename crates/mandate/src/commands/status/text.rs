//! How the server stands, for people: what somebody must look at comes first, times can be read.

use mandate_model::Timestamp;
use serde_json::Value;

use super::super::moment::{moment, plural, span};
use crate::client::members::Members;
use crate::output::Paint;

/// The answer of `GET /operator/v1/status`, with the addresses beside it.
pub(super) fn render(status: &Value, paint: Paint) -> String {
    let mut text = readiness(status, paint);
    for (name, value) in [
        ("issuer", word(status.at("issuer"))),
        ("trust domain", word(status.at("trust_domain"))),
        ("its clock", time(status, "now").to_string()),
        (
            "you are",
            format!("operator {}", word(status.at("operator"))),
        ),
        ("bundle", bundle(status, paint)),
        ("suspensions", suspensions(status, paint)),
        ("log", log(status, paint)),
        ("lease", span_of(status.number("lease_ms"))),
        ("versions", pairs(status.at("versions"))),
    ] {
        text.push_str(&format!("{:<13} {value}\n", name));
    }
    section("gateways", gateways(status, paint), &mut text);
    section("observe mode", observed(status, paint), &mut text);
    section("keys", keys(status), &mut text);
    section("addresses", addresses(status), &mut text);
    text
}

fn readiness(status: &Value, paint: Paint) -> String {
    if status.at("ready").as_bool() == Some(true) {
        return format!("{}\n", paint.green("ready"));
    }
    let mut text = format!("{}\n", paint.red("NOT ready"));
    for finding in status.items("findings") {
        text.push_str(&format!("  {}\n", paint.red(word(finding))));
    }
    text
}

fn bundle(status: &Value, paint: Paint) -> String {
    let bundle = status.at("bundle");
    let version = bundle.number("version");
    if let Some(why) = bundle.text("error") {
        return paint.red(format!("version {version} cannot be used: {why}"));
    }
    if version == 0 {
        return paint.yellow("none is live: nothing is permitted");
    }
    format!(
        "version {version}, applied {}, digest {}",
        moment(time(bundle, "at"), time(status, "now")),
        word(bundle.at("digest"))
    )
}

fn suspensions(status: &Value, paint: Paint) -> String {
    let mut text = match status.number("suspensions") {
        0 => "none in force".to_owned(),
        n => paint.yellow(format!("{n} in force: see `mandate suspensions`")),
    };
    let resumed = status.number("resumptions");
    if resumed > 0 {
        text.push_str(&format!(
            ", {resumed} lifted of late: what was issued before is void"
        ));
    }
    let undurable = status.number("undurable_suspensions");
    if undurable > 0 {
        let said = format!(", {undurable} of them NOT durable: a restart would forget");
        text.push_str(&paint.red(said));
    }
    text
}

fn log(status: &Value, paint: Paint) -> String {
    let log = status.at("log");
    match log.text("error") {
        Some(why) => paint.red(format!("cannot be read: {why}")),
        None => plural(log.number("size"), "record"),
    }
}

fn gateways(status: &Value, paint: Paint) -> Vec<String> {
    let line = |gateway: &Value| {
        let is = |name: &str| gateway.at(name).as_bool() == Some(true);
        let lease = if is("leased") {
            "has a lease".to_owned()
        } else {
            paint.red("has NO lease and admits nothing")
        };
        let stream = if is("streaming") {
            "is connected".to_owned()
        } else {
            paint.red("is NOT connected")
        };
        format!(
            "{}  {lease}, {stream}; has applied bundle version {}, stops version {}",
            word(gateway.at("id")),
            gateway.number("bundle"),
            gateway.number("stops")
        )
    };
    status.items("gateways").iter().map(line).collect()
}

fn observed(status: &Value, paint: Paint) -> Vec<String> {
    let line = |observed: &Value| {
        let until = moment(time(observed, "until"), time(status, "now"));
        let server = word(observed.at("server"));
        paint.yellow(format!("server {server} enforces NOTHING until {until}"))
    };
    status.items("observe").iter().map(line).collect()
}

fn keys(status: &Value) -> Vec<String> {
    let line = |key: &Value| {
        let word = |name: &str| word(key.at(name));
        format!(
            "{:<6} {:<10} {}",
            word("purpose"),
            word("state"),
            word("id")
        )
    };
    status.items("keys").iter().map(line).collect()
}

fn addresses(status: &Value) -> Vec<String> {
    let own = ["issuer", "trust_domain"];
    let members = status.at("endpoints").as_object().into_iter().flatten();
    members
        .filter(|(name, _)| !own.contains(&name.as_str()))
        .map(|(name, value)| format!("{:<13} {}", name.replace('_', " "), word(value)))
        .collect()
}

fn section(heading: &str, lines: Vec<String>, text: &mut String) {
    let lines = if lines.is_empty() {
        vec!["none".to_owned()]
    } else {
        lines
    };
    text.push_str(&format!("{heading}\n"));
    for line in lines {
        text.push_str(&format!("  {line}\n"));
    }
}

fn pairs(value: &Value) -> String {
    let members = value.as_object().into_iter().flatten();
    let pairs: Vec<String> = members
        .map(|(name, value)| format!("{name} {}", word(value)))
        .collect();
    pairs.join(", ")
}

fn time(value: &Value, name: &str) -> Timestamp {
    Timestamp::from_millis(value.number(name))
}

fn span_of(millis: u64) -> String {
    span(std::time::Duration::from_millis(millis))
}

fn word(value: &Value) -> String {
    value
        .as_str()
        .map_or_else(|| value.to_string(), str::to_owned)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn status() -> Value {
        json!({
            "ready": true, "findings": [], "issuer": "http://127.0.0.1:7701",
            "trust_domain": "acme.example", "now": 1_800_000_000_000_u64, "operator": "root",
            "bundle": {"version": 3, "at": 1_799_999_940_000_u64, "digest": "sha256:ab"},
            "suspensions": 0, "undurable_suspensions": 0, "log": {"size": 1}, "lease_ms": 15_000,
            "versions": {"epoch": "e", "stops": 2, "bundle": 3, "keys": 1},
            "gateways": [{"id": "local", "stops": 2, "bundle": 3, "leased": true, "streaming": true}],
            "observe": [{"server": "dark", "until": 1_800_086_400_000_u64}],
            "keys": [{"id": "k-1", "purpose": "oauth", "state": "signing"}],
        })
    }

    #[test]
    fn no_time_is_a_bare_number() {
        let text = render(&status(), Paint::NONE);
        assert!(!text.contains("0000000"), "{text}");
        assert!(
            text.contains("its clock     2027-01-15T08:00:00.000Z"),
            "{text}"
        );
        let applied = "version 3, applied 2027-01-15T07:59:00.000Z (1 min ago)";
        assert!(text.contains(applied), "{text}");
        let observed = "server dark enforces NOTHING until 2027-01-16T08:00:00.000Z (in 1 d)";
        assert!(text.contains(observed), "{text}");
        assert!(text.contains("lease         15 s"), "{text}");
        assert!(text.contains("log           1 record\n"), "{text}");
    }

    #[test]
    fn what_is_wrong_is_said_first_and_in_words() {
        let mut status = status();
        status["ready"] = json!(false);
        status["findings"] = json!(["the store fails"]);
        status["suspensions"] = json!(2);
        status["resumptions"] = json!(1);
        status["undurable_suspensions"] = json!(1);
        status["gateways"][0]["leased"] = json!(false);
        let text = render(&status, Paint::NONE);
        assert!(text.starts_with("NOT ready\n  the store fails\n"), "{text}");
        assert!(text.contains("1 of them NOT durable"), "{text}");
        assert!(text.contains("1 lifted of late"), "{text}");
        assert!(text.contains("local  has NO lease"), "{text}");
    }

    #[test]
    fn a_server_without_a_bundle_permits_nothing_and_says_so() {
        let mut status = status();
        status["bundle"] = json!({"version": 0});
        assert!(render(&status, Paint::NONE).contains("none is live: nothing is permitted"));
    }
}
