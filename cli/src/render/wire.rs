//! Wire values as the command line shows them: times, spans, lease states, and the tone of a state.

use std::time::Duration;

use holdfast_proto::v1;
use holdfast_types::WallTime;

use super::text::Tone;

/// The moment, if one is given.
#[must_use]
pub fn wall(at: Option<&prost_types::Timestamp>) -> Option<WallTime> {
    at.map(|t| WallTime(t.seconds.saturating_mul(1_000).saturating_add(i64::from(t.nanos) / 1_000_000)))
}

/// The span, if one is given; a negative one is zero.
#[must_use]
pub fn span(span: Option<&prost_types::Duration>) -> Option<Duration> {
    span.map(|d| Duration::new(u64::try_from(d.seconds).unwrap_or(0), u32::try_from(d.nanos).unwrap_or(0)))
}

/// The text, unless it is empty.
#[must_use]
pub fn said(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_owned())
}

/// The word for a lease state, as it stands in JSON too.
#[must_use]
pub const fn lease_word(state: v1::LeaseState) -> &'static str {
    match state {
        v1::LeaseState::Unspecified => "unknown",
        v1::LeaseState::None => "none",
        v1::LeaseState::Ended => "held",
        v1::LeaseState::Sole => "sole",
        v1::LeaseState::Fencing => "fencing",
        v1::LeaseState::Fenced => "fenced",
        v1::LeaseState::Released => "released",
    }
}

/// How a word for health, a verdict or an outcome is painted.
#[must_use]
pub fn health_tone(word: &str) -> Tone {
    match word {
        "ok" => Tone::Good,
        "failing" | "silent" => Tone::Bad,
        "degraded" | "could not run" | "unknown" => Tone::Warn,
        _ => Tone::Plain,
    }
}

/// How an operation has ended, or that it goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OperationState {
    /// Goes on, forward.
    Running,
    /// Goes on, backward.
    Unwinding,
    /// Did what it was asked.
    Done,
    /// Failed; everything was undone.
    Unwound,
    /// Failed before anything was changed.
    Failed,
    /// Some of it holds, some does not.
    Partly,
    /// A later release's word.
    Other,
}

impl OperationState {
    /// The state a word of the wire means.
    #[must_use]
    pub fn of(operation: &v1::Operation) -> Self {
        match operation.state.as_str() {
            "running" => Self::Running,
            "unwinding" => Self::Unwinding,
            "done" => Self::Done,
            "unwound" => Self::Unwound,
            "failed" => Self::Failed,
            "partly" => Self::Partly,
            _ => Self::Other,
        }
    }

    /// Its colour.
    #[must_use]
    pub const fn tone(self) -> Tone {
        match self {
            Self::Running => Tone::Strong,
            Self::Unwinding | Self::Unwound | Self::Other => Tone::Warn,
            Self::Done => Tone::Good,
            Self::Failed | Self::Partly => Tone::Bad,
        }
    }
}

/// Whether the operation has ended. A state of a later release has, if it has an end.
#[must_use]
pub fn ended(operation: &v1::Operation) -> bool {
    match OperationState::of(operation) {
        OperationState::Running | OperationState::Unwinding => false,
        OperationState::Done | OperationState::Unwound | OperationState::Failed | OperationState::Partly => true,
        OperationState::Other => operation.ended_at.is_some(),
    }
}
