//! Which connections are open for which certificate, so that a revocation can cut them, and how many nobody needs more
//! of.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio_util::sync::CancellationToken;

use super::places::Origin;
use crate::identity::{Bearer, PeerIdentity};

/// Connections of one bearer: an agent has three, a person's scripts a few dozen.
pub(super) const OF_ONE_BEARER_MAX: usize = 256;
/// Visitors, who have shown no certificate and are there for one call. More of them cost the descriptors that agents
/// need; the one that has been there longest gives way.
const VISITORS_MAX: usize = 256;
/// Visitors from one address: half, so that no address shows the others out.
const VISITORS_OF_ONE_ADDRESS_MAX: usize = VISITORS_MAX / 2;

/// All open connections.
#[derive(Debug, Default)]
pub(super) struct Sessions {
    open: Mutex<Open>,
}

#[derive(Debug, Default)]
struct Open {
    next: u64,
    /// Those whose other end has shown a certificate.
    sessions: BTreeMap<u64, Session>,
    /// How many each bearer has.
    of_bearer: BTreeMap<Bearer, usize>,
    /// Those whose other end has not, in the order in which they came.
    visitors: BTreeMap<u64, Visitor>,
}

#[derive(Debug)]
struct Visitor {
    from: Origin,
    cut: CancellationToken,
}

/// Why a connection is not entered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unwelcome {
    /// Its certificate was revoked.
    Revoked,
    /// Its bearer has enough of them.
    Crowd,
}

#[derive(Debug)]
struct Session {
    serial: String,
    bearer: Bearer,
    cut: CancellationToken,
}

/// One open connection; forgotten when this is dropped.
#[derive(Debug)]
pub(super) struct Registration {
    sessions: Arc<Sessions>,
    number: u64,
}

impl Sessions {
    /// Enters a connection unless `refused` says no. That is asked under the lock that every cut takes, so a
    /// certificate revoked during its handshake is either refused here or found by the cut that follows.
    pub(super) fn enter(
        self: &Arc<Self>,
        peer: &PeerIdentity,
        cut: CancellationToken,
        refused: impl FnOnce() -> bool,
    ) -> Result<Registration, Unwelcome> {
        let mut open = self.lock();
        if refused() {
            return Err(Unwelcome::Revoked);
        }
        let of_bearer = open.of_bearer.entry(peer.bearer.clone()).or_default();
        if *of_bearer >= OF_ONE_BEARER_MAX {
            return Err(Unwelcome::Crowd);
        }
        *of_bearer += 1;
        let number = open.next;
        open.next += 1;
        open.sessions.insert(number, Session { serial: peer.serial.clone(), bearer: peer.bearer.clone(), cut });
        Ok(Registration { sessions: Arc::clone(self), number })
    }

    /// Enters a connection without a certificate. When there are too many, the oldest of its address, or of all, is cut.
    pub(super) fn visit(self: &Arc<Self>, from: Origin, cut: CancellationToken) -> Registration {
        let mut open = self.lock();
        let same = open.visitors.values().filter(|v| v.from == from).count();
        let oldest = if same >= VISITORS_OF_ONE_ADDRESS_MAX {
            open.visitors.iter().find(|(_, v)| v.from == from).map(|(number, _)| *number)
        } else if open.visitors.len() >= VISITORS_MAX {
            open.visitors.keys().next().copied()
        } else {
            None
        };
        let gone = oldest.and_then(|number| open.visitors.remove(&number));
        let number = open.next;
        open.next += 1;
        open.visitors.insert(number, Visitor { from, cut });
        drop(open);
        if let Some(gone) = gone {
            gone.cut.cancel();
        }
        Registration { sessions: Arc::clone(self), number }
    }

    /// Cuts all connections that `which` names; returns how many.
    fn cut_where(&self, which: impl Fn(&Session) -> bool) -> usize {
        let open = self.lock();
        let cut: Vec<_> = open.sessions.values().filter(|s| which(s)).map(|s| s.cut.clone()).collect();
        // Waking a connection may drop its registration, which takes the lock.
        drop(open);
        cut.iter().for_each(CancellationToken::cancel);
        cut.len()
    }

    pub(super) fn cut_serial(&self, serial: &str) -> usize {
        self.cut_where(|s| s.serial == serial)
    }

    pub(super) fn cut_bearer(&self, bearer: &Bearer) -> usize {
        self.cut_where(|s| s.bearer == *bearer)
    }

    pub(super) fn cut_revoked(&self, is_revoked: impl Fn(&str) -> bool) -> usize {
        self.cut_where(|s| is_revoked(&s.serial))
    }

    pub(super) fn len(&self) -> usize {
        self.lock().sessions.len()
    }

    fn lock(&self) -> MutexGuard<'_, Open> {
        // No code that can panic runs under the lock, and the map would be whole all the same.
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        let mut open = self.sessions.lock();
        if let Some(session) = open.sessions.remove(&self.number)
            && let Some(of_bearer) = open.of_bearer.get_mut(&session.bearer)
        {
            *of_bearer = of_bearer.saturating_sub(1);
            if *of_bearer == 0 {
                open.of_bearer.remove(&session.bearer);
            }
        }
        open.visitors.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use holdfast_types::{ClusterId, WallTime};

    use super::*;

    fn peer(node: u64, serial: &str) -> PeerIdentity {
        PeerIdentity {
            cluster: ClusterId::from_random([1; 16]),
            bearer: Bearer::Coordinator { node },
            serial: serial.to_owned(),
            not_after: WallTime(0),
            expired: false,
        }
    }

    #[test]
    fn a_cut_reaches_every_connection_of_the_serial_or_bearer_and_no_other() {
        let sessions = Arc::new(Sessions::default());
        let open = |node, serial| {
            let token = CancellationToken::new();
            let entered = sessions.enter(&peer(node, serial), token.clone(), || false).expect("entered");
            (token, entered)
        };
        let (a, b, c, d) = (open(1, "a"), open(1, "a"), open(1, "b"), open(2, "c"));
        assert_eq!(sessions.cut_serial("a"), 2);
        let cut = || [&a, &b, &c, &d].map(|(token, _)| token.is_cancelled());
        assert_eq!(cut(), [true, true, false, false]);
        assert_eq!(sessions.cut_bearer(&Bearer::Coordinator { node: 1 }), 3);
        assert_eq!(cut(), [true, true, true, false]);
        assert_eq!(sessions.cut_revoked(|serial| serial == "c"), 1);
        assert_eq!(cut(), [true; 4]);
    }

    #[test]
    fn a_closed_connection_is_forgotten_and_a_refused_one_never_entered() {
        let sessions = Arc::new(Sessions::default());
        let entered = sessions.enter(&peer(1, "a"), CancellationToken::new(), || false);
        let refused = sessions.enter(&peer(1, "a"), CancellationToken::new(), || true);
        assert_eq!(refused.err(), Some(Unwelcome::Revoked));
        assert_eq!(sessions.len(), 1);
        drop(entered);
        assert_eq!((sessions.len(), sessions.cut_serial("a")), (0, 0));
    }

    #[test]
    fn a_bearer_has_only_so_many_connections_and_others_their_own() {
        let sessions = Arc::new(Sessions::default());
        let enter = |node| sessions.enter(&peer(node, "a"), CancellationToken::new(), || false);
        let mut open: Vec<_> = (0..OF_ONE_BEARER_MAX).map(|_| enter(1).expect("entered")).collect();
        assert_eq!(enter(1).err(), Some(Unwelcome::Crowd));
        enter(2).expect("another bearer");
        open.pop();
        enter(1).expect("one has gone");
    }

    #[test]
    fn of_too_many_visitors_the_oldest_gives_way_and_nobody_shows_others_out() {
        let sessions = Arc::new(Sessions::default());
        let visit = |from: &str| {
            let cut = CancellationToken::new();
            (cut.clone(), sessions.visit(Origin::of(from), cut))
        };
        let guest = visit("10.0.0.2:1");
        let crowd: Vec<_> = (0..VISITORS_MAX).map(|_| visit("10.0.0.1:1")).collect();
        let shown_out = crowd.iter().take_while(|(cut, _)| cut.is_cancelled()).count();
        assert_eq!(shown_out, VISITORS_MAX - VISITORS_OF_ONE_ADDRESS_MAX, "its own oldest");
        assert!(!guest.0.is_cancelled(), "of another address");
    }
}
