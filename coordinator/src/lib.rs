//! placeholder

pub mod consensus;
