//! The services as operators call them, on a real replicated state of one. Hosts are played: they hold a session and
//! answer looks.

use std::{sync::Arc, time::Duration};

use holdfast_coordinator_core::{
    change::{EndOperation, Kind, SetPromotable, StartOperation},
    plan::{self, FailoverRequest},
    records::OperationState,
    state::State,
};
use holdfast_proto::v1::{
    self, apps_server::Apps, certificates_server::Certificates, enrol_server::Enrol, fleet_server::Fleet as _,
    operations_server::Operations, tokens_server::Tokens,
};
use holdfast_shared::{
    clock::{SharedClock, SystemClock},
    db::Db,
    identity::{Bearer, PeerIdentity},
    pki::{Ca, KeyAndCsr, Material},
    refusal::from_status,
    tls::{HotTls, Peer},
};
use holdfast_types::{ClusterId, HostName, WallTime, refusal::Reason};
use tempfile::TempDir;
use tokio::{task::JoinSet, time::timeout};
use tokio_stream::StreamExt as _;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tonic::{Request, Status};

mod agents;
mod health;
mod people;
mod strangers;
mod surface;

use super::{Api, RefusedCalls, samples};
use crate::{
    config::{self, Config},
    consensus::{Consensus as _, MIGRATIONS, RaftConfig, RaftConsensus},
    decide::Decider,
    fleet::Fleet,
    init,
    issue::Issuer,
    leases::Leases,
    readiness::Readiness,
    replica::{COORDINATOR, Replica},
    rounds::{Paces, Watch},
};

/// A cluster of one elects itself within seconds; the rest takes milliseconds.
const WITHIN: Duration = Duration::from_secs(60);

/// The run of a played host's agent.
const PLAYED: &str = "played";

struct World {
    api: Api,
    cluster: ClusterId,
    consensus: Arc<RaftConsensus>,
    /// Ends with the world, as the played hosts do.
    hosts: JoinSet<()>,
    _folder: TempDir,
}

impl World {
    async fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let clock: SharedClock = Arc::new(SystemClock::new().expect("a clock"));
        let at = |name: &str| folder.path().join(name);
        let config = Config {
            state_dir: at("state"),
            listen: "127.0.0.1:7443".to_owned(),
            address: "c1.example:7443".to_owned(),
            metrics: config::Metrics::default(),
        };
        let paths = init::Paths::of(&config);
        let request = init::Request {
            cluster: "acme".parse().expect("a name"),
            config,
            config_file: at("coordinator.toml"),
            operator: "ada".parse().expect("a name"),
            contexts_file: at("contexts.toml"),
        };
        let cluster = init::init(request, clock.clone(), [7; 16]).await.expect("a cluster");
        let db = Db::open(&paths.database, MIGRATIONS).expect("a database");
        let (consensus, state) = RaftConsensus::start::<State>(RaftConfig::new(1, db)).await.expect("consensus");
        consensus.wait_to_lead(WITHIN).await.expect("a cluster of one leads");
        let consensus = Arc::new(consensus);
        let replica = Replica::new(consensus.clone(), state, clock.clone());
        let ca = Ca::load(&paths.ca).expect("a CA");
        let mut own = Material::load_dir(&paths.identity).expect("an identity");
        own.crls = vec![ca.crl(1, &[], clock.wall()).expect("a list")];
        let hot = HotTls::new(&own, clock.clone()).expect("material that works");
        let fleet = Fleet::default();
        let watch = Watch::new(replica.clone(), fleet.clone(), Paces::default(), clock.clone());
        watch.begin_leadership(clock.boot());
        let api = Api {
            leases: Leases::new(replica.clone(), fleet.clone(), clock.clone()),
            issuer: Issuer::new(Arc::new(ca), cluster.clone(), replica.clone(), clock.clone(), 1, paths.identity, own),
            decider: Decider::new(replica.clone(), watch.clone(), clock.clone()),
            refused: RefusedCalls::default(),
            metrics: crate::metrics::Metrics::default(),
            readiness: Readiness::new(replica.clone(), fleet.clone(), watch.clone(), clock.clone()),
            replica,
            fleet,
            watch,
            hot,
            clock,
            coordinator: "c1".to_owned(),
            address: "c1.example:7443".to_owned(),
            tasks: TaskTracker::new(),
            cancel: CancellationToken::new(),
        };
        Self { api, cluster, consensus, hosts: JoinSet::new(), _folder: folder }
    }

    /// A call by this bearer.
    fn by<T>(&self, bearer: Bearer, message: T) -> Request<T> {
        let identity = PeerIdentity {
            cluster: self.cluster.clone(),
            bearer,
            serial: "01".to_owned(),
            not_after: WallTime(i64::MAX),
            expired: false,
        };
        let mut request = Request::new(message);
        request.extensions_mut().insert(Arc::new(Peer { address: "10.0.0.9:1".to_owned(), identity: Some(identity) }));
        request
    }

    fn ask<T>(&self, message: T) -> Request<T> {
        self.by(Bearer::Operator { name: "ada".parse().expect("a name") }, message)
    }

    async fn enrol(&self, region: &str, hosts: &[&str]) {
        let uses = u32::try_from(hosts.len()).expect("few");
        let create = v1::CreateTokenRequest { region: region.to_owned(), uses, ..<_>::default() };
        let made = Tokens::create(&self.api, self.ask(create)).await.expect("a token").into_inner();
        for host in hosts {
            let csr = KeyAndCsr::generate().expect("a key").csr;
            let (token, host, version) = (made.token.clone(), (*host).to_owned(), "0.1.0".to_owned());
            let request = v1::EnrolRequest { token, host, csr, version };
            self.api.issuer.enrol(Request::new(request)).await.expect("enrolled");
        }
    }

    /// The host holds a session, and answers every look with this.
    fn plays(&mut self, host: &str, region: &str, database: Option<v1::DatabaseEvidence>) {
        let host: HostName = host.parse().expect("a name");
        let (version, instance) = ("0.1.0".to_owned(), PLAYED.to_owned());
        let hello = v1::Hello { version, instance, ..<_>::default() };
        let now = (self.api.clock.boot(), self.api.clock.wall());
        let region = region.parse().expect("a name");
        let (_, mut orders) = self.api.fleet.enter(&host, &region, &hello, "10.0.0.1:1", now, CancellationToken::new());
        let fleet = self.api.fleet.clone();
        self.hosts.spawn(async move {
            while let Some(order) = orders.recv().await {
                if let Some(v1::to_agent::Body::Look(look)) = order.body {
                    let writers = database.iter().map(|seen| v1::WriterFinding {
                        writer: "pg".to_owned(),
                        database: Some(seen.clone()),
                        text: String::new(),
                    });
                    let reply = v1::LookReply { number: look.number, writers: writers.collect(), ..<_>::default() };
                    fleet.looked(&host, reply);
                }
            }
        });
    }

    async fn plan(&self) -> v1::PlanReply {
        let request = v1::PlanRequest { file: "shop.yaml".to_owned(), spec_yaml: samples::FAST.to_owned() };
        Apps::plan(&self.api, self.ask(request)).await.expect("a plan").into_inner()
    }

    async fn apply(&self, spec: &str, if_revision: Option<u64>) -> Result<v1::ApplyReply, Status> {
        let request = v1::ApplyRequest { file: "shop.yaml".to_owned(), spec_yaml: spec.to_owned(), if_revision };
        Ok(Apps::apply(&self.api, self.ask(request)).await?.into_inner())
    }

    /// `shop` is applied, its four hosts are there.
    async fn with_shop() -> Self {
        let mut world = Self::new().await;
        world.enrol("us-east", &["use-db1", "use-web1"]).await;
        world.enrol("us-west", &["usw-db1", "usw-web1"]).await;
        world.plays("use-db1", "us-east", Some(primary()));
        world.plays("use-web1", "us-east", None);
        world.plays("usw-db1", "us-west", Some(standby()));
        world.plays("usw-web1", "us-west", None);
        world.apply(samples::FAST, Some(0)).await.expect("applied");
        world
    }

    async fn end(mut self) {
        self.api.cancel.cancel();
        self.api.tasks.close();
        timeout(WITHIN, self.api.tasks.wait()).await.expect("every stream ends");
        self.hosts.shutdown().await;
        self.consensus.shutdown().await;
    }
}

fn primary() -> v1::DatabaseEvidence {
    v1::DatabaseEvidence {
        running: true,
        accepts_writes: true,
        system_identifier: 7,
        timeline: 1,
        lsn: 0x300_0148,
        ..<_>::default()
    }
}

fn standby() -> v1::DatabaseEvidence {
    v1::DatabaseEvidence { in_recovery: true, accepts_writes: false, streaming: true, ..primary() }
}

fn reason(status: &Status) -> Option<Reason> {
    Reason::from_number(from_status(status)?.reason)
}

fn refused(reply: &v1::PlanReply) -> Option<Reason> {
    Reason::from_number(reply.refusal.as_ref()?.reason)
}

#[tokio::test]
async fn a_first_apply_looks_before_it_acts_and_a_second_one_changes_nothing() {
    let mut world = World::new().await;
    let plan = world.plan().await;
    assert_eq!((refused(&plan), plan.revision, &*plan.active_region), (Some(Reason::UnknownHost), 0, ""));
    world.enrol("us-east", &["use-db1", "use-web1"]).await;
    world.enrol("us-west", &["usw-db1", "usw-web1"]).await;
    world.plays("use-db1", "us-east", Some(primary()));
    let plan = world.plan().await;
    assert_eq!(refused(&plan), Some(Reason::HostAbsent), "usw-db1 might be a second primary");
    assert!(plan.found[1].contains("usw-db1 (us-west): has no session"), "{:?}", plan.found);
    world.plays("usw-db1", "us-west", Some(primary()));
    assert_eq!(refused(&world.plan().await), Some(Reason::NoSingleWriter));
    let status = world.apply(samples::FAST, None).await.expect_err("two primaries");
    assert_eq!(reason(&status), Some(Reason::NoSingleWriter));
    world.plays("usw-db1", "us-west", Some(standby()));
    let plan = world.plan().await;
    assert_eq!((refused(&plan), &*plan.active_region), (None, "us-east"));
    assert!(plan.diff.contains(&"+ app: shop".to_owned()) && !plan.arithmetic.is_empty(), "{plan:?}");
    assert!(plan.notes.iter().any(|n| n.starts_with("use-web1 (us-east) has no session")), "{:?}", plan.notes);

    let status = world.apply(samples::FAST, Some(3)).await.expect_err("it does not exist");
    assert_eq!(reason(&status), Some(Reason::StaleRevision));
    let status = world.apply("spec: 1\napp: X\nfoo: bar\n", None).await.expect_err("no spec");
    assert_eq!(reason(&status), Some(Reason::BadSpec));
    let applied = world.apply(samples::FAST, Some(0)).await.expect("applied");
    assert_eq!(
        (applied.revision, applied.changed, &*applied.active_region, applied.generation),
        (1, true, "us-east", 1)
    );
    let again = world.apply(samples::FAST, Some(1)).await.expect("applied again");
    assert_eq!((again.revision, again.changed, again.generation), (1, false, 1));
    let assist = samples::FAST.replace("mode: automatic", "mode: assist");
    let changed = world.apply(&assist, Some(1)).await.expect("changed");
    assert_eq!((changed.revision, changed.changed, changed.generation), (2, true, 1), "no move, no generation");
    world.end().await;
}

#[tokio::test]
async fn operators_see_apps_hosts_and_evidence_and_strangers_see_nothing() {
    let world = World::with_shop().await;
    world.api.watch.turn();
    let api = &world.api;
    let status = api.status(world.ask(v1::StatusRequest {})).await.expect("a status").into_inner();
    assert_eq!((&*status.cluster, &*status.leader, status.apps.len()), ("acme", "c1", 1));
    assert_eq!(
        (&*status.apps[0].app, &*status.apps[0].active_region, &*status.apps[0].health),
        ("shop", "us-east", "unknown")
    );
    assert_eq!(status.regions.iter().map(|r| (r.hosts_live, r.hosts)).collect::<Vec<_>>(), [(2, 2), (2, 2)]);
    assert_eq!(status.attention, []);
    let hosts = api.hosts(world.ask(v1::HostsRequest {})).await.expect("hosts").into_inner().hosts;
    assert_eq!((&*hosts[0].host, hosts[0].live, &*hosts[0].roles[0]), ("use-db1", true, "shop db"));
    assert!(hosts.iter().all(|h| h.certificate_until.is_some() && h.version == "0.1.0"));
    let why = api.why(world.ask(v1::WhyRequest { app: "shop".to_owned() })).await.expect("evidence").into_inner();
    assert_eq!(why.regions.iter().map(|r| &*r.region).collect::<Vec<_>>(), ["us-east", "us-west"]);
    assert!(!why.gate.is_empty() && !why.regions[0].signals.is_empty(), "{why:?}");
    let unknown = api.why(world.ask(v1::WhyRequest { app: "shpo".to_owned() })).await.expect_err("a typing error");
    assert_eq!(
        from_status(&unknown).map(|r| (r.what, r.lines[0].text.clone())),
        Some(("no app shpo".to_owned(), "shop".to_owned()))
    );
    let agent = Bearer::Agent { region: "us-east".parse().unwrap(), host: "use-db1".parse().unwrap() };
    let stranger = api.status(world.by(agent, v1::StatusRequest {})).await.expect_err("no operator");
    assert_eq!(reason(&stranger), Some(Reason::NotPermitted));
    world.end().await;
}

#[tokio::test]
async fn an_operation_is_watched_from_its_first_event_to_its_end() {
    let world = World::with_shop().await;
    let api = &world.api;
    let commit = |kind| api.replica.propose(COORDINATOR, kind);
    let regions = vec!["us-west".to_owned()];
    commit(Kind::SetPromotable(SetPromotable { app: "shop".to_owned(), generation: 1, regions }))
        .await
        .expect("promotable");
    let (_, app) = api.app("shop").expect("applied");
    let planned =
        plan::failover(&app, &FailoverRequest { to: None, able: None, reason: "a test".to_owned() }).expect("a plan");
    let start = StartOperation { operation: Some(planned), generation: 1, revision: 1 };
    let number = commit(Kind::StartOperation(start)).await.expect("begun").number;

    let watched = Operations::watch(api, world.ask(v1::WatchOperationRequest { number })).await.expect("a stream");
    let mut events = watched.into_inner();
    let mut next = async || timeout(WITHIN, events.next()).await.expect("in time");
    let first = next().await.expect("an event").expect("no refusal");
    let op = first.operation.expect("the operation");
    assert_eq!((&*op.state, op.abortable, &*first.text), ("running", true, ""));
    let abort = v1::AbortRequest { number, reason: "a mistake".to_owned() };
    let aborted = Operations::abort(api, world.ask(abort)).await.expect("taken").into_inner();
    assert!(!aborted.operation.expect("the operation").abortable);
    let second = next().await.expect("an event").expect("no refusal");
    assert_eq!(second.text, "abort asked for");
    let text = "aborted by request; nothing was changed".to_owned();
    let end = EndOperation { operation: number, state: OperationState::Failed.into(), text };
    commit(Kind::EndOperation(end)).await.expect("ended");
    let last = next().await.expect("an event").expect("no refusal");
    assert_eq!(last.operation.map(|op| op.state).as_deref(), Some("failed"));
    assert_eq!(last.text, "ended failed: aborted by request; nothing was changed");
    assert!(next().await.is_none(), "nothing follows the end");

    let status =
        Operations::abort(api, world.ask(v1::AbortRequest { number, ..<_>::default() })).await.expect_err("over");
    assert_eq!(reason(&status), Some(Reason::OperationEnded));
    let status = Operations::get(api, world.ask(v1::GetOperationRequest { number: 9 })).await.expect_err("unknown");
    assert_eq!(reason(&status), Some(Reason::UnknownOperation));
    let request = v1::FailoverRequest { app: "shop".to_owned(), to_region: "eu-1".to_owned(), ..<_>::default() };
    let status = Operations::failover(api, world.ask(request)).await.expect_err("no such region");
    assert_eq!(reason(&status), Some(Reason::UnknownRegion));
    // A stream that nobody reads to its end goes when the coordinator does.
    world.end().await;
}

#[tokio::test]
async fn a_revoked_host_loses_its_session_and_its_certificates_at_once() {
    let world = World::with_shop().await;
    let api = &world.api;
    let revoke = |host: &str| {
        let request = v1::RevokeHostRequest { host: host.to_owned(), reason: "stolen".to_owned() };
        Certificates::revoke_host(api, world.ask(request))
    };
    let revoked = revoke("usw-web1").await.expect("revoked").into_inner();
    assert_eq!((revoked.certificates, revoked.sessions_cut), (1, 1));
    let hosts = api.hosts(world.ask(v1::HostsRequest {})).await.expect("hosts").into_inner().hosts;
    assert_eq!(hosts.iter().find(|h| h.host == "usw-web1").map(|h| &*h.quarantine), Some("revoked: stolen"));
    assert_eq!(reason(&revoke("usw-web9").await.expect_err("unknown")), Some(Reason::UnknownHost));

    let create = v1::CreateTokenRequest { region: "us-west".to_owned(), ..<_>::default() };
    let made = Tokens::create(api, world.ask(create)).await.expect("a token").into_inner();
    assert_eq!(made.join, format!("sudo holdfast-agent join c1.example:7443 --token {}", made.token));
    let listed = Tokens::list(api, world.ask(v1::ListTokensRequest {})).await.expect("tokens").into_inner().tokens;
    assert_eq!(
        listed.iter().map(|t| (&*t.id, t.uses_left, &*t.created_by)).collect::<Vec<_>>(),
        [(&*made.id, 1, "ada")]
    );
    let back = || Tokens::revoke(api, world.ask(v1::RevokeTokenRequest { id: made.id.clone() }));
    back().await.expect("taken back");
    assert_eq!(reason(&back().await.expect_err("no longer there")), Some(Reason::BadToken));
    world.end().await;
}
