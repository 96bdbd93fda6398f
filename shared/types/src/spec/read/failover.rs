//! `failover` and `fencing`: when and how an app moves, and the defaults of both.

use std::time::Duration;

use crate::{
    lease::Timings,
    spec::{
        FencedBy, Mode, OnIsolation, later,
        later::Section,
        timing::{COUNT, FENCE_WITHIN, INTERVAL, LEASE, RECHECK, RENEW, TARGET},
        walk::{At, Fields, Notes, Spot, Spotted},
    },
};

/// Largest `rpo_target`, in acknowledged writes.
const LOST_WRITES_MAX: u64 = 1_000_000_000;

/// What counts where the spec is silent.
#[derive(Debug, Clone, Copy)]
pub(in crate::spec) struct Defaults {
    /// How messages call them.
    origin: &'static str,
    interval: Duration,
    recheck: Duration,
    failures: u32,
    successes: u32,
    lease: Duration,
    renew: Duration,
    fence_within: Duration,
    pub(super) check_timeout: Duration,
}

impl Defaults {
    /// A failure is certain within about 45 s; nothing hurries, so a slow network alarms nobody.
    pub(super) const REGULAR: Self = Self {
        origin: "the default",
        interval: Duration::from_secs(30),
        recheck: Duration::from_secs(5),
        failures: 3,
        successes: 3,
        lease: Timings::LEASE_DEFAULT,
        renew: Timings::RENEW_DEFAULT,
        fence_within: Timings::FENCE_WITHIN_DEFAULT,
        check_timeout: Duration::from_secs(3),
    };

    /// `preset: fast`: writes are back within about 6 s, on networks and hosts that answer within one.
    const FAST: Self = Self {
        origin: "preset fast",
        interval: Duration::from_secs(1),
        recheck: Duration::from_secs(1),
        failures: 3,
        successes: 3,
        lease: Duration::from_secs(3),
        renew: Duration::from_secs(1),
        fence_within: Duration::from_secs(1),
        check_timeout: Duration::from_secs(1),
    };

    /// A default at the place where it could have been written.
    pub(super) fn default(&self, key: &str, is: Duration, section: &Spot) -> Spotted<Duration> {
        let value = Some(format!("{} ({})", crate::time::span(is), self.origin));
        Spotted { is, spot: Spot { value, ..section.below(key) } }
    }
}

/// The section as far as it could be read.
#[derive(Debug)]
pub(in crate::spec) struct FailoverDraft {
    pub(in crate::spec) spot: Spot,
    pub(in crate::spec) mode: Option<Spotted<Mode>>,
    pub(in crate::spec) interval: Option<Spotted<Duration>>,
    pub(in crate::spec) recheck: Option<Spotted<Duration>>,
    pub(in crate::spec) failures: Option<u32>,
    pub(in crate::spec) successes: Option<u32>,
    pub(in crate::spec) lease: Option<Spotted<Duration>>,
    pub(in crate::spec) renew: Option<Spotted<Duration>>,
    pub(in crate::spec) on_isolation: Option<OnIsolation>,
    pub(in crate::spec) rto_target: Option<Duration>,
    pub(in crate::spec) rpo_target: Option<u64>,
}

/// The section as far as it could be read.
#[derive(Debug)]
pub(in crate::spec) struct FencingDraft {
    /// Where `by` stands or should stand.
    pub(in crate::spec) by_spot: Spot,
    /// Whether anything stands there.
    pub(in crate::spec) by_given: bool,
    pub(in crate::spec) by: Option<Spotted<FencedBy>>,
    pub(in crate::spec) within: Option<Spotted<Duration>>,
}

pub(super) fn read(at: &At<'_>, notes: &mut Notes) -> (Option<FailoverDraft>, Defaults) {
    let Some(mut fields) = at.fields("mode: automatic, assist or observe, or leave the section out", notes) else {
        return (None, Defaults::REGULAR);
    };
    let preset = fields.take("preset").and_then(|at| at.word(&[("fast", Defaults::FAST)], &[], notes));
    let defaults = preset.map_or(Defaults::REGULAR, |preset| preset.is);
    let mode = fields.need("mode", "write automatic, assist or observe", notes);
    let modes = [("automatic", Mode::Automatic), ("assist", Mode::Assist), ("observe", Mode::Observe)];
    let mode = mode.and_then(|at| at.word(&modes, &[], notes));
    let interval = match fields.take("interval") {
        Some(at) => at.span(INTERVAL, notes),
        None => Some(defaults.default("interval", defaults.interval, &fields.spot)),
    };
    let recheck = match fields.take("recheck") {
        Some(at) => at.span(RECHECK, notes),
        None => Some(defaults.default("recheck", defaults.recheck, &fields.spot)),
    };
    let failures = count(&mut fields, "failures", defaults.failures, notes);
    let successes = count(&mut fields, "successes", defaults.successes, notes);
    let (lease, renew) = lease(&mut fields, &defaults, notes);
    let on_isolation = match fields.take("on_isolation") {
        Some(at) => at.word(&[("fence", OnIsolation::Fence)], later::ON_ISOLATION, notes).map(|word| word.is),
        None => Some(OnIsolation::Fence),
    };
    let rto_target = fields.take("rto_target").and_then(|at| at.span(TARGET, notes)).map(|target| target.is);
    let rpo_target =
        fields.take("rpo_target").and_then(|at| at.number(0..=LOST_WRITES_MAX, notes)).map(|target| target.is);
    let spot = fields.spot.clone();
    fields.close(Section::Failover, notes);
    let draft = FailoverDraft {
        spot,
        mode,
        interval,
        recheck,
        failures,
        successes,
        lease,
        renew,
        on_isolation,
        rto_target,
        rpo_target,
    };
    (Some(draft), defaults)
}

fn count(fields: &mut Fields<'_>, key: &'static str, default: u32, notes: &mut Notes) -> Option<u32> {
    match fields.take(key) {
        Some(at) => at.number(COUNT, notes).map(|count| count.is),
        None => Some(default),
    }
}

fn lease(
    fields: &mut Fields<'_>,
    defaults: &Defaults,
    notes: &mut Notes,
) -> (Option<Spotted<Duration>>, Option<Spotted<Duration>>) {
    let Some(at) = fields.take("lease") else {
        let spot = fields.spot.below("lease");
        let lease = defaults.default("duration", defaults.lease, &spot);
        return (Some(lease), Some(defaults.default("renew", defaults.renew, &spot)));
    };
    let Some(mut fields) = at.fields("{duration: 20s, renew: 5s}", notes) else {
        return (None, None);
    };
    let lease = match fields.take("duration") {
        Some(at) => at.span(LEASE, notes),
        None => Some(defaults.default("duration", defaults.lease, &fields.spot)),
    };
    let renew = match fields.take("renew") {
        Some(at) => at.span(RENEW, notes),
        None => Some(defaults.default("renew", defaults.renew, &fields.spot)),
    };
    fields.close(Section::Inner, notes);
    (lease, renew)
}

/// Reads `fencing`; `at` is `None` when the spec has no such section.
pub(super) fn read_fencing(at: Option<&At<'_>>, top: &Spot, defaults: &Defaults, notes: &mut Notes) -> FencingDraft {
    let silent = |section: &Spot| FencingDraft {
        by_spot: section.below("by"),
        by_given: false,
        by: None,
        within: Some(defaults.default("within", defaults.fence_within, section)),
    };
    let Some(at) = at else {
        return silent(&top.below("fencing"));
    };
    let Some(mut fields) = at.fields("{by: agent, within: 10s}", notes) else {
        return FencingDraft { by_given: true, ..silent(&at.bare_spot()) };
    };
    let by = fields.take("by");
    let by_given = by.is_some();
    let words = [("agent", FencedBy::Agent), ("none", FencedBy::None)];
    let by = by.and_then(|at| at.word(&words, later::FENCED_BY, notes));
    let within = match fields.take("within") {
        Some(at) => at.span(FENCE_WITHIN, notes),
        None => Some(defaults.default("within", defaults.fence_within, &fields.spot)),
    };
    let by_spot = fields.spot.below("by");
    fields.close(Section::Fencing, notes);
    FencingDraft { by_spot, by_given, by, within }
}
