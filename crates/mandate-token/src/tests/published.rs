//! The published key sets.

use std::time::Duration;

use aws_lc_rs::signature::KeyPair;

use super::fixture::*;
use crate::*;

#[test]
fn each_set_publishes_only_the_keys_of_its_use() {
    let authority = Authority::new();
    let jwks = authority.keys.jwks_oauth();
    assert_eq!(jwks["keys"].as_array().unwrap().len(), 1);
    assert_eq!(jwks["keys"][0]["kid"], "oauth-1");
    assert_eq!(jwks["keys"][0]["use"], "sig");
    let bundle = authority.keys.spiffe_bundle(7, Duration::from_secs(60));
    assert_eq!(bundle["keys"].as_array().unwrap().len(), 1);
    assert_eq!(bundle["keys"][0]["kid"], "svid-1");
    assert_eq!(bundle["keys"][0]["use"], "jwt-svid");
    assert_eq!(bundle["spiffe_sequence"], 7);
    assert_eq!(bundle["spiffe_refresh_hint"], 60);
    let point = authority.svid.public_key();
    assert_eq!(bundle["keys"][0]["x"], b64(&point.as_ref()[1..33]));
    assert_eq!(bundle["keys"][0]["y"], b64(&point.as_ref()[33..]));
}

#[test]
fn a_key_set_refuses_points_off_the_curve_and_a_kid_twice() {
    let pair = new_key();
    let point = pair.public_key().as_ref().to_vec();
    let mut off = point.clone();
    off[64] ^= 1;
    let set = |keys: Vec<(&str, Vec<u8>)>| {
        KeySet::new(keys.into_iter().map(|(id, p)| (kid(id), KeyUse::Oauth, p))).map(|_| ())
    };
    assert_eq!(
        set(vec![("a", point.clone()), ("b", point.clone())]),
        Ok(())
    );
    assert_eq!(set(vec![("a", off)]), Err(KeySetError::NoPoint(kid("a"))));
    assert_eq!(
        set(vec![("a", vec![])]),
        Err(KeySetError::NoPoint(kid("a")))
    );
    assert_eq!(
        set(vec![("a", point.clone()), ("a", point)]),
        Err(KeySetError::Duplicate(kid("a")))
    );
}
