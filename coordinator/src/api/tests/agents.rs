//! What an agent with a valid certificate can do beside what it should.

use super::*;
use crate::{authorise::AgentCaller, session::Sessions};

#[tokio::test]
async fn a_second_run_of_an_agent_gets_no_lease_while_the_first_has_the_session() {
    let world = World::with_shop().await;
    let leases = &world.api.leases;
    leases.begin_leadership(
        world.api.clock.boot(),
        world.api.replica.consensus().confirm_leader().await.expect("it leads"),
    );
    let host: HostName = "use-db1".parse().expect("a name");
    let ask = |number, instance: &str| {
        let (app, instance) = ("shop".to_owned(), instance.to_owned());
        leases.answer(&host, vec![v1::LeaseRequest { app, number, generation: 1, instance, ..<_>::default() }])
    };
    let granted = |replies: Vec<v1::LeaseReply>| match replies.into_iter().next().and_then(|r| r.answer) {
        Some(v1::lease_reply::Answer::Grant(_)) => Ok(()),
        Some(v1::lease_reply::Answer::Refused(why)) => Err(why.what),
        None => Err("no answer".to_owned()),
    };
    assert_eq!(granted(ask(1, PLAYED).await), Ok(()));
    let clone = granted(ask(2, "from a copy of its disk").await);
    assert_eq!(clone, Err("another run of the agent has the session of use-db1".to_owned()));
    world.api.fleet.leave(&host, world.api.fleet.session(&host).expect("a session"), world.api.clock.wall());
    assert_eq!(granted(ask(3, "started again").await), Ok(()), "nobody else is there");
    world.end().await;
}

#[tokio::test]
async fn a_quarantined_host_is_told_which_of_its_apps_are_active_elsewhere_and_nothing_else() {
    let world = World::with_shop().await;
    let api = &world.api;
    let sessions = Sessions {
        comings: Arc::default(),
        replica: api.replica.clone(),
        fleet: api.fleet.clone(),
        leases: api.leases.clone(),
        watch: api.watch.clone(),
        paces: Paces::default(),
        metrics: api.metrics.clone(),
        clock: api.clock.clone(),
        tasks: api.tasks.clone(),
        cancel: api.cancel.clone(),
        refusals: api.hot.refusals().clone(),
    };
    let told = |host: &str, region: &str| {
        let caller = AgentCaller {
            host: host.parse().expect("a name"),
            region: region.parse().expect("a name"),
            serial: "1".to_owned(),
            address: "10.0.0.9:1".to_owned(),
        };
        let refused = from_status(&sessions.quarantined(&caller, "its disk went back")).expect("a refusal");
        assert_eq!(Reason::from_number(refused.reason), Some(Reason::Quarantined));
        refused.moved.into_iter().map(|moved| (moved.app, moved.generation)).collect::<Vec<_>>()
    };
    assert_eq!(told("usw-db1", "us-west"), [("shop".to_owned(), 1)]);
    assert_eq!(told("use-db1", "us-east"), [], "shop is active here");
    assert_eq!(told("usw-web1", "us-west"), [], "it writes nothing");
    world.end().await;
}

#[tokio::test]
async fn only_those_who_were_asked_answer_a_look_and_each_once() {
    let fleet = Fleet::default();
    let [asked, other]: [HostName; 2] = ["use-db1", "use-db2"].map(|name| name.parse().expect("a name"));
    let (number, mut answers) = fleet.begin_look(&[asked.clone()].into(), &"shop".parse().expect("a name"), "");
    let reply = |problem: &str| v1::LookReply { number, problems: vec![problem.to_owned()], ..<_>::default() };
    fleet.looked(&other, reply("not asked"));
    fleet.looked(&asked, reply("first"));
    fleet.looked(&asked, reply("second"));
    fleet.end_look(number);
    let (host, answer) = answers.recv().await.expect("an answer");
    assert_eq!((host, answer.problems), (asked, vec!["first".to_owned()]));
    assert!(answers.recv().await.is_none());
}
