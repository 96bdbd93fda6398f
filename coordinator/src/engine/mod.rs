//! The operations engine's shell: asks the core for the next move, commits "begins" before it dispatches and "ended" with
//! the result. It keeps nothing of its own: whoever leads after a crash reads the journal and goes on.

mod dispatch;
mod steps;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use holdfast_coordinator_core::{
    change::{EndOperation, ExtendPlan, Kind, StepBegins, StepEnded},
    engine::{Next, next},
    records::Operation,
    state::App,
};
use holdfast_shared::{
    clock::SharedClock,
    repeats::{Repeats, Told},
};
use holdfast_types::OperationId;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::{
    fleet::Fleet,
    leases::Leases,
    replica::{COORDINATOR, ProposeError, Replica},
};

/// Pause before a change that could not be committed is tried again.
const COMMIT_AGAIN: Duration = Duration::from_millis(200);

/// Places where a test may make the process end: between "begins" and "ended" is where a crash hurts most.
pub trait Faults: Send + Sync {
    /// "Begins" of this step's attempt is committed, nothing was dispatched.
    fn after_begins(&self, _step: &str, _attempt: u32) {}
    /// The step was carried out, "ended" is not committed.
    fn before_ended(&self, _step: &str, _attempt: u32) {}
    /// Whether a fence goes on at once, without the source's word and without the wait: what the check for overlapping
    /// writes must catch.
    fn skips_wait(&self) -> bool {
        false
    }
}

/// What the product runs with.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoFaults;

impl Faults for NoFaults {}

/// Runs the operations of one leadership.
#[derive(Clone)]
pub struct Engine {
    replica: Replica,
    fleet: Fleet,
    leases: Leases,
    clock: SharedClock,
    faults: Arc<dyn Faults>,
}

/// How a step's attempt ended.
struct Ended {
    well: bool,
    text: String,
    chosen: String,
}

impl Ended {
    fn well(text: impl Into<String>) -> Self {
        Self { well: true, text: text.into(), chosen: String::new() }
    }

    fn badly(text: impl Into<String>) -> Self {
        Self { well: false, text: text.into(), chosen: String::new() }
    }
}

impl Engine {
    /// With everything that it decides and acts with.
    #[must_use]
    pub fn new(replica: Replica, fleet: Fleet, leases: Leases, clock: SharedClock, faults: Arc<dyn Faults>) -> Self {
        Self { replica, fleet, leases, clock, faults }
    }

    /// Runs every operation that has not ended, one task each, until cancelled.
    pub async fn run(self, cancel: CancellationToken) {
        let mut applied = self.replica.applied();
        let mut runners: JoinSet<OperationId> = JoinSet::new();
        let mut running: BTreeMap<OperationId, ()> = BTreeMap::new();
        loop {
            let open: Vec<OperationId> = self.replica.read(|s| s.apps().values().filter_map(App::operation).collect());
            for number in open {
                if running.insert(number, ()).is_none() {
                    let (engine, cancel) = (self.clone(), cancel.child_token());
                    runners.spawn(async move {
                        // A runner that is cancelled mid-step loses nothing: the journal says where it was.
                        tokio::select! {
                            biased;
                            () = cancel.cancelled() => {}
                            () = engine.drive(number) => {}
                        }
                        number
                    });
                }
            }
            // Both only wake the loop; the set keeps its tasks.
            tokio::select! {
                biased;
                () = cancel.cancelled() => break,
                _ = applied.changed() => {}
                Some(ended) = runners.join_next(), if !runners.is_empty() => match ended {
                    Ok(number) => { running.remove(&number); }
                    Err(e) if e.is_panic() => std::panic::resume_unwind(e.into_panic()),
                    Err(_) => {}
                },
            }
        }
        runners.shutdown().await;
    }

    fn look(&self, number: OperationId) -> Option<(Operation, App)> {
        self.replica.read(|s| {
            let op = s.operation(number)?.clone();
            let app = s.app(&op.app.parse().ok()?)?.clone();
            Some((op, app))
        })
    }

    async fn drive(&self, number: OperationId) {
        let waits = Repeats::default();
        loop {
            let Some((op, app)) = self.look(number) else { return };
            let moved = match next(&op, &app, &self.fleet.reachable()) {
                Next::Nothing => return,
                Next::Begin { step, attempt } => {
                    let begins = StepBegins { operation: number.0, step: index(step), attempt };
                    match self.replica.propose(COORDINATOR, Kind::StepBegins(begins)).await {
                        Ok(_) => {
                            tracing::info!(app = %op.app, operation = number.0, step = %op.steps[step].name, attempt, "step begins");
                            self.faults.after_begins(&op.steps[step].name, attempt);
                            Ok(())
                        }
                        Err(e) => Err(e),
                    }
                }
                Next::Resume { step, attempt } => {
                    let ended = self.carry_out(number, &op, &app, step).await;
                    self.faults.before_ended(&op.steps[step].name, attempt);
                    tracing::info!(
                        app = %op.app, operation = number.0, step = %op.steps[step].name, attempt, well = ended.well,
                        text = %ended.text, "step ended"
                    );
                    let change = StepEnded {
                        operation: number.0,
                        step: index(step),
                        attempt,
                        well: ended.well,
                        text: ended.text,
                        chosen: ended.chosen,
                    };
                    self.replica.propose(COORDINATOR, Kind::StepEnded(change)).await.map(drop)
                }
                Next::Extend { steps, unwinding, why } => {
                    let change =
                        ExtendPlan { operation: number.0, at_steps: index(op.steps.len()), steps, unwinding, why };
                    self.replica.propose(COORDINATOR, Kind::ExtendPlan(change)).await.map(drop)
                }
                Next::End { state, text } => {
                    tracing::info!(app = %op.app, operation = number.0, state = state.word(), text = %text, "operation ended");
                    let change = EndOperation { operation: number.0, state: state.into(), text };
                    self.replica.propose(COORDINATOR, Kind::EndOperation(change)).await.map(drop)
                }
            };
            match moved {
                Ok(()) => {}
                // The records moved on meanwhile (an abort, a result): ask again with what they say now.
                Err(ProposeError::Refused(refused)) => {
                    tracing::debug!(operation = number.0, why = %refused.what, "not committed");
                    tokio::time::sleep(COMMIT_AGAIN).await;
                }
                Err(e) => {
                    if let Some(Told { times }) = waits.told((), self.clock.boot()) {
                        tracing::warn!(operation = number.0, error = %e, times, "an operation waits for the quorum");
                    }
                    tokio::time::sleep(COMMIT_AGAIN).await;
                }
            }
        }
    }
}

fn index(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}
