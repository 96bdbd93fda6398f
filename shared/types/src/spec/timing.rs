//! Rules between spans of time, and the limits of each for itself.
//!
//! Messages carry the arithmetic: whoever reads one can see which number to change.

use std::{ops::RangeInclusive, time::Duration};

use super::{
    arithmetic::seconds,
    read::{CheckDraft, FailoverDraft, FencingDraft},
    walk::{Notes, Spotted},
};
use crate::lease::Timings;

/// Below a tenth of a second a busy host is late by more than what is measured.
const SHORTEST: Duration = Duration::from_millis(100);
/// What comes round less often than once an hour is not looked after.
const LONGEST: Duration = Duration::from_secs(3_600);

/// Limits of `failover.interval`.
pub(super) const INTERVAL: RangeInclusive<Duration> = SHORTEST..=LONGEST;
/// Limits of `failover.recheck`.
pub(super) const RECHECK: RangeInclusive<Duration> = SHORTEST..=LONGEST;
/// Limits of `failover.lease.duration`.
pub(super) const LEASE: RangeInclusive<Duration> = SHORTEST..=LONGEST;
/// Limits of `failover.lease.renew`.
pub(super) const RENEW: RangeInclusive<Duration> = SHORTEST..=LONGEST;
/// Limits of `fencing.within`: half a second to shut down and half to kill is the least that a loaded host can do.
pub(super) const FENCE_WITHIN: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(600);
/// Limits of a check's `timeout`.
pub(super) const CHECK_TIMEOUT: RangeInclusive<Duration> = Duration::from_millis(10)..=LONGEST;
/// Limits of targets, which change no behaviour.
pub(super) const TARGET: RangeInclusive<Duration> = Duration::ZERO..=Duration::from_secs(86_400);
/// Limits of `failover.failures` and `failover.successes`.
pub(super) const COUNT: RangeInclusive<u32> = 1..=100;

/// Notes every rule between timings that does not hold. Without `failover` there are none: nothing is timed.
pub(super) fn check(
    failover: Option<&FailoverDraft>,
    fencing: &FencingDraft,
    checks: &[CheckDraft],
    notes: &mut Notes,
) {
    let Some(failover) = failover else {
        return;
    };
    if let Some(interval) = &failover.interval {
        recheck(failover, interval, notes);
        timeouts(checks, interval, notes);
    }
    if let (Some(lease), Some(renew), Some(within)) = (&failover.lease, &failover.renew, &fencing.within) {
        outlives_two_renewals(lease, renew, within.is, notes);
    }
}

fn recheck(failover: &FailoverDraft, interval: &Spotted<Duration>, notes: &mut Notes) {
    let Some(recheck) = &failover.recheck else {
        return;
    };
    if recheck.is > interval.is {
        let wrong = format!("longer than interval ({}), so a failure would slow the looking", seconds(interval.is));
        notes.wrong(&recheck.spot, wrong, format!("write {} or less", written(interval.is)));
    }
}

fn timeouts(checks: &[CheckDraft], interval: &Spotted<Duration>, notes: &mut Notes) {
    for timeout in checks.iter().filter_map(|check| check.timeout.as_ref()) {
        if timeout.is > interval.is {
            let wrong =
                format!("longer than failover.interval ({}), so no round could wait for it", seconds(interval.is));
            notes.wrong(&timeout.spot, wrong, format!("write {} or less", written(interval.is)));
        }
    }
}

fn outlives_two_renewals(lease: &Spotted<Duration>, renew: &Spotted<Duration>, within: Duration, notes: &mut Notes) {
    let asked = Timings::new(lease.is, renew.is, within);
    if asked.lease >= asked.lease_min() {
        return;
    }
    // With the drift of a lease that would do: it grows with the lease.
    let enough = Timings::new(shortest_lease(renew.is), renew.is, within);
    let wrong = format!(
        "needs 2 × renew ({}) + drift ({}) = {} or more",
        seconds(renew.is),
        seconds(enough.drift),
        seconds(enough.lease_min())
    );
    notes.wrong(&lease.spot, wrong, format!("write {} or more, or a shorter renew", written(enough.lease)));
}

/// The shortest lease that this renewal allows, in tenths of a second. The drift grows with the lease, by a twentieth
/// of it, so the search ends.
fn shortest_lease(renew: Duration) -> Duration {
    let mut lease = renew * 2;
    while lease < Timings::new(lease, renew, Duration::ZERO).lease_min() {
        lease += Duration::from_millis(100);
    }
    lease
}

/// A span as it is written in a spec.
fn written(span: Duration) -> String {
    seconds(span).replace(' ', "")
}
