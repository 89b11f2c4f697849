//! Fakes with faults, fixed clock, seeded entropy, test issuers, contract suites.
