//! Executors and checks against real PostgreSQL and HAProxy.
//!
//! suite: root

mod support;

use std::time::Duration;

use holdfast_agent::{
    checks::{Check, Evidence, Outcome, Runner},
    exec::{
        haproxy::{Admin, Haproxy, HaproxyError},
        postgres::{ClusterState, Fenced, Login, PostgresError, State, Timeline},
    },
};
use holdfast_types::spec::PostgresExpect;
use rustix::process::Signal;
use support::{PATIENCE, pg::Cluster, proxy::Proxy, signal, wait_for};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    task::JoinSet,
};

/// Starts a backend that commits for ever and tells how far it is in a file.
async fn endless_writer(cluster: &Cluster) -> (JoinSet<()>, std::path::PathBuf) {
    let counter = cluster.socket_dir.join("counter");
    let admin = cluster.admin().await;
    let procedure = format!(
        "create table written (n bigint);
         create procedure write_for_ever() language plpgsql as $$
         declare n bigint := 0;
         begin
             loop
                 n := n + 1;
                 insert into written values (n);
                 commit;
                 execute format('copy (select %s) to %L', n, '{}');
             end loop;
         end $$",
        counter.display()
    );
    admin.client.batch_execute(&procedure).await.expect("the procedure is made");
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        // The whole connection moves in here, its driver too: it must live as long as the call.
        let admin = admin;
        admin.client.batch_execute("call write_for_ever()").await.ok();
    });
    (tasks, counter)
}

fn count(file: &std::path::Path) -> u64 {
    std::fs::read_to_string(file).ok().and_then(|text| text.trim().parse().ok()).unwrap_or(0)
}

async fn wait_for_more(file: &std::path::Path) {
    let before = count(file);
    wait_for("the backend to commit more", async || count(file), |now| *now > before + 10).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fence_ends_backends_that_go_on_writing_after_their_postmaster_was_killed() {
    let cluster = Cluster::primary().await;
    let (_writer, counter) = endless_writer(&cluster).await;
    wait_for_more(&counter).await;

    let postmaster = cluster.postmaster();
    signal(postmaster, Signal::KILL);
    wait_for("the postmaster to be gone", async || cluster.pids(), |pids| !pids.contains(&postmaster)).await;
    wait_for_more(&counter).await;
    assert!(cluster.postgres.look(PATIENCE).await.expect("it can be looked at").running(), "a backend still writes");

    let fenced = cluster.postgres.fence(Duration::from_secs(10)).await.expect("nothing is left");
    assert!(matches!(fenced, Fenced::Killed { processes } if processes >= 1), "{fenced:?}");
    assert_eq!(cluster.pids(), Vec::<i32>::new());
    assert!(matches!(cluster.state().await, State::Down { .. }));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_primary_is_stopped_and_fencing_it_again_finds_it_down() {
    let cluster = Cluster::primary().await;
    let (_writer, counter) = endless_writer(&cluster).await;
    wait_for_more(&counter).await;
    assert_eq!(cluster.postgres.fence(Duration::from_secs(20)).await.expect("stopped"), Fenced::Stopped);
    assert_eq!(cluster.pids(), Vec::<i32>::new());
    let look = cluster.postgres.look(PATIENCE).await.expect("it can be looked at");
    let State::Down { control: Some(control) } = look.state else { panic!("found {look}") };
    assert_eq!((control.state, control.timeline), (ClusterState::ShutDown, Timeline(1)));
    assert_eq!(cluster.postgres.fence(Duration::from_secs(5)).await.expect("down"), Fenced::AlreadyDown);

    let started = cluster.postgres.start_primary(PATIENCE).await.expect("it starts");
    assert!(started.accepts_writes() && started.system == Some(control.system), "{started}");
    assert!(cluster.postgres.start_primary(PATIENCE).await.expect("it runs already").accepts_writes());
    cluster.postgres.marker(PATIENCE).await.expect("a write commits");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_answers_nothing_is_killed_in_time() {
    let cluster = Cluster::primary().await;
    cluster.pids().iter().for_each(|pid| signal(*pid, Signal::STOP));
    let look = cluster.postgres.look(Duration::from_secs(2)).await.expect("it can be looked at");
    assert!(matches!(look.state, State::Mute { starting: false, .. }), "{look}");
    // What was just ending when the others were stopped is gone by now.
    let all = cluster.pids();
    let fenced = cluster.postgres.fence(Duration::from_secs(3)).await.expect("nothing is left");
    assert!(matches!(fenced, Fenced::Killed { processes } if processes >= all.len()), "{fenced:?}");
    assert_eq!(cluster.pids(), Vec::<i32>::new());
    assert!(cluster.postgres.start_primary(PATIENCE).await.expect("it recovers").accepts_writes());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_standby_is_left_alone_by_a_fence_and_promoted_once() {
    let (primary, standby) = Cluster::pair().await;
    assert_eq!(standby.postgres.fence(PATIENCE).await.expect("a standby"), Fenced::Standby);
    standby.wait_streaming().await;
    let refused = standby.postgres.start_primary(PATIENCE).await.expect_err("it would be a standby");
    assert!(matches!(&refused, PostgresError::Refused { why, .. } if why.contains("standby.signal")), "{refused}");
    assert!(matches!(primary.postgres.cut_receiver(PATIENCE).await, Err(PostgresError::Refused { .. })));

    primary.postgres.fence(PATIENCE).await.expect("stopped");
    let first = standby.postgres.promote(PATIENCE).await.expect("promoted");
    assert_eq!((first.timeline, first.already), (Timeline(2), false));
    let second = standby.postgres.promote(PATIENCE).await.expect("nothing to do");
    assert_eq!((second.timeline, second.already), (Timeline(2), true));
    standby.postgres.marker(PATIENCE).await.expect("a write commits");

    assert_eq!(standby.postgres.fence(PATIENCE).await.expect("a primary now"), Fenced::Stopped);
    let third = standby.postgres.promote(PATIENCE).await.expect("started as what it is");
    assert_eq!((third.timeline, third.already), (Timeline(2), true));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_standby_that_is_down_is_started_and_promoted() {
    let (primary, standby) = Cluster::pair().await;
    standby.wait_streaming().await;
    standby.postgres.cut_receiver(PATIENCE).await.expect("cut");
    standby.pids().iter().for_each(|pid| signal(*pid, Signal::KILL));
    primary.postgres.fence(PATIENCE).await.expect("stopped");
    let promoted = standby.postgres.promote(PATIENCE).await.expect("promoted");
    assert_eq!((promoted.timeline, promoted.already), (Timeline(2), false));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cut_standby_receives_nothing_until_it_is_connected_again() {
    let (primary, standby) = Cluster::pair().await;
    let lsn = primary.postgres.marker(PATIENCE).await.expect("a write commits");
    let received = async || standby.postgres.position(PATIENCE).await.expect("a standby");
    wait_for("the marker to arrive", received, |p| p.received >= lsn).await;

    let cut = standby.postgres.cut_receiver(PATIENCE).await.expect("cut");
    let conninfo = cut.conninfo.expect("it was connected");
    assert!(conninfo.expose().contains(&primary.port.to_string()) && !format!("{conninfo:?}").contains("port"));
    let before = received().await;
    let after_cut = primary.postgres.marker(PATIENCE).await.expect("a write commits");
    assert_eq!(standby.postgres.cut_receiver(PATIENCE).await.expect("cut already").conninfo, None);

    // Durable: it stays cut over a restart.
    assert_eq!(standby.postgres.stop(PATIENCE).await.expect("stopped"), Fenced::Stopped);
    let look = standby.postgres.start_any(PATIENCE).await.expect("it starts");
    assert!(matches!(look.state, State::Standby { receiver: None, .. }), "{look}");
    assert_eq!(received().await, before);

    standby.postgres.reconnect(&conninfo, PATIENCE).await.expect("connected");
    wait_for("what was missed", received, |p| p.received >= after_cut && p.timeline == before.timeline).await;
    standby.wait_streaming().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_standby_whose_promotion_waits_to_be_noticed_is_no_standby_to_a_fence() {
    let (primary, standby) = Cluster::pair().await;
    let writer = primary.admin().await;
    writer.client.batch_execute("create table held (n int)").await.expect("made");
    let reader = standby.admin().await;
    let table =
        async || reader.client.query_one("select to_regclass('held') is not null", &[]).await.expect("a row").get(0);
    wait_for("the table", table, |there: &bool| *there).await;
    // Replay waits for this reader, and whoever replays does not look whether it is to be promoted.
    reader.client.batch_execute("begin; select * from held").await.expect("readable");
    writer.client.batch_execute("drop table held").await.expect("dropped");
    let watcher = standby.admin().await;
    const WAITS: &str =
        "select count(*) from pg_stat_activity where backend_type = 'startup' and wait_event_type in ('Lock', 'IPC')
                          and wait_event <> 'RecoveryWalStream'";
    let waits = async || watcher.client.query_one(WAITS, &[]).await.expect("a row").get::<_, i64>(0);
    wait_for("replay to wait", waits, |n| *n == 1).await;

    let error = standby.postgres.promote(Duration::from_secs(1)).await.expect_err("it cannot be done");
    assert!(matches!(error, PostgresError::TimedOut { .. }), "{error}");
    assert!(standby.exists("promote"), "the order is not noticed yet");
    let fenced = standby.postgres.fence(Duration::from_secs(6)).await.expect("nothing is left");
    assert_ne!(fenced, Fenced::Standby);
    assert_eq!(standby.pids(), Vec::<i32>::new());
    // Mostly the order went with it. But whoever replays may be let go in the moment in which the reader is ended, and
    // notice it yet: then the data say so, and nobody wrote.
    let look = standby.postgres.start_any(PATIENCE).await.expect("it starts");
    let promoted = look.timeline == Some(Timeline(2));
    assert_eq!(look.in_recovery(), Some(!promoted), "{look}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_standby_that_is_being_promoted_is_no_standby_to_a_fence() {
    let (primary, standby) = Cluster::pair().await;
    let (writer, watcher) = (primary.admin().await, standby.admin().await);
    watcher.client.batch_execute("select pg_wal_replay_pause()").await.expect("paused");
    // Enough to replay that the promotion can be caught in the middle of it.
    const BULK: &str = "create table bulk as select g, repeat('x', 500) from generate_series(1, 150000) g";
    writer.client.batch_execute(BULK).await.expect("written");
    let lsn = primary.postgres.marker(PATIENCE).await.expect("a write commits");
    wait_for(
        "all to be received",
        async || standby.postgres.position(PATIENCE).await.expect("a standby"),
        |p| p.received >= lsn,
    )
    .await;
    assert_eq!(standby.postgres.fence(PATIENCE).await.expect("paused, not promoted"), Fenced::Standby);
    const STARTUP: &str = "select pid from pg_stat_activity where backend_type = 'startup'";
    let startup: i32 = watcher.client.query_one(STARTUP, &[]).await.expect("a row").get(0);

    watcher.client.batch_execute("select pg_promote(false)").await.expect("ordered");
    while standby.exists("promote") {
        tokio::task::yield_now().await;
    }
    signal(startup, Signal::STOP);
    let look = standby.postgres.look(PATIENCE).await.expect("it can be looked at");
    assert_eq!(look.in_recovery(), Some(true), "the promotion was over too soon to be seen: {look}");
    let fenced = standby.postgres.fence(Duration::from_secs(6)).await.expect("nothing is left");
    assert_ne!(fenced, Fenced::Standby);
    assert_eq!(standby.pids(), Vec::<i32>::new());
}

fn postgres_check(login: &Login, expect: PostgresExpect) -> Check {
    Check::Postgres { login: login.clone(), expect }
}

#[tokio::test(flavor = "multi_thread")]
async fn checks_tell_who_takes_writes_and_who_follows() {
    let (primary, standby) = Cluster::pair().await;
    let runner = Runner::new();
    let run =
        async |cluster: &Cluster, expect| runner.run(&postgres_check(cluster.postgres.login(), expect), PATIENCE).await;

    let writes = run(&primary, PostgresExpect::AcceptsWrites).await;
    let Outcome::Ok { evidence: Evidence::Wrote { lsn, timeline: Timeline(1), system: Some(system) } } = writes else {
        panic!("{writes:?}")
    };
    let arrived =
        |o: &Outcome| matches!(o, Outcome::Ok { evidence: Evidence::Follows { received, .. } } if *received >= lsn);
    let follows =
        wait_for("the marker to arrive", async || run(&standby, PostgresExpect::Streams).await, arrived).await;
    let Outcome::Ok { evidence: Evidence::Follows { sender_host, last_message_age, system: same, .. } } = follows
    else {
        panic!("{follows:?}")
    };
    assert_eq!((sender_host.as_deref(), same), (Some("127.0.0.1"), Some(system)));
    assert!(last_message_age.is_some());
    for (cluster, expect) in [(&standby, PostgresExpect::AcceptsWrites), (&primary, PostgresExpect::Streams)] {
        let outcome = run(cluster, expect).await;
        assert!(matches!(outcome, Outcome::Failing { .. }), "{outcome:?}");
    }

    primary.postgres.fence(PATIENCE).await.expect("stopped");
    let down = run(&primary, PostgresExpect::AcceptsWrites).await;
    assert!(matches!(down, Outcome::Failing { evidence: None, .. }), "{down:?}");
    // An orphaned standby still tells how far it came.
    let orphan =
        |o: &Outcome| matches!(o, Outcome::Failing { evidence: Some(Evidence::Follows { streaming: false, .. }), .. });
    wait_for("an orphaned standby", async || run(&standby, PostgresExpect::Streams).await, orphan).await;
    let stranger = Login { user: "nobody".into(), ..standby.postgres.login().clone() };
    let outcome = runner.run(&postgres_check(&stranger, PostgresExpect::Streams), PATIENCE).await;
    assert!(matches!(outcome, Outcome::CouldNotRun { .. }), "{outcome:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_that_waits_for_ever_is_failing_and_leaves_no_backend_behind() {
    let cluster = Cluster::primary().await;
    let admin = cluster.admin().await;
    admin.client.batch_execute("alter system set synchronous_standby_names = 'nobody'").await.expect("set");
    admin.client.batch_execute("select pg_reload_conf()").await.expect("reloaded");
    const NAMES: &str = "select current_setting('synchronous_standby_names')";
    let names = async || admin.client.query_one(NAMES, &[]).await.expect("a row").get::<_, String>(0);
    wait_for("the setting", names, |text| text == "nobody").await;

    let check = postgres_check(cluster.postgres.login(), PostgresExpect::AcceptsWrites);
    let outcome = Runner::new().run(&check, Duration::from_millis(1_500)).await;
    assert!(matches!(outcome, Outcome::Failing { .. }), "{outcome:?}");
    const LEFT: &str = "select count(*) from pg_stat_activity where application_name = 'holdfast'";
    let left = async || admin.client.query_one(LEFT, &[]).await.expect("a row").get::<_, i64>(0);
    wait_for("the check's backend to be gone", left, |n| *n == 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn haproxy_is_switched_and_live_sessions_are_cut() {
    let proxy = Proxy::start().await;
    let haproxy = Haproxy::new(proxy.socket());
    assert!(proxy.connect().await.is_none(), "both servers are disabled at the start");

    let states = haproxy.open_only("pg_write", "us-east", PATIENCE).await.expect("switched");
    let found: Vec<_> = states.iter().map(|s| (s.name.as_str(), &s.state)).collect();
    assert_eq!(found, [("us-east", &Admin::Open), ("us-west", &Admin::Maintenance)]);
    let (mut session, name) = proxy.connect().await.expect("a server");
    assert_eq!(name, "us-east");
    session.write_all(b"x").await.expect("open");
    session.read_exact(&mut [0; 1]).await.expect("it echoes");

    haproxy.open_only("pg_write", "us-west", PATIENCE).await.expect("switched");
    let end = tokio::time::timeout(PATIENCE, session.read(&mut [0; 1])).await.expect("the session ends");
    assert!(matches!(end, Ok(0) | Err(_)), "the live session was not cut: {end:?}");
    assert_eq!(proxy.connect().await.expect("a server").1, "us-west");

    // Done already: nothing changes, and sessions of the open server live on.
    let (mut session, _) = proxy.connect().await.expect("a server");
    haproxy.open_only("pg_write", "us-west", PATIENCE).await.expect("nothing to do");
    session.write_all(b"x").await.expect("open");
    session.read_exact(&mut [0; 1]).await.expect("it still echoes");

    let unknown = haproxy.open_only("pg_write", "eu-north", PATIENCE).await.expect_err("no such server");
    assert!(matches!(&unknown, HaproxyError::UnknownServer { found, .. } if found == "us-east, us-west"), "{unknown}");
    assert!(matches!(haproxy.states("pg_read", PATIENCE).await, Err(HaproxyError::UnknownBackend { .. })));
    assert_eq!(proxy.connect().await.expect("unchanged").1, "us-west");

    haproxy.close_all("pg_write", PATIENCE).await.expect("closed");
    assert!(proxy.connect().await.is_none());
    let gone = Haproxy::new("/nonexistent/admin.sock").states("pg_write", PATIENCE).await.expect_err("nobody there");
    assert!(gone.to_string().contains("/nonexistent/admin.sock"), "{gone}");
}
