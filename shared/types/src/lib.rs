//! The pure words of Holdfast.
//!
//! Ids, counters, time values, the arithmetic of leases and the app spec: everything that the agent, the
//! coordinator and the command line must mean the same thing by. Nothing here reads a clock, a socket, a file or a
//! random source; time comes in as a value.

pub mod audit;
pub mod ids;
pub mod lease;
pub mod line;
pub mod lsn;
pub mod people;
pub mod refusal;
pub mod room;
pub mod spec;
pub mod time;

pub use ids::{
    AppName, CheckName, ClusterId, CommandId, ContextName, Credential, Generation, HostName, Incarnation, LogIndex,
    OperationId, OperatorName, RegionName, Revision, RoleName, Token, WriterName,
};
pub use lsn::Lsn;
pub use people::{Right, Role};
pub use time::{BootId, BootInstant, WallTime};
