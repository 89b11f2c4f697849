//! The authority: token endpoint, tasks, operators, control stream.
