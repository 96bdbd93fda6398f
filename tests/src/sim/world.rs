//! A world: one coordinator in a third place, an agent on the database host of each of two regions, one app.

use std::{
    net::IpAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use holdfast_agent::{Me, Parts as AgentParts, allowed::Allowed, connect::TlsConnect, store};
use holdfast_coordinator::{
    consensus::{Consensus as _, MIGRATIONS, RaftConfig, RaftConsensus},
    engine::NoFaults,
    replica::Replica,
    run::{self, Parts as CoordinatorParts},
};
use holdfast_coordinator_core::{
    change::{ApplySpec, CreateToken, Enrol, Init, Issue, Kind},
    records::JoinToken,
    state::State,
};
use holdfast_shared::{
    clock::SharedClock,
    db::Db,
    identity::Bearer,
    pki::{Ca, CaFiles, KeyAndCsr, Material},
    tls::HotTlsClient,
};
use holdfast_types::{HostName, RegionName, ids::ClusterId};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use turmoil::Sim;

use super::{
    clock::{BEGINS, SimClock},
    database::Systems,
    net::{PORT, SimAccept, SimDial},
    trace::Trace,
};

/// The third place.
pub const COORDINATOR: &str = "c1";
/// Regions and their database hosts.
pub const HOSTS: [(&str, &str); 2] = [("us-east", "use-db1"), ("us-west", "usw-db1")];
/// Any certificate of a world outlives it.
const LIFETIME: Duration = Duration::from_hours(24);

/// interval 1 s, recheck 1 s, 3 failures, lease 3 s, fence 1 s.
const SPEC: &str = "\
spec: 1
app: shop
regions:
  us-east:
    roles:
      db: [{host: use-db1, address: 10.0.0.1}]
  us-west:
    roles:
      db: [{host: usw-db1, address: 10.0.0.2}]
writers:
  pg:
    kind: postgres
    on: db
    run_by: {pg_ctl: {bin: /usr/lib/postgresql/15/bin, user: postgres}}
    data_dir: /var/lib/postgresql/15/main
    port: 5432
    login: {socket: /var/run/postgresql, user: holdfast, database: postgres}
    replication: {mode: async, user: replicator, slot: \"holdfast_{region}\"}
checks:
  writes: {kind: postgres, writer: pg, where: local, expect: accepts_writes, vital: true, timeout: 1s}
failover:
  mode: automatic
  preset: fast
fencing: {by: agent, within: 1s}
";

/// What a simulation is made of.
pub struct World {
    /// The simulated hosts and links.
    pub sim: Sim<'static>,
    /// Databases and proxies.
    pub systems: Systems,
    /// What happened.
    pub trace: Trace,
    folder: tempfile::TempDir,
}

/// Everything a world's daemons find on their disks before it begins.
#[derive(Debug, Clone)]
struct Disks {
    folder: PathBuf,
}

impl Disks {
    fn of(&self, host: &str) -> PathBuf {
        self.folder.join(host)
    }
}

impl World {
    /// A world that has not begun.
    ///
    /// # Errors
    /// When its disks cannot be made.
    pub fn new(seed: u64) -> Result<Self> {
        let trace = Trace::default();
        let systems = Systems::new(&HOSTS.map(|(region, _)| region), trace.clone());
        let folder = tempfile::tempdir()?;
        let disks = Disks { folder: folder.path().to_owned() };
        make_disks(&disks)?;
        let mut sim = turmoil::Builder::new()
            .rng_seed(seed)
            .epoch(std::time::UNIX_EPOCH + Duration::from_millis(u64::try_from(BEGINS.0)?))
            .simulation_duration(Duration::from_secs(600))
            .tick_duration(Duration::from_millis(1))
            .min_message_latency(Duration::from_millis(1))
            .max_message_latency(Duration::from_millis(40))
            .tcp_capacity(4096)
            .build();
        let on = disks.clone();
        sim.host(COORDINATOR, move || {
            let disks = on.clone();
            async move { Ok(coordinator(&disks, seed).await?) }
        });
        for (n, (region, host)) in HOSTS.into_iter().enumerate() {
            let (disks, systems) = (disks.clone(), systems.clone());
            let seed = seed.wrapping_mul(31).wrapping_add(n as u64);
            sim.host(host, move || {
                let (disks, systems) = (disks.clone(), systems.clone());
                async move { Ok(agent(&disks, region, host, seed, &systems).await?) }
            });
        }
        Ok(Self { sim, systems, trace, folder })
    }

    /// Where its disks are; gone with it.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Lets simulated time pass until `done`, judging every step.
    ///
    /// # Errors
    /// When an invariant is broken, or `within` has passed.
    pub fn run_until(
        &mut self,
        what: &str,
        within: Duration,
        mut done: impl FnMut(&Systems, &Trace) -> bool,
    ) -> Result<()> {
        let until = self.sim.elapsed() + within;
        while !done(&self.systems, &self.trace) {
            ensure!(self.sim.elapsed() < until, "waited {within:?} for {what}\n{}", self.trace.lines().join("\n"));
            self.step()?;
        }
        Ok(())
    }

    /// Lets this much simulated time pass, judging every step.
    ///
    /// # Errors
    /// When an invariant is broken.
    pub fn run_for(&mut self, span: Duration) -> Result<()> {
        let until = self.sim.elapsed() + span;
        while self.sim.elapsed() < until {
            self.step()?;
        }
        Ok(())
    }

    fn step(&mut self) -> Result<()> {
        self.sim.step().map_err(|e| anyhow::anyhow!("the simulation failed: {e}"))?;
        let writable = self.systems.writable();
        ensure!(
            writable.len() <= 1,
            "two regions accept writes at {:?}: {writable:?}\n{}",
            self.sim.elapsed(),
            self.trace.lines().join("\n")
        );
        Ok(())
    }

    /// A region's hosts reach nobody outside, and nobody reaches them.
    pub fn cut(&mut self, region: &str) {
        self.systems.cut(region);
        for (a, b) in links(region) {
            self.sim.partition(a, b);
        }
    }

    /// Everybody reaches everybody again.
    pub fn heal(&mut self, region: &str) {
        self.systems.heal();
        for (a, b) in links(region) {
            self.sim.repair(a, b);
        }
    }
}

fn links(region: &str) -> Vec<(&'static str, &'static str)> {
    let Some((_, inside)) = HOSTS.into_iter().find(|(r, _)| *r == region) else { return vec![] };
    let others = HOSTS.into_iter().map(|(_, h)| h).filter(|h| *h != inside);
    others.chain([COORDINATOR]).map(|outside| (inside, outside)).collect()
}

/// Makes the CA, the cluster, the hosts and the app, as `init`, `join` and `apply` would, before simulated time begins.
fn make_disks(disks: &Disks) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let clock: SharedClock = Arc::new(SimClock::of("nobody"));
        let home = disks.of(COORDINATOR);
        std::fs::create_dir_all(&home)?;
        let cluster = ClusterId::from_random([7; 16]);
        let ca = Ca::generate(&cluster, clock.wall())?;
        ca.save(&CaFiles::in_folder(&home))?;
        let db = Db::open(&home.join("raft.db"), MIGRATIONS)?;
        let (consensus, state) = RaftConsensus::start::<State>(RaftConfig::new(1, db.clone())).await?;
        consensus.initialize_single().await?;
        consensus.wait_to_lead(Duration::from_secs(20)).await?;
        let consensus = Arc::new(consensus);
        let replica = Replica::new(consensus.clone(), state, clock.clone());
        let until = clock.wall().0 + i64::try_from(LIFETIME.as_millis())?;
        let crl = ca.crl(0, &[], clock.wall())?.to_vec();
        let material = |bearer: &Bearer, serial: u64| -> Result<Material> {
            let key = KeyAndCsr::generate()?;
            let leaf = ca.sign_csr(&key.csr, bearer, &cluster, serial, LIFETIME, clock.wall())?.to_vec();
            let root = ca.certificate().to_vec();
            Ok(Material::from_der(key.key, vec![leaf, root.clone()], vec![root], vec![crl.clone()]))
        };
        let init = Init { cluster: cluster.to_string(), name: "sim".to_owned() };
        replica.propose("test", Kind::Init(init)).await?;
        let bearer = Bearer::Coordinator { node: 1 };
        let issue = Issue { bearer: bearer.uri(&cluster), until, renews: 0 };
        let serial = replica.propose("test", Kind::Issue(issue)).await?.number;
        material(&bearer, serial)?.save_dir(&home.join("identity"))?;
        for (region, host) in HOSTS {
            let token = JoinToken { region: region.to_owned(), uses_left: 1, until, ..JoinToken::default() };
            let id = format!("token-{host}");
            replica.propose("test", Kind::CreateToken(CreateToken { id: id.clone(), token: Some(token) })).await?;
            let enrol = Enrol { token: id, host: host.to_owned(), until, ..Enrol::default() };
            let serial = replica.propose("test", Kind::Enrol(enrol)).await?.number;
            let bearer = Bearer::Agent { region: RegionName::new(region)?, host: HostName::new(host)? };
            let home = disks.of(host);
            std::fs::create_dir_all(home.join("run"))?;
            material(&bearer, serial)?.save_dir(&home.join("identity"))?;
        }
        let (active, _) = HOSTS[0];
        let apply = ApplySpec { spec_yaml: SPEC.to_owned(), on_revision: 0, active_region: active.to_owned() };
        replica.propose("test", Kind::ApplySpec(apply)).await?;
        consensus.shutdown().await;
        db.close().await;
        anyhow::Ok(())
    })
}

async fn coordinator(disks: &Disks, seed: u64) -> Result<()> {
    let home = disks.of(COORDINATOR);
    let clock: SharedClock = Arc::new(SimClock::of(COORDINATOR));
    run::run(
        CoordinatorParts {
            address: format!("{COORDINATOR}:{PORT}"),
            clock,
            db: Db::open_inline(&home.join("raft.db"), MIGRATIONS)?,
            seed: Some(seed),
            ca: Ca::load(&CaFiles::in_folder(&home))?,
            identity: Material::load_dir(&home.join("identity"))?,
            identity_folder: home.join("identity"),
            accept: Box::new(SimAccept::bind(IpAddr::from([0, 0, 0, 0])).await?),
            watched_at: None,
            history: None,
            push: None,
            faults: Arc::new(NoFaults),
            ready: Box::new(|| {}),
        },
        CancellationToken::new(),
    )
    .await
}

async fn agent(disks: &Disks, region: &str, host: &str, seed: u64, systems: &Systems) -> Result<()> {
    let home = disks.of(host);
    let clock: SharedClock = Arc::new(SimClock::of(host));
    let tls = HotTlsClient::new(&Material::load_dir(&home.join("identity"))?, clock.clone())?;
    let starts = std::fs::read_dir(&home).context("a host without a disk")?.count();
    let (ready, _) = watch::channel(false);
    holdfast_agent::run(
        AgentParts {
            me: Me { host: HostName::new(host)?, region: RegionName::new(region)? },
            coordinators: vec![format!("{COORDINATOR}:{PORT}")],
            clock,
            connect: Arc::new(TlsConnect { tls, dial: Arc::new(SimDial) }),
            db: Db::open_inline(&home.join("agent.db"), store::MIGRATIONS)?,
            executors: systems.on(region, host),
            allowed: Arc::new(Allowed::all_of(&holdfast_types::spec::parse("shop.yaml", SPEC)?)),
            troubles: watch::channel(Vec::new()).1,
            run_dir: home.join("run"),
            seed,
            instance: format!("{host}-{starts}"),
            renewal: None,
            measures: None,
            control: false,
            ready,
        },
        CancellationToken::new(),
    )
    .await?;
    Ok(())
}
