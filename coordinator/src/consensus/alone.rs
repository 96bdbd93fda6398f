//! The network of a coordinator that has no peers: whoever is called cannot be reached.
//!
//! The second coordinator and the witness come with a factory that speaks the Peers service; it takes the place of
//! [`Alone`] in `RaftConsensus::start`.

use std::io;

use openraft::{
    BasicNode,
    error::{InstallSnapshotError, RPCError, RaftError, Unreachable},
    network::{RPCOption, RaftNetwork, RaftNetworkFactory},
    raft::{
        AppendEntriesRequest, AppendEntriesResponse, InstallSnapshotRequest, InstallSnapshotResponse, VoteRequest,
        VoteResponse,
    },
};

use super::types::TypeConfig;

/// Makes [`Nobody`] for every peer.
#[derive(Debug, Clone, Copy)]
pub(super) struct Alone;

/// A peer that cannot be reached.
#[derive(Debug)]
pub(super) struct Nobody(u64);

impl Nobody {
    /// `Unreachable` makes openraft back off; any other error it would try again at once.
    fn refuse<E: std::error::Error>(&self) -> RPCError<u64, BasicNode, E> {
        let peer = self.0;
        RPCError::Unreachable(Unreachable::new(&io::Error::other(format!(
            "this coordinator has no way to reach coordinator {peer}"
        ))))
    }
}

impl RaftNetworkFactory<TypeConfig> for Alone {
    type Network = Nobody;

    async fn new_client(&mut self, target: u64, _node: &BasicNode) -> Nobody {
        Nobody(target)
    }
}

type Refused<E = openraft::error::Infallible> = RPCError<u64, BasicNode, RaftError<u64, E>>;

impl RaftNetwork<TypeConfig> for Nobody {
    async fn append_entries(
        &mut self,
        _request: AppendEntriesRequest<TypeConfig>,
        _option: RPCOption,
    ) -> Result<AppendEntriesResponse<u64>, Refused> {
        Err(self.refuse())
    }

    async fn install_snapshot(
        &mut self,
        _request: InstallSnapshotRequest<TypeConfig>,
        _option: RPCOption,
    ) -> Result<InstallSnapshotResponse<u64>, Refused<InstallSnapshotError>> {
        Err(self.refuse())
    }

    async fn vote(&mut self, _request: VoteRequest<u64>, _option: RPCOption) -> Result<VoteResponse<u64>, Refused> {
        Err(self.refuse())
    }
}
