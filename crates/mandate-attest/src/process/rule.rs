//! Rules of the bundle against what was seen.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use mandate_model::{AgentTypeName, ProviderName};
use mandate_policy::decl::UserRule;
use mandate_ports::AttestRefusal;
use rustix::fs::{Mode, OFlags, open};

use super::seen::{Hashing, Seen, Undigested, identity};
use super::users;
use super::view::Rule;
use super::writable::Writer;

/// The agent type that a process is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Match {
    pub(super) agent: AgentTypeName,
    pub(super) provider: ProviderName,
    pub(super) weak: bool,
}

/// The check that a rule failed, in the order in which they are made: the later, the nearer.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
enum Unfit {
    #[error("user: {0}")]
    User(String),
    #[error("unit: {0}")]
    Unit(String),
    #[error("path: {0}")]
    Path(String),
    #[error("executable: {0}")]
    Writable(String),
    #[error("sha256: {0}")]
    Sha256(String),
    /// Not known yet: the executable has to be read first.
    #[error("sha256: its executable was not read")]
    Unread,
}

/// Why there is no match.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Unmatched {
    /// A rule fits but for the digest, which is not known yet.
    NeedsDigest,
    /// It is refused.
    Refused(AttestRefusal),
}

impl From<AttestRefusal> for Unmatched {
    fn from(refusal: AttestRefusal) -> Self {
        Unmatched::Refused(refusal)
    }
}

impl From<Unmatched> for AttestRefusal {
    fn from(unmatched: Unmatched) -> Self {
        match unmatched {
            Unmatched::Refused(refusal) => refusal,
            // Whoever may read executables never answers so.
            Unmatched::NeedsDigest => {
                AttestRefusal::Unreadable("its executable was not read".to_owned())
            }
        }
    }
}

/// The one agent type that `seen` fits. Of several rules of one type, a strong one counts.
pub(super) fn best_match(
    rules: &[Rule],
    seen: &Seen,
    hashing: Hashing<'_>,
) -> Result<Match, Unmatched> {
    let mut fitting: Vec<&Rule> = Vec::new();
    let mut nearest: Option<(Unfit, &Rule)> = None;
    for rule in rules {
        match fits(rule, seen, hashing) {
            Ok(()) => fitting.push(rule),
            Err(Unfit::Unread) => return Err(Unmatched::NeedsDigest),
            Err(unfit) if nearest.as_ref().is_none_or(|(n, _)| rank(n) < rank(&unfit)) => {
                nearest = Some((unfit, rule));
            }
            Err(_) => {}
        }
    }
    let agents: BTreeSet<&AgentTypeName> = fitting.iter().map(|rule| &rule.agent).collect();
    if agents.len() > 1 {
        return Err(AttestRefusal::Ambiguous.into());
    }
    let best = fitting.into_iter().min_by_key(|rule| rule.weak);
    let best = best.ok_or_else(|| no_rule(nearest))?;
    check_apart(best, rules, seen.uid)?;
    Ok(matched(best))
}

/// C5: whoever runs as a user can do what else runs as it, so types that share one are told apart
/// only by units of their own, or say themselves that they are not. Loading a bundle refuses the
/// same user written twice; that a name and a number are the same user, or that a unit runs as
/// another type's user, shows only here: `best` fits a process of `uid`, whatever it pins.
pub(super) fn check_apart(best: &Rule, rules: &[Rule], uid: u32) -> Result<(), AttestRefusal> {
    let mut others = rules.iter().filter(|rule| rule.agent != best.agent);
    let sharing = others.find(|other| {
        let both_say_so = best.weak && other.weak;
        is_of(other, uid) && !both_say_so && !has_its_own_unit(best, other)
    });
    match sharing {
        None => Ok(()),
        Some(other) => Err(AttestRefusal::NoRule {
            nearest: format!(
                "agent type `{}`, shared user: `{}` has user {uid} too; give each its own user or \
                 unit, or say `isolation: none` in both rules",
                best.agent, other.agent
            ),
        }),
    }
}

fn has_its_own_unit(one: &Rule, other: &Rule) -> bool {
    one.unit.is_some() && other.unit.is_some() && one.unit != other.unit
}

fn is_of(rule: &Rule, uid: u32) -> bool {
    let user = rule.user.as_ref().and_then(|user| match user {
        UserRule::Uid(uid) => Some(*uid),
        UserRule::Name(name) => users::uid_of(name),
    });
    user == Some(uid)
}

fn matched(rule: &Rule) -> Match {
    Match {
        agent: rule.agent.clone(),
        provider: rule.provider.clone(),
        weak: rule.weak,
    }
}

fn no_rule(nearest: Option<(Unfit, &Rule)>) -> AttestRefusal {
    AttestRefusal::NoRule {
        nearest: match nearest {
            Some((unfit, rule)) => format!("agent type `{}`, {unfit}", rule.agent),
            None => "no agent type has a process rule".to_owned(),
        },
    }
}

fn rank(unfit: &Unfit) -> u8 {
    match unfit {
        Unfit::User(_) => 0,
        Unfit::Unit(_) => 1,
        Unfit::Path(_) => 2,
        Unfit::Writable(_) => 3,
        Unfit::Sha256(_) => 4,
        Unfit::Unread => 5,
    }
}

/// The digest comes last: what a process must not have at its user's will decides whether its
/// executable is read at all.
fn fits(rule: &Rule, seen: &Seen, hashing: Hashing<'_>) -> Result<(), Unfit> {
    // The boundary. A rule without one does not load; here it would fit nothing.
    if rule.user.is_none() && rule.unit.is_none() {
        return Err(Unfit::User(
            "the rule pins neither user nor unit".to_owned(),
        ));
    }
    rule.user
        .as_ref()
        .map_or(Ok(()), |user| fits_user(user, seen))?;
    rule.unit
        .as_ref()
        .map_or(Ok(()), |unit| fits_unit(unit, seen))?;
    rule.path
        .as_ref()
        .map_or(Ok(()), |path| fits_path(path, seen))?;
    if !rule.weak {
        is_unwritable(rule, seen)?;
    }
    rule.sha256
        .as_ref()
        .map_or(Ok(()), |sha256| fits_sha256(sha256, seen, hashing))
}

fn fits_user(rule: &UserRule, seen: &Seen) -> Result<(), Unfit> {
    let wanted = match rule {
        UserRule::Uid(uid) => *uid,
        UserRule::Name(name) => users::uid_of(name)
            .ok_or_else(|| Unfit::User(format!("`/etc/passwd` has no user `{name}`")))?,
    };
    if seen.uid == wanted {
        Ok(())
    } else {
        Err(Unfit::User(format!(
            "it runs as {}, not as {wanted}",
            seen.uid
        )))
    }
}

fn fits_unit(wanted: &str, seen: &Seen) -> Result<(), Unfit> {
    match &seen.unit {
        Some(unit) if unit == wanted => Ok(()),
        Some(unit) => Err(Unfit::Unit(format!(
            "it runs in `{unit}`, not in `{wanted}`"
        ))),
        None => Err(Unfit::Unit(
            "it runs in no unit of root's service manager".to_owned(),
        )),
    }
}

/// By (device, inode) against our own open of the path: a name can be made to say anything.
fn fits_path(wanted: &str, seen: &Seen) -> Result<(), Unfit> {
    let ours = open(wanted, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
        .map_err(std::io::Error::from)
        .and_then(|file| identity(&file.into()))
        .map_err(|e| Unfit::Path(format!("`{wanted}` cannot be opened: {e}")))?;
    if ours == seen.identity {
        Ok(())
    } else {
        let is = &seen.path;
        Err(Unfit::Path(format!(
            "its executable is `{is}`, not `{wanted}` (a script's executable is its interpreter)"
        )))
    }
}

fn fits_sha256(wanted: &str, seen: &Seen, hashing: Hashing<'_>) -> Result<(), Unfit> {
    match seen.sha256(hashing) {
        Ok(sha256) if sha256 == wanted => Ok(()),
        Ok(sha256) => Err(Unfit::Sha256(format!(
            "its executable has the digest {sha256}"
        ))),
        Err(Undigested::Unread) => Err(Unfit::Unread),
        Err(Undigested::Unreadable(reason)) => Err(Unfit::Sha256(format!(
            "its executable cannot be read: {reason}"
        ))),
    }
}

/// Neither where the kernel says that the executable is, nor where the rule says, nor where the
/// rule's path leads to through links, may the agent's user write.
fn is_unwritable(rule: &Rule, seen: &Seen) -> Result<(), Unfit> {
    let writer = Writer {
        uid: seen.uid,
        groups: &seen.groups,
    };
    let mut places = vec![PathBuf::from(&seen.path)];
    if let Some(path) = &rule.path {
        places.push(PathBuf::from(path));
        places.extend(std::fs::canonicalize(path).ok());
    }
    let still_there = open(&*seen.path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
        .map_err(std::io::Error::from)
        .and_then(|file| identity(&file.into()));
    if still_there.ok() != Some(seen.identity) {
        let reason = format!("`{}` is not the file that runs any more", seen.path);
        return Err(Unfit::Writable(reason));
    }
    let way_in = places
        .iter()
        .find_map(|place: &PathBuf| writer.way_in(Path::new(place)));
    way_in.map_or(Ok(()), |way| Err(Unfit::Writable(way)))
}
