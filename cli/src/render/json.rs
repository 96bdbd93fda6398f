//! The JSON that programs read: one object with `"schema": 1`. Fields are added, never renamed or removed.
//! Instants are RFC 3339 in UTC, spans are numbers of seconds named `_seconds`, sizes `_bytes`. What is not known is
//! null.

mod contexts;
mod declare;
mod fleet;
mod joining;
mod metrics;
mod operations;
mod people;

use std::time::Duration;

use holdfast_proto::v1;
use serde::Serialize;

pub use contexts::*;
pub use declare::*;
pub use fleet::*;
pub use joining::*;
pub use metrics::*;
pub use operations::*;
pub use people::*;

use super::wire::wall;

/// The schema that this release writes.
pub const SCHEMA: u32 = 1;

#[derive(Serialize)]
struct Versioned<T> {
    schema: u32,
    #[serde(flatten)]
    body: T,
}

/// The object as text, with a line feed at its end.
#[must_use]
pub fn text<T: Serialize>(body: T) -> String {
    print(serde_json::to_string_pretty(&Versioned { schema: SCHEMA, body }))
}

/// The object on one line.
#[must_use]
pub fn line<T: Serialize>(body: T) -> String {
    print(serde_json::to_string(&Versioned { schema: SCHEMA, body }))
}

fn print(text: Result<String, serde_json::Error>) -> String {
    let mut text = text.expect("our own structs have string keys and no floats that are not numbers");
    text.push('\n');
    text
}

fn seconds(s: Option<Duration>) -> Option<f64> {
    // Thousandths are all that is ever measured; more digits would only be noise of the float.
    s.and_then(|s| {
        u32::try_from(s.as_millis()).ok().map_or(Some(s.as_secs_f64().round()), |ms| Some(f64::from(ms) / 1e3))
    })
}

fn instant(at: Option<&prost_types::Timestamp>) -> Option<String> {
    wall(at).map(|at| at.to_string())
}

fn number(n: u64) -> Option<u64> {
    (n != 0).then_some(n)
}

/// A labelled line of an explanation.
#[derive(Serialize)]
pub struct Line {
    label: String,
    text: String,
}

fn lines(lines: Vec<v1::Line>) -> Vec<Line> {
    lines.into_iter().map(|l| Line { label: l.label, text: l.text }).collect()
}

fn all<A, B: From<A>>(items: Vec<A>) -> Vec<B> {
    items.into_iter().map(B::from).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::samples;

    #[test]
    fn the_schema_stays_as_it_is() {
        let mut all = String::new();
        all.push_str(&text(Status::from(samples::bad_day())));
        all.push_str(&text(Hosts::from(v1::HostsReply { hosts: samples::hosts() })));
        all.push_str(&text(Why::from(samples::why())));
        all.push_str(&text(OneOperation { operation: samples::failover_ended("done").into() }));
        all.push_str(&text(DryRun::new("smellpin", "us-west", samples::dry_run())));
        all.push_str(&text(Plan::from(samples::plan())));
        all.push_str(&text(Tokens::from(v1::ListTokensReply { tokens: samples::tokens() })));
        all.push_str(&text(Operators::from(v1::ListOperatorsReply { people: samples::people() })));
        all.push_str(&text(Trail::from(samples::trail())));
        insta::assert_snapshot!(all);
    }

    #[test]
    fn empty_replies_are_objects_too() {
        for json in [
            text(Status::from(v1::StatusReply::default())),
            text(Apps::from(v1::ListAppsReply::default())),
            text(Regions::from(v1::RegionsReply::default())),
            text(Why::from(v1::WhyReply::default())),
            text(Plan::from(v1::PlanReply::default())),
            line(Event::from(v1::OperationEvent::default())),
        ] {
            let value: serde_json::Value = serde_json::from_str(&json).expect("it is JSON");
            assert_eq!(value["schema"], 1, "{json}");
        }
    }

    #[test]
    fn spans_are_seconds_without_noise() {
        assert_eq!(seconds(Some(Duration::from_millis(5_100))), Some(5.1));
        assert_eq!(seconds(Some(Duration::MAX)).map(f64::is_finite), Some(true));
        assert_eq!(seconds(None), None);
    }
}
