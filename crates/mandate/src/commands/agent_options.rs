//! What all commands that act as an agent have in common.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use mandate_model::{Secret, SpiffeId};
use mandate_ports::Clock;

use crate::client::agent::{Agent, AgentError, Attested, Open};
use crate::client::holder::{Holder, Prover};
use crate::client::http::Door;
use crate::client::{token_file, words};
use crate::context::Context;
use crate::failure::Failure;
use crate::serve::machine::SystemClock;

/// Where the agents' socket is.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct AgentOptions {
    /// The agents' socket of the server [default: run/agent.sock in --data]
    #[arg(long, env = "MANDATE_AGENT_SOCKET", value_name = "PATH")]
    socket: Option<PathBuf>,
    /// Act with the JWT-SVID in this file instead of attesting this process; `mandate exec` sets it
    #[arg(long, env = "MANDATE_SVID_FILE", value_name = "FILE")]
    svid: Option<PathBuf>,
    /// The socket at which `mandate exec` gives proofs of the key that the JWT-SVID is bound to; it sets it
    #[arg(long, env = "MANDATE_PROOF_SOCKET", value_name = "PATH")]
    prover: Option<PathBuf>,
    /// What this process claims to be; the server refuses if that is not what it sees
    #[arg(long = "as", value_name = "SPIFFE-ID")]
    claim: Option<SpiffeId>,
}

impl AgentOptions {
    /// The agent that this process is, unproved and without a key.
    pub(crate) fn agent(&self, context: &Context) -> Agent {
        Agent::new(self.door(context))
    }

    fn door(&self, context: &Context) -> Door {
        let socket = self.socket.clone();
        Door::Unix(socket.unwrap_or_else(|| context.data.agent_socket()))
    }

    /// What this process claims to be.
    pub(crate) fn claim(&self) -> Option<&SpiffeId> {
        self.claim.as_ref()
    }

    /// The agent that this process is, attested.
    ///
    /// Within `mandate exec` it is the same instance as all else there: each process that attests by
    /// itself is an instance of its own, and a task can be pinned to one.
    /// Elsewhere it brings a key of its own, which dies with this process.
    pub(crate) async fn attest(&self, context: &Context) -> Result<Attested, Failure> {
        let key = Holder::generate().map_err(AgentError::Proof)?;
        let key = Some(Prover::Own(Arc::new(key)));
        self.attest_with(key, context).await
    }

    /// As [`attest`](Self::attest), for a process that hands out what it gets: without a key, for
    /// nobody else would have it.
    pub(crate) async fn attest_bearer(&self, context: &Context) -> Result<Attested, Failure> {
        self.attest_with(None, context).await
    }

    /// As [`attest`](Self::attest), with this key or with none.
    pub(crate) async fn attest_with(
        &self,
        key: Option<Prover>,
        context: &Context,
    ) -> Result<Attested, Failure> {
        let of = |prover: Option<Prover>| match prover {
            Some(prover) => Agent::with_key(self.door(context), prover),
            None => self.agent(context),
        };
        match &self.svid {
            Some(file) => {
                let lent = self.prover.clone();
                let lent = lent.map(|path| Prover::Lent(Door::Unix(path)));
                let svid = token_file::read(file)?;
                Ok(of(lent).with_svid(svid, SystemClock.now()).await?)
            }
            None => Ok(of(key).attest(self.claim.as_ref()).await?),
        }
    }
}

/// A task token, from a file.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct TaskFile {
    /// A file with the task token; `-` is standard input
    #[arg(
        long = "task",
        id = "task_file",
        env = "MANDATE_TOKEN_FILE",
        value_name = "FILE"
    )]
    file: Option<PathBuf>,
}

impl TaskFile {
    /// The token, which must be there.
    pub(crate) fn token(&self) -> Result<Secret<String>, Failure> {
        self.optional()?.ok_or_else(|| {
            Failure::usage(
                "no task token",
                "say where it is: --task FILE, or set MANDATE_TOKEN_FILE (`mandate exec` does)",
            )
        })
    }

    /// The token, if a file is named.
    pub(crate) fn optional(&self) -> Result<Option<Secret<String>>, Failure> {
        self.file.as_deref().map(token_file::read).transpose()
    }
}

/// What a task is opened or delegated with.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Limits {
    /// What it may do: `server:action attribute=value`; repeat for more
    #[arg(long, value_name = "ACCESS")]
    access: Vec<String>,
    /// How long, in seconds
    #[arg(long, value_name = "SECONDS")]
    expires_in: Option<u64>,
    /// How many accesses at most, of the task and all below it
    #[arg(long, value_name = "N")]
    max_accesses: Option<u64>,
    /// How many tasks may be delegated at most, by the task and all below it
    #[arg(long, value_name = "N")]
    max_children: Option<u64>,
}

impl Limits {
    /// `authorization_details`, if any were said.
    pub(crate) fn access(&self) -> Result<Option<serde_json::Value>, Failure> {
        if self.access.is_empty() {
            return Ok(None);
        }
        words::authorization_details(&self.access)
            .map(Some)
            .map_err(|e| Failure::usage(e.to_string(), "`mandate task open --help` has examples"))
    }

    /// Seconds.
    pub(crate) fn expires_in(&self) -> Option<u64> {
        self.expires_in
    }

    /// The budget, if one was said.
    pub(crate) fn budget(&self) -> Option<serde_json::Value> {
        let mut budget = serde_json::Map::new();
        for (name, limit) in [
            ("max_accesses", self.max_accesses),
            ("max_children", self.max_children),
        ] {
            if let Some(limit) = limit {
                budget.insert(name.to_owned(), limit.into());
            }
        }
        (!budget.is_empty()).then_some(serde_json::Value::Object(budget))
    }
}

/// What began a root task.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Cause {
    /// A file with the ID token of the user whom the task is for; `-` is standard input
    #[arg(long, value_name = "FILE", conflicts_with_all = ["schedule", "event"])]
    id_token: Option<PathBuf>,
    /// The schedule that fired
    #[arg(long, value_name = "NAME", conflicts_with = "event")]
    schedule: Option<String>,
    /// The event that arrived
    #[arg(long, value_name = "NAME")]
    event: Option<String>,
    /// Which item of the schedule or event this is about
    #[arg(long, value_name = "ITEM")]
    item: Option<String>,
}

impl Cause {
    /// The request to open a task for `purpose`.
    pub(crate) fn open(&self, purpose: &str, limits: &Limits) -> Result<Open, Failure> {
        if self.id_token.is_none() && self.trigger().is_none() {
            return Err(Failure::usage(
                "a root task needs what began it",
                "say --id-token FILE for a user, or --schedule NAME or --event NAME (with --item ITEM)",
            ));
        }
        let token = |path: &PathBuf| token_file::read(Path::new(path)).map(|t| t.expose().clone());
        Ok(Open {
            purpose: purpose.to_owned(),
            id_token: self.id_token.as_ref().map(token).transpose()?,
            trigger: self.trigger(),
            access: limits.access()?,
            expires_in: limits.expires_in(),
            budget: limits.budget(),
        })
    }

    fn trigger(&self) -> Option<serde_json::Value> {
        let (kind, name) = match (&self.schedule, &self.event) {
            (Some(name), _) => ("schedule", name),
            (None, Some(name)) => ("event", name),
            (None, None) => return None,
        };
        Some(match &self.item {
            Some(item) => serde_json::json!({ "kind": kind, "name": name, "item": item }),
            None => serde_json::json!({ "kind": kind, "name": name }),
        })
    }
}
