//! Readiness, evaluated steadily: gathers what is committed and heard, asks the core, and says when that has changed.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
    time::Duration,
};

use holdfast_coordinator_core::{
    gate,
    readiness::{self, HostSeen, Input, ProxySeen, Report, State, WriterFacts},
    state::App,
};
use holdfast_proto::v1;
use holdfast_shared::clock::SharedClock;
use holdfast_types::{AppName, RegionName};
use tokio_util::sync::CancellationToken;

use crate::{fleet::Fleet, replica::Replica, rounds::Watch};

/// How often every app is judged.
const EVERY: Duration = Duration::from_secs(1);

/// Judges apps. Cheap to clone.
#[derive(Clone)]
pub struct Readiness {
    replica: Replica,
    fleet: Fleet,
    watch: Watch,
    clock: SharedClock,
    last: Arc<Mutex<BTreeMap<AppName, Report>>>,
}

impl Readiness {
    /// With nothing judged yet.
    #[must_use]
    pub fn new(replica: Replica, fleet: Fleet, watch: Watch, clock: SharedClock) -> Self {
        Self { replica, fleet, watch, clock, last: Arc::default() }
    }

    /// An app as it is right now.
    #[must_use]
    pub fn of(&self, app: &App) -> Report {
        let spec = &app.spec;
        let (now, live) = (self.clock.boot(), self.watch.hosts());
        let maintenance = self.replica.read(|s| s.maintenance_of(app).map(|(scope, m)| (scope.clone(), m.clone())));
        let quarantines: BTreeMap<_, String> =
            self.replica.read(|s| s.hosts().iter().map(|(host, r)| (host.clone(), r.quarantine.clone())).collect());
        let promotable: BTreeSet<RegionName> = app.promotable().cloned().collect();
        let (standbys, following) = self
            .watch
            .read(&spec.app, |rounds| {
                let standbys = gate::standbys(rounds, &promotable, &live, now);
                let follows = |region: &RegionName| {
                    let mut writers = spec.writers.keys();
                    writers.all(|writer| rounds.sights().follows(region, writer, rounds.pacing(), now))
                };
                let following: BTreeSet<RegionName> =
                    standbys.iter().map(|s| &s.region).filter(|region| follows(region)).cloned().collect();
                (standbys, following)
            })
            .unwrap_or_default();
        let reachable = self.fleet.reachable();
        let mut hosts = BTreeMap::new();
        let mut writers = BTreeMap::new();
        let mut proxies = BTreeMap::new();
        for (host, region) in spec.hosts() {
            let found = self.fleet.findings(&host);
            for facts in found.writers.iter().filter(|facts| facts.app == spec.app.as_str()) {
                if let Ok(writer) = facts.writer.parse() {
                    writers.insert((region.clone(), writer), domain(facts));
                }
            }
            for proxy in self.fleet.proxies(&host).into_iter().filter(|proxy| proxy.app == spec.app.as_str()) {
                let seen = ProxySeen { open: proxy.open.into_iter().collect(), problem: proxy.problem };
                proxies.insert((host.clone(), proxy.backend), seen);
            }
            let seen = HostSeen {
                live: reachable.contains(&host),
                quarantine: quarantines.get(&host).cloned().unwrap_or_default(),
                problems: self.fleet.facts(&host).problems,
                clock_gap: found.clock_gap,
            };
            hosts.insert(host, seen);
        }
        readiness::judge(&Input {
            spec,
            active: app.active(),
            operation: app.operation(),
            maintenance: maintenance.as_ref().map(|(scope, m)| (scope, m)),
            routed: app.record.routed,
            standbys: &standbys,
            following: &following,
            hosts: &hosts,
            writers: &writers,
            proxies: &proxies,
        })
    }

    /// An app as it was judged last; `None` before the first time.
    #[must_use]
    pub fn last(&self, app: &AppName) -> Option<Report> {
        self.last.lock().expect("nothing panics while it holds what was judged").get(app).cloned()
    }

    /// Judges every app again and again, until cancelled.
    pub async fn run(self, cancel: CancellationToken) {
        loop {
            let apps: Vec<App> = self.replica.read(|s| s.apps().values().filter(|a| a.leased()).cloned().collect());
            let reports: BTreeMap<AppName, Report> =
                apps.iter().map(|app| (app.spec.app.clone(), self.of(app))).collect();
            let before = {
                let mut last = self.last.lock().expect("nothing panics while it holds what was judged");
                std::mem::replace(&mut *last, reports.clone())
            };
            for (app, report) in &reports {
                let was = before.get(app).map(|report| report.ready);
                if was == Some(true) && !report.ready {
                    let why = report.findings.iter().find(|f| f.condition.needed() && f.state != State::Holds);
                    tracing::warn!(app = %app, why = why.map(|f| f.text.clone()).unwrap_or_default(), "could not fail over now");
                } else if was == Some(false) && report.ready {
                    tracing::info!(app = %app, "could fail over now");
                }
            }
            tokio::select! {
                biased;
                () = cancel.cancelled() => return,
                () = tokio::time::sleep(EVERY) => {}
            }
        }
    }
}

fn domain(facts: &v1::WriterFacts) -> WriterFacts {
    WriterFacts {
        login_problem: facts.login_problem.clone(),
        login_state: facts.login_state.clone(),
        missing_rights: facts.missing_rights.clone(),
        in_recovery: facts.in_recovery,
        settings: facts.settings.clone().into_iter().collect(),
        slots: facts.slots.iter().cloned().collect(),
        starts_by_itself: facts.starts_by_itself.clone(),
        starts_by_itself_add: facts.starts_by_itself_add.clone(),
        problem: facts.problem.clone(),
    }
}
