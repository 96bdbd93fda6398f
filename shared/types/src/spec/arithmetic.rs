//! The arithmetic of an app's timings, as `plan` and `apply` print it.

use std::{fmt, time::Duration};

use serde::Serialize;

use super::AppSpec;

/// Longest time until another coordinator leads: the wait of a follower, and its drawn election timeout.
const TAKEOVER: Duration = Duration::from_secs(4);

/// One line of arithmetic.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ArithmeticLine {
    /// What is computed: `detected within`, `lease`, `earliest promote`.
    pub what: String,
    /// How, with numbers, units and result.
    pub formula: String,
    /// Whether the rule behind it holds; `None` where there is no rule.
    pub holds: Option<bool>,
    /// How it compares with the other lines.
    pub note: Option<String>,
}

impl fmt::Display for ArithmeticLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut line = format!("{:<16} {:<61}", self.what, self.formula);
        match self.holds {
            Some(true) => line.push_str(" holds"),
            Some(false) => line.push_str(" does not hold"),
            None => {}
        }
        if let Some(note) = &self.note {
            line.push_str(&format!(" ({note})"));
        }
        f.write_str(line.trim_end())
    }
}

impl AppSpec {
    /// The lines that `plan` and `apply` print. None without `failover`; only the first with one region.
    #[must_use]
    pub fn arithmetic(&self) -> Vec<ArithmeticLine> {
        let (Some(failover), Some(detected)) = (&self.failover, self.detection()) else {
            return Vec::new();
        };
        let slowest = self.slowest_check();
        let mut lines = vec![ArithmeticLine {
            what: "detected within".into(),
            formula: format!(
                "{} + {} × {} + {} (slowest check) = {}",
                number(failover.interval),
                failover.failures.saturating_sub(1),
                number(failover.recheck),
                number(slowest),
                seconds(detected)
            ),
            holds: None,
            note: None,
        }];
        let Some(timings) = self.timings() else {
            return lines;
        };
        lines.push(ArithmeticLine {
            what: "lease".into(),
            formula: format!(
                "{} ≥ 2 × {} renew + {} drift = {}",
                seconds(timings.lease),
                seconds(timings.renew),
                seconds(timings.drift),
                seconds(timings.lease_min())
            ),
            holds: Some(timings.lease >= timings.lease_min()),
            note: None,
        });
        let over = timings.over_after();
        // A region that is found unhealthy earlier than that is not moved earlier: the plan waits for the rest.
        let note = if detected >= over {
            format!("{} is later", seconds(detected))
        } else {
            format!("{} is earlier, so it is waited for", seconds(detected))
        };
        lines.push(ArithmeticLine {
            what: "earliest promote".into(),
            formula: format!(
                "{} lease + {} drift + {} fence = {} after the last grant",
                seconds(timings.lease),
                seconds(timings.drift),
                seconds(timings.fence_within),
                seconds(over)
            ),
            holds: Some(true),
            note: Some(note),
        });
        // What is left of a lease when a coordinator is lost is at least lease − renew.
        if timings.lease < TAKEOVER + timings.renew {
            lines.push(ArithmeticLine {
                what: "takeover".into(),
                formula: format!(
                    "{} lease < {} until another coordinator leads + {} renew",
                    seconds(timings.lease),
                    seconds(TAKEOVER),
                    seconds(timings.renew)
                ),
                holds: None,
                note: Some("losing a coordinator fences the app".into()),
            });
        }
        lines
    }
}

/// Seconds with as many decimals as there are, up to three: `20`, `0.1`.
fn number(span: Duration) -> String {
    let millis = span.as_millis();
    let text = format!("{}.{:03}", millis / 1_000, millis % 1_000);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// The same with its unit. Seconds throughout, so that the numbers of a line can be added by eye.
pub(super) fn seconds(span: Duration) -> String {
    format!("{} s", number(span))
}
