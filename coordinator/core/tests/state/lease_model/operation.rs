//! How a failover goes on, one move at a time.

use super::*;

impl Model {
    /// The operation makes one move, or one begins.
    pub(super) fn operate(&mut self) {
        let Some(OperationId(number)) = self.log.app("shop").operation() else {
            let request = FailoverRequest { to: None, able: None, reason: String::new() };
            if self.dice.one_in(self.pace.fails_over)
                && let Ok(planned) = plan::failover(self.log.app("shop"), &request)
            {
                self.log.done(start(self.log.app("shop"), planned));
                self.tell(|| "a failover begins".into());
            }
            return;
        };
        if self.dice.one_in(self.pace.aborts) {
            let abort = change::AbortOperation { operation: number, reason: "not now".into() };
            self.log.try_apply(Kind::AbortOperation(abort)).ok();
        }
        let there = (0..HOSTS).filter(|n| !self.holders[*n].cut);
        let reachable: BTreeSet<HostName> = there.map(|n| host(DB[n])).collect();
        match next(self.log.op(number), self.log.app("shop"), &reachable) {
            Next::Nothing => {}
            Next::Begin { step, attempt } => {
                self.log.try_apply(begins(number, step, attempt)).ok();
            }
            Next::Resume { step, attempt } => {
                if let Some((well, chosen)) = self.carry_out(number, step) {
                    let name = self.log.op(number).steps[step].name.clone();
                    self.tell(|| format!("{name} ends {}", if well { "well" } else { "badly" }));
                    self.log.done(ended(number, step, attempt, well, &chosen));
                }
            }
            Next::Extend { steps, unwinding, why } => {
                let at_steps = small(self.log.op(number).steps.len());
                let change = change::ExtendPlan { operation: number, at_steps, steps, unwinding, why };
                self.log.done(Kind::ExtendPlan(change));
            }
            Next::End { state, text } => {
                self.tell(|| format!("the failover ends {}: {text}", state.word()));
                self.log.done(Kind::EndOperation(change::EndOperation {
                    operation: number,
                    state: state.into(),
                    text,
                }));
            }
        }
    }

    /// What becomes of the step that runs; nothing yet while it waits.
    pub(super) fn carry_out(&mut self, number: u64, step: usize) -> Option<(bool, String)> {
        let generation = self.generation();
        let of = change::OfOperation { operation: number, generation };
        let op = self.log.op(number).clone();
        let fails = self.dice.one_in(8);
        Some(match op.steps[step].action.as_ref().expect("an action") {
            Action::Fence(_) => return self.fence(number, step),
            Action::EndHold(_) => {
                self.moved += 1;
                (self.log.try_apply(Kind::EndHold(of)).is_ok(), String::new())
            }
            Action::Promote(_) | Action::Start(_) if !fails => {
                let n = self.active_host();
                if !self.writes(n) {
                    return self.dice.one_in(30).then(|| (false, String::new()));
                }
                (true, String::new())
            }
            _ if fails => (false, String::new()),
            Action::Hold(_) => {
                let held = self.log.app("shop").held();
                let well = self.log.try_apply(Kind::Hold(of)).is_ok();
                if well && !held {
                    self.hold_seen = self.now;
                    self.tell(|| format!("{generation} is held"));
                }
                (well, String::new())
            }
            Action::Choose(choose) => match furthest_on(&op.steps[choose.cut_step as usize]) {
                Ok(choice) => (true, choice.region.to_string()),
                Err(_) => (false, String::new()),
            },
            Action::Cut(_) => {
                for (part, host) in hosts_of(&op, self.log.app("shop"), step).into_iter().enumerate() {
                    self.result(number, step, part, host.as_str());
                }
                (true, String::new())
            }
            Action::Generation(to) => {
                let region = if to.region.is_empty() { op.to_region.clone() } else { to.region.clone() };
                let change = change::NextGeneration { operation: number, generation, region };
                let well = self.log.try_apply(Kind::NextGeneration(change)).is_ok();
                self.moved += u64::from(well);
                (well, String::new())
            }
            Action::Promote(_) | Action::Start(_) => (false, String::new()),
            Action::Route(_) | Action::Verify(_) | Action::Reconnect(_) => (true, String::new()),
        })
    }

    pub(super) fn result(&mut self, operation: u64, step: usize, part: usize, host: &str) {
        let result = CommandResult {
            part: small(part),
            attempt: self.log.op(operation).steps[step].attempt,
            host: host.into(),
            outcome: CommandOutcome::Done.into(),
            position: Some(Position { timeline: 1, lsn: self.dice.roll(9) }),
            ..CommandResult::default()
        };
        self.log.done(Kind::CommandEnded(change::CommandEnded { operation, step: small(step), result: Some(result) }));
    }

    pub(super) fn fence(&mut self, number: u64, step: usize) -> Option<(bool, String)> {
        let op = self.log.op(number);
        if op.aborting && !op.past_no_return {
            return Some((false, String::new()));
        }
        let (generation, app) = (self.generation(), self.log.app("shop").clone());
        let n = self.active_host();
        let timings = app.timings().expect("timings");
        let forgets = self.without == Without::WhatWasTakenBack && self.granted != generation;
        let empty = forgets.then(|| GrantLog::new(at(self.since), LogIndex(0)));
        let over = empty.as_ref().unwrap_or(&self.grants).over_at(
            &shop(),
            Generation(generation),
            LogIndex(app.record.generation_index),
            at(self.hold_seen),
            &timings,
        );
        let stopped = !self.holders[n].cut && self.dice.one_in(self.pace.confirms_fence);
        if stopped {
            // The order arrives: writers stop, durably, and so does the right.
            let holder = &mut self.holders[n];
            holder.right = Right::None;
            holder.sole_row = None;
            holder.stops_at = 0;
            holder.fenced = holder.fenced.max(generation);
            self.tell(|| format!("{} confirms its fence of {generation}", DB[n]));
            if self.dice.one_in(2) {
                // Its word is lost.
                return None;
            }
            self.result(number, step, 0, DB[n]);
        }
        if !stopped && at(self.now) < over && self.without != Without::TheWait {
            return self.dice.one_in(300).then(|| (false, String::new()));
        }
        let of = change::OfOperation { operation: number, generation };
        Some((self.log.try_apply(Kind::HoldOver(of)).is_ok(), String::new()))
    }
}
