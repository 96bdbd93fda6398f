//! A small gRPC service that tells its callers who they are, a cluster to give them certificates, and a network in
//! memory.
#![allow(dead_code, reason = "each test file uses its own part")]

use std::{
    convert::Infallible,
    future::Future,
    io,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use bytes::{Buf, BufMut};
use futures_util::future::BoxFuture;
use holdfast_shared::{
    clock::{Clock, SharedClock},
    identity::Bearer,
    net::{Accept, BoxedIo, Dial, TcpAccept, TcpDial},
    pki::{Ca, KeyAndCsr, Material},
    tls::{HotTls, Peer, incoming},
};
use holdfast_types::{BootId, BootInstant, ClusterId, HostName, OperatorName, RegionName, WallTime};
use tokio::{sync::mpsc, task::JoinSet};
use tokio_stream::{StreamExt, wrappers::ReceiverStream};
use tokio_util::sync::CancellationToken;
use tonic::{
    Request, Response, Status, Streaming,
    codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder},
    codegen::{Body, Service, StdError, http},
    transport::Channel,
};

pub const HOUR: Duration = Duration::from_secs(3_600);
pub const DAY: Duration = Duration::from_secs(86_400);

/// Fails the test when something takes longer than any healthy run.
pub async fn within<F: Future>(what: &str, future: F) -> F::Output {
    match tokio::time::timeout(Duration::from_secs(20), future).await {
        Ok(output) => output,
        Err(_) => panic!("still waiting after 20 s: {what}"),
    }
}

/// Polls until it holds.
pub async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    within(what, async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}

/// A clock that stands still until it is set.
#[derive(Debug)]
pub struct TestClock(AtomicI64);

impl TestClock {
    pub fn advance(&self, by: Duration) {
        self.0.fetch_add(i64::try_from(by.as_millis()).expect("a short time"), Ordering::Relaxed);
    }

    pub fn advance_back(&self, by: Duration) {
        self.0.fetch_sub(i64::try_from(by.as_millis()).expect("a short time"), Ordering::Relaxed);
    }
}

impl Clock for TestClock {
    fn boot(&self) -> BootInstant {
        BootInstant::from_boot(Duration::from_millis(self.0.load(Ordering::Relaxed).unsigned_abs()))
    }
    fn wall(&self) -> WallTime {
        WallTime(self.0.load(Ordering::Relaxed))
    }
    fn boot_id(&self) -> BootId {
        BootId("test".to_owned())
    }
}

/// A cluster with its CA, as of a time of its own.
pub struct Cluster {
    pub id: ClusterId,
    pub ca: Ca,
    pub time: Arc<TestClock>,
}

impl Cluster {
    pub fn new(seed: u8) -> Self {
        let id = ClusterId::from_random([seed; 16]);
        let time = Arc::new(TestClock(AtomicI64::new(1_795_208_657_532)));
        Self { ca: Ca::generate(&id, time.wall()).expect("a CA"), id, time }
    }

    pub fn clock(&self) -> SharedClock {
        self.time.clone()
    }

    /// A certificate for `bearer` that lasts an hour, trusting this cluster's CA, with a list that revokes `revoked`.
    pub fn material(&self, bearer: &Bearer, serial: u64, revoked: &[u64]) -> Material {
        let now = self.time.wall();
        let KeyAndCsr { key, csr } = KeyAndCsr::generate().expect("a key");
        let leaf = self.ca.sign_csr(&csr, bearer, &self.id, serial, HOUR, now).expect("signed");
        let crls = vec![self.ca.crl(1, revoked, now).expect("a list")];
        Material { chain: vec![leaf], key, roots: vec![self.ca.certificate().clone()], crls }
    }

    pub fn server(&self, serial: u64, revoked: &[u64]) -> Material {
        self.material(&Bearer::Coordinator { node: 1 }, serial, revoked)
    }
}

pub fn agent(host: &str) -> Bearer {
    let region = RegionName::new("us-east").expect("a name");
    Bearer::Agent { region, host: HostName::new(host).expect("a name") }
}

pub fn operator(name: &str) -> Bearer {
    Bearer::Operator { name: OperatorName::new(name).expect("a name") }
}

/// A server on TCP that ends with its test.
pub struct Running {
    pub address: String,
    pub hot: Arc<HotTls>,
    pub cancel: CancellationToken,
    pub tasks: JoinSet<()>,
}

impl Running {
    pub async fn start(material: &Material, clock: SharedClock) -> Self {
        let accept = TcpAccept::bind("127.0.0.1:0").await.expect("a free port");
        let address = accept.local_address().expect("an address").to_string();
        Self::start_on(Box::new(accept), address, HotTls::new(material, clock).expect("good material"))
    }

    pub fn start_on(accept: Box<dyn Accept>, address: String, hot: Arc<HotTls>) -> Self {
        let cancel = CancellationToken::new();
        let connections = incoming(hot.clone(), accept, cancel.clone());
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let served = tonic::transport::Server::builder().add_service(Who).serve_with_incoming(connections);
            served.await.expect("served to the end");
        });
        Self { address, hot, cancel, tasks }
    }
}

pub fn tcp() -> Arc<dyn Dial> {
    Arc::new(TcpDial)
}

/// Asks the server who is calling: `agent us-east/db1 serial a`.
pub async fn who(channel: &Channel) -> Result<String, Status> {
    let mut grpc = tonic::client::Grpc::new(channel.clone());
    let call = async {
        grpc.ready().await.map_err(|e| Status::from_error(Box::new(e)))?;
        let path = http::uri::PathAndQuery::from_static("/test.Who/Name");
        grpc.unary(Request::new(String::new()), path, TextCodec).await
    };
    Ok(within("an answer", call).await?.into_inner())
}

/// A call that stays open and echoes.
pub struct Session {
    up: mpsc::Sender<String>,
    down: Streaming<String>,
}

impl Session {
    pub async fn open(channel: &Channel) -> Self {
        let (up, queue) = mpsc::channel(1);
        let mut grpc = tonic::client::Grpc::new(channel.clone());
        grpc.ready().await.expect("connected");
        let path = http::uri::PathAndQuery::from_static("/test.Who/Echo");
        let call = grpc.streaming(Request::new(ReceiverStream::new(queue)), path, TextCodec);
        Self { up, down: within("a session", call).await.expect("a session").into_inner() }
    }

    pub async fn echo(&mut self, text: &str) -> Result<String, Status> {
        self.up.send(text.to_owned()).await.map_err(|_| Status::aborted("the session is gone"))?;
        self.next().await
    }

    pub async fn next(&mut self) -> Result<String, Status> {
        within("an echo", self.down.message()).await?.ok_or_else(|| Status::aborted("the session has ended"))
    }
}

/// A network in memory: what is dialled here is accepted there.
pub struct Wire(mpsc::Sender<BoxedIo>);

/// Every connection comes from an address of its own.
pub struct WireEnd(mpsc::Receiver<BoxedIo>, u64);

pub fn wire() -> (Arc<Wire>, WireEnd) {
    let (sender, receiver) = mpsc::channel(1_024);
    (Arc::new(Wire(sender)), WireEnd(receiver, 0))
}

impl Dial for Wire {
    fn dial<'a>(&'a self, _address: &'a str) -> BoxFuture<'a, io::Result<BoxedIo>> {
        Box::pin(async {
            let (near, far) = tokio::io::duplex(64 * 1024);
            self.0.send(Box::new(far)).await.map_err(|_| io::Error::from(io::ErrorKind::ConnectionRefused))?;
            Ok(Box::new(near) as BoxedIo)
        })
    }
}

impl Accept for WireEnd {
    fn accept(&mut self) -> BoxFuture<'_, io::Result<(BoxedIo, String)>> {
        Box::pin(async {
            match self.0.recv().await {
                Some(io) => {
                    self.1 += 1;
                    Ok((io, format!("wire{}:1", self.1)))
                }
                None => std::future::pending().await,
            }
        })
    }
}

#[derive(Clone)]
struct Who;

impl tonic::server::NamedService for Who {
    const NAME: &'static str = "test.Who";
}

impl<B> Service<http::Request<B>> for Who
where
    B: Body + Send + 'static,
    B::Error: Into<StdError> + Send + 'static,
{
    type Response = http::Response<tonic::body::Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<B>) -> Self::Future {
        let mut grpc = tonic::server::Grpc::new(TextCodec);
        if request.uri().path() == "/test.Who/Name" {
            let name = tower::service_fn(|request: Request<String>| async move { Ok(Response::new(name(&request)?)) });
            return Box::pin(async move { Ok(grpc.unary(name, request).await) });
        }
        let echo = tower::service_fn(|request: Request<Streaming<String>>| async move {
            let who = name(&request)?;
            let echo = request.into_inner().map(move |text| Ok(format!("{} from {who}", text?)));
            Ok::<_, Status>(Response::new(Box::pin(echo)))
        });
        Box::pin(async move { Ok(grpc.streaming(echo, request).await) })
    }
}

fn name<T>(request: &Request<T>) -> Result<String, Status> {
    let peer = request.extensions().get::<Arc<Peer>>().ok_or_else(|| Status::internal("no peer"))?;
    Ok(match &peer.identity {
        Some(who) => format!("{} serial {}{}", who.bearer, who.serial, if who.expired { " expired" } else { "" }),
        None => "nobody".to_owned(),
    })
}

#[derive(Clone, Copy, Default)]
struct TextCodec;

impl Codec for TextCodec {
    type Encode = String;
    type Decode = String;
    type Encoder = Self;
    type Decoder = Self;
    fn encoder(&mut self) -> Self {
        *self
    }
    fn decoder(&mut self) -> Self {
        *self
    }
}

impl Encoder for TextCodec {
    type Item = String;
    type Error = Status;
    fn encode(&mut self, item: String, dst: &mut EncodeBuf<'_>) -> Result<(), Status> {
        dst.put_slice(item.as_bytes());
        Ok(())
    }
}

impl Decoder for TextCodec {
    type Item = String;
    type Error = Status;
    fn decode(&mut self, src: &mut DecodeBuf<'_>) -> Result<Option<String>, Status> {
        let bytes = src.copy_to_bytes(src.remaining());
        String::from_utf8(bytes.to_vec()).map(Some).map_err(|e| Status::internal(e.to_string()))
    }
}
