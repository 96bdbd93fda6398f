//! Leases of the whole agent: real time, real database file, real gRPC; doubles for the coordinator and PostgreSQL.

mod doubles;

use std::time::Duration;

use doubles::{Agent, Coordinator, Host, LEASE, Policy, SHOP, eventually};
use holdfast_agent::control::{self, Question};
use holdfast_proto::v1;
use holdfast_types::AppName;

async fn holder(policy: Policy) -> (Coordinator, std::sync::Arc<Host>, Agent) {
    let coordinator = Coordinator::start().await;
    coordinator.policy(policy);
    let ends = matches!(policy, Policy::Lease(_));
    coordinator.desire(1, "us-east", 10, |app| app.lease_ends = ends);
    let host = Host::primary();
    let agent = Agent::start("us-east", &host, &coordinator).await;
    let state = if ends { v1::LeaseState::Ended } else { v1::LeaseState::Sole };
    coordinator.lease_is(state).await;
    (coordinator, host, agent)
}

#[tokio::test]
async fn a_lease_that_is_not_renewed_fences_and_the_next_generation_starts_the_writers_again() {
    let (coordinator, host, mut agent) = holder(Policy::Lease(1)).await;
    let ends =
        eventually("an end that is counted", || coordinator.requests().into_iter().find(|request| request.counts_end))
            .await;
    assert_eq!((ends.generation, ends.fenced), (1, 0));
    // It goes on as long as it is renewed.
    let seen = coordinator.requests().len();
    eventually("three more renewals", || (coordinator.requests().len() > seen + 3).then_some(())).await;
    assert_eq!(host.times("fence"), 0);

    host.change(|state| state.stubborn = 2);
    coordinator.policy(Policy::Silent);
    let clock = agent.clock();
    let silent = clock.boot();
    eventually("the database down", || (!host.state().running).then_some(())).await;
    let took = clock.boot().since(silent);
    assert!(took < LEASE + Duration::from_secs(1), "fenced after {took:?}, two refusals included");
    eventually("the fence told", || coordinator.requests().last().filter(|last| last.fenced == 1).map(|_| ())).await;
    assert_eq!(coordinator.lease_is(v1::LeaseState::Fenced).await.fenced, 1);

    // A grant of the fenced generation is worth nothing; the next one starts what was fenced.
    coordinator.policy(Policy::Lease(1));
    let seen = coordinator.requests().len();
    eventually("two more requests", || (coordinator.requests().len() > seen + 2).then_some(())).await;
    assert!(!host.state().running);
    coordinator.policy(Policy::Lease(2));
    coordinator.desire(2, "us-east", 20, |_| {});
    eventually("the database up", || host.state().running.then_some(())).await;
    assert_eq!(host.times("start"), 1);
    agent.stop().await;
}

#[tokio::test]
async fn an_agent_that_starts_again_takes_its_lease_over_and_fences_when_there_is_none() {
    let (coordinator, host, mut agent) = holder(Policy::Lease(1)).await;
    eventually("a lease durably known", || coordinator.requests().into_iter().find(|request| request.counts_end)).await;
    agent.kill().await;
    agent.go();
    let starts = |body: &v1::from_agent::Body| matches!(body, v1::from_agent::Body::Hello(hello) if hello.starts == 2);
    eventually("a second session", || coordinator.heard().iter().any(starts).then_some(())).await;
    coordinator.lease_is(v1::LeaseState::Ended).await;
    assert_eq!(host.times("fence"), 0, "taken over");

    coordinator.policy(Policy::Silent);
    agent.kill().await;
    std::fs::remove_dir_all(agent.run_dir()).expect("removed");
    agent.go();
    eventually("the database down", || (!host.state().running).then_some(())).await;
    agent.stop().await;
}

#[tokio::test]
async fn a_lease_without_end_goes_on_without_any_coordinator_and_after_a_reboot() {
    let (coordinator, host, mut agent) = holder(Policy::Sole(1)).await;
    coordinator.policy(Policy::Silent);
    let clock = agent.clock();
    let silent = clock.boot();
    eventually("three leases gone by", || (clock.boot().since(silent) > LEASE * 3).then_some(())).await;
    assert_eq!(host.times("fence"), 0);
    coordinator.lease_is(v1::LeaseState::Sole).await;

    agent.kill().await;
    agent.reboot();
    agent.go();
    eventually("the database started", || host.state().running.then_some(())).await;
    assert_eq!(host.times("fence"), 0);

    // Told that leases end: an end is counted only after a fresh grant, and told only then.
    coordinator.policy(Policy::Lease(1));
    coordinator.desire(1, "us-east", 11, |app| app.lease_ends = true);
    eventually("an end that is counted", || coordinator.requests().into_iter().find(|request| request.counts_end))
        .await;
    coordinator.policy(Policy::Silent);
    eventually("the database down", || (!host.state().running).then_some(())).await;
    agent.stop().await;
}

#[tokio::test]
async fn a_database_that_accepts_writes_without_a_lease_is_stopped() {
    let coordinator = Coordinator::start().await;
    coordinator.desire(1, "us-west", 10, |_| {});
    let host = Host::standby();
    let mut agent = Agent::start("us-east", &host, &coordinator).await;
    eventually("a session", || (coordinator.sessions() > 0).then_some(())).await;
    eventually("an observation", || observation(&coordinator)).await;
    assert_eq!(host.times("fence"), 0, "a standby is left alone");
    host.change(|state| state.standby = false);
    eventually("the stray stopped", || (!host.state().running).then_some(())).await;
    agent.stop().await;
}

fn observation(coordinator: &Coordinator) -> Option<v1::Observation> {
    coordinator.heard().into_iter().find_map(|body| {
        if let v1::from_agent::Body::Observation(observation) = body { Some(observation) } else { None }
    })
}

#[tokio::test]
async fn the_first_apply_stops_nothing() {
    let coordinator = Coordinator::start().await;
    coordinator.desire(1, "us-east", 10, |_| {});
    let host = Host::primary();
    let mut agent = Agent::start("us-east", &host, &coordinator).await;
    let seen = eventually("an observation", || observation(&coordinator)).await;
    assert_eq!((seen.check.as_str(), seen.region.as_str(), seen.target.as_str()), ("writer:pg", "us-east", "use-db1"));
    let clock = agent.clock();
    let begin = clock.boot();
    eventually("two leases gone by", || (clock.boot().since(begin) > LEASE * 2).then_some(())).await;
    agent.kill().await;
    agent.go();
    eventually("a second session", || (coordinator.sessions() > 0).then_some(())).await;
    assert_eq!(host.times("fence"), 0);
    agent.stop().await;
}

#[tokio::test]
async fn root_ends_fencing_and_takes_it_up_again_without_a_coordinator() {
    let (coordinator, host, mut agent) = holder(Policy::Lease(1)).await;
    eventually("a lease durably known", || coordinator.requests().into_iter().find(|request| request.counts_end)).await;
    coordinator.policy(Policy::Silent);
    let app = AppName::new("shop").expect("a name");
    let release = Question::Release { app: app.clone(), reason: "coordinators are gone".to_owned() };
    let answer = control::ask(&agent.run_dir(), &release).await.expect("answered");
    assert!(answer.ok, "{answer:?}");
    let clock = agent.clock();
    let begin = clock.boot();
    eventually("two leases gone by", || (clock.boot().since(begin) > LEASE * 2).then_some(())).await;
    assert_eq!(host.times("fence"), 0);
    let status = control::ask(&agent.run_dir(), &Question::Status).await.expect("answered");
    assert!(status.lines.iter().any(|line| line.contains("RELEASED")), "{status:?}");
    // It is still so after a restart.
    agent.kill().await;
    agent.go();
    let run_dir = agent.run_dir();
    let listens = || std::os::unix::net::UnixStream::connect(control::socket_path(&run_dir)).ok();
    drop(eventually("the socket", listens).await);
    assert_eq!(host.times("fence"), 0);
    let resumed = control::ask(&agent.run_dir(), &Question::Resume { app }).await.expect("answered");
    assert!(resumed.ok, "{resumed:?}");
    eventually("the database down", || (!host.state().running).then_some(())).await;
    agent.stop().await;
}

#[test]
fn the_spec_of_these_tests_is_one() {
    holdfast_types::spec::parse("shop.yaml", SHOP).expect("a spec");
}
