//! What load balancers and the like ask, by the standard service.

use tonic::Code;
use tonic_health::pb::{HealthCheckRequest, health_check_response::ServingStatus, health_server::Health as _};

use super::*;
use crate::describe::Health;

fn of(service: &str) -> HealthCheckRequest {
    HealthCheckRequest { service: service.to_owned() }
}

#[tokio::test]
async fn serving_is_who_leads_and_only_bearers_of_a_certificate_are_told() {
    let world = World::new().await;
    let api = &world.api;
    let health = Health::new(api.replica.clone(), api.tasks.clone(), api.cancel.clone());
    let agent = || Bearer::Agent { region: "us-east".parse().unwrap(), host: "use-db1".parse().unwrap() };
    for service in ["", "holdfast.v1.Fleet", "holdfast.v1.AgentSession"] {
        for request in [world.ask(of(service)), world.by(agent(), of(service))] {
            let said = health.check(request).await.expect("an answer").into_inner().status();
            assert_eq!(said, ServingStatus::Serving, "{service}");
        }
    }
    let unknown = health.check(world.ask(of("holdfast.v1.Nobody"))).await.expect_err("no such service");
    assert_eq!(unknown.code(), Code::NotFound);
    let mut stranger = Request::new(of(""));
    stranger.extensions_mut().insert(Arc::new(Peer { address: "10.0.0.9:1".to_owned(), identity: None }));
    assert_eq!(reason(&health.check(stranger).await.expect_err("no certificate")), Some(Reason::NotPermitted));

    let mut watched = health.watch(world.ask(of(""))).await.expect("a stream").into_inner();
    let mut nobody = health.watch(world.ask(of("holdfast.v1.Nobody"))).await.expect("a stream").into_inner();
    let first = timeout(WITHIN, watched.next()).await.expect("in time").expect("an answer").expect("no refusal");
    assert_eq!(first.status(), ServingStatus::Serving);
    let first = timeout(WITHIN, nobody.next()).await.expect("in time").expect("an answer").expect("no refusal");
    assert_eq!(first.status(), ServingStatus::ServiceUnknown);
    world.consensus.shutdown().await;
    let next = timeout(WITHIN, watched.next()).await.expect("in time").expect("an answer").expect("no refusal");
    assert_eq!(next.status(), ServingStatus::NotServing);
    let said = health.check(world.ask(of(""))).await.expect("an answer").into_inner().status();
    assert_eq!(said, ServingStatus::NotServing);
    // Streams that are still open do not keep the coordinator from stopping.
    world.end().await;
}
