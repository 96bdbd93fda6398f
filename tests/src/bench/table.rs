//! Runs as lines of a table.

use super::runs::Run;
use crate::measure::{Parts, median};

const NAMES: [&str; 11] =
    ["run", "detection", "wait", "decision", "promotion", "routing", "client", "rto", "verify", "floor", "× floor"];

/// Names above the columns.
#[must_use]
pub fn head() -> String {
    line(NAMES.map(str::to_owned))
}

/// A run; what it does not have is a dash.
#[must_use]
pub fn row(name: &str, run: &Run) -> String {
    let p = &run.parts;
    let seconds = |seconds: Option<f64>| seconds.map_or("–".to_owned(), |seconds| format!("{seconds:.2}"));
    let ratio = p.rto.zip(run.floor).map_or("–".to_owned(), |(rto, floor)| format!("{:.0}", rto / floor));
    line([
        name.to_owned(),
        seconds(p.detection),
        seconds(p.wait),
        seconds(p.decision),
        seconds(p.promotion),
        seconds(p.routing),
        seconds(p.client),
        seconds(p.rto),
        seconds(p.verification),
        seconds(run.floor),
        ratio,
    ])
}

/// Each under its name; narrow where the name is short, so that all of them fit into a hundred columns.
fn line(cells: [String; 11]) -> String {
    cells
        .iter()
        .zip(NAMES)
        .map(|(cell, name)| format!("{cell:>width$}", width = name.chars().count().max(6) + 2))
        .collect()
}

/// The median of each column by itself.
#[must_use]
pub fn middle(runs: &[Run]) -> Run {
    let of = |value: fn(&Run) -> Option<f64>| median(runs.iter().filter_map(value));
    Run {
        parts: Parts {
            detection: of(|run| run.parts.detection),
            wait: of(|run| run.parts.wait),
            decision: of(|run| run.parts.decision),
            promotion: of(|run| run.parts.promotion),
            routing: of(|run| run.parts.routing),
            client: of(|run| run.parts.client),
            verification: of(|run| run.parts.verification),
            rto: of(|run| run.parts.rto),
        },
        lost: runs.iter().map(|run| run.lost).sum(),
        floor: of(|run| run.floor),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_stand_under_their_names_within_a_hundred_columns() {
        let parts = Parts { detection: Some(3.4), rto: Some(5.1), ..Parts::default() };
        let row = row("median", &Run { parts, floor: Some(0.17), ..Run::default() });
        assert_eq!(row.chars().count(), head().chars().count());
        assert!(row.chars().count() <= 100, "{row}");
        assert!(row.ends_with(" 30"), "{row}");
    }

    #[test]
    fn each_column_has_a_median_of_its_own() {
        let run =
            |detection, floor| Run { parts: Parts { detection: Some(detection), ..Parts::default() }, lost: 1, floor };
        let middle = middle(&[run(1.0, Some(0.3)), run(3.0, None), run(2.0, Some(0.1))]);
        assert_eq!((middle.parts.detection, middle.floor, middle.parts.wait), (Some(2.0), Some(0.2), None));
        assert_eq!(middle.lost, 3);
    }
}
