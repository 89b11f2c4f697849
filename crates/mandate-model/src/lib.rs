//! The words of Mandate as types: ids, mandates and narrowing, tasks, suspensions, time, secrets.
