//! The helper: what takes root on a host, and nothing else.
//!
//! The agent speaks to the network and needs no rights; the helper has them, speaks to nobody but the agent beside it,
//! and touches only what root has declared. It decides nothing: when to fence and when to open is the agent's affair.
//!
//! | module | is |
//! |---|---|
//! | [`protocol`] | what is said |
//! | [`client`] | the agent's side, as executors |
//! | [`server`] | the helper's side |
//! | [`start`] | whether systemd may start a declared unit now |
//! | [`units`] | what makes systemd ask |
//! | [`command`] | its command line |

pub mod client;
pub mod command;
pub mod protocol;
pub mod server;
pub mod start;
pub mod units;
