//! The check of a Redis, against real ones.
//!
//! suite: root

use std::{
    net::TcpListener,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use holdfast_agent::{
    checks::{Check, Outcome, RedisAt, Runner},
    exec::postgres::Password,
};
use holdfast_types::spec::RedisExpect;
use tokio::process::{Child, Command};

/// Longest wait for any state: generous, because the machine may be busy; reached only by a failure.
const PATIENCE: Duration = Duration::from_secs(30);
/// What a check gets here that is expected to be answered.
const LONG: Duration = Duration::from_secs(20);

fn program(name: &str) -> PathBuf {
    ["/usr/bin", "/usr/local/bin"]
        .iter()
        .map(|folder| Path::new(folder).join(name))
        .find(|file| file.exists())
        .unwrap_or_else(|| panic!("{name} is not installed; run tests/preflight.sh, it installs it"))
}

/// A Redis on a free port; ends with the test.
struct Redis {
    port: u16,
    password: Option<&'static str>,
    child: Child,
    dir: tempfile::TempDir,
}

impl Redis {
    async fn start(more: &[&str]) -> Self {
        Self::start_in(tempfile::tempdir().expect("a folder"), more).await
    }

    async fn start_in(dir: tempfile::TempDir, more: &[&str]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("bound").port();
        drop(listener);
        let child = Command::new(program("redis-server"))
            .args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--dir"])
            .arg(dir.path())
            .args(["--repl-diskless-sync-delay", "0", "--enable-debug-command", "yes"])
            .args(more)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .expect("it starts");
        let redis = Self { port, password: None, child, dir };
        redis.wait("it to answer", RedisExpect::Answers, |outcome| !outcome.to_string().contains("refused")).await;
        redis
    }

    fn at(&self) -> RedisAt {
        RedisAt { address: "127.0.0.1".into(), port: self.port, user: None, password: self.password.map(Password::new) }
    }

    async fn check(&self, expect: RedisExpect) -> Outcome {
        check(self.at(), expect).await
    }

    /// Looks until the outcome is as wanted.
    async fn wait(&self, what: &str, expect: RedisExpect, wanted: impl Fn(&Outcome) -> bool) -> Outcome {
        let mut last = None;
        let waited = tokio::time::timeout(PATIENCE, async {
            loop {
                let outcome = self.check(expect).await;
                if wanted(&outcome) {
                    return outcome;
                }
                last = Some(outcome);
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        });
        waited.await.unwrap_or_else(|_| panic!("waited for {what}; the last look was {last:?}"))
    }

    /// Says something to it as its administrator.
    async fn say(&self, words: &[&str]) -> String {
        let mut say = Command::new(program("redis-cli"));
        say.args(["-p", &self.port.to_string(), "-e", "--no-auth-warning"]);
        if let Some(password) = self.password {
            say.args(["-a", password]);
        }
        let said = say.args(words).stdin(Stdio::null()).kill_on_drop(true).output();
        let said = tokio::time::timeout(PATIENCE, said).await.expect("it answers").expect("it runs");
        assert!(said.status.success(), "{words:?}: {said:?}");
        String::from_utf8_lossy(&said.stdout).trim().to_owned()
    }

    async fn end(mut self) -> tempfile::TempDir {
        self.child.kill().await.expect("it runs");
        self.dir
    }
}

async fn check(at: RedisAt, expect: RedisExpect) -> Outcome {
    Runner::new().run(&Check::Redis { at, expect }, LONG).await
}

fn ok(outcome: &Outcome, text: &str) {
    assert!(matches!(outcome, Outcome::Ok { .. }) && outcome.to_string().contains(text), "{outcome:?}");
}

fn failing(outcome: &Outcome, text: &str) {
    assert!(matches!(outcome, Outcome::Failing { .. }) && outcome.to_string().contains(text), "{outcome:?}");
}

fn not_run(outcome: &Outcome, text: &str) {
    assert!(matches!(outcome, Outcome::CouldNotRun { .. }) && outcome.to_string().contains(text), "{outcome:?}");
}

#[tokio::test]
async fn a_primary_and_its_replica_are_told_apart_and_how_far_it_is_behind() {
    let primary = Redis::start(&[]).await;
    let replica = Redis::start(&["--replicaof", "127.0.0.1", &primary.port.to_string()]).await;
    let follows = format!("replica of 127.0.0.1:{} at offset", primary.port);
    let linked = |outcome: &Outcome| matches!(outcome, Outcome::Ok { .. });
    ok(&replica.wait("the replica to follow", RedisExpect::Replica, linked).await, &follows);
    failing(&replica.check(RedisExpect::Primary).await, &format!("is no primary: {follows}"));
    failing(&replica.check(RedisExpect::AcceptsWrites).await, "is no primary");
    ok(&replica.check(RedisExpect::Answers).await, "answers");
    failing(&primary.check(RedisExpect::Replica).await, "is no replica: primary at offset");

    assert_eq!(primary.say(&["exists", "holdfast.check"]).await, "0", "a look that only reads has written");
    ok(&primary.check(RedisExpect::AcceptsWrites).await, "took a marker, primary at offset");
    let ttl: i64 = primary.say(&["ttl", "holdfast.check"]).await.parse().expect("a number");
    assert!((1..=60).contains(&ttl), "the marker stays for {ttl} s");
    let caught_up = |outcome: &Outcome| outcome.to_string().ends_with(", 1 replica 0 B behind");
    primary.wait("the replica to have caught up", RedisExpect::Primary, caught_up).await;

    primary.end().await;
    let down = |outcome: &Outcome| matches!(outcome, Outcome::Failing { .. });
    failing(&replica.wait("the link to be down", RedisExpect::Replica, down).await, "does not follow: replica of");
}

#[tokio::test]
async fn a_login_that_is_refused_is_no_observation() {
    let mut redis = Redis::start(&["--requirepass", "secret"]).await;
    not_run(&redis.check(RedisExpect::Answers).await, "wants a password");
    redis.password = Some("wrong");
    not_run(&redis.check(RedisExpect::Primary).await, "WRONGPASS");
    redis.password = Some("secret");
    ok(&redis.check(RedisExpect::AcceptsWrites).await, "took a marker");

    // The user that the guide makes needs no more, and one with less is told what it lacks.
    redis.say(&["acl", "setuser", "holdfast", "on", ">hidden", "~holdfast.check", "+ping", "+info", "+set"]).await;
    let user = RedisAt { user: Some("holdfast".into()), password: Some(Password::new("hidden")), ..redis.at() };
    for expect in [RedisExpect::Answers, RedisExpect::Primary, RedisExpect::AcceptsWrites] {
        ok(&check(user.clone(), expect).await, "");
    }
    redis.say(&["acl", "setuser", "holdfast", "-set"]).await;
    not_run(&check(user.clone(), RedisExpect::AcceptsWrites).await, "NOPERM");

    let open = Redis::start(&[]).await;
    not_run(
        &check(RedisAt { password: Some(Password::new("x")), ..open.at() }, RedisExpect::Answers).await,
        "does not",
    );
}

#[tokio::test]
async fn what_keeps_it_from_taking_writes_is_seen_by_writing() {
    let redis = Redis::start(&[]).await;
    redis.say(&["config", "set", "min-replicas-to-write", "1"]).await;
    ok(&redis.check(RedisExpect::Primary).await, "no replica");
    failing(&redis.check(RedisExpect::AcceptsWrites).await, "NOREPLICAS");
    redis.say(&["config", "set", "min-replicas-to-write", "0"]).await;
    redis.say(&["config", "set", "maxmemory", "1"]).await;
    failing(&redis.check(RedisExpect::AcceptsWrites).await, "OOM");
    redis.say(&["config", "set", "maxmemory", "0"]).await;
    ok(&redis.check(RedisExpect::AcceptsWrites).await, "took a marker");
}

#[tokio::test]
async fn one_that_still_loads_its_data_is_failing_and_says_so() {
    let redis = Redis::start(&[]).await;
    redis.say(&["debug", "populate", "20000"]).await;
    redis.say(&["save"]).await;
    let dir = redis.end().await;
    // So many microseconds for each key: it would load for minutes.
    let slow = ["--key-load-delay", "10000", "--loading-process-events-interval-bytes", "1024"];
    let loading = Redis::start_in(dir, &slow).await;
    for expect in [RedisExpect::Answers, RedisExpect::Primary, RedisExpect::AcceptsWrites] {
        failing(&loading.check(expect).await, "still loads its data");
    }
}
