//! What a suspension stops, and what it leaves.

use super::*;

/// One way to a token.
type Path = fn(&mut Scene) -> Result<String, Refused>;

#[test]
fn suspended_agent_gets_nothing_on_any_path() {
    let retriever = SpiffeId::parse("spiffe://acme.example/agent/retriever").unwrap();
    let paths: [Path; 5] = [
        |s| s.lab.reach(&s.retriever, &s.child),
        |s| s.lab.renew(&s.retriever, &s.child),
        |s| s.lab.open(&s.retriever, ACME, MORNING),
        |s| s.lab.delegate(&s.orchestrator, &s.root, "retriever", ACME),
        |s| {
            let task = s.lab.task(&s.child);
            s.lab.resume(&s.orchestrator, &s.root, TXN, task)
        },
    ];
    for (n, path) in paths.iter().enumerate() {
        let mut s = scene();
        s.lab.suspend(Subject::Agent {
            id: retriever.clone(),
        });
        let refused = exchange_error(path(&mut s));
        assert!(
            matches!(refused, ExchangeError::Stopped(_)),
            "path {n}: {refused}"
        );
        assert_eq!(refused.oauth().status, 403);
    }
    // An agent in another's process, by its own type and by its host's.
    for stopped in ["helper", "orchestrator"] {
        let mut s = scene();
        assert!(s.lab.host(&s.orchestrator, "helper").is_ok());
        let id = SpiffeId::parse(&format!("spiffe://acme.example/agent/{stopped}")).unwrap();
        s.lab.suspend(Subject::Agent { id });
        let refused = exchange_error(s.lab.host(&s.orchestrator, "helper"));
        assert!(matches!(refused, ExchangeError::Stopped(_)), "{stopped}");
    }
    let mut s = scene();
    s.lab.suspend(Subject::Agent { id: retriever });
    let evident = mandate_decide::exchange::Evident {
        agent: mandate_model::AgentTypeName::parse("retriever").unwrap(),
        provider: ProviderName::parse("process").unwrap(),
        instance: InstanceId::parse("r-2").unwrap(),
        kind: mandate_model::AttestationKind::Process,
        facts: std::collections::BTreeMap::new(),
        once: None,
    };
    let fresh = s.lab.fresh();
    let refused = mandate_decide::exchange::attest(
        evident,
        Keyed::default(),
        None,
        None,
        &s.lab.world(),
        &fresh,
    );
    assert!(matches!(refused.map(drop), Err(ExchangeError::Stopped(_))));
}

#[test]
fn suspension_of_one_agent_leaves_others_running() {
    let mut s = scene();
    s.lab.suspend(Subject::Agent {
        id: SpiffeId::parse("spiffe://acme.example/agent/executor").unwrap(),
    });
    assert!(s.lab.reach(&s.retriever, &s.child).is_ok());
    s.lab.suspend(Subject::Task {
        id: s.lab.task(&s.root),
    });
    assert!(
        s.lab.reach(&s.retriever, &s.child).is_err(),
        "a subtree ends with its root"
    );
    let other = s.lab.open(&s.orchestrator, ACME, MORNING).unwrap();
    assert!(
        s.lab
            .delegate(&s.orchestrator, &other, "retriever", ACME)
            .is_ok(),
        "another tree goes on"
    );
}
