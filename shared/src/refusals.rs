//! What is refused at the edge: counted by kind, and logged at most once a minute each, so that nobody fills a log who
//! may not even speak.

use std::{
    fmt::Display,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use crate::{
    clock::SharedClock,
    repeats::{Repeats, Told},
};

/// What was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum RefusedKind {
    /// A connection: garbage, a handshake that took too long, a certificate that does not count.
    Handshake,
    /// A connection too many of one address or bearer.
    Crowd,
    /// An enrolment, an invitation or a renewal: a token or a signing request that does not count.
    Enrolment,
    /// A call that its bearer may not make.
    Call,
    /// A message that no release of ours sends.
    Message,
    /// Something about an app or a host that is not the bearer's.
    Foreign,
    /// Work that there is no room for on the disk.
    NoRoom,
}

impl RefusedKind {
    /// All of them.
    pub const ALL: [Self; 7] =
        [Self::Handshake, Self::Crowd, Self::Enrolment, Self::Call, Self::Message, Self::Foreign, Self::NoRoom];

    /// As a metric's label.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Handshake => "handshake",
            Self::Crowd => "crowd",
            Self::Enrolment => "enrolment",
            Self::Call => "call",
            Self::Message => "message",
            Self::Foreign => "foreign",
            Self::NoRoom => "no_room",
        }
    }

    const fn said(self) -> &'static str {
        match self {
            Self::Handshake => "connection refused at the handshake",
            Self::Crowd => "connection closed: too many at once",
            Self::Enrolment => "a token or signing request was refused",
            Self::Call => "a call was refused",
            Self::Message => "a message cannot be understood",
            Self::Foreign => "refused: not the bearer's own",
            Self::NoRoom => "refused: no room on the disk",
        }
    }
}

#[derive(Debug, Default)]
struct Counters {
    totals: [AtomicU64; RefusedKind::ALL.len()],
    told: Repeats<RefusedKind>,
}

/// Counts refusals. Cheap to clone; clones count together.
#[derive(Debug, Clone)]
pub struct Refusals {
    clock: SharedClock,
    counters: Arc<Counters>,
}

impl Refusals {
    /// Nothing was refused yet.
    #[must_use]
    pub fn new(clock: SharedClock) -> Self {
        Self { clock, counters: Arc::default() }
    }

    /// Counts one, from `from`, and logs why when nothing of its kind was logged for a minute.
    pub fn note(&self, kind: RefusedKind, from: impl Display, why: impl Display) {
        self.counters.totals[kind as usize].fetch_add(1, Ordering::Relaxed);
        if let Some(Told { times }) = self.counters.told.told(kind, self.clock.boot()) {
            let why = one_line(&why.to_string());
            tracing::warn!(kind = kind.label(), from = %from, why = %why, times, "{}", kind.said());
        }
    }

    /// How many of a kind there were since the start.
    #[must_use]
    pub fn total(&self, kind: RefusedKind) -> u64 {
        self.counters.totals[kind as usize].load(Ordering::Relaxed)
    }
}

/// Longest text of somebody else that goes into a log line or a message for people, in bytes.
const LINE_BYTES_MAX: usize = 2_000;

/// A text from outside as one line of bounded length in which nothing moves a cursor or begins another line.
#[must_use]
pub fn one_line(text: &str) -> String {
    let end = text.floor_char_boundary(LINE_BYTES_MAX);
    let mut line: String = text[..end].chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    if end < text.len() {
        line.push('…');
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_a_counter_and_a_label_of_its_own() {
        for (at, kind) in RefusedKind::ALL.into_iter().enumerate() {
            assert_eq!(kind as usize, at);
            assert!(RefusedKind::ALL[..at].iter().all(|before| before.label() != kind.label()));
        }
    }

    #[test]
    fn a_text_from_outside_is_one_short_line() {
        assert_eq!(one_line("a\nb\u{1b}[2Jc"), "a b [2Jc");
        assert_eq!(one_line("stopped"), "stopped");
        let long = one_line(&"ä".repeat(LINE_BYTES_MAX));
        assert_eq!((long.chars().count(), long.ends_with("ä…")), (LINE_BYTES_MAX / 2 + 1, true));
    }
}
