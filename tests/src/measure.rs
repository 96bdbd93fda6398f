//! A failover as it was recorded: the operation that `holdfast -o json operations show` prints, and its parts in seconds
//! from a cut.
//!
//! The operation's times are the coordinator's wall clock, acknowledged writes are stamped on the boot clock; all run on
//! one machine, and a [`Moment`] reads both clocks at once.

use std::time::Duration;

use anyhow::{Context, Result};
use holdfast_shared::clock::Clock;
use holdfast_types::{BootInstant, WallTime};
use serde::{Deserialize, Deserializer, Serialize};

use crate::harness::clock;

/// One moment on both clocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment {
    /// CLOCK_BOOTTIME: acknowledged writes.
    pub boot: BootInstant,
    /// The wall clock: what operations record.
    pub wall: WallTime,
}

impl Moment {
    /// Both clocks as they are.
    #[must_use]
    pub fn now() -> Self {
        Self::at(clock().boot())
    }

    /// An instant that has passed, with the wall clock as it was then.
    #[must_use]
    pub fn at(boot: BootInstant) -> Self {
        let (wall, now) = (clock().wall(), clock().boot());
        let ago = i64::try_from(now.since(boot).as_millis()).unwrap_or(i64::MAX);
        Self { boot, wall: WallTime(wall.0.saturating_sub(ago)) }
    }

    /// Seconds from this to a wall time; negative when that was before.
    #[must_use]
    pub fn to_wall(self, wall: WallTime) -> f64 {
        // Milliseconds of one demonstration: far below what a float holds exactly.
        #[expect(clippy::cast_precision_loss, reason = "thousandths of seconds, minutes apart")]
        let millis = wall.0.saturating_sub(self.wall.0) as f64;
        millis / 1e3
    }

    /// Seconds from this to an instant; negative when that was before.
    #[must_use]
    pub fn to_boot(self, boot: BootInstant) -> f64 {
        if boot >= self.boot { boot.since(self.boot).as_secs_f64() } else { -self.boot.since(boot).as_secs_f64() }
    }
}

/// An operation as the product tells it. Fields that are not needed here are left out.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Operation {
    /// Its number.
    pub number: u64,
    /// failover.
    pub kind: String,
    /// running, unwinding, done …
    pub state: String,
    /// Where the app was.
    pub from_region: Option<String>,
    /// Where it goes.
    pub to_region: Option<String>,
    /// When it began: with the last failing verdict, or when asked for.
    #[serde(default, deserialize_with = "wall")]
    pub started_at: Option<WallTime>,
    /// When it ended.
    #[serde(default, deserialize_with = "wall")]
    pub ended_at: Option<WallTime>,
    /// Why it began.
    pub reason: Option<String>,
    /// What became of it.
    pub text: Option<String>,
    /// The app's generation before.
    pub generation_before: Option<u64>,
    /// The app's generation after.
    pub generation_after: Option<u64>,
    /// In their order.
    #[serde(default)]
    pub steps: Vec<Step>,
}

/// One step of an operation.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Step {
    /// hold, fence, cut …
    pub step: String,
    /// planned, running, done, failed …
    pub state: String,
    /// The plan's words for it.
    pub planned: Option<String>,
    /// What became of it.
    pub text: Option<String>,
    /// When it was begun.
    #[serde(default, deserialize_with = "wall")]
    pub began_at: Option<WallTime>,
    /// When it ended.
    #[serde(default, deserialize_with = "wall")]
    pub ended_at: Option<WallTime>,
    /// What each host was told to do.
    #[serde(default)]
    pub hosts: Vec<Part>,
}

/// One host's part of a step.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Part {
    /// Which host.
    pub host: String,
    /// What became of it.
    pub text: Option<String>,
}

impl Step {
    /// What became of it, in a line: its own words, or those of its hosts.
    #[must_use]
    pub fn told(&self) -> String {
        if let Some(text) = self.text.as_deref().filter(|text| !text.is_empty()) {
            return text.to_owned();
        }
        let parts = self.hosts.iter().filter_map(|part| Some(format!("{}: {}", part.host, part.text.as_ref()?)));
        parts.collect::<Vec<_>>().join(" · ")
    }
}

impl Operation {
    /// Reads `{"operation": {…}}`, as `operations show` prints it and `operations watch --progress json` streams it.
    ///
    /// # Errors
    /// When it is not that.
    pub fn from_json(mut json: serde_json::Value) -> Result<Self> {
        let text = json.to_string();
        serde_json::from_value(json["operation"].take()).with_context(|| format!("no operation in {text}"))
    }

    /// Whether it has ended, however.
    #[must_use]
    pub const fn ended(&self) -> bool {
        self.ended_at.is_some()
    }

    /// The newest step of that name: after a way forward a name stands there twice.
    #[must_use]
    pub fn step(&self, name: &str) -> Option<&Step> {
        self.steps.iter().rev().find(|step| step.step == name)
    }

    fn end_of(&self, name: &str) -> Option<WallTime> {
        self.step(name)?.ended_at
    }
}

/// The parts of one failover, seconds each; `None` where the operation has no such step.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Parts {
    /// From the cut to the operation's begin, which is the last of the failing verdicts.
    pub detection: Option<f64>,
    /// Until the last writer is fenced for sure, or its lease and fence are over.
    pub wait: Option<f64>,
    /// The candidate stops receiving, is chosen, and its generation is committed.
    pub decision: Option<f64>,
    /// Until the candidate takes writes.
    pub promotion: Option<f64>,
    /// Until the first proxy sends writes there, as seen at the proxy itself.
    pub routing: Option<f64>,
    /// Until the workload, which tries the proxies in turn, has its first acknowledged write.
    pub client: Option<f64>,
    /// From the open proxy until the product has seen that writes are served and every proxy was told or given up.
    pub verification: Option<f64>,
    /// From the cut to the first acknowledged write through a proxy, as the workload saw it.
    pub rto: Option<f64>,
}

impl Parts {
    /// Takes an operation apart. `opened` is when the first proxy sent writes to the new region, `rto` what the workload
    /// saw.
    #[must_use]
    pub fn of(cut: Moment, operation: &Operation, opened: Option<BootInstant>, rto: Option<Duration>) -> Self {
        let between = |from: Option<WallTime>, to: Option<WallTime>| {
            let from = Moment { boot: cut.boot, wall: from? };
            to.map(|to| from.to_wall(to))
        };
        let ends = |name| operation.end_of(name);
        let since_cut = |at: Option<WallTime>| at.map(|at| cut.to_wall(at));
        let opened = opened.map(|at| cut.to_boot(at));
        let rto = rto.map(|rto| rto.as_secs_f64());
        let served = opened.or_else(|| since_cut(ends("promote")));
        let gap = |from: Option<f64>, to: Option<f64>| from.zip(to).map(|(from, to)| to - from);
        Self {
            detection: operation.started_at.map(|at| cut.to_wall(at)),
            wait: between(operation.started_at, ends("fence")),
            decision: between(ends("fence"), ends("generation")),
            promotion: between(ends("generation"), ends("promote")),
            routing: gap(since_cut(ends("promote")), opened),
            client: gap(served, rto),
            verification: gap(served, since_cut(ends("verify"))),
            rto,
        }
    }

    /// Name and seconds of each part, in the order they happen. The workload's own sight is not one of them.
    #[must_use]
    pub const fn named(&self) -> [(&'static str, Option<f64>); 7] {
        [
            ("detection", self.detection),
            ("lease wait", self.wait),
            ("decision", self.decision),
            ("promotion", self.promotion),
            ("routing", self.routing),
            ("client", self.client),
            ("verification", self.verification),
        ]
    }
}

/// The middle one; of an even number the mean of the middle two. `None` of nothing.
#[must_use]
pub fn median(values: impl IntoIterator<Item = f64>) -> Option<f64> {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    let half = values.len() / 2;
    let (upper, lower) = (values.get(half)?, values.get(half.wrapping_sub(1)));
    match lower {
        Some(lower) if values.len().is_multiple_of(2) => Some(f64::midpoint(*lower, *upper)),
        Some(_) | None => Some(*upper),
    }
}

/// Thousandths, for JSON: more digits would only be noise.
#[must_use]
pub fn thousandths(seconds: f64) -> f64 {
    (seconds * 1e3).round() / 1e3
}

fn wall<'de, D: Deserializer<'de>>(from: D) -> Result<Option<WallTime>, D::Error> {
    let Some(text) = Option::<String>::deserialize(from)? else { return Ok(None) };
    let at: jiff::Timestamp = text.parse().map_err(serde::de::Error::custom)?;
    Ok(Some(WallTime(at.as_millisecond())))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A failover that began 3.4 s after the cut, as the product prints it.
    pub(crate) fn sample() -> (Moment, Operation) {
        let step = |name: &str, from: &str, to: &str| {
            serde_json::json!({"step": name, "state": "done", "text": format!("what {name} did"),
                "began_at": format!("2026-11-20T21:03:{from}Z"), "ended_at": format!("2026-11-20T21:03:{to}Z")})
        };
        let json = serde_json::json!({"schema": 1, "operation": {
            "number": 41, "kind": "failover", "state": "done", "from_region": "us-east", "to_region": "us-west",
            "started_at": "2026-11-20T21:03:53.400Z", "ended_at": "2026-11-20T21:03:55.000Z", "reason": null,
            "text": null, "generation_before": 1, "generation_after": 2,
            "steps": [step("hold", "53.400", "53.420"), step("fence", "53.420", "54.100"),
                step("cut", "54.100", "54.120"), step("candidate", "54.120", "54.130"),
                step("generation", "54.130", "54.160"), step("promote", "54.160", "54.350"),
                step("route", "54.350", "54.400"), step("verify", "54.400", "54.900")]}});
        let cut = Moment {
            boot: BootInstant::from_boot(Duration::from_secs(1_000)),
            wall: WallTime("2026-11-20T21:03:50Z".parse::<jiff::Timestamp>().expect("a time").as_millisecond()),
        };
        (cut, Operation::from_json(json).expect("as the product prints it"))
    }

    #[test]
    fn parts_of_a_failover_add_up_to_what_the_workload_saw() {
        let (cut, operation) = sample();
        let opened = cut.boot + Duration::from_millis(4_380);
        let parts = Parts::of(cut, &operation, Some(opened), Some(Duration::from_millis(4_500)));
        let seconds: Vec<f64> = parts.named().into_iter().filter_map(|(_, s)| s).map(thousandths).collect();
        assert_eq!(seconds, [3.4, 0.7, 0.06, 0.19, 0.03, 0.12, 0.52]);
        assert_eq!(thousandths(seconds[..6].iter().sum()), 4.5);
        assert_eq!(parts.rto, Some(4.5));
    }

    #[test]
    fn an_app_without_a_proxy_has_no_routing() {
        let (cut, mut operation) = sample();
        operation.steps.retain(|step| step.step != "route");
        let parts = Parts::of(cut, &operation, None, None);
        assert_eq!((parts.routing, parts.verification.map(thousandths), parts.rto), (None, Some(0.55), None));
    }

    #[test]
    fn what_happened_before_the_cut_is_negative() {
        let (cut, _) = sample();
        assert_eq!(cut.to_wall(WallTime(cut.wall.0 - 250)), -0.25);
        assert_eq!(cut.to_boot(cut.boot - Duration::from_millis(250)), -0.25);
    }

    #[test]
    fn a_median_is_the_middle_of_what_there_is() {
        assert_eq!(median([3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median([4.0, 1.0, 2.0, 3.0]), Some(2.5));
        assert_eq!(median([7.0]), Some(7.0));
        assert_eq!(median([]), None);
    }
}
