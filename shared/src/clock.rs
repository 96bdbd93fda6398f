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
