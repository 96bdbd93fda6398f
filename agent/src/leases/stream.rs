//! One lease stream to one coordinator, on a connection of its own.

use std::{sync::Arc, time::Duration};

use holdfast_proto::v1::{self, agent_session_client::AgentSessionClient};
use tokio::{sync::mpsc, time::timeout};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;

use super::Heard;
use crate::{backoff::Backoff, connect::Connect};

/// Requests that may wait to be sent. When full the newest is not sent: the ones before it were not either, and a
/// request that waits long brings a lease that is over.
const REQUESTS_MAX: usize = 64;
/// A coordinator answers to a new stream at once.
const OPEN_WITHIN: Duration = Duration::from_secs(3);
/// Longest pause between two attempts. Short, because a lease may be running out; only hosts with writers ask.
const PAUSE_MAX: Duration = Duration::from_secs(2);

/// One coordinator.
#[derive(Debug, Clone)]
pub struct Link {
    /// Its place in the list.
    pub index: usize,
    /// Where it is.
    pub address: String,
    /// How to get there.
    pub connect: Arc<dyn Connect>,
    /// For jitter.
    pub seed: u64,
}

/// Keeps a lease stream up until cancelled.
pub async fn serve_link(link: Link, heard: mpsc::Sender<Heard>, cancel: CancellationToken) {
    let mut backoff = Backoff::new(link.seed, PAUSE_MAX);
    // Between two awaits nothing is owed to anybody: a stream that is dropped is one that broke.
    tokio::select! {
        biased;
        () = cancel.cancelled() => {}
        () = async {
            loop {
                if let Err(e) = once(&link, &heard, &mut backoff).await {
                    tracing::debug!(coordinator = link.address, error = %e, "no lease stream");
                }
                if heard.send(Heard::Down(link.index)).await.is_err() {
                    return;
                }
                backoff.pause().await;
            }
        } => {}
    }
}

async fn once(link: &Link, heard: &mpsc::Sender<Heard>, backoff: &mut Backoff) -> Result<(), tonic::Status> {
    let (requests, stream) = mpsc::channel::<v1::LeaseRequest>(REQUESTS_MAX);
    let mut client = AgentSessionClient::new(link.connect.channel(&link.address));
    let late = |_| tonic::Status::deadline_exceeded("no lease stream in time");
    let opened = timeout(OPEN_WITHIN, client.leases(ReceiverStream::new(stream))).await.map_err(late)?;
    let mut replies = opened?.into_inner();
    let ending = |_| tonic::Status::cancelled("the agent is ending");
    heard.send(Heard::Up(link.index, requests)).await.map_err(ending)?;
    while let Some(reply) = replies.message().await? {
        backoff.worked();
        heard.send(Heard::Reply(reply)).await.map_err(ending)?;
    }
    Ok(())
}
