//! What an operation does to its app: hold, the end of the hold, the next generation. Only while a begun step asks for
//! it, so a change that its proposer gave up and that is committed late does nothing.

use holdfast_types::{AppName, OperationId, RegionName, refusal::Reason, spec::FencedBy};

use super::{Answer, App, Context, Key, State, apps::Before, refuse};
use crate::{
    change::{self, Refused},
    records::{Action, CommandOutcome, Operation, Step, StepState},
};

/// Refuses a change of the app that no running step asks for. Such a change is one that was given up by its proposer
/// and committed late.
fn asked_for_by_step(id: OperationId, op: &Operation, what: &str, asks: fn(&Action) -> bool) -> Result<(), Refused> {
    let asked = op.steps.iter().any(|s| s.at() == StepState::Began && s.action.as_ref().is_some_and(asks));
    if asked {
        return Ok(());
    }
    Err(refuse(Reason::BadRequest, format!("no running step of operation {id} asks for {what}")))
}

impl State {
    /// The app of a running operation, if a running step of it asks for this change.
    fn app_of(
        &mut self,
        c: &change::OfOperation,
        what: &str,
        asks: fn(&Action) -> bool,
    ) -> Result<(AppName, &mut App), Refused> {
        let (id, op) = self.running(c.operation)?;
        asked_for_by_step(id, op, what, asks)?;
        let app = op.app.clone();
        let (name, app) = self.app_mut(&app)?;
        app.on_generation(&name, c.generation)?;
        if app.record.operation != id.0 {
            return Err(refuse(Reason::OperationRunning, format!("operation {id} is not the one of app {name}")));
        }
        Ok((name, app))
    }

    pub(super) fn hold(&mut self, cx: &mut Context<'_>, c: &change::OfOperation) -> Answer {
        let past_no_return = self.running(c.operation)?.1.past_no_return;
        let (name, app) = self.app_of(c, "a hold", |a| matches!(a, Action::Hold(_)))?;
        if !app.leased() {
            return Err(refuse(Reason::NoFailover, format!("app {name} has no leases, so none can be held back")));
        }
        if app.held() {
            // The same step again, after a crash.
            return Ok(0);
        }
        // A lease without end may be out there: no wait would ever be long enough. A generation that began within the
        // operation was only granted with an end.
        if app.record.promotable.is_empty() && !past_no_return {
            return Err(refuse(
                Reason::NotPromotable,
                format!("no region can take over app {name}, so its lease may be without end"),
            ));
        }
        app.record.held_by = c.operation;
        app.record.hold_index = cx.index.0;
        app.record.hold_over = false;
        app.record.changed_index = cx.index.0;
        cx.touch(Key::App(name));
        Ok(0)
    }

    pub(super) fn hold_is_over(&mut self, cx: &mut Context<'_>, c: &change::OfOperation) -> Answer {
        let confirmed: Vec<String> = {
            let (_, op) = self.running(c.operation)?;
            let fence = op.steps.iter().find(|s| s.at() == StepState::Began);
            let done = fence.into_iter().flat_map(Step::results_now).filter(|r| r.ended() == CommandOutcome::Done);
            done.map(|r| r.host.clone()).collect()
        };
        let (name, app) = self.app_of(c, "the end of a hold", |a| matches!(a, Action::Fence(_)))?;
        if app.record.held_by != c.operation {
            return Err(refuse(Reason::BadRequest, format!("app {name} is not held by operation {}", c.operation)));
        }
        // Where nothing fences by itself, a wait proves nothing.
        if app.spec.fencing.by == FencedBy::None
            && let Some(host) = app.holders(app.active()).iter().find(|h| !confirmed.iter().any(|c| c == h.as_str()))
        {
            return Err(refuse(
                Reason::HostAbsent,
                format!("{host} has not confirmed its fence, and with fencing by none nothing stops app {name} there"),
            ));
        }
        app.record.hold_over = true;
        cx.touch(Key::App(name));
        Ok(0)
    }

    pub(super) fn next_generation(&mut self, cx: &mut Context<'_>, c: &change::NextGeneration) -> Answer {
        let (id, op) = self.running(c.operation)?;
        if op.aborting && !op.past_no_return {
            return Err(refuse(Reason::OperationEnded, format!("operation {id} is being aborted")));
        }
        let past_no_return = op.past_no_return;
        let named = op.steps.iter().find_map(|s| match (&s.action, s.at()) {
            (Some(Action::Generation(to)), StepState::Began) => {
                Some(if to.region.is_empty() { op.to_region.clone() } else { to.region.clone() })
            }
            (Some(_) | None, _) => None,
        });
        let of = change::OfOperation { operation: c.operation, generation: c.generation };
        let (name, app) = self.app_of(&of, "a new generation", |a| matches!(a, Action::Generation(_)))?;
        let region = RegionName::new(&*c.region).map_err(|e| refuse(Reason::BadRequest, e.to_string()))?;
        if named.as_ref() != Some(&c.region) {
            return Err(refuse(
                Reason::BadRequest,
                format!("operation {id} goes to {}, not to {region}", named.unwrap_or_default()),
            ));
        }
        if app.record.held_by != c.operation || !app.record.hold_over {
            return Err(refuse(
                Reason::BadRequest,
                format!("generation {} of app {name} is not known to be over", c.generation),
            ));
        }
        if app.spec.region(&region).is_none() {
            return Err(refuse(Reason::UnknownRegion, format!("app {name} declares no region {region}")));
        }
        if region == app.active {
            return Err(refuse(Reason::AlreadyActive, format!("app {name} is active in {region} already")));
        }
        if !past_no_return && !app.record.promotable.contains(&c.region) {
            return Err(refuse(Reason::NotPromotable, format!("{region} cannot take over app {name}")));
        }
        app.activate(region);
        app.begin_generation(cx.index, Before::Over);
        let generation = app.record.generation;
        cx.touch(Key::App(name));
        let op = self.operations.get_mut(&id).expect("running found it");
        op.past_no_return = true;
        op.to_region.clone_from(&c.region);
        // Says from now on where this step went: what failed there is not tried again.
        for step in op.steps.iter_mut().filter(|s| s.at() == StepState::Began) {
            if let Some(Action::Generation(to)) = &mut step.action {
                to.region.clone_from(&c.region);
            }
        }
        cx.touch(Key::Operation(id));
        Ok(generation)
    }

    pub(super) fn end_hold(&mut self, cx: &mut Context<'_>, c: &change::OfOperation) -> Answer {
        let (id, op) = self.running(c.operation)?;
        asked_for_by_step(id, op, "the end of its hold", |a| matches!(a, Action::EndHold(_)))?;
        let app = op.app.clone();
        let (name, app) = self.app_mut(&app)?;
        if !app.held() {
            // Never held, or ended already: the same step again, after a crash.
            return Ok(app.record.generation);
        }
        app.on_generation(&name, c.generation)?;
        if app.record.held_by != c.operation {
            return Err(refuse(Reason::BadRequest, format!("app {name} is not held by operation {id}")));
        }
        // Where a hold is taken back before its wait was over, nobody waited.
        let before = if app.record.hold_over { Before::Over } else { Before::MayLive };
        app.begin_generation(cx.index, before);
        let generation = app.record.generation;
        cx.touch(Key::App(name));
        Ok(generation)
    }
}
