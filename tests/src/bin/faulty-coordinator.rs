//! The coordinator, killed at chosen places between a step's "begins" and "ended". For tests.
//!
//! A file `kills` beside the configuration names the places, a line each: `after-begins STEP` or `before-ended STEP`. A
//! line is taken out first, so that the next start goes on.

use std::{
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
};

use holdfast_coordinator::{command, engine::Faults};
use rustix::process::{Signal, getpid, kill_process};

struct Kills(Option<PathBuf>);

impl Kills {
    fn at(&self, place: &str, step: &str) {
        if self.0.as_deref().is_some_and(|file| taken_out(file, &format!("{place} {step}"))) {
            // As a kill -9 from outside: nothing is flushed, nothing is said.
            let _ = kill_process(getpid(), Signal::KILL);
        }
    }
}

/// Whether the file had this line; it has it no more.
fn taken_out(file: &Path, wanted: &str) -> bool {
    let Ok(text) = fs::read_to_string(file) else { return false };
    let mut lines: Vec<&str> = text.lines().collect();
    let Some(at) = lines.iter().position(|line| *line == wanted) else { return false };
    lines.remove(at);
    fs::write(file, lines.join("\n")).is_ok()
}

impl Faults for Kills {
    fn after_begins(&self, step: &str, _attempt: u32) {
        self.at("after-begins", step);
    }

    fn before_ended(&self, step: &str, _attempt: u32) {
        self.at("before-ended", step);
    }
}

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip_while(|argument| argument != "--config").skip(1);
    let file = arguments.next().map(|config| Path::new(&config).with_file_name("kills"));
    command::main(Arc::new(Kills(file)))
}
