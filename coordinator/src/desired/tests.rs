//! What a host is told when nothing is left to tell.

use holdfast_coordinator_core::change::{ApplySpec, Change, Init, Kind};
use holdfast_types::WallTime;

use super::*;

#[test]
fn a_host_that_no_app_names_is_told_so_by_somebody_who_is_not_behind() {
    let mut state = State::default();
    let spec_yaml = include_str!("../../../examples/fast.yaml").to_owned();
    let cluster = "0198c9a2-6f3e-4c1d-9b7a-2f4e8d1c5a60".to_owned();
    for (index, kind) in [
        Kind::Init(Init { cluster, name: "acme".to_owned() }),
        Kind::ApplySpec(ApplySpec { spec_yaml, on_revision: 0, active_region: "us-east".to_owned() }),
    ]
    .into_iter()
    .enumerate()
    {
        let index = LogIndex(7 + index as u64);
        state.apply(index, &Change::new(WallTime(0), "mara", kind)).expect("a known kind");
    }
    assert_eq!(state.apps().len(), 1);
    let told =
        desired(&state, &Fleet::default(), &"old-db1".parse().expect("a name"), &"us-east".parse().expect("a name"));
    assert!(told.apps.is_empty());
    // Lower than the token of an app that it was told of before, this would be taken for old news.
    assert_eq!(told.token.map(|token| token.index), Some(8));
}
