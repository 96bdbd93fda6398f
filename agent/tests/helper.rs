//! The helper behind its socket: who is heard, what is taken, and that what was begun ends with its connection.
//! suite: root

use std::{
    collections::BTreeMap,
    io::{Read as _, Write as _},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    time::Duration,
};

use async_trait::async_trait;
use holdfast_agent::{
    exec::child::Run,
    executors::{ExecError, Executors, Probed, RealExecutors, Seen},
    helper::{
        client::HelperExecutors,
        protocol::{Asked, REQUEST_BYTES_MAX, Request, VERSION, Verb, line},
        server::{Askers, Lists, Server, listen},
    },
};
use holdfast_agent_core::{
    declared::{Declarations, Declared},
    duties::Probe,
};
use holdfast_shared::clock::{Clock as _, SystemClock};
use holdfast_types::{BootInstant, RegionName, spec, spec::Writer};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

const PATIENCE: Duration = Duration::from_secs(20);
const NOBODY: u32 = 65_534;

fn now() -> BootInstant {
    SystemClock::new().expect("a boot id").boot()
}

fn writer(name: &str) -> Writer {
    let text = format!(
        "spec: 1\napp: shop\nregions:\n  us-east:\n    roles:\n      db: [{{host: use-db1, address: 10.0.0.1}}]\n\
         writers:\n  pg:\n    kind: postgres\n    on: db\n    run_by: {{systemd: \"{name}.service\"}}\n    \
         data_dir: \"/var/lib/{name}\"\n    login: {{socket: /run/postgresql, user: holdfast}}\n"
    );
    let spec = spec::parse("shop.yaml", &text).unwrap_or_else(|e| panic!("{e}"));
    let placed = spec.placed_in(&RegionName::new("us-east").expect("a name"));
    placed.writers.values().next().expect("a writer").clone()
}

/// What a database would do, as a child that never ends or as nothing at all.
#[derive(Debug)]
struct Doer {
    folder: PathBuf,
    did: Mutex<Vec<String>>,
}

impl Doer {
    fn note(&self, what: &str, writer: &Writer) {
        self.did.lock().expect("no panic").push(format!("{what} {}", writer.data_dir.display()));
    }

    /// Runs a child that has a child of its own, and never ends.
    async fn hang(&self, what: &str, writer: &Writer) -> Result<Seen, ExecError> {
        self.note(what, writer);
        let script = format!("sleep 1000 & echo $! > {}/new; mv {0}/new {0}/pid; wait", self.folder.display());
        let run = Run::new("sh").arg("-c").arg(script);
        run.within(Duration::from_secs(900)).await.map(|_| Seen::default()).map_err(|e| ExecError(e.to_string()))
    }
}

#[async_trait]
impl Executors for Doer {
    async fn look(&self, writer: &Writer, _within: Duration) -> Result<Seen, ExecError> {
        self.note("look", writer);
        Ok(Seen { running: true, text: "primary".to_owned(), ..Seen::default() })
    }

    async fn fence(&self, writer: &Writer, _within: Duration) -> Result<String, ExecError> {
        self.note("fence", writer);
        let lives = || pid(&self.folder).is_some_and(|pid| alive(&pid));
        // It was killed; dying takes a moment.
        let deadline = now() + Duration::from_secs(2);
        while writer.data_dir.ends_with("a") && lives() && now() < deadline {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        Ok(format!("a child lives: {}", lives()))
    }

    async fn start_primary(&self, writer: &Writer, _within: Duration) -> Result<Seen, ExecError> {
        self.hang("start", writer).await
    }

    async fn promote(&self, writer: &Writer, _within: Duration) -> Result<Seen, ExecError> {
        self.note("promote", writer);
        Ok(Seen::default())
    }

    async fn connected_with(&self, _writer: &Writer, _within: Duration) -> Result<Option<String>, ExecError> {
        Ok(Some("host=10.0.0.1 password=swordfish".to_owned()))
    }

    async fn cut(&self, writer: &Writer, _within: Duration) -> Result<Seen, ExecError> {
        self.hang("cut", writer).await
    }

    async fn reconnect(&self, writer: &Writer, conninfo: &str, _within: Duration) -> Result<(), ExecError> {
        self.note(conninfo, writer);
        Ok(())
    }

    async fn probe(&self, _probe: &Probe, _timeout: Duration) -> Probed {
        Probed::CouldNotRun { text: "no probe goes to the helper".to_owned() }
    }

    async fn servers(&self, _: &Path, _: &str, _: Duration) -> Result<BTreeMap<String, bool>, ExecError> {
        Err(ExecError("no proxy goes to the helper".to_owned()))
    }

    async fn open_only(&self, _: &Path, _: &str, _: &str, _: Duration) -> Result<(), ExecError> {
        Err(ExecError("no proxy goes to the helper".to_owned()))
    }

    async fn close_all(&self, _: &Path, _: &str, _: Duration) -> Result<(), ExecError> {
        Err(ExecError("no proxy goes to the helper".to_owned()))
    }
}

struct List(Declarations, Arc<Doer>);

#[async_trait]
impl Lists for List {
    fn read(&self) -> (Declarations, Option<String>) {
        (self.0.clone(), None)
    }

    fn executors(&self) -> Arc<dyn Executors> {
        Arc::clone(&self.1) as Arc<dyn Executors>
    }

    async fn remember(&self, _name: &str, _within: Duration) {}
}

struct Fixture {
    dir: tempfile::TempDir,
    doer: Arc<Doer>,
    _server: JoinSet<()>,
}

/// Declared: `a` and `b`. Remembered: `old`.
fn serve() -> Fixture {
    serve_after(|_| {})
}

/// The same for those who connected before anybody served.
fn serve_after(queue: impl FnOnce(&Path)) -> Fixture {
    let dir = tempfile::tempdir().expect("a folder");
    let doer = Arc::new(Doer { folder: dir.path().to_owned(), did: Mutex::default() });
    let of = |names: &[&str]| names.iter().map(|name| Declared::of(&writer(name))).collect();
    let lists = List(Declarations::new(of(&["a", "b"]), of(&["a", "b", "old"])), Arc::clone(&doer));
    let socket = dir.path().join("helper.sock");
    let listener = listen(&socket).expect("a socket");
    queue(&socket);
    let mut server = JoinSet::new();
    let served = Server::new(Arc::new(lists), Askers { agent: None });
    server.spawn(served.run(listener, CancellationToken::new()));
    Fixture { dir, doer, _server: server }
}

impl Fixture {
    fn socket(&self) -> PathBuf {
        self.dir.path().join("helper.sock")
    }

    fn agent(&self) -> Arc<HelperExecutors> {
        let local = Arc::new(RealExecutors::new(None, Vec::new()));
        Arc::new(HelperExecutors::new(self.socket(), local))
    }

    /// What is answered to these bytes, as they are.
    async fn said(&self, bytes: Vec<u8>) -> String {
        let socket = self.socket();
        let asked = tokio::task::spawn_blocking(move || {
            let mut stream = UnixStream::connect(socket).expect("connected");
            stream.set_read_timeout(Some(PATIENCE)).expect("set");
            // One that is refused early closes while more is written.
            drop(stream.write_all(&bytes));
            let mut answer = String::new();
            drop(stream.read_to_string(&mut answer));
            answer
        });
        asked.await.expect("no panic")
    }

    async fn child(&self) -> String {
        eventually("a child", || pid(self.dir.path()).filter(|pid| alive(pid))).await
    }
}

fn pid(folder: &Path) -> Option<String> {
    let text = std::fs::read_to_string(folder.join("pid")).ok()?;
    Some(text.trim().to_owned())
}

fn alive(pid: &str) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    !stat.is_empty() && !stat.contains(") Z ")
}

async fn eventually<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let began = now();
    while now().since(began) < PATIENCE {
        if let Some(found) = look() {
            return found;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("no {what} within {PATIENCE:?}");
}

fn request(verb: Verb, name: &str) -> Request {
    let writer = Some(Asked::of(&writer(name)));
    Request { version: VERSION, verb, within_millis: 5_000, writer, conninfo: None }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_a_request_for_a_declared_writer_is_refused_and_does_nothing() {
    let fixture = serve();
    let asked = |request: &Request| line(request).expect("plain");
    let text = String::from_utf8(asked(&request(Verb::StartPrimary, "a"))).expect("text");
    let table: [(&str, Vec<u8>, &str); 9] = [
        ("garbage", b"\x00\xff\xfe{}\n".to_vec(), "not understood"),
        ("an unknown verb", text.replace("start_primary", "rm_rf").into_bytes(), "not understood"),
        ("an unknown key", text.replace("\"conninfo\"", "\"cmd\"").into_bytes(), "not understood"),
        ("too long", vec![b'x'; usize::try_from(REQUEST_BYTES_MAX).expect("small") + 2], "too long"),
        ("one that never ends", b"{\"version\":1".to_vec(), "did not end within 2 s"),
        ("another version", asked(&Request { version: 9, ..request(Verb::Look, "a") }), "version 9"),
        ("no writer", asked(&Request { writer: None, ..request(Verb::Fence, "a") }), "names no writer"),
        ("an undeclared writer", asked(&request(Verb::Fence, "stranger")), "does not allow unit stranger.service"),
        ("a way up", text.replace("/var/lib/a", "/var/lib/b/../a").into_bytes(), "not written plainly"),
    ];
    for (name, bytes, expected) in table {
        let answer = fixture.said(bytes).await;
        assert!(answer.contains("refused") && answer.contains(expected), "{name}: {answer}");
    }
    // What was declared once may be stopped and looked at, and nothing else.
    for (verb, may) in [
        (Verb::Look, true),
        (Verb::Fence, true),
        (Verb::StartPrimary, false),
        (Verb::Promote, false),
        (Verb::Cut, false),
        (Verb::Reconnect, false),
        (Verb::ConnectedWith, false),
    ] {
        let answer = fixture.said(asked(&request(verb, "old"))).await;
        assert_eq!(!answer.contains("refused"), may, "{verb:?}: {answer}");
    }
    assert_eq!(*fixture.doer.did.lock().expect("no panic"), ["look /var/lib/old", "fence /var/lib/old"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stranger_is_refused_whoever_opened_the_socket_for_him() {
    use std::os::unix::fs::PermissionsExt as _;
    assert!(rustix::process::geteuid().is_root(), "another user can only be played by root");
    let fixture = serve();
    let everybody = std::fs::Permissions::from_mode(0o777);
    std::fs::set_permissions(fixture.socket(), everybody.clone()).expect("changed");
    std::fs::set_permissions(fixture.dir.path(), everybody).expect("changed");
    let (socket, bytes) = (fixture.socket(), line(&request(Verb::Fence, "a")).expect("plain"));
    let asked = std::thread::spawn(move || {
        // Of this thread alone.
        rustix::thread::set_thread_uid(rustix::process::Uid::from_raw(NOBODY)).expect("root may");
        let mut stream = UnixStream::connect(socket).expect("connected");
        drop(stream.write_all(&bytes));
        let mut answer = String::new();
        drop(stream.read_to_string(&mut answer));
        answer
    });
    eventually("an answer", || asked.is_finished().then_some(())).await;
    let answer = asked.join().expect("no panic");
    assert!(answer.contains("user 65534 may not ask"), "{answer}");
    assert!(fixture.doer.did.lock().expect("no panic").is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn closing_the_connection_ends_the_verb_and_its_children() {
    let fixture = serve();
    let agent = fixture.agent();
    let (a, mut asked) = (writer("a"), JoinSet::new());
    asked.spawn(async move { agent.start_primary(&a, Duration::from_secs(600)).await });
    let child = fixture.child().await;
    // As an agent drops what it does when its lease goes, or ends itself.
    asked.shutdown().await;
    eventually("end of the child", || (!alive(&child)).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_verb_ends_at_its_deadline_with_its_children() {
    let fixture = serve();
    let refused = fixture.agent().start_primary(&writer("a"), Duration::from_millis(400)).await;
    assert!(refused.expect_err("it never ends").0.contains("was not done after 400 ms"));
    let child = eventually("a child", || pid(fixture.dir.path())).await;
    eventually("end of the child", || (!alive(&child)).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fence_ends_what_would_open_the_same_writer_and_waits_for_nobody_else() {
    let fixture = serve();
    let (agent, mut asked) = (fixture.agent(), JoinSet::new());
    let (a, starter) = (writer("a"), Arc::clone(&agent));
    asked.spawn(async move { starter.start_primary(&a, Duration::from_secs(600)).await });
    let child = fixture.child().await;
    // Of another writer: neither waits for the other, and neither ends it.
    let began = now();
    agent.fence(&writer("b"), Duration::from_secs(5)).await.expect("fenced");
    assert!(now().since(began) < Duration::from_secs(4) && alive(&child));
    let text = agent.fence(&writer("a"), Duration::from_secs(5)).await.expect("fenced");
    assert_eq!(text, "a child lives: false", "what would have opened it had ended before the fence began");
    let ended = asked.join_next().await.expect("it ended").expect("no panic");
    assert!(ended.expect_err("ended by the fence").0.contains("a fence of the same writer"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_asked_for_by_somebody_who_is_gone_is_not_begun() {
    let fixture = serve_after(|socket| {
        for _ in 0..50 {
            let mut stream = UnixStream::connect(socket).expect("connected");
            stream.write_all(&line(&request(Verb::Promote, "a")).expect("plain")).expect("written");
            // Closed before it can be served: an agent that gave it up, and fences now.
            drop(stream);
        }
    });
    fixture.agent().fence(&writer("a"), Duration::from_secs(5)).await.expect("fenced");
    fixture.agent().look(&writer("b"), Duration::from_secs(5)).await.expect("looked");
    let did = fixture.doer.did.lock().expect("no panic").clone();
    assert_eq!(did, ["fence /var/lib/a", "look /var/lib/b"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_helper_that_cannot_be_reached_is_said_aloud_until_it_answers() {
    let fixture = serve();
    let agent = fixture.agent();
    let (mut troubles, watched, cancel) = (agent.troubles(), Arc::clone(&agent), CancellationToken::new());
    let mut watching = JoinSet::new();
    let until = cancel.clone();
    watching.spawn(async move { watched.watch(until).await });
    let away = fixture.dir.path().join("away");
    std::fs::rename(fixture.socket(), &away).expect("moved");
    let failed = agent.fence(&writer("a"), Duration::from_secs(1)).await.expect_err("nobody listens");
    assert!(failed.0.contains("cannot be reached"), "{failed}");
    let told = tokio::time::timeout(PATIENCE, troubles.wait_for(|lines| !lines.is_empty())).await;
    assert!(told.expect("in time").expect("it watches")[0].contains("nothing can be fenced here"));
    std::fs::rename(&away, fixture.socket()).expect("back");
    let well = tokio::time::timeout(PATIENCE, troubles.wait_for(Vec::is_empty)).await;
    well.expect("in time").expect("it watches");
    cancel.cancel();
    watching.join_next().await.expect("ended").expect("no panic");
}
