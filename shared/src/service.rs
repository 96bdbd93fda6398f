//! What a daemon tells systemd: that it serves, that it is ending, and, as its watchdog, that it still moves.
//!
//! The watchdog is fed only while every part that matters moves. A timer that runs proves nothing about a task that
//! hangs; so each such part has a [`Pulse`] and beats in its own loop.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use holdfast_types::{BootInstant, time::span};
use sd_notify::NotifyState;
use tokio_util::sync::CancellationToken;

use crate::clock::SharedClock;

/// Looks at the pulses within one interval of the watchdog. A part that stood still for two of them is stuck: what is
/// left of the interval is for systemd, and for a machine that is busy.
const LOOKS: u32 = 6;

/// A part of a daemon that shows that it moves. Clones are the same pulse.
#[derive(Debug, Clone, Default)]
pub struct Pulse(Arc<AtomicU64>);

impl Pulse {
    /// The part is at the top of its loop once more.
    pub fn beat(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    fn beats(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Which parts must move, and when each was last seen to.
#[derive(Debug)]
struct Parts {
    parts: Vec<Part>,
    patience: Duration,
}

#[derive(Debug)]
struct Part {
    name: &'static str,
    beats: u64,
    moved_at: BootInstant,
}

impl Parts {
    /// The first part that has not moved for longer than the patience, and since when.
    fn stuck(&mut self, beats: impl IntoIterator<Item = u64>, now: BootInstant) -> Option<(&'static str, Duration)> {
        for (part, beats) in self.parts.iter_mut().zip(beats) {
            if part.beats != beats {
                (part.beats, part.moved_at) = (beats, now);
            }
        }
        let still = |part: &Part| (part.name, now.since(part.moved_at));
        self.parts.iter().map(still).find(|(_, since)| *since > self.patience)
    }
}

/// Whether systemd runs this machine.
#[must_use]
pub fn is_booted() -> bool {
    sd_notify::booted().unwrap_or(false)
}

/// It serves. Without systemd nobody listens.
pub fn ready() {
    drop(sd_notify::notify(&[NotifyState::Ready]));
}

/// It is ending.
pub fn stopping() {
    drop(sd_notify::notify(&[NotifyState::Stopping]));
}

/// Feeds systemd's watchdog until cancelled, as long as each of `pulses` beats. Does nothing where systemd has not asked
/// for it.
pub async fn feed_watchdog(pulses: Vec<(&'static str, Pulse)>, clock: SharedClock, cancel: CancellationToken) {
    let Some(interval) = sd_notify::watchdog_enabled() else { return cancel.cancelled().await };
    let every = interval / LOOKS;
    let now = clock.boot();
    let parts = pulses.iter().map(|(name, pulse)| Part { name, beats: pulse.beats(), moved_at: now });
    let mut parts = Parts { parts: parts.collect(), patience: every * 2 };
    let mut told = false;
    loop {
        tokio::select! {
            biased;
            () = cancel.cancelled() => return,
            () = tokio::time::sleep(every) => {}
        }
        match parts.stuck(pulses.iter().map(|(_, pulse)| pulse.beats()), clock.boot()) {
            None => {
                told = false;
                // A systemd that takes nothing must not take the runtime's threads as well.
                drop(tokio::task::spawn_blocking(|| sd_notify::notify(&[NotifyState::Watchdog])).await);
            }
            Some((part, since)) if !told => {
                told = true;
                tracing::error!(part, since = %span(since), "it does not move; systemd is not told that all is well");
            }
            Some(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> BootInstant {
        BootInstant::from_boot(Duration::from_millis(millis))
    }

    #[test]
    fn a_lively_part_does_not_hide_one_that_hangs() {
        let part = |name| Part { name, beats: 0, moved_at: at(0) };
        let mut parts = Parts { parts: vec![part("leases"), part("timer")], patience: Duration::from_millis(500) };
        assert_eq!(parts.stuck([1, 1], at(250)), None);
        assert_eq!(parts.stuck([1, 2], at(750)), None, "patience is over only after it");
        assert_eq!(parts.stuck([1, 3], at(1_000)), Some(("leases", Duration::from_millis(750))));
        assert_eq!(parts.stuck([2, 4], at(1_250)), None, "it moves again");
    }
}
