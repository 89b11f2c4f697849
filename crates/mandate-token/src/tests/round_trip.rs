//! Whatever may be granted comes back as it was granted.

use std::collections::BTreeMap;
use std::num::NonZeroU32;

use mandate_model::mandate::{Budget, Constraint, Entries, Entry, Mandate};
use mandate_model::task::{TaskChain, TaskPath};
use mandate_model::{
    ActChain, ActionName, ActorLevel, AttributeName, GatewayId, Principal, ProviderName,
    ServerName, StopVersion, Thumbprint, Trigger, TriggerKind, Verified as Vouched,
};
use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::*;

use super::fixture::*;
use crate::*;

fn constraint() -> impl Strategy<Value = Constraint> {
    prop_oneof![
        proptest::collection::btree_set("[a-zé\"\\\\ ]{1,8}", 1..4)
            .prop_map(|set| Constraint::one_of(set).unwrap()),
        "[a-z/]{1,8}".prop_map(|text| Constraint::prefix(text).unwrap()),
        (0..=i64::MAX).prop_map(|n| Constraint::at_most(n).unwrap()),
    ]
}

fn entry(servers: &'static str) -> impl Strategy<Value = Entry> {
    let name = "[a-z]{1,4}".prop_map(|name| AttributeName::parse(&name).unwrap());
    (servers, "[a-z]{1,6}", btree_map(name, constraint(), 0..3)).prop_map(
        |(server, action, constraints): (_, _, BTreeMap<_, _>)| Entry {
            server: ServerName::parse(&server).unwrap(),
            action: ActionName::parse(&action).unwrap(),
            constraints,
        },
    )
}

fn some_entries(
    servers: &'static str,
    count: std::ops::Range<usize>,
) -> impl Strategy<Value = Entries> {
    vec(entry(servers), count).prop_map(|list| Entries::normalize(list).unwrap())
}

fn actor() -> impl Strategy<Value = ActorLevel> {
    ("[a-z]{1,6}", option::of("[a-z]{1,6}")).prop_map(|(name, host)| match host {
        Some(host) => hosted(&name, &host),
        None => level(&name),
    })
}

fn a_trigger() -> impl Strategy<Value = Trigger> {
    let kind = prop_oneof![
        Just(TriggerKind::User),
        Just(TriggerKind::Operator),
        ".{0,9}".prop_map(|name| TriggerKind::Schedule { name }),
        ".{0,9}".prop_map(|name| TriggerKind::Event { name }),
    ];
    let verified = prop_oneof![
        Just(Vouched::User),
        Just(Vouched::Operator),
        Just(Vouched::Source),
        Just(Vouched::None)
    ];
    let provider = option::of("[a-z]{1,6}".prop_map(|p| ProviderName::parse(&p).unwrap()));
    (kind, verified, provider, option::of(".{0,9}")).prop_map(|(kind, verified, provider, item)| {
        Trigger {
            kind,
            verified,
            provider,
            item,
        }
    })
}

fn a_principal() -> impl Strategy<Value = Principal> {
    prop_oneof![
        "[a-z]{1,6}".prop_map(|name| Principal::Agent(agent(&name))),
        "operator:[a-z]{1,6}".prop_map(|text| Principal::parse(&text).unwrap()),
        "user:login:[ -~é]{1,20}".prop_map(|text| Principal::parse(&text).unwrap()),
    ]
}

fn confirmation() -> impl Strategy<Value = Option<Confirmation>> {
    let key = any::<[u8; 32]>().prop_map(Thumbprint::new);
    let kinds = (key, any::<bool>()).prop_map(|(key, dpop)| match dpop {
        true => Confirmation::Jkt(key),
        false => Confirmation::X5tS256(key),
    });
    option::of(kinds)
}

fn path(depth: u8) -> TaskPath {
    (1..depth).fold(TaskPath::root_of(task_id(0)), |path, n| {
        path.child(task_id(n)).unwrap()
    })
}

fn a_svid() -> impl Strategy<Value = JwtSvid> {
    (actor(), confirmation(), 1i64..1000, any::<u64>()).prop_map(
        |(agent, confirmation, life, stops)| JwtSvid {
            agent,
            confirmation,
            expires_at: at(life + 5),
            stops: StopVersion::new(stops),
            ..svid()
        },
    )
}

fn a_task() -> impl Strategy<Value = TaskToken> {
    let budget = (option::of(any::<u64>()), option::of(any::<u64>())).prop_map(
        |(max_accesses, max_children)| Budget {
            max_accesses,
            max_children,
        },
    );
    let act = vec(actor(), 0..8);
    let rest = (some_entries("[a-c]", 0..6), budget, option::of(0i64..100));
    (act, rest, a_trigger(), a_principal(), any::<[u8; 32]>()).prop_map(
        |(act, (entries, budget, from), trigger, principal, chain)| TaskToken {
            path: path(u8::try_from(act.len()).unwrap() + 1),
            act: ActChain::from_levels(act).unwrap(),
            chain: TaskChain::try_from(b64(chain)).unwrap(),
            mandate: Mandate {
                entries,
                budget,
                not_before: from.map(at),
                ..root_task().mandate
            },
            trigger,
            principal,
            ..root_task()
        },
    )
}

fn an_acting() -> impl Strategy<Value = ActingChain> {
    vec(actor(), 1..=8)
        .prop_map(|levels| ActingChain::new(ActChain::from_levels(levels).unwrap()).unwrap())
}

/// For some of the tokens that are bound to a key.
fn via(bound: &Confirmation, depth: u8) -> Option<Via> {
    let gateway = GatewayId::parse("edge-1").unwrap();
    let jkt = (depth > 6).then(|| bound.jkt()).flatten();
    let got = bound.jkt().is_some() && depth > 4;
    got.then_some(Via { gateway, jkt })
}

fn an_access() -> impl Strategy<Value = AccessToken> {
    let rest = (confirmation(), any::<Option<NonZeroU32>>(), 1u8..=8);
    (an_acting(), some_entries("s", 1..6), rest, a_trigger()).prop_map(
        |(acting, entries, (confirmation, uses, depth), trigger)| AccessToken {
            acting,
            entries,
            trigger,
            uses,
            via: confirmation.and_then(|bound| via(&bound, depth)),
            confirmation,
            path: path(depth),
            not_before: uses.map(|_| at(5)),
            ..access()
        },
    )
}

fn an_upstream() -> impl Strategy<Value = UpstreamToken> {
    (an_acting(), some_entries("[a-c]", 1..6)).prop_map(|(acting, entries)| UpstreamToken {
        acting,
        scope: Scope::of(&entries),
        ..upstream()
    })
}

fn comes_back<T: Kind>(claims: &T) {
    let authority = Authority::new();
    let token = authority.issue(claims);
    let read = authority.verify(&token, claims, at(5)).unwrap();
    assert_eq!(read.claims(), claims);
    assert_eq!(*read.signed_by(), authority.key::<T>().0);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]

    #[test]
    fn a_jwt_svid_comes_back_as_granted(claims in a_svid()) {
        comes_back(&claims);
    }

    #[test]
    fn a_task_token_comes_back_as_granted(claims in a_task()) {
        comes_back(&claims);
    }

    #[test]
    fn an_access_token_comes_back_as_granted(claims in an_access()) {
        comes_back(&claims);
    }

    #[test]
    fn a_token_for_an_upstream_comes_back_as_granted(claims in an_upstream()) {
        comes_back(&claims);
    }

    #[test]
    fn an_operator_session_comes_back_as_granted(
        subject in "[ -~é]{1,40}",
        groups in vec("[a-z]{1,9}", 0..5),
        confirmation in confirmation(),
    ) {
        let person = serde_json::json!({"sub": subject, "groups": groups});
        let person = serde_json::from_value(person).unwrap();
        comes_back(&OperatorSession { person, confirmation, ..session() });
    }

    #[test]
    fn a_scope_comes_back_as_derived(entries in some_entries("[a-c]{1,3}", 0..9)) {
        prop_assert_eq!(parse_scope(&scope_of(&entries)), Ok(Scope::of(&entries)));
    }
}
