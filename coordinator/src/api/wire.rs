//! Times and spans on the wire.

use std::time::Duration;

use holdfast_types::WallTime;

/// A moment.
pub(super) fn timestamp(at: WallTime) -> prost_types::Timestamp {
    let millis = at.unix_millis();
    prost_types::Timestamp {
        seconds: millis.div_euclid(1_000),
        nanos: i32::try_from(millis.rem_euclid(1_000) * 1_000_000).expect("below a second of nanoseconds"),
    }
}

/// A stored moment, in milliseconds; 0 is none.
pub(super) fn moment(millis: i64) -> Option<prost_types::Timestamp> {
    (millis != 0).then(|| timestamp(WallTime(millis)))
}

/// A span. One that no message can hold is left out.
pub(super) fn span(span: Duration) -> Option<prost_types::Duration> {
    span.try_into().ok()
}

/// A span from the wire; a negative one is none.
pub(super) fn from_span(span: Option<&prost_types::Duration>) -> Option<Duration> {
    holdfast_shared::span::from_wire(span?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_keep_their_milliseconds_on_both_sides_of_1970() {
        for (millis, seconds, nanos) in [(1_500, 1, 500_000_000), (-1, -1, 999_000_000), (-2_000, -2, 0)] {
            assert_eq!(moment(millis), Some(prost_types::Timestamp { seconds, nanos }));
        }
        assert_eq!(moment(0), None);
    }

    #[test]
    fn a_negative_span_is_none() {
        assert_eq!(from_span(Some(&prost_types::Duration { seconds: -1, nanos: 0 })), None);
        assert_eq!(from_span(span(Duration::from_millis(250)).as_ref()), Some(Duration::from_millis(250)));
    }
}
