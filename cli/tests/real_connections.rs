//! The real command over real mutual TLS: contexts, keys, the certificate that is refused, the coordinator that is away.

use std::{
    fs,
    path::Path,
    sync::{Arc, Mutex},
    time::Duration,
};

use holdfast_proto::v1::{
    self,
    enrol_server::{Enrol, EnrolServer},
    fleet_server::{Fleet, FleetServer},
};
use holdfast_shared::{
    clock::{Clock as _, SystemClock},
    contexts::{Context, Contexts},
    identity::Bearer,
    net::TcpAccept,
    pki::{Ca, KeyAndCsr, Material},
    refusal,
    tls::{HotTls, incoming},
    token::PersonToken,
};
use holdfast_types::{ClusterId, ContextName, OperatorName, refusal::Reason};
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
    async fn readiness(&self, _: Request<v1::ReadinessRequest>) -> Result<Response<v1::ReadinessReply>, Status> {
        Ok(Response::new(v1::ReadinessReply::default()))
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

/// Tokens that were spent, and for which key.
type Spent = Arc<Mutex<Vec<(String, Vec<u8>)>>>;

/// Lets people in by their tokens.
struct Door {
    cluster: Arc<Cluster>,
    /// Name in the certificates that it gives.
    gives: &'static str,
    spent: Spent,
    /// The first answer never arrives.
    loses: bool,
}

#[tonic::async_trait]
impl Enrol for Door {
    async fn redeem(&self, request: Request<v1::RedeemRequest>) -> Result<Response<v1::RedeemReply>, Status> {
        let v1::RedeemRequest { token, csr, .. } = request.into_inner();
        let first = {
            let mut spent = self.spent.lock().expect("no test panics while it holds this");
            if spent.iter().any(|(known, key)| *known == token && *key != csr) {
                let what = "this token is unknown, used up or taken back";
                return Err(refusal::to_status(Reason::BadToken, what, vec![], vec![]));
            }
            spent.push((token, csr.clone()));
            spent.len() == 1
        };
        if self.loses && first {
            return Err(Status::unavailable("connection reset"));
        }
        let now = self.cluster.clock.wall();
        let bearer = Bearer::Operator { name: OperatorName::new(self.gives).expect("a name") };
        let leaf = self.cluster.ca.sign_csr(&csr, &bearer, &self.cluster.id, 9, Duration::from_secs(3_600), now);
        let credentials = v1::Credentials {
            chain: vec![leaf.expect("signed").to_vec()],
            roots: vec![self.cluster.ca.certificate().to_vec()],
            crls: vec![self.cluster.ca.crl(1, &[], now).expect("a list").to_vec()],
        };
        Ok(Response::new(v1::RedeemReply {
            cluster: self.cluster.id.to_string(),
            cluster_name: "acme".into(),
            operator: self.gives.into(),
            role: "viewer".into(),
            credentials: Some(credentials),
        }))
    }
    async fn enrol(&self, _: Request<v1::EnrolRequest>) -> Result<Response<v1::EnrolReply>, Status> {
        Err(Status::unimplemented("hosts do not come here"))
    }
    async fn renew(&self, _: Request<v1::RenewRequest>) -> Result<Response<v1::RenewReply>, Status> {
        Err(Status::unimplemented("nobody renews here"))
    }
}

impl Cluster {
    fn token(&self, random: u8) -> String {
        PersonToken::new(OperatorName::new("ada").expect("a name"), [random; 25], &self.ca.pin()).to_string()
    }

    /// As [`Cluster::serve`], with somebody at the door; also gives what was spent there.
    async fn serve_door(
        self: &Arc<Self>,
        tasks: &mut JoinSet<()>,
        gives: &'static str,
        loses: bool,
    ) -> (String, Spent) {
        let accept = TcpAccept::bind("127.0.0.1:0").await.expect("a free port");
        let address = accept.local_address().expect("an address").to_string();
        let hot = HotTls::new(&self.material(&Bearer::Coordinator { node: 1 }, 2, &[]), self.clock.clone());
        let connections = incoming(hot.expect("good material"), Box::new(accept), CancellationToken::new());
        let spent = Spent::default();
        let door = Door { cluster: Arc::clone(self), gives, spent: Arc::clone(&spent), loses };
        tasks.spawn(async move {
            let server = tonic::transport::Server::builder().add_service(FleetServer::new(Small));
            let server = server.add_service(EnrolServer::new(door));
            server.serve_with_incoming(connections).await.expect("served to the end");
        });
        (address, spent)
    }
}

fn entries(folder: &Path) -> Vec<String> {
    let Ok(found) = fs::read_dir(folder) else { return Vec::new() };
    let mut names: Vec<String> =
        found.map(|e| e.expect("an entry").file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

#[tokio::test]
async fn somebody_with_a_token_comes_in_with_a_key_that_was_made_there() {
    let (cluster, mut tasks) = (Arc::new(Cluster::new()), JoinSet::new());
    // The first answer is lost on the way: the token is not.
    let (address, spent) = cluster.serve_door(&mut tasks, "ada", true).await;
    let home = tempfile::tempdir().expect("a folder");
    let (code, out, err) = holdfast(home.path(), &["context", "add", &address, "--token", &cluster.token(1)]).await;
    assert_eq!(code, 0, "{err}");
    assert!(out.starts_with("you are ada, viewer of acme, until ") && err == "  next  holdfast status\n", "{out}{err}");
    assert_eq!(spent.lock().expect("whole").len(), 2);
    let (code, out, err) = holdfast(home.path(), &["context", "show"]).await;
    assert!(
        code == 0 && out.starts_with("acme\n") && out.contains("operator ada, certificate for another"),
        "{out}{err}"
    );
    let (code, _, err) = holdfast(home.path(), &["status"]).await;
    assert_eq!((code, err.as_str()), (0, ""));
    let folder = home.path().join(".config/holdfast");
    assert_eq!(entries(&folder), ["contexts", "contexts.toml"]);

    // A second one of the same cluster wants a name, and nothing is sent before it has one.
    let again = cluster.token(2);
    let (code, _, err) = holdfast(home.path(), &["context", "add", &address, "--token", &again]).await;
    assert!(
        code == 1 && err.contains("there is a context of this cluster already: acme") && err.contains("--name"),
        "{err}"
    );
    let named = ["context", "add", &address, "--token", &again, "--name", "acme"];
    let (code, _, err) = holdfast(home.path(), &named).await;
    assert!(code == 1 && err.contains("has a context acme already") && err.contains("--name"), "{err}");
    assert_eq!(spent.lock().expect("whole").len(), 2);
    let named = ["context", "add", &address, "--token", &again, "--name", "second"];
    let (code, _, err) = holdfast(home.path(), &named).await;
    assert!(code == 0 && err.starts_with("  next  holdfast context use second"), "{err}");

    // Another cluster of the same name gets a number: its token is spent by then.
    let other = Arc::new(Cluster::new());
    let (address, _) = other.serve_door(&mut tasks, "ada", false).await;
    let (code, out, err) = holdfast(home.path(), &["context", "add", &address, "--token", &other.token(3)]).await;
    assert!(code == 0 && out.starts_with("you are ada, viewer of acme-2, "), "{out}{err}");
    assert_eq!(entries(&folder.join("contexts")), ["acme", "acme-2", "second"]);

    // Another contexts file in the same folder never costs this one its keys.
    let key = |name: &str| fs::read(folder.join("contexts").join(name).join("identity.pem")).expect("a key");
    let before = key("second");
    fs::remove_file(folder.join("contexts.toml")).expect("removed");
    let named = ["context", "add", &address, "--token", &other.token(4), "--name", "second"];
    let (code, _, err) = holdfast(home.path(), &named).await;
    assert!(code == 1 && err.contains("a key lies in ") && err.contains("--name"), "{err}");
    assert_eq!(key("second"), before);
}

#[tokio::test]
async fn whoever_cannot_come_in_is_told_why_and_keeps_nothing() {
    let (cluster, mut tasks) = (Arc::new(Cluster::new()), JoinSet::new());
    let (address, spent) = cluster.serve_door(&mut tasks, "eve", false).await;
    let home = tempfile::tempdir().expect("a folder");
    let other = Cluster::new();
    let used = cluster.token(1);
    spent.lock().expect("whole").push((used.clone(), vec![]));
    for (token, exit, says) in [
        (used, 9, "docs  refusals/bad-token"),
        (other.token(1), 1, "is not of the token's cluster"),
        (cluster.token(2), 3, "a certificate for operator eve of"),
    ] {
        let (code, out, err) = holdfast(home.path(), &["context", "add", &address, "--token", &token]).await;
        assert_eq!((code, out.as_str()), (exit, ""), "{err}");
        assert!(err.contains(says) && err.contains("\n  next"), "{says}: {err}");
        assert!(err.lines().count() <= 5 && !err.contains(&token), "{err}");
        assert!(entries(&home.path().join(".config/holdfast")).is_empty(), "{says}");
    }
    // Where nothing can be written, the token is not spent.
    let before = spent.lock().expect("whole").len();
    fs::write(home.path().join("file"), "").expect("written");
    let contexts = home.path().join("file/contexts.toml");
    let contexts = contexts.to_str().expect("a path of text");
    let line = ["context", "add", &address, "--token", &cluster.token(3), "--contexts-file", contexts];
    let (code, _, err) = holdfast(home.path(), &line).await;
    assert!(code == 1 && err.starts_with("error: "), "{err}");
    assert_eq!(spent.lock().expect("whole").len(), before);
}
