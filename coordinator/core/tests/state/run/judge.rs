//! What holds of every operation that has ended.

use super::*;

impl Run {
    /// Everything that holds of an operation that has ended; answers how it did, in short.
    pub fn judge(&self) -> Result<String, String> {
        let (op, app) = (self.op(), self.log.app("shop"));
        let check = |holds: bool, what: &str| if holds { Ok(()) } else { Err(format!("{what}: {op:#?}")) };
        let state = op.at();
        check(state.ended(), "it has not ended")?;
        check(!app.held(), "the app is held")?;
        check(app.operation().is_none(), "the next operation cannot begin")?;
        check(app.record.generation == 1 + self.generations, "a generation is not accounted for")?;
        check(op.generation_after == app.record.generation, "it says another generation")?;
        check(!op.text.is_empty(), "it says nothing of its end")?;
        let moved = app.active().as_str() != op.from_region;
        if op.past_no_return {
            check(matches!(state, OperationState::Done | OperationState::Partly), "it went back")?;
            check(self.unwinding_from.is_none(), "it unwound past its point of no return")?;
        } else {
            check(!moved, "the app moved")?;
            let undone = op.steps.iter().skip(self.unwinding_from.unwrap_or(usize::MAX));
            let whole = undone.clone().all(|s| s.at() == StepState::Done);
            let expected = match (self.unwinding_from, whole) {
                (None, _) => OperationState::Failed,
                (Some(_), true) => OperationState::Unwound,
                (Some(_), false) => OperationState::Partly,
            };
            check(state == expected, "it ended as something else than it did")?;
            let held = op.steps.iter().any(|s| matches!(s.action, Some(Action::Hold(_))) && s.attempt > 0);
            check(held || app.record.generation == 1, "a generation for nothing")?;
        }
        if state == OperationState::Done {
            check(moved, "done, and the app is where it was")?;
            let verified = op.steps.iter().rfind(|s| s.name == "verify").is_some_and(|s| s.at() == StepState::Done);
            check(verified, "done, and nobody has seen a write")?;
        }
        if self.aborted == Some(true) {
            check(!op.past_no_return && state != OperationState::Done, "it went on although it was aborted")?;
        }
        let text = format!("{} {}/{}", state.word(), app.active(), app.record.generation);
        Ok(text)
    }
}
