//! Counting verdicts in a row, and how soon to look again.
//!
//! ```text
//!                        failing × failures
//!            ┌─────────┐ ─────────────────▶ ┌───────────┐
//!            │ healthy │                    │ unhealthy │    unknown: nothing moves, every count stays
//!            └─────────┘ ◀───────────────── └───────────┘
//!                         ok × successes
//! ```
//! Only an unbroken run counts. `ok` breaks a run of failing verdicts and `failing` one of good verdicts. `degraded`
//! breaks both and belongs to neither: something proved that the region still served, or only parts of it failed, so
//! what follows is another story than what came before; three failures that are not consecutive are a flapping
//! network, and moving the app would not help it.

use std::time::Duration;

use holdfast_types::{BootInstant, spec::AppSpec};

use crate::verdict::Kind;

/// How often to look and how much it takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pacing {
    /// Between two rounds while all is settled.
    pub interval: Duration,
    /// Between two rounds while something is to be found out.
    pub recheck: Duration,
    /// So many failing verdicts in a row make a region unhealthy; at least 1.
    pub failures: u32,
    /// So many good verdicts in a row make it healthy again; at least 1.
    pub successes: u32,
}

impl Pacing {
    /// For an app that declares no failover: the same as an app that declares one and leaves these keys out.
    pub const DEFAULT: Self =
        Self { interval: Duration::from_secs(30), recheck: Duration::from_secs(5), failures: 3, successes: 3 };

    /// The pacing an app declares.
    #[must_use]
    pub fn of(spec: &AppSpec) -> Self {
        spec.failover.as_ref().map_or(Self::DEFAULT, |failover| Self {
            interval: failover.interval,
            recheck: failover.recheck.min(failover.interval),
            failures: failover.failures.max(1),
            successes: failover.successes.max(1),
        })
    }
}

/// What one verdict changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// Nothing that anybody must hear of.
    Stays,
    /// The region is unhealthy now.
    BecameUnhealthy,
    /// The region is healthy again.
    BecameHealthy,
}

/// The verdicts of one region in a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counter {
    /// Failing verdicts in a row, up to now.
    pub failing: u32,
    /// Good verdicts in a row, up to now; counted only while unhealthy.
    pub good: u32,
    /// Whether the region is unhealthy.
    pub unhealthy: bool,
}

impl Counter {
    /// Counts one verdict.
    pub fn step(&mut self, verdict: Kind, failures: u32, successes: u32) -> Turn {
        match verdict {
            Kind::Unknown => Turn::Stays,
            Kind::Degraded => {
                self.failing = 0;
                self.good = 0;
                Turn::Stays
            }
            Kind::Failing => {
                self.good = 0;
                self.failing = self.failing.saturating_add(1);
                if self.unhealthy || self.failing < failures {
                    return Turn::Stays;
                }
                self.unhealthy = true;
                Turn::BecameUnhealthy
            }
            Kind::Ok => {
                self.failing = 0;
                if !self.unhealthy {
                    return Turn::Stays;
                }
                self.good = self.good.saturating_add(1);
                if self.good < successes {
                    return Turn::Stays;
                }
                *self = Self::default();
                Turn::BecameHealthy
            }
        }
    }

    /// Whether the run that leads up to now is long enough to act on.
    #[must_use]
    pub const fn run_is_full(&self, failures: u32) -> bool {
        self.unhealthy && self.failing >= failures
    }

    /// Whether nothing is being counted: healthy with no failure, or unhealthy with no success.
    #[must_use]
    pub const fn settled(&self) -> bool {
        if self.unhealthy { self.good == 0 } else { self.failing == 0 }
    }

    /// How soon to look again: `recheck` from the first failing verdict until it is settled, `interval` otherwise.
    /// `urgent` keeps the short pace, whatever is settled.
    #[must_use]
    pub const fn pace(&self, urgent: bool, pacing: &Pacing) -> Duration {
        if urgent || !self.settled() { pacing.recheck } else { pacing.interval }
    }

    /// When the round after one at `now` is due.
    #[must_use]
    pub fn next_round(&self, now: BootInstant, urgent: bool, pacing: &Pacing) -> BootInstant {
        now + self.pace(urgent, pacing)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn after(verdicts: &str) -> Counter {
        let mut counter = Counter::default();
        for letter in verdicts.chars() {
            counter.step(kind(letter), 3, 3);
        }
        counter
    }

    fn kind(letter: char) -> Kind {
        match letter {
            'o' => Kind::Ok,
            'd' => Kind::Degraded,
            'f' => Kind::Failing,
            _ => Kind::Unknown,
        }
    }

    #[test]
    fn only_failures_in_a_row_make_a_region_unhealthy() {
        for (verdicts, unhealthy) in [
            ("ff", false),
            ("fff", true),
            ("ffoff", false),
            ("ffdff", false),
            ("fufuf", true),
            ("ufufuf", true),
            ("fofofofofof", false),
            ("fdfdfdfdf", false),
            ("ffoufff", true),
        ] {
            assert_eq!(after(verdicts).unhealthy, unhealthy, "{verdicts}");
        }
    }

    #[test]
    fn coming_back_takes_good_verdicts_in_a_row() {
        for (verdicts, unhealthy) in [
            ("fffoo", true),
            ("fffooo", false),
            ("fffoofoo", true),
            ("fffoodoo", true),
            ("fffououo", false),
            ("fffoooff", false),
            ("fffooofff", true),
        ] {
            assert_eq!(after(verdicts).unhealthy, unhealthy, "{verdicts}");
        }
    }

    #[test]
    fn a_run_is_full_only_while_it_lasts() {
        assert!(!after("ff").run_is_full(3));
        assert!(after("fff").run_is_full(3));
        assert!(after("ffff").run_is_full(3));
        assert!(!after("fffo").run_is_full(3), "still unhealthy, and it works");
        assert!(!after("fffoff").run_is_full(3), "unhealthy, and a new run has not yet got there");
        assert!(!after("fffd").run_is_full(3));
        assert!(after("fffu").run_is_full(3));
    }

    #[test]
    fn we_look_sooner_from_the_first_failure_until_it_is_settled() {
        let pacing = Pacing::DEFAULT;
        let now = BootInstant::from_boot(Duration::from_secs(100));
        for (verdicts, recheck) in [
            ("", false),
            ("o", false),
            ("f", true),
            ("ff", true),
            ("fff", false),
            ("ffff", false),
            ("fffo", true),
            ("fffoo", true),
            ("fffooo", false),
            ("fo", false),
            ("fd", false),
            ("fu", true),
        ] {
            let wait = if recheck { pacing.recheck } else { pacing.interval };
            assert_eq!(after(verdicts).next_round(now, false, &pacing), now + wait, "{verdicts}");
            assert_eq!(after(verdicts).next_round(now, true, &pacing), now + pacing.recheck, "{verdicts}, urgent");
        }
    }

    proptest! {
        #[test]
        fn an_unknown_verdict_never_changes_a_counter(verdicts in "[odfu]{0,40}", failures in 1u32..6, successes in 1u32..6) {
            let mut counter = Counter::default();
            for letter in verdicts.chars() {
                counter.step(kind(letter), failures, successes);
                let before = counter;
                prop_assert_eq!(counter.step(Kind::Unknown, failures, successes), Turn::Stays);
                prop_assert_eq!(counter, before);
            }
        }

        #[test]
        fn a_region_turns_only_after_a_full_run(verdicts in "[odfu]{0,60}", failures in 1u32..6, successes in 1u32..6) {
            let mut counter = Counter::default();
            let mut told = String::new();
            for letter in verdicts.chars() {
                if letter != 'u' {
                    told.push(letter);
                }
                match counter.step(kind(letter), failures, successes) {
                    Turn::Stays => {}
                    Turn::BecameUnhealthy => prop_assert!(told.ends_with(&"f".repeat(failures as usize))),
                    Turn::BecameHealthy => prop_assert!(told.ends_with(&"o".repeat(successes as usize))),
                }
            }
        }
    }
}
