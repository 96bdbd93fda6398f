//! What openraft is told about our entries, answers and ids.

use std::io::Cursor;

use openraft::BasicNode;
use serde::{Deserialize, Serialize};

use super::runtime::SeededRuntime;

/// A change as the log carries it. What it means is the machine's concern.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Change(pub(super) Vec<u8>);

/// What the machine answered to a change; empty for entries that are openraft's own.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(super) struct Outcome(pub(super) Vec<u8>);

openraft::declare_raft_types!(
    pub(super) TypeConfig:
        D = Change,
        R = Outcome,
        NodeId = u64,
        Node = BasicNode,
        SnapshotData = Cursor<Vec<u8>>,
        AsyncRuntime = SeededRuntime
);

pub(super) type Raft = openraft::Raft<TypeConfig>;
pub(super) type Entry = openraft::Entry<TypeConfig>;
pub(super) type LogId = openraft::LogId<u64>;
pub(super) type Vote = openraft::Vote<u64>;
pub(super) type StoredMembership = openraft::StoredMembership<u64, BasicNode>;
pub(super) type StorageError = openraft::StorageError<u64>;
