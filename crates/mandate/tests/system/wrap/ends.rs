//! How sessions, servers and the whole of it end.

use std::path::Path;
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use super::client::{Wrap, call, initialize};
use super::processes;
use crate::lab::server::PROGRAM;
use crate::lab::wait;

/// Whether a process has ended; one that nobody has reaped yet has too.
fn is_gone(pid: u32) -> bool {
    let Ok(status) = std::fs::read_to_string(format!("/proc/{pid}/stat")) else {
        return true;
    };
    let state = status.rsplit(") ").next().unwrap_or_default();
    state.starts_with('Z')
}

fn until_gone(pids: &[u32]) {
    for pid in pids {
        wait::until("the process has ended", || is_gone(*pid).then_some(()));
    }
}

fn signal(pid: u32, signal: Signal) {
    let pid = Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    kill_process(pid, signal).unwrap();
}

#[test]
fn the_end_of_a_session_ends_all_that_it_started() {
    let wrap = Wrap::start("both", &[], &[]);
    let (session, other) = (wrap.session(), wrap.session());
    let (ended, alive) = (processes(&wrap, &session), processes(&wrap, &other));
    assert!(ended.iter().all(|pid| !is_gone(*pid)));
    let fields = [("mcp-session-id", session.as_str())];
    assert_eq!(wrap.send("DELETE", &fields, &Value::Null).status, 204);
    assert_eq!(wrap.call(&session, &call(2, "echo", "a")).status, 404);
    assert_eq!(wrap.send("DELETE", &fields, &Value::Null).status, 404);
    until_gone(&ended);
    assert!(alive.iter().all(|pid| !is_gone(*pid)));
    assert_eq!(wrap.call(&other, &call(2, "echo", "a")).text(), "a");
}

#[test]
fn a_crash_is_told_and_is_the_end_of_its_session_alone() {
    let wrap = Wrap::start("both", &[], &[]);
    let (session, other) = (wrap.session(), wrap.session());
    let [_, helper] = processes(&wrap, &session);
    let crashed = wrap.call(&session, &call(2, "crash", ""));
    assert_eq!((crashed.status, crashed.code()), (200, -32603));
    assert_eq!(crashed.json()["id"], 2);
    wait::until("the session is over", || {
        (wrap.call(&session, &call(3, "echo", "a")).status == 404).then_some(())
    });
    until_gone(&[helper]);
    assert_eq!(wrap.call(&other, &call(3, "echo", "a")).text(), "a");
}

#[test]
fn the_shared_server_is_started_again_after_a_crash() {
    let wrap = Wrap::start("both", &[], &[]);
    std::thread::scope(|scope| {
        let open = scope.spawn(|| wrap.stateless(&call("open", "hold", "")));
        wait::until("it is under way", || {
            let seen = wrap.stateless(&call(1, "seen", "")).text();
            seen.contains("\"hold\"").then_some(())
        });
        for _ in 0..3 {
            let crashed = wait::until("it is there again", || {
                let crashed = wrap.stateless(&call(2, "crash", ""));
                // While it is started again there is none.
                (crashed.status == 200).then_some(crashed)
            });
            assert_eq!(crashed.code(), -32603);
        }
        let open = open.join().unwrap();
        assert_eq!(
            (open.code(), &open.messages()[0]["id"]),
            (-32603, &"open".into())
        );
    });
    wait::until("it is there again", || {
        let answer = wrap.stateless(&call(3, "echo", "a"));
        (answer.status == 200).then(|| assert_eq!(answer.text(), "a"))
    });
}

#[test]
fn what_is_no_message_ends_the_server_that_wrote_it() {
    let wrap = Wrap::start("both", &[], &[]);
    let session = wrap.session();
    let answer = wrap.call(&session, &call(2, "garbage", ""));
    assert_eq!(answer.code(), -32603);
    wait::until("the session is over", || {
        (wrap.call(&session, &call(3, "echo", "a")).status == 404).then_some(())
    });
    assert_eq!(wrap.stateless(&call(2, "garbage", "")).code(), -32603);
    let log = wrap.log();
    assert!(
        log.contains("no \\\\u{1b}[31mmessage") || log.contains("no \\u{1b}[31mmessage"),
        "{log}"
    );
    assert!(!log.contains('\u{1b}'), "it must not reach the terminal");
}

#[test]
fn sessions_are_as_many_as_may_be_and_end_unused() {
    let wrap = Wrap::start(
        "sessions",
        &["--max-sessions", "1", "--session-idle", "1"],
        &[],
    );
    let session = wrap.session();
    let fields = [("mcp-session-id", session.as_str())];
    // Who listens uses it.
    let listening = wrap.open("GET", &fields, "");
    let full = wrap.send("POST", &[], &initialize());
    assert_eq!((full.status, full.code()), (503, -32603));
    let pids = processes(&wrap, &session);
    drop(listening);
    until_gone(&pids);
    assert_eq!(wrap.call(&session, &call(2, "echo", "a")).status, 404);
    wait::until("there is a place again", || {
        (wrap.send("POST", &[], &initialize()).status == 200).then_some(())
    });
}

#[test]
fn told_to_end_it_ends_with_all_that_it_started() {
    let mut wrap = Wrap::start("both", &[], &[]);
    let session = wrap.session();
    let pids = processes(&wrap, &session);
    let shared = wrap.stateless(&call(1, "processes", "")).text();
    let shared: Vec<u32> = shared.split(' ').map(|pid| pid.parse().unwrap()).collect();
    let open = wrap.open("GET", &[("mcp-session-id", &session)], "");
    signal(wrap.pid(), Signal::TERM);
    assert_eq!(wrap.wait(), Some(0));
    assert!(pids.iter().chain(&shared).all(|pid| is_gone(*pid)));
    drop(open);
}

/// A server that never answers nor ends when told to, once it has started a helper whose pid it writes to the file.
fn mute(file: &Path) -> [String; 3] {
    let script = format!(
        "trap '' TERM; sleep 1000 >/dev/null 2>&1 & echo $! > {0}.new; mv {0}.new {0}; wait",
        file.display()
    );
    ["sh".to_owned(), "-c".to_owned(), script]
}

/// Starts `mandate mcp` with `arguments` and a server that never answers, and waits until that has its helper.
fn begin(folder: &Path, arguments: &[&str]) -> (Child, u32) {
    let file = folder.join("helper");
    let child = Command::new(PROGRAM)
        .args(["--output", "json", "mcp"])
        .args(arguments)
        .arg("--")
        .args(mute(&file))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let helper = wait::until("the server runs", || {
        std::fs::read_to_string(&file).ok()?.trim().parse().ok()
    });
    assert!(!is_gone(helper));
    (child, helper)
}

#[test]
fn told_to_end_while_it_starts_it_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let key = folder.path().join("key").display().to_string();
    let (mut wrap, helper) = begin(folder.path(), &["wrap", "--grace", "1", "--key-file", &key]);
    signal(wrap.id(), Signal::TERM);
    assert_eq!(wrap.wait().unwrap().code(), Some(0));
    assert!(is_gone(helper));
}

#[test]
fn who_reads_a_server_leaves_nothing_of_it() {
    for (limit, by_signal) in [("1", false), ("600", true)] {
        let folder = tempfile::tempdir().unwrap();
        let (mut import, helper) = begin(folder.path(), &["import", "--timeout", limit]);
        if by_signal {
            signal(import.id(), Signal::INT);
        }
        let code = if by_signal { 1 } else { 4 };
        assert_eq!(import.wait().unwrap().code(), Some(code));
        assert!(is_gone(helper), "{limit}");
    }
}

#[test]
fn killed_it_takes_its_servers_along() {
    let mut wrap = Wrap::start("both", &[], &[]);
    let session = wrap.session();
    let [server, helper] = processes(&wrap, &session);
    signal(wrap.pid(), Signal::KILL);
    assert_eq!(wrap.wait(), None);
    until_gone(&[server]);
    // Nobody is left to end what a server started itself.
    signal(helper, Signal::KILL);
}
