//! Starts a command, forwards signals to it, and passes on how it ended.

use std::ffi::OsString;
use std::io::IsTerminal;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;

use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command};
use tokio::signal::unix::{SignalKind, signal};

use crate::failure::Failure;

/// Starts `command` with `environment` added to ours.
pub(super) fn spawn(
    command: &[OsString],
    environment: &[(&'static str, String)],
) -> Result<Child, Failure> {
    let (program, arguments) = command
        .split_first()
        .ok_or_else(|| Failure::usage("no command", "mandate exec -- COMMAND ARGUMENTS"))?;
    Command::new(program)
        .args(arguments)
        .envs(environment.iter().map(|(name, value)| (name, value)))
        .spawn()
        .map_err(|e| {
            Failure::failed(
                format!("{} cannot be started: {e}", program.display()),
                "check the command after `--`",
            )
        })
}

/// Waits for the child, forwarding signals, and gives its exit code: 128 + signal where one ended it.
pub(super) async fn attend(mut child: Child) -> Result<u8, Failure> {
    let pid = child.id().and_then(|id| i32::try_from(id).ok());
    let pid = pid.and_then(Pid::from_raw);
    let mut signals = Signals::new().map_err(|e| Failure::failed(e.to_string(), ""))?;
    loop {
        tokio::select! {
            status = child.wait() => {
                let status = status.map_err(|e| Failure::failed(e.to_string(), ""))?;
                return Ok(code(status));
            }
            signal = signals.next() => {
                if let Some(pid) = pid {
                    // It may have ended in this moment; then `wait` says so.
                    let _ = kill_process(pid, signal);
                }
            }
        }
    }
}

fn code(status: ExitStatus) -> u8 {
    let code = match (status.code(), status.signal()) {
        (Some(code), _) => code,
        (None, Some(signal)) => 128 + signal,
        (None, None) => 1,
    };
    u8::try_from(code).unwrap_or(1)
}

/// The signals that people and service managers send.
struct Signals {
    interrupt: tokio::signal::unix::Signal,
    quit: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
    hangup: tokio::signal::unix::Signal,
    user1: tokio::signal::unix::Signal,
    user2: tokio::signal::unix::Signal,
    /// A terminal sends `^C` and `^\` to the whole foreground group: the child has them already.
    from_terminal: bool,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            quit: signal(SignalKind::quit())?,
            terminate: signal(SignalKind::terminate())?,
            hangup: signal(SignalKind::hangup())?,
            user1: signal(SignalKind::user_defined1())?,
            user2: signal(SignalKind::user_defined2())?,
            from_terminal: std::io::stdin().is_terminal(),
        })
    }

    async fn next(&mut self) -> Signal {
        loop {
            let signal = tokio::select! {
                _ = self.interrupt.recv() => Signal::INT,
                _ = self.quit.recv() => Signal::QUIT,
                _ = self.terminate.recv() => Signal::TERM,
                _ = self.hangup.recv() => Signal::HUP,
                _ = self.user1.recv() => Signal::USR1,
                _ = self.user2.recv() => Signal::USR2,
            };
            if !(self.from_terminal && matches!(signal, Signal::INT | Signal::QUIT)) {
                return signal;
            }
        }
    }
}
