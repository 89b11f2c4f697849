//! The exchange and the enforcement as chains of typed steps; pure.
