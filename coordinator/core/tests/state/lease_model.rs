//! A small world around the real state, grants and engine: hosts that hold leases as agents do, messages that are late or
//! lost, leaders that change, regions that fail over. Everything that may happen next is drawn from a seed.
//!
//! Time goes in tenths of a second. A holder's clock may lose one tenth in each lease (the drift of these timings), and
//! its fence takes up to a second from the lease's end.

mod holder;
mod leader;
mod operation;

use std::{collections::BTreeSet, time::Duration};

use holdfast_coordinator_core::{
    change::{self, Kind},
    engine::{Next, next},
    grants::{GrantLog, Terms, may_grant},
    plan::{self, FailoverRequest, furthest_on, hosts_of},
    records::{Action, CommandOutcome, CommandResult, OperationState, Position, StepState},
    state::State,
};
use holdfast_types::{BootInstant, Generation, HostName, LogIndex, OperationId};

use crate::support::*;

/// The rule that is left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Without {
    /// None: this is the protocol.
    Nothing,
    /// Before it moves on without the source's word, the leader waits until the last lease is over.
    TheWait,
    /// A lease has an end while a region could take over.
    AnEndWhilePromotable,
    /// A region becomes promotable only after the holder counts an end.
    TheHoldersWordBeforePromotable,
    /// A held generation is granted to nobody.
    TheHold,
    /// Whether a lease may be granted is looked at when the reply is given.
    TheLookAtTheReply,
    /// Nobody is reactivated while an operation decides where the app goes.
    TheRestWhileAnOperationRuns,
    /// A fenced generation stays fenced.
    TheStickyFence,
    /// A lease counts from when its request was sent.
    CountingFromTheRequest,
    /// A lease of a generation that was taken back before it was over is waited for.
    WhatWasTakenBack,
    /// A new leader does not trust what it remembers of its grants.
    ForgettingAtANewTerm,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Right {
    None,
    /// Until this moment of real time, as this host's clock will show it.
    Ends(u64, u64),
    /// Of this generation; when it would be over if it had an end.
    Sole(u64, u64),
}

#[derive(Debug, Clone, Copy)]
struct Wish {
    generation: u64,
    here: bool,
    lease_ends: bool,
}

/// One region's holder.
#[derive(Debug, Clone)]
struct Holder {
    wish: Wish,
    right: Right,
    /// Writers that a fence has not reached yet run until then.
    stops_at: u64,
    held: u64,
    fenced: u64,
    number: u64,
    claimed: u64,
    asked: Vec<(u64, u64)>,
    /// A lease without end is on the disk.
    sole_row: Option<u64>,
    mute: bool,
    /// Nothing reaches it, and nothing from it arrives.
    cut: bool,
}

#[derive(Debug, Clone, Copy)]
struct Request {
    from: usize,
    number: u64,
    fenced: u64,
    generation: u64,
    counts_end: bool,
}

#[derive(Debug, Clone)]
struct Confirmed {
    request: Request,
    /// Which leadership confirmed it.
    term: u64,
    at_confirm: Option<Box<State>>,
    /// Not before this moment.
    ripe: u64,
}

#[derive(Debug, Clone, Copy)]
struct Reply {
    to: usize,
    number: u64,
    terms: Terms,
    /// Not before this moment.
    ripe: u64,
}

/// Lease 20, drift 1, fence 10 tenths.
const LEASE: u64 = 20;
const FENCE: u64 = 10;
const HOSTS: usize = 3;

pub struct Model {
    pub log: Log,
    without: Without,
    dice: Dice,
    now: u64,
    holders: Vec<Holder>,
    requests: Vec<Request>,
    confirmed: Vec<Confirmed>,
    replies: Vec<Reply>,
    /// Of the leader alone; lost with its term.
    term: u64,
    grants: GrantLog,
    /// Of the coordinator that led before.
    grants_before: GrantLog,
    /// Since when it leads, and the generation that it granted last.
    since: u64,
    granted: u64,
    hold_seen: u64,
    end_wanted: Option<u64>,
    counts_end: Option<u64>,
    /// What deposed leaders still believe.
    old: Option<Box<State>>,
    pub moved: u64,
    pub soles: u64,
    pub reactivated: u64,
    pace: Pace,
    story: Vec<String>,
}

/// How this world is: each seed has its own, because what goes wrong in a calm one may not in a wild one.
struct Pace {
    /// One chance in so many.
    fails_over: u64,
    confirms_fence: u64,
    heals: u64,
    trouble: u64,
    leads: u64,
    /// Moves of an operation at a time.
    moves: u64,
    aborts: u64,
}

impl Pace {
    fn drawn(dice: &mut Dice) -> Self {
        let mut one_of = |these: [u64; 3]| these[usize::try_from(dice.roll(3)).expect("small")];
        Self {
            fails_over: one_of([4, 15, 60]),
            confirms_fence: one_of([15, 60, 400]),
            heals: one_of([1, 2, 6]),
            trouble: one_of([1, 3, 10]),
            leads: one_of([5, 30, 200]),
            moves: one_of([1, 3, 12]),
            aborts: one_of([10, 60, 600]),
        }
    }
}

fn at(now: u64) -> BootInstant {
    BootInstant::from_boot(Duration::from_millis(now * 100))
}

fn wanted() -> Wanted {
    Wanted { lease: "2s", renew: "500ms", within: "1s", ..Wanted::shop(HOSTS) }
}

impl Model {
    pub fn begin() -> Log {
        let mut log = Log::cluster();
        log.checked = false;
        log.done(apply_spec(&wanted(), 0));
        log
    }

    pub fn new(log: &Log, seed: u64, without: Without) -> Self {
        let holder = |n| Holder {
            wish: Wish { generation: 1, here: n == 0, lease_ends: false },
            right: Right::None,
            stops_at: 0,
            held: 0,
            fenced: 0,
            number: 0,
            claimed: 0,
            asked: Vec::new(),
            sole_row: None,
            mute: false,
            cut: false,
        };
        Self {
            log: log.clone(),
            without,
            dice: Dice::new(seed),
            now: 100,
            holders: (0..HOSTS).map(holder).collect(),
            requests: Vec::new(),
            confirmed: Vec::new(),
            replies: Vec::new(),
            term: 1,
            grants: GrantLog::new(at(100), LogIndex(log.index)),
            grants_before: GrantLog::new(at(100), LogIndex(log.index)),
            since: 100,
            granted: 0,
            hold_seen: 100,
            end_wanted: None,
            counts_end: None,
            old: None,
            moved: 0,
            soles: 0,
            reactivated: 0,
            pace: Pace::drawn(&mut Dice::new(seed + 77)),
            story: Vec::new(),
        }
    }

    fn tell(&mut self, what: impl FnOnce() -> String) {
        self.story.push(format!("{:>5} {}", self.now, what()));
    }

    fn generation(&self) -> u64 {
        self.log.app("shop").record.generation
    }

    fn writes(&self, n: usize) -> bool {
        let holder = &self.holders[n];
        holder.stops_at > self.now
            || match holder.right {
                Right::None => false,
                Right::Ends(_, until) => until > self.now,
                Right::Sole(..) => true,
            }
    }

    /// So many things happen; answers what went wrong, with the way there.
    pub fn run(&mut self, steps: usize) -> Result<(), String> {
        for _ in 0..steps {
            let generation = self.generation();
            let (operation, acted) = (self.log.app("shop").record.operation, self.moved);
            self.happen();
            let writers: Vec<&str> = (0..HOSTS).filter(|n| self.writes(*n)).map(|n| DB[n]).collect();
            let went = if writers.len() > 1 {
                format!("{} write at once", writers.join(" and "))
            } else if operation != 0 && self.generation() != generation && self.moved == acted {
                format!("generation {} began under operation {operation}, which did not ask for it", self.generation())
            } else {
                continue;
            };
            let tail = self.story[self.story.len().saturating_sub(60)..].join("\n");
            return Err(format!("{went}\n{tail}"));
        }
        Ok(())
    }

    fn happen(&mut self) {
        match self.dice.roll(48) {
            0..=5 => self.tick(),
            6..=8 => self.ask(),
            9..=13 => self.confirm(),
            14..=18 => self.decide(),
            19..=23 => self.deliver(),
            24..=34 => (0..self.pace.moves).for_each(|_| self.operate()),
            35..=38 => self.duty(),
            39..=41 => self.desired(),
            42..=44 => self.disk(),
            45 if self.dice.one_in(3) => self.lose_a_message(),
            46 if self.dice.one_in(self.pace.leads) => self.new_leader(),
            47 if self.dice.one_in(self.pace.trouble) => self.trouble(),
            _ => {}
        }
    }

    fn active_host(&self) -> usize {
        let active = self.log.app("shop").active();
        REGIONS.iter().position(|r| *r == active.as_str()).expect("a region")
    }

    fn active(&self) -> &'static str {
        DB[self.active_host()]
    }

    /// How many failovers have ended with the app moved.
    pub fn done(&self) -> usize {
        self.log.state.operations().values().filter(|op| op.at() == OperationState::Done).count()
    }

    /// Whether any step is still marked as running although its operation has ended.
    pub fn left_running(&self) -> bool {
        let ended = self.log.state.operations().values().filter(|op| op.at().ended());
        ended.flat_map(|op| &op.steps).any(|s| s.at() == StepState::Began)
    }
}
