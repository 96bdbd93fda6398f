//! The moment by which a piece of work must have ended.

use std::time::Duration;

use tokio::time::{Instant, error::Elapsed, sleep, timeout_at};

/// A deadline that several awaits share, on the runtime's own timer. It bounds work, it decides nothing: leases are
/// counted on the boot clock, elsewhere.
#[derive(Debug, Clone, Copy)]
pub struct Until(Instant);

impl Until {
    /// So long from now. Must be called inside the runtime.
    #[must_use]
    pub fn after(within: Duration) -> Self {
        // The runtime's timer is asked, not a clock: under a simulated one this follows it.
        Self(sleep(within).deadline())
    }

    /// The same moment, so much earlier: what is left is for cleaning up.
    #[must_use]
    pub fn earlier_by(self, reserve: Duration) -> Self {
        Self(self.0.checked_sub(reserve).unwrap_or(self.0))
    }

    /// The earlier of the two.
    #[must_use]
    pub fn or_before(self, other: Self) -> Self {
        Self(self.0.min(other.0))
    }

    /// Waits for `work`, at most until this moment; then drops it.
    ///
    /// # Errors
    /// [`Elapsed`] when the moment came first.
    pub async fn limit<F: Future>(self, work: F) -> Result<F::Output, Elapsed> {
        timeout_at(self.0, work).await
    }
}
