//! Turning raw connections into accepted ones, without letting one that dawdles hold up the others.

use std::{io, sync::Arc, time::Duration};

use futures_util::{Stream, stream};
use tokio::task::{JoinError, JoinSet};
use tokio_util::sync::CancellationToken;

use super::{HotTls, PeerStream};
use crate::{
    net::{Accept, BoxedIo},
    repeats::{Repeats, Told},
};

/// How long a handshake may take: two round trips and a signature, over any line that can carry a session.
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);

/// How many handshakes are under way at once. When full, further connections wait in the listener's queue: ten thousand
/// agents that come back together are taken in at the pace of the processor, not all at once.
pub const HANDSHAKES_MAX: usize = 256;

/// After the listener failed (out of file descriptors), it is asked again so much later.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

struct Door {
    hot: Arc<HotTls>,
    accept: Box<dyn Accept>,
    cancel: CancellationToken,
    handshakes: JoinSet<io::Result<PeerStream>>,
    pause: bool,
    /// All refusals are one event: what a stranger sends must not choose how much is logged.
    refusals: Repeats<()>,
}

/// Accepted connections, for tonic's `serve_with_incoming`. Ends when cancelled; dropping it stops the handshakes that
/// are under way. Never yields an error: what fails before a connection stands is counted and logged.
pub fn incoming(
    hot: Arc<HotTls>,
    accept: Box<dyn Accept>,
    cancel: CancellationToken,
) -> impl Stream<Item = io::Result<PeerStream>> + Send + 'static {
    let door = Door { hot, accept, cancel, handshakes: JoinSet::new(), pause: false, refusals: Repeats::default() };
    stream::unfold(door, |mut door| async move { door.next().await.map(|stream| (Ok(stream), door)) })
}

enum Event {
    Cancelled,
    Arrived(io::Result<(BoxedIo, String)>),
    Ended(Result<io::Result<PeerStream>, JoinError>),
}

impl Door {
    async fn next(&mut self) -> Option<PeerStream> {
        loop {
            match self.event().await {
                Event::Cancelled => return None,
                Event::Arrived(Ok((io, address))) => {
                    self.pause = false;
                    self.begin(io, address);
                }
                Event::Arrived(Err(e)) => {
                    self.pause = true;
                    self.refused(&e);
                }
                Event::Ended(Ok(Ok(stream))) => return Some(stream),
                Event::Ended(Ok(Err(e))) => self.refused(&e),
                Event::Ended(Err(e)) => self.refused(&e),
            }
        }
    }

    async fn event(&mut self) -> Event {
        let is_full = self.handshakes.len() >= HANDSHAKES_MAX;
        let (accept, pause) = (&mut self.accept, self.pause);
        let arrival = async {
            if pause {
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
            accept.accept().await
        };
        // All three may be dropped at any await: the token and the set keep what they have, `Accept` promises to. A
        // pause that is cut short begins anew.
        tokio::select! {
            biased;
            () = self.cancel.cancelled() => Event::Cancelled,
            Some(ended) = self.handshakes.join_next() => Event::Ended(ended),
            arrived = arrival, if !is_full => Event::Arrived(arrived),
        }
    }

    fn begin(&mut self, io: BoxedIo, address: String) {
        let hot = Arc::clone(&self.hot);
        self.handshakes.spawn(async move {
            let failed = |e: io::Error| io::Error::new(e.kind(), format!("{address}: {e}"));
            let made = tokio::time::timeout(HANDSHAKE_TIMEOUT, hot.accept(io, address.clone())).await;
            made.map_err(io::Error::from).flatten().map_err(failed)
        });
    }

    fn refused(&mut self, why: &dyn std::error::Error) {
        self.hot.count_refused();
        if let Some(Told { times }) = self.refusals.told((), self.hot.clock().boot()) {
            tracing::warn!(error = %why, times, "connection refused at the handshake");
        }
    }
}
