//! Every kind of check against whatever hangs: it ends by its time limit and leaves nothing behind.
//!
//! One test alone in its process, because it counts descriptors, tasks and children of the process.
//!
//! suite: root

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::Path,
    sync::{Mutex, mpsc},
    time::Duration,
};

use holdfast_agent::{
    checks::{Check, Endpoint, MongodbAt, Outcome, RedisAt, Runner},
    exec::{
        names::Names,
        postgres::{Login, Password},
        script::Scripts,
    },
};
use holdfast_agent_core::duties::Script;
use holdfast_shared::clock::{Clock, SystemClock};
use holdfast_types::{
    AppName, CheckName, RegionName,
    spec::{MongodbExpect, PostgresExpect, RedisExpect},
};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::{TcpListener, UnixListener},
    runtime::Handle,
    task::JoinSet,
};

/// What each check gets.
const TIMEOUT: Duration = Duration::from_millis(400);
/// What a busy machine may add. Far below what any of these servers would take.
const SLACK: Duration = Duration::from_secs(5);

/// How a server treats who connects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Habit {
    Silent,
    Drips,
    Floods,
    Closes,
    Talks(&'static [u8]),
}

const HABITS: &[Habit] = &[
    Habit::Silent,
    Habit::Drips,
    Habit::Floods,
    Habit::Closes,
    Habit::Talks(b"\0\xff\x1b[2J\r\n\r\n*-9\r\n$99999999999\r\n"),
    // What each of them would begin with, and never ends.
    Habit::Talks(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n{"),
    Habit::Talks(b"$1000\r\nrole:master\r\n"),
    Habit::Talks(b"\x60\0\0\0\x01\0\0\0\x01\0\0\0\xdd\x07\0\0"),
    Habit::Talks(b"\x16\x03\x03\x40\0\x02\0\0"),
    Habit::Talks(b"R\0\0\0\x08\0\0"),
];

async fn treat(mut stream: impl AsyncRead + AsyncWrite + Unpin, habit: Habit) {
    let mut request = [0; 4_096];
    match habit {
        Habit::Closes => return,
        Habit::Silent => {}
        Habit::Drips => {
            while stream.write_all(b"+").await.is_ok() {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
        Habit::Floods => {
            let much = vec![b'x'; 64 * 1024];
            while stream.write_all(&much).await.is_ok() {}
        }
        Habit::Talks(bytes) => {
            // As a server does: after it was asked.
            if stream.read(&mut request).await.is_ok_and(|n| n > 0) {
                stream.write_all(bytes).await.ok();
            }
        }
    }
    // Until the other side goes.
    while stream.read(&mut request).await.is_ok_and(|n| n > 0) {}
}

/// A server for both kinds of sockets; gone with its tasks.
async fn serve(habit: Habit, socket: &Path) -> (JoinSet<()>, u16) {
    let tcp = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = tcp.local_addr().expect("bound").port();
    let unix = UnixListener::bind(socket).expect("a socket");
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        let mut treated = JoinSet::new();
        loop {
            tokio::select! {
                Ok((stream, _)) = tcp.accept() => { treated.spawn(treat(stream, habit)); }
                Ok((stream, _)) = unix.accept() => { treated.spawn(treat(stream, habit)); }
            }
        }
    });
    (tasks, port)
}

/// Every kind of check that asks over the network, of a server at this address.
fn network_checks(address: &str, port: u16) -> Vec<(&'static str, Check)> {
    let redis = || RedisAt { address: address.into(), port, user: None, password: Some(Password::new("secret")) };
    let login = Login {
        socket: None,
        address: Some(address.into()),
        port,
        user: "holdfast".into(),
        database: "postgres".into(),
        password: None,
    };
    let endpoint =
        Endpoint { address: address.into(), port, server_name: "shop.example".into(), days_min: 14, ca: None };
    let mongodb = MongodbAt { address: address.into(), port, replica_set: None };
    vec![
        ("tcp", Check::Tcp { address: address.into(), port }),
        ("http", Check::Http { url: format!("http://{address}:{port}/"), expect: 200 }),
        ("https", Check::Http { url: format!("https://{address}:{port}/"), expect: 200 }),
        ("postgres", Check::Postgres { login, expect: PostgresExpect::AcceptsWrites }),
        ("tls", Check::Tls(endpoint)),
        ("redis answers", Check::Redis { at: redis(), expect: RedisExpect::Answers }),
        (
            "redis writes",
            Check::Redis { at: RedisAt { password: None, ..redis() }, expect: RedisExpect::AcceptsWrites },
        ),
        ("mongodb", Check::Mongodb { at: mongodb, expect: MongodbExpect::Answers }),
    ]
}

/// What this process holds: descriptors, tasks, children. Threads of the runtime's pool stay, and hold nothing.
fn held() -> (usize, usize, Vec<String>) {
    let descriptors = fs::read_dir("/proc/self/fd").expect("/proc").count();
    let own = std::process::id().to_string();
    let mut children = Vec::new();
    for entry in fs::read_dir("/proc").expect("/proc").flatten() {
        let stat = fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
        let parent = stat.rsplit_once(") ").and_then(|(_, rest)| rest.split(' ').nth(1).map(str::to_owned));
        if parent.as_deref() == Some(&own) {
            children.push(stat);
        }
    }
    (descriptors, Handle::current().metrics().num_alive_tasks(), children)
}

/// Runs one check and returns its outcome. It must end in time.
async fn ends(clock: &SystemClock, runner: &Runner, what: &str, check: &Check) -> Outcome {
    let began = clock.boot();
    let outcome = tokio::time::timeout(TIMEOUT + 10 * SLACK, runner.run(check, TIMEOUT)).await;
    let took = clock.boot().since(began);
    let outcome = outcome.unwrap_or_else(|_| panic!("{what} does not end"));
    assert!(took < TIMEOUT + SLACK, "{what} took {took:?}: {outcome:?}");
    let text = outcome.text();
    assert!(!text.chars().any(char::is_control), "{what}: {text:?}");
    outcome
}

fn script(folder: &Path, name: &str, text: &str) -> Check {
    let file = folder.join(name);
    fs::write(&file, format!("#!/bin/sh\n{text}\n")).expect("written");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).expect("changed");
    let script = Script {
        name: name.to_owned(),
        app: AppName::new("shop").expect("a name"),
        region: RegionName::new("us-east").expect("a name"),
        check: CheckName::new("look").expect("a name"),
    };
    Check::Exec { script }
}

#[tokio::test]
async fn whatever_hangs_a_check_ends_by_its_timeout_and_leaves_nothing_behind() {
    let clock = SystemClock::new().expect("a clock");
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().canonicalize().expect("it is there");
    let socket = path.join("docker.sock");
    let scripts = Scripts::new(&path).kept_by(env!("CARGO_BIN_EXE_holdfast-agent"));
    // A resolver that hangs until the test is over.
    let (over, never) = mpsc::channel::<()>();
    let never = Mutex::new(never);
    let names = Names::asking(move |_| {
        never.lock().map(|never| never.recv().ok()).ok();
        Err(std::io::Error::other("over"))
    });
    let runner = Runner::asking(names).docker_at(&socket).scripts_in(scripts);
    let containers = Check::Container { names: vec!["api".to_owned(), "worker".to_owned()] };

    // Once, so that what is loaded on first use is there: the host's CAs, a child's first pipe, the runtime's own.
    ends(&clock, &runner, "a first look", &script(&path, "first", "exit 0")).await;
    for (what, check) in network_checks("127.0.0.1", 1) {
        ends(&clock, &runner, what, &check).await;
    }
    let before = held();
    assert_eq!(before.2, Vec::<String>::new());

    for habit in HABITS {
        let (mut server, port) = serve(*habit, &socket).await;
        let mut checks = network_checks("127.0.0.1", port);
        checks.push(("container", containers.clone()));
        for (what, check) in checks {
            let what = format!("{what} of one that {habit:?}");
            let outcome = ends(&clock, &runner, &what, &check).await;
            let is_port = matches!(check, Check::Tcp { .. });
            assert_eq!(matches!(outcome, Outcome::Ok { .. }), is_port, "{what}: {outcome:?}");
        }
        server.shutdown().await;
        fs::remove_file(&socket).expect("it was there");
    }
    for (what, check) in network_checks("db.shop.example", 5_432) {
        let outcome = ends(&clock, &runner, &format!("{what} by a name that nobody looks up"), &check).await;
        // The resolver is this host's own: nothing was seen of the service.
        assert!(matches!(outcome, Outcome::CouldNotRun { .. }), "{what}: {outcome:?}");
    }
    for (name, text) in [
        ("hangs", "exec sleep 1000"),
        ("ignores", "trap '' TERM HUP INT; while :; do sleep 0.05; done"),
        ("drips", "while :; do echo x; sleep 0.05; done"),
        ("floods", "exec cat /dev/zero"),
        ("closes", "exec >&- 2>&-; sleep 1000"),
        ("forks", "( setsid sleep 1000 </dev/null >/dev/null 2>&1 & ); sleep 1000"),
    ] {
        let outcome = ends(&clock, &runner, &format!("a script that {name}"), &script(&path, name, text)).await;
        assert!(matches!(outcome, Outcome::Failing { .. }), "{name}: {outcome:?}");
    }

    // What was dropped is closed by the runtime a moment later.
    let mut after = held();
    let settled = tokio::time::timeout(Duration::from_secs(30), async {
        while after.0 > before.0 || after.1 > before.1 || !after.2.is_empty() {
            tokio::time::sleep(Duration::from_millis(10)).await;
            after = held();
        }
    });
    assert!(settled.await.is_ok(), "before: {before:?}, after: {after:?}");
    drop(over);
}
