//! What both daemons and the command line need: identity and TLS, storage, configuration, the clock.

pub mod clock;
pub mod contexts;
pub mod db;
pub mod error;
pub mod files;
pub mod identity;
pub mod limits;
pub mod logging;
pub mod net;
pub mod pki;
pub mod refusal;
pub mod refusals;
pub mod repeats;
pub mod room;
pub mod service;
pub mod span;
pub mod sudo;
pub mod tls;
pub mod token;
