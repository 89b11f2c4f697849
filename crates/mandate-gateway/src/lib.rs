//! The gateway: enforcement in front of server workloads.
