//! A server that speaks on its standard input and output, in a process group of its own.
//!
//! The program is started through this one (`mandate mcp child`), which asks the kernel to end it with us and then
//! becomes it: the call between fork and exec that would do the same is `unsafe`. Standard output is messages, one
//! in a line; whatever else stands there ends the child, since nobody can say any more where a message begins.
//! Standard error is its log, and goes to ours.

use std::ffi::OsString;
use std::io;
use std::os::unix::process::CommandExt;
use std::process::Stdio;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use rustix::io::Errno;
use rustix::process::{
    Pid, Signal, WaitId, WaitIdOptions, getpid, getppid, kill_process_group,
    set_parent_process_death_signal, waitid,
};
use tokio::io::{AsyncWriteExt, BufReader};
use tokio::process::{ChildStderr, ChildStdin, ChildStdout, Command};
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, timeout};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::environment::Environment;
use super::lines::{Line, Lines};
use super::plain::plain;
use crate::failure::{Exit, Failure, Outcome};

/// What is started, and within which bounds.
pub(crate) struct Program {
    /// The command and its arguments.
    pub(crate) command: Vec<OsString>,
    /// All that it finds in its environment.
    pub(crate) environment: Environment,
    /// The longest message that it may write.
    pub(crate) longest: usize,
    /// How long it has between SIGTERM and SIGKILL.
    pub(crate) grace: Duration,
}

/// A running child. It ends when it is told to ([`Child::end`]) or when it wants to.
#[derive(Debug, Clone)]
pub(crate) struct Child {
    number: u64,
    input: mpsc::Sender<String>,
    stop: CancellationToken,
    ended: CancellationToken,
    code: Arc<OnceLock<i32>>,
}

/// The child does not read, or has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the MCP server takes no message")]
pub(crate) struct Deaf;

impl Child {
    /// Starts `program`. What it writes comes through the receiver, line by line, until it has ended. `number`
    /// names it in the log.
    pub(crate) fn start(
        program: &Program,
        number: u64,
    ) -> io::Result<(Self, mpsc::Receiver<Vec<u8>>)> {
        let mut command = Command::new("/proc/self/exe");
        command
            .arg0("mandate")
            .args(["mcp", "child", "--parent"])
            .arg(getpid().as_raw_nonzero().to_string())
            .arg("--")
            .args(&program.command)
            .env_clear()
            .envs(program.environment.pairs())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true);
        let mut process = command.spawn()?;
        let gone = || io::Error::other("it has no pid, or a stream is missing");
        let pid = process.id().and_then(|id| i32::try_from(id).ok());
        let pid = pid.and_then(Pid::from_raw).ok_or_else(gone)?;
        let (stdin, stdout, stderr) = (
            process.stdin.take().ok_or_else(gone)?,
            process.stdout.take().ok_or_else(gone)?,
            process.stderr.take().ok_or_else(gone)?,
        );
        let (input, to_write) = mpsc::channel(WAITING);
        let (read, output) = mpsc::channel(WAITING);
        let child = Self {
            number,
            input,
            stop: CancellationToken::new(),
            ended: CancellationToken::new(),
            code: Arc::default(),
        };
        tokio::spawn(write(stdin, to_write, child.stop.clone()));
        tokio::spawn(messages(stdout, read, child.clone(), program.longest));
        tokio::spawn(log(stderr, child.clone()));
        let group = Group::of(pid);
        tokio::spawn(attend(process, group, child.clone(), program.grace));
        Ok((child, output))
    }

    /// Its number in the log.
    pub(crate) fn number(&self) -> u64 {
        self.number
    }

    /// Hands it one line. Waits while it reads nothing, though not for ever.
    pub(crate) async fn say(&self, line: String) -> Result<(), Deaf> {
        match timeout(PATIENCE, self.input.send(line)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(Deaf),
        }
    }

    /// Hands it one line if it can have it now: what it may well do without.
    pub(crate) fn mention(&self, line: String) {
        if self.input.try_send(line).is_err() {
            tracing::debug!(
                child = self.number,
                "a message was left out: it reads nothing"
            );
        }
    }

    /// Ends it with all that it started.
    pub(crate) fn end(&self) {
        self.stop.cancel();
    }

    /// Waits until it is gone.
    pub(crate) async fn ended(&self) {
        self.ended.cancelled().await;
    }

    /// Waits until it is gone and what it wrote before that was read. Whoever left its group may hold its output open
    /// for ever.
    pub(crate) async fn late(&self) {
        self.ended().await;
        tokio::time::sleep(DRAIN).await;
    }

    /// Whether there was no program to become.
    pub(crate) fn was_none(&self) -> bool {
        let code = self.code.get().copied();
        [NOT_FOUND, NOT_EXECUTABLE]
            .map(i32::from)
            .map(Some)
            .contains(&code)
    }

    /// Ends it when the guard is dropped.
    pub(crate) fn guard(&self) -> DropGuard {
        self.stop.clone().drop_guard()
    }
}

/// A process group, by its leader.
struct Group {
    pid: Pid,
    exited: CancellationToken,
}

impl Group {
    /// A thread waits for the leader and leaves it unreaped, so that its number stays its own until the whole group
    /// was signalled.
    fn of(pid: Pid) -> Self {
        let exited = CancellationToken::new();
        let told = exited.clone();
        tokio::task::spawn_blocking(move || {
            let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
            while matches!(waitid(WaitId::Pid(pid), options), Err(Errno::INTR)) {}
            // An error would mean that nobody can wait for it: then it is killed at once.
            told.cancel();
        });
        Self { pid, exited }
    }

    async fn leader_exits(&self) {
        self.exited.cancelled().await;
    }

    fn signal(&self, signal: Signal) {
        // The leader is not reaped yet, so the number is nobody else's. Nobody left is no error.
        let _ = kill_process_group(self.pid, signal);
    }
}

/// From the start of a child to its end. Whoever is left of its group when the leader exits is killed.
async fn attend(mut process: tokio::process::Child, group: Group, child: Child, grace: Duration) {
    let was_told = tokio::select! {
        () = group.leader_exits() => false,
        () = child.stop.cancelled() => true,
    };
    if was_told {
        group.signal(Signal::TERM);
        if timeout(grace, group.leader_exits()).await.is_err() {
            tracing::warn!(
                child = child.number,
                "it did not end when told to, and is killed"
            );
        }
    }
    group.signal(Signal::KILL);
    let status = process.wait().await;
    if let Ok(Some(code)) = status.as_ref().map(std::process::ExitStatus::code) {
        // Written here alone.
        let _ = child.code.set(code);
    }
    match status {
        Ok(status) if was_told => tracing::info!(child = child.number, %status, "child ended"),
        Ok(status) => tracing::warn!(child = child.number, %status, "child ended by itself"),
        Err(error) => tracing::error!(child = child.number, %error, "child is lost"),
    }
    child.stop.cancel();
    child.ended.cancel();
}

/// Closes the child's standard input when it is told to end.
async fn write(mut stdin: ChildStdin, mut lines: mpsc::Receiver<String>, stop: CancellationToken) {
    let all = async {
        while let Some(mut line) = lines.recv().await {
            line.push('\n');
            if stdin.write_all(line.as_bytes()).await.is_err() || stdin.flush().await.is_err() {
                // It reads no more; its end is noticed elsewhere.
                break;
            }
        }
    };
    tokio::select! {
        () = all => {}
        () = stop.cancelled() => {}
    }
}

async fn messages(stdout: ChildStdout, to: mpsc::Sender<Vec<u8>>, child: Child, longest: usize) {
    let mut stdout = Lines::new(BufReader::with_capacity(1 << 16, stdout), longest);
    let mut late = std::pin::pin!(child.late());
    loop {
        let line = tokio::select! {
            line = stdout.next() => line,
            () = late.as_mut() => break,
        };
        match line {
            Ok(Line::Whole(line)) if line.iter().all(u8::is_ascii_whitespace) => {}
            Ok(Line::Whole(line)) => {
                if to.send(line).await.is_err() {
                    break;
                }
            }
            Ok(Line::Long(_)) => {
                tracing::warn!(
                    child = child.number,
                    longest,
                    "a message is too long: ended"
                );
                break;
            }
            Ok(Line::End) | Err(_) => break,
        }
    }
    // Without it nothing can be answered.
    child.end();
}

/// Passes on what a child says of itself, so that it can neither fill our log nor write entries of ours.
async fn log(stderr: ChildStderr, child: Child) {
    let number = child.number;
    let mut stderr = Lines::new(BufReader::new(stderr), LONGEST_LOG_LINE);
    let mut second = tokio::time::interval(Duration::from_secs(1));
    // However late it is, each of these has a second of its own.
    second.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut late = std::pin::pin!(child.late());
    let (mut said, mut left_out) = (0_u32, 0_u64);
    loop {
        let line = tokio::select! {
            line = stderr.next() => line,
            () = late.as_mut() => break,
            _ = second.tick(), if said > 0 => {
                if left_out > 0 {
                    tracing::warn!(child = number, left_out, "lines of its standard error");
                }
                (said, left_out) = (0, 0);
                continue;
            }
        };
        match line {
            Ok(Line::Whole(line) | Line::Long(line)) if said < MOST_LOG_LINES => {
                said += 1;
                let line = plain(&String::from_utf8_lossy(&line), LONGEST_LOG_LINE);
                tracing::info!(child = number, stderr = line, "said");
            }
            Ok(Line::Whole(_) | Line::Long(_)) => left_out += 1,
            Ok(Line::End) | Err(_) => break,
        }
    }
}

/// What is started as `mandate mcp child`, and is the program in a moment.
#[derive(Debug, clap::Args)]
pub(crate) struct BecomeArgs {
    /// Who started this
    #[arg(long)]
    parent: i32,
    /// The program
    #[arg(trailing_var_arg = true, required = true)]
    command: Vec<OsString>,
}

/// Has the kernel end this process with its parent, and becomes the program.
pub(crate) fn become_program(args: &BecomeArgs) -> Outcome {
    let failed =
        |e: rustix::io::Errno| Failure::failed(format!("cannot be tied to its parent: {e}"), "");
    set_parent_process_death_signal(Some(Signal::KILL)).map_err(failed)?;
    // It may have ended before that.
    if getppid().map(|pid| pid.as_raw_nonzero().get()) != Some(args.parent) {
        return Ok(Exit::Failed);
    }
    let Some((program, arguments)) = args.command.split_first() else {
        return Ok(Exit::Usage);
    };
    let why = std::process::Command::new(program).args(arguments).exec();
    // As shells say it.
    let code = if why.kind() == io::ErrorKind::NotFound {
        NOT_FOUND
    } else {
        NOT_EXECUTABLE
    };
    #[expect(
        clippy::print_stderr,
        reason = "it is a child whose standard error is read"
    )]
    {
        eprintln!("{} cannot be started: {why}", program.display());
    }
    Ok(Exit::Passed(code))
}

const NOT_FOUND: u8 = 127;
const NOT_EXECUTABLE: u8 = 126;
/// Messages between a child and whoever speaks to it, each way.
const WAITING: usize = 8;
/// How long a child may leave its input unread.
const PATIENCE: Duration = Duration::from_secs(30);
/// For what a child that has ended has written.
const DRAIN: Duration = Duration::from_secs(1);
const LONGEST_LOG_LINE: usize = 2_000;
/// In a second.
const MOST_LOG_LINES: u32 = 100;
