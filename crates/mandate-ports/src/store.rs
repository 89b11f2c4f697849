//! The authority's state: read as values, changed only by a [`Unit`] with its records.

use async_trait::async_trait;
use mandate_audit::{Event, SpoolKey};
use mandate_model::mandate::Budget;
use mandate_model::stop::{StopSet, Subject, Suspension};
use mandate_model::task::{Task, TaskState};
use mandate_model::{
    BundleVersion, GatewayId, Instance, KeyId, KeysVersion, Principal, StopVersion, StoreEpoch,
    TaskId, Thumbprint, Timestamp, TokenId,
};

use crate::{KeyRecord, KeyState, LogReceipt, SpoolHead};

/// The versions that a decision was made against.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Versions {
    /// The store's birth mark.
    pub epoch: StoreEpoch,
    /// The stops.
    pub stops: StopVersion,
    /// The bundle.
    pub bundle: BundleVersion,
    /// The key sets.
    pub keys: KeysVersion,
}

/// One change, whole or not at all, and the records that tell of it.
///
/// The store checks `expect`, `live_tasks` and `shown_tokens` inside the transaction (B4): if what
/// the decision rests on has moved since it was made, nothing is stored and the decision is made
/// again.
#[derive(Debug, Default)]
pub struct Unit {
    /// The versions that must still be the current ones; `None` where they do not matter (a record
    /// of a refusal, a suspension).
    ///
    /// Epoch, bundle and keys must be exactly these. Of the stops, only suspensions bear on every
    /// decision: `stops` must not be older than the last [`Change::Suspend`] or [`Change::Resume`],
    /// nor newer than the store's own. Tasks that ended and tokens that were revoked since move the
    /// stop version and are no conflict by themselves: any agent brings those about at will, and
    /// everyone else's decisions would never hold. Whoever decides names the tasks and tokens that
    /// the decision rests on in `live_tasks` and `shown_tokens`.
    pub expect: Option<Versions>,
    /// Tasks that must be open and unexpired at `at`, with every ancestor.
    pub live_tasks: Vec<(TaskId, Timestamp)>,
    /// Tokens that the decision rests on: a revoked one is a [`Conflict::TokenRevoked`].
    pub shown_tokens: Vec<TokenId>,
    /// What the decision takes for the keys of instances: an instance with another live key, or with
    /// one where `key` is `None`, is a [`Conflict::KeyReplaced`] (A5).
    pub held_keys: Vec<HeldKey>,
    /// What changes, in order.
    pub changes: Vec<Change>,
    /// What is recorded. Empty only where there is nothing to tell. The `version` of a `suspended`
    /// or `resumed` event is replaced by the one that the change in this unit got.
    pub events: Vec<Event>,
}

/// One thing that changes.
#[derive(Debug)]
pub enum Change {
    /// A root task begins, with the budget of its mandate whole. An id that is already a task's is
    /// a [`Conflict::Used`]; so it is for a delegated task and a key.
    OpenTask(Box<Task>),
    /// A task is delegated. Its budget is taken from what its parent has left, and one child more
    /// is counted against the parent's `max_children`; too little left is a [`Conflict::Budget`].
    DelegateTask(Box<Task>),
    /// A task ends, with all below it that is still open (those are `cancelled`); one that has ended
    /// before is a [`Conflict::TaskNotLive`]. What is left of its budget returns to its
    /// parent. Moves the stop version; until `until`, tokens of it could still be valid.
    EndTask {
        /// The task.
        task: TaskId,
        /// `Closed` or `Cancelled`.
        state: TaskState,
        /// When every token of it has expired.
        until: Timestamp,
    },
    /// One access token is issued from a task with a limited number of accesses: `count` is taken
    /// from what the task has left, or [`Conflict::Budget`] (A8). A task without a limit is left as
    /// it is.
    ReserveAccesses {
        /// The task.
        task: TaskId,
        /// How many accesses the token is good for.
        count: u64,
    },
    /// The first instance that acts in a task is the only one from then on (A5). Another one, or one
    /// of that name of another provider, is a [`Conflict::Pinned`].
    PinInstance {
        /// The task.
        task: TaskId,
        /// The instance.
        instance: Instance,
    },
    /// An instance attested with a key, which is its live one from then on (A5). With the one that it
    /// has it keeps it longer. If its live key is neither `key` nor the one that `holder` takes for it,
    /// or if `key` was replaced before, it is a [`Conflict::KeyReplaced`]. What is bound to a key that is replaced is
    /// void; that moves the stop version.
    BindKey {
        /// The instance, and what its live key is taken for.
        holder: HeldKey,
        /// The key.
        key: Thumbprint,
        /// When everything bound to `key` so far has expired.
        until: Timestamp,
    },
    /// An identifier is used for the first and only time; a second time is a [`Conflict::Used`].
    UseOnce {
        /// The kind of identifier: `id-token/<agent>`, `client-assertion`, …
        scope: String,
        /// The identifier, or a digest of it.
        id: String,
        /// When it may be forgotten.
        until: Timestamp,
    },
    /// A suspension begins. `version` in it is replaced by the one that it gets. Of a subject that is
    /// suspended already, the first suspension stays as it is; the operator counts as one who
    /// suspended it too ([`StateReader::suspenders`]), and the stop version moves.
    Suspend(Suspension),
    /// A suspension ends; if there is none, [`Conflict::NotSuspended`]. Whatever was issued under the
    /// subject before is void from now on ([`Resumption`](mandate_model::stop::Resumption)): the store
    /// keeps that at least until the last token has expired that it recorded as issued, whatever any
    /// clock says.
    Resume(Subject),
    /// Everything that was ever issued is void, operators' sessions too, as if everything and every key
    /// had been suspended and resumed; and the stop version moves past `beyond`. For a store that went back: what it lost may be of stop
    /// versions that it has not reached again.
    VoidAll {
        /// A stop version that the next one must be above.
        beyond: StopVersion,
        /// When the last token that the store does not know of has expired.
        until: Timestamp,
    },
    /// A token is void from now on.
    RevokeToken {
        /// The token.
        token: TokenId,
        /// When it has expired anyway.
        until: Timestamp,
    },
    /// A bundle becomes live, if `base` is the live one; otherwise [`Conflict::Bundle`].
    ApplyBundle {
        /// The version that the operator saw.
        base: BundleVersion,
        /// The documents.
        record: BundleRecord,
    },
    /// A key is added. Moves the keys version.
    AddKey(KeyRecord),
    /// A key changes its state. Moves the keys version. A retired key's private part is wiped; so is
    /// that of a key of the log that signs no more, which is never retired.
    SetKeyState {
        /// The key.
        key: KeyId,
        /// Its new state.
        state: KeyState,
        /// Since when.
        since: Timestamp,
    },
    /// A gateway got a lease, announced its spool's head and the versions that it has applied.
    RenewGateway(GatewayRecord),
    /// Shipped records, in order. One with a known key and the same bytes is skipped; with other
    /// bytes it is kept out of the log and an alarm is recorded instead (C2).
    Ingest(Vec<ShippedRecord>),
}

/// What is taken for the live key of an instance at a moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeldKey {
    /// The instance.
    pub instance: Instance,
    /// Its live key; `None` if it has none.
    pub key: Option<Thumbprint>,
    /// The moment.
    pub at: Timestamp,
}

/// A record of a gateway's spool on its way into the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShippedRecord {
    /// Its name.
    pub key: SpoolKey,
    /// Its bytes: a canonical event that names the same key.
    pub event: Vec<u8>,
    /// The spool's hash chain after it, base64url.
    pub chain: String,
}

/// What became of shipped records.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Ingested {
    /// New in the log.
    pub added: u64,
    /// Already there.
    pub known: u64,
    /// Refused: same key, other bytes, or a gap before it.
    pub alarms: u64,
    /// The first number that the log does not have of the spool of the last record; `None` if no
    /// records were shipped. A refused record holds it: what follows in the chain waits behind.
    pub next: Option<u64>,
}

/// A bundle as it was applied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BundleRecord {
    /// The files: name within the bundle's folder, and text; sorted by name.
    pub files: Vec<(String, String)>,
    /// SHA-256 over them, hex.
    pub digest: String,
    /// Who applied it.
    pub operator: Principal,
    /// When.
    pub at: Timestamp,
}

/// A gateway as the authority knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GatewayRecord {
    /// The instance.
    pub id: GatewayId,
    /// The length of the lease granted, in milliseconds.
    pub lease_ms: u64,
    /// When it was granted, by the authority's wall clock: for people to read, never compared.
    pub at: Timestamp,
    /// The stop version that it has acknowledged.
    pub stops: StopVersion,
    /// Its spool's head as last announced.
    pub head: SpoolHead,
}

/// What a committed unit leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Committed {
    /// One receipt per event, in order.
    pub receipts: Vec<LogReceipt>,
    /// The versions after it.
    pub versions: Versions,
    /// What became of shipped records, if there were any.
    pub ingested: Ingested,
}

/// Why a unit was not committed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CommitError {
    /// The world has moved: decide again.
    #[error("{0}")]
    Conflict(#[from] Conflict),
    /// The store failed. The unit is stored whole or not at all; reading tells which.
    #[error("{0}")]
    Store(#[from] StoreError),
}

/// What a unit collided with. Nothing of it was stored.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Conflict {
    /// A version has moved since the decision.
    #[error("the stops, the bundle or the keys have changed since this was decided")]
    Versions(Versions),
    /// A task, or an ancestor of it, is not open any more.
    #[error("task {0} is not open any more")]
    TaskNotLive(TaskId),
    /// A token that was shown is revoked.
    #[error("token {0} was revoked")]
    TokenRevoked(TokenId),
    /// The task is not known.
    #[error("there is no task {0}")]
    NoTask(TaskId),
    /// The parent has too little of its budget left.
    #[error("the parent task has too little of its budget left")]
    Budget {
        /// What it has left.
        remaining: Budget,
    },
    /// The task is pinned to another instance.
    #[error("task {0} is pinned to another instance")]
    Pinned(TaskId),
    /// The instance has another live key, or the key was replaced before.
    #[error("instance {}/{} has another key by now", .0.provider, .0.id)]
    KeyReplaced(Instance),
    /// The identifier was used before.
    #[error("this token or proof was used before; it is good for one use")]
    Used,
    /// Nothing of the kind is suspended.
    #[error("{0} is not suspended")]
    NotSuspended(Subject),
    /// Another bundle became live in between.
    #[error("bundle version {0} is live by now; look at it and apply again")]
    Bundle(BundleVersion),
    /// There is no such key.
    #[error("there is no key `{0}`")]
    NoKey(KeyId),
}

/// The store failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// The disk is full. Later commits may succeed.
    #[error("the store's disk is full")]
    Full,
    /// It cannot be written or read now. Later calls may succeed.
    #[error("the store is unavailable: {0}")]
    Unavailable(String),
    /// What it holds contradicts itself. Nobody should go on.
    #[error("the store is damaged: {0}")]
    Damaged(String),
}

/// The one writer.
#[async_trait]
pub trait Writer: Send + Sync {
    /// Commits `unit`, records included, durably. Concurrent units are grouped, so that one sync
    /// serves many; each is atomic by itself and sees the ones before it.
    ///
    /// On `Err(Conflict)` nothing is stored. On `Err(Store)` it is stored whole or not at all, and
    /// reading tells which.
    async fn commit(&self, unit: Unit) -> Result<Committed, CommitError>;
}

/// Reads committed state. Each call sees one moment; two calls may see two.
#[async_trait]
pub trait StateReader: Send + Sync {
    /// The current versions.
    async fn versions(&self) -> Result<Versions, StoreError>;

    /// All stops in force; of resumptions, ended tasks and revoked tokens at least those that could
    /// still matter at `now`. Nothing is left out on the word of `now` alone: a clock that jumped forward and back
    /// must not bring a revoked token back. A store forgets what has long expired by a time that held.
    async fn stops(&self, now: Timestamp) -> Result<StopSet, StoreError>;

    /// Every operator who suspended exactly `subject` since it was last resumed, the first one first;
    /// none if it is not suspended. A store that remembers only the first one must not be used where
    /// a second operator is asked for.
    async fn suspenders(&self, subject: &Subject) -> Result<Vec<Principal>, StoreError> {
        let stops = self.stops(Timestamp::from_secs(0)).await?;
        let first = stops.suspension(subject).map(|s| s.operator.clone());
        Ok(first.into_iter().collect())
    }

    /// A bundle: the live one, or an earlier version.
    async fn bundle(
        &self,
        version: Option<BundleVersion>,
    ) -> Result<Option<(BundleVersion, BundleRecord)>, StoreError>;

    /// A task.
    async fn task(&self, id: TaskId) -> Result<Option<Task>, StoreError>;

    /// The live key of an instance at `at` (A5); `None` if it has none.
    async fn live_key(
        &self,
        instance: &Instance,
        at: Timestamp,
    ) -> Result<Option<Thumbprint>, StoreError>;

    /// A task and all below it, parents before children.
    async fn subtree(&self, id: TaskId) -> Result<Vec<Task>, StoreError>;

    /// Every key that is not retired.
    async fn keys(&self) -> Result<Vec<KeyRecord>, StoreError>;

    /// Every gateway that ever had a lease.
    async fn gateways(&self) -> Result<Vec<GatewayRecord>, StoreError>;
}
