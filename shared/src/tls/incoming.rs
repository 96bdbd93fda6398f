//! Turning raw connections into accepted ones, without letting one that dawdles hold up the others.

use std::{collections::BTreeMap, io, sync::Arc, time::Duration};

use futures_util::{Stream, stream};
use tokio::task::{AbortHandle, JoinError, JoinSet};
use tokio_util::sync::CancellationToken;

use super::{
    HotTls, PeerStream,
    places::{Origin, Places, Taken},
};
use crate::{
    net::{Accept, BoxedIo},
    refusals::RefusedKind,
};

/// How long a handshake may take: two round trips and a signature, over any line that can carry a session.
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);

/// After the listener failed (out of file descriptors), it is asked again so much later.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// While every place is taken, how often is looked whether one of them has had its time.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

type Made = (u64, io::Result<PeerStream>);

struct Door {
    hot: Arc<HotTls>,
    accept: Box<dyn Accept>,
    cancel: CancellationToken,
    places: Places,
    handshakes: JoinSet<Made>,
    /// How each handshake is ended that gives way.
    ends: BTreeMap<u64, AbortHandle>,
    pause: bool,
}

/// Accepted connections, for tonic's `serve_with_incoming`. Ends when cancelled; dropping it stops the handshakes that
/// are under way. Never yields an error: what fails before a connection stands is counted and logged.
pub fn incoming(
    hot: Arc<HotTls>,
    accept: Box<dyn Accept>,
    cancel: CancellationToken,
) -> impl Stream<Item = io::Result<PeerStream>> + Send + 'static {
    let (places, handshakes, ends) = (Places::default(), JoinSet::new(), BTreeMap::new());
    let door = Door { hot, accept, cancel, places, handshakes, ends, pause: false };
    stream::unfold(door, |mut door| async move { door.next().await.map(|stream| (Ok(stream), door)) })
}

enum Event {
    Cancelled,
    Arrived(io::Result<(BoxedIo, String)>),
    Ended(Result<Made, JoinError>),
    LookAgain,
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
                    self.hot.refusals().note(RefusedKind::Handshake, "the listener", e);
                }
                Event::Ended(Ok((number, made))) => {
                    self.places.leave(number);
                    self.ends.remove(&number);
                    // What fails has said why.
                    if let Ok(stream) = made {
                        return Some(stream);
                    }
                }
                // One that gave way was counted then.
                Event::Ended(Err(e)) if e.is_cancelled() => {}
                Event::Ended(Err(e)) => {
                    let number = self.ends.iter().find(|(_, end)| end.id() == e.id()).map(|(number, _)| *number);
                    if let Some(number) = number {
                        self.places.leave(number);
                        self.ends.remove(&number);
                    }
                    self.hot.refusals().note(RefusedKind::Handshake, "a handshake", e);
                }
                Event::LookAgain => {}
            }
        }
    }

    async fn event(&mut self) -> Event {
        let is_full = !self.places.open(self.hot.clock().boot());
        let (accept, pause) = (&mut self.accept, self.pause);
        let arrival = async {
            if pause {
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
            accept.accept().await
        };
        // All may be dropped at any await: the token and the set keep what they have, `Accept` promises to. A pause that
        // is cut short begins anew.
        tokio::select! {
            biased;
            () = self.cancel.cancelled() => Event::Cancelled,
            Some(ended) = self.handshakes.join_next() => Event::Ended(ended),
            arrived = arrival, if !is_full => Event::Arrived(arrived),
            () = tokio::time::sleep(LOOK_AGAIN), if is_full => Event::LookAgain,
        }
    }

    fn begin(&mut self, io: BoxedIo, address: String) {
        let number = match self.places.take(Origin::of(&address), self.hot.clock().boot()) {
            Taken::Place(number) => number,
            Taken::Instead(number, old) => {
                if let Some(end) = self.ends.remove(&old) {
                    end.abort();
                }
                self.hot.refusals().note(RefusedKind::Crowd, &address, "a handshake that took long gave way");
                number
            }
            Taken::Closed => {
                let why = "its address has so many handshakes under way that nobody else would have a place";
                self.hot.refusals().note(RefusedKind::Crowd, &address, why);
                return;
            }
        };
        let hot = Arc::clone(&self.hot);
        let end = self.handshakes.spawn(async move {
            let made = tokio::time::timeout(HANDSHAKE_TIMEOUT, hot.accept(io, address.clone())).await;
            let made = made.map_err(|_| late()).flatten();
            if let Err(e) = &made {
                hot.refusals().note(RefusedKind::Handshake, &address, e);
            }
            (number, made)
        });
        self.ends.insert(number, end);
    }
}

fn late() -> io::Error {
    let within = HANDSHAKE_TIMEOUT.as_secs();
    io::Error::new(io::ErrorKind::TimedOut, format!("no TLS handshake within {within} s"))
}
