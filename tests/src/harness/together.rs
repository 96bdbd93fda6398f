//! Several scenarios at once: most of a scenario is waiting for leases, rounds and deadlines, which costs no core.

use std::{
    collections::VecDeque,
    sync::{Mutex, PoisonError},
    thread,
};

use anyhow::{Result, bail};

/// One scenario, with a fleet of its own.
pub struct Scenario {
    name: String,
    run: Box<dyn FnOnce() -> Result<()> + Send>,
}

impl Scenario {
    /// `name` says which one failed.
    pub fn new(name: impl Into<String>, run: impl FnOnce() -> Result<()> + Send + 'static) -> Self {
        Self { name: name.into(), run: Box::new(run) }
    }
}

/// Runs all of them, `at_once` side by side, also after one has failed.
///
/// # Errors
/// With every one that failed, and why.
pub fn together(at_once: usize, scenarios: Vec<Scenario>) -> Result<()> {
    let count = scenarios.len();
    let waiting = Mutex::new(VecDeque::from(scenarios));
    let failed = Mutex::new(Vec::new());
    let next = || waiting.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
    thread::scope(|scope| {
        for _ in 0..at_once.min(count) {
            scope.spawn(|| {
                while let Some(Scenario { name, run }) = next() {
                    // One that panics must not hide the others.
                    let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(run));
                    let why = match ended {
                        Ok(Ok(())) => continue,
                        Ok(Err(error)) => format!("{error:#}"),
                        Err(_) => "panicked, see above".to_owned(),
                    };
                    failed.lock().unwrap_or_else(PoisonError::into_inner).push(format!("{name}: {why}"));
                }
            });
        }
    });
    let failed = failed.into_inner().unwrap_or_else(PoisonError::into_inner);
    if failed.is_empty() { Ok(()) } else { bail!("{} of {count} failed:\n\n{}", failed.len(), failed.join("\n\n")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_scenario_runs_and_every_failure_is_told_by_name() {
        let scenarios = vec![
            Scenario::new("good", || Ok(())),
            Scenario::new("bad", || bail!("no")),
            Scenario::new("worse", || panic!("on purpose")),
            Scenario::new("also good", || Ok(())),
        ];
        let told = together(2, scenarios).expect_err("two fail").to_string();
        assert!(
            told.starts_with("2 of 4 failed") && told.contains("bad: no") && told.contains("worse: panicked"),
            "{told}"
        );
    }
}
