//! Stored rows and committed changes: what cannot be read stops the coordinator with an error; what can be is the same
//! on every voter.

use holdfast_coordinator_core::state::State;
use holdfast_types::LogIndex;

/// Changes that one input holds, at most.
const CHANGES_MAX: u64 = 64;

/// The first byte says what follows: rows (0), or changes on a new state (1) or on one with a cluster in it (2).
pub fn state(bytes: &[u8]) {
    match bytes.split_first() {
        None => {}
        Some((how, bytes)) if how % 3 == 0 => rows(bytes),
        Some((how, bytes)) => changes(bytes, how % 3 == 2),
    }
}

/// Parts with two bytes of length before each.
fn part<'a>(bytes: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (length, rest) = bytes.split_first_chunk::<2>()?;
    let (part, rest) = rest.split_at(usize::from(u16::from_be_bytes(*length)).min(rest.len()));
    *bytes = rest;
    Some(part)
}

/// What lies on the disk is always readable: it was written by this release.
fn read(rows: impl IntoIterator<Item = (Vec<u8>, Vec<u8>)>) -> State {
    State::from_rows(rows).expect("what was written can be read")
}

fn rows(mut bytes: &[u8]) {
    let mut rows = Vec::new();
    while let (Some(key), Some(value)) = (part(&mut bytes), part(&mut bytes)) {
        rows.push((key.to_vec(), value.to_vec()));
    }
    match State::from_rows(rows) {
        Ok(state) => assert_eq!(read(state.rows()), state, "a state reads back"),
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}

fn changes(mut bytes: &[u8], made: bool) {
    let (mut one, mut other) = (State::default(), State::default());
    let mut index = 0;
    if made {
        for init in crate::seeds::cluster() {
            index += 1;
            for state in [&mut one, &mut other] {
                state.apply_bytes(LogIndex(index), &init).expect("a change of this release");
            }
        }
    }
    for _ in 0..CHANGES_MAX {
        let Some(change) = part(&mut bytes) else { return };
        index += 1;
        let before = one.clone();
        let (left, right) = (one.apply_bytes(LogIndex(index), change), other.apply_bytes(LogIndex(index), change));
        assert_eq!(one, other, "two voters applied one change differently");
        let (Ok(applied), Ok(again)) = (left, right) else {
            assert_eq!(one, before, "a change that is not known changed something");
            return;
        };
        assert_eq!(applied, again, "two voters wrote different rows");
        // What was written to the disk is what is in memory, and a restart reads the same.
        let mut rows: std::collections::BTreeMap<_, _> = before.rows().into_iter().collect();
        for row in applied.rows {
            match row.value {
                Some(value) => drop(rows.insert(row.key, value)),
                None => drop(rows.remove(&row.key)),
            }
        }
        assert_eq!(read(rows), one, "the rows that were written are another state");
    }
}
