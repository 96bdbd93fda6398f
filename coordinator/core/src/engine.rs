//! The engine's next move: from an operation as it is committed to what to do now.
//!
//! ```text
//!            ┌──────────── Running ───────────┐ a step fails for good, or abort
//!  begins ──▶│ step ▶ step ▶ … generation ▶ … │────────────────▶ Unwinding ──▶ Unwound
//!            └───────────────┬────────────────┘  (before the point of no return)  │ an undo failed for good
//!        all done: Done      │ past it: a way forward, as further steps              ▼
//!                            └───────── none left, or back where it began ────────▶ Partly
//! ```
//! The shell commits "begins" before it dispatches and "ended" with the result; whoever leads after a crash asks the
//! same question of the same records and gets the same answer. Nothing here depends on what a process remembers.

use std::collections::BTreeSet;

use holdfast_types::HostName;

use crate::{
    plan,
    records::{Action, Operation, OperationState, Step, StepState},
    state::App,
};

/// How often an operation past its point of no return tries another region before it gives up and says so.
pub const WAYS_FORWARD_MAX: u32 = 3;

/// What to do now.
#[derive(Debug, Clone, PartialEq)]
pub enum Next {
    /// Commit "begins" of this attempt, then carry it out.
    Begin {
        /// Which step.
        step: usize,
        /// Which attempt, from 1.
        attempt: u32,
    },
    /// "Begins" is committed, "ended" is not: carry it out (again), with the same command ids.
    Resume {
        /// Which step.
        step: usize,
        /// Which attempt.
        attempt: u32,
    },
    /// Commit these further steps.
    Extend {
        /// In their order.
        steps: Vec<Step>,
        /// Undos, not a way forward.
        unwinding: bool,
        /// Why, a line.
        why: String,
    },
    /// Commit the end.
    End {
        /// How.
        state: OperationState,
        /// A line.
        text: String,
    },
    /// It has ended.
    Nothing,
}

/// Decides the next move of an operation. `reachable` are the hosts with a live session.
#[must_use]
pub fn next(op: &Operation, app: &App, reachable: &BTreeSet<HostName>) -> Next {
    if op.at().ended() {
        return Next::Nothing;
    }
    let unwinding = op.at() == OperationState::Unwinding;
    let Some((index, step)) = current(op).and_then(|index| Some((index, op.steps.get(index)?))) else {
        return end(op, app, unwinding);
    };
    match step.at() {
        StepState::Began => Next::Resume { step: index, attempt: step.attempt },
        StepState::Planned if op.aborting && !op.past_no_return && !unwinding => {
            unwind(op, app, "aborted by request".to_owned())
        }
        StepState::Planned => Next::Begin { step: index, attempt: 1 },
        StepState::Failed => after_failure(op, app, reachable, index, step),
        StepState::Done | StepState::Skipped => Next::Nothing,
    }
}

/// The step that is due or runs: the first that is neither done nor passed by. `None` when the plan is through.
#[must_use]
pub fn current(op: &Operation) -> Option<usize> {
    op.steps.iter().position(|step| match step.at() {
        StepState::Planned | StepState::Began => true,
        // A failed step stands in the way until the plan has gone on without it. An undo that cannot be done must not
        // keep the next from being done.
        StepState::Failed => !(step.given_up || op.at() == OperationState::Unwinding && is_out_of_attempts(step)),
        StepState::Done | StepState::Skipped => false,
    })
}

fn is_out_of_attempts(step: &Step) -> bool {
    step.attempt >= step.attempts_max
}

/// Whether a step takes something back.
pub(crate) fn is_undo(step: &Step) -> bool {
    matches!(step.action, Some(Action::Reconnect(_) | Action::EndHold(_)))
}

fn after_failure(op: &Operation, app: &App, reachable: &BTreeSet<HostName>, index: usize, step: &Step) -> Next {
    if op.aborting && !op.past_no_return && op.at() != OperationState::Unwinding {
        return unwind(op, app, "aborted by request".to_owned());
    }
    if !is_out_of_attempts(step) {
        return Next::Begin { step: index, attempt: step.attempt + 1 };
    }
    let why = format!("{} failed: {}", step.name, step.text);
    if !op.past_no_return {
        return unwind(op, app, why);
    }
    let serves_or_may = matches!(step.action, Some(Action::Route(_) | Action::Verify(_)));
    if serves_or_may {
        // The database was moved; proxies are kept right by a steady duty, so going elsewhere would only do harm.
        return Next::End {
            state: OperationState::Partly,
            text: format!("{} is active in {}, but {why}", op.app, app.active()),
        };
    }
    if op.ways_forward < WAYS_FORWARD_MAX
        && let Some((region, steps)) = plan::way_forward(op, app, reachable)
    {
        return Next::Extend { steps, unwinding: false, why: format!("{why}; going on to {region}") };
    }
    if app.held() {
        // Held for a way forward that failed: somebody must be able to serve again.
        let steps = plan::unwind(op, app).into_iter().filter(|s| matches!(s.action, Some(Action::EndHold(_)))).take(1);
        return Next::Extend { steps: steps.collect(), unwinding: false, why };
    }
    Next::End {
        state: OperationState::Partly,
        text: format!("{} is assigned to {} as generation {}, but {why}", op.app, app.active(), app.generation()),
    }
}

fn unwind(op: &Operation, app: &App, why: String) -> Next {
    let steps = plan::unwind(op, app);
    if steps.is_empty() {
        return Next::End { state: OperationState::Failed, text: format!("{why}; nothing was changed") };
    }
    Next::Extend { steps, unwinding: true, why }
}

fn end(op: &Operation, app: &App, unwinding: bool) -> Next {
    if unwinding {
        return unwound(op, app);
    }
    let place = format!("{}, generation {}", app.active(), app.generation());
    let failed = op.steps.iter().rfind(|s| s.at() == StepState::Failed);
    let why = failed.map(|step| format!("{} failed: {}", step.name, step.text));
    let verified = op
        .steps
        .iter()
        .rfind(|s| matches!(s.action, Some(Action::Verify(_))))
        .is_some_and(|s| s.at() == StepState::Done);
    let partly = |text| Next::End { state: OperationState::Partly, text };
    match why {
        // Writes are served, and yet nothing of what was asked for came about.
        _ if op.ways_forward > 0 && op.past_no_return && app.active().as_str() == op.from_region => partly(format!(
            "{} was not moved, it went back to {place}{}",
            op.app,
            why.map(|why| format!(": {why}")).unwrap_or_default()
        )),
        Some(why) if !verified => partly(format!("{} is assigned to {place}, but {why}", op.app)),
        Some(_) | None => Next::End { state: OperationState::Done, text: format!("{} is active in {place}", op.app) },
    }
}

fn unwound(op: &Operation, app: &App) -> Next {
    let left: Vec<String> = op
        .steps
        .iter()
        .filter(|s| is_undo(s) && s.at() == StepState::Failed)
        .map(|s| format!("{} ({})", s.name, s.text))
        .collect();
    let text = format!("{}; {} goes on in {} as generation {}", op.text, op.app, app.active(), app.generation());
    if left.is_empty() {
        return Next::End { state: OperationState::Unwound, text };
    }
    Next::End { state: OperationState::Partly, text: format!("{text}; not taken back: {}", left.join(", ")) }
}
