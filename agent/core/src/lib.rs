//! What an agent decides. Nothing here reads a clock, a socket or a disk: time comes in as a value, what must be done
//! goes out as effects, and what was done comes back as an input.
//!
//! | module | decides |
//! |---|---|
//! | [`lease`] | whether this host may run an app's writers right now, when it asks, and when it fences |
//! | [`may_start`] | whether systemd may start a unit that an app guards |
//! | [`record`] | how a lease is noted in `/run`, so that a restarted agent and the guard can read it |
//! | [`journal`] | what becomes of a command: run, repeat its result, attach, or refuse |
//! | [`duties`] | which checks of an app this host runs, and against what |
//! | [`declared`] | which writers may be touched here, whatever a spec says |

pub mod declared;
pub mod duties;
pub mod journal;
pub mod lease;
pub mod may_start;
pub mod record;
