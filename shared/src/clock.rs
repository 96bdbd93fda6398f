//! The only reader of clocks. Everything that decides takes a [`Clock`], so that a simulation can pass its own.

use std::{fmt, sync::Arc, time::Duration};

use holdfast_types::{BootId, BootInstant, WallTime};

/// Time as the process sees it.
pub trait Clock: Send + Sync + fmt::Debug {
    /// CLOCK_BOOTTIME: every decision. Counts while the machine is suspended.
    fn boot(&self) -> BootInstant;

    /// The wall clock: shown and recorded, never decided on.
    fn wall(&self) -> WallTime;

    /// Which boot of the host the boot instants belong to.
    fn boot_id(&self) -> BootId;
}

/// A shared [`Clock`].
pub type SharedClock = Arc<dyn Clock>;

/// Notices when the wall clock is set. Nothing is decided by it; whoever reads times afterwards must know.
#[derive(Debug, Default)]
pub struct WallWatch(Option<(BootInstant, WallTime)>);

/// Less than this between two looks is the clock being kept right, not set.
const SET_FROM_MILLIS: i64 = 2_000;

impl WallWatch {
    /// By how many milliseconds the wall clock was set since the last look: negative is back. Nothing when it was not.
    pub fn look(&mut self, boot: BootInstant, wall: WallTime) -> Option<i64> {
        let (boot_before, wall_before) = self.0.replace((boot, wall))?;
        let passed = i64::try_from(boot.since(boot_before).as_millis()).unwrap_or(i64::MAX);
        let set = wall.unix_millis().saturating_sub(wall_before.unix_millis()).saturating_sub(passed);
        (set.saturating_abs() >= SET_FROM_MILLIS).then_some(set)
    }

    /// Looks, and says so once when it was set.
    pub fn tell(&mut self, clock: &SharedClock) {
        if let Some(set) = self.look(clock.boot(), clock.wall()) {
            let way = if set < 0 { "back" } else { "forward" };
            let by = holdfast_types::time::span(Duration::from_millis(set.unsigned_abs()));
            tracing::warn!(by = %by, now = %clock.wall(), "the wall clock was set {way}; nothing is decided by it");
        }
    }
}

/// The machine's own clocks.
#[derive(Debug)]
pub struct SystemClock {
    boot_id: BootId,
}

impl SystemClock {
    /// Reads the boot id once.
    ///
    /// # Errors
    /// When `/proc/sys/kernel/random/boot_id` cannot be read.
    pub fn new() -> std::io::Result<Self> {
        let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id")?;
        Ok(Self { boot_id: BootId(text.trim().to_owned()) })
    }
}

impl Clock for SystemClock {
    fn boot(&self) -> BootInstant {
        let t = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
        let seconds = u64::try_from(t.tv_sec).unwrap_or(0);
        let nanos = u32::try_from(t.tv_nsec).unwrap_or(0);
        BootInstant::from_boot(Duration::new(seconds, nanos))
    }

    fn wall(&self) -> WallTime {
        let t = rustix::time::clock_gettime(rustix::time::ClockId::Realtime);
        WallTime(t.tv_sec.saturating_mul(1_000).saturating_add(t.tv_nsec / 1_000_000))
    }

    fn boot_id(&self) -> BootId {
        self.boot_id.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_is_set_is_told_once_by_how_much_and_one_that_is_slewed_is_not() {
        let mut watch = WallWatch::default();
        let at = |seconds| BootInstant::from_boot(Duration::from_secs(seconds));
        assert_eq!(watch.look(at(10), WallTime(1_000_000)), None, "the first look");
        assert_eq!(watch.look(at(20), WallTime(1_010_400)), None, "half a second in ten");
        assert_eq!(watch.look(at(21), WallTime(1_011_400 - 3_600_000)), Some(-3_600_000));
        assert_eq!(watch.look(at(22), WallTime(1_012_400 - 3_600_000)), None, "once");
        assert_eq!(watch.look(at(23), WallTime(1_013_400)), Some(3_600_000));
        assert_eq!(watch.look(at(24), WallTime(i64::MIN)), Some(i64::MIN), "whatever it says");
    }
}
