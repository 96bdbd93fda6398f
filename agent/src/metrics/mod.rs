//! What this host measures of itself, every [`EVERY`].
//!
//! A look is a handful of reads below `/proc` and, where Docker's socket can be opened, one question per container.
//! Nothing is kept between two looks: the coordinator computes rates from counters. What hangs holds up nothing: it is
//! missing from the look, because what could not be seen is no observation. Sessions take the latest look only.

mod containers;
mod host;

use std::{path::PathBuf, sync::Arc, time::Duration};

use holdfast_proto::v1;
use holdfast_shared::clock::SharedClock;
use holdfast_types::BootInstant;
use tokio::{
    sync::watch,
    task::{JoinHandle, spawn_blocking},
    time::{MissedTickBehavior, interval, timeout},
};
use tokio_util::sync::CancellationToken;

use crate::exec::Until;

/// Between two looks.
const EVERY: Duration = Duration::from_secs(10);
/// Longest wait for the kernel: a read below `/proc` takes microseconds, a file system whose device hangs for ever.
const HOST_WITHIN: Duration = Duration::from_secs(2);
/// Longest wait for everything that Docker is asked in one look.
const CONTAINERS_WITHIN: Duration = Duration::from_secs(5);

/// One look at this host.
#[derive(Debug, Clone, PartialEq)]
pub struct Look {
    /// When.
    pub taken: BootInstant,
    /// What was seen. Age, time of sending and count of dropped looks are of the session, which fills them in.
    pub seen: v1::HostMetrics,
}

/// The latest look; nothing before the first.
pub type Latest = watch::Sender<Option<Arc<Look>>>;

/// Looks every [`EVERY`] until cancelled.
pub async fn run(docker_socket: PathBuf, clock: SharedClock, latest: Arc<Latest>, cancel: CancellationToken) {
    let mut ticks = interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut host = Slow::default();
    let mut number = 0;
    loop {
        // A look that is cut off by the end of the agent is a look that nobody would have taken.
        tokio::select! {
            biased;
            () = cancel.cancelled() => return,
            _ = ticks.tick() => {}
        }
        let look = async {
            tokio::join!(
                host.within(HOST_WITHIN, host::look),
                containers::look(&docker_socket, Until::after(CONTAINERS_WITHIN)),
            )
        };
        let (seen, containers) = tokio::select! {
            biased;
            () = cancel.cancelled() => return,
            looked = look => looked,
        };
        number += 1;
        let taken = clock.boot();
        let seen = v1::HostMetrics {
            number,
            uptime: taken.since_boot().try_into().ok(),
            containers,
            ..seen.unwrap_or_default()
        };
        latest.send_replace(Some(Arc::new(Look { taken, seen })));
    }
}

/// A read that may hang. One that does is waited for again at the next look, and never started twice.
#[derive(Debug)]
struct Slow<T>(Option<JoinHandle<T>>);

impl<T> Default for Slow<T> {
    fn default() -> Self {
        Self(None)
    }
}

impl<T: Send + 'static> Slow<T> {
    async fn within(&mut self, within: Duration, read: impl FnOnce() -> T + Send + 'static) -> Option<T> {
        let stuck = self.0.is_some();
        let running = self.0.get_or_insert_with(|| spawn_blocking(read));
        let ended = timeout(within, running).await.ok()?;
        self.0 = None;
        // What it says now is of an earlier look.
        ended.ok().filter(|_| !stuck)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[tokio::test]
    async fn a_read_that_hangs_is_no_observation_and_is_not_started_twice() {
        let (release, held) = mpsc::channel::<()>();
        let mut slow = Slow::default();
        let read = move || held.recv().unwrap_or_default();
        assert_eq!(slow.within(Duration::from_millis(20), read).await, None);
        assert_eq!(slow.within(Duration::from_millis(20), || panic!("started twice")).await, None);
        release.send(()).expect("it waits");
        // What it says now is old.
        assert_eq!(slow.within(Duration::from_secs(10), || panic!("started twice")).await, None);
        assert_eq!(slow.within(Duration::from_secs(10), || ()).await, Some(()));
    }
}
