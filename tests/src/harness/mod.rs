//! Hosts, links and programs for tests, on one machine, with nothing left behind.
//!
//! [`Net`] owns hosts (network namespaces) and one folder; when it is dropped, or its process dies in any way, its warden
//! ends every process inside and removes all of it. Everything is plain blocking code: it works from a `#[test]` and, for
//! short waits, from async code as well. Start every program through [`Program`]: one thread of the process waits for all
//! children and for orphans, so [`std::process::Child::wait`] and tokio's processes do not work beside it.

pub mod fleet;
pub mod guarded;
pub mod haproxy;
mod host;
mod logs;
pub mod net;
pub mod postgres;
pub mod process;
mod reaper;
mod session;
pub mod time;

pub use fleet::Fleet;
pub use guarded::{Guarded, Settings};
pub use haproxy::HaProxy;
pub use host::Host;
pub use net::Net;
pub use postgres::PgNode;
pub use process::{Ended, Output, Process, Program};
pub use session::Session;
pub use time::{clock, now, wait_until};
