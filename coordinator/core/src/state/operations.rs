//! Operations: begun, extended, aborted, ended. Their steps are journalled in [`super::steps`]; what they do to their
//! app is in [`super::generations`].

use holdfast_types::{OperationId, RegionName, refusal::Reason};

use super::{Answer, Context, Key, OPERATIONS_KEPT, State, refuse, steps::candidates_of};
use crate::{
    change::{self, Refused},
    engine,
    records::{Action, Operation, OperationState, Step, StepState},
};

/// Longest plan as it starts. Its undos are never more than its steps.
const STEPS_PLANNED_MAX: usize = 24;
/// Longest plan, ways forward and undos included. Far above any planner's; a bound because rows are read whole.
const STEPS_MAX: usize = 64;

/// Whether these can be appended to a plan of `before` steps: nothing begun, every reference leads to a cut before it.
fn check_new(before: &[Step], new: &[Step]) -> Result<(), Refused> {
    for (n, step) in new.iter().enumerate() {
        let fresh = step.at() == StepState::Planned
            && step.attempt == 0
            && step.began_index == 0
            && step.results.is_empty()
            && !step.given_up
            && step.attempts_max > 0;
        if !fresh {
            return Err(refuse(
                Reason::BadRequest,
                format!("step {} of the plan is not one that has yet to begin", step.name),
            ));
        }
        let cut = match &step.action {
            Some(Action::Choose(choose)) => Some(choose.cut_step),
            Some(Action::Reconnect(reconnect)) => Some(reconnect.cut_step),
            Some(_) | None => None,
        };
        if let Some(cut) = cut {
            let there = before.iter().chain(new).take(before.len() + n).nth(cut as usize);
            if !there.is_some_and(|s| matches!(s.action, Some(Action::Cut(_)))) {
                return Err(refuse(
                    Reason::BadRequest,
                    format!("step {} names step {cut}, which is no cut before it", step.name),
                ));
            }
        }
    }
    Ok(())
}

impl State {
    pub(super) fn running(&mut self, number: u64) -> Result<(OperationId, &mut Operation), Refused> {
        let id = OperationId(number);
        match self.operations.get_mut(&id) {
            None => Err(refuse(Reason::UnknownOperation, format!("no operation {number}"))),
            Some(op) if op.at().ended() => {
                Err(refuse(Reason::OperationEnded, format!("operation {number} has ended: {}", op.at().word())))
            }
            Some(op) => Ok((id, op)),
        }
    }

    pub(super) fn start_operation(&mut self, cx: &mut Context<'_>, c: &change::StartOperation) -> Answer {
        let Some(planned) = &c.operation else {
            return Err(refuse(Reason::BadRequest, "an operation without its plan"));
        };
        if planned.steps.is_empty() || planned.steps.len() > STEPS_PLANNED_MAX {
            return Err(refuse(
                Reason::BadRequest,
                format!("a plan of {} steps; 1 to {STEPS_PLANNED_MAX} are taken", planned.steps.len()),
            ));
        }
        check_new(&[], &planned.steps)?;
        self.refuse_in_maintenance(planned)?;
        let number = self.cluster.last_operation + 1;
        let (name, app) = self.app_mut(&planned.app)?;
        app.on_generation(&name, c.generation)?;
        if app.record.revision != c.revision {
            return Err(refuse(
                Reason::StaleRevision,
                format!("app {name} is at revision {}, this was planned on {}", app.record.revision, c.revision),
            ));
        }
        if app.record.operation != 0 {
            return Err(refuse(
                Reason::OperationRunning,
                format!("operation {} runs on app {name}", app.record.operation),
            ));
        }
        // The lease that the plan waits for has an end only because these regions are committed as able to take over.
        let ready: Vec<&str> = app.promotable().map(RegionName::as_str).collect();
        if let Some(region) = candidates(planned).find(|c| !ready.contains(&c.as_str())) {
            return Err(refuse(Reason::NotPromotable, format!("{region} cannot take over app {name} any more")));
        }
        app.record.operation = number;
        app.record.last_operation = number;
        let generation = app.record.generation;
        let from = app.record.active_region.clone();
        cx.touch(Key::App(name));
        // Who plans says what is to be done and why; what happens to the operation is written here alone.
        let mut op = planned.clone();
        op.state = OperationState::Running.into();
        op.started_at = cx.at.unix_millis();
        op.ended_at = 0;
        op.requested_by = cx.by.to_owned();
        op.text.clear();
        op.from_region = from;
        op.aborting = false;
        op.past_no_return = false;
        op.ways_forward = 0;
        op.generation_before = generation;
        op.generation_after = 0;
        self.cluster.last_operation = number;
        cx.touch(Key::Cluster);
        self.operations.insert(OperationId(number), op);
        cx.touch(Key::Operation(OperationId(number)));
        self.prune_operations(cx);
        Ok(number)
    }

    fn prune_operations(&mut self, cx: &mut Context<'_>) {
        let ended: Vec<OperationId> =
            self.operations.iter().filter(|(_, o)| o.at().ended()).map(|(id, _)| *id).collect();
        for id in ended.iter().take(ended.len().saturating_sub(OPERATIONS_KEPT)) {
            self.operations.remove(id);
            cx.touch(Key::Operation(*id));
        }
    }

    pub(super) fn extend_plan(&mut self, cx: &mut Context<'_>, c: &change::ExtendPlan) -> Answer {
        let (id, op) = self.running(c.operation)?;
        if op.steps.len() != c.at_steps as usize || op.steps.len() + c.steps.len() > STEPS_MAX {
            return Err(refuse(
                Reason::BadRequest,
                format!("operation {id} has {} steps, this was decided at {}", op.steps.len(), c.at_steps),
            ));
        }
        if c.unwinding && op.past_no_return {
            return Err(refuse(Reason::PastNoReturn, format!("operation {id} only goes forward")));
        }
        if !c.unwinding && !op.past_no_return || op.at() == OperationState::Unwinding {
            return Err(refuse(
                Reason::BadRequest,
                format!(
                    "operation {id} is {} and short of its point of no return; it has no way forward",
                    op.at().word()
                ),
            ));
        }
        if c.steps.is_empty() || c.unwinding && !c.steps.iter().all(engine::is_undo) {
            return Err(refuse(Reason::BadRequest, format!("operation {id} is not taken back by these steps")));
        }
        check_new(&op.steps, &c.steps)?;
        if op.steps.iter().any(|s| s.at() == StepState::Began) {
            return Err(refuse(Reason::OperationRunning, format!("a step of operation {id} runs")));
        }
        for step in &mut op.steps {
            match step.at() {
                StepState::Planned => step.state = StepState::Skipped.into(),
                StepState::Failed => step.given_up = true,
                StepState::Began | StepState::Done | StepState::Skipped => {}
            }
        }
        op.steps.extend(c.steps.iter().cloned());
        op.text.clone_from(&c.why);
        if c.unwinding {
            op.state = OperationState::Unwinding.into();
        } else {
            op.ways_forward += 1;
        }
        cx.touch(Key::Operation(id));
        Ok(0)
    }

    pub(super) fn end_operation(&mut self, cx: &mut Context<'_>, c: &change::EndOperation) -> Answer {
        let at = cx.at.unix_millis();
        let state = OperationState::try_from(c.state).unwrap_or(OperationState::Unspecified);
        if !state.ended() {
            return Err(refuse(Reason::BadRequest, format!("{} is no end", state.word())));
        }
        let (id, op) = self.running(c.operation)?;
        if op.steps.iter().any(|s| s.at() == StepState::Began) {
            return Err(refuse(Reason::OperationRunning, format!("a step of operation {id} runs")));
        }
        let unwinding = op.at() == OperationState::Unwinding;
        let over = engine::current(op).is_none();
        let may = match state {
            OperationState::Done => over && !unwinding,
            OperationState::Unwound => over && unwinding && !op.past_no_return,
            OperationState::Failed => !unwinding && !op.past_no_return,
            OperationState::Partly => true,
            OperationState::Unspecified | OperationState::Running | OperationState::Unwinding => false,
        };
        if !may {
            return Err(refuse(
                if op.past_no_return { Reason::PastNoReturn } else { Reason::BadRequest },
                format!("operation {id} is {} and cannot end as {}", op.at().word(), state.word()),
            ));
        }
        let app = op.app.clone();
        let moved = op.past_no_return;
        let kind = op.kind.clone();
        let (name, record) = self.app_mut(&app)?;
        // A hold outlives its operation only by mistake, and then nobody would ever serve again.
        if record.record.held_by == id.0 {
            return Err(refuse(Reason::BadRequest, format!("app {name} is still held by operation {id}")));
        }
        record.record.operation = 0;
        if moved {
            record.record.moved_at = at;
            record.record.moved_by = kind;
        }
        let generation = record.record.generation;
        cx.touch(Key::App(name));
        let (_, op) = self.running(c.operation)?;
        op.state = state.into();
        op.ended_at = at;
        op.text.clone_from(&c.text);
        op.generation_after = generation;
        for step in &mut op.steps {
            if step.at() == StepState::Planned {
                step.state = StepState::Skipped.into();
            }
        }
        cx.touch(Key::Operation(id));
        Ok(0)
    }

    pub(super) fn abort_operation(&mut self, cx: &mut Context<'_>, c: &change::AbortOperation) -> Answer {
        let (id, op) = self.running(c.operation)?;
        if op.past_no_return {
            return Err(refuse(
                Reason::PastNoReturn,
                format!("operation {id} has committed its new generation; it only goes forward"),
            ));
        }
        if !op.aborting {
            op.aborting = true;
            op.reason = if op.reason.is_empty() {
                format!("aborted: {}", c.reason)
            } else {
                format!("{}; aborted: {}", op.reason, c.reason)
            };
            cx.touch(Key::Operation(id));
        }
        Ok(0)
    }
}

fn candidates(op: &Operation) -> impl Iterator<Item = &String> {
    op.steps.iter().flat_map(candidates_of)
}
