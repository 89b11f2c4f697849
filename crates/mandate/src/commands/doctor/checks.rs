//! The checks, from the machine up to the live bundle. None changes anything.

use std::os::unix::fs::{MetadataExt, PermissionsExt};

use mandate_ports::Clock;
use serde_json::Value;

use super::{Finding, State};
use crate::client::http::{CALL, Door};
use crate::client::members::Members;
use crate::client::operator::Operator;
use crate::context::{Context, DataDir};
use crate::serve::endpoints::Endpoints;
use crate::serve::machine::SystemClock;

/// Every finding, in the order in which one would mend.
pub(super) async fn all(context: &Context) -> Vec<Finding> {
    let data = &context.data;
    let mut findings = vec![kernel(), rights(), clock(), folder(data), reachable(data)];
    findings.push(space(data));
    findings.extend(secrets(data).await);
    let live = live(context).await;
    findings.push(server(data, &live).await);
    findings.extend(live);
    findings
}

/// `SO_PEERPIDFD` came with Linux 6.5; without it a process cannot be held while it is looked at.
fn kernel() -> Finding {
    let release = rustix::system::uname()
        .release()
        .to_string_lossy()
        .into_owned();
    let mut numbers = release.split(['.', '-']).map(str::parse::<u32>);
    let mut next = || numbers.next().and_then(Result::ok).unwrap_or(0);
    let version = (next(), next());
    if version >= (6, 5) {
        Finding::good("kernel", format!("Linux {release}"))
    } else {
        Finding::bad(
            "kernel",
            format!("Linux {release} cannot name the process behind a socket"),
            "processes are attested on Linux 6.5 and later",
        )
    }
}

fn rights() -> Finding {
    let user = rustix::process::geteuid();
    if user.is_root() {
        return Finding::good("rights", "root: sees the processes of all users");
    }
    Finding::warning(
        "rights",
        format!("user {}: sees its own processes alone", user.as_raw()),
        "run `mandate serve` as root, or with CAP_SYS_PTRACE, to attest agents of other users",
    )
}

/// Tokens and leases need a clock that is roughly right.
fn clock() -> Finding {
    let now = SystemClock.now();
    if now.as_secs() > EARLIEST_SENSIBLE {
        Finding::good("clock", now.to_string())
    } else {
        Finding::bad(
            "clock",
            format!("it says {now}"),
            "set the clock, and keep it set (NTP)",
        )
    }
}

fn folder(data: &DataDir) -> Finding {
    let path = data.path();
    let shown = path.display();
    match std::fs::metadata(path) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            Finding::good("data", format!("{shown} will be made by `mandate serve`"))
        }
        Err(e) => Finding::bad("data", format!("{shown}: {e}"), "say another --data"),
        Ok(found) if !found.is_dir() => Finding::bad(
            "data",
            format!("{shown} is no folder"),
            "say another --data",
        ),
        Ok(found) if found.uid() != rustix::process::geteuid().as_raw() => Finding::warning(
            "data",
            format!("{shown} is user {}'s", found.uid()),
            "run the server as that user",
        ),
        Ok(_) => Finding::good("data", shown.to_string()),
    }
}

/// Agents of other users have to get to the socket.
fn reachable(data: &DataDir) -> Finding {
    let closed = data.path().ancestors().find(|folder| {
        std::fs::metadata(folder).is_ok_and(|found| found.permissions().mode() & 0o001 == 0)
    });
    match closed {
        None => Finding::good("way to the sockets", "open to every user"),
        Some(folder) => Finding::warning(
            "way to the sockets",
            format!("{} is closed to other users", folder.display()),
            format!(
                "`chmod o+x {}`, or choose a --data that agents can reach, such as /var/lib/mandate",
                folder.display()
            ),
        ),
    }
}

fn space(data: &DataDir) -> Finding {
    let existing = data.path().ancestors().find(|folder| folder.exists());
    let stat = existing.and_then(|folder| rustix::fs::statvfs(folder).ok());
    let Some(stat) = stat else {
        return Finding::warning("disk", "its free space cannot be read", "look at it");
    };
    let megabytes = stat.f_bavail.saturating_mul(stat.f_frsize) / (1 << 20);
    if megabytes >= ENOUGH_MEGABYTES {
        Finding::good("disk", format!("{megabytes} MiB free"))
    } else {
        Finding::warning(
            "disk",
            format!("{megabytes} MiB free"),
            "without space for records nothing is admitted: free some",
        )
    }
}

/// The gateway's local configuration, as the gateway will read it.
async fn secrets(data: &DataDir) -> Vec<Finding> {
    let path = data.gateway_config();
    if !path.exists() {
        return vec![Finding::good("secrets", "none mapped (no gateway.yaml)")];
    }
    match mandate_upstream::FileCredentials::from_process_environment(&path).await {
        Err(why) => vec![Finding::bad(
            "secrets",
            why.to_string(),
            "mend gateway.yaml",
        )],
        Ok(credentials) => {
            let problems = credentials.problems();
            if problems.is_empty() {
                return vec![Finding::good(
                    "secrets",
                    format!("{} is good", path.display()),
                )];
            }
            let bad = |(name, why): (mandate_model::SecretName, String)| {
                Finding::bad("secrets", format!("{name}: {why}"), "mend its source")
            };
            problems.into_iter().map(bad).collect()
        }
    }
}

/// `live` is what an operator is told besides; others are told nothing.
async fn server(data: &DataDir, live: &[Finding]) -> Finding {
    let Ok(endpoints) = Endpoints::read(&data.endpoints()) else {
        return Finding::warning("server", "does not run here", "mandate serve");
    };
    let door = Door::Tcp(endpoints.metrics.to_string());
    let Ok(request) = door.get("/readyz") else {
        return Finding::bad("server", "its address is none", "restart it");
    };
    match door.call(request, CALL).await {
        Ok(answer) if answer.status.is_success() => {
            Finding::good("server", format!("ready, pid {}", endpoints.pid))
        }
        Ok(_) => not_ready(endpoints.pid, live),
        Err(why) => Finding::bad("server", why.to_string(), "start it again: mandate serve"),
    }
}

/// Why it is not ready is told below, one finding each; a server of which nobody here can say why
/// keeps things from working.
fn not_ready(pid: u32, live: &[Finding]) -> Finding {
    let found = format!("runs and is not ready, pid {pid}");
    if live.iter().any(|finding| finding.state != State::Good) {
        Finding::warning("server", found, "see below")
    } else {
        let mend = "`mandate status` and `mandate doctor` as an operator say why";
        Finding::bad("server", found, mend)
    }
}

/// What the server itself finds, and what is live.
async fn live(context: &Context) -> Vec<Finding> {
    let operator = Operator::of(&context.data);
    let Ok(status) = operator.get::<Value>("/status", &[]).await else {
        return Vec::new();
    };
    let mut findings: Vec<Finding> = status
        .items("findings")
        .iter()
        // That has a line and a mend of its own.
        .filter(|finding| finding.as_str() != Some("no bundle is live"))
        .map(|finding| Finding::bad("readiness", text_of(finding), "`mandate status` says more"))
        .collect();
    findings.push(match status.at("bundle").at("version").as_u64() {
        Some(0) | None => Finding::warning(
            "bundle",
            "none is live, so nothing is permitted",
            "mandate init FOLDER, then mandate apply FOLDER",
        ),
        Some(version) => Finding::good("bundle", format!("version {version} is live")),
    });
    for observed in status.items("observe") {
        findings.push(Finding::warning(
            "observe",
            format!("{} enforces nothing", text_of(observed.at("server"))),
            "end it as soon as its records look right",
        ));
    }
    for going_on in status.items("without_lease") {
        findings.push(Finding::warning(
            "leaseLoss",
            format!(
                "{} goes on without a lease: a suspension may wait for tokens to expire",
                text_of(going_on.at("server"))
            ),
            "leave `leaseLoss` out unless its outage is worse than that",
        ));
    }
    findings
}

fn text_of(value: &Value) -> String {
    value
        .as_str()
        .map_or_else(|| value.to_string(), str::to_owned)
}

/// 2024: whatever says earlier was never set.
const EARLIEST_SENSIBLE: u64 = 1_704_067_200;
const ENOUGH_MEGABYTES: u64 = 512;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_closed_folder_on_the_way_is_named_with_its_mend() {
        let folder = tempfile::tempdir().unwrap();
        let closed = folder.path().join("closed");
        std::fs::create_dir(&closed).unwrap();
        std::fs::set_permissions(&closed, std::fs::Permissions::from_mode(0o700)).unwrap();
        let data = DataDir::resolve(Some(closed.join("data"))).unwrap();
        let finding = reachable(&data);
        assert_eq!(finding.state, State::Warning);
        assert!(finding.mend.contains(&closed.display().to_string()));
    }

    #[test]
    fn a_server_that_is_not_ready_is_bad_unless_it_is_said_why() {
        let good = Finding::good("bundle", "version 3 is live");
        assert_eq!(not_ready(1, &[]).state, State::Bad);
        assert_eq!(not_ready(1, std::slice::from_ref(&good)).state, State::Bad);
        let why = Finding::warning("bundle", "none is live", "mandate apply FOLDER");
        assert_eq!(not_ready(1, &[good, why]).state, State::Warning);
    }
}
