//! Attestors: evidence of a platform into attested facts, or a refusal.
