//! From replies to text and JSON. Everything here is a pure function of the reply and the [`text::View`].

pub mod apply;
pub mod audit;
pub mod json;
pub mod lists;
pub mod metrics;
pub mod operation;
pub mod people;
pub mod progress;
pub mod readiness;
pub mod status;
pub mod table;
pub mod text;
pub mod why;
pub mod wire;

#[cfg(test)]
pub mod samples;
