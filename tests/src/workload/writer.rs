//! One writer: a thread that writes row after row and remembers what was acknowledged.

use std::{
    fs::File,
    path::PathBuf,
    sync::Arc,
    thread::{self, JoinHandle},
    time::Duration,
};

use anyhow::{Context, Result, anyhow, ensure};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use std::os::fd::AsFd;
use tokio::{
    runtime::Builder,
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use super::{
    ledger::{Ack, Ledger},
    route::Route,
};
use crate::harness::{HaProxy, Host, PgNode, now};

/// A proxy that is cut off must not hold the writer up for long: this much is added to what a client waits.
const CONNECT_WITHIN: Duration = Duration::from_millis(300);

/// A statement that hangs on a cut connection is given up after this; its outcome is unknown.
const ACKNOWLEDGED_WITHIN: Duration = Duration::from_secs(1);

/// Between attempts that fail at once: not to burn a core that a failover needs.
const AFTER_FAILURE: Duration = Duration::from_millis(20);

/// Between acknowledged writes: a region that writes without a lease is caught within this much.
pub const BETWEEN_WRITES: Duration = Duration::from_millis(5);

/// Who writes, from where, and which ways it tries in turn.
#[derive(Debug, Clone)]
pub struct WriterPlan {
    /// Letters, digits and `-`; unique in the ledger.
    pub name: String,
    /// The network namespace it connects from; none is the machine's own.
    pub namespace: Option<PathBuf>,
    /// Tried in turn: it stays with one as long as that acknowledges.
    pub routes: Vec<Route>,
    /// Between acknowledged writes.
    pub pause: Duration,
}

impl WriterPlan {
    /// From `host`, through the proxies in turn.
    pub fn outside<'a>(name: &str, host: &Host, proxies: impl IntoIterator<Item = &'a HaProxy>, port: u16) -> Self {
        Self {
            name: name.to_owned(),
            namespace: host.namespace_file(),
            routes: proxies.into_iter().map(|proxy| Route::proxy(proxy, port)).collect(),
            pause: BETWEEN_WRITES,
        }
    }

    /// Straight to a database.
    #[must_use]
    pub fn inside(node: &PgNode) -> Self {
        Self {
            name: format!("inside-{}", node.region()),
            namespace: None,
            routes: vec![Route::inside(node)],
            pause: BETWEEN_WRITES,
        }
    }
}

/// A writer at work; ends when it is dropped.
#[derive(Debug)]
pub struct Writer {
    name: String,
    stop: CancellationToken,
    thread: Option<JoinHandle<()>>,
}

impl Writer {
    /// Outside all regions: from `host`, through the proxies in turn.
    ///
    /// # Errors
    /// When the thread cannot be started.
    pub fn outside<'a>(
        name: &str,
        host: &Host,
        proxies: impl IntoIterator<Item = &'a HaProxy>,
        port: u16,
        ledger: &Arc<Ledger>,
    ) -> Result<Self> {
        Self::start(WriterPlan::outside(name, host, proxies, port), ledger)
    }

    /// Inside a region: straight to its database all the time, past HAProxy and past every cut. A standby refuses it,
    /// which is counted as failed, and it tries again.
    ///
    /// # Errors
    /// When the thread cannot be started.
    pub fn inside(node: &PgNode, ledger: &Arc<Ledger>) -> Result<Self> {
        Self::start(WriterPlan::inside(node), ledger)
    }

    /// Starts as planned.
    ///
    /// # Errors
    /// When the plan has no route or a name that SQL would not take as it stands, or the thread cannot be started.
    pub fn start(plan: WriterPlan, ledger: &Arc<Ledger>) -> Result<Self> {
        ensure!(!plan.routes.is_empty(), "writer {} has no way to any database", plan.name);
        let plain = plan.name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-');
        ensure!(plain && !plan.name.is_empty(), "writer name {:?}: letters, digits and - only", plan.name);
        let space = plan.namespace.as_ref().map(|file| File::open(file).with_context(|| format!("{}", file.display())));
        let space = space.transpose()?;
        let (stop, ledger, name) = (CancellationToken::new(), Arc::clone(ledger), plan.name.clone());
        let token = stop.clone();
        // A thread of its own: entering a namespace moves a thread, and nothing else may run there.
        let thread = thread::Builder::new().name(name.clone()).spawn(move || {
            if let Err(error) = work(&plan, space, &ledger, &token) {
                ledger.failed(&plan.name.as_str().into(), format!("the writer ended: {error:#}"));
            }
        })?;
        Ok(Self { name, stop, thread: Some(thread) })
    }

    pub(super) fn of_thread(name: String, stop: CancellationToken, thread: JoinHandle<()>) -> Self {
        Self { name, stop, thread: Some(thread) }
    }

    /// Its name in the ledger.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Stops it; a write under way is abandoned and never counts as acknowledged.
    ///
    /// # Errors
    /// When its thread panicked.
    pub fn stop(mut self) -> Result<()> {
        self.stop.cancel();
        match self.thread.take().map(JoinHandle::join) {
            Some(Err(_)) => Err(anyhow!("writer {} panicked", self.name)),
            Some(Ok(())) | None => Ok(()),
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.stop.cancel();
        if let Some(thread) = self.thread.take() {
            // Its panic was printed; a second one from here would hide the first.
            let _ = thread.join();
        }
    }
}

fn work(plan: &WriterPlan, space: Option<File>, ledger: &Ledger, stop: &CancellationToken) -> Result<()> {
    if let Some(space) = space {
        move_into_link_name_space(space.as_fd(), Some(LinkNameSpaceType::Network)).context("cannot enter the host")?;
    }
    // Single-threaded: sockets are made on this thread and so on its host.
    let runtime = Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(stop.run_until_cancelled(write_on(plan, ledger)));
    Ok(())
}

/// Writes until cancelled. May be dropped at any await: what was not acknowledged is not remembered.
async fn write_on(plan: &WriterPlan, ledger: &Ledger) {
    let name: Arc<str> = plan.name.as_str().into();
    let mut sequence = 0;
    for route in plan.routes.iter().cycle() {
        match timeout(CONNECT_WITHIN, route.connect(&name)).await {
            Ok(Ok(connection)) => {
                let why = write_through(&name, &connection, route, plan.pause, &mut sequence, ledger).await;
                ledger.failed(&name, format!("{}: {why:#}", route.name()));
            }
            Ok(Err(error)) => ledger.failed(&name, format!("{}: {error:#}", route.name())),
            Err(_) => ledger.failed(&name, format!("{}: no connection within {CONNECT_WITHIN:?}", route.name())),
        }
        sleep(AFTER_FAILURE).await;
    }
}

/// Writes over one connection until a write fails; returns why.
async fn write_through(
    name: &Arc<str>,
    connection: &super::route::Connection,
    route: &Route,
    pause: Duration,
    sequence: &mut u64,
    ledger: &Ledger,
) -> anyhow::Error {
    loop {
        *sequence += 1;
        let sent = now();
        match timeout(ACKNOWLEDGED_WITHIN, connection.write(name, *sequence)).await {
            Ok(Ok(database)) => ledger.record(Ack {
                writer: Arc::clone(name),
                sequence: *sequence,
                sent,
                acked: now(),
                through: route.name(),
                database,
            }),
            Ok(Err(error)) => return error,
            Err(_) => return anyhow!("no acknowledgement within {ACKNOWLEDGED_WITHIN:?}"),
        }
        sleep(pause).await;
    }
}
