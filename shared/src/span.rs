//! Spans of time from the wire.

use std::time::Duration;

/// The span, or nothing when it is negative or not written as the format demands: nanoseconds below a second.
///
/// The library's own conversion computes with what it is given before it looks at it, and the least numbers overflow.
#[must_use]
pub fn from_wire(span: &prost_types::Duration) -> Option<Duration> {
    let (seconds, nanos) = (u64::try_from(span.seconds).ok()?, u32::try_from(span.nanos).ok()?);
    (nanos < 1_000_000_000).then(|| Duration::new(seconds, nanos))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_is_taken_as_it_is_written_or_not_at_all() {
        let read = |seconds, nanos| from_wire(&prost_types::Duration { seconds, nanos });
        assert_eq!(read(1, 500_000_000), Some(Duration::from_millis(1_500)));
        assert_eq!(read(0, 0), Some(Duration::ZERO));
        assert_eq!(read(i64::MAX, 999_999_999), Some(Duration::new(i64::MAX.unsigned_abs(), 999_999_999)));
        for (seconds, nanos) in [(-1, 0), (0, -1), (1, -1), (i64::MIN, i32::MIN), (i64::MIN, 0), (0, 1_000_000_000)] {
            assert_eq!(read(seconds, nanos), None, "{seconds} s {nanos} ns");
        }
    }
}
