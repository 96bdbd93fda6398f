//! An app in two regions, as committed and as seen, for the tests beside.

use std::{collections::BTreeMap, time::Duration};

use holdfast_coordinator_core::{
    change::{ApplySpec, Change, Init, Kind, Outcome},
    counter::Counter,
    gate::StandbyDatabase,
    state::{App, State},
    verdict::{self, DatabaseSeen},
};
use holdfast_proto::v1;
use holdfast_types::{AppName, LogIndex, Lsn, WallTime};

use super::picture::{HostPicture, Hosts, LeasePicture, Picture, RegionPicture};
use crate::fleet::Presence;

/// `shop`, in us-east and us-west.
pub(super) const FAST: &str = include_str!("../../../examples/fast.yaml");
/// `wiki`, in eu-1 only.
pub(super) const ONE_REGION: &str = include_str!("../../../examples/one-region.yaml");

/// 2026-11-20T21:04:17Z.
pub(super) const NOW: WallTime = WallTime(1_795_208_657_000);

/// The app of a spec, active in `region`, at generation 1.
pub(super) fn app(spec: &str, region: &str) -> App {
    let mut state = State::default();
    let apply = ApplySpec { spec_yaml: spec.to_owned(), on_revision: 0, active_region: region.to_owned() };
    let init = Init { cluster: "0198c9a2-6f3e-4c1d-9b7a-2f4e8d1c5a60".to_owned(), name: "acme".to_owned() };
    for (index, kind) in [(1, Kind::Init(init)), (2, Kind::ApplySpec(apply))] {
        let applied = state.apply(LogIndex(index), &Change::new(NOW, "test", kind)).expect("a known kind");
        assert!(matches!(applied.outcome, Outcome::Done(_)), "{:?}", applied.outcome);
    }
    state.apps().values().next().expect("just applied").clone()
}

/// The database of a standby that follows, so many bytes behind.
pub(super) fn following(host: &str, behind: u64) -> StandbyDatabase {
    let source = Lsn(0x300_0148);
    StandbyDatabase {
        host: host.parse().expect("a name"),
        live: true,
        seen: Some(DatabaseSeen {
            in_recovery: true,
            streaming: true,
            system: 7,
            timeline: 1,
            lsn: Lsn(source.0 - behind),
            replayed: Lsn(source.0 - behind),
            ..DatabaseSeen::default()
        }),
        age: Duration::from_millis(300),
        followed: Some(true),
        source: Some((
            DatabaseSeen { accepts_writes: true, system: 7, timeline: 1, lsn: source, ..DatabaseSeen::default() },
            Duration::from_millis(400),
        )),
    }
}

/// `shop` on a good day: active in us-east, us-west follows and could take over.
pub(super) fn good_day() -> Picture {
    let mut app = app(FAST, "us-east");
    app.record.promotable = vec!["us-west".to_owned()];
    let region = |name: &str, databases| RegionPicture {
        name: name.parse().expect("a name"),
        kind: verdict::Kind::Ok,
        counter: Counter::default(),
        failures: 3,
        successes: 3,
        fresh_for: Duration::from_millis(1_250),
        reasons: Vec::new(),
        databases,
    };
    let west = BTreeMap::from([("pg".parse().expect("a name"), following("usw-db1", 0))]);
    let leases = BTreeMap::from([(
        "use-db1".parse().expect("a name"),
        LeasePicture { state: v1::LeaseState::Ended, left: Some(Duration::from_millis(2_400)), generation: 1 },
    )]);
    Picture {
        maintenance: None,
        readiness: None,
        name: AppName::new("shop").expect("a name"),
        regions: vec![region("us-east", BTreeMap::new()), region("us-west", west)],
        leases,
        gate: None,
        last: None,
        app,
    }
}

/// The four hosts of `shop`, all live.
pub(super) fn hosts() -> Hosts {
    let host = |name: &str, region: &str, role: &str| {
        let picture = HostPicture {
            region: region.to_owned(),
            presence: Presence::Live(WallTime(NOW.0 - 3_600_000)),
            quarantine: String::new(),
            roles: vec![format!("shop {role}")],
            problems: Vec::new(),
        };
        (name.parse().expect("a name"), picture)
    };
    Hosts::from([
        host("use-db1", "us-east", "db"),
        host("use-web1", "us-east", "proxy"),
        host("usw-db1", "us-west", "db"),
        host("usw-web1", "us-west", "proxy"),
    ])
}
