//! One file per command: its options, what it asks for, how it shows the answer.

pub(crate) mod access;
mod agent_options;
pub(crate) mod apply;
pub(crate) mod audit;
mod bundle_files;
pub(crate) mod check;
pub(crate) mod completions;
pub(crate) mod doctor;
pub(crate) mod exec;
pub(crate) mod explain;
pub(crate) mod gateway;
pub(crate) mod init;
pub(crate) mod keys;
mod live;
pub(crate) mod plan;
pub(crate) mod resume;
pub(crate) mod runbook;
pub(crate) mod schema;
pub(crate) mod status;
mod subject;
pub(crate) mod suspend;
pub(crate) mod suspensions;
mod table;
pub(crate) mod task;
pub(crate) mod token;
pub(crate) mod trace;
pub(crate) mod whoami;
