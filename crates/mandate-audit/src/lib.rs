//! Audit events, their canonical encoding, the RFC 6962 tree, proofs and checkpoints.
