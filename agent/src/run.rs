//! The agent, put together. `main` passes in the real parts; a simulation passes others.

use std::{
    collections::BTreeMap,
    fmt, io,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64},
    },
};

use holdfast_proto::{PROTOCOL, PROTOCOL_MIN, v1};
use holdfast_shared::{
    clock::SharedClock,
    db::Db,
    files::FileError,
    service::{Pulse, feed_watchdog},
};
use tokio::{
    sync::{broadcast, watch},
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;

use crate::{
    allowed::Allowed,
    apps::{Desk, Me},
    commands::{self, Commands},
    connect::Connect,
    control::{self, Control},
    executors::Executors,
    findings,
    leases::{self, Heard, Leases, Link, Notes, notes_folder, serve_link},
    locks::AppLocks,
    metrics,
    proxies::Proxies,
    renew::{self, Renewal},
    scheduler::{self, Scheduler},
    session::{self, Session},
    store::{Store, StoreError},
};

/// Everything the agent is made of.
pub struct Parts {
    /// Who this host is.
    pub me: Me,
    /// The coordinators, `host:port` each.
    pub coordinators: Vec<String>,
    /// Time.
    pub clock: SharedClock,
    /// How to get to a coordinator.
    pub connect: Arc<dyn Connect>,
    /// The agent's database, opened with [`crate::store::MIGRATIONS`].
    pub db: Db,
    /// What does things on this host.
    pub executors: Arc<dyn Executors>,
    /// What may be touched here.
    pub allowed: Arc<Allowed>,
    /// What ails this host whatever its apps are, a line each.
    pub troubles: watch::Receiver<Vec<String>>,
    /// `/run/holdfast`: gone at a reboot on purpose.
    pub run_dir: PathBuf,
    /// For jitter.
    pub seed: u64,
    /// Drawn at every start; two at once under one name mean a clone.
    pub instance: String,
    /// Renews the certificate; nothing in a simulation without one.
    pub renewal: Option<Renewal>,
    /// Docker's socket, where the host's own figures are measured; nothing: they are not.
    pub measures: Option<PathBuf>,
    /// Whether the socket for commands by hand is opened.
    pub control: bool,
    /// Becomes true when the leases of all known apps are taken over.
    pub ready: watch::Sender<bool>,
}

impl fmt::Debug for Parts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Parts").field("me", &self.me).field("coordinators", &self.coordinators).finish_non_exhaustive()
    }
}

/// Why the agent ended by itself.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// Its database failed at the start.
    #[error("cannot read what the agent knows")]
    Store(#[from] StoreError),
    /// Its folder in `/run` cannot be used.
    #[error("cannot note leases")]
    Notes(#[source] FileError),
    /// The socket for commands by hand cannot be opened.
    #[error("cannot open the control socket {}", path.display())]
    Control {
        /// The socket.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// One of its tasks ended. The agent ends with it, and is started again: absent is better than wrong.
    #[error("the agent's {0} ended unexpectedly")]
    TaskEnded(&'static str),
}

/// Runs the agent until cancelled. Stops no writer when it ends: the next start takes leases over.
///
/// # Errors
/// [`AgentError`] when it could not start, or a part of it ended.
pub async fn run(parts: Parts, cancel: CancellationToken) -> Result<(), AgentError> {
    let boot = parts.clock.boot_id();
    let (store, life) = Store::open(parts.db.clone(), &boot).await?;
    tracing::info!(host = %parts.me.host, region = %parts.me.region, starts = life.starts, booted = life.booted, "agent starts");
    let desk = Desk::new(store.clone(), parts.me.region.clone(), store.desired().await?);
    let locks = AppLocks::default();
    let notes = Notes::new(notes_folder(&parts.run_dir)).map_err(AgentError::Notes)?;

    let pulse = Pulse::default();
    // Leases first: a live one is taken over, and what runs without one is stopped, before anything else is done.
    let (leases, lease_handle) = Leases::new(leases::Parts {
        me: parts.me.clone(),
        clock: Arc::clone(&parts.clock),
        store: store.clone(),
        notes,
        executors: Arc::clone(&parts.executors),
        locks: locks.clone(),
        apps: desk.watch(),
        allowed: Arc::clone(&parts.allowed),
        number: life.starts << 32,
        instance: parts.instance.clone(),
        booted: life.booted,
        pulse: pulse.clone(),
    })
    .await?;
    // From here on every app that this host knows of is looked after, with or without a coordinator.
    parts.ready.send_replace(true);

    let (proxies, proxy_handle) = Proxies::new(parts.me.clone(), Arc::clone(&parts.executors), desk.watch());
    let (seen, _) = broadcast::channel(scheduler::OBSERVATIONS_MAX);
    let (progress, _) = broadcast::channel(commands::PROGRESS_MAX);
    let (scheduler, scheduler_handle) = Scheduler::new(
        parts.me.clone(),
        Arc::clone(&parts.clock),
        Arc::clone(&parts.executors),
        desk.watch(),
        seen.clone(),
        parts.seed,
    );
    let latest = Arc::new(metrics::Latest::new(None));
    let quarantined = Arc::new(AtomicBool::new(false));
    let (commands, command_handle) = Commands::new(commands::Parts {
        clock: Arc::clone(&parts.clock),
        store: store.clone(),
        tools: commands::Tools {
            me: parts.me.clone(),
            clock: Arc::clone(&parts.clock),
            executors: Arc::clone(&parts.executors),
            leases: lease_handle.clone(),
            proxies: proxy_handle.clone(),
        },
        locks,
        apps: desk.watch(),
        quarantined: Arc::clone(&quarantined),
        progress: progress.clone(),
    })
    .await?;
    let (found, findings_out) = watch::channel(findings::Found::default());
    let shared = session::Shared {
        findings: findings_out,
        me: parts.me.clone(),
        clock: Arc::clone(&parts.clock),
        store: store.clone(),
        connect: Arc::clone(&parts.connect),
        hello: v1::Hello {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            protocol_min: PROTOCOL_MIN,
            protocol_max: PROTOCOL,
            boot_id: boot.0,
            starts: life.starts,
            instance: parts.instance,
        },
        desk: desk.clone(),
        commands: command_handle,
        scheduler: scheduler_handle,
        executors: Arc::clone(&parts.executors),
        allowed: Arc::clone(&parts.allowed),
        troubles: parts.troubles.clone(),
        leases: lease_handle.clone(),
        proxies: proxy_handle.report(),
        seen,
        progress,
        quarantined,
        dropped: Arc::new(AtomicU64::new(0)),
        latest: Arc::clone(&latest),
    };

    let mut tasks: JoinSet<&'static str> = JoinSet::new();
    let stop = cancel.child_token();
    let token = || stop.clone();
    let (me, executors, apps, until) = (parts.me.clone(), Arc::clone(&parts.executors), desk.watch(), token());
    tasks.spawn(async move {
        findings::run(me, executors, apps, found, until).await;
        "findings"
    });
    let mut sessions = BTreeMap::new();
    for (index, address) in parts.coordinators.iter().enumerate() {
        // Apart from each other, and the same at every run of one seed.
        let seed = parts.seed.wrapping_add(1 + index as u64);
        let link = Link { index, address: address.clone(), connect: Arc::clone(&parts.connect), seed };
        let (heard, until) = (lease_handle.heard(), token());
        tasks.spawn(async move {
            serve_link(link, heard, until).await;
            "lease stream"
        });
        let (session, standing) = Session::new(shared.clone(), address.clone(), seed.rotate_left(32));
        let (mut news, until) = (standing.clone(), token());
        let welcomed = lease_handle.heard();
        sessions.insert(address.clone(), standing);
        tasks.spawn(async move {
            let told = async {
                while news.wait_for(|standing| standing.up).await.is_ok() {
                    if welcomed.send(Heard::Welcomed).await.is_err() || news.wait_for(|s| !s.up).await.is_err() {
                        break;
                    }
                }
                std::future::pending::<()>().await;
            };
            tokio::select! {
                () = session.run(until) => {}
                () = told => {}
            }
            "session"
        });
    }
    if parts.control {
        let control = Control {
            clock: Arc::clone(&parts.clock),
            store: store.clone(),
            leases: lease_handle,
            apps: desk.watch(),
            sessions,
            me: parts.me.clone(),
            allowed: Arc::clone(&parts.allowed),
            troubles: parts.troubles.clone(),
        };
        let path = control::socket_path(&parts.run_dir);
        let listener = control::listen(&path).map_err(|source| AgentError::Control { path, source })?;
        let until = token();
        tasks.spawn(async move {
            control.run(listener, until).await;
            "control socket"
        });
    }
    if let Some(renewal) = parts.renewal {
        let (addresses, until) = (parts.coordinators.clone(), token());
        let (connect, clock, seed) = (Arc::clone(&parts.connect), Arc::clone(&parts.clock), parts.seed);
        tasks.spawn(async move {
            renew::run(renewal, connect, addresses, clock, seed, until).await;
            "renewal"
        });
    }
    if let Some(docker_socket) = parts.measures {
        let (clock, until) = (Arc::clone(&parts.clock), token());
        tasks.spawn(async move {
            metrics::run(docker_socket, clock, latest, until).await;
            "metrics"
        });
    }
    let until = token();
    tasks.spawn(async move {
        leases.run(until).await;
        "leases"
    });
    // Only the leases must move: what else hangs, a check or a session, stops no writer and is told by its silence.
    let watchdog = feed_watchdog(vec![("leases", pulse)], Arc::clone(&parts.clock), token());
    tasks.spawn(async move {
        watchdog.await;
        "watchdog"
    });
    let until = token();
    tasks.spawn(async move {
        proxies.run(until).await;
        "proxies"
    });
    let until = token();
    tasks.spawn(async move {
        scheduler.run(until).await;
        "scheduler"
    });
    let until = token();
    tasks.spawn(async move {
        commands.run(until).await;
        "commands"
    });

    // Every task runs until cancelled. One that ends before, or panics, takes the agent with it.
    let ended = tokio::select! {
        biased;
        () = cancel.cancelled() => None,
        ended = tasks.join_next() => Some(ended.and_then(Result::ok).unwrap_or("task")),
    };
    stop.cancel();
    while tasks.join_next().await.is_some() {}
    parts.db.close().await;
    match ended {
        Some(task) if !cancel.is_cancelled() => Err(AgentError::TaskEnded(task)),
        Some(_) | None => Ok(()),
    }
}
