//! Real processes behind real sockets. Most cases need other users and so root; without it they say
//! that they are skipped.

use std::io::Write;
use std::os::fd::AsFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};

use mandate_model::{AgentTypeName, AttestationKind, ProviderName};
use mandate_policy::decl::UserRule;
use mandate_ports::{AttestRefusal, Attested, Attestor, Evidence, PeerProcess, Peers};
use mandate_testkit::attest_suite;
use tempfile::TempDir;

use super::ProcessAttestor;
use super::digest::MAX_SIZE;
use super::seen::Hashing;
use super::view::Rule;
use crate::KernelPeers;
use crate::fixtures::{bundle, somewhere};

const AGENT: u32 = 4711;
/// A user that every machine has by name.
const NOBODY: u32 = 65534;

/// A folder like `/opt/agents`: root's alone, readable by everyone.
struct Stage {
    folder: TempDir,
    listener: UnixListener,
    /// A process forked while another test's executable is being written would keep it busy.
    _alone: MutexGuard<'static, ()>,
}

static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// A process that connected and waits.
struct Agent {
    child: Child,
    peer: PeerProcess,
    _socket: UnixStream,
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

fn mode(path: &Path, mode: u32) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

impl Stage {
    /// `None` without root.
    fn set() -> Option<Self> {
        if rustix::process::geteuid().is_root() {
            return Some(Self::of_our_own_user());
        }
        eprintln!("skipped: other users' processes need root");
        None
    }

    fn of_our_own_user() -> Self {
        let alone = ONE_AT_A_TIME.lock();
        let folder = TempDir::new().unwrap();
        mode(folder.path(), 0o755);
        let socket = folder.path().join("socket");
        let listener = UnixListener::bind(&socket).unwrap();
        mode(&socket, 0o777);
        Self {
            folder,
            listener,
            _alone: alone.unwrap_or_else(PoisonError::into_inner),
        }
    }

    /// An executable of its own: the interpreter that the tests' agents are written in.
    fn executable(&self, name: &str) -> PathBuf {
        let path = self.folder.path().join(name);
        std::fs::copy(interpreter(), &path).unwrap();
        let mut file = std::fs::File::options().append(true).open(&path).unwrap();
        file.write_all(name.as_bytes()).unwrap();
        mode(&path, 0o755);
        path
    }

    fn agent(&self, executable: &Path, uid: u32) -> Agent {
        let mut command = Command::new(executable);
        command.uid(uid).gid(uid);
        self.start(command)
    }

    /// Runs `command` with a program that connects and then waits for its input to end.
    fn start(&self, mut command: Command) -> Agent {
        let child = command
            .args(["-e", CONNECT])
            .arg(self.folder.path().join("socket"))
            .env_clear()
            .current_dir("/")
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        let (socket, _) = self.listener.accept().unwrap();
        let peer = KernelPeers.peer(socket.as_fd()).unwrap();
        Agent {
            child,
            peer,
            _socket: socket,
        }
    }
}

const CONNECT: &str = "use Socket; socket(S, PF_UNIX, SOCK_STREAM, 0) or die; \
    connect(S, sockaddr_un($ARGV[0])) or die; <STDIN>;";

fn interpreter() -> PathBuf {
    std::fs::canonicalize("/usr/bin/perl").unwrap()
}

fn rule(agent: &str, uid: u32) -> Rule {
    Rule {
        agent: AgentTypeName::parse(agent).unwrap(),
        provider: ProviderName::parse("process").unwrap(),
        user: Some(UserRule::Uid(uid)),
        unit: None,
        path: None,
        sha256: None,
        weak: false,
    }
}

fn attest(peer: &PeerProcess, rules: &[Rule]) -> Result<Attested, AttestRefusal> {
    attest_by(&ProcessAttestor::new().unwrap(), peer, rules)
}

fn attest_by(
    attestor: &ProcessAttestor,
    peer: &PeerProcess,
    rules: &[Rule],
) -> Result<Attested, AttestRefusal> {
    let inner = &attestor.inner;
    let attested = inner.attest(peer, rules, Hashing::Allowed(&inner.digests));
    attested.map_err(AttestRefusal::from)
}

/// The check that the nearest rule failed.
#[track_caller]
fn assert_unfit(result: Result<Attested, AttestRefusal>, check: &str) {
    match result {
        Err(AttestRefusal::NoRule { nearest }) => assert!(nearest.contains(check), "{nearest}"),
        other => panic!("{other:?}"),
    }
}

fn text(path: &Path) -> Option<String> {
    Some(path.to_str().unwrap().to_owned())
}

#[test]
fn the_user_decides() {
    let Some(stage) = Stage::set() else { return };
    let executable = stage.executable("retriever");
    let agent = stage.agent(&executable, AGENT);
    let attested = attest(&agent.peer, &[rule("retriever", AGENT)]).unwrap();
    assert_eq!(attested.agent.as_str(), "retriever");
    assert_eq!(attested.kind, AttestationKind::Process);
    assert_eq!(attested.facts["uid"], "4711");
    assert_eq!(attested.facts["executable"], executable.to_str().unwrap());
    assert!(attested.facts["command_line"].contains("-e"));
    assert_eq!(attested.facts.get("sha256"), None, "no rule asked for it");
    let pid = agent.child.id().to_string();
    assert!(attested.instance.as_str().contains(&format!("-{pid}-")));
    assert_unfit(attest(&agent.peer, &[rule("retriever", AGENT + 1)]), "user");
    assert_unfit(attest(&agent.peer, &[]), "no agent type");
}

#[test]
fn on_a_machine_of_ones_own_a_weak_rule_says_that_it_is_weak() {
    let stage = Stage::of_our_own_user();
    let agent = stage.start(Command::new(stage.executable("ours")));
    let own = rustix::process::geteuid().as_raw();
    let weak = Rule {
        weak: true,
        ..rule("r", own)
    };
    let attested = attest(&agent.peer, &[weak]).unwrap();
    assert_eq!(attested.kind, AttestationKind::ProcessWeak);
    assert_unfit(attest(&agent.peer, &[rule("r", own)]), "executable");
}

#[test]
fn a_user_is_found_by_name() {
    let Some(stage) = Stage::set() else { return };
    let agent = stage.agent(&stage.executable("a"), 65534);
    let named = |name: &str| Rule {
        user: Some(UserRule::Name(name.to_owned())),
        ..rule("retriever", 0)
    };
    attest(&agent.peer, &[named("nobody")]).unwrap();
    assert_unfit(attest(&agent.peer, &[named("daemon")]), "user");
    assert_unfit(attest(&agent.peer, &[named("no-such-user")]), "no user");
}

#[test]
fn the_path_is_compared_by_file_and_not_by_name() {
    let Some(stage) = Stage::set() else { return };
    let (ours, other) = (stage.executable("ours"), stage.executable("other"));
    let agent = stage.agent(&ours, AGENT);
    let at = |path: &Path| Rule {
        path: text(path),
        ..rule("retriever", AGENT)
    };
    attest(&agent.peer, &[at(&ours)]).unwrap();
    assert_unfit(attest(&agent.peer, &[at(&other)]), "path");
    let link = stage.folder.path().join("link");
    std::os::unix::fs::symlink(&ours, &link).unwrap();
    attest(&agent.peer, &[at(&link)]).unwrap();
    std::fs::rename(&other, &ours).unwrap();
    assert_unfit(attest(&agent.peer, &[at(&ours)]), "path");
    assert_unfit(
        attest(&agent.peer, &[at(Path::new("/no/such/file"))]),
        "path",
    );
}

#[test]
fn the_digest_is_of_what_runs() {
    let Some(stage) = Stage::set() else { return };
    let executable = stage.executable("ours");
    let agent = stage.agent(&executable, AGENT);
    let sha256 = digest_of(&executable);
    let with = |sha256: String| Rule {
        sha256: Some(sha256),
        ..rule("r", AGENT)
    };
    let other = stage.agent(&stage.executable("theirs"), AGENT);
    assert_unfit(attest(&other.peer, &[with(sha256.clone())]), "sha256");
    let attested = attest(&agent.peer, &[with(sha256.clone())]).unwrap();
    assert_eq!(attested.facts["sha256"], sha256);
}

fn digest_of(path: &Path) -> String {
    let digests = super::Digests::default();
    digests.sha256(&std::fs::File::open(path).unwrap()).unwrap()
}

#[test]
fn an_executable_is_read_only_for_a_rule_that_fits_otherwise() {
    let Some(stage) = Stage::set() else { return };
    let executable = stage.executable("ours");
    let agent = stage.agent(&executable, AGENT);
    let attestor = ProcessAttestor::new().unwrap();
    let remembered = || {
        let file = std::fs::File::open(&executable).unwrap();
        attestor.inner.digests.remembered(&file).unwrap()
    };
    let with = |uid| Rule {
        sha256: Some("0".repeat(64)),
        ..rule("r", uid)
    };
    let elsewhere = Rule {
        path: Some("/bin/sh".to_owned()),
        ..with(AGENT)
    };
    let in_unit = Rule {
        unit: Some("mandate-test.service".to_owned()),
        ..with(AGENT)
    };
    let unfit = [with(AGENT + 1), elsewhere, in_unit];
    assert_unfit(attest_by(&attestor, &agent.peer, &unfit), "path");
    attest_by(&attestor, &agent.peer, &[rule("r", AGENT)]).unwrap();
    assert_eq!(remembered(), None);
    std::os::unix::fs::chown(&executable, Some(AGENT), None).unwrap();
    let own = attest_by(&attestor, &agent.peer, &[with(AGENT)]);
    assert_unfit(own, "can be written");
    assert_eq!(remembered(), None, "its user could make it any size");
    std::os::unix::fs::chown(&executable, Some(0), None).unwrap();
    let other = attest_by(&attestor, &agent.peer, &[with(AGENT)]);
    assert_unfit(other, "sha256");
    assert!(remembered().is_some());
}

#[test]
fn an_executable_larger_than_the_bound_is_not_read() {
    let Some(stage) = Stage::set() else { return };
    let executable = stage.executable("large");
    let file = std::fs::File::options().write(true).open(&executable);
    file.unwrap().set_len(MAX_SIZE + 1).unwrap();
    let agent = stage.agent(&executable, AGENT);
    let with = Rule {
        sha256: Some("0".repeat(64)),
        ..rule("r", AGENT)
    };
    assert_unfit(attest(&agent.peer, &[with]), "larger than");
    attest(&agent.peer, &[rule("r", AGENT)]).unwrap();
}

#[tokio::test]
async fn whoever_needs_no_digest_waits_for_nobody_s() {
    let Some(stage) = Stage::set() else { return };
    let executable = stage.executable("ours");
    let agent = stage.agent(&executable, AGENT);
    let attestor = ProcessAttestor::new().unwrap();
    let digest = format!(", sha256: \"{}\"", digest_of(&executable));
    let busy = attestor.inner.hashing.try_acquire().unwrap();
    let waiting = tokio::spawn({
        let (attestor, peer) = (attestor.clone(), copy(&agent.peer));
        let bundle = bundle(&declared("retriever", &digest));
        async move {
            attestor
                .attest(Evidence::Process(peer), &somewhere(), &bundle)
                .await
        }
    });
    for _ in 0..20 {
        let evidence = Evidence::Process(copy(&agent.peer));
        let bundle = bundle(&declared("retriever", ""));
        attestor
            .attest(evidence, &somewhere(), &bundle)
            .await
            .unwrap();
    }
    assert!(!waiting.is_finished(), "one executable is read at a time");
    drop(busy);
    let attested = waiting.await.unwrap().unwrap();
    assert_eq!(attested.facts["sha256"].len(), 64);
}

#[test]
fn a_script_is_its_interpreter_and_its_name_is_no_evidence() {
    let Some(stage) = Stage::set() else { return };
    let script = stage.folder.path().join("retriever");
    std::fs::write(&script, "pretends").unwrap();
    let mut command = Command::new(interpreter());
    command.arg0(&script).uid(AGENT).gid(AGENT);
    let agent = stage.start(command);
    let at = Rule {
        path: text(&script),
        ..rule("retriever", AGENT)
    };
    assert_unfit(attest(&agent.peer, &[at]), "interpreter");
}

#[test]
fn an_executable_that_its_user_can_write_proves_nothing_unless_the_rule_is_weak() {
    let Some(stage) = Stage::set() else { return };
    let executable = stage.executable("ours");
    let agent = stage.agent(&executable, AGENT);
    let strong = rule("r", AGENT);
    let weak = Rule {
        weak: true,
        ..strong.clone()
    };
    attest(&agent.peer, std::slice::from_ref(&strong)).unwrap();
    std::os::unix::fs::chown(&executable, Some(AGENT), None).unwrap();
    assert_unfit(
        attest(&agent.peer, std::slice::from_ref(&strong)),
        "can be written",
    );
    let attested = attest(&agent.peer, &[strong.clone(), weak.clone()]).unwrap();
    assert_eq!(attested.kind, AttestationKind::ProcessWeak);
    std::os::unix::fs::chown(&executable, Some(0), None).unwrap();
    let attested = attest(&agent.peer, &[weak, strong]).unwrap();
    assert_eq!(
        attested.kind,
        AttestationKind::Process,
        "the strong rule counts"
    );
}

#[test]
fn a_deleted_executable_proves_nothing() {
    let Some(stage) = Stage::set() else { return };
    let executable = stage.executable("ours");
    let agent = stage.agent(&executable, AGENT);
    std::fs::remove_file(executable).unwrap();
    assert_unfit(attest(&agent.peer, &[rule("r", AGENT)]), "executable");
}

#[test]
fn a_process_that_two_agent_types_fit_is_refused() {
    let Some(stage) = Stage::set() else { return };
    let agent = stage.agent(&stage.executable("ours"), AGENT);
    let rules = [rule("one", AGENT), rule("two", AGENT)];
    assert_eq!(attest(&agent.peer, &rules), Err(AttestRefusal::Ambiguous));
    let rules = [rule("one", AGENT), rule("one", AGENT)];
    assert_eq!(attest(&agent.peer, &rules).unwrap().agent.as_str(), "one");
}

#[test]
fn types_that_share_a_user_under_two_names_are_told_apart_by_nothing() {
    let Some(stage) = Stage::set() else { return };
    let executable = stage.executable("ours");
    let agent = stage.agent(&executable, NOBODY);
    let ours = |weak| Rule {
        path: text(&executable),
        user: Some(UserRule::Name("nobody".to_owned())),
        weak,
        ..rule("one", 0)
    };
    let theirs = |uid, weak| Rule {
        path: Some("/bin/sh".to_owned()),
        weak,
        ..rule("two", uid)
    };
    let kind = |rules: &[Rule]| attest(&agent.peer, rules).map(|attested| attested.kind);
    let apart = [ours(false), theirs(NOBODY - 1, false)];
    assert_eq!(kind(&apart), Ok(AttestationKind::Process));
    for (a, b) in [(false, false), (true, false), (false, true)] {
        let shared = attest(&agent.peer, &[theirs(NOBODY, b), ours(a)]);
        assert_unfit(shared, "shared user");
    }
    let said = [ours(true), theirs(NOBODY, true)];
    assert_eq!(kind(&said), Ok(AttestationKind::ProcessWeak));
    let in_a_unit = Rule {
        unit: Some("two.service".to_owned()),
        ..theirs(NOBODY, false)
    };
    let one_has_no_unit = attest(&agent.peer, &[ours(false), in_a_unit]);
    assert_unfit(one_has_no_unit, "shared user");
}

#[test]
fn types_that_share_a_user_are_told_apart_by_their_units() {
    let unit = |agent: &str, unit: &str| Rule {
        unit: Some(unit.to_owned()),
        ..rule(agent, AGENT)
    };
    let (one, two) = (unit("one", "one.service"), unit("two", "two.service"));
    let apart = super::rule::check_apart(&one, &[one.clone(), two], AGENT);
    assert_eq!(apart, Ok(()));
    let same = unit("two", "one.service");
    let shared = super::rule::check_apart(&one, &[one.clone(), same], AGENT);
    assert!(shared.is_err());
}

#[test]
fn a_unit_that_runs_as_the_user_of_another_type_is_not_told_apart_from_it() {
    let unit = Rule {
        user: None,
        unit: Some("one.service".to_owned()),
        ..rule("one", AGENT)
    };
    let apart = [unit.clone(), rule("two", NOBODY)];
    assert_eq!(super::rule::check_apart(&unit, &apart, AGENT), Ok(()));
    let shared = [unit.clone(), rule("two", AGENT)];
    assert!(super::rule::check_apart(&unit, &shared, AGENT).is_err());
    let weak = |rule: &Rule| Rule {
        weak: true,
        ..rule.clone()
    };
    let said = shared.each_ref().map(weak);
    assert_eq!(super::rule::check_apart(&said[0], &said, AGENT), Ok(()));
}

#[test]
fn a_process_without_the_unit_is_refused() {
    let Some(stage) = Stage::set() else { return };
    let agent = stage.agent(&stage.executable("ours"), AGENT);
    let unit = Rule {
        unit: Some("mandate-test.service".to_owned()),
        ..rule("r", AGENT)
    };
    assert_unfit(attest(&agent.peer, &[unit]), "unit");
}

/// A cgroup as root's service manager would make it.
struct Cgroup(PathBuf);

impl Cgroup {
    fn make() -> Option<Self> {
        let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap();
        let unified = mounts
            .lines()
            .find(|line| line.split(' ').nth(2) == Some("cgroup2"))?;
        let name = format!("mandate-test-{}.service", std::process::id());
        let path = Path::new(unified.split(' ').nth(1).unwrap()).join(name);
        std::fs::create_dir(&path).ok().map(|()| Self(path))
    }

    fn name(&self) -> String {
        self.0.file_name().unwrap().to_str().unwrap().to_owned()
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        std::fs::remove_dir(&self.0).unwrap();
    }
}

#[test]
fn a_process_in_the_unit_is_accepted() {
    let Some(stage) = Stage::set() else { return };
    let Some(cgroup) = Cgroup::make() else {
        eprintln!("skipped: no unified cgroups that can be written here");
        return;
    };
    let agent = stage.agent(&stage.executable("ours"), AGENT);
    let unit = Rule {
        unit: Some(cgroup.name()),
        user: None,
        ..rule("r", AGENT)
    };
    assert_unfit(attest(&agent.peer, std::slice::from_ref(&unit)), "unit");
    std::fs::write(cgroup.0.join("cgroup.procs"), agent.child.id().to_string()).unwrap();
    let attested = attest(&agent.peer, &[unit]).unwrap();
    assert_eq!(attested.facts["unit"], cgroup.name());
    drop(agent);
}

#[test]
fn a_process_in_another_namespace_is_refused() {
    let Some(stage) = Stage::set() else { return };
    let executable = stage.executable("ours");
    let mut command = Command::new("unshare");
    command.args([
        "--mount",
        "setpriv",
        "--reuid=4711",
        "--regid=4711",
        "--clear-groups",
    ]);
    command.arg(&executable);
    let agent = stage.start(command);
    assert_unfit(attest(&agent.peer, &[rule("r", AGENT)]), "namespace");
}

#[test]
fn a_process_whose_users_differ_is_refused() {
    let Some(stage) = Stage::set() else { return };
    let executable = stage.executable("ours");
    let mut command = Command::new("setpriv");
    command
        .args(["--euid=4711", "--egid=4711", "--clear-groups"])
        .arg(&executable);
    let agent = stage.start(command);
    assert_eq!(
        agent.peer.uid, AGENT,
        "the socket names the effective user alone"
    );
    assert_unfit(attest(&agent.peer, &[rule("r", AGENT)]), "users differ");
}

#[test]
fn a_pid_that_may_be_used_again_is_never_believed() {
    let Some(stage) = Stage::set() else { return };
    let executable = stage.executable("ours");
    let mut gone = stage.agent(&executable, AGENT);
    gone.child.kill().unwrap();
    gone.child.wait().unwrap();
    let rules = [rule("r", AGENT)];
    assert_eq!(attest(&gone.peer, &rules), Err(AttestRefusal::Gone));

    // Another process has the pid that the connection was made with.
    let heir = stage.agent(&executable, AGENT);
    let pidfd = gone.peer.pidfd.try_clone().unwrap();
    let reused = PeerProcess {
        pidfd,
        ..copy(&heir.peer)
    };
    assert_eq!(attest(&reused, &rules), Err(AttestRefusal::Gone));
    // Both alive: the pid belongs to one, the pidfd to the other.
    let other = stage.agent(&executable, AGENT);
    let pidfd = other.peer.pidfd.try_clone().unwrap();
    let mixed = PeerProcess {
        pidfd,
        ..copy(&heir.peer)
    };
    assert!(matches!(
        attest(&mixed, &rules),
        Err(AttestRefusal::Unreadable(_))
    ));
}

fn copy(peer: &PeerProcess) -> PeerProcess {
    PeerProcess {
        pidfd: peer.pidfd.try_clone().unwrap(),
        ..*peer
    }
}

#[test]
fn the_peer_is_who_connected() {
    let (ours, _theirs) = UnixStream::pair().unwrap();
    let peer = KernelPeers.peer(ours.as_fd()).unwrap();
    assert_eq!(u32::try_from(peer.pid).unwrap(), std::process::id());
    assert_eq!(peer.uid, rustix::process::geteuid().as_raw());
}

#[test]
fn a_socket_without_a_unix_peer_is_refused() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    assert!(KernelPeers.peer(listener.as_fd()).is_err());
}

/// An agent type of this name that user [`AGENT`] proves, in the words of a bundle.
fn declared(name: &str, isolation: &str) -> String {
    format!(
        "
---
apiVersion: mandate.dev/v1alpha1
kind: AgentType
metadata: {{name: {name}}}
spec:
  attestation: [{{process: {{uid: {AGENT}{isolation}}}}}]
  breakGlass: {{contact: someone, impact: none}}
"
    )
}

#[tokio::test]
async fn keeps_the_contract_of_attestors() {
    let Some(stage) = Stage::set() else { return };
    let executable = stage.executable("ours");
    let agent = stage.agent(&executable, AGENT);
    let mut gone = stage.agent(&executable, AGENT);
    gone.child.kill().unwrap();
    gone.child.wait().unwrap();
    let weak = ", isolation: none";
    let cases = attest_suite::Cases {
        evidence: || Evidence::Process(copy(&agent.peer)),
        gone: || Evidence::Process(copy(&gone.peer)),
        one: (
            bundle(&declared("retriever", "")),
            AgentTypeName::parse("retriever").unwrap(),
        ),
        none: bundle(&declared("retriever", "").replace("4711", "4712")),
        two: bundle(&(declared("one", weak) + &declared("two", weak))),
    };
    attest_suite::run(&ProcessAttestor::new().unwrap(), cases).await;
}
