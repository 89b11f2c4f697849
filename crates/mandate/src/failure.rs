//! How a command ends when it does not end well: what broke, the mend, and a documented exit code.

use std::process::ExitCode;

/// The exit codes of `docs/cli.md`. Scripts rely on them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// Done.
    Ok,
    /// It was refused, or what was checked is not as it should be.
    Failed,
    /// The command line is wrong.
    Usage,
    /// It was done, and does not hold everywhere yet: a suspension that is not effective, a log that is
    /// whole as far as it goes.
    Incomplete,
    /// The server could not be reached.
    Unreachable,
    /// What a command that was run for somebody ended with (`exec`).
    Passed(u8),
}

impl Exit {
    /// The number.
    pub(crate) fn number(self) -> u8 {
        match self {
            Exit::Ok => 0,
            Exit::Failed => 1,
            Exit::Usage => 2,
            Exit::Incomplete => 3,
            Exit::Unreachable => 4,
            Exit::Passed(code) => code,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(exit.number())
    }
}

/// Why a command did not do what it was asked for. Never holds a secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failure {
    /// What the process exits with.
    pub(crate) exit: Exit,
    /// One line: what broke.
    pub(crate) broke: String,
    /// One line: the mend. Empty where there is none to offer.
    pub(crate) mend: String,
}

impl Failure {
    /// It was refused or went wrong.
    pub(crate) fn failed(broke: impl Into<String>, mend: impl Into<String>) -> Self {
        Self::new(Exit::Failed, broke, mend)
    }

    /// The command line asks for something impossible.
    pub(crate) fn usage(broke: impl Into<String>, mend: impl Into<String>) -> Self {
        Self::new(Exit::Usage, broke, mend)
    }

    /// The server could not be reached.
    pub(crate) fn unreachable(broke: impl Into<String>, mend: impl Into<String>) -> Self {
        Self::new(Exit::Unreachable, broke, mend)
    }

    fn new(exit: Exit, broke: impl Into<String>, mend: impl Into<String>) -> Self {
        Self {
            exit,
            broke: broke.into(),
            mend: mend.into(),
        }
    }

    /// A file or folder that cannot be used.
    pub(crate) fn file(path: &std::path::Path, error: &std::io::Error) -> Self {
        Self::failed(
            format!("{}: {error}", path.display()),
            "look at the path and its permissions, then run this again",
        )
    }
}

/// What every command returns.
pub(crate) type Outcome = Result<Exit, Failure>;
