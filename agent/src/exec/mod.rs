//! What the agent can do to the things on its host: run a child or a script, end processes for sure, steer PostgreSQL,
//! switch HAProxy.
//!
//! Executors are convergent: they look at what is really there, and what is done already is done. Every call has a
//! deadline, and none leaves a child, a task or a connection behind.

pub mod cgroup;
pub mod child;
pub mod container;
pub mod haproxy;
pub mod names;
pub mod postgres;
pub mod processes;
pub mod script;
mod until;

pub use until::Until;
