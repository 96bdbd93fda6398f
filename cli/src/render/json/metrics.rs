//! Measures: the course of one host or app, and a host at a look.

use holdfast_proto::v1;
use serde::Serialize;

use super::{instant, seconds};
use crate::render::wire::{said, span};

/// `holdfast metrics`.
#[derive(Serialize)]
pub struct Metrics {
    name: String,
    /// host | app
    kind: String,
    from: Option<String>,
    until: Option<String>,
    step_seconds: Option<f64>,
    series: Vec<Series>,
    notes: Vec<String>,
}

#[derive(Serialize)]
struct Series {
    measure: String,
    of: Option<String>,
    /// ratio | bytes | bytes_per_second | seconds | count
    unit: String,
    /// One each step; null where nothing was measured.
    averages: Vec<Option<f64>>,
    min: Option<f64>,
    average: Option<f64>,
    max: Option<f64>,
    now: Option<f64>,
}

impl From<v1::HistoryReply> for Metrics {
    fn from(r: v1::HistoryReply) -> Self {
        let series = |s: v1::Series| Series {
            measure: s.measure,
            of: said(&s.of),
            unit: s.unit,
            averages: s.averages.into_iter().map(short).collect(),
            min: finite(s.min),
            average: finite(s.average),
            max: finite(s.max),
            now: s.now.and_then(finite),
        };
        Self {
            from: instant(r.from.as_ref()),
            until: instant(r.until.as_ref()),
            step_seconds: seconds(span(r.step.as_ref())),
            series: r.series.into_iter().map(series).collect(),
            name: r.name,
            kind: r.kind,
            notes: r.notes,
        }
    }
}

fn finite(value: f64) -> Option<f64> {
    value.is_finite().then_some(value)
}

/// With the digits of the shorter number, not the noise behind them.
fn short(value: f32) -> Option<f64> {
    value.is_finite().then(|| value.to_string().parse().ok()).flatten()
}

/// A host at a look. Ratios are of 1.
#[derive(Serialize)]
pub struct Figures {
    cpu: Option<f64>,
    memory: Option<f64>,
    disk: Option<f64>,
    disk_mount: Option<String>,
    pressure: Option<f64>,
    pressure_resource: Option<String>,
    load: Option<f64>,
    cpus: u32,
    clock_offset_seconds: Option<f64>,
    age_seconds: Option<f64>,
}

impl From<v1::HostFigures> for Figures {
    fn from(f: v1::HostFigures) -> Self {
        Self {
            cpu: f.cpu.and_then(finite),
            memory: f.memory.and_then(finite),
            disk: f.disk.and_then(finite),
            disk_mount: said(&f.disk_mount),
            pressure: f.pressure.and_then(finite),
            pressure_resource: said(&f.pressure_resource),
            load: f.load.and_then(finite),
            cpus: f.cpus,
            clock_offset_seconds: f.clock_offset.and_then(finite),
            age_seconds: seconds(span(f.age.as_ref())),
        }
    }
}
