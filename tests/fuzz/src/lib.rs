//! Every place where bytes come in from others, as a function that takes any bytes: none may panic, hang or take much
//! memory, and what is promised of each holds whatever comes.
//!
//! `make fuzz` runs each under libFuzzer (`fuzz/`, a workspace of its own); the tests here run each over its seeds and
//! over some thousand mutations of them, so that no target can rot. A finding becomes a seed: it lies in
//! `fuzz/seeds/TARGET/` and is tried from then on.

mod doors;
mod lease_record;
mod mutate;
mod postgres;
pub mod seeds;
mod state;

pub use mutate::mutated;

/// One target by its name.
pub type Target = (&'static str, fn(&[u8]));

/// All of them.
pub const TARGETS: [Target; 15] = [
    ("spec", doors::spec),
    ("from_agent", doors::from_agent),
    ("to_agent", doors::to_agent),
    ("leases", doors::leases),
    ("operators", doors::operators),
    ("enrol", doors::enrol),
    ("tokens", doors::tokens),
    ("contexts", doors::contexts),
    ("configs", doors::configs),
    ("postgres", postgres::postgres),
    ("control_data", doors::control_data),
    ("haproxy", doors::haproxy),
    ("docker", doors::docker),
    ("lease_record", lease_record::lease_record),
    ("state", state::state),
];

/// Runs the target of this name, for libFuzzer's programs.
///
/// # Panics
/// When the bytes are a finding, or there is no such target.
pub fn run(name: &str, bytes: &[u8]) {
    let (_, target) = TARGETS.iter().find(|(target, _)| *target == name).expect("one of TARGETS");
    target(bytes);
}
