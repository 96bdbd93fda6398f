//! The shell of the rounds: feeds each app's core with what is heard, takes the rounds that are due, asks the gate, and
//! begins what it opens for.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use holdfast_coordinator_core::{
    rounds::{Rounds, Subject},
    state::App,
    verdict::{self, DatabaseSeen, Fleet as Hosts, Outcome, Signal},
};
use holdfast_proto::v1;
use holdfast_shared::{clock::SharedClock, span};
use holdfast_types::{AppName, BootInstant, HostName, Lsn, RegionName};
use tokio::sync::watch;

use crate::{fleet::Fleet, replica::Replica};

/// How often the agents of each app are told to look.
#[derive(Clone)]
pub struct Paces(Arc<watch::Sender<BTreeMap<AppName, Duration>>>);

impl Default for Paces {
    fn default() -> Self {
        Self(Arc::new(watch::channel(BTreeMap::new()).0))
    }
}

impl Paces {
    /// Fires when one changes.
    #[must_use]
    pub fn changed(&self) -> watch::Receiver<BTreeMap<AppName, Duration>> {
        self.0.subscribe()
    }

    /// The paces of these apps, as they are sent.
    pub fn of<'a>(&self, apps: impl Iterator<Item = &'a str>) -> Vec<v1::Pace> {
        let paces = self.0.borrow();
        apps.filter_map(|app| {
            let every = paces.get(&AppName::new(app).ok()?)?;
            Some(v1::Pace { app: app.to_owned(), every: (*every).try_into().ok() })
        })
        .collect()
    }

    fn set(&self, app: &AppName, every: Duration) {
        self.0.send_if_modified(|paces| paces.insert(app.clone(), every) != Some(every));
    }

    fn keep(&self, apps: &BTreeMap<AppName, Rounds>) {
        self.0.send_if_modified(|paces| {
            let before = paces.len();
            paces.retain(|app, _| apps.contains_key(app));
            paces.len() != before
        });
    }
}

/// What the gate said of an app last.
#[derive(Debug, Clone, PartialEq)]
pub struct GateSeen {
    /// One line: what was decided, or why not.
    pub text: String,
    /// Commands that would override it.
    pub next: Vec<String>,
}

#[derive(Default)]
struct Inner {
    apps: BTreeMap<AppName, Rounds>,
    gates: BTreeMap<AppName, GateSeen>,
    since: Option<BootInstant>,
    verdicts: BTreeMap<verdict::Kind, u64>,
}

/// Every app's rounds. Cheap to clone.
#[derive(Clone)]
pub struct Watch {
    inner: Arc<Mutex<Inner>>,
    replica: Replica,
    fleet: Fleet,
    paces: Paces,
    clock: SharedClock,
    news: Arc<tokio::sync::Notify>,
}

impl Watch {
    /// Watches nothing until it leads.
    #[must_use]
    pub fn new(replica: Replica, fleet: Fleet, paces: Paces, clock: SharedClock) -> Self {
        Self { inner: Arc::default(), replica, fleet, paces, clock, news: Arc::default() }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().expect("nothing panics while it holds the rounds")
    }

    /// This coordinator leads since now: everything is unknown for a moment.
    pub fn begin_leadership(&self, now: BootInstant) {
        let mut inner = self.lock();
        inner.apps.clear();
        inner.gates.clear();
        inner.since = Some(now);
    }

    /// Takes an observation of a host about an app that its spec names.
    pub fn observe(&self, app: &AppName, observer: &HostName, region: &RegionName, message: &v1::Observation) {
        let Some(signal) = signal(observer, region, message) else { return };
        let now = self.clock.boot();
        if let Some(rounds) = self.lock().apps.get_mut(app) {
            rounds.observe(signal, now);
        }
        self.news.notify_one();
    }

    /// Forgets what a host observed: it has left the cluster.
    pub fn forget(&self, host: &HostName) {
        for rounds in self.lock().apps.values_mut() {
            rounds.forget(host);
        }
    }

    /// Looks at an app's rounds.
    #[must_use]
    pub fn read<T>(&self, app: &AppName, look: impl FnOnce(&Rounds) -> T) -> Option<T> {
        self.lock().apps.get(app).map(look)
    }

    /// What the gate said last.
    #[must_use]
    pub fn gate(&self, app: &AppName) -> Option<GateSeen> {
        self.lock().gates.get(app).cloned()
    }

    /// Notes what the gate said; answers whether that is news.
    pub fn note_gate(&self, app: &AppName, seen: Option<GateSeen>) -> bool {
        let mut inner = self.lock();
        match seen {
            Some(seen) => inner.gates.insert(app.clone(), seen.clone()).as_ref() != Some(&seen),
            None => inner.gates.remove(app).is_some(),
        }
    }

    /// How many verdicts of each kind were reached since this coordinator started.
    #[must_use]
    pub fn verdicts(&self) -> BTreeMap<verdict::Kind, u64> {
        self.lock().verdicts.clone()
    }

    /// Waits for an observation.
    pub async fn news(&self) {
        self.news.notified().await;
    }

    /// Follows the committed apps, then takes every round that is due. Answers the apps whose gate is to be asked, and
    /// when to come back at the latest.
    pub fn turn(&self) -> (Vec<AppName>, Option<BootInstant>) {
        let now = self.clock.boot();
        let apps: BTreeMap<AppName, Subject> =
            self.replica.read(|s| s.apps().iter().map(|(name, app)| (name.clone(), subject(app))).collect());
        let hosts = self.hosts();
        let mut ask = Vec::new();
        let mut inner = self.lock();
        let since = inner.since.unwrap_or(now);
        inner.apps.retain(|name, _| apps.contains_key(name));
        for (name, subject) in apps {
            match inner.apps.get_mut(&name) {
                Some(rounds) => rounds.update(subject, now),
                None => {
                    inner.apps.insert(name, Rounds::new(subject, since, now));
                }
            }
        }
        let names: Vec<AppName> = inner.apps.keys().cloned().collect();
        let mut reached = Vec::new();
        for name in names {
            let lease_over = self.lease_over(&name, now);
            let Some(rounds) = inner.apps.get_mut(&name) else { continue };
            let outcome = rounds.round(now, &hosts, lease_over);
            for (region, verdict) in &outcome.verdicts {
                tracing::debug!(app = %name, region = %region, verdict = %verdict.kind, "round");
            }
            reached.extend(outcome.verdicts.values().map(|verdict| verdict.kind));
            for region in &outcome.became_unhealthy {
                let why = outcome.verdicts.get(region).and_then(|v| v.reasons.first()).map(|r| r.text.clone());
                tracing::warn!(app = %name, region = %region, why = why.unwrap_or_default(), "region is unhealthy");
            }
            for region in &outcome.became_healthy {
                tracing::info!(app = %name, region = %region, "region is healthy again");
            }
            if outcome.ask_gate {
                ask.push(name.clone());
            }
            self.paces.set(&name, rounds.pace());
        }
        for kind in reached {
            *inner.verdicts.entry(kind).or_default() += 1;
        }
        self.paces.keep(&inner.apps);
        let next = inner.apps.values().filter_map(Rounds::next_deadline).map(|(at, _)| at).min();
        (ask, next)
    }

    /// Every enrolled host by region, and whether it is heard.
    #[must_use]
    pub fn hosts(&self) -> Hosts {
        let reachable = self.fleet.reachable();
        let mut hosts = Hosts::new();
        let enrolled: Vec<(HostName, String)> =
            self.replica.read(|s| s.hosts().iter().map(|(h, r)| (h.clone(), r.region.clone())).collect());
        for (host, region) in enrolled {
            if let Ok(region) = region.parse::<RegionName>() {
                let live = reachable.contains(&host);
                hosts.entry(region).or_default().insert(host, live);
            }
        }
        hosts
    }

    /// Whether every holder of the active region said that it is fenced, or was silent for longer than its lease.
    #[must_use]
    pub fn lease_over(&self, app: &AppName, now: BootInstant) -> bool {
        let Some((holders, over_after, generation)) = self.replica.read(|s| {
            let app = s.app(app)?;
            Some((app.holders(app.active()), app.timings()?.over_after(), app.record.generation))
        }) else {
            return false;
        };
        !holders.is_empty()
            && holders.iter().all(|host| {
                let said = self
                    .fleet
                    .lease(app, host)
                    .is_some_and(|l| l.view.fenced >= generation && matches!(l.view.state(), v1::LeaseState::Fenced));
                said || self.fleet.heard(host).is_some_and(|at| now.since(at) > over_after)
            })
    }
}

fn subject(app: &App) -> Subject {
    Subject {
        spec: Arc::new(app.spec.clone()),
        revision: app.revision(),
        active: app.active().clone(),
        generation: app.generation(),
    }
}

/// The domain's form of an observation; `None` for one that no release of ours sends.
pub(crate) fn signal(observer: &HostName, region: &RegionName, message: &v1::Observation) -> Option<Signal> {
    let outcome = match message.outcome() {
        v1::Outcome::Ok => Outcome::Ok,
        v1::Outcome::Failing => Outcome::Failing,
        v1::Outcome::CouldNotRun => Outcome::CouldNotRun,
        v1::Outcome::Unspecified => return None,
    };
    let target = if message.target.is_empty() { None } else { Some(message.target.parse().ok()?) };
    Some(Signal {
        check: message.check.parse().ok()?,
        observer: observer.clone(),
        observer_region: region.clone(),
        target,
        region: message.region.parse().ok()?,
        outcome,
        text: message.text.clone(),
        // A span that is none must not pass for a fresh look.
        age: match message.age {
            None => Duration::ZERO,
            Some(age) => span::from_wire(&age)?,
        },
        database: message.database.as_ref().map(|d| DatabaseSeen {
            accepts_writes: d.accepts_writes,
            in_recovery: d.in_recovery,
            streaming: d.streaming,
            system: d.system_identifier,
            timeline: d.timeline,
            lsn: Lsn(d.lsn),
            replayed: Lsn(d.replayed_lsn),
            advanced: false,
        }),
    })
}
