//! What the end-to-end tests, the simulations, the demo and the benchmarks stand on.
//!
//! [`harness`] makes hosts, cuts links and runs real programs; [`workload`] writes, remembers what was acknowledged and
//! judges it afterwards; [`preflight`] says what a machine lacks. Nothing here is part of the product.

pub mod bench;
pub mod demo;
pub mod harness;
pub mod measure;
pub mod preflight;
pub mod sim;
pub mod swarm;
pub mod workload;
