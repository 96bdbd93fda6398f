//! A swarm: hosts that are played, in one process. Each has a key and a certificate of its own, got by a join token as
//! every host's is, and holds the two connections that an agent holds. It says what an agent says and answers what an
//! agent answers; behind it there is no database, no disk and no check that takes time.
//!
//! Four hosts belong to one app: a database and a web server in each of two regions.

mod host;
mod line;

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use holdfast_shared::{clock::SharedClock, limits, token::JoinToken};
use holdfast_types::HostName;
use tokio::{runtime::Runtime, sync::Semaphore, task::JoinSet};
use tokio_util::sync::CancellationToken;

use host::Played;

/// The two regions that every app of a swarm is in.
pub const REGIONS: [&str; 2] = ["us-east", "us-west"];
/// Hosts of one app.
pub const HOSTS_OF_AN_APP: usize = 4;
/// Hosts that enrol or connect at once: a signature each on both sides, on a machine with two cores.
const JOINING_MAX: usize = 16;
/// Ending is closing sockets.
const ENDS_WITHIN: Duration = Duration::from_secs(10);

/// How the hosts of a swarm stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    /// Have a certificate.
    pub enrolled: usize,
    /// Have a session that was welcomed.
    pub up: usize,
    /// Sessions that ended though nobody had asked for that.
    pub lost: usize,
}

#[derive(Debug, Default)]
struct Counts {
    enrolled: AtomicUsize,
    up: AtomicUsize,
    lost: AtomicUsize,
}

/// Played hosts. Dropping it ends them.
pub struct Swarm {
    counts: Arc<Counts>,
    gags: BTreeMap<HostName, Arc<AtomicBool>>,
    cancel: CancellationToken,
    tasks: Option<JoinSet<()>>,
    runtime: Option<Runtime>,
}

impl Swarm {
    /// Lets so many hosts join the coordinator at `address`, a multiple of four. `tokens` has one for each of
    /// [`REGIONS`], good for half of them each.
    ///
    /// # Errors
    /// When there is no runtime for them.
    pub fn begin(address: &str, tokens: &[JoinToken; 2], hosts: usize, clock: &SharedClock) -> Result<Self> {
        ensure!(hosts.is_multiple_of(HOSTS_OF_AN_APP), "{hosts} hosts are no whole number of apps");
        limits::open_files_to_the_most();
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
        let (counts, cancel) = (Arc::<Counts>::default(), CancellationToken::new());
        let door = Arc::new(Semaphore::new(JOINING_MAX));
        let dead = Arc::<Mutex<Vec<_>>>::default();
        let mut gags = BTreeMap::new();
        let mut tasks = JoinSet::new();
        for app in 0..hosts / HOSTS_OF_AN_APP {
            for (token, region) in tokens.iter().zip(REGIONS) {
                for role in ["db", "web"] {
                    let name = HostName::new(host_name(app, region, role)).context("a host's name")?;
                    let gag = Arc::new(AtomicBool::new(false));
                    gags.insert(name.clone(), Arc::clone(&gag));
                    let played = Played {
                        name,
                        token: token.clone(),
                        address: address.to_owned(),
                        clock: Arc::clone(clock),
                        counts: Arc::clone(&counts),
                        door: Arc::clone(&door),
                        gag,
                        dead: Arc::clone(&dead),
                    };
                    tasks.spawn_on(played.run(cancel.child_token()), runtime.handle());
                }
            }
        }
        Ok(Self { counts, gags, cancel, tasks: Some(tasks), runtime: Some(runtime) })
    }

    /// How they stand.
    #[must_use]
    pub fn standing(&self) -> Standing {
        let of = |count: &AtomicUsize| count.load(Ordering::Relaxed);
        Standing { enrolled: of(&self.counts.enrolled), up: of(&self.counts.up), lost: of(&self.counts.lost) }
    }

    /// Hosts that were played from the beginning.
    #[must_use]
    pub fn hosts(&self) -> usize {
        self.gags.len()
    }

    /// From now on nothing comes from a host and nothing reaches it, as if its power were gone: no connection is closed.
    ///
    /// # Errors
    /// When there is no such host.
    pub fn silence(&self, host: &str) -> Result<()> {
        let host = HostName::new(host).context("a host's name")?;
        let gag = self.gags.get(&host).with_context(|| format!("no host {host} is played"))?;
        gag.store(true, Ordering::Relaxed);
        Ok(())
    }
}

impl Drop for Swarm {
    fn drop(&mut self) {
        self.cancel.cancel();
        let (Some(runtime), Some(mut tasks)) = (self.runtime.take(), self.tasks.take()) else { return };
        // Each of them only drops its connections.
        runtime.block_on(async {
            let ended = async { while tasks.join_next().await.is_some() {} };
            drop(tokio::time::timeout(ENDS_WITHIN, ended).await);
        });
        runtime.shutdown_background();
    }
}

/// Name of a host of app number `app`.
#[must_use]
pub fn host_name(app: usize, region: &str, role: &str) -> String {
    format!("{region}-{role}-{app}")
}

/// The spec of app number `app`: rounds every ten seconds, and nothing moves by itself.
#[must_use]
pub fn spec(app: usize) -> String {
    let mut spec = format!("spec: 1\napp: app-{app}\nregions:\n");
    for (number, region) in REGIONS.iter().enumerate() {
        let _ = writeln!(spec, "  {region}:\n    roles:");
        for (place, role) in ["db", "web"].iter().enumerate() {
            let address = format!("10.{number}.{}.{}", app / 100, 2 * (app % 100) + place + 1);
            let _ = writeln!(spec, "      {role}: [{{host: {}, address: {address}}}]", host_name(app, region, role));
        }
    }
    spec.push_str(
        "writers:\n  pg:\n    kind: postgres\n    on: db\n    run_by: {systemd: postgresql@15-main.service}\n    \
         data_dir: /var/lib/postgresql/15/main\n    login: {socket: /var/run/postgresql, user: holdfast}\n    \
         replication: {mode: async, user: replicator}\n\
         checks:\n  writes: {kind: postgres, writer: pg, where: local, expect: accepts_writes, vital: true}\n  \
         follows: {kind: postgres, writer: pg, where: local, of: standby, expect: streams}\n  \
         web: {kind: tcp, on: web, port: 8080, where: local}\n\
         failover: {mode: observe, interval: 10s}\nfencing: {by: agent}\n",
    );
    spec
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn specs_of_a_swarm_are_good_and_name_its_hosts() {
        for app in [0, 7, 499, 2_499] {
            let text = spec(app);
            let spec = holdfast_types::spec::parse("app.yaml", &text).unwrap_or_else(|e| panic!("{e}\n{text}"));
            assert_eq!(spec.hosts().len(), HOSTS_OF_AN_APP);
            assert!(spec.hosts().contains_key(&host_name(app, "us-west", "web").parse::<HostName>().expect("a name")));
        }
    }
}
