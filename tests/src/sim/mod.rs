//! A simulated world: coordinators and agents, the real ones, on a simulated network and clock; doubles for other
//! people's systems. One seed, one trace.

pub mod clock;
pub mod database;
pub mod net;
pub mod trace;
pub mod world;
