//! One app's rounds: what was observed, when to look next, what each look concluded.
//!
//! A round judges the regions that are due. It is due one pace after the one before, and sooner when something new is
//! to be seen: an observation that changed, or one that became silence. So the first failing verdict comes as soon as
//! there is a failure to be seen; what must never be sooner is the *next* one of a run: two failing verdicts, or two
//! good ones that count, are at least one `recheck` apart.
//!
//! ```text
//!   last observation                silent         ▼ = round
//!   ────●──────────────────────────────┤▼ failing 1        ▼ failing 2        ▼ failing 3: unhealthy
//!       │◀── pace + SILENCE_SLACK ────▶│◀──── recheck ────▶│◀──── recheck ───▶│
//! ```
//! Each region has its own rounds, so that a standby region with trouble delays no verdict on the active one. The pace
//! at which agents look is one for the app: the shortest that any of its regions needs.
//!
//! Owned by whoever leads; a new leader begins anew, and so does a new generation: verdicts on another activation say
//! nothing about this one.

mod sights;
mod table;
#[cfg(test)]
mod tests;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use holdfast_types::{BootInstant, Generation, HostName, RegionName, Revision, spec::AppSpec};

pub use sights::{DatabaseSight, Sights};

use crate::{
    counter::{Counter, Pacing, Turn},
    verdict::{Cadence, Fleet, Kind, RoundInput, Signal, Verdict, grace, judge},
};
use table::Table;

/// What is watched: one app, as committed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subject {
    /// The app.
    pub spec: Arc<AppSpec>,
    /// The revision of its spec.
    pub revision: Revision,
    /// The region that takes its writes.
    pub active: RegionName,
    /// The generation of that.
    pub generation: Generation,
}

/// What one round concluded of the regions that were due.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RoundOutcome {
    /// The verdicts, of the regions that were due.
    pub verdicts: BTreeMap<RegionName, Verdict>,
    /// Regions that are unhealthy since this round.
    pub became_unhealthy: Vec<RegionName>,
    /// Regions that are healthy again since this round.
    pub became_healthy: Vec<RegionName>,
    /// The agents of the app should look this often from now on; `None`: as before.
    pub pace: Option<Duration>,
    /// The active region has just been judged failing, and the run of such verdicts is full: ask the gate. True again
    /// with every further failing verdict, because what closed the gate may have gone.
    pub ask_gate: bool,
}

/// One region's part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RegionRounds {
    /// Its verdicts in a row.
    pub counter: Counter,
    /// The latest verdict, and when it was reached.
    pub last: Option<(BootInstant, Verdict)>,
    due: BootInstant,
}

impl RegionRounds {
    fn new(now: BootInstant) -> Self {
        Self { counter: Counter::default(), last: None, due: now }
    }

    /// The latest conclusion; `unknown` before the first.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.last.as_ref().map_or(Kind::Unknown, |(_, verdict)| verdict.kind)
    }

    /// No round before this, however much there is to see. Nothing holds back the first verdict of a run.
    fn not_before(&self, recheck: Duration) -> BootInstant {
        let Some((at, verdict)) = &self.last else {
            return BootInstant::default();
        };
        if verdict.kind == Kind::Failing || self.counter.unhealthy { *at + recheck } else { *at }
    }
}

/// One app's rounds.
#[derive(Debug, Clone)]
pub struct Rounds {
    subject: Subject,
    pacing: Pacing,
    started: BootInstant,
    in_force: BootInstant,
    pace: Duration,
    pace_before: Duration,
    pace_changed: Option<BootInstant>,
    regions: BTreeMap<RegionName, RegionRounds>,
    table: Table,
    sights: Sights,
}

impl Rounds {
    /// Begins to watch an app. `started`: since when this coordinator leads and listens.
    #[must_use]
    pub fn new(subject: Subject, started: BootInstant, now: BootInstant) -> Self {
        let pacing = Pacing::of(&subject.spec);
        let regions = subject.spec.regions.iter().map(|r| (r.name.clone(), RegionRounds::new(now))).collect();
        Self {
            pacing,
            started,
            in_force: now,
            pace: pacing.interval,
            pace_before: pacing.interval,
            pace_changed: None,
            regions,
            table: Table::default(),
            sights: Sights::default(),
            subject,
        }
    }

    /// What is watched.
    #[must_use]
    pub const fn subject(&self) -> &Subject {
        &self.subject
    }

    /// How often the app's agents should look right now.
    #[must_use]
    pub const fn pace(&self) -> Duration {
        self.pace
    }

    /// How the app is to be judged.
    #[must_use]
    pub const fn pacing(&self) -> &Pacing {
        &self.pacing
    }

    /// Each region's counts and latest verdict.
    #[must_use]
    pub const fn regions(&self) -> &BTreeMap<RegionName, RegionRounds> {
        &self.regions
    }

    /// The databases as they were last seen: what the gate asks about.
    #[must_use]
    pub const fn sights(&self) -> &Sights {
        &self.sights
    }

    /// Takes what is committed now. A new generation begins anew; a new revision keeps what it still asks for.
    pub fn update(&mut self, subject: Subject, now: BootInstant) {
        if subject == self.subject {
            return;
        }
        let anew = subject.generation != self.subject.generation || subject.active != self.subject.active;
        self.pacing = Pacing::of(&subject.spec);
        self.in_force = now;
        self.subject = subject;
        if anew {
            self.table = Table::default();
            self.sights = Sights::default();
            self.regions.clear();
        } else {
            self.table.keep(&self.subject.spec);
        }
        let old = std::mem::take(&mut self.regions);
        for region in &self.subject.spec.regions {
            let kept = old.get(&region.name).cloned().unwrap_or_else(|| RegionRounds::new(now));
            self.regions.insert(region.name.clone(), kept);
        }
        self.set_pace(now);
    }

    /// Takes an observation; `signal.age` is how old it is now. One that is older than what is known is dropped, and
    /// so is one of a host, region or check that the app does not have.
    pub fn observe(&mut self, mut signal: Signal, now: BootInstant) {
        let spec = &self.subject.spec;
        if !table::belongs(spec, &signal) {
            return;
        }
        let region = signal.region.clone();
        self.table.mark_advance(&mut signal);
        self.sights.note(spec, &self.subject.active, &signal, now);
        if !self.table.put(signal, now) {
            return;
        }
        // News of a standby may be proof that the active region serves writes, or the end of it.
        let active = self.subject.active.clone();
        for name in [region, active] {
            if let Some(rounds) = self.regions.get_mut(&name) {
                rounds.due = rounds.due.min(now.max(rounds.not_before(self.pacing.recheck)));
            }
        }
    }

    /// The earliest round, and the region it judges. Ask again after every observation and every round.
    #[must_use]
    pub fn next_deadline(&self) -> Option<(BootInstant, RegionName)> {
        let due = |(name, rounds): (&RegionName, &RegionRounds)| (self.due(name, rounds), name.clone());
        self.regions.iter().map(due).min()
    }

    /// One pace after the last round; sooner when an observation of the region's own becomes silence, or a grace ends.
    fn due(&self, name: &RegionName, rounds: &RegionRounds) -> BootInstant {
        let Some((last, _)) = &rounds.last else {
            return rounds.due;
        };
        // Under the pace in force now, which may be younger than the last round.
        let from = self.pace_changed.map_or(*last, |changed| changed.max(*last));
        let silences = self.table.own(name).map(|taken| taken + self.cadence(from).silent_at(from.since(taken)));
        // The end of a grace is news as well: from then on what was never observed is missed.
        let grace = grace(&self.pacing);
        let graces = [self.started + grace, self.in_force.max(self.started) + grace];
        // What was so in the last round already is no news.
        let next = silences.chain(graces).filter(|at| at > last).min();
        next.map_or(rounds.due, |at| rounds.due.min(at.max(rounds.not_before(self.pacing.recheck))))
    }

    fn cadence(&self, now: BootInstant) -> Cadence {
        match self.pace_changed {
            None => Cadence::steady(self.pace),
            Some(at) => Cadence { every: self.pace, before: self.pace_before, changed_ago: now.since(at) },
        }
    }

    /// Takes the rounds that are due. `lease_over`: the active region's lease is over for sure.
    pub fn round(&mut self, now: BootInstant, hosts_live: &Fleet, lease_over: bool) -> RoundOutcome {
        let mut outcome = RoundOutcome::default();
        let due: Vec<RegionName> = self
            .regions
            .iter()
            .filter(|(name, rounds)| self.due(name, rounds) <= now)
            .map(|(n, _)| n.clone())
            .collect();
        if due.is_empty() {
            return outcome;
        }
        let signals = self.table.signals(now);
        let active = self.subject.active.clone();
        for name in due {
            let verdict = judge(&RoundInput {
                spec: &self.subject.spec,
                region: &name,
                active: &active,
                signals: &signals,
                cadence: self.cadence(now),
                hosts_live,
                started_for: now.since(self.started),
                in_force_for: now.since(self.in_force.max(self.started)),
                lease_over,
            });
            let Some(rounds) = self.regions.get_mut(&name) else {
                continue;
            };
            match rounds.counter.step(verdict.kind, self.pacing.failures, self.pacing.successes) {
                Turn::Stays => {}
                Turn::BecameUnhealthy => outcome.became_unhealthy.push(name.clone()),
                Turn::BecameHealthy => outcome.became_healthy.push(name.clone()),
            }
            outcome.ask_gate |=
                name == active && verdict.kind == Kind::Failing && rounds.counter.run_is_full(self.pacing.failures);
            rounds.last = Some((now, verdict.clone()));
            rounds.due = rounds.counter.next_round(now, rounds.urgent(name == active), &self.pacing);
            outcome.verdicts.insert(name, verdict);
        }
        let before = self.pace;
        self.set_pace(now);
        outcome.pace = (self.pace != before).then_some(self.pace);
        outcome
    }

    fn set_pace(&mut self, now: BootInstant) {
        let active = &self.subject.active;
        let paces = self.regions.iter().map(|(n, r)| r.counter.pace(r.urgent(n == active), &self.pacing));
        let pace = paces.min().unwrap_or(self.pacing.interval);
        if pace != self.pace {
            self.pace_before = self.pace;
            self.pace = pace;
            self.pace_changed = Some(now);
        }
    }

    /// What was last observed, for `holdfast why`, with ages as of `now`.
    #[must_use]
    pub fn signals(&self, now: BootInstant) -> Vec<Signal> {
        self.table.signals(now)
    }

    /// Forgets a host: it has left the cluster.
    pub fn forget(&mut self, host: &HostName) {
        self.table.forget(host);
    }
}

impl RegionRounds {
    /// Whether to look soon, whatever is settled: an active region that is unhealthy waits for a gate that may open
    /// any moment, and one whose agents contradict the proofs may turn out dead once the last proof has aged. A
    /// standby region that is unhealthy for days needs no haste.
    fn urgent(&self, active: bool) -> bool {
        let contested = self.last.as_ref().is_some_and(|(_, verdict)| verdict.contested);
        active && (contested || self.counter.unhealthy)
    }
}
