//! The options of `mandate serve`.

use std::net::SocketAddr;

use mandate_model::TrustDomain;

use super::logging::LogFormat;
use crate::failure::Failure;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Everything is kept in --data: the store and the log, the gateway's spool, its sockets in run/, and its local
configuration gateway.yaml, which maps secrets for upstreams and pins where they may go. A file attest.yaml, where
there is one, says how the authority reaches the API servers of clusters whose tokens are evidence.
Trust domain and issuer are fixed when the folder is first used.

Examples:
  mandate serve --trust-domain acme.example
  mandate serve --dev
  mandate serve --data /var/lib/mandate --log-format json
  mandate serve --tls-listen 0.0.0.0:8443 --tls-cert chain.pem --tls-key key.pem
  mandate serve --listen 0.0.0.0:7701 --listen-cert chain.pem --listen-key key.pem --issuer https://id.acme.example:7701")]
pub(crate) struct Args {
    /// The name space of all identities; fixed at the first start [default: mandate.local]
    #[arg(long, env = "MANDATE_TRUST_DOMAIN", value_name = "DOMAIN")]
    pub(super) trust_domain: Option<TrustDomain>,
    /// `iss` of all tokens; fixed at the first start [default: http:// or https:// and the address of --listen]
    #[arg(long, env = "MANDATE_ISSUER", value_name = "URL")]
    pub(super) issuer: Option<String>,
    /// Token endpoint, metadata and keys; port 0 is any free one. Beyond loopback with --listen-cert alone
    #[arg(long, default_value = LISTEN, value_name = "ADDRESS")]
    pub(super) listen: SocketAddr,
    /// The gateway: http://ADDRESS/SERVER/, for each server workload
    #[arg(long, default_value = GATEWAY_LISTEN, value_name = "ADDRESS")]
    pub(super) gateway_listen: SocketAddr,
    /// How agents write the gateway's address, where something stands between them and
    /// --gateway-listen: proofs of possession name it [default: http:// and the address of --gateway-listen]
    #[arg(long, env = "MANDATE_GATEWAY_URL", value_name = "URL", value_parser = base_url)]
    pub(super) gateway_url: Option<String>,
    #[command(flatten)]
    pub(super) tls: super::tls::TlsArgs,
    /// Metrics and health
    #[arg(long, default_value = METRICS_LISTEN, value_name = "ADDRESS")]
    pub(super) metrics_listen: SocketAddr,
    /// Bring a test issuer for people that believes whoever asks. NOT for production
    #[arg(long)]
    pub(super) dev: bool,
    /// The test issuer of --dev
    #[arg(long, default_value = "127.0.0.1:7703", value_name = "ADDRESS")]
    pub(super) dev_listen: SocketAddr,
    /// How long a gateway may go on without the authority, in seconds
    #[arg(long, default_value_t = 15, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=300))]
    pub(super) lease: u64,
    /// What is logged: a level, or a filter such as `info,mandate_gateway=debug`
    #[arg(
        long,
        env = "MANDATE_LOG",
        default_value = "info",
        value_name = "FILTER"
    )]
    pub(super) log: String,
    /// How it is logged, on standard error
    #[arg(long, value_enum, default_value_t = LogFormat::Text)]
    pub(super) log_format: LogFormat,
    /// End when standard input ends
    #[arg(long, hide = true)]
    pub(super) end_with_stdin: bool,
}

/// Tokens must not travel in clear: without TLS, the doors are open to this machine alone.
pub(super) fn check_loopback(args: &Args) -> Result<(), Failure> {
    if args.dev && !args.dev_listen.ip().is_loopback() {
        return Err(Failure::usage(
            "the test issuer of --dev listens on loopback alone",
            "leave --dev-listen out",
        ));
    }
    let listen = (!args.tls.guards_listen()).then_some(("--listen", args.listen, NO_TLS));
    let always = [
        ("--gateway-listen", args.gateway_listen, OTHER_DOOR),
        ("--metrics-listen", args.metrics_listen, PROXY),
    ];
    let mut clear = listen.into_iter().chain(always);
    match clear.find(|(_, address, _)| !address.ip().is_loopback()) {
        None => Ok(()),
        Some((option, address, mend)) => Err(Failure::usage(
            format!(
                "{option} {address} is not on loopback and has no TLS: tokens would travel in clear"
            ),
            mend,
        )),
    }
}

/// An address that paths are put after.
fn base_url(text: &str) -> Result<String, String> {
    let base = text.trim_end_matches('/');
    match mandate_token::dpop::HttpTarget::parse(base) {
        Ok(_) if !base.contains(['?', '#']) => Ok(base.to_owned()),
        Ok(_) | Err(_) => Err("an address is `http(s)://HOST[:PORT][/BASE]`".to_owned()),
    }
}

/// Where a server listens that is not told otherwise.
pub(crate) const DEFAULT_ADDRESSES: [&str; 3] = [LISTEN, GATEWAY_LISTEN, METRICS_LISTEN];
const LISTEN: &str = "127.0.0.1:7701";
const GATEWAY_LISTEN: &str = "127.0.0.1:7700";
const METRICS_LISTEN: &str = "127.0.0.1:7702";
const NO_TLS: &str = "give it a certificate with --listen-cert FILE and --listen-key FILE; or listen on 127.0.0.1, with a proxy with TLS in front";
const OTHER_DOOR: &str = "listen on 127.0.0.1; agents elsewhere come to --tls-listen, with --tls-cert FILE and --tls-key FILE";
const PROXY: &str = "listen on 127.0.0.1, with a proxy with TLS in front";

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        args: Args,
    }

    fn checked(more: &[&str]) -> Result<(), Failure> {
        let line = Line::try_parse_from([&["serve"], more].concat()).unwrap();
        check_loopback(&line.args)
    }

    #[test]
    fn the_token_endpoint_is_open_to_other_machines_with_a_certificate_alone() {
        let everywhere = ["--listen", "0.0.0.0:7701"];
        let refused = checked(&everywhere).unwrap_err();
        assert!(refused.mend.contains("--listen-cert"), "{}", refused.mend);
        let pem = ["--listen-cert", "chain.pem", "--listen-key", "key.pem"];
        assert_eq!(checked(&[&everywhere[..], &pem].concat()), Ok(()));
        let metrics = ["--metrics-listen", "0.0.0.0:7702"];
        let other = checked(&[&metrics[..], &pem].concat()).unwrap_err();
        assert!(other.broke.contains("--metrics-listen"), "{}", other.broke);
    }

    #[test]
    fn a_certificate_needs_its_key() {
        let line = Line::try_parse_from(["serve", "--listen-cert", "chain.pem"]);
        assert!(line.is_err());
    }
}
