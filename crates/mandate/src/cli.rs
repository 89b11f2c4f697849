//! The command line, defined in one place: commands, options, environment, help.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::commands::{
    access, apply, audit, check, completions, doctor, exec, explain, gateway, init, keys, login,
    mcp, plan, resume, revoke, runbook, schema, status, suspend, suspensions, task, token, trace,
    whoami,
};
use crate::context::{Context, DataDir, Elsewhere};
use crate::demo;
use crate::failure::{Exit, Failure, Outcome};
use crate::output::{self, ColorWhen, Format, Output};
use crate::serve;

/// The identity plane for AI agents: what an agent is, what it may do, and why it did it.
#[derive(Debug, Parser)]
#[command(name = "mandate", version, after_help = EXIT_CODES, arg_required_else_help = true)]
struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Args)]
struct Global {
    /// The server's folder [default: ~/.local/share/mandate]
    #[arg(long, global = true, env = "MANDATE_DATA", value_name = "DIR")]
    data: Option<PathBuf>,
    /// For operators: the server at this URL instead, with a session from `mandate login`
    #[arg(long, global = true, env = "MANDATE_AUTHORITY", value_name = "URL")]
    authority: Option<String>,
    /// Certificates to trust for --authority and its OpenID provider, beside the public ones
    #[arg(long, global = true, env = "MANDATE_CA", value_name = "FILE")]
    ca: Option<PathBuf>,
    /// Where sessions are kept
    #[arg(
        long,
        global = true,
        env = "XDG_RUNTIME_DIR",
        hide = true,
        value_name = "DIR"
    )]
    runtime_dir: Option<PathBuf>,
    /// How results are written; failures go to standard error in the same form
    #[arg(long, global = true, value_enum, default_value_t = Format::Text)]
    output: Format,
    /// When to use colour
    #[arg(long, global = true, value_enum, default_value_t = ColorWhen::Auto)]
    color: ColorWhen,
    /// Set to anything: no colour
    #[arg(long, global = true, env = "NO_COLOR", hide = true, default_value = "")]
    no_color: String,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Watch the whole of it work, in seconds, on this machine
    Quickstart(demo::Args),
    /// Run authority, gateway and log
    Serve(serve::Args),
    /// Begin a session with a server elsewhere, as an operator that an OpenID provider knows
    Login(login::Args),
    /// End it
    #[command(after_help = "Example:\n  mandate logout --authority https://id.acme.example")]
    Logout,
    /// Show how the server stands
    Status(status::Args),
    /// Find what would keep this from working, and the mend
    Doctor(doctor::Args),
    /// Scaffold a bundle: agent types, server workloads, policies
    Init(init::Args),
    /// Check a bundle: every mistake, where it is, and the mend
    Check(check::Args),
    /// Show what a bundle would change: who gains and who loses access
    Plan(plan::Args),
    /// Make a bundle live, whole or not at all
    Apply(apply::Args),
    /// Show who may do what
    Access(access::Args),
    /// Try a request on paper: which rule decides, and why the others do not
    Explain(explain::Args),
    /// Break the glass: stop an agent, a task, a server workload… everywhere, now
    Suspend(suspend::Args),
    /// Lift a suspension
    Resume(resume::Args),
    /// Void one token, by the id that records name it by
    Revoke(revoke::Args),
    /// List the suspensions in force
    #[command(after_help = "Examples:\n  mandate suspensions\n  mandate suspensions --output json")]
    Suspensions,
    /// Print an agent type's break-glass runbook, from the bundle and the live state
    Runbook(runbook::Args),
    /// Search, verify, prove and export the audit log
    #[command(subcommand)]
    Audit(audit::Command),
    /// Show why something happened: principal, tasks, accesses, rules
    Trace(trace::Args),
    /// Attest this process and show what the server takes it for
    Whoami(whoami::Args),
    /// Show the signing keys, or rotate one
    Keys(keys::Args),
    /// Open, delegate, show and close tasks, as an agent; open and cancel them as an operator
    #[command(subcommand)]
    Task(task::Command),
    /// Get an access token for a server workload, as an agent
    Token(token::Args),
    /// Run a command with an attested identity and a task, renewed while it runs
    Exec(exec::Args),
    /// What an operator decides about gateways
    #[command(subcommand)]
    Gateway(gateway::Command),
    /// MCP servers that are to be server workloads
    #[command(subcommand)]
    Mcp(mcp::Command),
    /// Print the JSON Schema of bundles, for editors
    #[command(after_help = "Example:\n  mandate schema > mandate.schema.json")]
    Schema,
    /// Print a completion script
    Completions(completions::Args),
    /// The parts that `quickstart` runs as processes of their own
    #[command(subcommand, hide = true)]
    Demo(demo::Part),
}

/// Parses the command line, runs the command, reports.
pub(crate) fn run() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return misused(&error),
    };
    let global = &cli.global;
    let out = Output::new(global.output, global.color, !global.no_color.is_empty());
    match start(cli, out).and_then(output::all_written) {
        Ok(exit) => exit.into(),
        Err(failure) => {
            out.failure(&failure);
            failure.exit.into()
        }
    }
}

/// Help and version are no failures; clap says which is which. A wrong command line is one as every
/// other: what broke, and the mend, in the form that it asks for as far as it can be read.
fn misused(error: &clap::Error) -> ExitCode {
    let words: Vec<String> = std::env::args_os()
        .map(|word| word.to_string_lossy().into_owned())
        .collect();
    let is_help = error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand;
    if !error.use_stderr() || is_help {
        // Nobody is left to tell if this cannot be printed.
        let _ = error.print();
        return if is_help { Exit::Usage } else { Exit::Ok }.into();
    }
    output_of(&words).failure(&usage_failure(&error.render().to_string()));
    Exit::Usage.into()
}

/// How the command line wants to be answered that could not be parsed.
fn output_of(words: &[String]) -> Output {
    let said = |option: &str| {
        let assigned = format!("{option}=");
        let pairs = words.iter().zip(words.iter().skip(1));
        let apart = pairs
            .filter(|(word, _)| *word == option)
            .map(|(_, value)| value.as_str());
        let together = words.iter().filter_map(|word| word.strip_prefix(&assigned));
        apart.chain(together).last()
    };
    let parsed = |text: Option<&str>| text.and_then(|text| ColorWhen::from_str(text, true).ok());
    let format = said("--output").and_then(|text| Format::from_str(text, true).ok());
    Output::new(
        format.unwrap_or(Format::Text),
        parsed(said("--color")).unwrap_or(ColorWhen::Auto),
        no_color(),
    )
}

/// As `Global::no_color` reads it, which was not filled in.
#[expect(
    clippy::disallowed_methods,
    reason = "the command line that reads the environment could not be parsed"
)]
fn no_color() -> bool {
    std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty())
}

/// clap's own text in two lines: its first paragraph, and its tips with the usage.
fn usage_failure(text: &str) -> Failure {
    let joined = |lines: Vec<&str>| lines.join(" ");
    let all = text.lines().map(str::trim);
    let broke = joined(all.clone().take_while(|line| !line.is_empty()).collect());
    let tips = all.clone().filter_map(|line| line.strip_prefix("tip: "));
    let usage = all.filter(|line| line.starts_with("Usage: "));
    let mut mend: Vec<&str> = tips.chain(usage).collect();
    if mend.is_empty() {
        mend.push("the same command with `--help` says what it takes");
    }
    let broke = broke.trim_start_matches("error: ").to_owned();
    Failure::usage(broke, mend.join("; "))
}

fn start(cli: Cli, out: Output) -> Outcome {
    if let Command::Mcp(command) = &cli.command
        && let Some(outcome) = mcp::at_once(command)
    {
        return outcome;
    }
    let data = DataDir::resolve(cli.global.data)?;
    let (ca, runtime_dir) = (cli.global.ca, cli.global.runtime_dir);
    let elsewhere = cli.global.authority;
    let elsewhere = elsewhere.map(|url| Elsewhere::new(&url, ca, runtime_dir));
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|e| {
            Failure::failed(format!("cannot start: {e}"), "free some threads or memory")
        })?;
    let context = Context {
        data,
        elsewhere,
        out,
    };
    let outcome = runtime.block_on(dispatch(cli.command, context));
    // A thread that still reads standard input must not hold the end.
    runtime.shutdown_background();
    outcome
}

async fn dispatch(command: Command, context: Context) -> Outcome {
    let context = &context;
    match command {
        Command::Quickstart(args) => demo::run(args, context).await,
        Command::Serve(args) => serve::run(args, context).await,
        Command::Login(args) => login::run(args, context).await,
        Command::Logout => login::end(context).await,
        Command::Status(args) => status::run(args, context).await,
        Command::Doctor(args) => doctor::run(args, context).await,
        Command::Init(args) => init::run(args, context),
        Command::Check(args) => check::run(args, context),
        Command::Plan(args) => plan::run(args, context).await,
        Command::Apply(args) => apply::run(args, context).await,
        Command::Access(args) => access::run(args, context).await,
        Command::Explain(args) => explain::run(args, context).await,
        Command::Suspend(args) => suspend::run(args, context).await,
        Command::Resume(args) => resume::run(args, context).await,
        Command::Revoke(args) => revoke::run(args, context).await,
        Command::Suspensions => suspensions::run(context).await,
        Command::Runbook(args) => runbook::run(args, context).await,
        Command::Audit(command) => audit::run(command, context).await,
        Command::Trace(args) => trace::run(args, context).await,
        Command::Whoami(args) => whoami::run(args, context).await,
        Command::Keys(args) => keys::run(args, context).await,
        Command::Task(command) => task::run(command, context).await,
        Command::Token(args) => token::run(args, context).await,
        Command::Exec(args) => exec::run(args, context).await,
        Command::Gateway(command) => gateway::run(command, context).await,
        Command::Mcp(command) => mcp::run(command, context).await,
        Command::Schema => schema::run(context),
        Command::Completions(args) => completions::run::<Cli>(&args, context),
        Command::Demo(part) => demo::run_part(part, context).await,
    }
}

const EXIT_CODES: &str = "\
Exit codes:
  0  done
  1  refused, or what was checked is not as it should be
  2  the command line is wrong
  3  done, but not everywhere yet: `suspend` is not effective, `apply` is not in force at every gateway,
     `audit verify` found ranges not shipped
  4  the server cannot be reached
  `exec` passes on the exit code of its command (128 + signal if one ended it)

Examples:
  mandate quickstart
  mandate serve --dev &
  mandate init support && mandate check support && mandate apply support
  mandate suspend agent retriever --reason INC-4711";

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_contradicts_itself_nowhere() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_command_shows_an_example() {
        for command in Cli::command().get_subcommands() {
            let shows = command.get_after_help().is_some();
            assert!(
                shows || command.has_subcommands() || command.is_hide_set(),
                "{}",
                command.get_name()
            );
        }
    }

    #[test]
    fn a_wrong_command_line_exits_with_two_and_help_with_zero() {
        let exit = |arguments: &[&str]| match Cli::try_parse_from(arguments) {
            Err(error) => error.use_stderr(),
            Ok(_) => panic!("parsed"),
        };
        assert!(exit(&["mandate", "nonsense"]));
        assert!(!exit(&["mandate", "--help"]));
    }

    #[test]
    fn a_wrong_command_line_is_one_line_and_a_mend() {
        let error = Cli::try_parse_from(["mandate", "suspnd"]).unwrap_err();
        let failure = usage_failure(&error.render().to_string());
        assert!(failure.broke.contains("suspnd"), "{failure:?}");
        assert!(failure.mend.contains("'suspend'"), "{failure:?}");
        let error = Cli::try_parse_from(["mandate", "suspend", "agent", "x"]).unwrap_err();
        let failure = usage_failure(&error.render().to_string());
        assert!(failure.broke.contains("--reason <TEXT>"), "{failure:?}");
        assert!(failure.mend.contains("Usage: "), "{failure:?}");
        assert_eq!(failure.broke.lines().count(), 1);
    }

    #[test]
    fn a_wrong_command_line_is_answered_in_the_form_it_asks_for() {
        let json = |words: &[&str]| {
            let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
            output_of(&words).is_json()
        };
        assert!(json(&["mandate", "nonsense", "--output", "json"]));
        assert!(json(&["mandate", "--output=json", "nonsense"]));
        assert!(!json(&["mandate", "nonsense", "--output", "yaml"]));
    }
}
