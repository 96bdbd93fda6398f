//! `holdfast-coordinator`: passes the real listener, clock, storage and randomness into everything.

use std::{process::ExitCode, sync::Arc};

use holdfast_coordinator::{command, engine::NoFaults};

fn main() -> ExitCode {
    command::main(Arc::new(NoFaults))
}
