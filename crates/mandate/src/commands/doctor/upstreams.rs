//! The live bundle against what this machine has: mapped secrets, authorities for TLS, upstreams that
//! answer.

use std::time::Duration;

use mandate_policy::decl::ServerWorkload;
use mandate_ports::{CredentialError, Credentials, Origin};
use mandate_upstream::FileCredentials;
use tokio::net::TcpStream;

use super::Finding;
use crate::client::operator::Operator;
use crate::commands::live;
use crate::context::Context;

/// What the local configuration maps.
pub(super) enum Mapped {
    /// There is no configuration.
    Nothing,
    /// It cannot be read here; that is a finding of its own.
    Unknown,
    /// It was read.
    These(FileCredentials),
}

/// What keeps accesses of the live bundle's server workloads from their upstreams.
pub(super) async fn all(operator: &Operator, context: &Context, mapped: &Mapped) -> Vec<Finding> {
    let bundle = match live::bundle(operator, context).await {
        Ok(bundle) => bundle,
        Err(why) => return vec![Finding::warning("upstreams", why.broke, why.mend)],
    };
    let mut findings = Vec::new();
    for server in bundle.servers() {
        findings.extend(secret(server, mapped).await);
        findings.extend(authorities(server, mapped));
        findings.extend(silent(server).await);
    }
    if findings.is_empty() {
        let good = "each answers, and the secrets for it are mapped";
        findings.push(Finding::good("upstreams", good));
    }
    findings
}

/// The secret of a server workload, asked for as the gateway asks for it.
async fn secret(server: &ServerWorkload, mapped: &Mapped) -> Option<Finding> {
    let (name, origin) = (server.credential.secret()?, origin_of(server));
    let pinned = format!("`{name}` in gateway.yaml, with `origins: [\"{origin}\"]`");
    let (why, mend) = match mapped {
        Mapped::Unknown => return None,
        Mapped::Nothing => (
            format!("needs secret `{name}`, and there is no gateway.yaml"),
            format!("map {pinned}"),
        ),
        Mapped::These(credentials) => match credentials.secret(name, &origin).await {
            Ok(_) => return None,
            Err(CredentialError::Unmapped(_)) => (
                format!("needs secret `{name}`, which gateway.yaml does not map"),
                format!("map {pinned}"),
            ),
            Err(CredentialError::WrongOrigin { .. }) => (
                format!("needs secret `{name}` at {origin}, where gateway.yaml does not let it go"),
                format!("pin {pinned}, if the upstream is meant"),
            ),
            // The secret itself is a finding already.
            Err(CredentialError::Unreadable(_)) => return None,
        },
    };
    Some(Finding::bad(
        "upstreams",
        format!("{}: {why}", server.name),
        mend,
    ))
}

fn authorities(server: &ServerWorkload, mapped: &Mapped) -> Option<Finding> {
    let Mapped::These(credentials) = mapped else {
        return None;
    };
    let why = credentials
        .tls_config(&origin_of(server), server.ca.as_deref())
        .err()?;
    let found = format!("{}: its `ca` is not known at this gateway", server.name);
    Some(Finding::bad("upstreams", found, why.to_string()))
}

/// An upstream that nobody can connect to.
async fn silent(server: &ServerWorkload) -> Option<Finding> {
    let upstream = &server.upstream;
    let place = (upstream.host.as_str(), upstream.port);
    let why = match tokio::time::timeout(PATIENCE, TcpStream::connect(place)).await {
        Ok(Ok(_)) => return None,
        Ok(Err(why)) => why.to_string(),
        Err(_) => "no answer in time".to_owned(),
    };
    Some(Finding::bad(
        "upstreams",
        format!("{}: nothing answers at {upstream}: {why}", server.name),
        "start it, or mend `upstream` in the bundle",
    ))
}

fn origin_of(server: &ServerWorkload) -> Origin {
    let upstream = &server.upstream;
    Origin {
        scheme: upstream.scheme().to_owned(),
        host: upstream.host.clone(),
        port: upstream.port,
    }
}

const PATIENCE: Duration = Duration::from_secs(2);
