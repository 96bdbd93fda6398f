//! Operations: begun, journalled step by step, held, moved on, ended.

use holdfast_types::{AppName, OperationId, RegionName, refusal::Reason};

use super::{Answer, Context, Key, OPERATIONS_KEPT, State, refuse};
use crate::{
    change::{self, Refused},
    records::{Action, Operation, OperationState, StepState},
};

/// Longest plan, ways forward and undos included. Far above any planner's; a bound because rows are read whole.
const STEPS_MAX: usize = 64;

impl State {
    fn running(&mut self, number: u64) -> Result<(OperationId, &mut Operation), Refused> {
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
        if planned.steps.is_empty() || planned.steps.len() > STEPS_MAX {
            return Err(refuse(Reason::BadRequest, format!("a plan of {} steps", planned.steps.len())));
        }
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
        let mut op = planned.clone();
        op.state = OperationState::Running.into();
        op.started_at = cx.at.unix_millis();
        op.requested_by = cx.by.to_owned();
        op.from_region = from;
        op.generation_before = generation;
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

    /// Answers the index of the entry: the token of the attempt's commands.
    pub(super) fn step_begins(&mut self, cx: &mut Context<'_>, c: &change::StepBegins) -> Answer {
        let (at, index) = (cx.at.unix_millis(), cx.index.0);
        let (id, op) = self.running(c.operation)?;
        let Some(step) = op.steps.get_mut(c.step as usize) else {
            return Err(refuse(Reason::BadRequest, format!("operation {id} has no step {}", c.step)));
        };
        let may = matches!(step.at(), StepState::Planned | StepState::Failed);
        if !may || c.attempt != step.attempt + 1 {
            return Err(refuse(
                Reason::BadRequest,
                format!(
                    "step {} of operation {id} is {} at attempt {}, not to begin attempt {}",
                    step.name,
                    step.at().word(),
                    step.attempt,
                    c.attempt
                ),
            ));
        }
        step.state = StepState::Began.into();
        step.attempt = c.attempt;
        step.began_index = index;
        step.began_at = at;
        step.ended_at = 0;
        step.text.clear();
        cx.touch(Key::Operation(id));
        Ok(index)
    }

    /// A result of an older attempt, or of one that has ended, is taken and ignored: its agent must not wait for ever.
    pub(super) fn command_ended(&mut self, cx: &mut Context<'_>, c: &change::CommandEnded) -> Answer {
        let Some(result) = &c.result else {
            return Err(refuse(Reason::BadRequest, "a command's end without its result"));
        };
        let id = OperationId(c.operation);
        let Some(step) = self.operations.get_mut(&id).and_then(|o| o.steps.get_mut(c.step as usize)) else {
            return Ok(0);
        };
        let known = step.results.iter().any(|r| r.part == result.part && r.attempt == result.attempt);
        if known || result.attempt > step.attempt {
            return Ok(0);
        }
        step.results.push(result.clone());
        cx.touch(Key::Operation(id));
        Ok(1)
    }

    pub(super) fn step_ended(&mut self, cx: &mut Context<'_>, c: &change::StepEnded) -> Answer {
        let at = cx.at.unix_millis();
        let (id, op) = self.running(c.operation)?;
        let Some(step) = op.steps.get_mut(c.step as usize) else {
            return Err(refuse(Reason::BadRequest, format!("operation {id} has no step {}", c.step)));
        };
        if step.at() != StepState::Began || step.attempt != c.attempt {
            return Err(refuse(
                Reason::BadRequest,
                format!("attempt {} of step {} of operation {id} does not run", c.attempt, step.name),
            ));
        }
        step.state = if c.well { StepState::Done } else { StepState::Failed }.into();
        step.ended_at = at;
        step.text.clone_from(&c.text);
        if !c.chosen.is_empty() {
            op.to_region.clone_from(&c.chosen);
        }
        cx.touch(Key::Operation(id));
        Ok(0)
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

    /// The app of a running operation, if it may still change it.
    fn app_of(&mut self, c: &change::OfOperation) -> Result<AppName, Refused> {
        let (id, op) = self.running(c.operation)?;
        let app = op.app.clone();
        let (name, app) = self.app_mut(&app)?;
        app.on_generation(&name, c.generation)?;
        if app.record.operation != id.0 {
            return Err(refuse(Reason::OperationRunning, format!("operation {id} is not the one of app {name}")));
        }
        Ok(name)
    }

    pub(super) fn hold(&mut self, cx: &mut Context<'_>, c: &change::OfOperation) -> Answer {
        let name = self.app_of(c)?;
        let app = self.apps.get_mut(&name).expect("app_of found it");
        if app.held() {
            // The same step again, after a crash.
            return Ok(0);
        }
        app.record.held_by = c.operation;
        app.record.hold_index = cx.index.0;
        app.record.hold_over = !app.leased();
        app.record.changed_index = cx.index.0;
        cx.touch(Key::App(name));
        Ok(0)
    }

    pub(super) fn hold_is_over(&mut self, cx: &mut Context<'_>, c: &change::OfOperation) -> Answer {
        let name = self.app_of(c)?;
        let app = self.apps.get_mut(&name).expect("app_of found it");
        if app.record.held_by != c.operation {
            return Err(refuse(Reason::BadRequest, format!("app {name} is not held by operation {}", c.operation)));
        }
        app.record.hold_over = true;
        cx.touch(Key::App(name));
        Ok(0)
    }

    pub(super) fn next_generation(&mut self, cx: &mut Context<'_>, c: &change::NextGeneration) -> Answer {
        let name = self.app_of(&change::OfOperation { operation: c.operation, generation: c.generation })?;
        let op = self.operations.get(&OperationId(c.operation)).expect("app_of found it");
        if op.aborting && !op.past_no_return {
            return Err(refuse(Reason::OperationEnded, format!("operation {} is being aborted", c.operation)));
        }
        let region = RegionName::new(&*c.region).map_err(|e| refuse(Reason::BadRequest, e.to_string()))?;
        let app = self.apps.get_mut(&name).expect("app_of found it");
        if app.record.held_by != c.operation || !app.record.hold_over {
            return Err(refuse(
                Reason::BadRequest,
                format!("generation {} of app {name} is not known to be over", c.generation),
            ));
        }
        if app.spec.region(&region).is_none() {
            return Err(refuse(Reason::UnknownRegion, format!("app {name} declares no region {region}")));
        }
        app.activate(region);
        app.begin_generation(cx.index);
        let generation = app.record.generation;
        cx.touch(Key::App(name));
        let op = self.operations.get_mut(&OperationId(c.operation)).expect("app_of found it");
        op.past_no_return = true;
        op.to_region.clone_from(&c.region);
        cx.touch(Key::Operation(OperationId(c.operation)));
        Ok(generation)
    }

    pub(super) fn end_hold(&mut self, cx: &mut Context<'_>, c: &change::OfOperation) -> Answer {
        let (_, op) = self.running(c.operation)?;
        let app = op.app.clone();
        let (name, app) = self.app_mut(&app)?;
        if !app.held() {
            // Never held, or ended already: the same step again, after a crash.
            return Ok(app.record.generation);
        }
        app.on_generation(&name, c.generation)?;
        if app.record.held_by != c.operation {
            return Err(refuse(Reason::BadRequest, format!("app {name} is not held by operation {}", c.operation)));
        }
        app.begin_generation(cx.index);
        let generation = app.record.generation;
        cx.touch(Key::App(name));
        Ok(generation)
    }
}

fn candidates(op: &Operation) -> impl Iterator<Item = &String> {
    op.steps
        .iter()
        .filter_map(|s| match &s.action {
            Some(Action::Cut(cut)) => Some(cut.candidates.iter().map(|c| &c.region)),
            Some(_) | None => None,
        })
        .flatten()
}
