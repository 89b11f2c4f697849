//! `mandate mcp import`: what a live server declares, as documents of a bundle.

use std::ffi::OsString;
use std::path::PathBuf;

use http::HeaderMap;
use serde_json::json;

use super::source::{self, Reading};
use crate::context::Context;
use crate::failure::{Exit, Failure, Outcome};
use crate::mcp::import::{Imported, Place, server_name, text};
use crate::mcp::read::{Declared, Server};
use crate::mcp::whole_file;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Each tool, prompt and resource template becomes an action, with attributes from its schema. What it does is guessed, from
the server's own word, and marked so: read it before you enable anything. As written it passes `mandate check` beside an
agent type and grants nothing; the access policy is a comment with a line for each action.

Examples:
  mandate mcp import http://127.0.0.1:3901/mcp --name desk --out support/desk.yaml
  mandate mcp import https://mcp.acme.example/mcp --header-file headers.txt
  mandate mcp import --name git -- mcp-server-git --repository project")]
pub(crate) struct Args {
    /// Where the server is: `https`, or `http` on this machine
    #[arg(
        value_name = "URL",
        required_unless_present = "command",
        conflicts_with = "command"
    )]
    url: Option<String>,
    /// The server workload's name [default: what the server calls itself]
    #[arg(long)]
    name: Option<String>,
    /// Where agents will reach it [default: at the gateway of this machine]
    #[arg(long, value_name = "URL")]
    resource: Option<String>,
    /// Where the gateway will reach it [default: the URL, or where `mandate mcp wrap` is told to listen]
    #[arg(long, value_name = "URL")]
    upstream: Option<String>,
    /// A header of each request; others see it in the list of processes
    #[arg(long, value_name = "NAME: VALUE", requires = "url")]
    header: Vec<String>,
    /// A file with headers, one a line, which nobody else may be able to read
    #[arg(long, value_name = "FILE", requires = "url")]
    header_file: Option<PathBuf>,
    /// Write to this file, which must not be there yet
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    #[command(flatten)]
    reading: Reading,
    /// The command that is the server, and its arguments
    #[arg(last = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

pub(crate) async fn run(args: Args, context: &Context) -> Outcome {
    args.reading.begin_log()?;
    let headers = source::headers(&args.header, args.header_file.as_deref())?;
    let credential = credential(&args, &headers);
    let server = server(&args, headers, context)?;
    let limit = args.reading.limit();
    let found = source::read(server, limit, context).await?;
    let imported = Imported::of(&found, place(&args, &found, credential)?);
    if imported.actions.is_empty() {
        return Err(Failure::failed(
            "the server declares no tool, prompt or resource template that a bundle could say",
            "declare what there is by hand, see docs/mcp.md",
        ));
    }
    let text = text(&imported);
    check(&text, context)?;
    match &args.out {
        Some(path) => {
            whole_file::create(path, &text)?;
            told(path, &found, &imported, context);
        }
        None => context.out.result(&imported.json(), |_| text),
    }
    Ok(Exit::Ok)
}

fn server(args: &Args, headers: HeaderMap, context: &Context) -> Result<Server, Failure> {
    match &args.url {
        Some(url) => source::at(url, headers, context),
        None => source::program(&args.command, &args.reading),
    }
}

/// What the gateway will have to send, as far as this request shows it.
fn credential(args: &Args, headers: &HeaderMap) -> Option<(String, bool)> {
    let bearer = ("Authorization".to_owned(), true);
    if args.url.is_none() {
        return Some(bearer);
    }
    match headers.get(http::header::AUTHORIZATION) {
        Some(value) if value.as_bytes().starts_with(b"Bearer ") => Some(bearer),
        Some(_) => Some((bearer.0, false)),
        None => headers.keys().next().map(|name| (name.to_string(), false)),
    }
}

fn place(
    args: &Args,
    found: &Declared,
    credential: Option<(String, bool)>,
) -> Result<Place, Failure> {
    let name = match &args.name {
        Some(name) => name.clone(),
        None => server_name(found),
    };
    let uri: Option<http::Uri> = args.url.as_ref().and_then(|url| url.parse().ok());
    let (at, path) = match &uri {
        Some(uri) => {
            let scheme = uri.scheme_str().unwrap_or_default();
            let authority = uri.authority().map(ToString::to_string).unwrap_or_default();
            (format!("{scheme}://{authority}"), uri.path().to_owned())
        }
        None => (WRAPPED.to_owned(), "/mcp".to_owned()),
    };
    if uri.is_some_and(|uri| uri.query().is_some()) {
        return Err(Failure::usage(
            "the endpoint of a server workload has no query",
            "name the server by scheme, host and path",
        ));
    }
    let command = args
        .command
        .first()
        .map(|program| program.display().to_string());
    Ok(Place {
        resource: args
            .resource
            .clone()
            .unwrap_or_else(|| format!("http://127.0.0.1:7700/{name}{path}")),
        upstream: args.upstream.clone().unwrap_or(at),
        source: args.url.clone().or(command).unwrap_or_default(),
        name,
        path,
        credential,
    })
}

/// What leaves here loads, whatever the server wrote and the command line said.
fn check(text: &str, context: &Context) -> Result<(), Failure> {
    use super::super::bundle_files;
    let files = [("agents.yaml", SOMEBODY), ("server.yaml", text)];
    let files = files.map(|(name, text)| mandate_policy::SourceFile {
        name: name.to_owned(),
        text: text.to_owned(),
    });
    let environment = bundle_files::environment(context)?;
    match mandate_policy::load(&files, &environment, bundle_files::now()) {
        Ok(_) => Ok(()),
        Err(mistakes) => {
            let first = mistakes.first().map(|mistake| mistake.message.clone());
            Err(Failure::failed(
                format!(
                    "what was made of it does not load: {}",
                    first.unwrap_or_default()
                ),
                "look at --name, --resource and --upstream, and at the path of the URL",
            ))
        }
    }
}

fn told(path: &std::path::Path, found: &Declared, imported: &Imported, context: &Context) {
    let (actions, left_out) = (imported.actions.len(), imported.left_out.len());
    let result = json!({
        "file": path, "name": imported.place.name, "revision": found.revision,
        "actions": actions, "left_out": left_out,
    });
    context.out.result(&result, |paint| {
        format!(
            "{} {}: {actions} actions, {left_out} left out; it grants nothing yet\n\nNext:\n  read each guessed effect, then enable lines of the access policy\n  mandate mcp accept FOLDER {}\n  mandate check FOLDER",
            paint.green("wrote"),
            path.display(),
            imported.place.name,
        )
    });
}

/// Where the help of `mandate mcp wrap` has it listen.
const WRAPPED: &str = "http://127.0.0.1:7750";
/// An agent type, without which no bundle says anything.
const SOMEBODY: &str = "kind: AgentType\nmetadata: {name: somebody}\nspec:\n  attestation: [{process: {user: somebody}}]\n  breakGlass: {contact: nobody, impact: none}\n";
