//! The checks, from the machine up to the live bundle. None changes anything.

use std::io::ErrorKind;
use std::net::TcpListener;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use mandate_ports::Clock;
use serde_json::Value;

use super::upstreams::{self, Mapped};
use super::{Finding, State, providers};
use crate::client::http::{CALL, Door, HttpError};
use crate::client::members::Members;
use crate::client::operator::{Operator, OperatorError};
use crate::context::{Context, DataDir};
use crate::failure::Failure;
use crate::serve::DEFAULT_ADDRESSES;
use crate::serve::endpoints::Endpoints;
use crate::serve::folder::check_own;
use crate::serve::machine::SystemClock;

/// Every finding, in the order in which one would mend.
pub(super) async fn all(context: &Context) -> Vec<Finding> {
    let data = &context.data;
    let mut findings = vec![kernel(), rights(), clock(), folder(data), reachable(data)];
    findings.push(space(data));
    let (mapped, found) = secrets(data).await;
    findings.extend(found);
    let live = live(context, &mapped).await;
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
        Ok(found) => match check_own(path) {
            Err(why) => Finding::bad("data", why.broke, why.mend),
            Ok(()) if found.uid() != rustix::process::geteuid().as_raw() => Finding::warning(
                "data",
                format!("{shown} is user {}'s", found.uid()),
                "run the server as that user",
            ),
            Ok(()) => Finding::good("data", shown.to_string()),
        },
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
async fn secrets(data: &DataDir) -> (Mapped, Vec<Finding>) {
    let path = data.gateway_config();
    if !path.exists() {
        let none = Finding::good("secrets", "none mapped (no gateway.yaml)");
        return (Mapped::Nothing, vec![none]);
    }
    if is_closed(&path) {
        return (Mapped::Unknown, vec![closed(data, &path)]);
    }
    match mandate_upstream::FileCredentials::from_process_environment(&path).await {
        Err(why) => {
            let bad = Finding::bad("secrets", why.to_string(), "mend gateway.yaml");
            (Mapped::Unknown, vec![bad])
        }
        Ok(credentials) => {
            let problems = credentials.problems();
            let bad = |(name, why): (mandate_model::SecretName, String)| {
                Finding::bad("secrets", format!("{name}: {why}"), "mend its source")
            };
            let mut found: Vec<Finding> = problems.into_iter().map(bad).collect();
            if found.is_empty() {
                let good = format!("{} is good", path.display());
                found.push(Finding::good("secrets", good));
            }
            (Mapped::These(credentials), found)
        }
    }
}

fn is_closed(path: &Path) -> bool {
    let opened = std::fs::File::open(path);
    opened.is_err_and(|e| e.kind() == ErrorKind::PermissionDenied)
}

/// It is the server's alone, and nothing is wrong with it for that.
fn closed(data: &DataDir, path: &Path) -> Finding {
    let owner = std::fs::metadata(data.path()).map_or(0, |found| found.uid());
    Finding::warning(
        "secrets",
        format!("{} is the server's alone to read", path.display()),
        format!("run `mandate doctor` as root or user {owner} to have them checked"),
    )
}

/// `live` is what an operator is told besides; others are told nothing.
async fn server(data: &DataDir, live: &[Finding]) -> Finding {
    let Ok(endpoints) = Endpoints::read(&data.endpoints()) else {
        return stopped(data);
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

/// No server runs on this folder.
fn stopped(data: &DataDir) -> Finding {
    let taken = DEFAULT_ADDRESSES.iter().find(|address| {
        TcpListener::bind(address).is_err_and(|e| e.kind() == ErrorKind::AddrInUse)
    });
    match taken {
        Some(address) => Finding::bad(
            "server",
            format!("does not run here, and something else listens on {address}"),
            "end that, or say other addresses: `mandate serve --listen`, `--gateway-listen`, `--metrics-listen`",
        ),
        None if data.identity().exists() => Finding::bad(
            "server",
            "does not run, and has run on this folder before",
            "start it: mandate serve",
        ),
        None => Finding::warning("server", "does not run here", "mandate serve"),
    }
}

/// What the server itself finds, and what is live.
async fn live(context: &Context, mapped: &Mapped) -> Vec<Finding> {
    let operator = Operator::on_this_machine(&context.data);
    let status = match operator.get::<Value>("/status", &[]).await {
        Ok(status) => status,
        // That it does not run has been said.
        Err(OperatorError::Http(HttpError::Connect { .. }))
            if !context.data.endpoints().exists() =>
        {
            return Vec::new();
        }
        Err(why) => {
            let why = Failure::from(why);
            return vec![Finding::warning("live state", why.broke, why.mend)];
        }
    };
    let mut findings: Vec<Finding> = status
        .items("findings")
        .iter()
        // That has a line and a mend of its own.
        .filter(|finding| finding.as_str() != Some("no bundle is live"))
        .map(|finding| readiness(&text_of(finding)))
        .collect();
    let suspensions = status.number("suspensions");
    if suspensions > 0 {
        findings.push(Finding::warning(
            "suspensions",
            format!("{suspensions} in force"),
            "`mandate suspensions` says of what, by whom and why",
        ));
    }
    findings.push(match status.at("bundle").at("version").as_u64() {
        Some(0) | None => Finding::warning(
            "bundle",
            "none is live, so nothing is permitted",
            "mandate init FOLDER, then mandate apply FOLDER",
        ),
        Some(version) => Finding::good("bundle", format!("version {version} is live")),
    });
    if status.at("bundle").number("version") > 0 {
        findings.extend(providers::all(&operator, context).await);
        findings.extend(upstreams::all(&operator, context, mapped).await);
    }
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

fn readiness(found: &str) -> Finding {
    let mend = if found.contains("suspended") {
        "`mandate suspensions` says by whom and why; `mandate resume` lifts it"
    } else {
        "`mandate status` says more"
    };
    Finding::bad("readiness", found, mend)
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

    #[test]
    fn a_folder_that_others_can_write_is_bad() {
        let temp = tempfile::tempdir().unwrap();
        let data = DataDir::resolve(Some(temp.path().to_owned())).unwrap();
        assert_eq!(folder(&data).state, State::Good);
        std::fs::set_permissions(temp.path(), std::fs::Permissions::from_mode(0o777)).unwrap();
        let finding = folder(&data);
        assert_eq!(finding.state, State::Bad);
        assert!(finding.mend.contains("chmod go-w"), "{}", finding.mend);
    }

    #[test]
    fn a_server_that_ran_and_is_stopped_is_bad_and_one_that_never_ran_is_not() {
        let temp = tempfile::tempdir().unwrap();
        let data = DataDir::resolve(Some(temp.path().to_owned())).unwrap();
        // Something of this machine may listen on the default addresses meanwhile.
        let says = |part: &str| stopped(&data).found.contains(part);
        assert!(!says("has run on this folder"));
        std::fs::write(data.identity(), "{}").unwrap();
        assert_eq!(stopped(&data).state, State::Bad);
        assert!(says("has run on this folder") || says("something else listens"));
    }
}
