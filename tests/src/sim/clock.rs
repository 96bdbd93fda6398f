//! The simulation's time, as the daemons' clock.

use std::time::Duration;

use holdfast_shared::clock::Clock;
use holdfast_types::{BootId, BootInstant, WallTime};

/// Wall time at the simulation's beginning: the certificates of a world are made for it.
pub const BEGINS: WallTime = WallTime(1_780_000_000_000);

/// Hosts have been up for a while when a simulation begins, so that no instant is zero.
const UP_BEFORE: Duration = Duration::from_secs(1_000);

/// Counts what the simulation counts; one boot per host.
#[derive(Debug)]
pub struct SimClock {
    boot: BootId,
}

impl SimClock {
    /// The clock of a host.
    #[must_use]
    pub fn of(host: &str) -> Self {
        Self { boot: BootId(format!("boot-of-{host}")) }
    }
}

/// Time since the simulation began; zero before.
#[must_use]
pub fn elapsed() -> Duration {
    turmoil::sim_elapsed().unwrap_or_default()
}

impl Clock for SimClock {
    fn boot(&self) -> BootInstant {
        BootInstant::from_boot(UP_BEFORE + elapsed())
    }

    fn wall(&self) -> WallTime {
        WallTime(BEGINS.0 + i64::try_from(elapsed().as_millis()).unwrap_or(i64::MAX))
    }

    fn boot_id(&self) -> BootId {
        self.boot.clone()
    }
}
