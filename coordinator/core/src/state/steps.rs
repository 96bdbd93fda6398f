//! The journal of an operation's steps: an attempt begins, its commands end, it ends. One step at a time, in their order.

use holdfast_types::{AppName, HostName, OperationId, refusal::Reason};

use super::{Answer, Context, Key, State, refuse};
use crate::{
    change, engine, plan,
    records::{Action, CommandResult, OperationState, Step, StepState},
};

impl State {
    /// Answers the index of the entry: the token of the attempt's commands.
    pub(super) fn step_begins(&mut self, cx: &mut Context<'_>, c: &change::StepBegins) -> Answer {
        let (at, index) = (cx.at.unix_millis(), cx.index.0);
        let (id, op) = self.running(c.operation)?;
        if op.aborting && !op.past_no_return && op.at() != OperationState::Unwinding {
            return Err(refuse(Reason::OperationEnded, format!("operation {id} is being aborted")));
        }
        let current = engine::current(op);
        let Some(step) = op.steps.get_mut(c.step as usize) else {
            return Err(refuse(Reason::BadRequest, format!("operation {id} has no step {}", c.step)));
        };
        // One after the other: what is passed, given up or not yet due does not begin.
        let may = current == Some(c.step as usize) && step.at() != StepState::Began && c.attempt <= step.attempts_max;
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

    /// Whether an operation waits for this result, or would show it to people: of a command that was sent to this host,
    /// by an attempt that has begun. One of an older attempt is kept for people to read, and counts for nothing.
    #[must_use]
    pub fn awaits(&self, operation: OperationId, step: u32, result: &CommandResult) -> bool {
        let asked = self.operations.get(&operation).filter(|op| !op.at().ended()).is_some_and(|op| {
            let app = op.app.parse::<AppName>().ok().and_then(|name| self.apps.get(&name));
            let part = app.and_then(|app| plan::hosts_of(op, app, step as usize).into_iter().nth(result.part as usize));
            let trusted = |host: &HostName| self.hosts.get(host).is_some_and(|h| h.quarantine.is_empty());
            part.is_some_and(|host| host.as_str() == result.host && trusted(&host))
        });
        let Some(step) = self.operations.get(&operation).and_then(|o| o.steps.get(step as usize)) else { return false };
        let known = step.results.iter().any(|r| r.part == result.part && r.attempt == result.attempt);
        asked && !known && (1..=step.attempt).contains(&result.attempt)
    }

    /// Taken and ignored, because its agent must not wait for ever, is a result that nobody waits for: of an operation
    /// that has ended, a command that was never sent to this host, an attempt that is still to come, or a host that is
    /// quarantined.
    pub(super) fn command_ended(&mut self, cx: &mut Context<'_>, c: &change::CommandEnded) -> Answer {
        let Some(result) = &c.result else {
            return Err(refuse(Reason::BadRequest, "a command's end without its result"));
        };
        let id = OperationId(c.operation);
        if !self.awaits(id, c.step, result) {
            return Ok(0);
        }
        let Some(step) = self.operations.get_mut(&id).and_then(|o| o.steps.get_mut(c.step as usize)) else {
            return Ok(0);
        };
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
        let chooses = match &step.action {
            Some(Action::Choose(choose)) => Some(choose.cut_step),
            Some(_) | None => None,
        };
        let fits = match chooses {
            Some(_) => c.well != c.chosen.is_empty(),
            None => c.chosen.is_empty(),
        };
        if !fits {
            return Err(refuse(
                Reason::BadRequest,
                format!("step {} of operation {id} ends with \"{}\" as its choice", step.name, c.chosen),
            ));
        }
        if let Some(cut) = chooses.filter(|_| c.well)
            && !op.steps.get(cut as usize).is_some_and(|s| candidates_of(s).any(|r| *r == c.chosen))
        {
            return Err(refuse(Reason::UnknownRegion, format!("{} is no candidate of operation {id}", c.chosen)));
        }
        let step = &mut op.steps[c.step as usize];
        step.state = if c.well { StepState::Done } else { StepState::Failed }.into();
        step.ended_at = at;
        step.text.clone_from(&c.text);
        if chooses.is_some() && c.well {
            op.to_region.clone_from(&c.chosen);
        }
        cx.touch(Key::Operation(id));
        Ok(0)
    }
}

/// Regions that a cut prepares for taking over; none of any other step.
pub(super) fn candidates_of(step: &Step) -> impl Iterator<Item = &String> {
    let cut = match &step.action {
        Some(Action::Cut(cut)) => Some(cut),
        Some(_) | None => None,
    };
    cut.into_iter().flat_map(|cut| cut.candidates.iter().map(|c| &c.region))
}
