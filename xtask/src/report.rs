//! What a check found, and how it is told.

use std::fmt;
use std::process::ExitCode;

/// One broken rule: where, which, and what to do about it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Finding {
    /// A crate, or `file:line`.
    pub(crate) place: String,
    /// The rule, as a sentence about what is there.
    pub(crate) rule: String,
    /// What to change.
    pub(crate) mend: String,
}

impl Finding {
    pub(crate) fn new(
        place: impl Into<String>,
        rule: impl Into<String>,
        mend: impl Into<String>,
    ) -> Finding {
        Finding {
            place: place.into(),
            rule: rule.into(),
            mend: mend.into(),
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}\n    mend: {}", self.place, self.rule, self.mend)
    }
}

/// The outcome of one check. Warnings never fail it.
#[derive(Debug)]
pub(crate) struct Report {
    pub(crate) findings: Vec<Finding>,
    pub(crate) warnings: Vec<String>,
    /// One line that says what was looked at, so that "nothing found" cannot mean "nothing read".
    pub(crate) summary: String,
}

impl Report {
    pub(crate) fn print(&self) -> ExitCode {
        for warning in &self.warnings {
            println!("warning: {warning}");
        }
        for finding in &self.findings {
            eprintln!("error: {finding}");
        }
        println!(
            "{}: {} errors, {} warnings",
            self.summary,
            self.findings.len(),
            self.warnings.len()
        );
        if self.findings.is_empty() {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        }
    }
}
