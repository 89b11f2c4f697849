//! An authority at work: real store, real sockets, the kernel's word on peers; keys and evidence
//! are the test's, and so is the clock.

use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use mandate_attest::{IssuerKeys, OidcOptions, OidcPersonVerifier, PasswdUsers};
use mandate_audit::Event;
use mandate_authority::{Authority, Config, Doors, PROOF_ROOM, Ports, PublicSocket};
use mandate_decide::Lifetimes;
use mandate_decide::possession::Room;
use mandate_model::{Timestamp, TrustDomain};
use mandate_ports::{Clock, LogReader, StateReader};
use mandate_store_sqlite::SqliteStore;
use mandate_testkit::clock::FixedClock;
use mandate_testkit::entropy::SeededEntropy;
use mandate_testkit::keys::TestKeys;
use mandate_testkit::oidc_issuer::OidcIssuer;
use mandate_token::Issuer;
use prometheus_client::registry::Registry;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::client::{Answer, get, post_form, post_json};
use crate::fakes::{Crowd, Disk, Logs, Reads, SaidSo, Slow};

pub(crate) const TXN: &str = "urn:ietf:params:oauth:token-type:txn_token";
pub(crate) const JWT: &str = "urn:ietf:params:oauth:token-type:jwt";
pub(crate) const ID_TOKEN: &str = "urn:ietf:params:oauth:token-type:id_token";
pub(crate) const PROCESS: &str = "urn:mandate:token-type:process";
pub(crate) const GRANT: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
pub(crate) const ASSERTION: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-spiffe";
pub(crate) const ISSUER: &str = "http://127.0.0.1:7701";
pub(crate) const DOMAIN: &str = "spiffe://acme.example";
pub(crate) const LEASE: Duration = Duration::from_secs(15);

const BUNDLE: &str = include_str!("bundle.yaml");

/// What outlives a restart.
pub(crate) struct Ground {
    pub(crate) dir: TempDir,
    pub(crate) clock: Arc<FixedClock>,
    pub(crate) people: Arc<OidcIssuer>,
    /// For proofs.
    pub(crate) room: Room,
}

impl Ground {
    async fn new() -> Self {
        Self {
            dir: tempfile::tempdir().unwrap(),
            clock: Arc::new(FixedClock::at(Timestamp::from_secs(1_800_000_000))),
            people: OidcIssuer::start().await,
            room: PROOF_ROOM,
        }
    }
}

/// A running authority.
pub(crate) struct Lab {
    pub(crate) ground: Ground,
    pub(crate) authority: Authority,
    pub(crate) store: Arc<SqliteStore>,
    pub(crate) public: SocketAddr,
    pub(crate) observe: SocketAddr,
    pub(crate) disk: Arc<Disk>,
    pub(crate) crowd: Arc<Crowd>,
    pub(crate) slow: Arc<Slow>,
    pub(crate) reads: Arc<Reads>,
    pub(crate) logs: Arc<Logs>,
    said: Arc<SaidSo>,
    stop: CancellationToken,
    served: JoinHandle<()>,
    signer: JoinHandle<()>,
}

impl Lab {
    /// An authority with the bundle of these tests.
    pub(crate) async fn new() -> Self {
        Self::with_room(PROOF_ROOM).await
    }

    /// The same, that remembers few proofs.
    pub(crate) async fn with_room(room: Room) -> Self {
        let ground = Ground {
            room,
            ..Ground::new().await
        };
        let lab = Self::start(ground).await;
        lab.apply(&lab.bundle(), 0).await.expect(200);
        lab
    }

    /// An authority without a bundle.
    pub(crate) async fn empty() -> Self {
        Self::start(Ground::new().await).await
    }

    pub(crate) async fn start(ground: Ground) -> Self {
        let clock: Arc<FixedClock> = Arc::clone(&ground.clock);
        let random = SeededEntropy::new(clock.boot().as_nanos());
        let folder = ground.dir.path().join("store");
        let store = SqliteStore::open(&folder, random.bytes(), clock.now()).unwrap();
        let store = Arc::new(store);
        let disk = Arc::new(Disk::of(store.clone()));
        let reads = Arc::new(Reads::of(store.clone()));
        let logs = Arc::new(Logs::of(store.clone()));
        let keys = Arc::new(TestKeys::default());
        let said = Arc::new(SaidSo::default());
        let slow = Arc::new(Slow::of(keys.clone(), clock.clone()));
        let crowd = Arc::new(Crowd::default());
        let issuers = IssuerKeys::new(OidcOptions::default(), clock.clone()).unwrap();
        let people = OidcPersonVerifier::new(Arc::new(issuers));
        let ports = Ports {
            writer: disk.clone(),
            state: reads.clone(),
            log: logs.clone(),
            checkpoints: store.clone(),
            signer: slow.clone(),
            key_source: keys.clone(),
            attestor: said.clone(),
            challenges: said.clone(),
            peers: crowd.clone(),
            people: Arc::new(people),
            users: Arc::new(PasswdUsers),
            clock: clock.clone(),
            entropy: Arc::new(random),
        };
        let config = Config {
            issuer: Issuer::parse(ISSUER).unwrap(),
            trust_domain: TrustDomain::parse("acme.example").unwrap(),
            lifetimes: Lifetimes::default(),
            lease: LEASE,
            key_cache: Duration::from_secs(300),
            connections: 256,
            run: ground.dir.path().to_owned(),
            own_uid: rustix::process::geteuid().as_raw(),
            proofs: ground.room,
        };
        let mut registry = Registry::default();
        let authority = Authority::open(config, ports, &mut registry).await.unwrap();
        keys.load(&store.keys().await.unwrap());
        let signer = tokio::spawn(follow(keys, store.clone(), authority.clone()));
        let bound = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
        let [public, observe] = bound.each_ref().map(|door| door.local_addr().unwrap());
        let [socket, for_observe] = bound;
        let for_public = PublicSocket { socket, tls: None };
        let doors = Doors::open(&authority, Some(for_public), Some(for_observe)).unwrap();
        let stop = CancellationToken::new();
        let served = tokio::spawn({
            let (authority, stop) = (authority.clone(), stop.clone());
            async move { authority.serve(doors, Arc::new(registry), stop).await }
        });
        Self {
            ground,
            authority,
            store,
            public,
            observe,
            disk,
            crowd,
            slow,
            reads,
            logs,
            said,
            stop,
            served,
            signer,
        }
    }

    /// Stops it in order and starts another one on the same ground.
    pub(crate) async fn restarted(self) -> Self {
        let ground = self.stopped().await;
        Self::start(ground).await
    }

    pub(crate) async fn stopped(self) -> Ground {
        self.stop.cancel();
        self.served.await.unwrap();
        self.signer.abort();
        self.store.close().await;
        self.ground
    }

    pub(crate) fn bundle(&self) -> String {
        let uid = rustix::process::geteuid().as_raw().to_string();
        BUNDLE
            .replace("OWN_UID", &uid)
            .replace("PEOPLE", self.ground.people.issuer())
    }

    pub(crate) fn socket(&self, name: &str) -> PathBuf {
        socket(self.ground.dir.path(), name)
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.ground.clock.now()
    }

    pub(crate) fn pass(&self, span: Duration) {
        self.ground.clock.pass(span);
    }

    pub(crate) async fn apply(&self, text: &str, base: u64) -> Answer {
        let body = json!({"files": [["bundle.yaml", text]], "base": base});
        self.operator("/operator/v1/bundle/apply", &body).await
    }

    pub(crate) async fn operator(&self, path: &str, body: &Value) -> Answer {
        post_json(&self.socket("operator.sock"), path, body).await
    }

    pub(crate) async fn look(&self, path: &str) -> Answer {
        get(&self.socket("operator.sock"), path).await
    }

    pub(crate) async fn suspend(&self, subject: Value) -> Value {
        let body = json!({"subject": subject, "reason": "INC-4711"});
        self.operator("/operator/v1/suspend", &body)
            .await
            .expect(200)
    }

    /// What a gateway says that has read this run's stream, unless `body` names another run.
    pub(crate) async fn control(&self, path: &str, body: &Value) -> Answer {
        let of_a_run = ["/control/v1/lease", "/control/v1/ack"].contains(&path);
        let body = match body.get("run") {
            None if of_a_run => self.of_this_run(body.clone()),
            _ => body.clone(),
        };
        post_json(&self.socket("control.sock"), path, &body).await
    }

    pub(crate) fn of_this_run(&self, mut body: Value) -> Value {
        body["run"] = self.authority.run().to_string().into();
        body
    }

    /// The answer to a form at the agents' socket.
    pub(crate) async fn form(&self, path: &str, pairs: &[(&str, &str)]) -> Answer {
        post_form(&self.socket("agent.sock"), path, pairs).await
    }

    /// What the next evidence is of.
    pub(crate) fn say(&self, agent: &str, instance: &str) {
        self.said.say(agent, instance);
    }

    /// The answer to an attestation of `agent`.
    pub(crate) async fn attest(
        &self,
        agent: &str,
        instance: &str,
        more: &[(&str, &str)],
    ) -> Answer {
        self.say(agent, instance);
        let mut form = vec![
            ("grant_type", GRANT),
            ("subject_token", "process"),
            ("subject_token_type", PROCESS),
        ];
        form.extend(more);
        self.form("/token", &form).await
    }

    /// A JWT-SVID of `agent`.
    pub(crate) async fn svid(&self, agent: &str) -> String {
        self.attest(agent, &format!("{agent}-1"), &[]).await.token()
    }

    /// The answer to an exchange of the agent with `svid`.
    pub(crate) async fn exchange(&self, svid: &str, pairs: &[(&str, &str)]) -> Answer {
        let mut form = vec![
            ("grant_type", GRANT),
            ("client_assertion_type", ASSERTION),
            ("client_assertion", svid),
        ];
        form.extend(pairs);
        self.form("/token", &form).await
    }

    /// The answer to opening a task of `purpose` without a person.
    pub(crate) async fn open(&self, svid: &str, purpose: &str, more: &[(&str, &str)]) -> Answer {
        let kind = json!({"kind": "schedule", "name": purpose, "item": "4711"});
        let details = json!({"purpose": purpose, "trigger": kind}).to_string();
        let mut form = vec![
            ("subject_token", svid),
            ("subject_token_type", JWT),
            ("requested_token_type", TXN),
            ("audience", DOMAIN),
            ("request_details", details.as_str()),
        ];
        form.extend(more);
        self.exchange(svid, &form).await
    }

    pub(crate) async fn delegate(
        &self,
        svid: &str,
        task: &str,
        child: &str,
        entries: &str,
    ) -> Answer {
        let child = format!("{DOMAIN}/agent/{child}");
        let form = [
            ("subject_token", task),
            ("subject_token_type", TXN),
            ("requested_token_type", TXN),
            ("audience", DOMAIN),
            ("requested_actor", child.as_str()),
            ("authorization_details", entries),
        ];
        self.exchange(svid, &form).await
    }

    pub(crate) async fn renew(&self, svid: &str, task: &str) -> Answer {
        let form = [
            ("subject_token", task),
            ("subject_token_type", TXN),
            ("requested_token_type", TXN),
            ("audience", DOMAIN),
        ];
        self.exchange(svid, &form).await
    }

    pub(crate) async fn resume_task(
        &self,
        svid: &str,
        subject: &str,
        kind: &str,
        task: &str,
    ) -> Answer {
        let details = json!({"task": task}).to_string();
        let form = [
            ("subject_token", subject),
            ("subject_token_type", kind),
            ("requested_token_type", TXN),
            ("audience", DOMAIN),
            ("request_details", details.as_str()),
        ];
        self.exchange(svid, &form).await
    }

    pub(crate) async fn access(&self, svid: &str, task: &str) -> Answer {
        let form = [
            ("subject_token", task),
            ("subject_token_type", TXN),
            ("resource", "https://records.acme.example"),
        ];
        self.exchange(svid, &form).await
    }

    /// Every record of the log.
    pub(crate) async fn events(&self) -> Vec<Event> {
        let range = self.store.entries(0, usize::MAX).await.unwrap();
        range
            .entries
            .iter()
            .map(|bytes| Event::parse(bytes).unwrap())
            .collect()
    }

    /// The rules of the refusals that were recorded by themselves.
    pub(crate) async fn refused_rules(&self) -> Vec<String> {
        let refused = |event: Event| event.rule.filter(|_| event.what.kind() == "refused");
        self.events()
            .await
            .into_iter()
            .filter_map(refused)
            .collect()
    }
}

pub(crate) fn socket(dir: &Path, name: &str) -> PathBuf {
    dir.join(name)
}

pub(crate) fn reading() -> String {
    entries(&["read"], "acme")
}

pub(crate) fn entries(actions: &[&str], customer: &str) -> String {
    json!([{"type": "mandate_access", "server": "records", "actions": actions,
            "constraints": {"customer": {"in": [customer]}}}])
    .to_string()
}

pub(crate) fn agent(name: &str) -> Value {
    json!({"kind": "agent", "id": format!("{DOMAIN}/agent/{name}")})
}

/// As the program does: whenever a version moves, the signer takes over the store's keys.
async fn follow(keys: Arc<TestKeys>, store: Arc<SqliteStore>, authority: Authority) {
    let mut versions = authority.versions();
    while versions.changed().await.is_ok() {
        if let Ok(records) = store.keys().await {
            keys.load(&records);
        }
    }
}
