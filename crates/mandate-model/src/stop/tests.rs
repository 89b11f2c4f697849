use super::*;
use crate::{AttestationKind, Host};

fn actor(agent: &str, instance: &str, host: Option<&str>) -> ActorLevel {
    let sub = |name: &str| SpiffeId::parse(&format!("spiffe://a/agent/{name}")).unwrap();
    ActorLevel {
        sub: sub(agent),
        inst: InstanceId::parse(instance).unwrap(),
        prv: ProviderName::parse("linux").unwrap(),
        att: if host.is_some() {
            AttestationKind::Hosted
        } else {
            AttestationKind::Process
        },
        host: host.map(|name| Host {
            sub: sub(name),
            inst: InstanceId::parse("h1").unwrap(),
        }),
    }
}

fn set_of(subject: Subject) -> StopSet {
    let suspension = Suspension {
        subject,
        reason: "INC-1".to_owned(),
        operator: Principal::parse("operator:root").unwrap(),
        version: StopVersion::new(1),
        at: Timestamp::from_secs(1),
    };
    StopSet::of_suspensions(StopVersion::new(1), [suspension])
}

/// The stops after `subject` was resumed with version `version`.
fn resumed(subject: Subject, version: u64) -> StopSet {
    let version = StopVersion::new(version);
    let resumption = Resumption {
        subject,
        version,
        until: Timestamp::from_secs(9),
    };
    StopSet::new(version, [], [resumption], [], [])
}

fn shown(stops: u64) -> Option<Shown> {
    Some(Shown {
        id: TokenId::new(Timestamp::from_secs(1), [1; 10]),
        stops: StopVersion::new(stops),
    })
}

#[test]
fn a_suspension_and_a_resumption_match_every_element_of_a_lineage_and_nothing_else() {
    let actors = [
        actor("retriever", "i2", Some("orchestrator")),
        actor("planner", "i1", None),
    ];
    let task = |n: u8| TaskId::new(Timestamp::from_secs(1), [n; 10]);
    let path = [task(1), task(2)];
    let principal = Principal::parse("user:login:alice").unwrap();
    let (trigger, server) = (
        ProviderName::parse("login").unwrap(),
        ServerName::parse("records").unwrap(),
    );
    let gateway = GatewayId::parse("g1").unwrap();
    let keys = [KeyId::parse("k1").unwrap()];
    let recipient = SpiffeId::parse("spiffe://a/agent/executor").unwrap();
    let lineage = Lineage {
        actors: &actors,
        path: &path,
        principal: Some(&principal),
        trigger_provider: Some(&trigger),
        server: Some(&server),
        gateway: Some(&gateway),
        keys: &keys,
        recipient: Some(&recipient),
        operates: false,
        token: shown(6),
        holder: None,
    };
    let agent = |name: &str| Subject::Agent {
        id: SpiffeId::parse(&format!("spiffe://a/agent/{name}")).unwrap(),
    };
    let instance = |id: &str| Subject::Instance {
        provider: ProviderName::parse("linux").unwrap(),
        id: InstanceId::parse(id).unwrap(),
    };
    let provider = |name: &str| Subject::Provider {
        name: ProviderName::parse(name).unwrap(),
    };
    let server = |name: &str| Subject::Server {
        name: ServerName::parse(name).unwrap(),
    };
    for hit in [
        agent("retriever"),
        agent("planner"),
        agent("orchestrator"),
        agent("executor"),
        instance("i1"),
        instance("i2"),
        instance("h1"),
        provider("linux"),
        provider("login"),
        server("records"),
        Subject::Task { id: task(1) },
        Subject::Task { id: task(2) },
        Subject::Principal {
            id: principal.clone(),
        },
        Subject::Gateway {
            id: gateway.clone(),
        },
        Subject::Key {
            id: keys[0].clone(),
        },
        Subject::Everything,
    ] {
        assert_eq!(
            set_of(hit.clone()).check(&lineage),
            Err(Stopped::Suspended(hit.clone()))
        );
        // Issued under version 6: before the resumption that got 7, and after the one that got 6.
        let void = Err(Stopped::IssuedBefore(hit.clone()));
        assert_eq!(resumed(hit.clone(), 7).check(&lineage), void);
        assert_eq!(resumed(hit, 6).check(&lineage), Ok(()));
    }
    for miss in [
        agent("summarizer"),
        instance("i3"),
        provider("other"),
        server("other"),
        Subject::Task { id: task(3) },
        Subject::Principal {
            id: Principal::parse("user:login:bob").unwrap(),
        },
        Subject::Gateway {
            id: GatewayId::parse("g2").unwrap(),
        },
        Subject::Key {
            id: KeyId::parse("k2").unwrap(),
        },
    ] {
        assert_eq!(set_of(miss.clone()).check(&lineage), Ok(()));
        assert_eq!(resumed(miss, 7).check(&lineage), Ok(()));
    }
}

#[test]
fn an_ended_ancestor_and_a_revoked_token_stop_a_lineage() {
    let task = |n: u8| TaskId::new(Timestamp::from_secs(1), [n; 10]);
    let token = TokenId::new(Timestamp::from_secs(1), [1; 10]);
    let later = Timestamp::from_secs(9);
    let stops = StopSet::new(
        StopVersion::new(1),
        [],
        [],
        [(task(1), later)],
        [(token, later)],
    );
    let path = [task(1), task(2)];
    let of_path = Lineage {
        path: &path,
        ..Lineage::NONE
    };
    assert_eq!(stops.check(&of_path), Err(Stopped::TaskEnded(task(1))));
    let of_token = Lineage {
        token: Some(Shown {
            id: token,
            stops: StopVersion::new(1),
        }),
        ..Lineage::NONE
    };
    assert_eq!(stops.check(&of_token), Err(Stopped::TokenRevoked(token)));
    assert_eq!(stops.check(&Lineage::NONE), Ok(()));
}

#[test]
fn what_was_suspended_again_says_so_and_its_older_tokens_stay_void() {
    let subject = Subject::Everything;
    let again = Suspension {
        version: StopVersion::new(8),
        ..set_of(subject.clone())
            .suspension(&subject)
            .unwrap()
            .clone()
    };
    let stops = resumed(subject.clone(), 7).with(StopVersion::new(8), [again]);
    let lineage = |stops| Lineage {
        token: shown(stops),
        ..Lineage::NONE
    };
    for issued in [6, 7, 8] {
        let stopped = stops.check(&lineage(issued));
        assert_eq!(stopped, Err(Stopped::Suspended(subject.clone())));
    }
    assert_eq!(stops.resumptions().count(), 1);
    assert_eq!(stops.suspensions().count(), 1);
}

#[test]
fn of_two_resumptions_the_later_one_holds_whatever_order_they_come_in() {
    let of = |version| {
        let stops = resumed(Subject::Everything, version);
        stops.resumptions().next().unwrap().clone()
    };
    for pair in [[of(3), of(7)], [of(7), of(3)]] {
        let stops = StopSet::new(StopVersion::new(7), [], pair, [], []);
        let lineage = Lineage {
            token: shown(6),
            ..Lineage::NONE
        };
        let void = Err(Stopped::IssuedBefore(Subject::Everything));
        assert_eq!(stops.check(&lineage), void);
    }
}

#[test]
fn a_resumption_stops_nothing_that_is_no_token() {
    // An attestation, the opening of a task: there is nothing yet that could have been issued before.
    assert_eq!(
        resumed(Subject::Everything, 7).check(&Lineage::NONE),
        Ok(())
    );
}

#[test]
fn a_token_ahead_of_the_stops_is_void_where_they_are_kept_and_nowhere_else() {
    let stops = StopSet::of_suspensions(StopVersion::new(5), []);
    let ahead = |stops| Lineage {
        token: shown(stops),
        ..Lineage::NONE
    };
    assert_eq!(stops.check_at_home(&ahead(5)), Ok(()));
    assert_eq!(
        stops.check_at_home(&ahead(6)),
        Err(Stopped::FromAnotherPast)
    );
    assert_eq!(stops.check(&ahead(6)), Ok(()));
}

#[test]
fn a_token_of_a_replaced_key_is_void_and_others_are_not() {
    let (old, new) = (Thumbprint::new([1; 32]), Thumbprint::new([2; 32]));
    let stops = StopSet::default().with_replaced_keys([(old, Timestamp::from_secs(9))]);
    let bound_to = |key| {
        stops.check(&Lineage {
            holder: key,
            ..Lineage::NONE
        })
    };
    assert_eq!(bound_to(Some(&old)), Err(Stopped::KeyReplaced));
    assert_eq!(bound_to(Some(&new)), Ok(()));
    assert_eq!(bound_to(None), Ok(()));
}

#[test]
fn a_replaced_key_is_left_out_once_nothing_bound_to_it_lives() {
    let (old, new) = (Thumbprint::new([1; 32]), Thumbprint::new([2; 32]));
    let at = Timestamp::from_secs;
    let stops = StopSet::default().with_replaced_keys([(old, at(9)), (new, at(20))]);
    let left = |moment| {
        let stops = stops.clone().without_keys_replaced_until(at(moment));
        stops.replaced_keys().count()
    };
    assert_eq!([left(9), left(10), left(21)], [2, 1, 0]);
}

#[test]
fn everything_suspended_or_resumed_leaves_operators_their_sessions() {
    let operator = Principal::parse("operator:amy").unwrap();
    let session = Lineage {
        principal: Some(&operator),
        operates: true,
        token: shown(6),
        ..Lineage::NONE
    };
    assert_eq!(set_of(Subject::Everything).check(&session), Ok(()));
    assert_eq!(resumed(Subject::Everything, 7).check(&session), Ok(()));
    let id = operator.clone();
    let amy = Subject::Principal { id };
    let stopped = Err(Stopped::Suspended(amy.clone()));
    assert_eq!(set_of(amy.clone()).check(&session), stopped);
    let void = Err(Stopped::IssuedBefore(amy.clone()));
    assert_eq!(resumed(amy, 7).check(&session), void);
}
