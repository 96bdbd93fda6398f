//! Commands of the whole agent: at most once, in order, and their results never lost.

mod doubles;

use std::{sync::Arc, time::Duration};

use doubles::{Agent, Coordinator, Host, Policy, eventually};
use holdfast_proto::v1::{self, command::Body};

const WITHIN: Duration = Duration::from_secs(10);

async fn standby() -> (Coordinator, Arc<Host>, Agent) {
    let coordinator = Coordinator::start().await;
    coordinator.desire(1, "us-west", 10, |_| {});
    let host = Host::standby();
    let agent = Agent::start("us-east", &host, &coordinator).await;
    ready(&coordinator).await;
    (coordinator, host, agent)
}

/// The agent has taken what should be: only then does it know the app.
async fn ready(coordinator: &Coordinator) {
    let told = |body: &v1::from_agent::Body| {
        if let v1::from_agent::Body::Heartbeat(beat) = body { !beat.leases.is_empty() } else { false }
    };
    eventually("the app known", || (coordinator.sessions() > 0 && coordinator.heard().iter().any(told)).then_some(()))
        .await;
}

#[tokio::test]
async fn a_repeat_returns_the_stored_result_and_a_lower_token_is_refused() {
    let (coordinator, host, mut agent) = standby().await;
    coordinator.command(1, 20, 1, WITHIN, Body::Cut(v1::Cut {}));
    let first = coordinator.result(1).await;
    assert_eq!(first.outcome(), v1::CommandOutcome::Done, "{}", first.text);
    assert!(!format!("{first:?}").contains("10.0.0.1"), "what a standby was connected with stays on its host");

    coordinator.command(1, 20, 1, WITHIN, Body::Cut(v1::Cut {}));
    eventually("the result told again", || (coordinator.results(1).len() > 1).then_some(())).await;
    assert!(coordinator.results(1).iter().all(|result| *result == first));
    assert_eq!(host.times("cut"), 1, "at most once");

    coordinator.command(2, 19, 1, WITHIN, Body::Cut(v1::Cut {}));
    let refused = coordinator.result(2).await;
    assert_eq!(refused.outcome(), v1::CommandOutcome::Refused);
    assert_eq!(refused.text, "token 1.19 is lower than 1.20, the highest that was begun here");

    // Also by the next life of the agent.
    agent.kill().await;
    agent.go();
    eventually("a second session", || hellos(&coordinator, 2)).await;
    coordinator.command(3, 19, 1, WITHIN, Body::Cut(v1::Cut {}));
    assert_eq!(coordinator.result(3).await.outcome(), v1::CommandOutcome::Refused);

    coordinator.command(4, 21, 1, WITHIN, Body::Reconnect(v1::Reconnect {}));
    assert_eq!(coordinator.result(4).await.outcome(), v1::CommandOutcome::Done);
    assert_eq!(host.state().conninfo.as_deref(), Some("host=10.0.0.1"));
    agent.stop().await;
}

fn hellos(coordinator: &Coordinator, starts: u64) -> Option<()> {
    let of = |body: &v1::from_agent::Body| matches!(body, v1::from_agent::Body::Hello(hello) if hello.starts == starts);
    coordinator.heard().iter().any(of).then_some(())
}

#[tokio::test]
async fn a_result_is_told_again_over_restarts_until_it_is_acknowledged() {
    let (coordinator, _host, mut agent) = standby().await;
    coordinator.acknowledge(false);
    coordinator.command(1, 20, 1, WITHIN, Body::Cut(v1::Cut {}));
    coordinator.result(1).await;
    for starts in 2..4 {
        agent.kill().await;
        let before = coordinator.results(1).len();
        agent.go();
        eventually("a session", || hellos(&coordinator, starts)).await;
        eventually("the result again", || (coordinator.results(1).len() > before).then_some(())).await;
    }
    // A session that broke is told it again as well.
    let before = coordinator.results(1).len();
    coordinator.drop_all();
    eventually("the result again", || (coordinator.results(1).len() > before).then_some(())).await;
    coordinator.acknowledge(true);
    coordinator.drop_all();
    let (store, _) = holdfast_agent::store::Store::open(agent.db(), &agent.clock().boot_id()).await.expect("opened");
    let clock = agent.clock();
    let end = clock.boot() + Duration::from_secs(15);
    while !store.outbox().await.expect("read").is_empty() {
        assert!(clock.boot() < end, "still in the outbox");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    agent.stop().await;
}

#[tokio::test]
async fn a_command_that_was_interrupted_is_carried_on_and_told_once() {
    let (coordinator, host, mut agent) = standby().await;
    host.change(|state| state.slow_cut = Duration::from_secs(600));
    coordinator.command(1, 20, 1, WITHIN, Body::Cut(v1::Cut {}));
    eventually("the cut begun", || (host.times("cut") == 1).then_some(())).await;
    agent.kill().await;
    host.change(|state| state.slow_cut = Duration::ZERO);
    agent.go();
    let result = coordinator.result(1).await;
    assert_eq!(result.outcome(), v1::CommandOutcome::Done, "{}", result.text);
    assert_eq!(host.times("cut"), 2, "looked at and carried on");
    agent.stop().await;
}

#[tokio::test]
async fn a_fence_waits_for_nobody_and_its_result_says_that_nothing_is_left() {
    let (coordinator, host, mut agent) = standby().await;
    host.change(|state| {
        state.slow_cut = Duration::from_secs(600);
        state.standby = false;
        state.running = false;
    });
    coordinator.command(1, 20, 1, WITHIN, Body::Cut(v1::Cut {}));
    eventually("the cut begun", || (host.times("cut") == 1).then_some(())).await;
    // One that waits behind it is not begun before the fence.
    coordinator.command(3, 25, 1, WITHIN, Body::Cut(v1::Cut {}));
    coordinator.command(2, 30, 1, WITHIN, Body::Fence(v1::Fence {}));
    assert_eq!(coordinator.result(3).await.text, "cut was not begun: a later command takes it back");
    assert_eq!(coordinator.result(1).await.outcome(), v1::CommandOutcome::Failed);
    let fenced = coordinator.result(2).await;
    assert_eq!(fenced.outcome(), v1::CommandOutcome::Done, "{}", fenced.text);
    assert!(fenced.text.starts_with("generation 1 is fenced: pg stopped"), "{}", fenced.text);
    assert_eq!(coordinator.lease_is(v1::LeaseState::Fenced).await.fenced, 1);
    assert_eq!(host.times("cut"), 1);
    agent.stop().await;
}

#[tokio::test]
async fn nothing_is_promoted_without_a_live_lease_of_the_commands_generation() {
    let (coordinator, host, mut agent) = standby().await;
    coordinator.policy(Policy::Lease(2));
    coordinator.desire(2, "us-east", 20, |_| {});
    coordinator.lease_is(v1::LeaseState::Ended).await;
    coordinator.command(1, 21, 3, Duration::from_millis(700), Body::Promote(v1::Promote {}));
    let failed = coordinator.result(1).await;
    assert_eq!(failed.outcome(), v1::CommandOutcome::Failed);
    assert_eq!(host.times("promote"), 0, "{}", failed.text);
    coordinator.command(2, 22, 2, WITHIN, Body::Promote(v1::Promote {}));
    let done = coordinator.result(2).await;
    assert_eq!(done.outcome(), v1::CommandOutcome::Done, "{}", done.text);
    assert!(done.database.is_some_and(|database| database.accepts_writes));
    assert_eq!(host.times("promote"), 1);
    assert_eq!(host.times("start"), 0, "a lease alone starts nothing that was not primary here");
    agent.stop().await;
}

#[tokio::test]
async fn proxies_follow_the_newest_order_and_are_opened_again_after_their_restart() {
    let (coordinator, host, mut agent) = standby().await;
    let open = |region: &str| {
        let host = Arc::clone(&host);
        let region = region.to_owned();
        move || {
            let open: Vec<_> = host.state().open.into_iter().filter(|(_, open)| *open).map(|(name, _)| name).collect();
            (open == [region.clone()]).then_some(())
        }
    };
    coordinator.desire(1, "us-west", 11, |app| app.routed = true);
    eventually("us-west open", open("us-west")).await;
    // A proxy that restarted has all its servers in maintenance.
    host.change(|state| state.open.values_mut().for_each(|open| *open = false));
    eventually("us-west open again", open("us-west")).await;

    coordinator.command(1, 12, 1, WITHIN, Body::Route(v1::Route { region: "us-east".to_owned() }));
    assert_eq!(coordinator.result(1).await.outcome(), v1::CommandOutcome::Done);
    eventually("us-east open", open("us-east")).await;
    coordinator.desire(2, "us-west", 30, |app| app.routed = true);
    eventually("us-west open", open("us-west")).await;
    coordinator.command(2, 29, 1, WITHIN, Body::Route(v1::Route { region: "us-east".to_owned() }));
    assert_eq!(coordinator.result(2).await.outcome(), v1::CommandOutcome::Refused, "older than the committed state");
    eventually("us-west open", open("us-west")).await;
    let reported = |body: v1::from_agent::Body| {
        if let v1::from_agent::Body::Proxies(report) = body { report.proxies.into_iter().next() } else { None }
    };
    eventually("a report", || {
        coordinator.heard().into_iter().rev().find_map(reported).filter(|proxy| proxy.open == ["us-west"])
    })
    .await;
    agent.stop().await;
}

#[tokio::test]
async fn an_older_state_is_refused_and_a_look_changes_nothing() {
    let (coordinator, host, mut agent) = standby().await;
    coordinator.desire(3, "us-west", 40, |_| {});
    let generation = |generation| move |lease: &v1::LeaseView| lease.generation == generation;
    eventually("generation 3", || coordinator.lease().filter(generation(3))).await;
    coordinator.desire(2, "us-east", 39, |_| {});
    let look = v1::LookRequest { number: 9, app: "shop".to_owned(), spec_yaml: doubles::SHOP.to_owned() };
    coordinator.say(v1::to_agent::Body::Look(look));
    let reply = eventually("a look", || {
        coordinator
            .heard()
            .into_iter()
            .find_map(|body| if let v1::from_agent::Body::Look(reply) = body { Some(reply) } else { None })
    })
    .await;
    assert_eq!((reply.number, reply.problems.len(), reply.writers.len()), (9, 0, 1), "{reply:?}");
    assert!(reply.writers[0].database.as_ref().is_some_and(|database| database.in_recovery));
    assert_eq!(coordinator.lease().map(|lease| lease.generation), Some(3));
    assert!(host.state().did.is_empty());
    agent.stop().await;
}

#[tokio::test]
async fn a_host_runs_no_writer_that_its_root_has_not_declared_and_says_so() {
    let coordinator = Coordinator::start().await;
    coordinator.policy(Policy::Lease(1));
    coordinator.desire(1, "us-east", 10, |_| {});
    let host = Host::primary();
    let mut agent = Agent::prepared("us-east", &host, &coordinator);
    agent.allowed = holdfast_agent::allowed::Allowed::default();
    agent.go();
    let facts = eventually("what it allows", || {
        let facts = |body| if let v1::from_agent::Body::Facts(facts) = body { Some(facts) } else { None };
        coordinator.heard().into_iter().rev().find_map(facts).filter(|facts| !facts.problems.is_empty())
    })
    .await;
    assert!(facts.allows.is_empty() && facts.problems[0].contains("gets no lease here"), "{facts:?}");
    coordinator.say(v1::to_agent::Body::Look(v1::LookRequest {
        number: 4,
        app: "shop".to_owned(),
        spec_yaml: doubles::SHOP.to_owned(),
    }));
    let reply = eventually("a look", || {
        let look = |body| if let v1::from_agent::Body::Look(reply) = body { Some(reply) } else { None };
        coordinator.heard().into_iter().find_map(look)
    })
    .await;
    assert_eq!((reply.undeclared.len(), reply.undeclared[0].add[0].as_str()), (1, "[[writers]]"), "{reply:?}");
    assert!(reply.writers.iter().all(|writer| writer.database.is_none()), "it was not looked at: {reply:?}");
    assert!(coordinator.requests().is_empty(), "no lease was asked for");
    assert!(host.state().did.is_empty());
    // Declared, from the next start on: it asks at once.
    agent.stop().await;
    agent.allowed = holdfast_agent::allowed::Allowed::all_of(
        &holdfast_types::spec::parse("shop.yaml", doubles::SHOP).expect("a spec"),
    );
    agent.go();
    coordinator.lease_is(v1::LeaseState::Ended).await;
    agent.stop().await;
}
