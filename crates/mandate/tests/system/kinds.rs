//! Every kind of token at every place where a token is shown.

use serde_json::json;

use crate::lab::Lab;
use crate::lab::agent::{
    Agent, EXCHANGE, GATEWAYS, JWT, TRUST_DOMAIN, TXN_TOKEN, access_form, attest_form, entry,
    resource, token,
};
use crate::lab::http::{Answer, Field};

/// A kind of token, and one of it.
#[derive(Debug)]
struct Kind {
    name: &'static str,
    token: String,
}

/// A place where a token is shown, and which kind belongs there.
struct Place {
    name: &'static str,
    takes: &'static str,
    show: fn(&Shown<'_>) -> Answer,
}

/// A token at a place, and what is good otherwise.
struct Shown<'a> {
    lab: &'a Lab,
    worker: &'a Agent,
    task: &'a str,
    token: &'a str,
}

#[test]
fn every_token_kind_is_accepted_where_it_belongs() {
    let world = World::new();
    for place in PLACES {
        let kind = world
            .kinds
            .iter()
            .find(|kind| kind.name == place.takes)
            .unwrap();
        let answer = (place.show)(&world.shown(kind));
        assert!(
            matches!(answer.status, 200 | 204),
            "{}: {answer:?}",
            place.name
        );
    }
}

#[test]
fn token_kinds_are_not_confused_at_any_endpoint() {
    let world = World::new();
    for place in PLACES {
        for kind in world.kinds.iter().filter(|kind| kind.name != place.takes) {
            let answer = (place.show)(&world.shown(kind));
            let refused = answer.is_refused();
            assert!(refused, "{} took {}: {answer:?}", place.name, kind.name);
            let leaked = answer.body.contains(kind.token.as_str());
            assert!(!leaked, "{} repeats {}", place.name, kind.name);
        }
    }
    assert_eq!(world.lab.upstream.seen("/items/kinds").len(), 0);
}

struct World {
    lab: Lab,
    worker: Agent,
    task: String,
    kinds: Vec<Kind>,
}

impl World {
    fn new() -> Self {
        let lab = Lab::start();
        lab.assign("dark");
        let worker = lab.worker();
        let task = token(worker.open());
        let part = json!([entry("records", "read"), entry("dark", "read")]);
        let for_gateways = lab.agents().form("/token", &attest_form(Some(GATEWAYS)));
        let kinds = [
            ("id token", lab.id_token("alice")),
            ("svid", worker.svid.clone()),
            ("svid for gateways", token(for_gateways)),
            (
                "svid for elsewhere",
                lab.clerk_svid("https://elsewhere.example"),
            ),
            // Of a child: the place where a task is ended ends this one.
            ("task token", token(worker.delegate(&task, "worker", &part))),
            ("access token", token(worker.access(&task, "records"))),
            (
                "access token for another server",
                token(worker.access(&task, "inner")),
            ),
            ("upstream token", upstream_token(&lab, &worker, &task)),
        ];
        let kinds = kinds.map(|(name, token)| Kind { name, token }).into();
        Self {
            lab,
            worker,
            task,
            kinds,
        }
    }

    fn shown<'a>(&'a self, kind: &'a Kind) -> Shown<'a> {
        Shown {
            lab: &self.lab,
            worker: &self.worker,
            task: &self.task,
            token: &kind.token,
        }
    }
}

/// What the gateway shows to an upstream; no agent ever holds it.
fn upstream_token(lab: &Lab, worker: &Agent, task: &str) -> String {
    let access = token(worker.access(task, "aware"));
    lab.access("/aware/items/aware", &access).expect(200);
    let seen = lab.upstream.seen("/items/aware");
    let field = seen[0].field("authorization").unwrap();
    field.strip_prefix("Bearer ").unwrap().to_owned()
}

/// The token authenticates a client that asks for something good.
fn as_client(shown: &Shown<'_>, path: &str, pairs: &[Field<'_>]) -> Answer {
    let client = Agent::new(shown.worker.door.clone(), shown.token.to_owned());
    client.post(path, pairs)
}

fn open_on_own_account(shown: &Shown<'_>) -> Answer {
    let trigger = json!({"kind": "schedule", "name": "nightly", "item": "item-1"});
    let details = json!({"purpose": "nightly", "trigger": trigger}).to_string();
    shown.worker.exchange(&[
        ("subject_token", shown.token),
        ("subject_token_type", JWT),
        ("requested_token_type", TXN_TOKEN),
        ("audience", TRUST_DOMAIN),
        ("request_details", &details),
    ])
}

const PLACES: &[Place] = &[
    Place {
        name: "client assertion at /token",
        takes: "svid",
        show: |shown| {
            let resource = resource("records");
            let form = access_form(shown.task, &resource);
            as_client(
                shown,
                "/token",
                &[&[("grant_type", EXCHANGE)], form.as_slice()].concat(),
            )
        },
    },
    Place {
        name: "client assertion at /introspect",
        takes: "svid",
        show: |shown| as_client(shown, "/introspect", &[("token", shown.task)]),
    },
    Place {
        name: "client assertion at /revoke",
        takes: "svid",
        show: |shown| as_client(shown, "/revoke", &[("token", "unknown")]),
    },
    Place {
        name: "client assertion at /task/show",
        takes: "svid",
        show: |shown| as_client(shown, "/task/show", &[("token", shown.task)]),
    },
    Place {
        name: "subject of access",
        takes: "task token",
        show: |shown| {
            shown
                .worker
                .exchange(&access_form(shown.token, &resource("records")))
        },
    },
    Place {
        name: "subject of renew",
        takes: "task token",
        show: |shown| shown.worker.renew(shown.token),
    },
    Place {
        name: "subject of open, for a person",
        takes: "id token",
        show: |shown| shown.worker.open_for(shown.token),
    },
    Place {
        name: "subject of open, on the agent's own account",
        takes: "svid",
        show: open_on_own_account,
    },
    Place {
        name: "/task/show",
        takes: "task token",
        show: |shown| shown.worker.post("/task/show", &[("token", shown.token)]),
    },
    Place {
        name: "gateway",
        takes: "access token",
        show: |shown| shown.lab.access("/records/items/kinds", shown.token),
    },
    Place {
        name: "gateway, exchanging",
        takes: "svid for gateways",
        show: |shown| {
            let bearer = format!("Bearer {}", shown.token);
            let fields = [
                ("authorization", bearer.as_str()),
                ("txn-token", shown.task),
            ];
            shown.lab.server.gateway().get("/dark/items/kinds", &fields)
        },
    },
    Place {
        name: "`Txn-Token`",
        takes: "task token",
        show: |shown| {
            let svid = shown
                .lab
                .agents()
                .form("/token", &attest_form(Some(GATEWAYS)));
            let bearer = format!("Bearer {}", token(svid));
            let fields = [
                ("authorization", bearer.as_str()),
                ("txn-token", shown.token),
            ];
            shown.lab.server.gateway().get("/dark/items/kinds", &fields)
        },
    },
    Place {
        name: "/task/close",
        takes: "task token",
        show: |shown| shown.worker.post("/task/close", &[("token", shown.token)]),
    },
];
