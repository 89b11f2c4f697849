//! `mandate mcp accept`: the tools of a live server, beside those that somebody accepted.

use std::ffi::OsString;
use std::io::{BufRead, IsTerminal, Write};
use std::path::{Path, PathBuf};

use mandate_model::ServerName;
use mandate_policy::decl::ServerWorkload;
use mandate_policy::{Bundle, SourceFile};
use serde_json::json;

use super::super::bundle_files;
use super::source::{self, Reading};
use crate::context::Context;
use crate::failure::{Exit, Failure, Outcome};
use crate::mcp::accept::{Compared, compare, difference, manifest};
use crate::mcp::read::Item;
use crate::mcp::whole_file;
use crate::serve::signalled;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
What the server says of each tool that an action names is compared with the `ToolManifest` in SERVER.tools.yaml of the
bundle's folder, and each difference is shown. Who accepts it writes that file; `mandate apply` makes it live. Until then
gateways hide and deny a tool that is not as it was accepted.

Exit: 0 if nothing differs or what differs was accepted, 1 if it was not.

Examples:
  mandate mcp accept support desk
  mandate mcp accept support desk --header-file headers.txt --tool refund --yes
  mandate mcp accept support git -- mcp-server-git --repository project")]
pub(crate) struct Args {
    /// The bundle's folder
    #[arg(value_name = "FOLDER")]
    folder: PathBuf,
    /// The server workload
    #[arg(value_name = "SERVER")]
    server: String,
    /// Only these tools
    #[arg(long, value_name = "NAME")]
    tool: Vec<String>,
    /// Accept without asking
    #[arg(long)]
    yes: bool,
    /// Where the server is [default: the upstream that the bundle declares]
    #[arg(long, value_name = "URL", conflicts_with = "command")]
    url: Option<String>,
    /// A header of each request; others see it in the list of processes
    #[arg(long, value_name = "NAME: VALUE", conflicts_with = "command")]
    header: Vec<String>,
    /// A file with headers, one a line, which nobody else may be able to read
    #[arg(long, value_name = "FILE", conflicts_with = "command")]
    header_file: Option<PathBuf>,
    #[command(flatten)]
    reading: Reading,
    /// The command that is the server, and its arguments
    #[arg(last = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

pub(crate) async fn run(args: Args, context: &Context) -> Outcome {
    args.reading.begin_log()?;
    let file = args.folder.join(format!("{}.tools.yaml", args.server));
    let declarations = Declarations::read(&args, &file, context)?;
    let live = live_tools(&args, &declarations.server, context).await?;
    let compared = compare(&declarations.server, &live)
        .map_err(|why| Failure::failed(why, "the server has to be mended; nothing was written"))?;
    let chosen = chosen(&args, compared)?;
    let differs = chosen.iter().any(|tool| tool.differs());
    if !differs {
        told(context, &args, &chosen, None);
        return Ok(Exit::Ok);
    }
    if !context.out.is_json() {
        let paint = context.out.paint();
        for tool in &chosen {
            context.out.raw(&difference(tool, paint));
        }
    }
    let text = manifest(&declarations.server, &chosen)
        .map_err(|why| Failure::failed(why, "name it too, remove the action, or mend the server"));
    let agreed = args.yes || (text.is_ok() && is_shown(context) && asked().await?);
    if !agreed {
        told(context, &args, &chosen, None);
        text?;
        let fix = "accept what differs with --yes, or some of it with --tool NAME; or suspend the server workload";
        return Err(Failure::failed("nothing is accepted", fix));
    }
    let text = text?;
    declarations.check_with(&file, &text, context)?;
    whole_file::replace(&file, &text)?;
    told(context, &args, &chosen, Some(&file));
    Ok(Exit::Ok)
}

/// The bundle without the manifest that is compared: it need not fit what actions name by now.
struct Declarations {
    others: Vec<SourceFile>,
    server: ServerWorkload,
}

impl Declarations {
    fn read(args: &Args, file: &Path, context: &Context) -> Result<Self, Failure> {
        let own = format!("{}.tools.yaml", args.server);
        let files = bundle_files::read(&args.folder)?;
        let (manifest, others): (Vec<_>, Vec<_>) =
            files.into_iter().partition(|file| file.name == own);
        let bundle = load(&others, context)?;
        let named = ServerName::parse(&args.server)
            .ok()
            .and_then(|name| bundle.server(&name).cloned());
        let no_server = || {
            let known: Vec<_> = bundle.servers().map(|s| s.name.to_string()).collect();
            Failure::usage(
                format!("the bundle declares no server workload `{}`", args.server),
                format!("it declares {}", known.join(", ")),
            )
        };
        let mut server = named.ok_or_else(no_server)?;
        if server.mcp.is_none() {
            let why = format!("server workload `{}` is no MCP server", args.server);
            return Err(Failure::usage(why, "say `mcp: {}` in the bundle"));
        }
        if let Some(mcp) = server.mcp.as_mut().filter(|mcp| mcp.manifest.is_none()) {
            mcp.manifest = accepted(&manifest, file)?;
        }
        Ok(Self { others, server })
    }

    /// What is written loads.
    fn check_with(&self, file: &Path, text: &str, context: &Context) -> Result<(), Failure> {
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        let mut files = self.others.clone();
        files.push(SourceFile {
            name: name.into_owned(),
            text: text.to_owned(),
        });
        load(&files, context).map(drop)
    }
}

/// What the manifest's file has, read beside a server workload that is nothing else.
fn accepted(
    manifest: &[SourceFile],
    file: &Path,
) -> Result<Option<mandate_policy::decl::Manifest>, Failure> {
    let Some(manifest) = manifest.first() else {
        return Ok(None);
    };
    mandate_policy::read_manifest(manifest)
        .map(Some)
        .map_err(|mistakes| {
            let first = mistakes.first().map(|mistake| mistake.message.clone());
            let why = format!("{}: {}", file.display(), first.unwrap_or_default());
            Failure::failed(why, "mend it, or remove it and accept all tools anew")
        })
}

fn load(files: &[SourceFile], context: &Context) -> Result<Bundle, Failure> {
    let environment = bundle_files::environment(context)?;
    let loaded = mandate_policy::load(files, &environment, bundle_files::now());
    loaded.map(|loaded| loaded.bundle).map_err(|mistakes| {
        Failure::failed(
            format!(
                "the bundle does not load:\n{}",
                bundle_files::show(&mistakes, files, context.out.paint()).trim_end()
            ),
            "mend it first: mandate check FOLDER",
        )
    })
}

async fn live_tools(
    args: &Args,
    server: &ServerWorkload,
    context: &Context,
) -> Result<Vec<Item>, Failure> {
    let live = if args.command.is_empty() {
        let path = server.mcp.as_ref().map_or("/mcp", |mcp| mcp.path.as_str());
        let declared = || format!("{}{path}", server.upstream);
        let url = args.url.clone().unwrap_or_else(declared);
        let headers = source::headers(&args.header, args.header_file.as_deref())?;
        source::at(&url, headers, context)?
    } else {
        source::program(&args.command, &args.reading)?
    };
    let limit = args.reading.limit();
    Ok(source::read(live, limit, context).await?.tools)
}

/// The tools that are asked about; all others stay as they were accepted.
fn chosen(args: &Args, compared: Vec<Compared>) -> Result<Vec<Compared>, Failure> {
    let named = |name: &String| compared.iter().any(|tool| tool.name == *name);
    if let Some(unknown) = args.tool.iter().find(|name| !named(name)) {
        let why = format!("no action of `{}` names tool `{unknown}`", args.server);
        return Err(Failure::usage(why, "declare an action for it first"));
    }
    let all = args.tool.is_empty();
    let kept = |tool: Compared| match all || args.tool.contains(&tool.name) {
        true => tool,
        false => tool.kept(),
    };
    Ok(compared.into_iter().map(kept).collect())
}

/// Whether a person who can be asked has what differs before them.
fn is_shown(context: &Context) -> bool {
    let terminals = [
        std::io::stdin().is_terminal(),
        std::io::stdout().is_terminal(),
        std::io::stderr().is_terminal(),
    ];
    !context.out.is_json() && terminals == [true; 3]
}

async fn asked() -> Result<bool, Failure> {
    let ask = || {
        let mut line = String::new();
        write!(std::io::stderr(), "Accept this? [y/N]: ")
            .and_then(|()| std::io::stdin().lock().read_line(&mut line))
            .map(|_| line)
    };
    let failed = |why: String| Failure::failed(why, "say --yes");
    // A signal no longer ends this process by itself once one was waited for.
    let line = tokio::select! {
        line = tokio::task::spawn_blocking(ask) => line.map_err(|e| failed(e.to_string()))?,
        why = signalled() => return Err(failed(why?.to_owned())),
    };
    let line = line.map_err(|e| failed(e.to_string()))?;
    Ok(matches!(line.trim(), "y" | "yes"))
}

fn told(context: &Context, args: &Args, tools: &[Compared], file: Option<&Path>) {
    let tools: Vec<&Compared> = tools.iter().filter(|tool| tool.is_chosen()).collect();
    let shown: Vec<_> = tools.iter().map(|tool| tool.json()).collect();
    let result = json!({"server": args.server, "tools": shown, "file": file});
    context.out.result(&result, |paint| {
        let folder = args.folder.display();
        match file {
            Some(file) => format!(
                "{} {}\n\nNext:\n  mandate plan {folder}\n  mandate apply {folder}",
                paint.green("wrote"),
                file.display(),
            ),
            None if tools.iter().any(|tool| tool.differs()) => String::new(),
            None if tools.len() == 1 => "the tool is as it was accepted".to_owned(),
            None => format!("all {} tools are as they were accepted", tools.len()),
        }
    });
}
