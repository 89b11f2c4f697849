//! Tokens: what nobody signed is nothing, and what is signed is one thing.

use std::sync::LazyLock;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use mandate_ports::{KeyPurpose, KeyRecord, KeySource, KeyState, Signer};
use mandate_testkit::keys::TestKeys;
use mandate_token::{
    AccessToken, Audience, Expect, IdToken, IdTokenKeys, Issuer, JwtSvid, KeySet, KeyUse, Kind,
    TaskToken, UpstreamToken, check_json,
};

use crate::world::{ISSUER, NOW, key_id};

/// Reads `data`: after `raw\n` a token as it came; otherwise a header and claims, a line each, which
/// are signed as they stand by the key that the header names.
///
/// - Nothing verifies that was not signed here.
/// - What is signed is of at most one kind, whatever it says.
/// - What was accepted can be issued again, and is then accepted with the same claims.
/// - JSON that passes as strict is JSON for everybody.
pub fn tokens(data: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(data) else {
        return false;
    };
    if let Some(token) = text.strip_prefix("raw\n") {
        check_unsigned(token);
        return false;
    }
    let Some((header, claims)) = text.split_once('\n') else {
        return false;
    };
    if check_json(claims.as_bytes()).is_ok() {
        assert!(serde_json::from_str::<serde_json::Value>(claims).is_ok());
    }
    let key = if header.contains("\"svid\"") {
        "svid"
    } else {
        "oauth"
    };
    let encode = |part: &str| URL_SAFE_NO_PAD.encode(part);
    let input = format!("{}.{}", encode(header), encode(claims));
    let token = format!(
        "{input}.{}",
        URL_SAFE_NO_PAD.encode(sign(key, input.as_bytes()))
    );
    check_signed(&token)
}

fn check_unsigned(token: &str) {
    assert_eq!(kinds(token), [false; 4], "accepted though nobody signed it");
    let keys = &WORLD.id_token_keys;
    assert!(IdToken::verify(token, keys, ISSUER, AUDIENCE, NOW).is_err());
    if let Ok(keys) = IdTokenKeys::from_jwks(token.as_bytes()) {
        // Keys of others verify nothing that they did not sign either.
        assert!(IdToken::verify(token, &keys, ISSUER, AUDIENCE, NOW).is_err());
    }
}

fn check_signed(token: &str) -> bool {
    let accepted = kinds(token).iter().filter(|is| **is).count();
    assert!(accepted <= 1, "one token of several kinds");
    let again = [
        check_again::<JwtSvid>(token),
        check_again::<TaskToken>(token),
        check_again::<AccessToken>(token),
        check_again::<UpstreamToken>(token),
    ];
    let keys = &WORLD.id_token_keys;
    let id_token = IdToken::verify(token, keys, ISSUER, AUDIENCE, NOW);
    if let Ok(id) = &id_token {
        assert_eq!(id.issuer(), ISSUER);
        assert!(!id.subject().is_empty());
        assert!(id.expires_at().plus(LEEWAY) > NOW);
    }
    again.contains(&true) || id_token.is_ok()
}

fn kinds(token: &str) -> [bool; 4] {
    let keys = &WORLD.keys;
    [
        JwtSvid::verify_signature(token, keys).is_ok(),
        TaskToken::verify_signature(token, keys).is_ok(),
        AccessToken::verify_signature(token, keys).is_ok(),
        UpstreamToken::verify_signature(token, keys).is_ok(),
    ]
}

/// That claims which were read can be written, and are then read as the same.
fn check_again<T: Kind>(token: &str) -> bool {
    let audience = Audience::parse(AUDIENCE).unwrap();
    let expect = Expect {
        issuer: &WORLD.issuer,
        audience: &audience,
    };
    let Ok(verified) = T::verify(token, &WORLD.keys, &expect, NOW) else {
        return false;
    };
    let key = verified.signed_by().clone();
    let unsigned = verified.claims().clone().unsigned(&key);
    let unsigned = unsigned.expect("what is accepted can be issued");
    let signature = sign(key.as_str(), unsigned.signing_input());
    let signed = unsigned.assemble(&signature);
    let checked = signed.check(&WORLD.keys, verified.claims(), NOW);
    assert!(checked.is_ok(), "{:?}", checked.err());
    true
}

struct World {
    keys: KeySet,
    id_token_keys: IdTokenKeys,
    signer: TestKeys,
    issuer: Issuer,
}

static WORLD: LazyLock<World> = LazyLock::new(|| {
    let signer = TestKeys::default();
    let records =
        [("svid", KeyPurpose::Svid), ("oauth", KeyPurpose::Oauth)].map(|(id, purpose)| {
            let new = signer.generate(purpose).expect("a key");
            KeyRecord {
                id: key_id(id),
                purpose,
                state: KeyState::Signing,
                public: new.public,
                pkcs8: new.pkcs8,
                since: NOW,
            }
        });
    signer.load(&records);
    let of = |record: &KeyRecord| {
        let r#use = match record.purpose {
            KeyPurpose::Svid => KeyUse::Svid,
            KeyPurpose::Oauth | KeyPurpose::Log => KeyUse::Oauth,
        };
        (record.id.clone(), r#use, record.public.clone())
    };
    let keys = KeySet::new(records.iter().map(of)).expect("a key set");
    let jwks = keys.jwks_oauth().to_string();
    World {
        id_token_keys: IdTokenKeys::from_jwks(jwks.as_bytes()).expect("a JWK set"),
        issuer: Issuer::parse(ISSUER).unwrap(),
        keys,
        signer,
    }
});

fn sign(key: &str, input: &[u8]) -> [u8; 64] {
    let signed = WORLD.signer.sign(&key_id(key), input);
    signed.expect("the key signs").signature
}

const AUDIENCE: &str = "https://records.acme.example";
const LEEWAY: std::time::Duration = std::time::Duration::from_secs(60);
