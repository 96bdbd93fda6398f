//! Which connections are open for which certificate, so that a revocation can cut them.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio_util::sync::CancellationToken;

use crate::identity::{Bearer, PeerIdentity};

/// All open connections whose other end has shown a certificate.
#[derive(Debug, Default)]
pub(super) struct Sessions {
    open: Mutex<Open>,
}

#[derive(Debug, Default)]
struct Open {
    next: u64,
    sessions: BTreeMap<u64, Session>,
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
    ) -> Option<Registration> {
        let mut open = self.lock();
        if refused() {
            return None;
        }
        let number = open.next;
        open.next += 1;
        open.sessions.insert(number, Session { serial: peer.serial.clone(), bearer: peer.bearer.clone(), cut });
        Some(Registration { sessions: Arc::clone(self), number })
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
        self.sessions.lock().sessions.remove(&self.number);
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
        assert!(sessions.enter(&peer(1, "a"), CancellationToken::new(), || true).is_none());
        assert_eq!(sessions.len(), 1);
        drop(entered);
        assert_eq!((sessions.len(), sessions.cut_serial("a")), (0, 0));
    }
}
