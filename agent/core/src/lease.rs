//! The holder's side of one app's lease.
//!
//! ```text
//!                 grant: lease                   grant: sole, and nobody asked to count an end
//!   none ────────────────────────▶ ends ────────────────────────────────────▶ sole
//!     ▲                              │ ▲                                         │ told that leases end, a fresh grant
//!     │   deadline, or an ordered    │ └─────────────────────────────────────────┘ is there, and the durable row is gone
//!     │   fence of its generation    ▼
//!     └───────────────────────── fencing ── until nothing of any writer is left
//! ```
//! What always holds:
//! - the deadline is the moment *that numbered request* was sent, plus the lease, on the host's boot clock; no grant
//!   makes it earlier within a generation;
//! - a grant of an unknown number, of a generation lower than one that this host knows of, or of one that is fenced
//!   here, changes nothing;
//! - a fenced generation stays fenced: the highest is kept durably, and told with every request only once it is;
//! - a lease without end is durable before anybody could rely on its absence: `counts_end` is told only while no such
//!   row can be on the disk, and a `sole` grant is not taken when a later request has already told `counts_end`;
//! - no lease is asked for writers that this host's root does not allow, and none of them is started; a lease that was
//!   held before is fenced like any other when it ends;
//! - writers are started only under a live lease whose generation is durably known to have been held here. So a host
//!   that lost its memory in `/run` knows what it must fence.
//!
//! A refusal is no input: what was granted before counts until it ends, and another coordinator may still answer the
//! same request. The shell carries the effects out in order, and reports what has become durable by [`Holder::stored`].

mod words;

use std::{collections::BTreeMap, time::Duration};

use holdfast_types::{
    BootInstant, Generation,
    lease::{Timings, holder_deadline},
};

pub use words::*;

use crate::record::{Record, Until};

/// Requests that are remembered. More than fit in any lease (a lease is at least two renewals, and a request out of
/// turn follows an event); the oldest is forgotten, so a reply to it changes nothing.
const ASKED_MAX: usize = 64;
/// Between two attempts to start writers.
const START_RETRY: Duration = Duration::from_secs(1);

#[derive(Debug, Clone, Copy)]
struct Asked {
    sent: BootInstant,
}

/// One app's lease on this host. See the module.
#[derive(Debug)]
pub struct Holder {
    wish: Option<Wish>,
    right: Right,
    held: Generation,
    held_stored: Generation,
    fenced: Generation,
    fenced_stored: Generation,
    /// A durable row of a lease without end may be there.
    sole_row: Option<Generation>,
    /// Writes about that row which are not durable yet. They become so in order.
    sole_writes: u32,
    /// That row is being removed, because leases end.
    ending: bool,
    stopped: bool,
    released: bool,
    fencing: bool,
    starting: bool,
    start_at: Option<BootInstant>,
    /// Up to this generation the active region was this one, without a gap since writers ran here: what lies here is
    /// the newest there is, and may be started without asking. A lease alone proves no such thing.
    home: Generation,
    number: u64,
    asked: BTreeMap<u64, Asked>,
    ask_at: Option<BootInstant>,
    /// Highest request that told `counts_end`.
    claimed: u64,
    /// A `sole` grant came too late to be taken: tell no `counts_end` until one is, or leases end.
    mute: bool,
}

impl Holder {
    /// Takes up what was left: a lease that is still live, or, when a lease was ever taken and none lives, a fence.
    ///
    /// `record` is what `/run` says for this boot. `booted` says that the host was booted since the agent last ran:
    /// then the writers of a lease without end do not run yet. Numbers of requests start after `number`.
    #[must_use]
    pub fn start(
        kept: Kept,
        record: Option<Record>,
        booted: bool,
        number: u64,
        now: BootInstant,
    ) -> (Self, Vec<Effect>) {
        let mut holder = Self {
            wish: None,
            right: Right::None,
            held: kept.held,
            held_stored: kept.held,
            fenced: kept.fenced,
            fenced_stored: kept.fenced,
            sole_row: kept.sole,
            sole_writes: 0,
            ending: false,
            stopped: kept.stopped,
            released: kept.released,
            fencing: false,
            starting: false,
            start_at: None,
            home: kept.home,
            number,
            asked: BTreeMap::new(),
            ask_at: None,
            claimed: 0,
            mute: false,
        };
        let mut effects = Vec::new();
        if let Some(wish) = kept.wish {
            holder.wish = Some(wish);
            // Nothing lies here yet before the first lease, except in the app's first generation.
            if wish.here && kept.held > Generation(0) && holder.note_home(wish.generation) {
                effects.push(Effect::Store(Fact::Home(wish.generation)));
            }
        }
        let lives = |generation: Generation| generation > kept.fenced && generation >= kept.held;
        let sole = kept.sole.filter(|generation| lives(*generation));
        let noted = record.filter(|record| lives(record.generation));
        match (sole, noted) {
            (Some(generation), _) => {
                holder.right = Right::Sole { generation, counted: BootInstant::default() };
                holder.stopped |= booted;
                effects.push(Effect::WriteRecord(Record { generation, until: Until::Never }));
            }
            (None, Some(Record { generation, until: Until::At(deadline) })) if deadline > now => {
                holder.right = Right::Ends { generation, deadline };
                if holder.note_home(generation) {
                    effects.push(Effect::Store(Fact::Home(generation)));
                }
                if generation > holder.held {
                    holder.held = generation;
                    effects.push(Effect::Store(Fact::Held(generation)));
                }
            }
            // A note without end, whose durable row is gone, is worth nothing: the row is removed first.
            (None, Some(_) | None) => {
                if record.is_some() {
                    effects.push(Effect::ClearRecord);
                }
                if kept.held > Generation(0) && holder.arms() {
                    holder.fence_generation(kept.held, Why::NoLeaseAtStart, &mut effects);
                }
            }
        }
        holder.disarm_if_without_leases(&mut effects);
        holder.plan_ask(now);
        holder.start_writers(now, &mut effects);
        (holder, effects)
    }

    /// The committed state has changed, or is told again. The shell has refused older ones by their token.
    pub fn desired(&mut self, wish: Wish, now: BootInstant) -> Vec<Effect> {
        let mut effects = Vec::new();
        if self.wish.is_some_and(|known| wish.generation < known.generation) {
            return effects;
        }
        let news = self.wish != Some(wish);
        self.wish = Some(wish);
        if wish.here && self.held > Generation(0) {
            self.note_home(wish.generation);
        }
        if wish.lease_ends {
            self.mute = false;
        }
        self.disarm_if_without_leases(&mut effects);
        // A later generation elsewhere was committed after this host's lease was over or its fence confirmed. If the
        // lease lives all the same, what is committed is right and the lease is wrong.
        if !wish.here && self.right != Right::None && wish.generation > self.right.generation() {
            self.lose(Why::MovedOn, &mut effects);
        }
        self.end_sole(now, &mut effects);
        if news {
            self.plan_ask(now);
            self.start_writers(now, &mut effects);
        }
        self.ask_if_due(now, &mut effects);
        effects
    }

    /// A coordinator answered request `number` with a lease of `generation`.
    pub fn grant(
        &mut self,
        number: u64,
        generation: Generation,
        terms: Terms,
        now: BootInstant,
    ) -> (Taken, Vec<Effect>) {
        let mut effects = Vec::new();
        let Some(asked) = self.asked.get(&number).copied() else { return (Taken::UnknownNumber, effects) };
        let Some((wish, timings)) = self.wish.and_then(|wish| wish.timings.map(|timings| (wish, timings))) else {
            return (Taken::NoLeases, effects);
        };
        if generation <= self.fenced {
            return (Taken::Fenced, effects);
        }
        let gone = !wish.here && wish.generation >= generation;
        if generation < wish.generation.max(self.right.generation()).max(self.held) || gone {
            return (Taken::OldGeneration, effects);
        }
        // A lease without end is at least a lease.
        let length = match terms {
            Terms::Ends(length) => length,
            Terms::Sole => timings.lease,
        };
        let end = holder_deadline(asked.sent, length);
        if end <= now {
            return (Taken::Late, effects);
        }
        self.extend(generation, end, &mut effects);
        if terms == Terms::Sole && !wish.lease_ends {
            self.take_sole(number, generation, &mut effects);
        }
        self.end_sole(now, &mut effects);
        self.start_writers(now, &mut effects);
        (Taken::Yes, effects)
    }

    fn extend(&mut self, generation: Generation, end: BootInstant, effects: &mut Vec<Effect>) {
        let record = |deadline| Effect::WriteRecord(Record { generation, until: Until::At(deadline) });
        match &mut self.right {
            Right::Ends { generation: current, deadline } if *current == generation => {
                if end > *deadline {
                    *deadline = end;
                    effects.push(record(end));
                }
            }
            Right::Sole { generation: current, counted } if *current == generation => {
                *counted = (*counted).max(end);
                if self.ending {
                    effects.push(record(*counted));
                }
            }
            Right::None | Right::Ends { .. } | Right::Sole { .. } => {
                self.right = Right::Ends { generation, deadline: end };
                self.ending = false;
                effects.push(record(end));
                self.void_sole_row(effects);
                if generation > self.held {
                    self.held = generation;
                    // A grant proves that its generation is committed here. Before it counts as held: what is known of
                    // one generation and not of the next can never be caught up with.
                    if self.note_home(generation) || self.home == generation {
                        effects.push(Effect::Store(Fact::Home(generation)));
                    }
                    effects.push(Effect::Store(Fact::Held(generation)));
                }
            }
        }
    }

    fn take_sole(&mut self, number: u64, generation: Generation, effects: &mut Vec<Effect>) {
        match self.right {
            Right::Ends { generation: current, deadline } if current == generation => {
                // Somebody may already rely on the end that a later request told: the next ones tell none, and the
                // answer to those is taken.
                if self.claimed > number {
                    self.mute = true;
                    return;
                }
                self.mute = false;
                self.right = Right::Sole { generation, counted: deadline };
                self.sole_row = Some(generation);
                self.sole_writes += 1;
                effects.push(Effect::Store(Fact::Sole(generation)));
            }
            Right::None | Right::Ends { .. } | Right::Sole { .. } => {}
        }
    }

    /// Begins to count an end, when leases have one and the newest grant reaches far enough.
    fn end_sole(&mut self, now: BootInstant, effects: &mut Vec<Effect>) {
        let (Some(wish), Right::Sole { generation, counted }) = (self.wish, self.right) else { return };
        if !wish.lease_ends || self.ending || counted <= now {
            return;
        }
        self.ending = true;
        // The note first: whatever is interrupted leaves a lease without end, or one with this end.
        effects.push(Effect::WriteRecord(Record { generation, until: Until::At(counted) }));
        self.sole_writes += 1;
        effects.push(Effect::Store(Fact::SoleEnded(generation)));
    }

    fn void_sole_row(&mut self, effects: &mut Vec<Effect>) {
        if let Some(row) = self.sole_row {
            self.sole_writes += 1;
            effects.push(Effect::Store(Fact::SoleEnded(row)));
        }
    }

    /// A coordinator that tells this host nothing else says that the app is active elsewhere, with that generation.
    pub fn moved_on(&mut self, generation: Generation) -> Vec<Effect> {
        let mut effects = Vec::new();
        if self.right != Right::None && generation > self.right.generation() {
            self.lose(Why::MovedOn, &mut effects);
        }
        effects
    }

    /// Time has passed.
    pub fn tick(&mut self, now: BootInstant) -> Vec<Effect> {
        let mut effects = Vec::new();
        if let Right::Ends { deadline, .. } = self.right
            && now >= deadline
        {
            self.lose(Why::LeaseOver, &mut effects);
        }
        self.ask_if_due(now, &mut effects);
        if self.start_at.is_some_and(|at| now >= at) {
            self.start_at = None;
            self.start_writers(now, &mut effects);
        }
        effects
    }

    /// Asks out of turn: a connection has come up, or a command needs a lease.
    pub fn ask_now(&mut self, now: BootInstant) -> Vec<Effect> {
        let mut effects = Vec::new();
        self.plan_ask(now);
        self.ask_if_due(now, &mut effects);
        effects
    }

    /// A committed command orders a fence of `generation`. Done when [`Self::fence_confirmed`] says so.
    ///
    /// # Errors
    /// When fencing was ended here by hand.
    pub fn fence_ordered(&mut self, generation: Generation) -> Result<Vec<Effect>, FencingReleased> {
        if self.released {
            return Err(FencingReleased);
        }
        let mut effects = Vec::new();
        // Under a lease of a later generation writers run rightly, and what is ordered was done when it began.
        if self.right.generation() > generation {
            if generation > self.fenced {
                self.fenced = generation;
                effects.push(Effect::Store(Fact::Fenced(generation)));
            }
        } else {
            self.fence_generation(generation, Why::Ordered, &mut effects);
        }
        Ok(effects)
    }

    /// Whether `generation` is fenced: durably, and nothing of the writers is left.
    #[must_use]
    pub fn fence_confirmed(&self, generation: Generation) -> bool {
        self.fenced_stored >= generation && (!self.fencing || self.right.generation() > generation)
    }

    /// Nothing of any writer is left.
    pub fn fence_finished(&mut self, now: BootInstant) -> Vec<Effect> {
        let mut effects = Vec::new();
        self.fencing = false;
        self.start_writers(now, &mut effects);
        effects
    }

    /// A database was found that accepts writes although [`Self::watches`].
    pub fn stray_found(&mut self) -> Vec<Effect> {
        let mut effects = Vec::new();
        if self.watches() {
            self.begin_fence(Why::Stray, &mut effects);
        }
        effects
    }

    /// Whether nothing of the app's writers may accept writes here right now, so that one that does is fenced.
    /// Before the first lease ever, a database that runs is left alone: the first `apply` stops nothing.
    #[must_use]
    pub fn watches(&self) -> bool {
        let Some(wish) = self.wish else { return false };
        let armed = wish.generation > wish.first || !wish.here || self.held > Generation(0);
        armed && wish.generation > Generation(0) && self.arms() && self.right == Right::None && !self.fencing
    }

    /// An attempt to start the writers ended.
    pub fn start_ended(&mut self, well: bool, now: BootInstant) -> Vec<Effect> {
        self.starting = false;
        if well {
            return self.opened();
        }
        self.start_at = Some(now + START_RETRY);
        Vec::new()
    }

    /// Writers run under the lease: started, or promoted by a command.
    pub fn opened(&mut self) -> Vec<Effect> {
        let generation = self.right.generation();
        if self.fencing || self.right == Right::None || (!self.stopped && self.home >= generation) {
            return Vec::new();
        }
        self.stopped = false;
        self.home = self.home.max(generation);
        vec![Effect::Store(Fact::Opened(generation))]
    }

    /// Fencing is ended by hand, as root on this host.
    pub fn release(&mut self) -> Vec<Effect> {
        self.released = true;
        vec![Effect::Store(Fact::Released(true))]
    }

    /// Fencing is taken up again: at once, when no lease lives.
    pub fn resume(&mut self, now: BootInstant) -> Vec<Effect> {
        let mut effects = vec![Effect::Store(Fact::Released(false))];
        self.released = false;
        if self.right == Right::None && self.held > Generation(0) && self.arms() {
            self.fence_generation(self.held, Why::Resumed, &mut effects);
        }
        self.plan_ask(now);
        effects
    }

    /// The fact is durable.
    pub fn stored(&mut self, fact: Fact, now: BootInstant) -> Vec<Effect> {
        let mut effects = Vec::new();
        match fact {
            Fact::Held(generation) => {
                self.held_stored = self.held_stored.max(generation);
                self.start_writers(now, &mut effects);
            }
            Fact::Fenced(generation) => {
                self.fenced_stored = self.fenced_stored.max(generation);
                self.sole_row_gone(generation);
                // The coordinator learns of it by the next request, and may commit a new generation.
                self.plan_ask(now);
            }
            Fact::Sole(generation) => {
                self.sole_writes = self.sole_writes.saturating_sub(1);
                if self.sole() == Some(generation) && !self.ending {
                    effects.push(Effect::WriteRecord(Record { generation, until: Until::Never }));
                }
            }
            Fact::SoleEnded(generation) => {
                self.sole_writes = self.sole_writes.saturating_sub(1);
                self.sole_row_gone(generation);
                if let Right::Sole { generation: current, counted } = self.right
                    && self.ending
                    && self.sole_row.is_none()
                {
                    self.ending = false;
                    self.right = Right::Ends { generation: current, deadline: counted };
                    // Tells `counts_end`.
                    self.plan_ask(now);
                }
            }
            Fact::Home(_) | Fact::Opened(_) | Fact::Released(_) => {}
        }
        self.ask_if_due(now, &mut effects);
        effects
    }

    /// What may be opened right now.
    #[must_use]
    pub fn permit(&self) -> Permit {
        let generation = self.right.generation();
        if self.fencing || self.held_stored < generation || self.fenced >= generation {
            return Permit(Right::None);
        }
        Permit(self.right)
    }

    /// See [`Permit::allows`].
    #[must_use]
    pub fn allows(&self, generation: Generation, left: Duration, now: BootInstant) -> bool {
        self.permit().allows(generation, left, now)
    }

    /// When [`Self::tick`] must be called next.
    #[must_use]
    pub fn next_wake(&self) -> Option<BootInstant> {
        let deadline = match self.right {
            Right::Ends { deadline, .. } => Some(deadline),
            Right::None | Right::Sole { .. } => None,
        };
        let ask = if self.wants() { self.ask_at } else { None };
        [deadline, ask, self.start_at].into_iter().flatten().min()
    }

    /// What the host believes.
    #[must_use]
    pub fn state(&self, now: BootInstant) -> State {
        if self.released {
            return State::Released;
        }
        if self.fencing {
            return State::Fencing;
        }
        match self.right {
            Right::Ends { deadline, .. } => State::Ends(now.until(deadline)),
            Right::Sole { .. } => State::Sole,
            Right::None if self.stopped => State::Fenced,
            Right::None => State::None,
        }
    }

    /// The right in force. Its deadline may have passed without anybody having noticed.
    #[must_use]
    pub fn right(&self) -> Right {
        self.right
    }

    /// Generation of the lease, or else the newest known.
    #[must_use]
    pub fn generation(&self) -> Generation {
        match self.right {
            Right::None => self.wish.map_or(self.held, |wish| wish.generation),
            Right::Ends { generation, .. } | Right::Sole { generation, .. } => generation,
        }
    }

    /// Highest generation fenced here, durably.
    #[must_use]
    pub fn fenced_durably(&self) -> Generation {
        self.fenced_stored
    }

    /// What the committed state said last.
    #[must_use]
    pub fn wish(&self) -> Option<Wish> {
        self.wish
    }

    /// Number of the newest request.
    #[must_use]
    pub const fn number(&self) -> u64 {
        self.number
    }

    /// Writers were stopped by a fence here, and not started since.
    #[must_use]
    pub fn stopped(&self) -> bool {
        self.stopped
    }

    fn sole_row_gone(&mut self, generation: Generation) {
        // A write that is still under way may bring a row back.
        if self.sole_writes == 0 && self.sole_row.is_some_and(|row| row <= generation) {
            self.sole_row = None;
        }
    }

    fn sole(&self) -> Option<Generation> {
        match self.right {
            Right::Sole { generation, .. } => Some(generation),
            Right::None | Right::Ends { .. } => None,
        }
    }

    fn arms(&self) -> bool {
        !self.released && self.wish.is_some_and(|wish| wish.timings.is_some() && wish.fences)
    }

    fn wants(&self) -> bool {
        self.wish.is_some_and(|wish| wish.allowed && wish.here && !wish.held && wish.timings.is_some())
    }

    /// What is committed here continues what lies here when no generation is missing in between, or when all that are
    /// were of this region: nobody else wrote meanwhile.
    fn note_home(&mut self, generation: Generation) -> bool {
        // Where the app was declared active, what lay here then is where it begins.
        let declared = self.wish.filter(|wish| wish.here && wish.since == wish.first);
        let home = declared.map_or(self.home, |wish| self.home.max(Generation(wish.first.0.saturating_sub(1))));
        let stayed = self.wish.is_some_and(|wish| {
            wish.here && wish.since > Generation(0) && wish.since <= home && generation <= wish.generation
        });
        let grows = generation > self.home && (stayed || generation == home.next());
        if grows {
            self.home = generation;
        }
        grows
    }

    fn disarm_if_without_leases(&mut self, effects: &mut Vec<Effect>) {
        if self.wish.is_none_or(|wish| wish.timings.is_some()) || self.right == Right::None {
            return;
        }
        self.give_up_right(effects);
        self.void_sole_row(effects);
    }

    fn give_up_right(&mut self, effects: &mut Vec<Effect>) {
        if self.right != Right::None {
            self.right = Right::None;
            self.ending = false;
            effects.push(Effect::ClearRecord);
        }
    }

    /// The right in force is over.
    fn lose(&mut self, why: Why, effects: &mut Vec<Effect>) {
        let generation = self.right.generation();
        if self.arms() {
            self.fence_generation(generation, why, effects);
            return;
        }
        self.give_up_right(effects);
        self.void_sole_row(effects);
    }

    fn fence_generation(&mut self, generation: Generation, why: Why, effects: &mut Vec<Effect>) {
        self.fenced = self.fenced.max(generation);
        self.give_up_right(effects);
        // Stopping comes before writing: no disk may delay it.
        self.begin_fence(why, effects);
        if self.fenced > self.fenced_stored || !self.stopped || self.sole_row.is_some() {
            self.stopped = true;
            effects.push(Effect::Store(Fact::Fenced(self.fenced)));
        }
    }

    fn begin_fence(&mut self, why: Why, effects: &mut Vec<Effect>) {
        if self.fencing {
            return;
        }
        self.fencing = true;
        let within = self.wish.and_then(|wish| wish.timings).map_or(Timings::FENCE_WITHIN_DEFAULT, |t| t.fence_within);
        effects.push(Effect::Fence { within, why });
    }

    fn start_writers(&mut self, now: BootInstant, effects: &mut Vec<Effect>) {
        let generation = self.right.generation();
        let mine = self.stopped && generation <= self.home && self.wish.is_none_or(|wish| wish.allowed);
        if mine && !self.starting && self.start_at.is_none() && self.allows(generation, Duration::ZERO, now) {
            self.starting = true;
            effects.push(Effect::Start { generation });
        }
    }

    fn plan_ask(&mut self, now: BootInstant) {
        if self.wants() {
            self.ask_at = Some(now);
        }
    }

    fn ask_if_due(&mut self, now: BootInstant, effects: &mut Vec<Effect>) {
        let Some(wish) = self.wish.filter(|_| self.wants()) else { return };
        let (Some(timings), Some(at)) = (wish.timings, self.ask_at) else { return };
        if now < at {
            return;
        }
        self.ask_at = Some(now + timings.renew);
        self.number += 1;
        self.asked.insert(self.number, Asked { sent: now });
        while self.asked.len() > ASKED_MAX {
            self.asked.pop_first();
        }
        let counts_end = self.counts_end(wish);
        if counts_end {
            self.claimed = self.number;
        }
        effects.push(Effect::Ask(Ask {
            number: self.number,
            generation: wish.generation,
            fenced: self.fenced_stored,
            counts_end,
        }));
    }

    fn counts_end(&self, wish: Wish) -> bool {
        match self.right {
            Right::Ends { generation, .. } => {
                generation == wish.generation
                    && self.sole_row.is_none()
                    && self.held_stored >= generation
                    && wish.lease_ends
                    && !self.mute
            }
            Right::None | Right::Sole { .. } => false,
        }
    }
}

#[cfg(test)]
mod tests;
