//! Pieces of claims that several kinds write alike.

use mandate_model::mandate::{Entries, RawEntry, parse_entries};
use mandate_model::{
    ActChain, ActorLevel, AttestationKind, Host, InstanceId, ProviderName, SpiffeId, Timestamp,
    Trigger,
};
use mandate_model::{TaskId, mandate::MAX_DEPTH, task::TaskPath};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::{
    ActingChain, Audience, BuildError, Limit, Part, Scope, TokenError, parse_scope, strict,
};

/// Reads claims, strictly.
pub(crate) fn read<T: DeserializeOwned>(json: &[u8]) -> Result<T, TokenError> {
    strict::from_slice(json).map_err(|problem| TokenError::Json {
        part: Part::Claims,
        problem,
    })
}

pub(crate) fn write<T: Serialize>(wire: &T) -> Result<Vec<u8>, BuildError> {
    serde_json::to_vec(wire).map_err(|_| BuildError::Encoding)
}

/// `aud` as it comes. A list is read only to be refused by name.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
pub(crate) enum WireAudience {
    One(Audience),
    List(Vec<Audience>),
}

impl WireAudience {
    /// The audience, where it is written as one string (A4).
    pub(crate) fn single(self) -> Result<Audience, TokenError> {
        match self {
            WireAudience::One(audience) => Ok(audience),
            WireAudience::List(_) => Err(TokenError::SeveralAudiences),
        }
    }

    /// The audience, where it is one string or a list of one: what RFC 10070 allows a client
    /// assertion.
    pub(crate) fn single_or_list_of_one(self) -> Result<Audience, TokenError> {
        match self {
            WireAudience::One(audience) => Ok(audience),
            WireAudience::List(list) => match <[Audience; 1]>::try_from(list) {
                Ok([audience]) => Ok(audience),
                Err(_) => Err(TokenError::SeveralAudiences),
            },
        }
    }
}

/// One level of `act` with those below it (RFC 8693 §4.1).
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct WireAct {
    sub: SpiffeId,
    inst: InstanceId,
    prv: ProviderName,
    att: AttestationKind,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    host: Option<Host>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    act: Option<Box<WireAct>>,
}

impl WireAct {
    /// `chain` nested, the latest level outermost; `None` for an empty chain.
    pub(crate) fn nest(chain: &ActChain) -> Option<Box<Self>> {
        Self::nest_levels(chain.levels())
    }

    /// `acting` nested, the acting agent outermost.
    pub(crate) fn acting(acting: &ActingChain) -> Box<Self> {
        let delegators = acting.levels().get(1..).unwrap_or_default();
        Box::new(Self::level(acting.actor(), Self::nest_levels(delegators)))
    }

    fn nest_levels(levels: &[ActorLevel]) -> Option<Box<Self>> {
        let nest = |act, level| Some(Box::new(Self::level(level, act)));
        levels.iter().rev().fold(None, nest)
    }

    fn level(level: &ActorLevel, act: Option<Box<Self>>) -> Self {
        let ActorLevel {
            sub,
            inst,
            prv,
            att,
            host,
        } = level.clone();
        Self {
            sub,
            inst,
            prv,
            att,
            host,
            act,
        }
    }

    /// The acting chain whose outermost level is also the client (RFC 8693 §4.3).
    pub(crate) fn into_acting(
        outermost: Box<Self>,
        client: &SpiffeId,
    ) -> Result<ActingChain, TokenError> {
        let rule = TokenError::Contradiction("`client_id` is the outermost `act`");
        match ActingChain::new(Self::flatten(Some(outermost))?) {
            Some(acting) if acting.actor().sub == *client => Ok(acting),
            Some(_) | None => Err(rule),
        }
    }

    pub(crate) fn flatten(outermost: Option<Box<Self>>) -> Result<ActChain, TokenError> {
        let mut levels = Vec::new();
        let mut next = outermost;
        while let Some(level) = next {
            let WireAct {
                sub,
                inst,
                prv,
                att,
                host,
                act,
            } = *level;
            let level = ActorLevel {
                sub,
                inst,
                prv,
                att,
                host,
            };
            levels.push(level);
            next = act;
        }
        ActChain::from_levels(levels).ok_or(TokenError::TooLarge(Limit::ActLevels))
    }
}

/// A hosted agent names its host, and nobody else does (A6).
pub(crate) fn check_level(level: &ActorLevel) -> Result<(), TokenError> {
    if (level.att == AttestationKind::Hosted) == level.host.is_some() {
        Ok(())
    } else {
        let rule = "an agent has a `host` exactly where `att` is `hosted`";
        Err(TokenError::Contradiction(rule))
    }
}

pub(crate) fn check_levels(chain: &ActChain) -> Result<(), TokenError> {
    chain.levels().iter().try_for_each(check_level)
}

/// Why the work began: the same on every token of a task tree.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct WireTctx {
    pub(crate) trigger: Trigger,
    pub(crate) purpose: String,
}

/// Entries whose summary in `scope` agrees with them (A10).
pub(crate) fn entries(details: Vec<RawEntry>, claimed: &str) -> Result<Entries, TokenError> {
    let entries = parse_entries(details)?;
    if scope(claimed)? == Scope::of(&entries) {
        Ok(entries)
    } else {
        Err(TokenError::Scope)
    }
}

pub(crate) fn scope(text: &str) -> Result<Scope, TokenError> {
    parse_scope(text).map_err(|_| TokenError::Scope)
}

/// The path whose last id is `leaf` and whose first is `root`.
pub(crate) fn path(ids: Vec<TaskId>, root: TaskId, leaf: TaskId) -> Result<TaskPath, TokenError> {
    if ids.len() > usize::from(MAX_DEPTH) {
        return Err(TokenError::TooLarge(Limit::PathDepth));
    }
    let path = TaskPath::try_from(ids)
        .map_err(|_| TokenError::Contradiction("the ids of `task.path` are all different"))?;
    if path.root() != root {
        return Err(TokenError::Contradiction("`task.path` begins with `txn`"));
    }
    if path.leaf() != leaf {
        return Err(TokenError::Contradiction("`task.path` ends with `task.id`"));
    }
    Ok(path)
}

/// No token outlives its task (A3).
pub(crate) fn check_within_task(token: Timestamp, task: Timestamp) -> Result<(), TokenError> {
    if token <= task {
        Ok(())
    } else {
        Err(TokenError::Contradiction(
            "`exp` is not after `task.expires_at`",
        ))
    }
}

/// `moment` rounded up to a whole second: a beginning never moves to before.
pub(crate) fn ceil_to_secs(moment: Timestamp) -> Timestamp {
    moment
        .plus(std::time::Duration::from_millis(999))
        .floor_to_secs()
}

/// `NumericDate` in whole seconds (RFC 7519 §2).
pub(crate) mod seconds {
    use mandate_model::Timestamp;
    use serde::{Deserialize, Deserializer, Serializer};

    pub(crate) fn serialize<S: Serializer>(t: &Timestamp, out: S) -> Result<S::Ok, S::Error> {
        out.serialize_u64(t.as_secs())
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(json: D) -> Result<Timestamp, D::Error> {
        u64::deserialize(json).map(Timestamp::from_secs)
    }
}

/// An optional `NumericDate`.
pub(crate) mod optional_seconds {
    use mandate_model::Timestamp;
    use serde::{Deserialize, Deserializer, Serializer};

    #[expect(clippy::ref_option, reason = "serde asks for this signature")]
    pub(crate) fn serialize<S: Serializer>(
        t: &Option<Timestamp>,
        out: S,
    ) -> Result<S::Ok, S::Error> {
        match t {
            Some(t) => out.serialize_u64(t.as_secs()),
            None => out.serialize_none(),
        }
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        json: D,
    ) -> Result<Option<Timestamp>, D::Error> {
        u64::deserialize(json).map(|secs| Some(Timestamp::from_secs(secs)))
    }
}
