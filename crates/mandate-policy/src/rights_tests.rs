//! Spawning, hosting, operating, mandates and matching on the example.

use mandate_model::mandate::{Constraint, Constraints, Entries, Entry};
use mandate_model::{ActionName, AgentTypeName, AttributeName, ServerName};

use crate::decl::Right;
use crate::fixtures::{example, example_with};
use crate::{
    HostDenial, OperatorDenial, OperatorIdentity, SpawnDenial, Target, UndeclaredEntry,
    UnfitConstraint,
};

fn agent(name: &str) -> AgentTypeName {
    AgentTypeName::parse(name).unwrap()
}

type EntryOf<'a> = (&'a str, &'a str, Option<(&'a str, Constraint)>);

fn entries(list: &[EntryOf<'_>]) -> Entries {
    let entry = |(server, action, constraint): &EntryOf<'_>| Entry {
        server: ServerName::parse(server).unwrap(),
        action: ActionName::parse(action).unwrap(),
        constraints: constraint
            .iter()
            .fold(Constraints::new(), |mut all, (name, c)| {
                all.insert(AttributeName::parse(name).unwrap(), c.clone());
                all
            }),
    };
    Entries::normalize(list.iter().map(entry).collect()).unwrap()
}

#[test]
fn delegates_only_to_whom_may_spawn_names() {
    let bundle = example();
    let read = entries(&[("records", "read", None)]);
    let spawn = |parent, child| bundle.may_spawn(&agent(parent), &agent(child), &read);
    assert_eq!(spawn("orchestrator", "retriever"), Ok(()));
    for (parent, child) in [
        ("orchestrator", "backlog"),
        ("orchestrator", "orchestrator"),
        ("retriever", "executor"),
    ] {
        let denial = spawn(parent, child).unwrap_err();
        assert!(matches!(denial, SpawnDenial::Child { .. }), "{denial}");
    }
    let unknown = spawn("orchestrator", "nobody").unwrap_err();
    assert_eq!(unknown, SpawnDenial::UnknownAgent(agent("nobody")));
}

#[test]
fn delegates_only_the_actions_that_may_spawn_hands_on() {
    let narrow = "maySpawn: [{agent: retriever, servers: {records: [read]}}, executor]";
    let bundle = example_with("maySpawn: [retriever, executor]", narrow)
        .unwrap()
        .bundle;
    let spawn =
        |list: &Entries| bundle.may_spawn(&agent("orchestrator"), &agent("retriever"), list);
    assert_eq!(spawn(&entries(&[("records", "read", None)])), Ok(()));
    assert_eq!(spawn(&Entries::default()), Ok(()));
    let both = entries(&[("records", "read", None), ("records", "refund", None)]);
    assert!(
        matches!(spawn(&both), Err(SpawnDenial::Entry { action, .. }) if action.as_str() == "refund")
    );
}

#[test]
fn only_a_declared_host_hosts() {
    let bundle = example();
    let host = |host, hosted| bundle.may_host(&agent(host), &agent(hosted));
    assert_eq!(host("orchestrator", "executor"), Ok(()));
    for (h, hosted) in [
        ("orchestrator", "retriever"),
        ("retriever", "executor"),
        ("executor", "executor"),
    ] {
        assert!(
            matches!(host(h, hosted), Err(HostDenial::Host { .. })),
            "{h} {hosted}"
        );
    }
}

#[test]
fn operators_have_the_rights_that_they_are_given_on_the_targets_they_are_given_for() {
    let bundle = example();
    let ask = |uid, user, right, target: Option<&Target>| {
        bundle.operator_may(OperatorIdentity::User { uid, user }, right, target)
    };
    let target = |kind: &str| Target {
        kind: kind.to_owned(),
        name: "retriever".to_owned(),
    };
    assert_eq!(ask(0, None, Right::Keys, None).unwrap().as_str(), "root");
    let oncall = Some("oncall");
    assert!(ask(1000, oncall, Right::Suspend, Some(&target("agent"))).is_ok());
    for (right, target) in [
        (Right::Suspend, Some(target("everything"))),
        (Right::Suspend, None),
        (Right::Resume, Some(target("agent"))),
    ] {
        let denial = ask(1000, oncall, right, target.as_ref()).unwrap_err();
        assert!(matches!(denial, OperatorDenial::NoRight { .. }), "{denial}");
    }
    let stranger = ask(1000, Some("mallory"), Right::Inspect, None).unwrap_err();
    assert_eq!(stranger, OperatorDenial::NoOperator { uid: 1000 });
}

#[test]
fn a_mandate_speaks_only_of_what_is_declared() {
    let bundle = example();
    let check = |server, action, constraint| {
        bundle.check_entries(&entries(&[(server, action, constraint)]))
    };
    let one_of = |text: &str| Constraint::one_of([text.to_owned()]).unwrap();
    let max = |n| Constraint::at_most(n).unwrap();
    assert_eq!(
        check("records", "read", Some(("customer", one_of("acme")))),
        Ok(())
    );
    assert_eq!(
        check("records", "refund", Some(("amount_cents", max(5)))),
        Ok(())
    );
    use UndeclaredEntry as Why;
    assert!(matches!(
        check("tickets", "read", None),
        Err(Why::Server(_))
    ));
    assert!(matches!(
        check("records", "erase", None),
        Err(Why::Action { .. })
    ));
    let unknown = check("records", "read", Some(("amount_cents", max(5))));
    assert!(matches!(unknown, Err(Why::Attribute { .. })));
    for (name, constraint) in [
        ("customer", max(5)),
        ("amount_cents", one_of("5")),
        ("amount_cents", Constraint::prefix("5".to_owned()).unwrap()),
    ] {
        let denial = check("records", "refund", Some((name, constraint)));
        let kind = |why| matches!(why, UnfitConstraint::Kind { .. });
        assert!(
            matches!(denial, Err(Why::Constraint { why, .. }) if kind(why.clone())),
            "{name}"
        );
    }
}

#[test]
fn a_request_is_the_action_with_the_narrowest_template() {
    let bundle = example_with(
        "read: {effect: read, match: \"GET /customers/{customer}/**\"}",
        "read: {effect: read, match: \"GET /customers/{customer}/**\"}\n    audit: {effect: read, match: [\"GET /customers/{customer}/audit\", \"GET /\"]}",
    )
    .unwrap()
    .bundle;
    let server = bundle.servers().next().unwrap();
    let found = |method: &str, segments: &[&'static str]| {
        let vars = |m: crate::decl::Matched<'_>| {
            m.path_vars
                .iter()
                .map(|(k, v)| format!("{k}={v}"))
                .collect::<Vec<_>>()
                .join(",")
        };
        server
            .match_request(method, segments)
            .map(|m| (m.action.name.as_str().to_owned(), vars(m)))
    };
    let hit = |name: &str, vars: &str| Some((name.to_owned(), vars.to_owned()));
    assert_eq!(
        found("GET", &["customers", "acme"]),
        hit("read", "customer=acme")
    );
    assert_eq!(
        found("GET", &["customers", "acme", "a", "b"]),
        hit("read", "customer=acme")
    );
    assert_eq!(
        found("GET", &["customers", "acme", "audit"]),
        hit("audit", "customer=acme")
    );
    assert_eq!(found("GET", &[]), hit("audit", ""));
    assert_eq!(
        found("POST", &["customers", "acme", "refunds"]),
        hit("refund", "customer=acme")
    );
    for (method, segments) in [
        ("GET", &["customers"][..]),
        ("GET", &["customers", ""]),
        ("get", &["customers", "acme"]),
        ("HEAD", &["customers", "acme"]),
        ("POST", &["customers", "acme", "refunds", ""]),
        ("GET", &["Customers", "acme"]),
        ("GET", &["customers", "acme", "audit", ""]),
        ("GET", &["customers", "acme", "Audit"]),
    ] {
        assert_eq!(found(method, segments), None, "{method} {segments:?}");
    }
}
