//! The real command over real mutual TLS: contexts, keys, the certificate that is refused, the coordinator that is away.

use std::{path::Path, sync::Arc, time::Duration};

use holdfast_proto::v1::{
    self,
    fleet_server::{Fleet, FleetServer},
};
use holdfast_shared::{
    clock::{Clock as _, SystemClock},
    contexts::{Context, Contexts},
    identity::Bearer,
    net::TcpAccept,
    pki::{Ca, KeyAndCsr, Material},
    tls::{HotTls, incoming},
};
use holdfast_types::{ClusterId, ContextName, OperatorName};
use tokio::{process::Command, task::JoinSet};
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};

struct Small;

#[tonic::async_trait]
impl Fleet for Small {
    async fn status(&self, _: Request<v1::StatusRequest>) -> Result<Response<v1::StatusReply>, Status> {
        let reply = v1::StatusReply { cluster: "acme".into(), leader: "c1".into(), coordinators: 1, ..<_>::default() };
        Ok(Response::new(reply))
    }
    async fn hosts(&self, _: Request<v1::HostsRequest>) -> Result<Response<v1::HostsReply>, Status> {
        Ok(Response::new(v1::HostsReply::default()))
    }
    async fn regions(&self, _: Request<v1::RegionsRequest>) -> Result<Response<v1::RegionsReply>, Status> {
        Ok(Response::new(v1::RegionsReply::default()))
    }
    async fn why(&self, _: Request<v1::WhyRequest>) -> Result<Response<v1::WhyReply>, Status> {
        Err(Status::permission_denied("viewers only look"))
    }
}

struct Cluster {
    id: ClusterId,
    ca: Ca,
    clock: Arc<SystemClock>,
}

impl Cluster {
    fn new() -> Self {
        let clock = Arc::new(SystemClock::new().expect("a boot id"));
        let id = ClusterId::from_random([5; 16]);
        Self { ca: Ca::generate(&id, clock.wall()).expect("a CA"), id, clock }
    }

    fn material(&self, bearer: &Bearer, serial: u64, revoked: &[u64]) -> Material {
        let now = self.clock.wall();
        let KeyAndCsr { key, csr } = KeyAndCsr::generate().expect("a key");
        let leaf = self.ca.sign_csr(&csr, bearer, &self.id, serial, Duration::from_secs(3_600), now).expect("signed");
        let crls = vec![self.ca.crl(1, revoked, now).expect("a list")];
        Material { chain: vec![leaf], key, roots: vec![self.ca.certificate().clone()], crls }
    }

    /// A folder with one context, the certificate of anna.
    fn home(&self, addresses: Vec<String>) -> tempfile::TempDir {
        let home = tempfile::tempdir().expect("a folder");
        let mut contexts = Contexts::load(&home.path().join(".config/holdfast/contexts.toml")).expect("none yet");
        let name = ContextName::new("prod").expect("a name");
        let context = Context { identity: Contexts::identity_for(&name), name, cluster: self.id.clone(), addresses };
        let anna = Bearer::Operator { name: OperatorName::new("anna").expect("a name") };
        self.material(&anna, 9, &[]).save_dir(&contexts.identity_folder(&context)).expect("saved");
        contexts.put(context).expect("added");
        contexts.save().expect("saved");
        home
    }

    async fn serve(&self, tasks: &mut JoinSet<()>, revoked: &[u64]) -> String {
        let accept = TcpAccept::bind("127.0.0.1:0").await.expect("a free port");
        let address = accept.local_address().expect("an address").to_string();
        let material = self.material(&Bearer::Coordinator { node: 1 }, 2, revoked);
        let hot = HotTls::new(&material, self.clock.clone()).expect("good material");
        let connections = incoming(hot, Box::new(accept), CancellationToken::new());
        tasks.spawn(async move {
            let server = tonic::transport::Server::builder().add_service(FleetServer::new(Small));
            server.serve_with_incoming(connections).await.expect("served to the end");
        });
        address
    }
}

async fn holdfast(home: &Path, args: &[&str]) -> (i32, String, String) {
    let command = Command::new(env!("CARGO_BIN_EXE_holdfast"))
        .args(args)
        .env_clear()
        .env("HOME", home)
        .kill_on_drop(true)
        .output();
    let ended = tokio::time::timeout(Duration::from_secs(30), command).await.expect("it ends").expect("it starts");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (ended.status.code().unwrap_or(-1), text(&ended.stdout), text(&ended.stderr))
}

#[tokio::test]
async fn the_second_address_answers_and_the_context_says_who_asks() {
    let (cluster, mut tasks) = (Cluster::new(), JoinSet::new());
    let address = cluster.serve(&mut tasks, &[]).await;
    let home = cluster.home(vec!["127.0.0.1:1".into(), address]);
    let (code, out, err) = holdfast(home.path(), &["status"]).await;
    assert_eq!((code, err.as_str()), (0, ""));
    assert!(out.starts_with("acme · leader c1, alone"), "{out}");
    let (code, out, _) = holdfast(home.path(), &["context", "show"]).await;
    assert!(code == 0 && out.contains("operator anna, certificate for another "), "{out}");
    let (code, out, _) = holdfast(home.path(), &["context", "list"]).await;
    assert!(code == 0 && out.contains("→       prod"), "{out}");
}

#[tokio::test]
async fn a_revoked_or_unfit_certificate_ends_with_9() {
    let (cluster, mut tasks) = (Cluster::new(), JoinSet::new());
    let home = cluster.home(vec![cluster.serve(&mut tasks, &[9]).await]);
    for command in [&["status"][..], &["operations", "abort", "1", "--reason", "x"]] {
        let (code, _, err) = holdfast(home.path(), command).await;
        assert_eq!(code, 9, "{err}");
        assert!(err.contains("prod does not take this certificate") && err.contains("revoked"), "{err}");
    }
    let home = cluster.home(vec![cluster.serve(&mut tasks, &[]).await]);
    let (code, _, err) = holdfast(home.path(), &["why", "shop"]).await;
    assert_eq!(code, 9, "{err}");
    assert!(err.contains("viewers only look"), "{err}");
}

#[tokio::test]
async fn each_address_that_cannot_be_reached_is_named_with_its_reason() {
    let (cluster, mut tasks) = (Cluster::new(), JoinSet::new());
    let other = Cluster::new().serve(&mut tasks, &[]).await;
    let home = cluster.home(vec!["127.0.0.1:1".into(), other.clone()]);
    let (code, out, err) = holdfast(home.path(), &["failover", "shop", "--to", "us-west", "-y"]).await;
    assert_eq!((code, out.as_str()), (1, ""), "{err}");
    assert!(err.contains("127.0.0.1:1: ") && err.contains("onnection refused"), "{err}");
    assert!(err.contains(&format!("{other}: ")) && err.contains("is this another cluster?"), "{err}");
    assert!(err.ends_with("nothing was changed (exit 1)\n"), "{err}");
}
