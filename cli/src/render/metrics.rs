//! `holdfast metrics`: each measure with its course as a line of bars, its least, average and most, and what it is now.

use std::fmt::Write as _;

use holdfast_proto::v1;
use holdfast_types::time;

use super::{
    table::{Cell, Column, Table},
    text::{Tone, View, bytes, clean, hang},
    wire::{span, wall},
};

/// From least to most.
const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
/// The same where the terminal has no such letters.
const ASCII: [char; 8] = ['_', '.', '-', '=', '+', '*', '#', '@'];
/// Stands where nothing was measured.
const MISSING: char = '·';
/// The same in ASCII.
const MISSING_ASCII: char = '?';

/// Points that a terminal of this width has room for; each is one bar.
#[must_use]
pub const fn points(width: usize) -> u32 {
    match width {
        0..70 => 12,
        70..90 => 14,
        90..140 => 24,
        _ => 60,
    }
}

/// The course of a host or an app. `letters`: the terminal has more than ASCII.
#[must_use]
pub fn metrics(reply: &v1::HistoryReply, letters: bool, view: &View) -> String {
    let mut out = String::new();
    let until = wall(reply.until.as_ref()).unwrap_or(view.now);
    let from = wall(reply.from.as_ref()).unwrap_or(until);
    let step = span(reply.step.as_ref()).unwrap_or_default();
    let head = format!(
        "{} · {} · last {} to {} UTC, a bar is {}",
        clean(&reply.name),
        clean(&reply.kind),
        time::span(until.since(from)),
        until.clock(),
        time::span(step)
    );
    hang(&mut out, view, "", &head);
    if !reply.series.is_empty() {
        let mut table = Table::new([
            Column::breaks("MEASURE"),
            Column::new("COURSE"),
            Column::right("MIN"),
            Column::right("AVERAGE"),
            Column::right("MAX"),
            Column::right("NOW"),
        ]);
        for series in &reply.series {
            let value = |value: f64| Cell::new(figure(value, &series.unit));
            table.row([
                Cell::toned(Tone::Strong, format!("{} {}", series.measure, series.of).trim_end()),
                Cell::new(bars(series, letters)),
                value(series.min),
                value(series.average),
                value(series.max),
                series.now.map_or_else(|| Cell::new(""), value),
            ]);
        }
        out.push('\n');
        out.push_str(&table.render(view));
    }
    for note in &reply.notes {
        let _ = writeln!(out);
        hang(&mut out, view, "note  ", note);
    }
    out
}

/// One bar a point. A ratio is drawn against all of it, everything else against its own most; what is never negative
/// stands on zero.
fn bars(series: &v1::Series, letters: bool) -> String {
    let (bars, missing) = if letters { (BARS, MISSING) } else { (ASCII, MISSING_ASCII) };
    let least = series.min.min(0.0);
    let most = if series.unit == "ratio" { series.max.max(1.0) } else { series.max };
    let bar = |value: &f32| {
        let value = f64::from(*value);
        if !value.is_finite() {
            return missing;
        }
        let share = if most > least { (value - least) / (most - least) } else { 0.0 };
        // Which of eight; what is outside is at the end.
        let index = bars.iter().enumerate().rev().map(|(index, _)| index).find(|index| {
            let from = f64::from(u32::try_from(*index).unwrap_or(0)) / 8.0;
            share >= from
        });
        bars.get(index.unwrap_or(0)).copied().unwrap_or(missing)
    };
    series.averages.iter().map(bar).collect()
}

/// A value with its unit.
#[must_use]
pub fn figure(value: f64, unit: &str) -> String {
    match unit {
        "ratio" => percent(value),
        "bytes" => size(value),
        "bytes_per_second" => format!("{}/s", size(value)),
        "seconds" => format!("{} s", decimals(value)),
        _ => decimals(value),
    }
}

/// `12 %`, below one percent with a digit more.
#[must_use]
pub fn percent(ratio: f64) -> String {
    let percent = ratio * 100.0;
    if percent > 0.0 && percent < 1.0 { format!("{percent:.1} %") } else { format!("{percent:.0} %") }
}

fn size(value: f64) -> String {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a negative or absurd size is shown as the nearest that is one"
    )]
    let whole = value.round() as u64;
    bytes(whole)
}

/// Three digits that matter, none after whole numbers.
fn decimals(value: f64) -> String {
    let digits = match value.abs() {
        0.0..0.1 => 3,
        0.1..10.0 => 2,
        10.0..100.0 => 1,
        _ => 0,
    };
    let text = format!("{value:.digits$}");
    if !text.contains('.') {
        return text;
    }
    let text = text.trim_end_matches('0').trim_end_matches('.');
    if text == "-0" { "0".to_owned() } else { text.to_owned() }
}

/// Figures that are older than two looks are said to be.
#[must_use]
pub fn is_stale(figures: &v1::HostFigures) -> bool {
    span(figures.age.as_ref()).is_none_or(|age| age.as_secs() > 25)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::samples;

    fn series(measure: &str, of: &str, unit: &str, averages: &[f32], now: Option<f64>) -> v1::Series {
        let known = || averages.iter().filter(|a| a.is_finite()).map(|a| f64::from(*a));
        let count = f64::from(u32::try_from(known().count()).expect("few"));
        v1::Series {
            measure: measure.to_owned(),
            of: of.to_owned(),
            unit: unit.to_owned(),
            averages: averages.to_vec(),
            min: known().fold(f64::MAX, f64::min),
            average: known().sum::<f64>() / count,
            max: known().fold(f64::MIN, f64::max),
            now,
        }
    }

    fn reply(points: u16) -> v1::HistoryReply {
        let course = |from: f32, to: f32| -> Vec<f32> {
            (0..points).map(|n| from + (to - from) * f32::from(n) / f32::from(points)).collect()
        };
        let mut gap = course(0.02, 0.9);
        gap[..3].fill(f32::NAN);
        v1::HistoryReply {
            name: "use-db1".to_owned(),
            kind: "host".to_owned(),
            from: samples::ago(3_600_000),
            until: samples::ago(0),
            step: Some(prost_types::Duration { seconds: 100, nanos: 0 }),
            series: vec![
                series("cpu", "", "ratio", &gap, Some(0.87)),
                series("memory available", "", "bytes", &course(4e9, 2e9), Some(2.1e9)),
                series("disk", "/var/lib/postgresql/15/main", "ratio", &course(0.41, 0.42), Some(0.42)),
                series("received", "eth0", "bytes_per_second", &course(0.0, 1.5e6), None),
                series("clock offset", "", "seconds", &course(-0.02, 0.01), Some(-0.004)),
                series("load", "", "count", &course(0.0, 0.0), Some(0.0)),
            ],
            notes: vec!["the history is stopped: no room on the disk for database history.db".to_owned()],
        }
    }

    #[test]
    fn a_course_fits_every_terminal() {
        for width in [100, 80, 60] {
            let reply = reply(u16::try_from(points(width)).expect("few"));
            let text = metrics(&reply, true, &samples::view(width));
            samples::assert_fits(&text, width);
            insta::assert_snapshot!(format!("metrics_{width}"), text);
        }
    }

    #[test]
    fn where_there_are_no_letters_but_ascii_bars_are_of_that() {
        let cpu = &reply(12).series[0];
        assert_eq!(bars(cpu, false), "???.-==++*##");
        assert!(bars(cpu, false).is_ascii() && bars(cpu, true).chars().all(|c| BARS.contains(&c) || c == MISSING));
    }

    #[test]
    fn figures_have_the_digits_that_matter_and_their_unit() {
        for (value, unit, text) in [
            (0.123, "ratio", "12 %"),
            (0.004, "ratio", "0.4 %"),
            (0.0, "ratio", "0 %"),
            (1536.0, "bytes", "1.5 KiB"),
            (-5.0, "bytes", "0 B"),
            (2e6, "bytes_per_second", "1.9 MiB/s"),
            (0.0204, "seconds", "0.02 s"),
            (-0.0001, "seconds", "0 s"),
            (2.0, "count", "2"),
            (12.34, "count", "12.3"),
            (1234.5, "count", "1234"),
        ] {
            assert_eq!(figure(value, unit), text, "{value} {unit}");
        }
    }
}
