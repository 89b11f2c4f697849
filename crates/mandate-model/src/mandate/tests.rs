use proptest::prelude::*;

use super::*;
use crate::{ActionName, AttributeName, AttributeValue, RequestAttributes, ServerName};

fn entries(json: &str) -> Entries {
    parse_entries(serde_json::from_str(json).unwrap()).unwrap()
}

fn mandate(entries: Entries) -> Mandate {
    Mandate {
        entries,
        not_before: None,
        expires_at: Timestamp::from_secs(600),
        budget: Budget::default(),
        max_depth: 4,
    }
}

fn request(entries: Entries) -> MandateRequest {
    MandateRequest {
        entries: Some(entries),
        ..MandateRequest::default()
    }
}

const ACME: &str = r#"[{"type":"mandate_access","server":"records","actions":["read","refund"],
    "constraints":{"customer":{"in":["acme"]}}}]"#;

#[test]
fn a_part_is_granted_and_a_wider_request_is_refused() {
    let parent = mandate(entries(ACME));
    let part = entries(
        r#"[{"type":"mandate_access","server":"records","actions":["read"],
        "constraints":{"customer":{"in":["acme"]},"path":{"prefix":"/a/"}}}]"#,
    );
    assert_eq!(
        narrow(&parent, &request(part.clone())).unwrap().entries,
        part
    );
    for wider in [
        r#"[{"type":"mandate_access","server":"records","actions":["read"]}]"#,
        r#"[{"type":"mandate_access","server":"records","actions":["read"],"constraints":{"customer":{"in":["acme","globex"]}}}]"#,
        r#"[{"type":"mandate_access","server":"records","actions":["read"],"constraints":{"customer":{"prefix":"acme"}}}]"#,
        r#"[{"type":"mandate_access","server":"records","actions":["delete"],"constraints":{"customer":{"in":["acme"]}}}]"#,
        r#"[{"type":"mandate_access","server":"other","actions":["read"],"constraints":{"customer":{"in":["acme"]}}}]"#,
    ] {
        let got = narrow(&parent, &request(entries(wider)));
        assert!(
            matches!(got, Err(Widening::Entry { .. })),
            "{wider}: {got:?}"
        );
    }
}

#[test]
fn two_entries_of_the_parent_are_never_combined() {
    let parent = mandate(entries(
        r#"[{"type":"mandate_access","server":"s","actions":["a"],"constraints":{"k":{"in":["1"]}}},
            {"type":"mandate_access","server":"s","actions":["a"],"constraints":{"k":{"in":["2"]}}}]"#,
    ));
    let both = entries(
        r#"[{"type":"mandate_access","server":"s","actions":["a"],"constraints":{"k":{"in":["1","2"]}}}]"#,
    );
    assert!(narrow(&parent, &request(both)).is_err());
}

#[test]
fn time_budget_and_depth_only_shrink() {
    let mut parent = mandate(entries(ACME));
    parent.not_before = Some(Timestamp::from_secs(10));
    parent.budget = Budget {
        max_accesses: Some(3),
        max_children: Some(1),
    };
    let ok = MandateRequest {
        budget: parent.budget,
        ..MandateRequest::default()
    };
    assert_eq!(narrow(&parent, &ok).as_ref(), Ok(&parent));
    let cases = [
        (
            MandateRequest {
                not_before: Some(Timestamp::from_secs(9)),
                ..ok.clone()
            },
            Widening::Begins,
        ),
        (
            MandateRequest {
                expires_at: Some(Timestamp::from_secs(601)),
                ..ok.clone()
            },
            Widening::Outlives {
                parent_ends: parent.expires_at,
            },
        ),
        (
            MandateRequest {
                max_depth: Some(5),
                ..ok.clone()
            },
            Widening::Depth(4),
        ),
        (
            MandateRequest {
                budget: Budget {
                    max_accesses: None,
                    ..ok.budget
                },
                ..ok.clone()
            },
            Widening::Accesses(3),
        ),
        (
            MandateRequest {
                budget: Budget {
                    max_children: Some(2),
                    ..ok.budget
                },
                ..ok.clone()
            },
            Widening::Children(1),
        ),
    ];
    for (request, why) in cases {
        assert_eq!(narrow(&parent, &request), Err(why));
    }
}

#[test]
fn refuses_empty_lists_wildcards_duplicates_and_unknown_members() {
    let cases = [
        (
            r#"[{"type":"mandate_access","server":"s","actions":[]}]"#,
            "at least one action",
        ),
        (
            r#"[{"type":"mandate_access","server":"s","actions":["a","a"]}]"#,
            "twice",
        ),
        (
            r#"[{"type":"other","server":"s","actions":["a"]}]"#,
            "mandate_access",
        ),
        (
            r#"[{"type":"mandate_access","server":"s","actions":["a"],"constraints":{"k":{"in":[]}}}]"#,
            "no value",
        ),
        (
            r#"[{"type":"mandate_access","server":"s","actions":["a"],"constraints":{"k":{"in":["x","x"]}}}]"#,
            "twice",
        ),
        (
            r#"[{"type":"mandate_access","server":"s","actions":["a"],"constraints":{"k":{"in":["*"]}}}]"#,
            "wildcards",
        ),
        (
            r#"[{"type":"mandate_access","server":"s","actions":["a"],"constraints":{"k":{"max":-1}}}]"#,
            "at least 0",
        ),
    ];
    for (json, why) in cases {
        let error = parse_entries(serde_json::from_str(json).unwrap())
            .unwrap_err()
            .to_string();
        assert!(error.contains(why), "{json}: {error}");
    }
    for json in [
        r#"[{"type":"mandate_access","server":"s","actions":["a"],"extra":1}]"#,
        r#"[{"type":"mandate_access","server":"s","actions":["a"],"constraints":{"k":{"min":1}}}]"#,
        r#"[{"type":"mandate_access","server":"s","actions":["a"],"constraints":{"k":{"in":["x"],"max":1}}}]"#,
        r#"[{"type":"mandate_access","server":"s","actions":["a"],"actions":["b"]}]"#,
        r#"[{"type":"mandate_access","server":"s","actions":["*"]}]"#,
    ] {
        assert!(
            serde_json::from_str::<Vec<RawEntry>>(json).is_err(),
            "{json}"
        );
    }
}

#[test]
fn limits_say_which_one_was_hit() {
    let entry = |n: usize| Entry {
        server: ServerName::parse("s").unwrap(),
        action: ActionName::parse(&format!("a{n}")).unwrap(),
        constraints: Constraints::new(),
    };
    assert!(Entries::normalize((0..MAX_ENTRIES).map(entry).collect()).is_ok());
    assert_eq!(
        Entries::normalize((0..=MAX_ENTRIES).map(entry).collect()),
        Err(TooLarge::Entries)
    );
    let values = Constraint::one_of((0..=MAX_VALUES).map(|n| n.to_string())).unwrap();
    let mut wide = entry(0);
    wide.constraints
        .insert(AttributeName::parse("k").unwrap(), values);
    assert_eq!(Entries::normalize(vec![wide]), Err(TooLarge::Values));
}

#[test]
fn a_request_without_a_constrained_attribute_is_not_covered() {
    let entries = entries(ACME);
    let (server, read) = (
        ServerName::parse("records").unwrap(),
        ActionName::parse("read").unwrap(),
    );
    let customer = AttributeName::parse("customer").unwrap();
    let with = |values: &[&str]| {
        let mut attributes = RequestAttributes::new();
        for value in values {
            attributes.add(customer.clone(), AttributeValue::Text((*value).to_owned()));
        }
        attributes
    };
    assert!(entries.cover(&server, &read, &with(&["acme"])).is_ok());
    let missing = Uncovered::Missing(customer.clone());
    assert_eq!(entries.cover(&server, &read, &with(&[])), Err(missing));
    let unfit = Uncovered::Unfit(customer.clone());
    assert_eq!(
        entries.cover(&server, &read, &with(&["globex"])),
        Err(unfit.clone())
    );
    assert_eq!(
        entries.cover(&server, &read, &with(&["acme", "globex"])),
        Err(unfit)
    );
    let delete = ActionName::parse("delete").unwrap();
    assert!(matches!(
        entries.cover(&server, &delete, &with(&["acme"])),
        Err(Uncovered::NoEntry { .. })
    ));
}

// Generated mandates over a small alphabet, so that subsets and collisions are common.

fn any_constraint() -> impl Strategy<Value = Constraint> {
    let word = prop::sample::select(vec!["a", "ab", "abc", "b", "bc"]);
    prop_oneof![
        prop::collection::btree_set(word.clone(), 1..4)
            .prop_map(|s| Constraint::one_of(s.into_iter().map(str::to_owned)).unwrap()),
        word.prop_map(|w| Constraint::prefix(w.to_owned()).unwrap()),
        (0..3i64).prop_map(|n| Constraint::at_most(n).unwrap()),
    ]
}

fn any_entry() -> impl Strategy<Value = Entry> {
    let key = prop::sample::select(vec!["k", "l"]).prop_map(|k| AttributeName::parse(k).unwrap());
    (
        prop::sample::select(vec!["s", "t"]),
        prop::sample::select(vec!["read", "write"]),
        prop::collection::btree_map(key, any_constraint(), 0..3),
    )
        .prop_map(|(server, action, constraints)| Entry {
            server: ServerName::parse(server).unwrap(),
            action: ActionName::parse(action).unwrap(),
            constraints,
        })
}

fn any_mandate() -> impl Strategy<Value = Mandate> {
    (
        prop::collection::vec(any_entry(), 0..5),
        prop::option::of(0..3u64),
        3..6u64,
        prop::option::of(0..3u64),
        prop::option::of(0..3u64),
        1..4u8,
    )
        .prop_map(
            |(entries, from, until, accesses, children, max_depth)| Mandate {
                entries: Entries::normalize(entries).unwrap(),
                not_before: from.map(Timestamp::from_secs),
                expires_at: Timestamp::from_secs(until),
                budget: Budget {
                    max_accesses: accesses,
                    max_children: children,
                },
                max_depth,
            },
        )
}

fn any_access() -> impl Strategy<Value = (ServerName, ActionName, RequestAttributes)> {
    let value = prop_oneof![
        prop::sample::select(vec!["a", "ab", "abc", "abcd", "b", "bc", "c"])
            .prop_map(|v| AttributeValue::Text(v.to_owned())),
        (-1..4i64).prop_map(AttributeValue::Integer),
    ];
    let found = prop::collection::vec((prop::sample::select(vec!["k", "l"]), value), 0..4);
    (
        prop::sample::select(vec!["s", "t"]),
        prop::sample::select(vec!["read", "write"]),
        found,
    )
        .prop_map(|(server, action, found)| {
            let mut attributes = RequestAttributes::new();
            for (name, value) in found {
                attributes.add(AttributeName::parse(name).unwrap(), value);
            }
            (
                ServerName::parse(server).unwrap(),
                ActionName::parse(action).unwrap(),
                attributes,
            )
        })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn narrow_is_reflexive(m in any_mandate()) {
        prop_assert_eq!(narrow(&m, &m.to_request()), Ok(m));
    }

    #[test]
    fn narrow_is_transitive(a in any_mandate(), b in any_mandate(), c in any_mandate()) {
        if narrow(&a, &b.to_request()).is_ok() && narrow(&b, &c.to_request()).is_ok() {
            // A request that leaves `not_before` out inherits the parent's, so compare the results.
            let via = narrow(&narrow(&a, &b.to_request()).unwrap(), &c.to_request());
            if let Ok(via) = via {
                prop_assert_eq!(narrow(&a, &via.to_request()), Ok(via));
            }
        }
    }

    #[test]
    fn narrow_is_antisymmetric_on_normal_forms(a in any_mandate(), b in any_mandate()) {
        if a.entries.are_within(&b.entries) && b.entries.are_within(&a.entries) {
            prop_assert_eq!(&a.entries, &b.entries);
        }
    }

    #[test]
    fn whatever_narrow_grants_is_within_the_parent(
        parent in any_mandate(), wanted in any_mandate(), access in any_access(), at in 0..7u64,
    ) {
        if let Ok(child) = narrow(&parent, &wanted.to_request()) {
            prop_assert!(child.expires_at <= parent.expires_at);
            prop_assert!(child.max_depth <= parent.max_depth);
            prop_assert!(child.not_before >= parent.not_before);
            for (of_child, of_parent) in [
                (child.budget.max_accesses, parent.budget.max_accesses),
                (child.budget.max_children, parent.budget.max_children),
            ] {
                prop_assert!(of_parent.is_none_or(|p| of_child.is_some_and(|c| c <= p)));
            }
            let (server, action, attributes) = access;
            let now = Timestamp::from_secs(at);
            let admits = |m: &Mandate| {
                m.is_in_force(now) && m.entries.cover(&server, &action, &attributes).is_ok()
            };
            prop_assert!(!admits(&child) || admits(&parent));
        }
    }

    #[test]
    fn normal_form_means_the_same_and_is_stable(
        raw in prop::collection::vec(any_entry(), 0..6), access in any_access(),
    ) {
        let normal = Entries::normalize(raw.clone()).unwrap();
        let (server, action, attributes) = access;
        let covered_raw = raw
            .iter()
            .any(|e| e.server == server && e.action == action && e.check(&attributes).is_ok());
        prop_assert_eq!(covered_raw, normal.cover(&server, &action, &attributes).is_ok());
        prop_assert_eq!(&Entries::normalize(normal.iter().cloned().collect()).unwrap(), &normal);
        prop_assert_eq!(&parse_entries(normal.to_wire()).unwrap(), &normal);
    }
}
