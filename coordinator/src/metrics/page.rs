//! `/metrics`: everything that is known now, as Prometheus reads it.
//!
//! The page is made when it is asked for. Its length is bounded by what is enrolled: so many hosts, and of each at most
//! so many file systems, interfaces and containers as are taken from an agent. Counters are those of the hosts
//! themselves, so that rates are right whoever scrapes how often.

mod fleet;
mod itself;

use std::fmt::{self, Write as _};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet, text},
    metrics::MetricType,
    registry::Registry,
};

use crate::api::Api;

/// What a reader that asks for it in so many words gets.
pub const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
/// What everybody else gets.
pub const CLASSIC: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Names and values, in order.
type Labels = Vec<(&'static str, String)>;

/// All series of one name.
#[derive(Debug)]
struct Family {
    name: &'static str,
    help: &'static str,
    counter: bool,
    points: Vec<(Labels, f64)>,
}

/// What the page says of this moment.
#[derive(Debug, Default)]
struct Families(Vec<Family>);

impl Families {
    fn gauge(&mut self, name: &'static str, help: &'static str, points: impl IntoIterator<Item = (Labels, f64)>) {
        self.add(name, help, false, points);
    }

    /// `name` is without `_total`.
    fn counter(&mut self, name: &'static str, help: &'static str, points: impl IntoIterator<Item = (Labels, f64)>) {
        self.add(name, help, true, points);
    }

    fn add(
        &mut self,
        name: &'static str,
        help: &'static str,
        counter: bool,
        points: impl IntoIterator<Item = (Labels, f64)>,
    ) {
        let points: Vec<_> = points.into_iter().collect();
        // A name without a series says nothing.
        if !points.is_empty() {
            self.0.push(Family { name, help, counter, points });
        }
    }
}

impl Collector for Families {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        for family in &self.0 {
            let kind = if family.counter { MetricType::Counter } else { MetricType::Gauge };
            let mut metric = encoder.encode_descriptor(family.name, family.help, None, kind)?;
            for (labels, value) in &family.points {
                let labels = labels.as_slice();
                if labels.is_empty() {
                    point(&mut metric, family.counter, *value)?;
                } else {
                    point(&mut metric.encode_family(&labels)?, family.counter, *value)?;
                }
            }
        }
        Ok(())
    }
}

fn point(to: &mut MetricEncoder<'_>, counter: bool, value: f64) -> fmt::Result {
    if counter { to.encode_counter::<NoLabelSet, _, f64>(&value, None) } else { to.encode_gauge(&value) }
}

/// The page as OpenMetrics.
///
/// # Errors
/// Never: text is written to memory.
pub fn openmetrics(api: &Api) -> Result<String, fmt::Error> {
    let mut families = Families::default();
    fleet::add(&mut families, api);
    itself::add(&mut families, api);
    let mut now = Registry::default();
    now.register_collector(Box::new(families));
    let mut out = String::new();
    text::encode_registry(&mut out, &now)?;
    text::encode_registry(&mut out, api.metrics.own.registry())?;
    text::encode_eof(&mut out)?;
    Ok(out)
}

/// The page in the older form that every reader knows, promtool too: a counter goes by its whole name there, and units
/// and the end are not marked.
///
/// # Errors
/// As [`openmetrics`].
pub fn classic(openmetrics: &str) -> Result<String, fmt::Error> {
    let mut out = String::with_capacity(openmetrics.len());
    let mut help: Option<(&str, &str)> = None;
    for line in openmetrics.lines() {
        if let Some((name, text)) = line.strip_prefix("# HELP ").and_then(|rest| rest.split_once(' ')) {
            help = Some((name, text));
        } else if let Some((name, kind)) = line.strip_prefix("# TYPE ").and_then(|rest| rest.split_once(' ')) {
            let end = if kind == "counter" { "_total" } else { "" };
            if let Some((_, text)) = help.take().filter(|(of, _)| *of == name) {
                writeln!(out, "# HELP {name}{end} {text}")?;
            }
            writeln!(out, "# TYPE {name}{end} {kind}")?;
        } else if !line.starts_with('#') {
            out.push_str(line);
            out.push('\n');
        }
    }
    Ok(out)
}

/// One label of each pair.
macro_rules! labels {
    ($($name:literal: $value:expr),* $(,)?) => { vec![$(($name, $value.to_string())),*] };
}
pub(super) use labels;

#[cfg(test)]
mod tests {
    use prometheus_client::metrics::{counter::Counter, histogram::Histogram};

    use super::*;

    #[test]
    fn the_classic_form_names_counters_in_full_and_has_no_marks() {
        let mut families = Families::default();
        families.gauge("holdfast_host_up", "Whether it is there.", [(labels! {"host": "a\"b\\c"}, 1.0)]);
        families.counter("holdfast_host_cpu_seconds", "CPU time.", [(labels! {"state": "idle"}, 2.5)]);
        families.gauge("holdfast_nothing", "Nothing.", []);
        families.gauge("holdfast_sessions", "Sessions.", [(vec![], 4.0)]);
        let mut registry = Registry::default();
        registry.register_collector(Box::new(families));
        let counter: Counter = Counter::default();
        counter.inc_by(3);
        registry.register("holdfast_calls", "Calls", counter);
        let histogram = Histogram::new([1.0]);
        histogram.observe(0.5);
        registry.register("holdfast_call_seconds", "How long", histogram);
        let mut text = String::new();
        text::encode(&mut text, &registry).expect("text");
        assert!(text.ends_with("# EOF\n"), "{text}");
        let classic = classic(&text).expect("text");
        let lines: Vec<&str> = classic.lines().collect();
        for expected in [
            "# HELP holdfast_host_cpu_seconds_total CPU time.",
            "# TYPE holdfast_host_cpu_seconds_total counter",
            "holdfast_host_cpu_seconds_total{state=\"idle\"} 2.5",
            "holdfast_host_up{host=\"a\\\"b\\\\c\"} 1.0",
            "holdfast_sessions 4.0",
            "# TYPE holdfast_calls_total counter",
            "holdfast_calls_total 3",
            "# TYPE holdfast_call_seconds histogram",
            "holdfast_call_seconds_bucket{le=\"+Inf\"} 1",
        ] {
            assert!(lines.contains(&expected), "no {expected} in\n{classic}");
        }
        assert!(!classic.contains("EOF") && !classic.contains("UNIT") && !classic.contains("nothing"), "{classic}");
    }
}
