//! `mandate init`: a first bundle, from answers or from flags, that loads as it stands.

mod ask;
mod platforms;
mod scaffold;

use std::path::{Path, PathBuf};

use mandate_policy::SourceFile;
use mandate_ports::Users;

use super::bundle_files;
use crate::context::Context;
use crate::failure::{Exit, Failure, Outcome};
use ask::Asker;
use platforms::Platform;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
On a terminal it asks for what is not said; otherwise it takes the defaults.

Examples:
  mandate init support
  mandate init support --platform kubernetes --agent retriever --yes
  mandate init support --agent retriever --user retriever --server records --upstream http://127.0.0.1:8080")]
pub(crate) struct Args {
    /// The folder to make
    folder: PathBuf,
    /// An agent type
    #[arg(long, value_name = "NAME")]
    agent: Option<String>,
    /// Where the agent runs; what identifies it there is filled in afterwards
    #[arg(long, value_enum, default_value_t = Platform::Process, value_name = "PLATFORM")]
    platform: Platform,
    /// The user of this machine that the agent runs as, where it is a process
    #[arg(long, value_name = "USER")]
    user: Option<String>,
    /// A server workload that it reads from
    #[arg(long, value_name = "NAME")]
    server: Option<String>,
    /// Where that server workload is
    #[arg(long, value_name = "URL")]
    upstream: Option<String>,
    /// The number of the user who operates this server [default: you]
    #[arg(long, value_name = "UID")]
    operator: Option<u32>,
    /// Ask nothing
    #[arg(long)]
    yes: bool,
}

/// What the bundle is made of.
#[derive(Debug, Clone)]
struct Answers {
    platform: Platform,
    agent: String,
    user: String,
    server: String,
    upstream: String,
    operator: u32,
    /// The agent runs as the user who serves: the kernel cannot keep the two apart.
    shared: bool,
}

pub(crate) fn run(args: Args, context: &Context) -> Outcome {
    let folder = args.folder.clone();
    let answers = answers(args, context)?;
    let files = scaffold::files(&answers);
    check(&files, context)?;
    write(&folder, &files)?;
    let names: Vec<&str> = files.iter().map(|file| file.name.as_str()).collect();
    let result = serde_json::json!({ "folder": folder, "files": names });
    context.out.result(&result, |paint| {
        let folder = folder.display();
        format!(
            "{} in {folder}: {}\n\nNext:\n  mandate check {folder}\n  mandate plan {folder}\n  mandate apply {folder}",
            paint.green("a bundle"),
            names.join(", ")
        )
    });
    Ok(Exit::Ok)
}

fn answers(args: Args, context: &Context) -> Result<Answers, Failure> {
    let mut asker = Asker::new(args.yes || context.out.is_json());
    let mut answer = |said: Option<String>, question: &str, default: &str| match said {
        Some(said) => Ok(said),
        None => asker.ask(question, default),
    };
    let agent = answer(args.agent, "Name of an agent type", "retriever")?;
    let user = if args.platform == Platform::Process {
        answer(args.user, "User of this machine that it runs as", &agent)?
    } else {
        agent.clone()
    };
    let server = answer(args.server, "Name of a server workload", "records")?;
    let upstream = answer(args.upstream, "Where it is", "http://127.0.0.1:8080")?;
    let own = rustix::process::geteuid().as_raw();
    Ok(Answers {
        platform: args.platform,
        shared: args.platform == Platform::Process && is_own(&user, own),
        agent,
        user,
        server,
        upstream,
        operator: args.operator.unwrap_or(own),
    })
}

/// Whether `user` is the one who runs this.
fn is_own(user: &str, own: u32) -> bool {
    let name = mandate_attest::PasswdUsers.name(own);
    matches!(name, Ok(Some(name)) if name == user)
}

/// An answer can be one that no bundle takes; then nothing is written.
fn check(files: &[SourceFile], context: &Context) -> Result<(), Failure> {
    let environment = bundle_files::environment(context)?;
    match mandate_policy::load(files, &environment, bundle_files::now()) {
        Ok(_) => Ok(()),
        Err(mistakes) => {
            let first = mistakes.first();
            let first = first.map_or_else(|| "it does not load".to_owned(), |m| m.message.clone());
            Err(Failure::usage(
                format!("with these answers the bundle does not load: {first}"),
                "names are of a-z, 0-9 and `-`; addresses are `http(s)://host[:port]`",
            ))
        }
    }
}

fn write(folder: &Path, files: &[SourceFile]) -> Result<(), Failure> {
    if folder.exists() {
        return Err(Failure::usage(
            format!("{} exists already", folder.display()),
            "name a folder that is to be made",
        ));
    }
    std::fs::create_dir_all(folder).map_err(|e| Failure::file(folder, &e))?;
    for file in files {
        let path = folder.join(&file.name);
        std::fs::write(&path, &file.text).map_err(|e| Failure::file(&path, &e))?;
    }
    Ok(())
}
