//! A coordinator that is broken on purpose: it does not wait until the lease of the old region is over. For tests, which
//! show that they catch it.

use std::{process::ExitCode, sync::Arc};

use holdfast_coordinator::{command, engine::Faults};

struct Hasty;

impl Faults for Hasty {
    fn skips_wait(&self) -> bool {
        true
    }
}

fn main() -> ExitCode {
    command::main(Arc::new(Hasty))
}
