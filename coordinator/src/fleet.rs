//! What this coordinator hears from the fleet: live sessions, lease views, proxies. In memory only: what may be lost is
//! not replicated. Observations go to [`crate::rounds`].

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use holdfast_proto::v1;
use holdfast_types::{AppName, BootInstant, HostName, RegionName, WallTime};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

/// Messages that may wait for one agent. More means that it does not read: the session is then closed, and the agent
/// comes back and is told anew. Nothing of what waits is lost, it is all derived from committed state.
pub const OUTGOING_MAX: usize = 256;

/// One live session of an agent.
#[derive(Debug, Clone)]
pub struct Live {
    /// Which of all sessions this process has seen.
    pub number: u64,
    /// Its region.
    pub region: RegionName,
    /// Version of the agent.
    pub version: String,
    /// Where it comes from.
    pub address: String,
    /// Which run of the agent.
    pub instance: String,
    /// Since when.
    pub since: WallTime,
    out: mpsc::Sender<v1::ToAgent>,
    cancel: CancellationToken,
}

/// What a host believes of a lease, and when it said so.
#[derive(Debug, Clone, PartialEq)]
pub struct LeaseSeen {
    /// As sent.
    pub view: v1::LeaseView,
    /// When.
    pub at: BootInstant,
}

/// How the writers of a host are set up, and how far its wall clock was from ours when it said so.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct FindingsSeen {
    /// As sent.
    pub writers: Vec<v1::WriterFacts>,
    /// Either way.
    pub clock_gap: Option<Duration>,
}

/// Whether a host is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Presence {
    /// Its session is up.
    Live(WallTime),
    /// It was, until then.
    Silent(WallTime),
    /// Not since this coordinator started.
    NeverSeen,
}

#[derive(Debug, Default)]
struct Inner {
    sessions_seen: u64,
    live: BTreeMap<HostName, Live>,
    gone: BTreeMap<HostName, WallTime>,
    heard: BTreeMap<HostName, BootInstant>,
    leases: BTreeMap<(AppName, HostName), LeaseSeen>,
    proxies: BTreeMap<HostName, Vec<v1::ProxyState>>,
    facts: BTreeMap<HostName, v1::HostFacts>,
    findings: BTreeMap<HostName, FindingsSeen>,
    versions: BTreeMap<HostName, String>,
    counts_end: BTreeMap<(AppName, HostName), u64>,
    newest_request: BTreeMap<(AppName, HostName), u64>,
    end_wanted: BTreeMap<AppName, u64>,
    looks: BTreeMap<u64, Look>,
    looks_asked: u64,
}

/// One question to several hosts.
#[derive(Debug)]
struct Look {
    /// Those that have not answered.
    asked: BTreeSet<HostName>,
    answers: mpsc::Sender<(HostName, v1::LookReply)>,
}

/// Cheap to clone.
#[derive(Clone)]
pub struct Fleet {
    inner: Arc<Mutex<Inner>>,
    changed: Arc<watch::Sender<u64>>,
    ends_wanted: Arc<watch::Sender<u64>>,
}

impl Default for Fleet {
    fn default() -> Self {
        Self {
            inner: Arc::default(),
            changed: Arc::new(watch::channel(0).0),
            ends_wanted: Arc::new(watch::channel(0).0),
        }
    }
}

impl Fleet {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().expect("nothing panics while it holds the fleet")
    }

    /// Fires when a session begins or ends, a lease view changes, or an end of leases is wanted.
    #[must_use]
    pub fn changed(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// Fires when the leases of an app are about to get an end, or are no longer: what its hosts should know depends on
    /// that and on committed state, and on nothing else here.
    #[must_use]
    pub fn ends_wanted(&self) -> watch::Receiver<u64> {
        self.ends_wanted.subscribe()
    }

    fn bump_ends(&self) {
        self.ends_wanted.send_modify(|n| *n += 1);
        self.bump();
    }

    fn bump(&self) {
        self.changed.send_modify(|n| *n += 1);
    }

    /// Takes up a session. An older one of the same host is closed; answers the older one's instance when it was of
    /// another run of the agent and has been heard since `heard_since`.
    pub fn enter(
        &self,
        host: &HostName,
        region: &RegionName,
        hello: &v1::Hello,
        address: &str,
        now: (BootInstant, WallTime),
        cancel: CancellationToken,
    ) -> (u64, mpsc::Receiver<v1::ToAgent>) {
        let (out, rx) = mpsc::channel(OUTGOING_MAX);
        let mut inner = self.lock();
        inner.sessions_seen += 1;
        let number = inner.sessions_seen;
        let live = Live {
            number,
            region: region.clone(),
            version: hello.version.clone(),
            address: address.to_owned(),
            instance: hello.instance.clone(),
            since: now.1,
            out,
            cancel,
        };
        inner.versions.insert(host.clone(), hello.version.clone());
        inner.heard.insert(host.clone(), now.0);
        if let Some(old) = inner.live.insert(host.clone(), live) {
            old.cancel.cancel();
        }
        drop(inner);
        self.bump();
        (number, rx)
    }

    /// The session of this number has ended.
    pub fn leave(&self, host: &HostName, number: u64, at: WallTime) {
        let mut inner = self.lock();
        if inner.live.get(host).is_some_and(|l| l.number == number) {
            inner.live.remove(host);
            inner.gone.insert(host.clone(), at);
            drop(inner);
            self.bump();
        }
    }

    /// Closes a host's session, if there is one.
    pub fn close(&self, host: &HostName) {
        if let Some(live) = self.lock().live.get(host) {
            live.cancel.cancel();
        }
    }

    /// Forgets a host that has left the cluster, but for a session that is still being closed.
    pub fn forget(&self, host: &HostName) {
        let mut inner = self.lock();
        inner.gone.remove(host);
        inner.heard.remove(host);
        inner.proxies.remove(host);
        inner.findings.remove(host);
        inner.versions.remove(host);
        inner.leases.retain(|(_, of), _| of != host);
        inner.counts_end.retain(|(_, of), _| of != host);
        inner.newest_request.retain(|(_, of), _| of != host);
        drop(inner);
        self.bump();
    }

    /// Sends to a host. `false`: it has no session, or does not read (its session is then closed).
    pub fn send(&self, host: &HostName, message: v1::to_agent::Body) -> bool {
        let inner = self.lock();
        let Some(live) = inner.live.get(host) else { return false };
        match live.out.try_send(v1::ToAgent { body: Some(message) }) {
            Ok(()) => true,
            Err(_) => {
                live.cancel.cancel();
                false
            }
        }
    }

    /// Number of the host's live session.
    #[must_use]
    pub fn session(&self, host: &HostName) -> Option<u64> {
        self.lock().live.get(host).map(|l| l.number)
    }

    /// The host's live session.
    #[must_use]
    pub fn live(&self, host: &HostName) -> Option<Live> {
        self.lock().live.get(host).cloned()
    }

    /// Hosts with a live session.
    #[must_use]
    pub fn reachable(&self) -> BTreeSet<HostName> {
        self.lock().live.keys().cloned().collect()
    }

    /// Whether a host is there, and since when.
    #[must_use]
    pub fn presence(&self, host: &HostName) -> Presence {
        let inner = self.lock();
        match (inner.live.get(host), inner.gone.get(host)) {
            (Some(live), _) => Presence::Live(live.since),
            (None, Some(at)) => Presence::Silent(*at),
            (None, None) => Presence::NeverSeen,
        }
    }

    /// Version of the agent that a host ran last.
    #[must_use]
    pub fn version(&self, host: &HostName) -> String {
        self.lock().versions.get(host).cloned().unwrap_or_default()
    }

    /// When anything last came from a host.
    #[must_use]
    pub fn heard(&self, host: &HostName) -> Option<BootInstant> {
        self.lock().heard.get(host).copied()
    }

    /// Notes that something came from a host.
    pub fn note_heard(&self, host: &HostName, now: BootInstant) {
        self.lock().heard.insert(host.clone(), now);
    }

    /// Takes a host's views of its leases.
    pub fn note_leases(&self, host: &HostName, views: Vec<v1::LeaseView>, now: BootInstant) {
        let mut inner = self.lock();
        for view in views {
            if let Ok(app) = AppName::new(&*view.app) {
                inner.leases.insert((app, host.clone()), LeaseSeen { view, at: now });
            }
        }
    }

    /// What a host believes of its lease of an app.
    #[must_use]
    pub fn lease(&self, app: &AppName, host: &HostName) -> Option<LeaseSeen> {
        self.lock().leases.get(&(app.clone(), host.clone())).cloned()
    }

    /// Whether a host that is there says that writers of an app still run, or may: they are being stopped, or nothing
    /// stops them. A view older than `fresh` says nothing.
    #[must_use]
    pub fn says_unstopped(&self, app: &AppName, host: &HostName, now: BootInstant, fresh: Duration) -> bool {
        let inner = self.lock();
        inner.live.contains_key(host)
            && inner.leases.get(&(app.clone(), host.clone())).is_some_and(|seen| {
                now.since(seen.at) <= fresh
                    && matches!(seen.view.state(), v1::LeaseState::Fencing | v1::LeaseState::Released)
            })
    }

    /// Takes a report of the proxies beside an agent.
    pub fn note_proxies(&self, host: &HostName, proxies: Vec<v1::ProxyState>) {
        self.lock().proxies.insert(host.clone(), proxies);
    }

    /// What the proxies beside an agent do.
    #[must_use]
    pub fn proxies(&self, host: &HostName) -> Vec<v1::ProxyState> {
        self.lock().proxies.get(host).cloned().unwrap_or_default()
    }

    /// Takes how the writers of a host are set up.
    pub fn note_findings(&self, host: &HostName, findings: v1::Findings, now: WallTime) {
        let said = findings
            .at
            .map(|at| WallTime(at.seconds.saturating_mul(1_000).saturating_add(i64::from(at.nanos / 1_000_000))));
        let clock_gap = said.map(|said| said.since(now).max(now.since(said)));
        let seen = FindingsSeen { writers: findings.writers, clock_gap };
        self.lock().findings.insert(host.clone(), seen);
    }

    /// How the writers of a host are set up, as it said last.
    #[must_use]
    pub fn findings(&self, host: &HostName) -> FindingsSeen {
        self.lock().findings.get(host).cloned().unwrap_or_default()
    }

    /// Takes what a host allows and what ails it.
    pub fn note_facts(&self, host: &HostName, facts: v1::HostFacts) {
        self.lock().facts.insert(host.clone(), facts);
    }

    /// What a host said last of what it allows and what ails it.
    #[must_use]
    pub fn facts(&self, host: &HostName) -> v1::HostFacts {
        self.lock().facts.get(host).cloned().unwrap_or_default()
    }

    /// A holder said in its request `number` whether it counts, durably, a lease with an end of this generation. What an
    /// older request says (one that waited in a connection that broke) no longer holds.
    pub fn note_counts_end(&self, app: &AppName, host: &HostName, number: u64, generation: Option<u64>) {
        let key = (app.clone(), host.clone());
        let mut inner = self.lock();
        let newest = inner.newest_request.entry(key.clone()).or_default();
        if number < *newest {
            return;
        }
        *newest = number;
        let before = match generation {
            Some(generation) => inner.counts_end.insert(key, generation),
            None => inner.counts_end.remove(&key),
        };
        drop(inner);
        if before != generation {
            self.bump();
        }
    }

    /// Whether it did, of this generation.
    #[must_use]
    pub fn counts_end(&self, app: &AppName, host: &HostName, generation: u64) -> bool {
        self.lock().counts_end.get(&(app.clone(), host.clone())) == Some(&generation)
    }

    /// Whether this leader is about to make a region promotable, so that leases of this generation get an end.
    #[must_use]
    pub fn end_wanted(&self, app: &AppName, generation: u64) -> bool {
        self.lock().end_wanted.get(app) == Some(&generation)
    }

    /// From now on leases of this generation have an end. What holders said before does not count.
    pub fn want_end(&self, app: &AppName, generation: u64) {
        let mut inner = self.lock();
        if inner.end_wanted.insert(app.clone(), generation) == Some(generation) {
            return;
        }
        inner.counts_end.retain(|(a, _), _| a != app);
        drop(inner);
        self.bump_ends();
    }

    /// The intention is carried out or given up.
    pub fn unwant_end(&self, app: &AppName) {
        let removed = self.lock().end_wanted.remove(app).is_some();
        if removed {
            self.bump_ends();
        }
    }

    /// Asks hosts to look at a spec; answers arrive on the channel until `end_look`.
    pub fn begin_look(
        &self,
        hosts: &BTreeSet<HostName>,
        app: &AppName,
        spec_yaml: &str,
    ) -> (u64, mpsc::Receiver<(HostName, v1::LookReply)>) {
        let (tx, rx) = mpsc::channel(hosts.len().max(1));
        let number = {
            let mut inner = self.lock();
            inner.looks_asked += 1;
            let number = inner.looks_asked;
            inner.looks.insert(number, Look { asked: hosts.clone(), answers: tx });
            number
        };
        for host in hosts {
            let request = v1::LookRequest { number, app: app.to_string(), spec_yaml: spec_yaml.to_owned() };
            self.send(host, v1::to_agent::Body::Look(request));
        }
        (number, rx)
    }

    /// A host's answer to a look; the first of a host that was asked counts.
    pub fn looked(&self, host: &HostName, reply: v1::LookReply) {
        let mut inner = self.lock();
        if let Some(look) = inner.looks.get_mut(&reply.number)
            && look.asked.remove(host)
        {
            // Sized for one answer of each host asked.
            drop(look.answers.try_send((host.clone(), reply)));
        }
    }

    /// Nobody waits for these answers any more.
    pub fn end_look(&self, number: u64) {
        self.lock().looks.remove(&number);
    }

    /// Forgets everything that only a leader may know: a new leadership begins.
    pub fn begin_leadership(&self) {
        let mut inner = self.lock();
        inner.counts_end.clear();
        inner.end_wanted.clear();
        drop(inner);
        self.bump_ends();
    }
}

#[cfg(test)]
mod tests;
