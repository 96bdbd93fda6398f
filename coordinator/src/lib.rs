//! The coordinator: tracks the health of regions, decides, and drives every command.
//!
//! Deciding lives in `holdfast_coordinator_core`; here are the shells around it. [`run::run`] puts them together.

pub mod api;
pub mod authorise;
pub mod calls;
pub mod command;
pub mod config;
pub mod consensus;
pub mod decide;
pub mod describe;
pub mod desired;
#[doc(hidden)]
pub mod doors;
pub mod duties;
pub mod engine;
pub mod fleet;
pub mod init;
pub mod issue;
pub mod leases;
pub mod maintenance;
pub mod metrics;
pub mod readiness;
pub mod replica;
pub mod rounds;
pub mod run;
mod serve;
pub mod session;
