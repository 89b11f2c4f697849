//! Tests of whole tokens, signed with real keys through the same builders that others use.

mod consistency;
mod dpop;
mod evidence;
mod fixture;
mod forgery;
mod id_tokens;
mod kinds;
mod proof_vectors;
mod published;
mod round_trip;
mod times;
mod vectors;
