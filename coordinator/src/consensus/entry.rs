//! A log entry as it is stored: a small protobuf record, so that fields can be added and old logs still read.

use openraft::{CommittedLeaderId, EntryPayload, LogId, Membership};
use prost::Message as _;

use super::{
    sum,
    types::{Change, Entry},
};

/// Why a stored entry could not be read.
#[derive(Debug, thiserror::Error)]
pub(super) enum EntryError {
    #[error("log entry at index {index} cannot be decoded")]
    Decode {
        index: u64,
        #[source]
        source: prost::DecodeError,
    },
    #[error("log entry at index {index} is of kind {kind}, which this version does not know: install the newer one")]
    Kind { index: u64, kind: i32 },
    #[error("log entry at index {index} says that it is number {found}")]
    Misplaced { index: u64, found: u64 },
    #[error("log entry at index {index} is not as it was written: keep the database aside and restore it from a copy")]
    Damaged { index: u64 },
    #[error("members in the log entry at index {index} cannot be decoded")]
    Members {
        index: u64,
        #[source]
        source: serde_json::Error,
    },
}

#[derive(Clone, PartialEq, prost::Message)]
struct StoredEntry {
    #[prost(uint64, tag = "1")]
    term: u64,
    /// The leader that wrote it.
    #[prost(uint64, tag = "2")]
    node: u64,
    #[prost(uint64, tag = "3")]
    index: u64,
    #[prost(enumeration = "Kind", tag = "4")]
    kind: i32,
    #[prost(bytes = "vec", tag = "5")]
    payload: Vec<u8>,
    /// Of the others; none in entries that were written before there were sums.
    #[prost(bytes = "vec", tag = "6")]
    sum: Vec<u8>,
}

impl StoredEntry {
    fn own_sum(&self) -> Vec<u8> {
        let numbers = [self.term, self.node, self.index].map(u64::to_le_bytes).concat();
        sum::of(&[&numbers, &self.kind.to_le_bytes(), &self.payload])
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
enum Kind {
    Unspecified = 0,
    /// A new leader's first entry; no payload.
    Blank = 1,
    /// A change; the payload is the machine's.
    Change = 2,
    /// Who votes; the payload is JSON.
    Members = 3,
}

pub(super) fn encode(entry: Entry) -> Vec<u8> {
    let (kind, payload) = match entry.payload {
        EntryPayload::Blank => (Kind::Blank, Vec::new()),
        EntryPayload::Normal(Change(change)) => (Kind::Change, change),
        EntryPayload::Membership(members) => {
            (Kind::Members, serde_json::to_vec(&members).expect("members are plain ids and addresses"))
        }
    };
    let stored = StoredEntry {
        term: entry.log_id.leader_id.term,
        node: entry.log_id.leader_id.node_id,
        index: entry.log_id.index,
        kind: kind.into(),
        payload,
        sum: Vec::new(),
    };
    StoredEntry { sum: stored.own_sum(), ..stored }.encode_to_vec()
}

/// `index` is where it was found.
pub(super) fn decode(index: u64, bytes: &[u8]) -> Result<Entry, EntryError> {
    let stored = StoredEntry::decode(bytes).map_err(|source| EntryError::Decode { index, source })?;
    if stored.index != index {
        return Err(EntryError::Misplaced { index, found: stored.index });
    }
    if !stored.sum.is_empty() && stored.sum != stored.own_sum() {
        return Err(EntryError::Damaged { index });
    }
    let unknown = EntryError::Kind { index, kind: stored.kind };
    let payload = match Kind::try_from(stored.kind) {
        Ok(Kind::Blank) => EntryPayload::Blank,
        Ok(Kind::Change) => EntryPayload::Normal(Change(stored.payload)),
        Ok(Kind::Members) => {
            let members: Membership<u64, openraft::BasicNode> =
                serde_json::from_slice(&stored.payload).map_err(|source| EntryError::Members { index, source })?;
            EntryPayload::Membership(members)
        }
        Ok(Kind::Unspecified) | Err(_) => return Err(unknown),
    };
    Ok(Entry { log_id: LogId::new(CommittedLeaderId::new(stored.term, stored.node), index), payload })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use openraft::BasicNode;

    use super::*;

    fn entry(payload: EntryPayload<super::super::types::TypeConfig>) -> Entry {
        Entry { log_id: LogId::new(CommittedLeaderId::new(3, 1), 42), payload }
    }

    #[test]
    fn every_kind_of_entry_reads_back_as_written() {
        let members =
            Membership::new(vec![[1, 2].into()], BTreeMap::from([(1, BasicNode::new("a")), (2, BasicNode::new("b"))]));
        for payload in [
            EntryPayload::Blank,
            EntryPayload::Normal(Change(vec![0, 255, 7])),
            EntryPayload::Normal(Change(Vec::new())),
            EntryPayload::Membership(members),
        ] {
            let written = entry(payload);
            assert_eq!(decode(42, &encode(written.clone())).expect("reads back"), written);
        }
    }

    #[test]
    fn a_small_change_costs_two_dozen_bytes_more() {
        let stored = encode(entry(EntryPayload::Normal(Change(vec![1; 100]))));
        assert!(stored.len() <= 122, "{} bytes", stored.len());
    }

    #[test]
    fn an_entry_that_cannot_be_understood_is_refused_by_its_index() {
        let strange =
            StoredEntry { term: 1, node: 1, index: 42, kind: 9, payload: Vec::new(), sum: Vec::new() }.encode_to_vec();
        let refused = decode(42, &strange).expect_err("kind 9").to_string();
        assert!(refused.contains("index 42 is of kind 9"), "{refused}");
        let refused = decode(41, &encode(entry(EntryPayload::Blank))).expect_err("another's place").to_string();
        assert!(refused.contains("index 41 says that it is number 42"), "{refused}");
        assert!(decode(42, &[0xff, 0xff]).is_err());
        let mut flipped = encode(entry(EntryPayload::Normal(Change(vec![7; 100]))));
        flipped[60] ^= 1;
        let refused = decode(42, &flipped).expect_err("a flipped bit").to_string();
        assert!(refused.contains("index 42 is not as it was written"), "{refused}");
    }
}
