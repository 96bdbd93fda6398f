//! Two kinds of time that do not convert into each other.
//!
//! Every decision is made on [`BootInstant`] (CLOCK_BOOTTIME counts while a machine is suspended and nobody can set
//! it). [`WallTime`] is only shown and recorded. Nothing here reads a clock: `holdfast_shared::clock` does.

use std::{fmt, ops, str::FromStr, time::Duration};

use serde::{Deserialize, Serialize};

/// An instant on the boot clock of one host. Never leaves that host: on another it means nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct BootInstant(Duration);

impl BootInstant {
    /// The instant so long after boot.
    #[must_use]
    pub const fn from_boot(since: Duration) -> Self {
        Self(since)
    }

    /// How long after boot.
    #[must_use]
    pub const fn since_boot(self) -> Duration {
        self.0
    }

    /// Time from `earlier` to this; zero when `earlier` is later.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Duration {
        self.0.saturating_sub(earlier.0)
    }

    /// Time from this until `later`; zero when that has passed.
    #[must_use]
    pub const fn until(self, later: Self) -> Duration {
        later.since(self)
    }
}

impl ops::Add<Duration> for BootInstant {
    type Output = Self;
    fn add(self, span: Duration) -> Self {
        Self(self.0.saturating_add(span))
    }
}

impl ops::Sub<Duration> for BootInstant {
    type Output = Self;
    fn sub(self, span: Duration) -> Self {
        Self(self.0.saturating_sub(span))
    }
}

/// A moment for people, in milliseconds since the Unix epoch, UTC. Decides nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct WallTime(pub i64);

impl WallTime {
    /// Milliseconds since the Unix epoch.
    #[must_use]
    pub const fn unix_millis(self) -> i64 {
        self.0
    }

    fn timestamp(self) -> jiff::Timestamp {
        jiff::Timestamp::from_millisecond(self.0).unwrap_or(if self.0 < 0 {
            jiff::Timestamp::MIN
        } else {
            jiff::Timestamp::MAX
        })
    }

    /// `21:04:17`, UTC.
    #[must_use]
    pub fn clock(self) -> String {
        self.timestamp().strftime("%H:%M:%S").to_string()
    }

    /// `2026-11-20 21:04`, UTC.
    #[must_use]
    pub fn minute(self) -> String {
        self.timestamp().strftime("%Y-%m-%d %H:%M").to_string()
    }

    /// `21:04:17.532`, UTC.
    #[must_use]
    pub fn clock_millis(self) -> String {
        self.timestamp().strftime("%H:%M:%S%.3f").to_string()
    }

    /// Time from `earlier` to this; zero when the wall clock went back.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }
}

/// `2026-11-20T21:04:17.532Z`.
impl fmt::Display for WallTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.timestamp().strftime("%Y-%m-%dT%H:%M:%S%.3fZ"))
    }
}

/// Names one boot of one host (`/proc/sys/kernel/random/boot_id`). A record of another boot is worth nothing.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct BootId(pub String);

impl fmt::Display for BootId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Prints a span as people write it: `20 s`, `1.5 s`, `250 ms`, `6 min 12 s`, `2 h 5 min`, `12 d`.
#[must_use]
pub fn span(span: Duration) -> String {
    let millis = span.as_millis();
    let seconds = span.as_secs();
    match seconds {
        0 => format!("{millis} ms"),
        1..=59 if millis.is_multiple_of(1000) => format!("{seconds} s"),
        1..=59 => format!("{}.{} s", seconds, millis % 1000 / 100),
        60..=3_599 if seconds.is_multiple_of(60) => format!("{} min", seconds / 60),
        60..=3_599 => format!("{} min {} s", seconds / 60, seconds % 60),
        3_600..=86_399 if seconds % 3_600 < 60 => format!("{} h", seconds / 3_600),
        3_600..=86_399 => format!("{} h {} min", seconds / 3_600, seconds % 3_600 / 60),
        86_400.. => format!("{} d", seconds / 86_400),
    }
}

/// Why a text is no span of time.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("\"{0}\" is no span of time: write a number and one of ms, s, m, h, d, as in 30s")]
pub struct BadSpan(String);

/// A span as it is written in specs and flags: `250ms`, `30s`, `1.5s`, `15m`, `2h`, `7d`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span(pub Duration);

impl FromStr for Span {
    type Err = BadSpan;

    fn from_str(text: &str) -> Result<Self, BadSpan> {
        let bad = || BadSpan(text.chars().take(80).collect());
        let text = text.trim();
        let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or_else(bad)?;
        let (number, unit) = text.split_at(digits);
        let millis_each: u64 = match unit.trim() {
            "ms" => 1,
            "s" => 1_000,
            "m" | "min" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            _ => return Err(bad()),
        };
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if whole.is_empty()
            || fraction.contains('.')
            || fraction.len() > 3
            || (number.contains('.') && fraction.is_empty())
        {
            return Err(bad());
        }
        let whole: u64 = whole.parse().map_err(|_| bad())?;
        let fraction: u64 = format!("{fraction:0<3}").parse().map_err(|_| bad())?;
        let millis = whole
            .checked_mul(millis_each)
            .and_then(|w| fraction.checked_mul(millis_each).map(|f| f / 1_000).and_then(|f| w.checked_add(f)))
            .ok_or_else(bad)?;
        Ok(Self(Duration::from_millis(millis)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_read_as_people_write_them() {
        for (text, millis) in [
            ("250ms", 250),
            ("30s", 30_000),
            ("1.5s", 1_500),
            ("15m", 900_000),
            ("2h", 7_200_000),
            ("7d", 604_800_000),
            ("0s", 0),
        ] {
            assert_eq!(text.parse(), Ok(Span(Duration::from_millis(millis))), "{text}");
        }
        for bad in ["", "s", "30", "-1s", "1.s", ".5s", "1.2345s", "30 sec", "99999999999999999999d"] {
            assert!(bad.parse::<Span>().is_err(), "{bad:?} was taken as a span");
        }
    }

    #[test]
    fn spans_print_with_their_unit() {
        let of = |millis| span(Duration::from_millis(millis));
        assert_eq!(of(0), "0 ms");
        assert_eq!(of(250), "250 ms");
        assert_eq!(of(1_500), "1.5 s");
        assert_eq!(of(20_000), "20 s");
        assert_eq!(of(372_000), "6 min 12 s");
        assert_eq!(of(7_500_000), "2 h 5 min");
        assert_eq!(of(12 * 86_400_000), "12 d");
    }

    #[test]
    fn boot_instants_never_go_below_zero() {
        let at = |s| BootInstant::from_boot(Duration::from_secs(s));
        assert_eq!(at(3).since(at(5)), Duration::ZERO);
        assert_eq!(at(3).until(at(5)), Duration::from_secs(2));
        assert_eq!(at(3) - Duration::from_secs(9), at(0));
    }

    #[test]
    fn wall_time_prints_in_utc() {
        let t = WallTime(1_795_208_657_532);
        assert_eq!(t.to_string(), "2026-11-20T21:04:17.532Z");
        assert_eq!(t.clock(), "21:04:17");
    }
}
