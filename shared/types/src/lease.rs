//! The arithmetic of leases, for both sides.
//!
//! ```text
//!                 request sent            grant received
//!   holder  ──────────●────────────────────────●───────────────┤ fence ├──▶
//!                     │◀────────── lease ──────────────────────▶│within│
//!                     │                                                     all on CLOCK_BOOTTIME of the holder
//!                      \        reply
//!   leader  ────────────●─────────●────────────────────────────────────────┤ may assume it over
//!                     received    │◀──────── lease + drift + within ────────▶│
//! ```
//! The holder counts from the moment it *sent* the request; the leader from a moment at or after its *last reply*
//! (or, when it did not grant everything itself, from when it applied `hold`). So what the holder believes ends first,
//! however long messages take, as long as the holder's clock loses less than `drift` in one lease and its fence takes
//! at most `within`. The protocol around this (hold, one wait, sticky fences) is what a model of it was checked for.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::time::BootInstant;

/// The timings one app's safety rests on. All of a generation's grants use one of these, or several when a spec
/// changed meanwhile: then the longest of each counts ([`Timings::longest`]).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Timings {
    /// How long a grant lasts, from the moment its request was sent.
    pub lease: Duration,
    /// How often the holder asks.
    pub renew: Duration,
    /// How much less than real time the holder's clock may count during one lease.
    pub drift: Duration,
    /// From "lease over" to "every process of every writer gone", killing included.
    pub fence_within: Duration,
}

/// Smallest allowance for clocks.
const DRIFT_MIN: Duration = Duration::from_millis(100);

impl Timings {
    /// Default lease: outlives a coordinator's takeover (4 s) and any agent's restart.
    pub const LEASE_DEFAULT: Duration = Duration::from_secs(20);
    /// Default renewal: three may be lost before the fourth must arrive.
    pub const RENEW_DEFAULT: Duration = Duration::from_secs(5);
    /// Default time for a fence: half for a fast shutdown, half for killing.
    pub const FENCE_WITHIN_DEFAULT: Duration = Duration::from_secs(10);

    /// Timings with the allowance for clocks that belongs to this lease: a twentieth, in whole tenths of a second,
    /// at least 100 ms. Real clocks lose less than a thousandth.
    #[must_use]
    pub fn new(lease: Duration, renew: Duration, fence_within: Duration) -> Self {
        let tenths = u64::try_from(lease.as_millis() / 2_000).unwrap_or(u64::MAX);
        let drift = Duration::from_millis(tenths.saturating_mul(100)).max(DRIFT_MIN);
        Self { lease, renew, drift, fence_within }
    }

    /// The shortest lease this renewal allows: one request may be lost whole.
    #[must_use]
    pub fn lease_min(&self) -> Duration {
        self.renew * 2 + self.drift
    }

    /// What the leader waits before it assumes that nothing of an unconfirmed lease is left: lease, drift, fence.
    #[must_use]
    pub fn over_after(&self) -> Duration {
        self.lease + self.drift + self.fence_within
    }

    /// The longer of each.
    #[must_use]
    pub fn longest(&self, other: &Self) -> Self {
        Self {
            lease: self.lease.max(other.lease),
            renew: self.renew.max(other.renew),
            drift: self.drift.max(other.drift),
            fence_within: self.fence_within.max(other.fence_within),
        }
    }
}

/// Holder's side: when a lease granted for a request sent at `sent` is over. Never counted from the reply.
#[must_use]
pub fn holder_deadline(sent: BootInstant, lease: Duration) -> BootInstant {
    sent + lease
}

/// Leader's side: what it knows of the last grant of an app's current generation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LastGrant {
    /// This leader granted everything of this generation itself, its last reply was handed to the network at this
    /// instant (or it has never granted any: then the instant it became leader, which is earlier than any grant).
    Mine(BootInstant),
    /// Somebody else may have granted too.
    NotAllMine,
}

/// Leader's side: from when on nothing of the held generation's lease is left, if no fence is confirmed before.
/// `hold_applied` is when *this* process applied the committed `hold`.
#[must_use]
pub fn over_at(hold_applied: BootInstant, last: LastGrant, timings: &Timings) -> BootInstant {
    let from = match last {
        // A reply given before the hold was applied is the last there can be: replies after it are dropped.
        LastGrant::Mine(reply) => reply.min(hold_applied),
        LastGrant::NotAllMine => hold_applied,
    };
    from + timings.over_after()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn millis(n: u64) -> Duration {
        Duration::from_millis(n)
    }

    #[test]
    fn drift_is_what_the_specs_arithmetic_prints() {
        assert_eq!(Timings::new(millis(20_000), millis(5_000), millis(10_000)).drift, millis(1_000));
        assert_eq!(Timings::new(millis(3_000), millis(1_000), millis(1_000)).drift, millis(100));
        assert_eq!(Timings::new(millis(3_000), millis(1_000), millis(1_000)).over_after(), millis(4_100));
        assert_eq!(Timings::new(millis(1), millis(1), millis(1)).drift, DRIFT_MIN);
    }

    /// One lease's life in real time: request sent, received, replied, the reply received; the holder's clock may run
    /// slow by at most `drift` over the whole lease; agents may pause anywhere in between.
    #[derive(Debug, Clone)]
    struct Life {
        sent: u64,
        to_leader: u64,
        in_leader: u64,
        holder_slow: u64,
        fence: u64,
    }

    fn life(drift: u64, within: u64) -> impl Strategy<Value = Life> {
        (0u64..100_000, 0u64..60_000, 0u64..60_000, 0..=drift, 0..=within).prop_map(
            |(sent, to_leader, in_leader, holder_slow, fence)| Life { sent, to_leader, in_leader, holder_slow, fence },
        )
    }

    proptest! {
        #[test]
        fn holder_lease_ends_before_grantor_lease(
            lease in 200u64..60_000,
            within in 0u64..20_000,
            others in proptest::collection::vec((0u64..200_000, 0u64..60_000), 0..6),
            pick in life(100, 20_000),
            hold_after_reply in 0u64..60_000,
        ) {
            let timings = Timings::new(millis(lease), millis(lease / 3), millis(within));
            let drift = u64::try_from(timings.drift.as_millis()).expect("small");
            let slow = pick.holder_slow.min(drift);
            let fence = pick.fence.min(within);
            // The holder's clock lost `slow`, so its deadline comes that much later in real time.
            let deadline = holder_deadline(BootInstant::from_boot(millis(pick.sent)), timings.lease) + millis(slow);
            let gone = deadline + millis(fence);
            let reply = pick.sent + pick.to_leader + pick.in_leader;
            // Later replies only push the leader's view further out.
            let last = others.iter().map(|(at, d)| at + d).filter(|at| *at <= reply + hold_after_reply).fold(reply, u64::max);
            let hold = reply.max(last) + hold_after_reply;
            let at = |n| BootInstant::from_boot(millis(n));
            prop_assert!(gone <= over_at(at(hold), LastGrant::Mine(at(last)), &timings));
            prop_assert!(gone <= over_at(at(hold), LastGrant::NotAllMine, &timings));
        }

        #[test]
        fn a_new_leader_never_waits_less_than_the_one_that_granted(
            hold in 0u64..100_000, reply in 0u64..100_000, lease in 200u64..60_000, within in 0u64..20_000,
        ) {
            let timings = Timings::new(millis(lease), millis(lease / 3), millis(within));
            let at = |n| BootInstant::from_boot(millis(n));
            prop_assert!(over_at(at(hold), LastGrant::Mine(at(reply)), &timings) <= over_at(at(hold), LastGrant::NotAllMine, &timings));
        }

        #[test]
        fn the_longest_timings_cover_every_spec_of_the_generation(
            a in (200u64..60_000, 1u64..20_000), b in (200u64..60_000, 1u64..20_000), sent in 0u64..100_000,
        ) {
            let one = Timings::new(millis(a.0), millis(a.0 / 3), millis(a.1));
            let two = Timings::new(millis(b.0), millis(b.0 / 3), millis(b.1));
            let both = one.longest(&two);
            let at = BootInstant::from_boot(millis(sent));
            for each in [one, two] {
                let gone = holder_deadline(at, each.lease) + each.drift + each.fence_within;
                prop_assert!(gone <= over_at(at, LastGrant::Mine(at), &both));
            }
        }
    }
}
