//! The published test vectors of proofs, `vectors/proofs/dpop.json`: other languages run the same file.
//!
//! `MANDATE_WRITE_VECTORS=1 cargo test -p mandate-token vectors` makes the file anew, with new keys.

use std::path::PathBuf;

use mandate_model::Timestamp;
use serde_json::{Value, json};

use super::dpop::{
    RFC_ACCESS_TOKEN, RFC_JKT, RFC_RESOURCE, RFC_TOKEN, TOKEN_ENDPOINT, parts, point,
};
use super::fixture::*;
use crate::dpop::*;

/// A change of header and claims.
type Edit = fn(&mut Value, &mut Value);

fn file() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../vectors/proofs/dpop.json")
}

#[test]
fn the_published_vectors_of_proofs_hold() {
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
    let cases = vectors["cases"].as_array().unwrap();
    assert!(cases.len() > 20);
    for case in cases {
        let name = &case["name"];
        match (outcome(case), case["refused"].as_str()) {
            (Ok(proof), None) => assert_eq!(proof.key().to_string(), case["jkt"], "{name}"),
            (Err(why), Some(rule)) => {
                assert!(format!("{why:?}").starts_with(rule), "{name}: {why:?}")
            }
            (got, wanted) => panic!("{name}: {got:?}, not {wanted:?}"),
        }
    }
}

fn outcome(case: &Value) -> Result<DpopProof, ProofError> {
    let text = |name: &str| case[name].as_str().unwrap();
    let request = ProofFor {
        method: text("method"),
        target: &HttpTarget::parse(text("target")).unwrap(),
        access_token: case["access_token"].as_str(),
        task_token: None,
    };
    let now = Timestamp::from_secs(case["now"].as_u64().unwrap());
    UnverifiedProof::parse(text("proof"))?.verify(&request, now)
}

fn made_anew() -> Value {
    let mut cases = vec![
        json!({"name": "RFC 9449 §4.1", "proof": RFC_TOKEN, "method": "POST", "now": 1_562_262_616_u64,
            "target": "https://server.example.com/token", "jkt": RFC_JKT}),
        json!({"name": "RFC 9449 §7.1", "proof": RFC_RESOURCE, "method": "GET", "now": 1_562_262_618_u64,
            "target": "https://resource.example.org/protectedresource", "access_token": RFC_ACCESS_TOKEN,
            "jkt": RFC_JKT}),
        json!({"name": "RFC 9449 §7.1, beside another token", "proof": RFC_RESOURCE, "method": "GET",
            "now": 1_562_262_618_u64, "target": "https://resource.example.org/protectedresource",
            "access_token": "another", "refused": "Hash"}),
    ];
    let edits: [(&str, &str, Edit); 20] = [
        ("as made", "", |_, _| ()),
        ("with members that mean nothing here", "", |h, c| {
            h["kid"] = "x".into();
            c["note"] = "x".into();
        }),
        ("with a query", "", |_, c| {
            c["htu"] = format!("{TOKEN_ENDPOINT}?a#b").into()
        }),
        ("in another spelling", "", |_, c| {
            c["htu"] = "HTTPS://ID.ACME.EXAMPLE:443/./%74oken".into();
        }),
        ("a minute old", "TooOld", |_, c| {
            c["iat"] = (NOW - 60).into()
        }),
        ("from the future", "FromTheFuture", |_, c| {
            c["iat"] = (NOW + 61).into()
        }),
        ("other method", "Method", |_, c| c["htm"] = "GET".into()),
        ("method in lower case", "Method", |_, c| {
            c["htm"] = "post".into()
        }),
        ("other path", "Target", |_, c| {
            c["htu"] = "https://id.acme.example/x".into()
        }),
        ("other host", "Target", |_, c| {
            c["htu"] = "https://gw.acme.example/token".into()
        }),
        ("other scheme", "Target", |_, c| {
            c["htu"] = "http://id.acme.example/token".into()
        }),
        ("relative target", "Claim", |_, c| {
            c["htu"] = "/token".into()
        }),
        ("without jti", "Claim", |_, c| {
            drop(c.as_object_mut().unwrap().remove("jti"))
        }),
        ("made for a token", "StrayHash", |_, c| {
            c["ath"] = b64([0; 32]).into()
        }),
        ("other typ", "Type", |h, _| h["typ"] = "JWT".into()),
        ("algorithm none", "Algorithm", |h, _| {
            h["alg"] = "none".into()
        }),
        ("symmetric algorithm", "Algorithm", |h, _| {
            h["alg"] = "HS256".into()
        }),
        ("private key", "PrivateKey", |h, _| {
            h["jwk"]["d"] = b64([1; 32]).into()
        }),
        ("key elsewhere", "KeyElsewhere", |h, _| {
            h["jku"] = "https://x.example".into()
        }),
        ("key of another", "Signature", |h, _| {
            h["jwk"] = parts(&new_key()).0["jwk"].clone();
        }),
    ];
    cases.extend(edits.map(|(name, refused, edit)| case(name, refused, edit)));
    json!({
        "about": "Proofs of possession (RFC 9449), and what must be refused. `refused` names the broken \
                  rule; a case without it is accepted, and its key has the thumbprint `jkt`. Verify \
                  `proof` for a request of `method` to `target`, beside `access_token` where there is \
                  one, at `now` (seconds).",
        "cases": cases,
    })
}

fn case(name: &str, refused: &str, edit: Edit) -> Value {
    let pair = new_key();
    let (mut header, mut claims) = parts(&pair);
    edit(&mut header, &mut claims);
    let proof = raw(&pair, &header.to_string(), &claims.to_string());
    let mut case = json!({"name": name, "proof": proof, "method": "POST", "target": TOKEN_ENDPOINT, "now": NOW});
    if refused.is_empty() {
        case["jkt"] = thumbprint_of_point(&point(&pair)).to_string().into();
    } else {
        case["refused"] = refused.into();
    }
    case
}
