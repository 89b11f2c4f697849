//! `mandate completions`.

use clap::CommandFactory;

use crate::context::Context;
use crate::failure::{Exit, Outcome};

#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example:\n  mandate completions bash > ~/.local/share/bash-completion/completions/mandate"
)]
pub(crate) struct Args {
    /// For which shell
    shell: clap_complete::Shell,
}

pub(crate) fn run<C: CommandFactory>(args: &Args, context: &Context) -> Outcome {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut C::command(), "mandate", &mut script);
    context.out.raw(&String::from_utf8_lossy(&script));
    Ok(Exit::Ok)
}
