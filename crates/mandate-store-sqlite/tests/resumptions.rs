//! Any order of issuances, suspensions, resumptions, other stops, clocks and restarts: a token is
//! good exactly as long as nothing that it was issued under is suspended or was resumed since.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "tests may panic"
)]

use std::time::Duration;

use mandate_audit::{Decision, Event, What};
use mandate_model::stop::{Lineage, Shown, StopSet, Subject, Suspension};
use mandate_model::{
    ActorLevel, AttestationKind, Host, InstanceId, KeyId, Principal, ProviderName, ServerName,
    SpiffeId, StopVersion, TaskId, Timestamp, TokenId,
};
use mandate_ports::{Change, CommitError, Conflict, StateReader, Unit, Versions, Writer};
use mandate_store_sqlite::SqliteStore;
use proptest::prelude::*;

const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);

/// What a token is issued under.
#[derive(Debug, Clone)]
struct Under {
    actors: Vec<ActorLevel>,
    path: Vec<TaskId>,
    server: Option<ServerName>,
    principal: Principal,
    key: KeyId,
}

#[derive(Debug, Clone)]
enum Step {
    /// One of two authorities looks at the state; what it decides, it decides on that.
    Look(usize),
    /// It issues, without a token that was shown, or with one of those issued so far.
    Issue(usize, Under, Option<prop::sample::Index>),
    Suspend(Subject),
    /// One of the subjects that are suspended.
    Resume(prop::sample::Index),
    /// A token of somebody else is revoked: the stop version moves.
    Other,
    /// The clock stands so many seconds from where it began.
    Clock(u64),
    Restart,
}

fn agent(n: u8) -> SpiffeId {
    SpiffeId::parse(&format!("spiffe://acme.example/agent/a{n}")).unwrap()
}

fn instance(n: u8) -> InstanceId {
    InstanceId::parse(&format!("i{n}")).unwrap()
}

fn provider(n: u8) -> ProviderName {
    ProviderName::parse(&format!("p{n}")).unwrap()
}

fn task(n: u8) -> TaskId {
    TaskId::new(NOW, [n; 10])
}

fn server(n: u8) -> ServerName {
    ServerName::parse(&format!("s{n}")).unwrap()
}

fn principal(n: u8) -> Principal {
    Principal::parse(&format!("user:login:u{n}")).unwrap()
}

fn key(n: u8) -> KeyId {
    KeyId::parse(&format!("k{n}")).unwrap()
}

fn level() -> impl Strategy<Value = ActorLevel> {
    let host = proptest::option::of((0..3u8, 0..3u8));
    (0..3u8, 0..3u8, 0..2u8, host).prop_map(|(sub, inst, prv, host)| ActorLevel {
        sub: agent(sub),
        inst: instance(inst),
        prv: provider(prv),
        att: if host.is_some() {
            AttestationKind::Hosted
        } else {
            AttestationKind::Process
        },
        host: host.map(|(sub, inst)| Host {
            sub: agent(sub),
            inst: instance(inst),
        }),
    })
}

fn under() -> impl Strategy<Value = Under> {
    let actors = proptest::collection::vec(level(), 1..4);
    let path = proptest::collection::vec((0..4u8).prop_map(task), 0..3);
    let server = proptest::option::of((0..2u8).prop_map(server));
    (actors, path, server, 0..3u8, 0..2u8).prop_map(|(actors, path, server, who, signed)| Under {
        actors,
        path,
        server,
        principal: principal(who),
        key: key(signed),
    })
}

fn subject() -> impl Strategy<Value = Subject> {
    prop_oneof![
        4 => (0..3u8).prop_map(|n| Subject::Agent { id: agent(n) }),
        2 => (0..2u8, 0..3u8).prop_map(|(p, n)| Subject::Instance {
            provider: provider(p),
            id: instance(n),
        }),
        2 => (0..4u8).prop_map(|n| Subject::Task { id: task(n) }),
        1 => (0..3u8).prop_map(|n| Subject::Principal { id: principal(n) }),
        1 => (0..2u8).prop_map(|n| Subject::Server { name: server(n) }),
        1 => (0..2u8).prop_map(|n| Subject::Provider { name: provider(n) }),
        1 => (0..2u8).prop_map(|n| Subject::Key { id: key(n) }),
        1 => Just(Subject::Everything),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let shown = proptest::option::of(any::<prop::sample::Index>());
    prop_oneof![
        4 => (0..2usize).prop_map(Step::Look),
        8 => (0..2usize, under(), shown).prop_map(|(who, under, shown)| Step::Issue(who, under, shown)),
        3 => subject().prop_map(Step::Suspend),
        4 => any::<prop::sample::Index>().prop_map(Step::Resume),
        1 => Just(Step::Other),
        // Within an hour: a jump that is believed is for the tests of forgetting.
        1 => (0..3000u64).prop_map(Step::Clock),
        1 => Just(Step::Restart),
    ]
}

/// Whether `subject` is anywhere in it: said once more and in another way than the code under test.
fn is_under(under: &Under, subject: &Subject) -> bool {
    let actors = &under.actors;
    match subject {
        Subject::Everything => true,
        Subject::Agent { id } => actors
            .iter()
            .any(|a| a.sub == *id || a.host.as_ref().is_some_and(|h| h.sub == *id)),
        Subject::Instance { provider, id } => actors.iter().any(|a| {
            a.prv == *provider && (a.inst == *id || a.host.as_ref().is_some_and(|h| h.inst == *id))
        }),
        Subject::Provider { name } => actors.iter().any(|a| a.prv == *name),
        Subject::Task { id } => under.path.contains(id),
        Subject::Principal { id } => under.principal == *id,
        Subject::Server { name } => under.server.as_ref() == Some(name),
        Subject::Key { id } => under.key == *id,
        Subject::Gateway { .. } => false,
    }
}

fn check(stops: &StopSet, under: &Under, token: Option<Shown>) -> bool {
    let lineage = Lineage {
        actors: &under.actors,
        path: &under.path,
        principal: Some(&under.principal),
        server: under.server.as_ref(),
        keys: std::slice::from_ref(&under.key),
        token,
        ..Lineage::NONE
    };
    stops.check_at_home(&lineage).is_ok()
}

struct Token {
    under: Under,
    shown: Shown,
    /// Something that it was issued under was resumed since.
    void: bool,
}

struct World {
    folder: tempfile::TempDir,
    store: SqliteStore,
    seen: [(Versions, StopSet); 2],
    now: Timestamp,
    suspended: Vec<Subject>,
    tokens: Vec<Token>,
    drawn: u64,
}

impl World {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = SqliteStore::open(&folder.path().join("store"), [7; 16], NOW).unwrap();
        let seen = (
            store.versions().await.unwrap(),
            store.stops(NOW).await.unwrap(),
        );
        Self {
            folder,
            store,
            seen: [seen.clone(), seen],
            now: NOW,
            suspended: Vec::new(),
            tokens: Vec::new(),
            drawn: 0,
        }
    }

    fn draw(&mut self) -> TokenId {
        self.drawn += 1;
        let mut random = [0; 10];
        random[..8].copy_from_slice(&self.drawn.to_be_bytes());
        TokenId::new(self.now, random)
    }

    async fn take(&mut self, step: Step) {
        match step {
            Step::Look(who) => self.look(who).await,
            Step::Issue(who, under, shown) => self.issue(who, under, shown).await,
            Step::Suspend(subject) => self.suspend(subject).await,
            Step::Resume(which) if !self.suspended.is_empty() => {
                let at = which.index(self.suspended.len());
                self.resume(at).await;
            }
            Step::Resume(_) => {}
            Step::Other => {
                let (token, until) = (self.draw(), self.now);
                self.change(Change::RevokeToken { token, until }).await;
            }
            Step::Clock(seconds) => self.now = NOW.plus(Duration::from_secs(seconds)),
            Step::Restart => self.restart().await,
        }
    }

    async fn look(&mut self, who: usize) {
        let stops = self.store.stops(self.now).await.unwrap();
        let versions = self.store.versions().await.unwrap();
        self.seen[who] = (versions, stops);
    }

    /// Decided on what `who` saw, however long ago; stored only if that still bears.
    async fn issue(&mut self, who: usize, under: Under, shown: Option<prop::sample::Index>) {
        let parent = shown
            .and_then(|shown| (!self.tokens.is_empty()).then(|| shown.index(self.tokens.len())));
        let (versions, stops) = self.seen[who].clone();
        let asks = parent.map(|at| &self.tokens[at]);
        let free = asks.is_none_or(|token| check(&stops, &token.under, Some(token.shown)));
        if !free || !check(&stops, &under, None) {
            return;
        }
        let id = self.draw();
        let what = What::Issued {
            token_kind: "access".to_owned(),
            audience: "https://records.acme.example".to_owned(),
            expires_at: self.now.plus(Duration::from_secs(300)),
            key: under.key.clone(),
            scope: None,
        };
        let unit = Unit {
            expect: Some(versions),
            events: vec![Event::new(self.now, what, Decision::Allowed)],
            ..Unit::default()
        };
        match self.store.commit(unit).await {
            Ok(_) => {}
            Err(CommitError::Conflict(Conflict::Versions(_))) => return,
            Err(why) => panic!("{why}"),
        }
        let shown = Shown {
            id,
            stops: versions.stops,
        };
        let stopped = self
            .suspended
            .iter()
            .any(|subject| is_under(&under, subject));
        assert!(!stopped, "issued under what is suspended");
        if let Some(at) = parent {
            assert!(!self.tokens[at].void, "issued for a token that is void");
        }
        let void = false;
        self.tokens.push(Token { under, shown, void });
    }

    async fn suspend(&mut self, subject: Subject) {
        let suspension = Suspension {
            subject: subject.clone(),
            reason: "INC-1".to_owned(),
            operator: Principal::parse("operator:root").unwrap(),
            version: StopVersion::default(),
            at: self.now,
        };
        self.change(Change::Suspend(suspension)).await;
        if !self.suspended.contains(&subject) {
            self.suspended.push(subject);
        }
    }

    async fn resume(&mut self, at: usize) {
        let subject = self.suspended.remove(at);
        self.change(Change::Resume(subject.clone())).await;
        for token in &mut self.tokens {
            token.void |= is_under(&token.under, &subject);
        }
    }

    async fn change(&self, change: Change) {
        let unit = Unit {
            changes: vec![change],
            events: vec![Event::new(self.now, told(), Decision::Noted)],
            ..Unit::default()
        };
        self.store.commit(unit).await.unwrap();
    }

    async fn restart(&mut self) {
        self.store.close().await;
        let path = self.folder.path().join("store");
        self.store = SqliteStore::open(&path, [7; 16], self.now).unwrap();
    }

    async fn check(&self) {
        let stops = self.store.stops(self.now).await.unwrap();
        for token in &self.tokens {
            let stopped = |subject| is_under(&token.under, subject);
            let good = !token.void && !self.suspended.iter().any(stopped);
            let held = check(&stops, &token.under, Some(token.shown));
            assert_eq!(held, good, "{:?} at {:?}", token.shown, stops);
        }
    }
}

async fn play(steps: Vec<Step>) {
    let mut world = World::new().await;
    for step in steps {
        world.take(step).await;
        world.check().await;
    }
    world.store.close().await;
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn nothing_issued_before_a_resumption_is_good_after_it_and_everything_after_is(
        steps in proptest::collection::vec(step(), 1..60),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(play(steps));
    }
}

/// What a record of no consequence says.
fn told() -> What {
    let message = "the time".to_owned();
    What::Alarm { message }
}
