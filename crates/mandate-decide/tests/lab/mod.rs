//! A small world for exchanges: a bundle, keys, and a map in place of the store. It does what the
//! authority's shell does, and nothing more.

#![allow(
    dead_code,
    clippy::unwrap_used,
    clippy::panic,
    unreachable_pub,
    missing_docs,
    reason = "shared by several test programs, each of which uses a part"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
use mandate_decide::Lifetimes;
use mandate_decide::exchange::{
    AuthenticatedClient, Effect, Evident, ExchangeError, Fresh, Grant, Keyed, Step, TaskSubject,
    Vouched, World, access, attest, attest_hosted, authenticate, delegate, open, parse, renew,
    resume_by_opener, resume_by_parent, verify_task_token,
};
use mandate_model::stop::{StopSet, Subject, Suspension};
use mandate_model::task::{Task, TaskState};
use mandate_model::{
    AgentTypeName, AttestationKind, BundleVersion, Instance, InstanceId, KeyId, Principal,
    ProviderName, StopVersion, TaskId, Thumbprint, Timestamp, TokenId, TrustDomain,
};
use mandate_policy::{Bundle, LoadEnv, SourceFile, load};
use mandate_token::dpop::{
    DpopProof, HttpTarget, ProofFor, ProofRequest, UnsignedProof, UnverifiedProof,
};
use mandate_token::{Issuer, KeySet, KeyUse, VerifyEach};

pub const TXN: &str = "urn:ietf:params:oauth:token-type:txn_token";
pub const JWT: &str = "urn:ietf:params:oauth:token-type:jwt";
pub const GRANT: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
pub const ASSERTION: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-spiffe";

pub const BUNDLE: &str = include_str!("bundle.yaml");

/// Why an exchange gave nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refused {
    /// The chain of steps refused it.
    Exchange(ExchangeError),
    /// The store did: the parent has too little of its budget left, or the task was pinned.
    Conflict,
}

impl From<ExchangeError> for Refused {
    fn from(why: ExchangeError) -> Self {
        Refused::Exchange(why)
    }
}

pub struct Lab {
    pub bundle: Bundle,
    pub stops: StopSet,
    pub now: Timestamp,
    pub tasks: BTreeMap<TaskId, Task>,
    pub used: BTreeSet<(String, String)>,
    pub live_keys: BTreeMap<Instance, Thumbprint>,
    /// The proof beside each exchange that says nothing else.
    pub showing: Option<DpopProof>,
    /// What was recorded, the earliest first.
    pub events: Vec<mandate_audit::Event>,
    pub issuer: Issuer,
    pub domain: TrustDomain,
    lifetimes: Lifetimes,
    keys: KeySet,
    svid_key: EcdsaKeyPair,
    oauth_key: EcdsaKeyPair,
    drawn: u64,
}

impl Lab {
    pub fn new() -> Self {
        Self::with_bundle(BUNDLE)
    }

    pub fn with_bundle(text: &str) -> Self {
        let domain = TrustDomain::parse("acme.example").unwrap();
        let issuer = Issuer::parse("http://127.0.0.1:7701").unwrap();
        let now = Timestamp::from_secs(1_800_000_000);
        let (svid_key, oauth_key) = (key_pair(), key_pair());
        let point = |pair: &EcdsaKeyPair| pair.public_key().as_ref().to_vec();
        let keys = KeySet::new([
            (
                KeyId::parse("svid").unwrap(),
                KeyUse::Svid,
                point(&svid_key),
            ),
            (
                KeyId::parse("oauth").unwrap(),
                KeyUse::Oauth,
                point(&oauth_key),
            ),
        ])
        .unwrap();
        Self {
            bundle: bundle(text, &domain, &issuer, now),
            stops: StopSet::default(),
            now,
            tasks: BTreeMap::new(),
            used: BTreeSet::new(),
            live_keys: BTreeMap::new(),
            showing: None,
            events: Vec::new(),
            issuer,
            domain,
            lifetimes: Lifetimes::default(),
            keys,
            svid_key,
            oauth_key,
            drawn: 0,
        }
    }

    pub fn world(&self) -> World<'_> {
        World {
            now: self.now,
            issuer: &self.issuer,
            trust_domain: &self.domain,
            bundle: &self.bundle,
            bundle_version: BundleVersion::new(1),
            stops: &self.stops,
            keys: &self.keys,
            signatures: &VerifyEach,
            lifetimes: &self.lifetimes,
        }
    }

    pub fn apply(&mut self, text: &str) {
        self.bundle = bundle(text, &self.domain, &self.issuer, self.now);
    }

    pub fn advance(&mut self, by: Duration) {
        self.now = self.now.plus(by);
    }

    pub fn suspend(&mut self, subject: Subject) {
        let version = self.stops.version().next();
        let operator = Principal::parse("operator:root").unwrap();
        let reason = "test".to_owned();
        let new = Suspension {
            subject,
            reason,
            operator,
            version,
            at: self.now,
        };
        let all: Vec<_> = self.stops.suspensions().cloned().chain([new]).collect();
        self.stops = StopSet::of_suspensions(version, all);
    }

    pub fn stops_version(&self) -> StopVersion {
        self.stops.version()
    }

    pub fn fresh(&mut self) -> Fresh {
        self.drawn += 1;
        let mut random = [0; 10];
        random[2..].copy_from_slice(&self.drawn.to_be_bytes());
        Fresh {
            task: TaskId::new(self.now, random),
            token: TokenId::new(self.now, random),
        }
    }

    /// A JWT-SVID for the issuer, of an attested instance.
    pub fn svid(&mut self, agent: &str, instance: &str) -> String {
        self.attest(agent, instance, None).unwrap().0
    }

    /// Attests an instance, with `proof` of a key where it brings one. `process` vouches for it, or
    /// who is named before a slash.
    pub fn attest(
        &mut self,
        agent: &str,
        instance: &str,
        proof: Option<&DpopProof>,
    ) -> Result<(String, serde_json::Value), Refused> {
        let (provider, instance) = instance.split_once('/').unwrap_or(("process", instance));
        let evident = Evident {
            agent: AgentTypeName::parse(agent).unwrap(),
            provider: ProviderName::parse(provider).unwrap(),
            instance: InstanceId::parse(instance).unwrap(),
            kind: AttestationKind::Process,
            facts: BTreeMap::new(),
            once: None,
        };
        let fresh = self.fresh();
        let known = Instance {
            provider: evident.provider.clone(),
            id: evident.instance.clone(),
        };
        let live = self.live_keys.get(&known).copied();
        let keyed = Keyed { proof, live };
        let grant = attest(evident, keyed, None, None, &self.world(), &fresh)?;
        self.commit(grant)
    }

    /// A proof of `key` for the token endpoint: what only a holder of it can make.
    pub fn proof(&mut self, key: &EcdsaKeyPair) -> DpopProof {
        self.drawn += 1;
        let target = HttpTarget::parse("http://127.0.0.1:7701/token").unwrap();
        let point: [u8; 65] = key.public_key().as_ref().try_into().unwrap();
        let unsigned = UnsignedProof::of(&ProofRequest {
            point: &point,
            jti: &self.drawn.to_string(),
            method: "POST",
            target: &target,
            now: self.now,
            access_token: None,
            task_token: None,
            nonce: None,
        });
        let signature = key.sign(&SystemRandom::new(), unsigned.signing_input());
        let text = unsigned.assemble(signature.unwrap().as_ref().try_into().unwrap());
        let request = ProofFor {
            method: "POST",
            target: &target,
            access_token: None,
            task_token: None,
        };
        let unverified = UnverifiedProof::parse(&text).unwrap();
        unverified.verify(&request, self.now).unwrap()
    }

    /// Runs one exchange of a form, as the shell does; the token, and the whole response.
    pub fn exchange(
        &mut self,
        svid: &str,
        pairs: &[(&str, &str)],
    ) -> Result<(String, serde_json::Value), Refused> {
        let proof = self.showing.clone();
        self.exchange_with(svid, proof.as_ref(), pairs)
    }

    /// [`exchange`](Self::exchange) beside a proof.
    pub fn exchange_with(
        &mut self,
        svid: &str,
        proof: Option<&DpopProof>,
        pairs: &[(&str, &str)],
    ) -> Result<(String, serde_json::Value), Refused> {
        let mut form = vec![
            ("grant_type".to_owned(), GRANT.to_owned()),
            ("client_assertion_type".to_owned(), ASSERTION.to_owned()),
            ("client_assertion".to_owned(), svid.to_owned()),
        ];
        form.extend(
            pairs
                .iter()
                .map(|(k, v)| ((*k).to_owned(), (*v).to_owned())),
        );
        let parsed = parse(form, &self.domain)?;
        let fresh = self.fresh();
        let world = self.world();
        let client = authenticate(parsed.client_assertion.as_deref(), proof, &world)?;
        client.check_id(parsed.client_id.as_deref())?;
        let grant = self.grant(&client, parsed.step, &fresh)?;
        self.commit(grant)
    }

    fn grant(
        &self,
        client: &AuthenticatedClient,
        step: Step,
        fresh: &Fresh,
    ) -> Result<Grant, ExchangeError> {
        let world = &self.world();
        let subject = |token: &str| {
            let subject = verify_task_token(token, world)?;
            let line = self.line(&subject);
            subject.confirm(&line, world)
        };
        match step {
            Step::Attest { .. } => panic!("evidence comes from a connection"),
            Step::AttestHosted {
                hosted,
                audience,
                subject_token,
            } => attest_hosted(
                client,
                &hosted,
                &subject_token,
                audience.as_deref(),
                world,
                fresh,
            ),
            Step::Open(asked) => open(client, &asked, None, world, fresh),
            Step::Delegate(asked) => delegate(
                client,
                &asked,
                &subject(&asked.subject_token)?,
                world,
                fresh,
            ),
            Step::Renew {
                subject_token,
                entries,
                scope,
            } => {
                let subject = subject(&subject_token)?;
                renew(
                    client,
                    &subject,
                    entries.as_ref(),
                    scope.as_deref(),
                    world,
                    fresh,
                )
            }
            Step::Resume(asked) => {
                let task = self.tasks.get(&asked.task).unwrap();
                if asked.by_parent {
                    let parent = subject(&asked.subject_token)?;
                    resume_by_parent(client, &parent, task, world, fresh)
                } else {
                    resume_by_opener(client, &asked.subject_token, task, world, fresh)
                }
            }
            Step::Access {
                subject_token,
                resource,
                scope,
                entries,
            } => {
                let subject = subject(&subject_token)?;
                let asked = (entries.as_ref(), scope.as_deref());
                access(client, &subject, &resource, asked, world, fresh)
            }
        }
    }

    pub fn commit(&mut self, grant: Grant) -> Result<(String, serde_json::Value), Refused> {
        let is_svid = grant.is_svid();
        let (id, pair) = if is_svid {
            ("svid", &self.svid_key)
        } else {
            ("oauth", &self.oauth_key)
        };
        let id = KeyId::parse(id).unwrap();
        let sign = |message: &[u8]| {
            let signature = pair.sign(&SystemRandom::new(), message).unwrap();
            let signature = signature.as_ref().try_into().unwrap();
            Ok::<(Vouched, [u8; 64]), std::convert::Infallible>((Vouched::No, signature))
        };
        let mut sealed = grant.seal(&id, &self.keys, self.now, sign).unwrap();
        let parts = sealed.take_parts();
        for task in &parts.live_tasks {
            assert!(self.tasks.contains_key(task) || parts.effects.iter().any(|e| opens(e, task)));
        }
        let before = self.tasks.clone();
        if let Some((instance, key)) = &parts.held
            && self.live_keys.get(instance) != key.as_ref()
        {
            return Err(Refused::Conflict);
        }
        if parts
            .effects
            .into_iter()
            .any(|effect| self.store(effect).is_none())
        {
            self.tasks = before;
            return Err(Refused::Conflict);
        }
        self.events.extend(parts.events);
        let response = sealed.response(self.now);
        let token = response["access_token"].as_str().unwrap().to_owned();
        Ok((token, response))
    }

    /// What the ports promise of each change; `None` for a conflict.
    fn store(&mut self, effect: Effect) -> Option<()> {
        match effect {
            Effect::OpenTask(task) => {
                self.tasks.insert(task.record.id, *task);
            }
            Effect::DelegateTask(task) => {
                let left = &mut self.tasks.get_mut(&task.record.parent?)?.remaining;
                let wanted = task.record.mandate.budget;
                left.max_accesses = take(left.max_accesses, wanted.max_accesses.unwrap_or(0))?;
                left.max_children = take(left.max_children, wanted.max_children.unwrap_or(0) + 1)?;
                self.tasks.insert(task.record.id, *task);
            }
            Effect::PinInstance { task, instance } => {
                self.tasks.get_mut(&task).unwrap().instance = Some(instance);
            }
            Effect::ReserveAccesses { task, count } => {
                let task = self.tasks.get_mut(&task).unwrap();
                task.remaining.max_accesses = take(task.remaining.max_accesses, count)?;
            }
            Effect::BindKey { instance, key, .. } => {
                let old = self.live_keys.insert(instance, key);
                let void = old.filter(|old| *old != key).map(|old| (old, self.now));
                self.stops = self.stops.clone().with_replaced_keys(void);
            }
            Effect::UseOnce { scope, id, .. } => {
                self.used.insert((scope, id)).then_some(())?;
            }
        }
        Some(())
    }

    /// What the store has for the tasks on the path of `subject`.
    fn line(&self, subject: &TaskSubject) -> Vec<Task> {
        let path = subject.path();
        path.filter_map(|id| self.tasks.get(&id).cloned()).collect()
    }

    pub fn end(&mut self, task: TaskId) {
        self.tasks.get_mut(&task).unwrap().state = TaskState::Cancelled;
    }

    pub fn keys(&self) -> &KeySet {
        &self.keys
    }
}

fn take(left: Option<u64>, count: u64) -> Option<Option<u64>> {
    left.map(|n| n.checked_sub(count))
        .map_or(Some(None), |rest| rest.map(Some))
}

fn opens(effect: &Effect, id: &TaskId) -> bool {
    matches!(effect, Effect::OpenTask(t) | Effect::DelegateTask(t) if t.record.id == *id)
}

/// Loading compiles and validates Cedar policies: once per program is enough.
fn bundle(text: &str, domain: &TrustDomain, issuer: &Issuer, now: Timestamp) -> Bundle {
    static LOADED: std::sync::Mutex<BTreeMap<String, Bundle>> =
        std::sync::Mutex::new(BTreeMap::new());
    let mut loaded = LOADED.lock().unwrap();
    let load = || load_bundle(text, domain, issuer, now);
    loaded.entry(text.to_owned()).or_insert_with(load).clone()
}

fn load_bundle(text: &str, domain: &TrustDomain, issuer: &Issuer, now: Timestamp) -> Bundle {
    let file = SourceFile {
        name: "bundle.yaml".to_owned(),
        text: text.to_owned(),
    };
    let env = LoadEnv {
        trust_domain: domain.clone(),
        issuer: issuer.to_string(),
    };
    match load(&[file], &env, now) {
        Ok(loaded) => loaded.bundle,
        Err(mistakes) => panic!("{mistakes:#?}"),
    }
}

pub fn key_pair() -> EcdsaKeyPair {
    EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap()
}
