//! Records that are encoded but for their name in a spool.
//!
//! A spool names a record when its turn comes, by then one thread writes for all. What can be done
//! before is done before: whoever wants a record encodes it, and the spool's thread puts the name in.

use std::borrow::Cow;
use std::ops::Range;

use mandate_model::{Timestamp, write_canonical_json, write_canonical_members};

use crate::{Decision, EncodeError, Event, MAX_EVENT_BYTES, SpoolKey, What};

/// A record without its name in a spool, its members encoded.
#[derive(Debug, Clone)]
pub struct Draft {
    at: Timestamp,
    exposes: bool,
    kind: &'static str,
    text: Vec<u8>,
    members: Vec<Member>,
}

#[derive(Debug, Clone)]
struct Member {
    name: &'static str,
    /// `"name":value`.
    text: Range<usize>,
}

/// What a later record of an access says otherwise than the one of its decision.
#[derive(Debug)]
pub struct FollowUp<'a> {
    /// When.
    pub at: Timestamp,
    /// What happened.
    pub what: &'a What,
    /// The rule by which it ended, where one did.
    pub rule: Option<&'a str>,
    /// More on it.
    pub detail: Option<&'a str>,
    /// Whether anything of the access was let happen without a lease.
    pub without_lease: bool,
}

#[derive(serde::Serialize)]
struct Otherwise<'a> {
    at: Timestamp,
    decision: Decision,
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rule: Option<&'a str>,
    what: &'a What,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    without_lease: bool,
}

/// What a later record never takes over from the one of the decision.
const OWN: [&str; 7] = [
    "at",
    "decision",
    "detail",
    "policies",
    "rule",
    "what",
    "without_lease",
];

impl Draft {
    /// Encodes `event`; a name in a spool that it has is left out.
    pub fn of(event: &Event) -> Result<Self, EncodeError> {
        let mut draft = Self::encode(event, event.at, &event.what, event.decision)?;
        draft.members.retain(|member| member.name != SPOOL);
        Ok(draft)
    }

    /// A record that tells how what this one decided went on: it repeats this one but for what
    /// `follow_up` says, so that it reaches its cause by itself (P5).
    pub fn followed_by(&self, follow_up: &FollowUp<'_>) -> Result<Self, EncodeError> {
        let otherwise = Otherwise {
            at: follow_up.at,
            decision: Decision::Noted,
            detail: follow_up.detail,
            rule: follow_up.rule,
            what: follow_up.what,
            without_lease: follow_up.without_lease,
        };
        let mut next = Self::encode(&otherwise, follow_up.at, follow_up.what, Decision::Noted)?;
        let kept = self.members.iter();
        for member in kept.filter(|member| !OWN.contains(&member.name)) {
            let begin = next.text.len();
            next.text.extend_from_slice(self.bytes(member));
            let text = begin..next.text.len();
            let name = member.name;
            next.members.push(Member { name, text });
        }
        next.members.sort_unstable_by_key(|member| member.name);
        Ok(next)
    }

    fn encode(
        value: &impl serde::Serialize,
        at: Timestamp,
        what: &What,
        decision: Decision,
    ) -> Result<Self, EncodeError> {
        let mut text = Vec::with_capacity(USUAL_BYTES);
        let places =
            write_canonical_members(value, &mut text).map_err(|_| EncodeError::Unrepresentable)?;
        let member = |place: mandate_model::MemberPlace| match place.name {
            Cow::Borrowed(name) => Ok(Member {
                name,
                text: place.text,
            }),
            Cow::Owned(_) => Err(EncodeError::Unrepresentable),
        };
        Ok(Self {
            at,
            exposes: matches!(what, What::AccessProgress { .. })
                || matches!(decision, Decision::Allowed | Decision::WouldDeny),
            kind: what.kind(),
            text,
            members: places.into_iter().map(member).collect::<Result<_, _>>()?,
        })
    }

    fn bytes(&self, member: &Member) -> &[u8] {
        self.text.get(member.text.clone()).unwrap_or_default()
    }

    /// When it was decided.
    pub fn at(&self) -> Timestamp {
        self.at
    }

    /// Whether something is let happen on account of it.
    pub fn exposes(&self) -> bool {
        self.exposes
    }

    /// Its event's name.
    pub fn kind(&self) -> &'static str {
        self.kind
    }

    /// Adds the record under the name `key` to `out`: what [`Event::canonical`] gives for it. After an error
    /// `out` is as it was.
    pub fn write_named(&self, key: &SpoolKey, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        let begin = out.len();
        let written = self.write(key, out);
        let length = out.len().saturating_sub(begin);
        let fits = written.and(if length > MAX_EVENT_BYTES {
            Err(EncodeError::TooLarge)
        } else {
            Ok(())
        });
        if fits.is_err() {
            out.truncate(begin);
        }
        fits
    }

    fn write(&self, key: &SpoolKey, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        let after = self.members.partition_point(|member| member.name < SPOOL);
        let (before, after) = self.members.split_at(after);
        out.push(b'{');
        for member in before {
            out.extend_from_slice(self.bytes(member));
            out.push(b',');
        }
        out.extend_from_slice(b"\"spool\":");
        write_canonical_json(key, out).map_err(|_| EncodeError::Unrepresentable)?;
        for member in after {
            out.push(b',');
            out.extend_from_slice(self.bytes(member));
        }
        out.push(b'}');
        Ok(())
    }
}

const SPOOL: &str = "spool";
/// Most records fit.
const USUAL_BYTES: usize = 1024;

#[cfg(test)]
mod tests {
    use mandate_model::task::TaskPath;
    use mandate_model::{BundleVersion, GatewayId, PolicyName, ServerName, TaskId, Thumbprint};

    use super::*;
    use crate::Outcome;

    const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);

    fn key() -> SpoolKey {
        SpoolKey {
            gateway: GatewayId::parse("g1").unwrap(),
            spool: "s1".to_owned(),
            seq: 7,
        }
    }

    fn decided() -> Event {
        let request = "GET /{\"spool\":1}".to_owned();
        Event {
            rule: Some("mandate.unfit".to_owned()),
            detail: Some("a \"detail\"".to_owned()),
            policies: vec![PolicyName::parse("reading").unwrap()],
            task: Some(TaskPath::root_of(TaskId::new(NOW, [1; 10]))),
            server: Some(ServerName::parse("records").unwrap()),
            bundle: Some(BundleVersion::new(3)),
            trace: Some("0af7651916cd43dd8448eb211c80319c".to_owned()),
            gateway: Some(key().gateway),
            ..Event::new(NOW, What::AccessDecided { request }, Decision::WouldDeny)
        }
    }

    fn named(draft: &Draft) -> Vec<u8> {
        let mut out = b"before".to_vec();
        draft.write_named(&key(), &mut out).unwrap();
        out.split_off("before".len())
    }

    fn rekeyed() -> What {
        What::Rekeyed {
            from: Thumbprint::new([1; 32]),
            to: Thumbprint::new([2; 32]),
        }
    }

    #[test]
    fn a_named_draft_is_the_event_with_that_name() {
        let all = [
            decided(),
            Event::new(NOW, rekeyed(), Decision::Noted),
            Event {
                spool: Some(SpoolKey { seq: 1, ..key() }),
                without_lease: true,
                ..decided()
            },
        ];
        for event in all {
            let expected = Event {
                spool: Some(key()),
                ..event.clone()
            };
            let draft = Draft::of(&event).unwrap();
            assert_eq!(named(&draft), expected.canonical().unwrap());
        }
    }

    #[test]
    fn a_later_record_repeats_the_decision_but_for_what_is_its_own() {
        let what = What::AccessCompleted {
            admitted: 7,
            admitted_in: None,
            outcome: Outcome::Cut,
            status: Some(200),
            bytes_up: 1,
            bytes_down: 2,
            usage: None,
        };
        let at = NOW.plus(std::time::Duration::from_secs(1));
        for (rule, without_lease) in [(None, false), (Some("token.expired"), true)] {
            let follow_up = FollowUp {
                at,
                what: &what,
                rule,
                detail: rule,
                without_lease,
            };
            let draft = Draft::of(&decided()).unwrap().followed_by(&follow_up);
            let expected = Event {
                at,
                what: what.clone(),
                decision: Decision::Noted,
                rule: rule.map(str::to_owned),
                detail: rule.map(str::to_owned),
                policies: Vec::new(),
                without_lease,
                spool: Some(key()),
                ..decided()
            };
            assert_eq!(named(&draft.unwrap()), expected.canonical().unwrap());
        }
    }

    #[test]
    fn what_lets_something_happen_is_told_apart() {
        let exposes = |decision| {
            let event = Event {
                decision,
                ..decided()
            };
            Draft::of(&event).unwrap().exposes()
        };
        assert!(exposes(Decision::Allowed) && exposes(Decision::WouldDeny));
        assert!(!exposes(Decision::Denied) && !exposes(Decision::Noted));
    }

    #[test]
    fn a_record_that_is_too_long_leaves_nothing_behind() {
        let message = "x".repeat(MAX_EVENT_BYTES);
        let event = Event::new(NOW, What::Alarm { message }, Decision::Noted);
        let mut out = b"before".to_vec();
        let refused = Draft::of(&event).unwrap().write_named(&key(), &mut out);
        assert_eq!(refused, Err(EncodeError::TooLarge));
        assert_eq!(out, b"before");
    }
}
