//! The agent: one on every host.

pub mod checks;
pub mod exec;
