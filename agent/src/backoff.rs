//! Pauses between attempts: short at first, so that a restarted coordinator is found at once, then longer, and never
//! at the same moment as everybody else.

use std::time::Duration;

use rand::{Rng as _, SeedableRng as _, rngs::StdRng};
use tokio::time::sleep;

/// The first pause.
const FIRST: Duration = Duration::from_millis(100);

/// Grows from 100 ms by doubling up to a limit; each pause is between half of that and all of it.
#[derive(Debug)]
pub struct Backoff {
    random: StdRng,
    next: Duration,
    max: Duration,
}

impl Backoff {
    /// Pauses up to `max`.
    #[must_use]
    pub fn new(seed: u64, max: Duration) -> Self {
        Self { random: StdRng::seed_from_u64(seed), next: FIRST, max }
    }

    /// It worked: the next pause is short again.
    pub fn worked(&mut self) {
        self.next = FIRST;
    }

    /// How long to pause now.
    pub fn next_pause(&mut self) -> Duration {
        let pause = self.next.mul_f64(self.random.gen_range(0.5..=1.0));
        self.next = (self.next * 2).min(self.max);
        pause
    }

    /// Pauses.
    pub async fn pause(&mut self) {
        let pause = self.next_pause();
        sleep(pause).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_from_short_to_the_limit_and_start_again() {
        let mut backoff = Backoff::new(7, Duration::from_secs(10));
        let first = backoff.next_pause();
        assert!(first >= FIRST / 2 && first <= FIRST, "{first:?}");
        let last = (0..20).map(|_| backoff.next_pause()).last().expect("twenty pauses");
        assert!(last >= Duration::from_secs(5) && last <= Duration::from_secs(10), "{last:?}");
        backoff.worked();
        assert!(backoff.next_pause() <= FIRST);
    }
}
