//! Joining over TLS, and a certificate that is renewed while a session goes on.

mod doubles;

use std::{
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use doubles::{Coordinator, Host, eventually};
use holdfast_agent::{
    Me, Parts,
    config::{Config, Identity},
    connect::TlsConnect,
    join::{JoinError, join},
    renew::Renewal,
    store,
};
use holdfast_proto::v1::{
    self,
    agent_session_server::AgentSessionServer,
    enrol_server::{Enrol, EnrolServer},
};
use holdfast_shared::{
    clock::{SharedClock, SystemClock},
    db::Db,
    identity::Bearer,
    net::{TcpAccept, TcpDial},
    pki::{Ca, KeyAndCsr, Material},
    refusal::to_status,
    tls::{HotTls, HotTlsClient, incoming},
    token::JoinToken,
};
use holdfast_types::{ClusterId, HostName, RegionName, refusal::Reason};
use tokio::{sync::watch, task::JoinSet};
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};

/// Half of this, and the agent renews.
const LIFETIME: Duration = Duration::from_secs(6);

fn clock() -> SharedClock {
    Arc::new(SystemClock::new().expect("a boot id"))
}

fn agent() -> Bearer {
    let host = HostName::new("use-db1").expect("a name");
    Bearer::Agent { region: RegionName::new("us-east").expect("a name"), host }
}

struct Issuer {
    ca: Ca,
    cluster: ClusterId,
    serial: AtomicU64,
    token: Mutex<Option<String>>,
    renewed: AtomicU64,
}

impl Issuer {
    fn sign(&self, csr: &[u8], bearer: &Bearer, lifetime: Duration) -> Result<v1::Credentials, Status> {
        let serial = self.serial.fetch_add(1, Ordering::Relaxed);
        let now = clock().wall();
        let leaf = self.ca.sign_csr(csr, bearer, &self.cluster, serial, lifetime, now);
        let leaf = leaf.map_err(|e| Status::invalid_argument(e.to_string()))?;
        let crl = self.ca.crl(1, &[], now).map_err(|e| Status::internal(e.to_string()))?;
        let root = self.ca.certificate().to_vec();
        Ok(v1::Credentials { chain: vec![leaf.to_vec()], roots: vec![root], crls: vec![crl.to_vec()] })
    }

    fn material(&self, bearer: &Bearer) -> Material {
        let KeyAndCsr { key, csr } = KeyAndCsr::generate().expect("a key");
        let v1::Credentials { mut chain, roots, crls } =
            self.sign(&csr, bearer, Duration::from_secs(3_600)).expect("signed");
        // The first contact sees the CA beside the leaf: that is what the token pins.
        chain.extend(roots.clone());
        Material::from_der(key, chain, roots, crls)
    }
}

#[derive(Clone)]
struct Door(Arc<Issuer>);

#[async_trait]
impl Enrol for Door {
    async fn enrol(&self, request: Request<v1::EnrolRequest>) -> Result<Response<v1::EnrolReply>, Status> {
        let request = request.into_inner();
        let good = self.0.token.lock().expect("whole").take_if(|token| *token == request.token).is_some();
        if !good {
            return Err(to_status(Reason::BadToken, "this token is used up", vec![], vec![]));
        }
        let credentials = Some(self.0.sign(&request.csr, &agent(), LIFETIME)?);
        let (cluster, region) = (self.0.cluster.to_string(), "us-east".to_owned());
        Ok(Response::new(v1::EnrolReply { cluster, region, credentials }))
    }

    async fn redeem(&self, _: Request<v1::RedeemRequest>) -> Result<Response<v1::RedeemReply>, Status> {
        Err(Status::unimplemented("people do not come in here"))
    }

    async fn renew(&self, request: Request<v1::RenewRequest>) -> Result<Response<v1::RenewReply>, Status> {
        self.0.renewed.fetch_add(1, Ordering::Relaxed);
        let credentials = Some(self.0.sign(&request.into_inner().csr, &agent(), LIFETIME)?);
        Ok(Response::new(v1::RenewReply { credentials }))
    }
}

async fn serve(cancel: &CancellationToken, tasks: &mut JoinSet<()>) -> (Arc<Issuer>, Coordinator, JoinToken) {
    let cluster = ClusterId::from_random([3; 16]);
    let ca = Ca::generate(&cluster, clock().wall()).expect("a CA");
    let token = JoinToken::new(RegionName::new("us-east").expect("a name"), [5; 25], &ca.pin());
    let issuer = Arc::new(Issuer {
        ca,
        cluster,
        serial: AtomicU64::new(1),
        token: Mutex::new(Some(token.to_string())),
        renewed: AtomicU64::new(0),
    });
    let hot = HotTls::new(&issuer.material(&Bearer::Coordinator { node: 1 }), clock()).expect("usable");
    let accept = TcpAccept::bind("127.0.0.1:0").await.expect("a port");
    let coordinator = Coordinator::at(accept.local_address().expect("bound"));
    let connections = incoming(hot, Box::new(accept), cancel.clone());
    let server = tonic::transport::Server::builder()
        .add_service(AgentSessionServer::new(coordinator.clone()))
        .add_service(EnrolServer::new(Door(Arc::clone(&issuer))));
    let stop = cancel.clone();
    tasks.spawn(async move {
        server.serve_with_incoming_shutdown(connections, stop.cancelled_owned()).await.expect("served");
    });
    (issuer, coordinator, token)
}

fn config(folder: &Path) -> Config {
    let text = format!("state_dir = \"{0}/state\"\nrun_dir = \"{0}/run\"\n", folder.display());
    Config::parse(Path::new("agent.toml"), &text).expect("a configuration")
}

#[tokio::test]
async fn a_host_joins_once_and_renews_its_certificate_without_dropping_its_session() {
    let (cancel, mut tasks) = (CancellationToken::new(), JoinSet::new());
    let (issuer, coordinator, token) = serve(&cancel, &mut tasks).await;
    let dir = tempfile::tempdir().expect("a folder");
    let config = config(dir.path());
    let host = HostName::new("use-db1").expect("a name");
    let joined = join(&config, &coordinator.address(), &token, host.clone(), Arc::new(TcpDial), clock()).await;
    let identity = joined.expect("joined");
    assert_eq!(Identity::load(config.state_dir()).expect("kept"), identity);
    let first = Material::load_dir(&config.tls_dir()).expect("kept").identity(clock().wall()).expect("names an agent");
    assert_eq!(first.bearer, agent());
    // The same token once more.
    let again = join(&config, &coordinator.address(), &token, host, Arc::new(TcpDial), clock()).await;
    assert!(matches!(&again, Err(JoinError::Refused { what, .. }) if what == "this token is used up"), "{again:?}");

    let material = Material::load_dir(&config.tls_dir()).expect("kept");
    let tls = HotTlsClient::new(&material, clock()).expect("usable");
    std::fs::create_dir_all(config.run_dir()).expect("a folder");
    let (ready, _) = watch::channel(false);
    let parts = Parts {
        me: Me { host: HostName::new("use-db1").expect("a name"), region: RegionName::new("us-east").expect("a name") },
        coordinators: identity.coordinators.clone(),
        clock: clock(),
        connect: Arc::new(TlsConnect { tls: Arc::clone(&tls), dial: Arc::new(TcpDial) }),
        db: Db::open(&config.state_dir().join("agent.db"), store::MIGRATIONS).expect("a database"),
        executors: Host::primary(),
        allowed: Arc::default(),
        troubles: watch::channel(Vec::new()).1,
        run_dir: config.run_dir().to_owned(),
        seed: 1,
        instance: "one".to_owned(),
        renewal: Some(Renewal { tls, folder: config.tls_dir(), identity }),
        measures: None,
        control: false,
        ready,
    };
    let stop = cancel.child_token();
    let until = stop.clone();
    tasks.spawn(async move { holdfast_agent::run(parts, until).await.expect("ran until stopped") });
    eventually("a session", || (coordinator.sessions() == 1).then_some(())).await;
    eventually("a renewal", || (issuer.renewed.load(Ordering::Relaxed) > 0).then_some(())).await;
    let renewed = eventually("a new certificate", || {
        let found = Material::load_dir(&config.tls_dir()).ok()?.identity(clock().wall()).ok()?;
        (found.serial != first.serial).then_some(found)
    })
    .await;
    assert!(renewed.not_after > first.not_after);
    let hellos = || coordinator.heard().iter().filter(|body| matches!(body, v1::from_agent::Body::Hello(_))).count();
    eventually("the first certificate ended", || (clock().wall() > first.not_after).then_some(())).await;
    assert_eq!((coordinator.sessions(), hellos()), (1, 1), "the session went on");
    // A session that breaks now begins with the new certificate.
    coordinator.drop_all();
    eventually("a second session", || (hellos() == 2).then_some(())).await;
    cancel.cancel();
    while let Some(ended) = tasks.join_next().await {
        ended.expect("no panic");
    }
}

#[tokio::test]
async fn a_host_talks_to_nobody_whose_ca_its_token_does_not_pin() {
    let (cancel, mut tasks) = (CancellationToken::new(), JoinSet::new());
    let (_, coordinator, _) = serve(&cancel, &mut tasks).await;
    let other = Ca::generate(&ClusterId::from_random([9; 16]), clock().wall()).expect("a CA");
    let token = JoinToken::new(RegionName::new("us-east").expect("a name"), [5; 25], &other.pin());
    let dir = tempfile::tempdir().expect("a folder");
    let config = config(dir.path());
    let host = HostName::new("use-db1").expect("a name");
    let refused = join(&config, &coordinator.address(), &token, host, Arc::new(TcpDial), clock()).await;
    let text = refused.expect_err("refused").to_string();
    assert!(text.contains("the coordinator belongs to another cluster"), "{text}");
    assert!(Identity::load(config.state_dir()).is_err(), "nothing is kept");
    cancel.cancel();
    while let Some(ended) = tasks.join_next().await {
        ended.expect("no panic");
    }
}
