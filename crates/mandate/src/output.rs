//! The one place that writes to the terminal: results to standard output, all else to standard error.

use std::io::{ErrorKind, IsTerminal, Write};
use std::sync::atomic::{AtomicBool, Ordering};

use serde::Serialize;

use crate::failure::{Exit, Failure, Outcome};

/// How results are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Format {
    /// For people.
    Text,
    /// One JSON value, its shape in `docs/cli.md`.
    Json,
}

/// When colour is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum ColorWhen {
    /// On a terminal, unless `NO_COLOR` is set.
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// Writes what a command has to say.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Output {
    format: Format,
    stdout: Paint,
    stderr: Paint,
    /// Standard error is a terminal.
    watched: bool,
}

impl Output {
    /// Colour is decided here, once, per stream.
    pub(crate) fn new(format: Format, color: ColorWhen, no_color: bool) -> Self {
        let terminals = [
            std::io::stdout().is_terminal(),
            std::io::stderr().is_terminal(),
        ];
        Self::on(format, color, no_color, terminals)
    }

    /// `terminals`: whether standard output and standard error are.
    pub(crate) fn on(
        format: Format,
        color: ColorWhen,
        no_color: bool,
        terminals: [bool; 2],
    ) -> Self {
        let paint = |terminal: bool| Paint {
            on: match color {
                ColorWhen::Auto => terminal && !no_color,
                ColorWhen::Always => true,
                ColorWhen::Never => false,
            },
        };
        let [out, err] = terminals;
        Self {
            format,
            stdout: paint(out),
            stderr: paint(err),
            watched: err,
        }
    }

    /// Whether a person sees how far something is: never where results are JSON.
    pub(crate) fn shows_progress(&self) -> bool {
        self.watched && !self.is_json()
    }

    /// Whether results are JSON.
    pub(crate) fn is_json(&self) -> bool {
        self.format == Format::Json
    }

    /// The colours of standard output.
    pub(crate) fn paint(&self) -> Paint {
        self.stdout
    }

    /// The one result of a command: `value` as JSON, or what `text` makes of it.
    pub(crate) fn result<T: Serialize>(&self, value: &T, text: impl FnOnce(Paint) -> String) {
        match self.format {
            Format::Text => write_all(std::io::stdout(), &ended(text(self.stdout))),
            Format::Json => {
                let json = serde_json::to_string_pretty(value)
                    .unwrap_or_else(|_| "{\"error\": \"the result has no JSON form\"}".to_owned());
                write_all(std::io::stdout(), &ended(json));
            }
        }
    }

    /// A result that is the same in every format: a token, a script, a proof.
    pub(crate) fn raw(&self, text: &str) {
        write_all(std::io::stdout(), &ended(text.to_owned()));
    }

    /// A line of a story, as it happens; nothing where the result is JSON.
    pub(crate) fn tell(&self, line: &str) {
        if self.format == Format::Text {
            write_all(std::io::stdout(), &ended(line.to_owned()));
        }
    }

    /// Something that a person should know and a program need not.
    pub(crate) fn note(&self, line: &str) {
        write_all(std::io::stderr(), &ended(line.to_owned()));
    }

    /// What broke, and the mend.
    pub(crate) fn failure(&self, failure: &Failure) {
        let text = match self.format {
            Format::Text => self.failure_text(failure),
            Format::Json => serde_json::json!({
                "error": failure.broke,
                "mend": failure.mend,
                "exit": failure.exit.number(),
            })
            .to_string(),
        };
        write_all(std::io::stderr(), &ended(text));
    }

    fn failure_text(&self, failure: &Failure) -> String {
        let paint = self.stderr;
        let broke = format!("{} {}", paint.red("error:"), failure.broke);
        if failure.mend.is_empty() {
            broke
        } else {
            format!("{broke}\n {} {}", paint.bold("mend:"), failure.mend)
        }
    }
}

/// A reader that has gone away is no failure of ours: what it did not want, it does not get. Anything
/// else that keeps a result from its place is one, told when the command ends.
fn write_all(mut stream: impl Write, text: &str) {
    let written = stream
        .write_all(text.as_bytes())
        .and_then(|()| stream.flush());
    if written.is_err_and(|e| e.kind() != ErrorKind::BrokenPipe) {
        UNWRITTEN.store(true, Ordering::Relaxed);
    }
}

/// The end of a command, if all that it had to say was written.
pub(crate) fn all_written(exit: Exit) -> Outcome {
    if UNWRITTEN.load(Ordering::Relaxed) {
        return Err(Failure::failed(
            "the result could not be written whole",
            "what was asked for was done; see that standard output has space",
        ));
    }
    Ok(exit)
}

/// Of this process, which runs one command.
static UNWRITTEN: AtomicBool = AtomicBool::new(false);

fn ended(mut text: String) -> String {
    if !text.ends_with('\n') {
        text.push('\n');
    }
    text
}

/// Colours, or none.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Paint {
    on: bool,
}

impl Paint {
    /// No colour at all.
    #[cfg(test)]
    pub(crate) const NONE: Paint = Paint { on: false };

    /// Whether there are any.
    pub(crate) fn is_on(self) -> bool {
        self.on
    }

    /// For what went well.
    pub(crate) fn green(self, text: impl std::fmt::Display) -> String {
        self.wrap("32", text)
    }

    /// For what was refused or is wrong.
    pub(crate) fn red(self, text: impl std::fmt::Display) -> String {
        self.wrap("31", text)
    }

    /// For what somebody should look at.
    pub(crate) fn yellow(self, text: impl std::fmt::Display) -> String {
        self.wrap("33", text)
    }

    /// For headlines.
    pub(crate) fn bold(self, text: impl std::fmt::Display) -> String {
        self.wrap("1", text)
    }

    /// For what is there on second sight.
    pub(crate) fn dim(self, text: impl std::fmt::Display) -> String {
        self.wrap("2", text)
    }

    fn wrap(self, code: &str, text: impl std::fmt::Display) -> String {
        if self.on {
            format!("\u{1b}[{code}m{text}\u{1b}[0m")
        } else {
            text.to_string()
        }
    }
}
