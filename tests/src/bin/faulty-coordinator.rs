//! The coordinator, killed once at a chosen place between a step's "begins" and "ended". For tests.
//!
//! HF_KILL_AFTER_BEGINS=STEP or HF_KILL_BEFORE_ENDED=STEP names the place; HF_KILLED names a file that is made first, so
//! that the next start goes on.

use std::{process::ExitCode, sync::Arc};

use holdfast_coordinator::{command, engine::Faults};
use rustix::process::{Signal, getpid, kill_process};

struct KillOnce {
    after_begins: Option<String>,
    before_ended: Option<String>,
    marker: Option<String>,
}

impl KillOnce {
    fn at(&self, wanted: Option<&String>, step: &str) {
        let Some(marker) = self.marker.as_ref().filter(|_| wanted.is_some_and(|w| w == step)) else { return };
        if std::fs::File::create_new(marker).is_err() {
            return;
        }
        // As a kill -9 from outside: nothing is flushed, nothing is said.
        let _ = kill_process(getpid(), Signal::KILL);
    }
}

impl Faults for KillOnce {
    fn after_begins(&self, step: &str, _attempt: u32) {
        self.at(self.after_begins.as_ref(), step);
    }

    fn before_ended(&self, step: &str, _attempt: u32) {
        self.at(self.before_ended.as_ref(), step);
    }
}

fn main() -> ExitCode {
    let var = |name| std::env::var(name).ok();
    command::main(Arc::new(KillOnce {
        after_begins: var("HF_KILL_AFTER_BEGINS"),
        before_ended: var("HF_KILL_BEFORE_ENDED"),
        marker: var("HF_KILLED"),
    }))
}
