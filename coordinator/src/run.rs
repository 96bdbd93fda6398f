//! Puts a coordinator together from parts: `main` passes the real ones, a simulation passes others.

use std::{collections::BTreeSet, path::PathBuf, sync::Arc, time::Duration};

use anyhow::Context as _;
use holdfast_coordinator_core::state::State;
use holdfast_shared::{
    clock::{SharedClock, WallWatch},
    db::Db,
    identity::{Bearer, parse_serial},
    net::Accept,
    pki::{Ca, Material},
    service::{Pulse, feed_watchdog},
    tls::{HotTls, incoming},
};
use holdfast_types::WallTime;
use tokio::{net::TcpListener, task::JoinSet};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    api::{Api, RefusedCalls},
    calls::CountCalls,
    consensus::{Consensus, RaftConfig, RaftConsensus},
    decide::Decider,
    describe::Health,
    duties::Promotable,
    engine::{Engine, Faults},
    fleet::Fleet,
    issue::Issuer,
    leases::Leases,
    maintenance,
    metrics::{self, Metrics, own::Own},
    readiness::Readiness,
    replica::Replica,
    rounds::{Paces, Watch},
    serve,
    session::Sessions,
};

/// A wall clock that is so much behind what was written with it was set, not kept right.
const CLOCK_BEHIND: Duration = Duration::from_mins(1);
/// Longest sleep between two looks at the rounds.
const LOOK_AGAIN: Duration = Duration::from_millis(250);
/// Time that sessions get to end before the process leaves; far less than systemd's stop timeout.
const STOP_WITHIN: Duration = Duration::from_secs(5);

/// Everything a coordinator needs from outside.
pub struct Parts {
    /// Where and with what name.
    pub address: String,
    /// Time.
    pub clock: SharedClock,
    /// The replicated state's file.
    pub db: Db,
    /// Seed of the consensus' randomness; `None` = the system's.
    pub seed: Option<u64>,
    /// The CA.
    pub ca: Ca,
    /// This coordinator's own key and certificate.
    pub identity: Material,
    /// Where a renewed one is kept.
    pub identity_folder: PathBuf,
    /// Connections from agents and operators.
    pub accept: Box<dyn Accept>,
    /// Who watches this coordinator: `/metrics`, `/healthz`, `/readyz`; nothing: nobody can.
    pub watched_at: Option<TcpListener>,
    /// Where the past of what is measured is kept; nothing: nowhere.
    pub history: Option<metrics::history::Place>,
    /// Where what is measured is pushed to.
    pub push: Option<metrics::push::Target>,
    /// Where a test may end the process.
    pub faults: Arc<dyn Faults>,
    /// Called once, when it serves.
    pub ready: Box<dyn FnOnce() + Send>,
}

/// Runs a coordinator until cancelled, or until it cannot go on.
///
/// # Errors
/// Why it could not start, or stopped.
pub async fn run(parts: Parts, cancel: CancellationToken) -> anyhow::Result<()> {
    let Parts { address, clock, db, seed, ca, identity, identity_folder, accept, faults, ready, .. } = parts;
    let (watched_at, history, push) = (parts.watched_at, parts.history, parts.push);
    let own = identity.identity(clock.wall()).context("this coordinator's own certificate")?;
    let Bearer::Coordinator { node } = own.bearer else {
        anyhow::bail!("{} names {}, not a coordinator", identity_folder.display(), own.bearer);
    };
    let room = db.room().cloned();
    let mut config = RaftConfig::new(node, db);
    config.seed = seed;
    let (consensus, state) = RaftConsensus::start::<State>(config).await?;
    let consensus = Arc::new(consensus);
    let replica = Replica::new(consensus.clone(), state, clock.clone()).in_room(room);
    let fleet = Fleet::default();
    let paces = Paces::default();
    let watch = Watch::new(replica.clone(), fleet.clone(), paces.clone(), clock.clone());
    let decider = Decider::new(replica.clone(), watch.clone(), clock.clone());
    let tasks = TaskTracker::new();
    let crl = {
        let revoked: Vec<u64> = replica
            .read(|s| s.certificates().iter().filter(|(_, c)| c.revoked_at != 0).map(|(serial, _)| *serial).collect());
        let number = replica.read(|s| s.cluster().crl_number);
        ca.crl(number, &revoked, clock.wall())?
    };
    let mut material = identity;
    material.crls = vec![crl];
    let hot = HotTls::new(&material, clock.clone())?;
    let issuer =
        Issuer::new(Arc::new(ca), own.cluster.clone(), replica.clone(), clock.clone(), node, identity_folder, material)
            .counting(hot.refusals().clone())
            .reached_at(&address);
    let leases = Leases::new(replica.clone(), fleet.clone(), clock.clone()).counting(hot.refusals().clone());
    tracing::info!(cluster = %own.cluster, node, serial = ?parse_serial(&own.serial), address = %address, "coordinator starts");

    let measured = Metrics::default();
    let sessions = Sessions {
        metrics: measured.clone(),
        replica: replica.clone(),
        fleet: fleet.clone(),
        leases: leases.clone(),
        watch: watch.clone(),
        paces,
        clock: clock.clone(),
        tasks: tasks.clone(),
        cancel: cancel.child_token(),
        comings: Arc::default(),
        refusals: hot.refusals().clone(),
    };
    let readiness = Readiness::new(replica.clone(), fleet.clone(), watch.clone(), clock.clone());
    let api = Api {
        replica: replica.clone(),
        fleet: fleet.clone(),
        watch: watch.clone(),
        leases: leases.clone(),
        issuer: issuer.clone(),
        hot: hot.clone(),
        clock: clock.clone(),
        coordinator: format!("c{node}"),
        address,
        tasks: tasks.clone(),
        cancel: cancel.child_token(),
        decider: decider.clone(),
        refused: RefusedCalls::default(),
        metrics: measured.clone(),
        readiness: readiness.clone(),
    };
    let health = Health::new(replica.clone(), tasks.clone(), cancel.child_token());
    let engine = Engine::new(replica.clone(), fleet.clone(), leases.clone(), clock.clone(), faults);

    // The end of any of these, before it was asked for, brings the coordinator down: systemd starts it again.
    let mut parts: JoinSet<anyhow::Result<()>> = JoinSet::new();
    let stream = incoming(hot.clone(), accept, cancel.child_token());
    let stop = cancel.clone();
    if let Some(listener) = watched_at {
        let (api, until) = (api.clone(), cancel.child_token());
        parts.spawn(async move {
            metrics::serve::run(listener, api, until).await.context("the listener for /metrics stopped")
        });
    }
    if let Some(place) = history {
        let (measured, clock, until) = (measured.clone(), clock.clone(), cancel.child_token());
        parts.spawn(async move {
            metrics::history::keep(measured, place, clock, until).await;
            Ok(())
        });
    }
    if let Some(target) = push {
        let (api, until) = (api.clone(), cancel.child_token());
        parts.spawn(async move {
            metrics::push::run(target, api, until).await;
            Ok(())
        });
    }
    let count = CountCalls::new(measured.own.clone(), clock.clone());
    let server = serve::router(sessions, api, issuer.clone(), health, count)?;
    parts.spawn(async move {
        server.serve_with_incoming_shutdown(stream, stop.cancelled_owned()).await.context("the listener stopped")
    });
    let keep_up = cancel.child_token();
    parts.spawn(async move {
        issuer.keep_up(hot, keep_up).await;
        Ok(())
    });
    let lead_cancel = cancel.child_token();
    let pulse = Pulse::default();
    let watchdog = feed_watchdog(vec![("rounds", pulse.clone())], clock.clone(), cancel.child_token());
    parts.spawn(async move {
        watchdog.await;
        Ok(())
    });
    let leader = Leader { replica, fleet, watch, leases, decider, readiness, engine, clock, pulse, metrics: measured };
    parts.spawn(async move {
        leader.run(lead_cancel).await;
        Ok(())
    });
    ready();

    let stopped = consensus.stopped();
    let ended = tokio::select! {
        biased;
        () = cancel.cancelled() => Ok(()),
        why = stopped => Err(anyhow::anyhow!("the replicated state stopped: {why}")),
        Some(ended) = parts.join_next() => match ended {
            Ok(Ok(())) if cancel.is_cancelled() => Ok(()),
            Ok(Ok(())) => Err(anyhow::anyhow!("a part of the coordinator ended before it was asked to")),
            Ok(Err(e)) => Err(e),
            Err(e) => Err(anyhow::anyhow!("a part of the coordinator panicked: {e}")),
        },
    };
    cancel.cancel();
    tasks.close();
    let quiet = async {
        tasks.wait().await;
        while parts.join_next().await.is_some() {}
    };
    if tokio::time::timeout(STOP_WITHIN, quiet).await.is_err() {
        tracing::warn!(sessions = tasks.len(), "left while some sessions had not ended");
        parts.shutdown().await;
    }
    consensus.shutdown().await;
    ended
}

/// What runs only while this coordinator leads.
struct Leader {
    replica: Replica,
    fleet: Fleet,
    watch: Watch,
    leases: Leases,
    decider: Decider,
    readiness: Readiness,
    engine: Engine,
    clock: SharedClock,
    /// Beats in the rounds while it leads, and in the wait for leadership while it does not.
    pulse: Pulse,
    metrics: Metrics,
}

impl Leader {
    async fn run(self, cancel: CancellationToken) {
        let mut leadership = self.replica.consensus().leadership();
        loop {
            let begun = *leadership.borrow_and_update();
            if begun.leading {
                let lost = cancel.child_token();
                let mut duties = self.begin(&lost).await;
                loop {
                    tokio::select! {
                        biased;
                        () = cancel.cancelled() => break,
                        changed = leadership.changed() => {
                            // Another term is another leadership, also when nobody saw that it was lost in between:
                            // somebody else may have granted meanwhile.
                            let now = *leadership.borrow_and_update();
                            if changed.is_err() || !now.leading || now.term != begun.term {
                                break;
                            }
                        }
                        Some(ended) = duties.join_next() => {
                            if let Err(e) = ended && e.is_panic() {
                                std::panic::resume_unwind(e.into_panic());
                            }
                        }
                    }
                }
                lost.cancel();
                self.metrics.own.rounds_stopped();
                self.leases.end_leadership();
                while duties.join_next().await.is_some() {}
                tracing::warn!("leads no more");
            }
            if leadership.borrow().leading && !cancel.is_cancelled() {
                continue;
            }
            tokio::select! {
                biased;
                () = cancel.cancelled() => return,
                changed = leadership.changed() => if changed.is_err() { return },
                () = tokio::time::sleep(LOOK_AGAIN) => self.pulse.beat(),
            }
        }
    }

    /// A clock that is behind what was written with it has been set back, while this coordinator was away or before.
    fn compare_wall_clock(&self) {
        let written = self.replica.read(|s| s.audit_after(0).next_back().map_or(WallTime(0), |last| WallTime(last.at)));
        let behind = written.since(self.clock.wall());
        if behind >= CLOCK_BEHIND {
            let by = holdfast_types::time::span(behind);
            tracing::warn!(by = %by, now = %self.clock.wall(), "the wall clock is behind the newest entry of the audit trail; nothing is decided by it");
        }
    }

    async fn begin(&self, lost: &CancellationToken) -> JoinSet<()> {
        // Confirmed first: everything that an earlier leader committed is applied before anything is decided here.
        let index = loop {
            self.pulse.beat();
            match self.replica.consensus().confirm_leader().await {
                Ok(index) => break index,
                Err(e) => {
                    tracing::debug!(error = %e, "leadership not confirmed yet");
                    if lost.is_cancelled() || !self.replica.leads() {
                        return JoinSet::new();
                    }
                    tokio::time::sleep(LOOK_AGAIN).await;
                }
            }
        };
        let now = self.clock.boot();
        self.fleet.begin_leadership();
        self.watch.begin_leadership(now);
        self.leases.begin_leadership(now, index);
        self.compare_wall_clock();
        tracing::info!(index = index.0, "leads");
        let mut duties = JoinSet::new();
        duties.spawn(self.engine.clone().run(lost.child_token()));
        let promotable =
            Promotable::new(self.replica.clone(), self.fleet.clone(), self.watch.clone(), self.clock.clone());
        duties.spawn(promotable.run(lost.child_token()));
        duties.spawn(self.readiness.clone().run(lost.child_token()));
        duties.spawn(maintenance::run(self.replica.clone(), self.clock.clone(), lost.child_token()));
        let (watch, decider, clock) = (self.watch.clone(), self.decider.clone(), self.clock.clone());
        let signs = (self.pulse.clone(), self.metrics.own.clone());
        duties.spawn(rounds(watch, decider, clock, signs, lost.child_token()));
        duties
    }
}

/// `signs`: where it shows that it goes on.
async fn rounds(watch: Watch, decider: Decider, clock: SharedClock, signs: (Pulse, Own), cancel: CancellationToken) {
    let (pulse, own) = signs;
    let mut wall = WallWatch::default();
    loop {
        wall.tell(&clock);
        own.rounds_turned(clock.boot());
        let (ask, next) = watch.turn();
        let asked: BTreeSet<_> = ask.into_iter().collect();
        pulse.beat();
        for app in &asked {
            pulse.beat();
            decider.verdicts(app).await;
        }
        let wait = next.map_or(LOOK_AGAIN, |at| clock.boot().until(at)).min(LOOK_AGAIN);
        // Both only wake the loop.
        tokio::select! {
            biased;
            () = cancel.cancelled() => return,
            () = watch.news() => {}
            () = tokio::time::sleep(wait) => {}
        }
    }
}
