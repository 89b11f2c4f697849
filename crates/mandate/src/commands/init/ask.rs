//! Questions with defaults, on a terminal.

use std::io::{BufRead, IsTerminal, Write};

use crate::failure::Failure;

/// Asks, or takes the defaults.
pub(super) struct Asker {
    silent: bool,
}

impl Asker {
    /// Without a terminal nobody is asked.
    pub(super) fn new(silent: bool) -> Self {
        let terminal = std::io::stdin().is_terminal() && std::io::stderr().is_terminal();
        Self {
            silent: silent || !terminal,
        }
    }

    /// The answer, or `default`.
    pub(super) fn ask(&mut self, question: &str, default: &str) -> Result<String, Failure> {
        if self.silent {
            return Ok(default.to_owned());
        }
        let mut line = String::new();
        let asked = write!(std::io::stderr(), "{question} [{default}]: ")
            .and_then(|()| std::io::stdin().lock().read_line(&mut line));
        let read = asked.map_err(|e| Failure::failed(e.to_string(), "answer with flags"))?;
        if read == 0 {
            return Err(Failure::usage(
                "no answer",
                "say --yes, or answer with flags",
            ));
        }
        let line = line.trim();
        Ok(if line.is_empty() { default } else { line }.to_owned())
    }
}
