//! What the kernel says that a process takes.

use std::{fs, time::Duration};

use anyhow::{Context, Result};
use serde::Serialize;

/// One look at a process.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Taken {
    /// Resident memory, megabytes (10⁶ bytes).
    pub rss_megabytes: f64,
    /// Processor time since its start, seconds.
    pub cpu_seconds: f64,
}

/// Looks at a process.
///
/// # Errors
/// When it has ended.
pub fn taken(pid: u32) -> Result<Taken> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).with_context(|| format!("process {pid}"))?;
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).with_context(|| format!("process {pid}"))?;
    parse(&status, &stat).with_context(|| format!("/proc/{pid} is not as proc(5) has it"))
}

fn parse(status: &str, stat: &str) -> Option<Taken> {
    let rss: f64 = status.lines().find_map(|l| l.strip_prefix("VmRSS:"))?.trim().strip_suffix(" kB")?.parse().ok()?;
    // The name in brackets may hold anything; after it come fields from the third on.
    let (_, fields) = stat.rsplit_once(") ")?;
    let ticks = |number: usize| fields.split(' ').nth(number - 3)?.parse::<f64>().ok();
    let cpu = ticks(14)? + ticks(15)?;
    #[expect(clippy::cast_precision_loss, reason = "a hundred ticks a second")]
    let per_second = rustix::param::clock_ticks_per_second() as f64;
    Some(Taken { rss_megabytes: rss * 1_024.0 / 1e6, cpu_seconds: cpu / per_second })
}

/// Processor time between two looks as seconds a minute.
#[must_use]
pub fn cpu_a_minute(before: Taken, after: Taken, between: Duration) -> f64 {
    (after.cpu_seconds - before.cpu_seconds) * 60.0 / between.as_secs_f64()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_and_time_are_read_past_any_name() {
        let stat = "42 (a ) b) S 1 42 42 0 -1 4194304 100 0 0 0 150 50 0 0 20 0 5 0 100 1000 200";
        let seen = parse("Name:\tx\nVmRSS:\t   15000 kB\n", stat).expect("readable");
        assert!((seen.rss_megabytes - 15.36).abs() < 1e-9);
        assert!((seen.cpu_seconds - 2.0).abs() < 1e-9, "{seen:?}");
        let own = taken(std::process::id()).expect("this process runs");
        assert!(own.rss_megabytes > 1.0);
    }

    #[test]
    fn time_is_told_by_the_minute() {
        let at = |cpu_seconds| Taken { rss_megabytes: 1.0, cpu_seconds };
        assert!((cpu_a_minute(at(1.0), at(1.5), Duration::from_secs(30)) - 1.0).abs() < 1e-9);
    }
}
