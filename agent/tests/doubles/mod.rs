//! A coordinator and a host's database as doubles, around the real agent.
#![allow(dead_code, reason = "each test file uses its part")]

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use holdfast_agent::{
    Me, Parts,
    allowed::Allowed,
    connect::Connect,
    executors::{ExecError, Executors, Probed, Seen},
    store,
};
use holdfast_agent_core::duties::Probe;
use holdfast_proto::v1::{
    self,
    agent_session_server::{AgentSession, AgentSessionServer},
};
use holdfast_shared::{
    clock::{Clock, SharedClock, SystemClock},
    db::Db,
};
use holdfast_types::{BootId, BootInstant, HostName, Lsn, RegionName, WallTime, spec::Writer};
use tokio::{
    sync::{mpsc, watch},
    task::JoinSet,
};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming, transport::Channel};

pub const LEASE: Duration = Duration::from_millis(1_500);
const PATIENCE: Duration = Duration::from_secs(15);

pub const SHOP: &str = r#"spec: 1
app: shop
regions:
  us-east:
    roles:
      db: [{host: use-db1, address: 127.0.0.1}]
  us-west:
    roles:
      db: [{host: usw-db1, address: 127.0.0.1}]
writers:
  pg:
    kind: postgres
    on: db
    run_by: {systemd: postgresql@15-main.service}
    data_dir: /var/lib/postgresql/15/main
    port: 5432
    login: {socket: /var/run/postgresql, user: holdfast, database: postgres}
    replication: {mode: async, user: replicator, slot: "holdfast_{region}"}
failover: {mode: automatic, interval: 1s, recheck: 1s, failures: 3, successes: 3, lease: {duration: 1500ms, renew: 500ms}, on_isolation: fence}
fencing: {by: agent, within: 1s}
traffic:
  proxies:
    - {kind: haproxy, on: db, socket: /run/haproxy/admin.sock, backends: {pg_write: pg}}
"#;

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Waits until `look` gives something; says what it waited for when it does not.
pub async fn eventually<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let clock = SystemClock::new().expect("a boot id");
    let end = clock.boot() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(clock.boot() < end, "{what}: not so after {PATIENCE:?}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

// ---- the database and the proxy ---------------------------------------------------------------------------------

#[derive(Debug, Clone, Default)]
pub struct HostState {
    pub running: bool,
    pub standby: bool,
    pub conninfo: Option<String>,
    pub open: BTreeMap<String, bool>,
    pub did: Vec<String>,
    /// Stopping fails so many times first.
    pub stubborn: u32,
    /// How long a cut takes.
    pub slow_cut: Duration,
}

#[derive(Debug)]
pub struct Host {
    state: Mutex<HostState>,
}

impl Host {
    pub fn primary() -> Arc<Self> {
        Self::new(HostState { running: true, ..HostState::default() })
    }

    pub fn standby() -> Arc<Self> {
        let conninfo = Some("host=10.0.0.1".to_owned());
        Self::new(HostState { running: true, standby: true, conninfo, ..HostState::default() })
    }

    fn new(mut state: HostState) -> Arc<Self> {
        state.open = ["us-east", "us-west"].iter().map(|region| ((*region).to_owned(), false)).collect();
        Arc::new(Self { state: Mutex::new(state) })
    }

    pub fn state(&self) -> HostState {
        lock(&self.state).clone()
    }

    pub fn change(&self, change: impl FnOnce(&mut HostState)) {
        change(&mut lock(&self.state));
    }

    pub fn times(&self, what: &str) -> usize {
        lock(&self.state).did.iter().filter(|did| *did == what).count()
    }

    fn seen(&self) -> Seen {
        let state = lock(&self.state);
        Seen {
            running: state.running,
            in_recovery: state.running.then_some(state.standby),
            accepts_writes: state.running && !state.standby,
            streaming: state.standby && state.conninfo.is_some(),
            timeline: 1,
            lsn: Lsn(0x3000),
            text: "a double".to_owned(),
            ..Seen::default()
        }
    }
}

#[async_trait]
impl Executors for Host {
    async fn look(&self, _: &Writer, _: Duration) -> Result<Seen, ExecError> {
        Ok(self.seen())
    }

    async fn fence(&self, _: &Writer, _: Duration) -> Result<String, ExecError> {
        let mut state = lock(&self.state);
        if state.stubborn > 0 {
            state.stubborn -= 1;
            return Err(ExecError("it lives on".to_owned()));
        }
        if state.running && state.standby {
            return Ok("is a standby, left alone".to_owned());
        }
        state.did.push("fence".to_owned());
        state.running = false;
        Ok("stopped".to_owned())
    }

    async fn start_primary(&self, _: &Writer, _: Duration) -> Result<Seen, ExecError> {
        {
            let mut state = lock(&self.state);
            if state.standby {
                return Err(ExecError("it has a standby.signal".to_owned()));
            }
            state.did.push("start".to_owned());
            state.running = true;
        }
        Ok(self.seen())
    }

    async fn promote(&self, _: &Writer, _: Duration) -> Result<Seen, ExecError> {
        {
            let mut state = lock(&self.state);
            state.did.push("promote".to_owned());
            state.standby = false;
        }
        Ok(self.seen())
    }

    async fn connected_with(&self, _: &Writer, _: Duration) -> Result<Option<String>, ExecError> {
        Ok(lock(&self.state).conninfo.clone())
    }

    async fn cut(&self, _: &Writer, _: Duration) -> Result<Seen, ExecError> {
        let slow = {
            let mut state = lock(&self.state);
            state.did.push("cut".to_owned());
            state.slow_cut
        };
        tokio::time::sleep(slow).await;
        lock(&self.state).conninfo = None;
        Ok(self.seen())
    }

    async fn reconnect(&self, _: &Writer, conninfo: &str, _: Duration) -> Result<(), ExecError> {
        lock(&self.state).conninfo = Some(conninfo.to_owned());
        Ok(())
    }

    async fn probe(&self, _: &Probe, _: Duration) -> Probed {
        Probed::Ok { text: "fine".to_owned(), seen: Some(self.seen()) }
    }

    async fn servers(&self, _: &Path, _: &str, _: Duration) -> Result<BTreeMap<String, bool>, ExecError> {
        Ok(lock(&self.state).open.clone())
    }

    async fn open_only(&self, _: &Path, _: &str, server: &str, _: Duration) -> Result<(), ExecError> {
        for (name, open) in &mut lock(&self.state).open {
            *open = name == server;
        }
        Ok(())
    }

    async fn close_all(&self, _: &Path, _: &str, _: Duration) -> Result<(), ExecError> {
        lock(&self.state).open.values_mut().for_each(|open| *open = false);
        Ok(())
    }
}

// ---- the coordinator --------------------------------------------------------------------------------------------

#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Policy {
    Silent,
    Lease(u64),
    Sole(u64),
}

#[derive(Debug)]
struct CoordinatorState {
    policy: Policy,
    requests: Vec<v1::LeaseRequest>,
    heard: Vec<v1::from_agent::Body>,
    /// What every new session is told first.
    desired: Option<v1::Desired>,
    acknowledges: bool,
    sessions: Vec<mpsc::Sender<Result<v1::ToAgent, Status>>>,
    leases: Vec<mpsc::Sender<Result<v1::LeaseReply, Status>>>,
}

#[derive(Debug, Clone)]
pub struct Coordinator {
    state: Arc<Mutex<CoordinatorState>>,
    tasks: Arc<Mutex<JoinSet<()>>>,
    address: SocketAddr,
    stop: CancellationToken,
}

impl Coordinator {
    pub async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let this = Self::at(listener.local_addr().expect("bound"));
        let (service, stop) = (this.clone(), this.stop.clone());
        lock(&this.tasks).spawn(async move {
            let incoming = tonic::transport::server::TcpIncoming::from(listener);
            let served = tonic::transport::Server::builder()
                .add_service(AgentSessionServer::new(service))
                .serve_with_incoming_shutdown(incoming, stop.cancelled());
            served.await.expect("served");
        });
        this
    }

    /// Served by whoever calls.
    pub fn at(address: SocketAddr) -> Self {
        let state = CoordinatorState {
            policy: Policy::Silent,
            requests: Vec::new(),
            heard: Vec::new(),
            desired: None,
            acknowledges: true,
            sessions: Vec::new(),
            leases: Vec::new(),
        };
        Self { state: Arc::new(Mutex::new(state)), tasks: Arc::default(), address, stop: CancellationToken::new() }
    }

    pub fn address(&self) -> String {
        self.address.to_string()
    }

    pub fn policy(&self, policy: Policy) {
        lock(&self.state).policy = policy;
    }

    pub fn acknowledge(&self, yes: bool) {
        lock(&self.state).acknowledges = yes;
    }

    /// Ends all sessions and lease streams.
    pub fn drop_all(&self) {
        let mut state = lock(&self.state);
        state.sessions.clear();
        state.leases.clear();
    }

    pub fn desire(&self, generation: u64, region: &str, index: u64, change: impl FnOnce(&mut v1::DesiredApp)) {
        let token = Some(v1::Token { incarnation: 1, index });
        let mut app = v1::DesiredApp {
            app: "shop".to_owned(),
            revision: 1,
            spec_yaml: SHOP.to_owned(),
            generation,
            active_region: region.to_owned(),
            held: false,
            lease_ends: true,
            token,
            routed: false,
            active_since: 0,
            first_generation: 0,
        };
        change(&mut app);
        let desired = v1::Desired { token, apps: vec![app] };
        lock(&self.state).desired = Some(desired.clone());
        self.say(v1::to_agent::Body::Desired(desired));
    }

    pub fn say(&self, body: v1::to_agent::Body) {
        lock(&self.state)
            .sessions
            .retain(|session| session.try_send(Ok(v1::ToAgent { body: Some(body.clone()) })).is_ok());
    }

    pub fn command(&self, operation: u64, index: u64, generation: u64, within: Duration, body: v1::command::Body) {
        self.say(v1::to_agent::Body::Command(v1::Command {
            id: Some(v1::CommandId { operation, step: 1, part: 0, attempt: 1 }),
            token: Some(v1::Token { incarnation: 1, index }),
            app: "shop".to_owned(),
            generation,
            within: within.try_into().ok(),
            body: Some(body),
        }));
    }

    pub fn sessions(&self) -> usize {
        lock(&self.state).sessions.iter().filter(|session| !session.is_closed()).count()
    }

    pub fn requests(&self) -> Vec<v1::LeaseRequest> {
        lock(&self.state).requests.clone()
    }

    pub fn heard(&self) -> Vec<v1::from_agent::Body> {
        lock(&self.state).heard.clone()
    }

    /// Results of an operation's command, as often as they were told.
    pub fn results(&self, operation: u64) -> Vec<v1::CommandResult> {
        let of = |body| if let v1::from_agent::Body::Outbox(item) = body { item.result } else { None };
        let mine = |result: &v1::CommandResult| result.id.as_ref().is_some_and(|id| id.operation == operation);
        self.heard().into_iter().filter_map(of).filter(mine).collect()
    }

    pub async fn result(&self, operation: u64) -> v1::CommandResult {
        eventually(&format!("a result of operation {operation}"), || self.results(operation).pop()).await
    }

    pub fn lease(&self) -> Option<v1::LeaseView> {
        self.heard().into_iter().rev().find_map(|body| {
            if let v1::from_agent::Body::Heartbeat(beat) = body { beat.leases.into_iter().next() } else { None }
        })
    }

    pub async fn lease_is(&self, state: v1::LeaseState) -> v1::LeaseView {
        eventually(&format!("a lease that is {state:?}"), || self.lease().filter(|lease| lease.state() == state)).await
    }
}

#[async_trait]
impl AgentSession for Coordinator {
    type SessionStream = ReceiverStream<Result<v1::ToAgent, Status>>;
    type LeasesStream = ReceiverStream<Result<v1::LeaseReply, Status>>;

    async fn session(
        &self,
        request: Request<Streaming<v1::FromAgent>>,
    ) -> Result<Response<Self::SessionStream>, Status> {
        let (to, out) = mpsc::channel(256);
        let mut from = request.into_inner();
        let state = Arc::clone(&self.state);
        let welcome = v1::Welcome { protocol: 1, heartbeat: Duration::from_millis(100).try_into().ok(), leads: true };
        to.try_send(Ok(v1::ToAgent { body: Some(v1::to_agent::Body::Welcome(welcome)) })).expect("room");
        {
            let mut state = lock(&state);
            if let Some(desired) = state.desired.clone() {
                let body = Some(v1::to_agent::Body::Desired(desired));
                to.try_send(Ok(v1::ToAgent { body })).expect("room");
            }
            state.sessions.push(to.clone());
        }
        let to = to.downgrade();
        lock(&self.tasks).spawn(async move {
            while let Ok(Some(message)) = from.message().await {
                let Some(body) = message.body else { continue };
                let ack = if let v1::from_agent::Body::Outbox(item) = &body { Some(item.number) } else { None };
                let acknowledges = {
                    let mut state = lock(&state);
                    state.heard.push(body);
                    state.acknowledges
                };
                if let (Some(number), true, Some(to)) = (ack, acknowledges, to.upgrade()) {
                    let body = Some(v1::to_agent::Body::Ack(v1::OutboxAck { number }));
                    drop(to.send(Ok(v1::ToAgent { body })).await);
                }
            }
        });
        Ok(Response::new(ReceiverStream::new(out)))
    }

    async fn leases(
        &self,
        request: Request<Streaming<v1::LeaseRequest>>,
    ) -> Result<Response<Self::LeasesStream>, Status> {
        let (to, out) = mpsc::channel(256);
        let mut from = request.into_inner();
        let state = Arc::clone(&self.state);
        lock(&state).leases.push(to.clone());
        let to = to.downgrade();
        lock(&self.tasks).spawn(async move {
            while let Ok(Some(request)) = from.message().await {
                let policy = {
                    let mut state = lock(&state);
                    state.requests.push(request.clone());
                    state.policy
                };
                let (generation, grant) = match policy {
                    Policy::Silent => continue,
                    Policy::Lease(generation) => (generation, v1::Grant { lease: LEASE.try_into().ok(), sole: false }),
                    Policy::Sole(generation) => (generation, v1::Grant { lease: None, sole: true }),
                };
                let answer = Some(v1::lease_reply::Answer::Grant(grant));
                let reply = v1::LeaseReply { app: request.app, number: request.number, generation, answer };
                if let Some(to) = to.upgrade() {
                    drop(to.send(Ok(reply)).await);
                }
            }
        });
        Ok(Response::new(ReceiverStream::new(out)))
    }
}

// ---- the agent --------------------------------------------------------------------------------------------------

#[derive(Debug)]
struct Plain;

impl Connect for Plain {
    fn channel(&self, address: &str) -> Channel {
        Channel::from_shared(format!("http://{address}")).expect("an address").connect_lazy()
    }
}

/// The machine's clock, with a boot id that a test can change.
#[derive(Debug)]
struct TestClock {
    system: SystemClock,
    boot: Arc<AtomicU64>,
}

impl Clock for TestClock {
    fn boot(&self) -> BootInstant {
        self.system.boot()
    }
    fn wall(&self) -> WallTime {
        self.system.wall()
    }
    fn boot_id(&self) -> BootId {
        BootId(format!("boot-{}", self.boot.load(Ordering::Relaxed)))
    }
}

pub struct Agent {
    dir: tempfile::TempDir,
    pub me: Me,
    coordinators: Vec<String>,
    /// What this host lets Holdfast touch, from the next start on.
    pub allowed: Allowed,
    host: Arc<Host>,
    boot: Arc<AtomicU64>,
    running: JoinSet<()>,
    cancel: CancellationToken,
}

impl Agent {
    pub async fn start(region: &str, host: &Arc<Host>, coordinator: &Coordinator) -> Self {
        let mut this = Self::prepared(region, host, coordinator);
        this.go();
        this
    }

    /// One that does not run yet.
    pub fn prepared(region: &str, host: &Arc<Host>, coordinator: &Coordinator) -> Self {
        let name = if region == "us-east" { "use-db1" } else { "usw-db1" };
        let me = Me { host: HostName::new(name).expect("a name"), region: RegionName::new(region).expect("a name") };
        Self {
            dir: tempfile::tempdir().expect("a folder"),
            me,
            coordinators: vec![coordinator.address()],
            allowed: Allowed::all_of(&holdfast_types::spec::parse("shop.yaml", SHOP).expect("a spec")),
            host: Arc::clone(host),
            boot: Arc::default(),
            running: JoinSet::new(),
            cancel: CancellationToken::new(),
        }
    }

    pub fn run_dir(&self) -> PathBuf {
        self.dir.path().join("run")
    }

    pub fn clock(&self) -> SharedClock {
        let system = SystemClock::new().expect("a boot id");
        Arc::new(TestClock { system, boot: Arc::clone(&self.boot) })
    }

    pub fn db(&self) -> Db {
        Db::open_inline(&self.dir.path().join("agent.db"), store::MIGRATIONS).expect("a database")
    }

    pub fn go(&mut self) {
        let (ready, _) = watch::channel(false);
        let parts = Parts {
            me: self.me.clone(),
            coordinators: self.coordinators.clone(),
            clock: self.clock(),
            connect: Arc::new(Plain),
            db: self.db(),
            executors: Arc::clone(&self.host) as Arc<dyn Executors>,
            allowed: Arc::new(self.allowed.clone()),
            troubles: watch::channel(Vec::new()).1,
            run_dir: self.run_dir(),
            seed: 7,
            instance: "one".to_owned(),
            renewal: None,
            measures: None,
            control: true,
            ready,
        };
        std::fs::create_dir_all(self.run_dir()).expect("a folder");
        self.cancel = CancellationToken::new();
        let cancel = self.cancel.clone();
        self.running.spawn(async move {
            holdfast_agent::run(parts, cancel).await.expect("ran until stopped");
        });
    }

    /// Stops it as systemd does.
    pub async fn stop(&mut self) {
        self.cancel.cancel();
        while let Some(ended) = self.running.join_next().await {
            ended.expect("no panic");
        }
    }

    /// Ends it in the middle of whatever it does.
    pub async fn kill(&mut self) {
        self.running.abort_all();
        while self.running.join_next().await.is_some() {}
    }

    /// The machine boots: `/run` is empty, and nothing runs that nobody starts.
    pub fn reboot(&self) {
        self.boot.fetch_add(1, Ordering::Relaxed);
        std::fs::remove_dir_all(self.run_dir()).expect("removed");
        self.host.change(|host| host.running = false);
    }
}
