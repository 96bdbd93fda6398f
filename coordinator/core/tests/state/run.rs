//! Drives one operation through the engine in a world that decides how each step ends, and judges how it went. The
//! driver keeps nothing: it may be dropped anywhere and started again from the rows.

mod judge;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use holdfast_coordinator_core::{
    change::{self, Kind},
    engine::{Next, next},
    plan::{self, FailoverRequest, furthest_on, hosts_of},
    records::{Action, CommandOutcome, CommandResult, Operation, OperationState, Position, Step, StepState},
};
use holdfast_types::{CommandId, HostName, OperationId, refusal::Reason};

use crate::support::*;

/// More moves than any operation needs here; one that takes more is stuck.
const MOVES_MAX: usize = 200;

/// A step by its name, and how many of that name stand before it in the plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct At(pub &'static str, pub usize);

impl fmt::Display for At {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.1 {
            0 => f.pad(self.0),
            n => f.pad(&format!("{} {}", self.0, n + 1)),
        }
    }
}

/// How a step goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fails {
    Times(u32),
    Always,
    /// What it does happens, and nobody hears of it.
    OnceAfterItHappened,
}

/// Where something happens to a step's first attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Point {
    BeforeBegins,
    AfterBegins,
    BeforeEnded,
}

pub const POINTS: [Point; 3] = [Point::BeforeBegins, Point::AfterBegins, Point::BeforeEnded];

#[derive(Debug, Clone, Default)]
pub struct World {
    pub regions: usize,
    /// Regions none of whose hosts has a session.
    pub gone: Vec<usize>,
    pub faults: Vec<(At, Fails)>,
    pub crash: Option<(At, Point)>,
    pub abort: Option<(At, Point)>,
    /// When this step is due, every host is gone.
    pub dark_at: Option<&'static str>,
}

impl World {
    fn reachable(&self) -> BTreeSet<HostName> {
        let there = (0..self.regions).filter(|n| !self.gone.contains(n));
        there.flat_map(|n| [host(DB[n]), host(WEB[n])]).collect()
    }
}

/// What the driver of one operation did.
pub struct Run {
    pub log: Log,
    world: World,
    number: u64,
    crashed: bool,
    aborted: Option<bool>,
    begun: BTreeSet<(usize, u32)>,
    executed: BTreeMap<CommandId, CommandResult>,
    generations: u64,
    unwinding_from: Option<usize>,
    moves: usize,
}

enum Carried {
    Ended { well: bool, chosen: String },
    Crashed,
}

fn well() -> Carried {
    Carried::Ended { well: true, chosen: String::new() }
}

fn badly() -> Carried {
    Carried::Ended { well: false, chosen: String::new() }
}

impl Run {
    /// Begins a failover of the app that `log` holds.
    pub fn failover(log: &Log, world: World) -> Self {
        let mut log = log.clone();
        let request = FailoverRequest { to: None, able: None, reason: "us-east does not answer".into() };
        let planned = plan::failover(log.app("shop"), &request).expect("a plan");
        let number = log.done(start(log.app("shop"), planned));
        Self {
            log,
            world,
            number,
            crashed: false,
            aborted: None,
            begun: BTreeSet::new(),
            executed: BTreeMap::new(),
            generations: 0,
            unwinding_from: None,
            moves: 0,
        }
    }

    pub fn op(&self) -> &Operation {
        self.log.op(self.number)
    }

    /// Whether the crash that the world holds came about.
    pub fn crashed(&self) -> bool {
        self.crashed
    }

    /// Until it has ended.
    pub fn drive(&mut self) -> Result<(), String> {
        while self.advance()? {
            self.moves += 1;
            if self.moves > MOVES_MAX {
                return Err(format!("still {} after {MOVES_MAX} moves", self.op().at().word()));
            }
        }
        Ok(())
    }

    /// Until the operation looks so.
    pub fn drive_until(&mut self, looks: impl Fn(&Operation) -> bool) -> Result<(), String> {
        while !looks(self.op()) {
            if !self.advance()? {
                return Err("it ended before".into());
            }
        }
        Ok(())
    }

    fn at(&self, step: usize) -> At {
        let steps = &self.op().steps;
        let same = steps.iter().take(step).filter(|s| s.name == steps[step].name).count();
        let names =
            ["hold", "fence", "cut", "candidate", "generation", "promote", "start", "route", "verify", "reconnect"];
        At(names.into_iter().find(|n| *n == steps[step].name).unwrap_or("release"), same)
    }

    /// Whether the process ends here; whoever comes next has the rows alone.
    fn crashes(&mut self, step: usize, point: Point) -> bool {
        if self.crashed || self.world.crash != Some((self.at(step), point)) {
            return false;
        }
        self.crashed = true;
        self.log = self.log.restarted();
        true
    }

    fn aborts(&mut self, step: usize, point: Point) -> Result<(), String> {
        if self.aborted.is_some() || self.world.abort != Some((self.at(step), point)) {
            return Ok(());
        }
        let past = self.op().past_no_return;
        let abort = change::AbortOperation { operation: self.number, reason: "not now".into() };
        let answer = self.log.try_apply(Kind::AbortOperation(abort));
        self.aborted = Some(answer.is_ok());
        match answer {
            Ok(_) if !past => Ok(()),
            Err(refused) if past && refused.reason == Reason::PastNoReturn => Ok(()),
            other => {
                Err(format!("an abort {} the point of no return: {other:?}", if past { "past" } else { "before" }))
            }
        }
    }

    /// From the moment that this step is due, no host has a session.
    pub fn world_goes_dark_at(&mut self, step: &'static str) {
        self.world.dark_at = Some(step);
    }

    fn darken(&mut self) {
        if let Next::Begin { step, .. } = self.next()
            && self.world.dark_at == Some(self.at(step).0)
        {
            self.world.gone = (0..self.world.regions).collect();
        }
    }

    fn next(&self) -> Next {
        next(self.op(), self.log.app("shop"), &self.world.reachable())
    }

    fn advance(&mut self) -> Result<bool, String> {
        self.darken();
        match self.next() {
            Next::Nothing => return Ok(false),
            Next::Begin { step, attempt } => {
                if self.crashes(step, Point::BeforeBegins) {
                    return if self.next() == (Next::Begin { step, attempt }) {
                        Ok(true)
                    } else {
                        Err("a successor begins something else".into())
                    };
                }
                self.aborts(step, Point::BeforeBegins)?;
                let stopped = self.op().aborting && !self.op().past_no_return && self.unwinding_from.is_none();
                match self.log.try_apply(begins(self.number, step, attempt)) {
                    Ok(_) if stopped => return Err(format!("{} began while being aborted", self.at(step))),
                    Err(_) if stopped => return Ok(true),
                    Ok(_) => {}
                    Err(refused) => return Err(format!("{} did not begin: {refused}", self.at(step))),
                }
                if !self.begun.insert((step, attempt)) {
                    return Err(format!("attempt {attempt} of {} began twice", self.at(step)));
                }
            }
            Next::Resume { step, attempt } => {
                if self.crashes(step, Point::AfterBegins) {
                    return Ok(true);
                }
                self.aborts(step, Point::AfterBegins)?;
                match self.carry_out(step)? {
                    Carried::Crashed => {}
                    Carried::Ended { well, chosen } => {
                        let change = ended(self.number, step, attempt, well, &chosen);
                        self.log.try_apply(change).map_err(|refused| format!("{}: {refused}", self.at(step)))?;
                    }
                }
            }
            Next::Extend { steps, unwinding, why } => {
                let at_steps = self.op().steps.len();
                if unwinding {
                    self.undoes_what_was_begun(&steps)?;
                    self.unwinding_from = Some(at_steps);
                }
                let change =
                    change::ExtendPlan { operation: self.number, at_steps: small(at_steps), steps, unwinding, why };
                self.log.try_apply(Kind::ExtendPlan(change)).map_err(|refused| format!("not extended: {refused}"))?;
            }
            Next::End { state, text } => {
                let change = change::EndOperation { operation: self.number, state: state.into(), text };
                self.log.try_apply(Kind::EndOperation(change)).map_err(|refused| format!("not ended: {refused}"))?;
            }
        }
        Ok(true)
    }

    fn undoes_what_was_begun(&self, undos: &[Step]) -> Result<(), String> {
        if self.unwinding_from.is_some() {
            return Err("it unwinds twice".into());
        }
        let needed: Vec<&str> = self
            .op()
            .steps
            .iter()
            .rev()
            .filter(|s| s.attempt > 0)
            .filter_map(|s| match s.name.as_str() {
                "hold" => Some("release"),
                "cut" => Some("reconnect"),
                _ => None,
            })
            .collect();
        let names: Vec<&str> = undos.iter().map(|s| s.name.as_str()).collect();
        if names == needed { Ok(()) } else { Err(format!("undoes {names:?}, needed is {needed:?}")) }
    }

    /// How the world lets the running attempt go: whether it does its work, and whether somebody hears of it.
    fn goes(&self, step: usize) -> (bool, bool) {
        let attempt = self.op().steps[step].attempt;
        let at = self.at(step);
        let fault = self.world.faults.iter().find(|(a, _)| *a == at).map(|(_, fails)| *fails);
        match fault {
            None => (true, true),
            Some(Fails::Always) => (false, true),
            Some(Fails::Times(n)) => (attempt > n, true),
            Some(Fails::OnceAfterItHappened) => (true, attempt > 1),
        }
    }

    fn carry_out(&mut self, step: usize) -> Result<Carried, String> {
        let (works, heard) = self.goes(step);
        let carried = if works { self.work(step)? } else { badly() };
        if self.crashes(step, Point::BeforeEnded) {
            return Ok(Carried::Crashed);
        }
        self.aborts(step, Point::BeforeEnded)?;
        Ok(if heard { carried } else { badly() })
    }

    fn work(&mut self, step: usize) -> Result<Carried, String> {
        let (op, app) = (self.op().clone(), self.log.app("shop").clone());
        let of = change::OfOperation { operation: self.number, generation: app.record.generation };
        let stopped = op.aborting && !op.past_no_return && self.unwinding_from.is_none();
        let carried = match op.steps[step].action.as_ref().expect("an action") {
            Action::Hold(_) => self.commit(Kind::Hold(of))?,
            Action::Fence(_) | Action::Cut(_) | Action::Promote(_) | Action::Start(_) | Action::Verify(_)
                if stopped =>
            {
                badly()
            }
            Action::Fence(_) => {
                // Whoever is silent is waited for.
                self.command(step);
                self.commit(Kind::HoldOver(of))?
            }
            Action::Cut(_) => {
                let done = self.command(step);
                if done.is_empty() { badly() } else { well() }
            }
            Action::Choose(choose) => match furthest_on(&op.steps[choose.cut_step as usize]) {
                Ok(choice) => Carried::Ended { well: true, chosen: choice.region.to_string() },
                Err(_) => badly(),
            },
            Action::Generation(to) => {
                let region = if to.region.is_empty() { op.to_region.clone() } else { to.region.clone() };
                if !app.held() && app.active().as_str() == region && op.past_no_return {
                    well()
                } else {
                    let (operation, generation) = (self.number, of.generation);
                    let change = change::NextGeneration { operation, generation, region };
                    match self.log.try_apply(Kind::NextGeneration(change)) {
                        Ok(n) if n == of.generation + 1 => {
                            self.generations += 1;
                            well()
                        }
                        Err(refused) if stopped && refused.reason == Reason::OperationEnded => badly(),
                        other => return Err(format!("generation: {other:?}")),
                    }
                }
            }
            Action::Promote(_) | Action::Start(_) | Action::Verify(_) | Action::Reconnect(_) => {
                let asked = hosts_of(&op, &app, step).len();
                if self.command(step).len() == asked { well() } else { badly() }
            }
            Action::Route(_) => {
                let set = change::SetRouted { app: "shop".into(), generation: of.generation };
                self.log.try_apply(Kind::SetRouted(set)).map_err(|refused| refused.what)?;
                let active = REGIONS.iter().position(|r| *r == app.active().as_str()).expect("a region");
                if self.command(step).contains(&host(WEB[active])) { well() } else { badly() }
            }
            Action::EndHold(_) => {
                let before = app.record.generation;
                let carried = self.commit(Kind::EndHold(of))?;
                self.generations += self.log.app("shop").record.generation - before;
                carried
            }
        };
        Ok(carried)
    }

    fn commit(&mut self, kind: Kind) -> Result<Carried, String> {
        self.log.try_apply(kind).map(|_| well()).map_err(|refused| refused.what)
    }

    /// Sends a step's commands; answers the hosts that have done theirs. As an agent does, one that knows the command
    /// answers with the result it has.
    fn command(&mut self, step: usize) -> Vec<HostName> {
        let op = self.op().clone();
        let hosts = hosts_of(&op, self.log.app("shop"), step);
        let reachable = self.world.reachable();
        let mut done = Vec::new();
        for (part, host) in hosts.into_iter().enumerate().filter(|(_, h)| reachable.contains(h)) {
            let attempt = op.steps[step].attempt;
            let (part, number) = (small(part), OperationId(self.number));
            let id = CommandId { operation: number, step: small(step), part, attempt };
            let result = self.executed.entry(id).or_insert_with(|| CommandResult {
                part,
                attempt,
                host: host.to_string(),
                outcome: CommandOutcome::Done.into(),
                text: "done".into(),
                position: DB
                    .iter()
                    .position(|d| *d == host.as_str())
                    .map(|n| Position { timeline: 1, lsn: 900 - n as u64 }),
            });
            let result = Some(result.clone());
            self.log.done(Kind::CommandEnded(change::CommandEnded {
                operation: self.number,
                step: small(step),
                result,
            }));
            done.push(host);
        }
        done
    }
}

/// A failover whose step of this name has begun.
pub fn at_step(log: &Log, regions: usize, step: &'static str) -> Log {
    let mut run = Run::failover(log, World { regions, ..World::default() });
    run.drive_until(|op| op.steps.iter().any(|s| s.name == step && s.attempt > 0)).expect("the step begins");
    run.log
}
