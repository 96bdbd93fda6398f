//! `make demo`: two regions on one machine, one is cut off, and its app moves to the other by itself.
//!
//! [`show()`] is the demonstration, from the first host to the last line; [`keep()`] leaves everything running until it is
//! told to end, and [`control`] is how it is told. What is seen goes through [`watcher`] (what the product says) and
//! [`observer`] (what can be seen without asking it) into a [`story`], and [`judge`] says whether everything held.

pub mod control;
mod interrupt;
pub mod judge;
mod keep;
mod observer;
mod report;
pub mod screen;
mod show;
mod stage;
mod story;
pub mod watcher;

use std::process::ExitCode;

use screen::{Screen, Tone};

pub use keep::keep;
pub use show::show;
pub use stage::Options;

/// The app of the demonstration.
pub const APP: &str = "smellpin";

/// The region that is active at first, and cut off.
pub const SOURCE: &str = "us-east";

/// Runs the demonstration, or the one that stays; the exit status tells whether everything held.
pub fn run(options: Options) -> ExitCode {
    let mut screen = Screen::stdout();
    let result = if options.keep { keep(&mut screen, options) } else { show(&mut screen, options) };
    // What failed because everything is being taken down is not worth a word.
    interrupt::give_way();
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            complain(&format!("error: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

/// A word to whoever started this, apart from what it shows.
#[expect(clippy::print_stderr, reason = "errors of a program of its own")]
pub fn complain(text: &str) {
    eprintln!("{text}");
}

fn heading(screen: &mut Screen, text: &str) {
    screen.gap();
    screen.line(Tone::Strong, text);
}
