//! Steady duties of a leader: they compare what is with what is committed, take no hints, and do the same after a crash.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use holdfast_coordinator_core::{
    change::{Kind, SetPromotable, SetRouted},
    counter::Pacing,
    promotable::Absences,
    rounds::Rounds,
    state::App,
};
use holdfast_shared::clock::SharedClock;
use holdfast_types::{AppName, RegionName, WriterName};
use tokio_util::sync::CancellationToken;

use crate::{
    fleet::Fleet,
    replica::{COORDINATOR, ProposeError, Replica},
    rounds::Watch,
};

/// How often the duties look.
const EVERY: Duration = Duration::from_millis(500);
/// A standby that has not followed for so many intervals, while the active region takes writes, cannot take over any
/// more.
const ABSENT_INTERVALS: u32 = 3;
/// At least this long: a standby that reconnects after a restart is no news.
const ABSENT_MIN: Duration = Duration::from_secs(10);

/// Says which regions could take over, in the order that keeps leases safe: first the holder counts a lease with an end,
/// durably, then a region is committed as promotable; first none is promotable, then a lease may be without end.
pub struct Promotable {
    replica: Replica,
    fleet: Fleet,
    watch: Watch,
    clock: SharedClock,
    absences: BTreeMap<AppName, Absences>,
    /// A change was proposed, and nobody knows whether it will be committed.
    unsure: BTreeSet<AppName>,
}

impl Promotable {
    /// With nothing seen yet.
    #[must_use]
    pub fn new(replica: Replica, fleet: Fleet, watch: Watch, clock: SharedClock) -> Self {
        Self { replica, fleet, watch, clock, absences: BTreeMap::new(), unsure: BTreeSet::new() }
    }

    /// Until cancelled.
    pub async fn run(mut self, cancel: CancellationToken) {
        loop {
            let apps: Vec<(AppName, App)> = self
                .replica
                .read(|s| s.apps().iter().filter(|(_, a)| a.leased()).map(|(n, a)| (n.clone(), a.clone())).collect());
            for (name, app) in apps {
                self.look(&name, &app).await;
            }
            tokio::select! {
                biased;
                () = cancel.cancelled() => return,
                () = tokio::time::sleep(EVERY) => {}
            }
        }
    }

    async fn look(&mut self, name: &AppName, app: &App) {
        if app.held() || app.record.operation != 0 {
            return;
        }
        self.route(name, app).await;
        let Some((writes, follows)) = self.watch.read(name, |rounds| {
            let now = self.clock.boot();
            let writes = every_writer(rounds, |w, pacing| rounds.sights().writes(app.active(), w, pacing, now));
            let follows: BTreeMap<RegionName, bool> = app
                .spec
                .regions
                .iter()
                .filter(|r| r.name != *app.active())
                .map(|r| {
                    (r.name.clone(), every_writer(rounds, |w, pacing| rounds.sights().follows(&r.name, w, pacing, now)))
                })
                .collect();
            (writes, follows)
        }) else {
            return;
        };
        let patience =
            app.spec.failover.as_ref().map_or(ABSENT_MIN, |f| (f.interval * ABSENT_INTERVALS).max(ABSENT_MIN));
        let promotable = app.promotable().cloned().collect();
        let absences = self.absences.entry(name.clone()).or_default();
        let Some(wanted) = absences.wanted(writes, &follows, &promotable, patience, self.clock.boot()) else { return };
        let wanted = wanted.iter().map(ToString::to_string).collect();
        self.commit(name, app, wanted).await;
    }

    /// Opens the proxies for an active region that serves although its operation ended before it came to that.
    async fn route(&self, name: &AppName, app: &App) {
        let now = self.clock.boot();
        let serves = self.watch.read(name, |rounds| {
            rounds.subject().generation == app.generation()
                && every_writer(rounds, |w, pacing| rounds.sights().writes(app.active(), w, pacing, now))
        });
        if app.record.routed || serves != Some(true) {
            return;
        }
        let change = SetRouted { app: name.to_string(), generation: app.record.generation };
        match self.replica.propose(COORDINATOR, Kind::SetRouted(change)).await {
            Ok(_) => {
                tracing::info!(app = %name, region = %app.active(), "writes are taken there again: its proxies open")
            }
            Err(e) => tracing::debug!(app = %name, error = %e, "the proxies are not opened"),
        }
    }

    async fn commit(&mut self, name: &AppName, app: &App, wanted: Vec<String>) {
        let generation = app.record.generation;
        let unsure = self.unsure.contains(name);
        if wanted == app.record.promotable && !unsure {
            self.fleet.unwant_end(name);
            return;
        }
        // While a change may still be committed, leases keep their end; the next change that is known to be committed
        // comes after it in the log and settles it.
        if app.record.promotable.is_empty() && !wanted.is_empty() {
            self.fleet.want_end(name, generation);
            let holders = app.holders(app.active());
            if !holders.iter().all(|host| self.fleet.counts_end(name, host, generation)) {
                return;
            }
        }
        let text = if wanted.is_empty() { "none".to_owned() } else { wanted.join(", ") };
        let change = SetPromotable { app: name.to_string(), generation, regions: wanted };
        match self.replica.propose(COORDINATOR, Kind::SetPromotable(change)).await {
            Ok(_) => {
                tracing::info!(app = %name, regions = %text, "regions that could take over");
                self.unsure.remove(name);
                self.fleet.unwant_end(name);
            }
            Err(ProposeError::Refused(refused)) => {
                tracing::debug!(app = %name, why = %refused.what, "promotable regions not changed");
            }
            // The intention stays: the change may be committed after all.
            Err(e) => {
                tracing::debug!(app = %name, error = %e, "promotable regions not committed");
                self.unsure.insert(name.clone());
            }
        }
    }
}

/// An app without writers has none that does.
fn every_writer(rounds: &Rounds, does: impl Fn(&WriterName, &Pacing) -> bool) -> bool {
    let writers = &rounds.subject().spec.writers;
    !writers.is_empty() && writers.keys().all(|writer| does(writer, rounds.pacing()))
}
