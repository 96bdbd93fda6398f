//! Runs this host's checks, each app at its own pace.
//!
//! Probes run side by side, each with its time limit; one that is still running is not started again. What they see
//! goes to every session. A session that does not keep up misses the oldest, and counts them.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use holdfast_agent_core::duties::{Duty, duties};
use holdfast_proto::v1;
use holdfast_shared::clock::SharedClock;
use holdfast_types::{AppName, BootInstant};
use rand::{Rng as _, SeedableRng as _, rngs::StdRng};
use tokio::{
    sync::{broadcast, mpsc, watch},
    task::JoinSet,
    time::sleep,
};
use tokio_util::sync::CancellationToken;

use crate::{
    apps::{App, Known, Me},
    executors::Executors,
    wire::{self, Observed},
};

/// Observations that a slow session may be behind: some rounds of a host with dozens of checks.
pub const OBSERVATIONS_MAX: usize = 512;
/// Pace of an app without `failover`.
const EVERY_DEFAULT: Duration = Duration::from_secs(30);
/// Shortest pace that is taken from a coordinator.
const EVERY_MIN: Duration = Duration::from_millis(100);
/// Longest the task sleeps: the runtime's timers stand still while a machine is suspended.
const SLEEP_MAX: Duration = Duration::from_secs(1);
/// Paces that may wait; a newer one follows soon enough when this is full.
const PACES_MAX: usize = 64;

/// Tells the task the pace.
#[derive(Debug, Clone)]
pub struct Handle {
    paces: mpsc::Sender<v1::Pace>,
}

impl Handle {
    /// How often an app's checks run from now on.
    pub async fn pace(&self, pace: v1::Pace) {
        drop(self.paces.send(pace).await);
    }
}

struct Plan {
    app: Arc<App>,
    duties: Vec<Duty>,
    every: Duration,
    at: BootInstant,
}

/// Owns the schedule.
pub struct Scheduler {
    me: Me,
    clock: SharedClock,
    executors: Arc<dyn Executors>,
    apps: watch::Receiver<Known>,
    paces: mpsc::Receiver<v1::Pace>,
    seen: broadcast::Sender<Arc<Observed>>,
    plans: BTreeMap<AppName, Plan>,
    running: BTreeSet<(AppName, usize)>,
    work: JoinSet<(AppName, usize)>,
    random: StdRng,
}

impl Scheduler {
    /// The task and its handle. What is seen goes to `seen`.
    #[must_use]
    pub fn new(
        me: Me,
        clock: SharedClock,
        executors: Arc<dyn Executors>,
        apps: watch::Receiver<Known>,
        seen: broadcast::Sender<Arc<Observed>>,
        seed: u64,
    ) -> (Self, Handle) {
        let (paces_in, paces) = mpsc::channel(PACES_MAX);
        let this = Self {
            me,
            clock,
            executors,
            apps,
            paces,
            seen,
            plans: BTreeMap::new(),
            running: BTreeSet::new(),
            work: JoinSet::new(),
            random: StdRng::seed_from_u64(seed),
        };
        (this, Handle { paces: paces_in })
    }

    /// Runs until cancelled.
    pub async fn run(mut self, cancel: CancellationToken) {
        self.follow_apps();
        loop {
            let now = self.clock.boot();
            let next = self.plans.values().map(|plan| plan.at).min();
            let wait = next.map_or(SLEEP_MAX, |at| now.until(at).min(SLEEP_MAX));
            // Branches that lose only leave something in a channel or the set.
            tokio::select! {
                biased;
                () = cancel.cancelled() => break,
                Some(ended) = self.work.join_next() => match ended {
                    Ok(key) => { self.running.remove(&key); }
                    Err(e) => {
                        tracing::error!(error = %e, "a check panicked");
                        self.running.clear();
                    }
                },
                changed = self.apps.changed() => {
                    if changed.is_err() {
                        break;
                    }
                    self.follow_apps();
                }
                Some(pace) = self.paces.recv() => self.take_pace(&pace),
                () = sleep(wait) => {}
            }
            self.run_due();
        }
        self.work.shutdown().await;
    }

    fn follow_apps(&mut self) {
        let apps = Arc::clone(&self.apps.borrow_and_update().apps);
        let now = self.clock.boot();
        self.plans.retain(|name, _| apps.contains_key(name));
        for (name, app) in apps.iter() {
            let known = self.plans.get(name);
            if known.is_some_and(|plan| plan.app == *app) {
                continue;
            }
            let interval = app.spec.failover.as_ref().map_or(EVERY_DEFAULT, |failover| failover.interval);
            let same_spec = known.is_some_and(|plan| plan.app.revision == app.revision);
            let every = known.filter(|_| same_spec).map_or(interval, |plan| plan.every);
            let duties = duties(&app.spec, &self.me.host, &app.active);
            // At once: what changed is worth seeing.
            self.plans.insert(name.clone(), Plan { app: Arc::clone(app), duties, every, at: now });
        }
    }

    fn take_pace(&mut self, pace: &v1::Pace) {
        let every = pace.every.as_ref().and_then(|every| wire::duration(every).ok());
        let (Ok(app), Some(every)) = (AppName::new(&*pace.app), every) else {
            tracing::warn!(app = pace.app, "a pace that is none");
            return;
        };
        let now = self.clock.boot();
        if let Some(plan) = self.plans.get_mut(&app) {
            plan.every = every.max(EVERY_MIN);
            plan.at = plan.at.min(now + plan.every);
        }
    }

    fn run_due(&mut self) {
        let now = self.clock.boot();
        for (name, plan) in &mut self.plans {
            if now < plan.at {
                continue;
            }
            // Up to a tenth earlier, so that a fleet does not look in step, and never later than the round needs.
            plan.at = now + plan.every.mul_f64(self.random.gen_range(0.9..=1.0));
            for (index, duty) in plan.duties.iter().enumerate() {
                if !self.running.insert((name.clone(), index)) {
                    continue;
                }
                let look = Look {
                    clock: Arc::clone(&self.clock),
                    executors: Arc::clone(&self.executors),
                    seen: self.seen.clone(),
                    app: Arc::clone(&plan.app),
                    duty: duty.clone(),
                    index,
                };
                self.work.spawn(look.run());
            }
        }
    }
}

struct Look {
    clock: SharedClock,
    executors: Arc<dyn Executors>,
    seen: broadcast::Sender<Arc<Observed>>,
    app: Arc<App>,
    duty: Duty,
    index: usize,
}

impl Look {
    async fn run(self) -> (AppName, usize) {
        let began = self.clock.boot();
        let probed = self.executors.probe(&self.duty.probe, self.duty.timeout).await;
        let taken = self.clock.boot();
        let observed = Observed {
            app: self.app.name.clone(),
            check: self.duty.check,
            region: self.duty.region,
            target: self.duty.target.map(|host| host.to_string()).unwrap_or_default(),
            probed,
            taken,
            took: taken.since(began),
            generation: self.app.generation,
        };
        // Nobody listens while there is no session.
        drop(self.seen.send(Arc::new(observed)));
        (self.app.name.clone(), self.index)
    }
}
