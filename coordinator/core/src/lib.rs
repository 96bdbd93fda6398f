//! What the coordinator decides, as plain functions and state machines: verdicts, the gate, plans, the engine's next
//! move, and how the replicated state changes. No tokio, no sockets, no clock reads: time comes in as a value.

pub mod change;
pub mod counter;
pub mod engine;
pub mod gate;
pub mod grants;
pub mod maintenance;
pub mod metrics;
pub mod plan;
pub mod promotable;
pub mod readiness;
pub mod records;
pub mod room;
pub mod rounds;
pub mod state;
pub mod verdict;
