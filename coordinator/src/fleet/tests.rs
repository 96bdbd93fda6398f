//! Whose word about its writers counts.

use super::*;

fn at(millis: u64) -> BootInstant {
    BootInstant::from_boot(Duration::from_millis(millis))
}

#[test]
fn only_a_host_that_is_there_and_said_so_lately_says_that_its_writers_are_not_stopped() {
    const FRESH: Duration = Duration::from_secs(3);
    let (app, host): (AppName, HostName) = ("shop".parse().expect("a name"), "use-db1".parse().expect("a name"));
    let fleet = Fleet::default();
    let says = |state: v1::LeaseState, millis| {
        let view = v1::LeaseView { app: app.to_string(), state: state.into(), ..v1::LeaseView::default() };
        fleet.note_leases(&host, vec![view], at(millis));
    };
    says(v1::LeaseState::Fencing, 1_000);
    assert!(!fleet.says_unstopped(&app, &host, at(1_000), FRESH), "it has no session");
    let region = "us-east".parse().expect("a name");
    let now = (at(1_000), WallTime(0));
    let (session, _keep) = fleet.enter(&host, &region, &v1::Hello::default(), "", now, CancellationToken::new());
    assert!(fleet.says_unstopped(&app, &host, at(4_000), FRESH));
    assert!(!fleet.says_unstopped(&app, &host, at(4_001), FRESH), "that was long ago");
    for (state, unstopped) in [
        (v1::LeaseState::Released, true),
        (v1::LeaseState::Fenced, false),
        (v1::LeaseState::None, false),
        (v1::LeaseState::Fencing, true),
    ] {
        says(state, 5_000);
        assert_eq!(fleet.says_unstopped(&app, &host, at(5_000), FRESH), unstopped, "{state:?}");
    }
    fleet.leave(&host, session, WallTime(0));
    assert!(!fleet.says_unstopped(&app, &host, at(5_000), FRESH), "its session is gone");
}
