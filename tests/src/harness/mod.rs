//! Hosts, links and programs for tests, on one machine, with nothing left behind.
//!
//! [`Net`] owns hosts (network namespaces) and one folder; when it is dropped, or its process dies in any way, its warden
//! ends every process inside and removes all of it. Everything is plain blocking code: it works from a `#[test]` and, for
//! short waits, from async code as well. Start every program through [`Program`]: one thread of the process waits for all
//! children and for orphans, so [`std::process::Child::wait`] and tokio's processes do not work beside it.

pub mod app;
pub mod container;
pub mod control;
mod disk;
pub mod docker;
pub mod fleet;
pub mod guarded;
pub mod haproxy;
mod host;
pub mod installed;
mod logs;
pub mod machine;
mod members;
pub mod net;
pub mod operator;
pub mod postgres;
pub mod primaries;
pub mod process;
pub mod python;
pub mod readme;
mod reaper;
pub mod redis;
mod session;
mod small_disk;
pub mod stranger;
pub mod time;
pub mod tls_server;
mod together;
pub mod unit;

pub use app::AppPlan;
pub use container::Contained;
pub use control::Control;
pub use disk::Disk;
pub use docker::{Docker, Image};
pub use fleet::Fleet;
pub use guarded::{Guarded, Settings};
pub use haproxy::HaProxy;
pub use host::Host;
pub use installed::{Installed, Release};
pub use machine::Machine;
pub use net::Net;
pub use postgres::{Instance, PgNode};
pub use primaries::{Primaries, TwoPrimaries};
pub use process::{Ended, Output, Process, Program};
pub use redis::Redis;
pub use session::Session;
pub use small_disk::SmallDisk;
pub use stranger::Stranger;
pub use time::{clock, clock_shared, now, wait_asking, wait_until};
pub use tls_server::TlsServer;
pub use together::{Scenario, together};
pub use unit::Unit;
