//! What this coordinator counts of itself. Everything else on its page is looked up when the page is asked for.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use holdfast_types::BootInstant;
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, histogram::Histogram},
    registry::Registry,
};

/// Bounds of how long a call takes, in seconds: the promise is 0.02 at p95.
const CALL_SECONDS: [f64; 10] = [0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 1.0, 10.0];
/// Bounds of how long a minute's figures take to be written.
const WRITE_SECONDS: [f64; 8] = [0.001, 0.005, 0.02, 0.1, 0.5, 1.0, 5.0, 20.0];

/// A call by its name and how it ended.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct CallLabels {
    /// Service and method.
    pub call: String,
    /// gRPC's word.
    pub code: String,
}

/// A call by its name.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct CallName {
    /// Service and method.
    pub call: String,
}

/// A refusal by its reason.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ReasonLabels {
    /// Its slug in the guide.
    pub reason: String,
}

/// The counters. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Own {
    registry: Arc<Registry>,
    /// Calls that ended.
    pub calls: Family<CallLabels, Counter>,
    /// How long they took.
    pub call_seconds: Family<CallName, Histogram>,
    /// Refusals.
    pub refusals: Family<ReasonLabels, Counter>,
    /// Sessions that agents opened.
    pub sessions_opened: Counter,
    /// Looks that agents sent.
    pub samples: Counter,
    /// Those that made no sense.
    pub samples_refused: Counter,
    /// Rows of a minute that were not written.
    pub history_lost: Counter,
    /// Rows written.
    pub history_rows: Counter,
    /// Rows given up for room, before their time.
    pub history_evicted: Counter,
    /// How long the writing of a minute took.
    pub history_seconds: Histogram,
    /// Samples that remote write delivered.
    pub pushed: Counter,
    /// Samples that it gave up.
    pub push_dropped: Counter,
    /// Attempts that failed.
    pub push_failed: Counter,
    /// When the rounds were last looked at, in milliseconds since boot; 0 = not since this one leads.
    rounds_at: Arc<AtomicU64>,
}

impl Default for Own {
    fn default() -> Self {
        let mut registry = Registry::default();
        let calls = Family::default();
        let call_seconds = Family::new_with_constructor(histogram_of_calls as fn() -> Histogram);
        let refusals = Family::default();
        registry.register("holdfast_calls", "Calls that ended, by name and gRPC code", calls.clone());
        registry.register("holdfast_call_seconds", "How long calls of operators and hosts took", call_seconds.clone());
        registry.register("holdfast_refusals", "Refused calls by reason", refusals.clone());
        let mut counter = |name: &str, help: &str| {
            let counter = Counter::default();
            registry.register(name, help, counter.clone());
            counter
        };
        let sessions_opened = counter("holdfast_sessions_opened", "Sessions that agents opened");
        let samples = counter("holdfast_samples", "Looks at hosts that agents sent");
        let samples_refused = counter("holdfast_samples_refused", "Looks at hosts that made no sense and were refused");
        let history_lost = counter("holdfast_history_lost", "Minutes of a host or app that were not written");
        let history_rows = counter("holdfast_history_rows", "Minutes of a host or app that were written");
        let history_evicted =
            counter("holdfast_history_evicted", "Rows of the history given up for room before their time");
        let pushed = counter("holdfast_remote_write_samples", "Samples that remote write delivered");
        let push_dropped = counter("holdfast_remote_write_dropped", "Samples that remote write gave up");
        let push_failed = counter("holdfast_remote_write_failures", "Attempts of remote write that failed");
        let history_seconds = Histogram::new(WRITE_SECONDS);
        registry.register(
            "holdfast_history_write_seconds",
            "How long writing a minute of all hosts and apps took",
            history_seconds.clone(),
        );
        Self {
            registry: Arc::new(registry),
            calls,
            call_seconds,
            refusals,
            sessions_opened,
            samples,
            samples_refused,
            history_lost,
            history_rows,
            history_evicted,
            history_seconds,
            pushed,
            push_dropped,
            push_failed,
            rounds_at: Arc::default(),
        }
    }
}

fn histogram_of_calls() -> Histogram {
    Histogram::new(CALL_SECONDS)
}

impl Own {
    /// For the page.
    #[must_use]
    pub fn registry(&self) -> &Registry {
        &self.registry
    }

    /// The rounds were looked at.
    pub fn rounds_turned(&self, now: BootInstant) {
        let millis = u64::try_from(now.since_boot().as_millis()).unwrap_or(u64::MAX);
        self.rounds_at.store(millis.max(1), Ordering::Relaxed);
    }

    /// Nobody looks at them: this coordinator leads no more.
    pub fn rounds_stopped(&self) {
        self.rounds_at.store(0, Ordering::Relaxed);
    }

    /// For how long nobody has looked at the rounds although this coordinator leads.
    #[must_use]
    pub fn rounds_stand_for(&self, now: BootInstant) -> Option<Duration> {
        match self.rounds_at.load(Ordering::Relaxed) {
            0 => None,
            at => Some(now.since(BootInstant::from_boot(Duration::from_millis(at)))),
        }
    }
}
