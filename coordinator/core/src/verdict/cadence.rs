//! When an observation is late.
//!
//! An agent looks once per pace: every `interval` while all is well, every `recheck` after a failure. When the pace
//! changes, the agent hears of it a moment later; an observation that was due under the old pace is not late because
//! of the new one. So silence is counted per observation, from the pace that was in force when it came in.

use std::time::Duration;

/// How late an observation may be before it counts as missing: a round trip between continents, and a busy host's
/// scheduling. An observation this much older than the pace is silence.
pub const SILENCE_SLACK: Duration = Duration::from_millis(250);

/// How often observations are due, and since when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cadence {
    /// The pace in force.
    pub every: Duration,
    /// The pace before it.
    pub before: Duration,
    /// How long ago it changed.
    pub changed_ago: Duration,
}

impl Cadence {
    /// One pace, as long as anybody remembers.
    #[must_use]
    pub const fn steady(every: Duration) -> Self {
        Self { every, before: every, changed_ago: Duration::MAX }
    }

    /// How old an observation of this age is when it becomes silence.
    #[must_use]
    pub fn silent_at(&self, age: Duration) -> Duration {
        let due = match age.checked_sub(self.changed_ago) {
            None => self.every,
            // It came in before the pace changed. Told to look sooner, an agent does so within the new pace of hearing
            // it, and never later than it would have anyway. Told to look later, it may count from the change.
            Some(at_change) => {
                let from_change = at_change.saturating_add(self.every);
                if self.every < self.before { from_change.min(self.before) } else { from_change }
            }
        };
        due.saturating_add(SILENCE_SLACK)
    }

    /// Whether an observation of this age counts as none.
    #[must_use]
    pub fn is_silent(&self, age: Duration) -> bool {
        age >= self.silent_at(age)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn silence_is_no_observation_younger_than_the_pace_and_250_ms() {
        let cadence = Cadence::steady(ms(30_000));
        assert!(!cadence.is_silent(ms(30_249)));
        assert!(cadence.is_silent(ms(30_250)));
    }

    #[test]
    fn a_shorter_pace_gives_agents_one_new_pace_to_hear_of_it() {
        // 30 s until 5 s ago, 5 s since.
        let told = |changed| Cadence { every: ms(5_000), before: ms(30_000), changed_ago: ms(changed) };
        // Received 5 s before the change: due 5 s after it, and 250 ms of slack.
        assert!(!told(5_249).is_silent(ms(10_249)));
        assert!(told(5_250).is_silent(ms(10_250)));
        // Received 29 s before the change: due one second after it, as it always was.
        assert!(!told(1_249).is_silent(ms(30_249)));
        assert!(told(1_250).is_silent(ms(30_250)));
        // Received after the change: the new pace counts.
        assert!(!told(8_000).is_silent(ms(5_249)));
        assert!(told(8_000).is_silent(ms(5_250)));
    }

    #[test]
    fn a_longer_pace_counts_from_the_change() {
        let cadence = Cadence { every: ms(30_000), before: ms(5_000), changed_ago: ms(20_000) };
        assert!(!cadence.is_silent(ms(24_000)), "it may have been told to look again 30 s after the change");
        assert!(!cadence.is_silent(ms(19_000)));
        let late = Cadence { changed_ago: ms(30_250), ..cadence };
        assert!(late.is_silent(ms(34_000)));
    }

    #[test]
    fn what_is_silent_stays_silent_as_it_grows_older() {
        for changed in [0, 100, 4_000, 5_000, 29_000, 31_000] {
            for (every, before) in [(5_000, 30_000), (30_000, 5_000), (1_000, 1_000)] {
                let mut was = false;
                for step in 0..800 {
                    let cadence =
                        Cadence { every: ms(every), before: ms(before), changed_ago: ms(changed + step * 100) };
                    let is = cadence.is_silent(ms(3_000 + step * 100));
                    assert!(is || !was, "{cadence:?} after {step} steps");
                    was = is;
                }
            }
        }
    }
}
