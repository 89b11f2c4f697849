//! The published test vectors, `vectors/tokens/own.json`: other languages run the same file.
//!
//! `MANDATE_WRITE_VECTORS=1 cargo test -p mandate-token vectors` makes the file anew, with new keys.

use std::path::PathBuf;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use mandate_model::{KeyId, Timestamp};
use serde_json::{Value, json};

use super::fixture::*;
use crate::*;

fn file() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../vectors/tokens/own.json")
}

#[test]
fn the_published_vectors_hold() {
    #[expect(
        clippy::disallowed_methods,
        reason = "a developer's switch; tests have no command line"
    )]
    let anew = std::env::var_os("MANDATE_WRITE_VECTORS").is_some();
    if anew {
        let text = serde_json::to_string_pretty(&made_anew()).unwrap();
        std::fs::write(file(), text + "\n").unwrap();
    }
    let vectors: Value = serde_json::from_slice(&std::fs::read(file()).unwrap()).unwrap();
    let keys = read_keys(&vectors);
    let cases = vectors["cases"].as_array().unwrap();
    assert!(cases.len() > 40);
    for kind in KINDS {
        let accepted = |case: &&Value| case["kind"] == kind && case.get("refused").is_none();
        assert_eq!(cases.iter().filter(accepted).count(), 1, "{kind}");
    }
    for case in cases {
        let got = outcome(case, &keys, vectors["issuer"].as_str().unwrap());
        let want = case["refused"].as_str().unwrap_or_default();
        let name = &case["name"];
        assert_eq!(got.is_empty(), want.is_empty(), "{name}: {got}");
        assert!(got.starts_with(want), "{name}: {got}");
    }
}

/// The name of the broken rule; empty where the token is accepted.
fn outcome(case: &Value, keys: &KeySet, issuer: &str) -> String {
    let text = |name: &str| case[name].as_str().unwrap();
    let (issuer, audience) = (Issuer::parse(issuer).unwrap(), audience(text("audience")));
    let now = Timestamp::from_secs(case["now"].as_u64().unwrap());
    let expect = Expect {
        issuer: &issuer,
        audience: &audience,
    };
    let refused = match text("kind") {
        "jwt_svid" => JwtSvid::verify(text("token"), keys, &expect, now).err(),
        "task_token" => TaskToken::verify(text("token"), keys, &expect, now).err(),
        "access_token" => AccessToken::verify(text("token"), keys, &expect, now).err(),
        "upstream_token" => UpstreamToken::verify(text("token"), keys, &expect, now).err(),
        "operator_session" => OperatorSession::verify(text("token"), keys, &expect, now).err(),
        other => panic!("unknown kind {other}"),
    };
    refused.map_or(String::new(), |why| format!("{why:?}"))
}

fn read_keys(vectors: &Value) -> KeySet {
    let of = |set: &str, r#use| {
        let keys = vectors[set]["keys"].as_array().unwrap().clone();
        keys.into_iter().map(move |jwk| {
            let bytes = |name: &str| URL_SAFE_NO_PAD.decode(jwk[name].as_str().unwrap());
            let point = [vec![4], bytes("x").unwrap(), bytes("y").unwrap()].concat();
            (
                KeyId::parse(jwk["kid"].as_str().unwrap()).unwrap(),
                r#use,
                point,
            )
        })
    };
    let both = of("spiffe_bundle", KeyUse::Svid).chain(of("jwks", KeyUse::Oauth));
    KeySet::new(both).unwrap()
}

fn made_anew() -> Value {
    let authority = Authority::new();
    let mut cases = Vec::new();
    cases.extend(common_cases(&authority, "jwt_svid", &svid()));
    cases.extend(common_cases(&authority, "task_token", &child_task()));
    cases.extend(common_cases(&authority, "access_token", &access()));
    cases.extend(common_cases(&authority, "upstream_token", &upstream()));
    cases.extend(common_cases(&authority, "operator_session", &session()));
    cases.extend(own_cases(&authority));
    cases.extend(session_cases(&authority));
    json!({
        "about": "Tokens of each kind, and what must be refused. `refused` names the broken rule; \
                  a case without it is accepted. Verify `token` as `kind`, for `issuer` and \
                  `audience`, at `now` (seconds).",
        "issuer": issuer(),
        "jwks": authority.keys.jwks_oauth(),
        "spiffe_bundle": authority.keys.spiffe_bundle(1, std::time::Duration::from_secs(60)),
        "cases": cases,
    })
}

/// Makes the cases of one kind.
struct Cases<'a, T> {
    authority: &'a Authority,
    kind: &'static str,
    claims: &'a T,
}

impl<T: Kind> Cases<'_, T> {
    fn of(&self, name: &str, refused: &str, edit: impl FnOnce(&mut Value, &mut Value)) -> Value {
        self.with_text(name, refused, self.authority.forge(self.claims, edit))
    }

    fn with_text(&self, name: &str, refused: &str, token: String) -> Value {
        let audience = self.claims.common().audience;
        let mut case = json!({"name": format!("{}: {name}", self.kind), "kind": self.kind,
            "audience": audience, "now": NOW, "token": token});
        if !refused.is_empty() {
            case["refused"] = refused.into();
        }
        case
    }

    fn at(&self, name: &str, refused: &str, now: u64) -> Value {
        let mut case = self.of(name, refused, |_, _| ());
        case["now"] = now.into();
        case
    }
}

fn common_cases<T: Kind>(authority: &Authority, kind: &'static str, claims: &T) -> Vec<Value> {
    let cases = Cases {
        authority,
        kind,
        claims,
    };
    let good = authority.issue(claims);
    let (input, _) = good.rsplit_once('.').unwrap();
    let body = input.split_once('.').unwrap().1;
    let (id, pair) = authority.key::<T>();
    let header = json!({"alg": "ES256", "kid": id, "typ": T::KIND.typ}).to_string();
    let twice = String::from_utf8(claims.encode().unwrap()).unwrap();
    let twice = twice.replacen('{', r#"{"exp":9999999999,"#, 1);
    let none = b64(json!({"alg": "none", "kid": id, "typ": T::KIND.typ}).to_string());
    vec![
        cases.with_text("as issued", "", good.clone()),
        cases.at("after its end", "Expired", NOW + 3600),
        cases.at("issued in the future", "FromTheFuture", NOW - 6),
        cases.with_text("padded", "Base64", format!("{good}==")),
        cases.with_text("without signature", "Shape", input.to_owned()),
        cases.with_text("algorithm none", "Algorithm", format!("{none}.{body}.")),
        cases.with_text("member twice", "Json", raw(pair, &header, &twice)),
        cases.of("other typ", "Type", |h, _| h["typ"] = "dpop+jwt".into()),
        cases.of("unknown kid", "UnknownKey", |h, _| h["kid"] = "x".into()),
        cases.of("key in header", "KeyInHeader", |h, _| h["jwk"] = json!({})),
        cases.of("crit", "CriticalHeader", |h, _| h["crit"] = json!(["exp"])),
        cases.of("unknown claim", "Json", |_, c| c["admin"] = true.into()),
        cases.of("list of audiences", "SeveralAudiences", |_, c| {
            c["aud"] = json!([c["aud"]]);
        }),
        cases.of("other audience", "Audience", |_, c| c["aud"] = "x".into()),
        cases.of("other issuer", "Issuer", |_, c| {
            c["iss"] = "https://x".into()
        }),
    ]
}

fn own_cases(authority: &Authority) -> Vec<Value> {
    let (task, token) = (child_task(), access());
    let tasks = Cases {
        authority,
        kind: "task_token",
        claims: &task,
    };
    let accesses = Cases {
        authority,
        kind: "access_token",
        claims: &token,
    };
    let shed = |c: &mut Value| drop(c.as_object_mut().unwrap().remove("act"));
    vec![
        tasks.of("act shed", "Contradiction", |_, c| shed(c)),
        tasks.of("scope wider", "Scope", |_, c| {
            c["scope"] = "records:refund".into()
        }),
        tasks.of("other root", "Contradiction", |_, c| {
            c["txn"] = json!(task_id(9))
        }),
        accesses.of("act shed", "Json", |_, c| shed(c)),
        accesses.of("other client", "Contradiction", |_, c| {
            c["client_id"] = json!(agent("orchestrator"));
        }),
        accesses.of("outlives its task", "Contradiction", |_, c| {
            c["exp"] = (NOW + 601).into();
        }),
        accesses.with_text(
            "a token for an upstream",
            "Json",
            authority.issue(&upstream()),
        ),
        accesses.with_text("a task token", "Type", authority.issue(&task)),
    ]
}

/// A session is a person whom a provider vouched for, and nobody's token.
fn session_cases(authority: &Authority) -> Vec<Value> {
    let session = session();
    let sessions = Cases {
        authority,
        kind: "operator_session",
        claims: &session,
    };
    let without = |name: &str| {
        let name = name.to_owned();
        move |_: &mut Value, c: &mut Value| drop(c.as_object_mut().unwrap().remove(&name))
    };
    vec![
        sessions.of("of an agent", "Contradiction", |_, c| {
            c["sub"] = json!(agent("retriever"));
        }),
        sessions.of("of nobody", "Contradiction", |_, c| {
            c["person"] = json!({"groups": ["sre"]});
        }),
        sessions.of("without its provider", "Json", without("prv")),
        sessions.of("without whose word that was", "Json", without("pin")),
        sessions.of("with more of the provider", "Json", |_, c| {
            c["pin"]["extra"] = json!("x");
        }),
        sessions.with_text("an access token", "Type", authority.issue(&access())),
        sessions.with_text("a JWT-SVID", "Type", authority.issue(&svid())),
    ]
}

const KINDS: [&str; 5] = [
    "jwt_svid",
    "task_token",
    "access_token",
    "upstream_token",
    "operator_session",
];
