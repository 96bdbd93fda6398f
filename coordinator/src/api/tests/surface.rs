//! Maintenance, and what is removed.

use super::*;
use holdfast_proto::v1::maintenance_server::Maintenance;

fn on(app: &str, region: &str, lasts: Option<Duration>) -> v1::BeginMaintenanceRequest {
    v1::BeginMaintenanceRequest {
        app: app.to_owned(),
        region: region.to_owned(),
        reason: "new disks".to_owned(),
        lasts: lasts.and_then(|l| l.try_into().ok()),
    }
}

fn off(app: &str, region: &str) -> v1::EndMaintenanceRequest {
    v1::EndMaintenanceRequest { app: app.to_owned(), region: region.to_owned(), reason: String::new() }
}

#[tokio::test]
async fn maintenance_is_told_to_everybody_and_ended_by_name_or_by_its_time() {
    let world = World::with_shop().await;
    let api = &world.api;
    for (request, expected) in [
        (on("wiki", "", None), Reason::UnknownApp),
        (on("", "mars", None), Reason::UnknownRegion),
        (on("shop", "us-east", None), Reason::BadRequest),
        (on("shop", "", Some(Duration::from_secs(8 * 86_400))), Reason::BadRequest),
        (v1::BeginMaintenanceRequest { reason: " ".to_owned(), ..on("shop", "", None) }, Reason::BadRequest),
    ] {
        let status = Maintenance::begin(api, world.ask(request.clone())).await.expect_err("refused");
        assert_eq!(reason(&status), Some(expected), "{request:?}: {status}");
    }
    let begun = Maintenance::begin(api, world.ask(on("", "us-west", None))).await.expect("begun").into_inner();
    assert_eq!(begun.apps, ["shop"]);
    let status = Maintenance::end(api, world.ask(off("shop", ""))).await.expect_err("the region is, not the app");
    let refusal = from_status(&status).expect("a refusal");
    assert_eq!(reason(&status), Some(Reason::NoMaintenance));
    assert_eq!(refusal.next[0], "holdfast maintenance off --region us-west");

    let status = api.status(world.ask(v1::StatusRequest {})).await.expect("a status").into_inner();
    let told = status.apps[0].maintenance.as_ref().expect("it is in maintenance");
    assert_eq!((&*told.scope, &*told.by, &*told.why), ("region us-west", "operator ada", "new disks"));
    assert!(status.notes[0].starts_with("region us-west is in maintenance until "), "{:?}", status.notes);
    assert!(status.notes[0].ends_with("holdfast maintenance off --region us-west"), "{:?}", status.notes);

    // A viewer may not; that is in the trail.
    let begin = Maintenance::begin(api, world.by(agent("use-db1", "us-east"), on("shop", "", None))).await;
    assert_eq!(reason(&begin.expect_err("an agent")), Some(Reason::NotPermitted));
    Maintenance::begin(api, world.ask(on("shop", "", Some(Duration::from_millis(300))))).await.expect("begun");
    let ended = Maintenance::end(api, world.ask(off("", "us-west"))).await.expect("ended").into_inner();
    assert!(ended.still[0].starts_with("app shop is in maintenance until "), "{ended:?}");
    let duty = CancellationToken::new();
    let run = crate::maintenance::run(api.replica.clone(), api.clock.clone(), duty.clone());
    let over = async {
        let mut applied = api.replica.applied();
        while api.replica.read(|s| s.maintenance().count()) > 0 {
            applied.changed().await.expect("the state lives");
        }
        duty.cancel();
    };
    timeout(WITHIN, async { tokio::join!(run, over) }).await.expect("its time is up");
    let trail: Vec<String> = api.replica.read(|s| {
        s.audit_after(0)
            .filter(|e| e.call.starts_with("maintenance"))
            .map(|e| format!("{} {}", e.subject, e.done))
            .collect()
    });
    assert_eq!(trail[trail.len() - 3..], ["shop false", "shop true", "--region us-west true"], "{trail:?}");
    world.end().await;
}

fn agent(host: &str, region: &str) -> Bearer {
    Bearer::Agent { region: region.parse().expect("a name"), host: host.parse().expect("a name") }
}

fn remove(app: &str, dry_run: bool) -> v1::RemoveAppRequest {
    v1::RemoveAppRequest { app: app.to_owned(), reason: "moved".to_owned(), dry_run, if_revision: None }
}

#[tokio::test]
async fn a_removed_app_is_told_to_its_hosts_as_news_and_comes_back_above_its_generation() {
    let world = World::with_shop().await;
    let api = &world.api;
    let desired = |host: &str, region: &str| {
        let (host, region) = (host.parse().expect("a name"), region.parse().expect("a name"));
        api.replica.read(|s| crate::desired::desired(s, &api.fleet, &host, &region))
    };
    let before = desired("use-db1", "us-east");
    let preview = Apps::remove(api, world.ask(remove("shop", true))).await.expect("a preview").into_inner();
    assert_eq!((preview.revision, preview.generation, &*preview.active_region), (1, 1, "us-east"));
    assert_eq!(preview.told.len(), 4, "{preview:?}");
    assert!(preview.left[0].contains("nothing fences it any more"), "{preview:?}");
    assert_eq!(desired("use-db1", "us-east"), before, "a preview changes nothing");
    let stale = v1::RemoveAppRequest { if_revision: Some(7), ..remove("shop", false) };
    let status = Apps::remove(api, world.ask(stale)).await.expect_err("another revision");
    assert_eq!(reason(&status), Some(Reason::StaleRevision));
    let status = Apps::remove(api, world.ask(remove("wiki", false))).await.expect_err("no such app");
    assert_eq!(reason(&status), Some(Reason::UnknownApp));

    Apps::remove(api, world.ask(remove("shop", false))).await.expect("removed");
    let after = desired("use-db1", "us-east");
    assert!(after.apps.is_empty());
    let index = |d: &v1::Desired| d.token.as_ref().map(|t| t.index).expect("a token");
    assert!(index(&after) > index(&before), "an agent takes only what is newer");
    let status = Apps::remove(api, world.ask(remove("shop", false))).await.expect_err("gone");
    assert_eq!(reason(&status), Some(Reason::UnknownApp));

    let applied = world.apply(samples::FAST, Some(0)).await.expect("declared again");
    assert_eq!((applied.revision, applied.generation), (1, 2));
    let again = desired("use-db1", "us-east").apps.remove(0);
    assert_eq!((again.generation, again.first_generation, again.active_since), (2, 2, 2));
    world.end().await;
}

#[tokio::test]
async fn an_app_is_not_removed_under_an_operation_and_a_host_not_under_an_app() {
    let world = World::with_shop().await;
    let api = &world.api;
    let host =
        |host: &str, also_live| v1::RemoveHostRequest { host: host.to_owned(), reason: "sold".to_owned(), also_live };
    let status = Certificates::remove_host(api, world.ask(host("usw-web1", true))).await.expect_err("named by shop");
    assert_eq!(reason(&status), Some(Reason::HostInUse));
    let app = api.replica.read(|s| s.apps().values().next().expect("shop").clone());
    let promotable = SetPromotable { app: "shop".to_owned(), generation: 1, regions: vec!["us-west".to_owned()] };
    api.replica.propose(COORDINATOR, Kind::SetPromotable(promotable)).await.expect("promotable");
    let app = api.replica.read(|s| s.app(&app.spec.app).expect("shop").clone());
    let plan = plan::failover(&app, &FailoverRequest { to: None, able: None, reason: String::new() }).expect("a plan");
    let start = StartOperation { operation: Some(plan), generation: 1, revision: 1 };
    api.replica.propose(COORDINATOR, Kind::StartOperation(start)).await.expect("started");
    for dry_run in [true, false] {
        let status = Apps::remove(api, world.ask(remove("shop", dry_run))).await.expect_err("an operation runs");
        assert_eq!(reason(&status), Some(Reason::OperationRunning));
    }
    let end = EndOperation { operation: 1, state: OperationState::Failed.into(), text: "test".to_owned() };
    api.replica.propose(COORDINATOR, Kind::EndOperation(end)).await.expect("ended");
    Apps::remove(api, world.ask(remove("shop", false))).await.expect("removed");

    let status = Certificates::remove_host(api, world.ask(host("usw-web1", false))).await.expect_err("it is live");
    assert_eq!(reason(&status), Some(Reason::HostLive));
    let silent = v1::RemoveHostRequest { reason: String::new(), ..host("usw-web1", true) };
    let status = Certificates::remove_host(api, world.ask(silent)).await.expect_err("no reason");
    assert_eq!(reason(&status), Some(Reason::BadRequest));
    let removed =
        Certificates::remove_host(api, world.ask(host("usw-web1", true))).await.expect("removed").into_inner();
    assert_eq!((&*removed.region, removed.certificates, removed.sessions_cut), ("us-west", 1, 1));
    let hosts = api.hosts(world.ask(v1::HostsRequest {})).await.expect("hosts").into_inner().hosts;
    assert!(hosts.iter().all(|h| h.host != "usw-web1"), "{hosts:?}");
    let status = Certificates::remove_host(api, world.ask(host("usw-web1", true))).await.expect_err("gone");
    assert_eq!(reason(&status), Some(Reason::UnknownHost));
    world.end().await;
}
