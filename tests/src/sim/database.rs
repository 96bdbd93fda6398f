//! Doubles for PostgreSQL and HAProxy, in one place that every simulated host shares, so that what they do can be judged
//! at every step.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use async_trait::async_trait;
use holdfast_agent::executors::{ExecError, Executors, Probed, Seen};
use holdfast_agent_core::duties::Probe;
use holdfast_types::{
    Lsn,
    spec::{PostgresExpect, Writer},
};

use super::trace::Trace;

/// What a stop, a start or a promotion takes, simulated.
const WORK: Duration = Duration::from_millis(120);

/// One database.
#[derive(Debug, Clone)]
struct Database {
    running: bool,
    in_recovery: bool,
    timeline: u32,
    lsn: u64,
    connected: bool,
}

#[derive(Debug, Default)]
struct Inner {
    databases: BTreeMap<String, Database>,
    /// Regions that nobody outside reaches.
    cut: BTreeSet<String>,
    /// Open server of each proxy host.
    open: BTreeMap<String, BTreeSet<String>>,
}

/// All databases and proxies of a simulated world.
#[derive(Debug, Clone)]
pub struct Systems {
    inner: Arc<Mutex<Inner>>,
    trace: Trace,
}

impl Systems {
    /// A primary in the first region, a standby in each other.
    #[must_use]
    pub fn new(regions: &[&str], trace: Trace) -> Self {
        let mut inner = Inner::default();
        for (n, region) in regions.iter().enumerate() {
            let database =
                Database { running: true, in_recovery: n > 0, timeline: 1, lsn: 0x100_0000, connected: n > 0 };
            inner.databases.insert((*region).to_owned(), database);
        }
        Self { inner: Arc::new(Mutex::new(inner)), trace }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().expect("nothing panics while it holds the systems")
    }

    /// What the executors of one host act on.
    #[must_use]
    pub fn on(&self, region: &str, host: &str) -> Arc<dyn Executors> {
        Arc::new(Double { systems: self.clone(), region: region.to_owned(), host: host.to_owned() })
    }

    /// Nothing passes between this region and the others any more.
    pub fn cut(&self, region: &str) {
        self.lock().cut.insert(region.to_owned());
        self.trace.note(&format!("world cut {region}"));
    }

    /// Everything passes again.
    pub fn heal(&self) {
        self.lock().cut.clear();
        self.trace.note("world heal");
    }

    /// A database's processes are killed.
    pub fn kill(&self, region: &str) {
        if let Some(database) = self.lock().databases.get_mut(region) {
            database.running = false;
        }
        self.trace.note(&format!("world kill {region}"));
    }

    /// Regions whose database accepts writes right now. Never more than one.
    #[must_use]
    pub fn writable(&self) -> Vec<String> {
        let inner = self.lock();
        inner.databases.iter().filter(|(_, d)| d.running && !d.in_recovery).map(|(r, _)| r.clone()).collect()
    }

    /// The regions that a proxy host has open.
    #[must_use]
    pub fn open(&self, host: &str) -> Vec<String> {
        self.lock().open.get(host).map(|o| o.iter().cloned().collect()).unwrap_or_default()
    }
}

impl Inner {
    fn seen(&mut self, region: &str) -> Seen {
        let cut = self.cut.contains(region);
        let primary = self
            .databases
            .iter()
            .find(|(r, d)| d.running && !d.in_recovery && (r.as_str() == region || !self.cut.contains(r.as_str())))
            .map(|(r, d)| (r.clone(), d.lsn));
        let Some(database) = self.databases.get_mut(region) else { return Seen::default() };
        if !database.running {
            return Seen { text: "down".to_owned(), ..Seen::default() };
        }
        let mut streaming = false;
        if database.in_recovery {
            if let Some((_, lsn)) = primary
                && database.connected
                && !cut
            {
                streaming = true;
                database.lsn = database.lsn.max(lsn);
            }
        } else {
            // The marker.
            database.lsn += 0x60;
        }
        Seen {
            running: true,
            in_recovery: Some(database.in_recovery),
            accepts_writes: !database.in_recovery,
            streaming,
            timeline: database.timeline,
            lsn: Lsn(database.lsn),
            replayed: Lsn(database.lsn),
            system: 7,
            last_message_age: streaming.then_some(Duration::ZERO),
            sender: None,
            text: if database.in_recovery { "follows" } else { "accepts writes" }.to_owned(),
        }
    }
}

#[derive(Debug)]
struct Double {
    systems: Systems,
    region: String,
    host: String,
}

impl Double {
    fn change(&self, what: &str, act: impl FnOnce(&mut Database)) -> Seen {
        let seen = {
            let mut inner = self.systems.lock();
            if let Some(database) = inner.databases.get_mut(&self.region) {
                act(database);
            }
            inner.seen(&self.region)
        };
        self.systems.trace.note(&format!("{} {what}", self.host));
        seen
    }
}

#[async_trait]
impl Executors for Double {
    async fn look(&self, _writer: &Writer, _within: Duration) -> Result<Seen, ExecError> {
        Ok(self.systems.lock().seen(&self.region))
    }

    async fn fence(&self, _writer: &Writer, _within: Duration) -> Result<String, ExecError> {
        let standby = self.systems.lock().databases.get(&self.region).is_some_and(|d| d.running && d.in_recovery);
        if standby {
            return Ok("a standby, left alone".to_owned());
        }
        tokio::time::sleep(WORK).await;
        self.change("fenced", |d| d.running = false);
        Ok("stopped".to_owned())
    }

    async fn start_primary(&self, _writer: &Writer, _within: Duration) -> Result<Seen, ExecError> {
        tokio::time::sleep(WORK).await;
        Ok(self.change("starts", |d| d.running = true))
    }

    async fn promote(&self, _writer: &Writer, _within: Duration) -> Result<Seen, ExecError> {
        tokio::time::sleep(WORK).await;
        Ok(self.change("promotes", |d| {
            if d.in_recovery {
                d.in_recovery = false;
                d.timeline += 1;
            }
        }))
    }

    async fn connected_with(&self, _writer: &Writer, _within: Duration) -> Result<Option<String>, ExecError> {
        let connected = self.systems.lock().databases.get(&self.region).is_some_and(|d| d.connected);
        Ok(connected.then(|| "host=primary".to_owned()))
    }

    async fn cut(&self, _writer: &Writer, _within: Duration) -> Result<Seen, ExecError> {
        Ok(self.change("cuts its receiver", |d| d.connected = false))
    }

    async fn reconnect(&self, _writer: &Writer, _conninfo: &str, _within: Duration) -> Result<(), ExecError> {
        self.change("receives again", |d| d.connected = true);
        Ok(())
    }

    async fn probe(&self, probe: &Probe, _timeout: Duration) -> Probed {
        let seen = self.systems.lock().seen(&self.region);
        let (text, some) = (seen.text.clone(), Some(seen.clone()));
        let good = match probe {
            Probe::Postgres { expect: PostgresExpect::AcceptsWrites, .. } => seen.accepts_writes,
            Probe::Postgres { expect: PostgresExpect::Streams, .. } => seen.in_recovery == Some(true) && seen.streaming,
            Probe::Tcp { .. }
            | Probe::Http { .. }
            | Probe::Container { .. }
            | Probe::Tls { .. }
            | Probe::Redis { .. }
            | Probe::Mongodb { .. }
            | Probe::Exec(_) => {
                return Probed::Ok { text: "answers".to_owned(), seen: None };
            }
        };
        if good { Probed::Ok { text, seen: some } } else { Probed::Failing { text, seen: some } }
    }

    async fn servers(&self, _: &Path, _: &str, _: Duration) -> Result<BTreeMap<String, bool>, ExecError> {
        let inner = self.systems.lock();
        let open = inner.open.get(&self.host).cloned().unwrap_or_default();
        Ok(inner.databases.keys().map(|r| (r.clone(), open.contains(r))).collect())
    }

    async fn open_only(&self, _: &Path, _: &str, server: &str, _: Duration) -> Result<(), ExecError> {
        self.systems.lock().open.insert(self.host.clone(), BTreeSet::from([server.to_owned()]));
        self.systems.trace.note(&format!("{} opens {server}", self.host));
        Ok(())
    }

    async fn close_all(&self, _: &Path, _: &str, _: Duration) -> Result<(), ExecError> {
        self.systems.lock().open.remove(&self.host);
        self.systems.trace.note(&format!("{} closes", self.host));
        Ok(())
    }
}
