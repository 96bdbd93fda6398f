//! Rows that older releases wrote still read.
//!
//! `rows-N.hex` holds one row a line, key and value in hexadecimal. A file is never changed. When a record has gained a
//! field, `cargo test todays_rows_read_back -- --nocapture` prints the next one's content.

use std::collections::BTreeMap;

use holdfast_coordinator_core::{
    change::{self, Change, Kind, Outcome, Refused},
    records::OperationState,
    state::{State, StateError},
};
use holdfast_types::{LogIndex, OperationId, WallTime, refusal::Reason};
use prost::Message as _;

use crate::{run::*, support::*};

const FIXTURES: [(&str, &str); 3] = [
    ("rows-1.hex", include_str!("rows-1.hex")),
    ("rows-2.hex", include_str!("rows-2.hex")),
    ("rows-3.hex", include_str!("rows-3.hex")),
];
/// Kinds of row that came with the second, then with the third.
const SINCE: [&str; 4] = ["audit/", "operator/", "maintenance/", "removed-app/"];

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

fn unhex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|n| u8::from_str_radix(&text[n..n + 2], 16).expect("hexadecimal")).collect()
}

fn read(text: &str) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let lines = text.lines().filter(|l| !l.is_empty());
    lines.map(|l| l.split_once(' ').map(|(k, v)| (unhex(k), unhex(v))).expect("a key and a value")).collect()
}

/// One of every kind of row: a failover that went a way forward, one that was taken back, one that runs, held.
fn everything() -> Log {
    let mut log = Log::with_app(&Wanted::shop(3));
    log.done(token("unused", "us-west", 2, DB[0]));
    log.done(quarantine("usw-db2"));
    log.done(Kind::Revoke(change::Revoke {
        bearer: "holdfast://0198c9a2-6f3e-4c1d-9b7a-2f4e8d1c5a60/agent/us-east/use-web1".into(),
        reason: "lost".into(),
    }));
    log.done(Kind::NoteStarts(change::NoteStarts { host: DB[0].into(), starts: 4 }));
    crate::people::a_person_and_a_call(&mut log);
    log.done(apply_spec(&Wanted { app: "gone", regions: 2, port: 5434, ..Wanted::shop(2) }, 0));
    let remove = crate::removal::remove_app(&log, "gone");
    log.done(remove);
    let operate = |log: &Log, faults| {
        let mut run = Run::failover(log, World { regions: 3, faults, ..World::default() });
        run.drive().expect("an end");
        run.log
    };
    log = operate(&log, vec![(At("cut", 0), Fails::Always)]);
    log = operate(&log, vec![(At("promote", 0), Fails::Always)]);
    log.done(apply_spec(&Wanted { app: "wiki", regions: 2, port: 5433, ..Wanted::shop(2) }, 0));
    log.done(crate::maintenance::on("wiki", "", std::time::Duration::from_secs(3_600)));
    log.done(promotable("shop", 4, &["us-west"]));
    let mut run = Run::failover(&log, World { regions: 3, ..World::default() });
    run.drive_until(|op| op.steps[1].attempt > 0).expect("a fence that runs");
    run.log
}

#[test]
fn rows_of_every_release_still_read() {
    for (file, text) in FIXTURES {
        let rows = read(text);
        let state = State::from_rows(rows.clone()).unwrap_or_else(|e| panic!("{file}: {e}"));
        let kinds = ["app/", "certificate/", "cluster", "host/", "operation/", "token/"];
        let since = match file {
            "rows-1.hex" => &SINCE[..0],
            "rows-2.hex" => &SINCE[..2],
            _ => &SINCE[..],
        };
        for kind in kinds.iter().chain(since) {
            assert!(rows.keys().any(|key| key.starts_with(kind.as_bytes())), "{file} has no row of kind {kind}");
        }
        let app = state.app(&shop()).expect("the app");
        assert_eq!((app.record.generation, app.active().as_str(), app.held()), (4, "eu-one", true), "{file}");
        let ends: Vec<OperationState> = state.operations().values().map(|op| op.at()).collect();
        assert_eq!(ends, [OperationState::Unwound, OperationState::Done, OperationState::Running], "{file}");
        let op = state.operation(OperationId(2)).expect("the second");
        assert_eq!((op.past_no_return, op.ways_forward, op.to_region.as_str()), (true, 1, "eu-one"), "{file}");
    }
}

#[test]
fn a_row_that_is_read_and_written_again_loses_nothing() {
    for (file, text) in FIXTURES {
        let rows = read(text);
        let again = State::from_rows(rows.clone()).expect("rows that read").rows();
        assert_eq!(again, rows.into_iter().collect::<Vec<_>>(), "{file}");
    }
}

/// Prints them, for the next file.
#[test]
fn todays_rows_read_back() {
    let log = everything();
    assert_eq!(log.restarted().state, log.state);
    for (key, value) in log.state.rows() {
        println!("{} {}", hex(&key), hex(&value));
    }
}

#[test]
fn rows_that_cannot_be_understood_stop_the_coordinator() {
    let good: Vec<_> = everything().state.rows();
    let app = good.iter().position(|(key, _)| key == b"app/shop").expect("the app's row");
    let with = |n: usize, key: &[u8], value: &[u8]| {
        let mut rows = good.clone();
        rows[n] = (key.to_vec(), value.to_vec());
        State::from_rows(rows).map(drop)
    };
    let spec = records_app(&good[app].1, |record| record.spec_yaml = "spec: 9".into());
    let region = records_app(&good[app].1, |record| record.active_region = "Not A Region".into());
    assert!(matches!(with(app, b"planet/mars", b""), Err(StateError::Key(_))));
    assert!(matches!(with(app, b"nothing", b""), Err(StateError::Key(_))));
    assert!(matches!(with(app, b"operation/x", b""), Err(StateError::Key(_))));
    assert!(matches!(with(app, &[0xff], b""), Err(StateError::Key(_))));
    assert!(matches!(with(app, b"app/shop", &[0xff]), Err(StateError::Record { .. })));
    assert!(matches!(with(app, b"app/shop", &spec), Err(StateError::Spec { .. })));
    assert!(matches!(with(app, b"app/shop", &region), Err(StateError::Name { .. })));
    assert!(matches!(with(app, b"app/blog", &good[app].1), Err(StateError::Spec { .. })), "another app's spec");
}

fn records_app(row: &[u8], bend: impl Fn(&mut holdfast_coordinator_core::records::App)) -> Vec<u8> {
    let mut record = holdfast_coordinator_core::records::App::decode(row).expect("an app");
    bend(&mut record);
    record.encode_to_vec()
}

#[test]
fn a_change_of_a_kind_that_is_not_known_stops_the_coordinator() {
    let mut log = everything();
    let before = log.state.clone();
    let at = LogIndex(9_999);
    // Field 99, a message: what a newer release's kind looks like to this one.
    let newer = [0x08, 0x01, 0xfa, 0x06, 0x00];
    assert!(matches!(log.state.apply_bytes(at, &newer), Err(StateError::UnknownChange { .. })));
    assert!(matches!(log.state.apply_bytes(at, &[]), Err(StateError::UnknownChange { .. })));
    assert!(matches!(log.state.apply_bytes(at, &[0xff]), Err(StateError::Change { .. })));

    // A known kind with something in it that a newer release knows: a step's action, an operation's end.
    let mut planned = log.op(2).clone();
    planned.steps[0].action = None;
    let kinds = [
        start(log.app("wiki"), planned.clone()),
        Kind::ExtendPlan(change::ExtendPlan { operation: 3, steps: planned.steps, ..change::ExtendPlan::default() }),
        Kind::EndOperation(change::EndOperation { operation: 3, state: 77, text: String::new() }),
    ];
    for kind in kinds {
        let change = Change::new(WallTime(1), "coordinator", kind);
        assert!(matches!(log.state.apply(at, &change), Err(StateError::UnknownChange { .. })), "{change:?}");
    }
    assert_eq!(log.state, before, "and changes nothing");
}

#[test]
fn an_outcome_reads_back_as_it_was() {
    let refused = Refused { reason: Reason::StaleRevision, what: "app shop is at revision 3".into() };
    for outcome in [Outcome::Done(0), Outcome::Done(41), Outcome::Refused(refused)] {
        assert_eq!(Outcome::decode(&outcome.encode()), Ok(outcome));
    }
    assert!(Outcome::decode(&[0xff]).is_err());
    assert!(Outcome::decode(&[0x10, 0xf7, 0x07]).is_err(), "a reason that this release does not know");
}
