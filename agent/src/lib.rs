//! The agent: one on every host.
//!
//! | module | owns |
//! |---|---|
//! | [`run()`] | everything, put together |
//! | [`session`] | the stream with each coordinator |
//! | [`allowed`] | what this host lets Holdfast touch |
//! | [`apps`] | the committed state, as far as it concerns this host |
//! | [`leases`] | asking for leases, fencing, starting |
//! | [`commands`] | commands, their journal and their results |
//! | [`proxies`] | the proxies on this host |
//! | [`scheduler`] | when checks run |
//! | [`executors`] | what can be done, behind one trait; [`exec`] and [`checks`] do it |
//! | [`helper`] | what takes root, in a process of its own |
//! | [`store`] | what is kept over a restart |
//! | [`metrics`] | what the host measures of itself |
//! | [`control`] | the socket for root on this host |
//! | [`join`], [`renew`], [`units`] | its certificate, and what joining has systemd start |
//! | [`config`] | what files say |
//! | [`command`] | the command line, and the real parts |
//! | [`wire`] | messages to values, and back |

pub mod allowed;
pub mod apps;
pub mod backoff;
pub mod checks;
pub mod command;
pub mod commands;
pub mod config;
pub mod connect;
pub mod control;
#[doc(hidden)]
pub mod doors;
pub mod exec;
pub mod executors;
pub mod findings;
pub mod helper;
pub mod join;
pub mod leases;
pub mod locks;
pub mod metrics;
pub mod proxies;
pub mod renew;
mod run;
pub mod scheduler;
pub mod session;
pub mod store;
pub mod units;
pub mod wire;

pub use apps::Me;
pub use run::{AgentError, Parts, run};
