//! The evidence behind the verdicts, signal by signal, and what follows from them.

use std::time::Duration;

use holdfast_coordinator_core::verdict::{Kind, Verdict};
use holdfast_proto::v1;

use super::{picture::Picture, picture::RegionPicture, wire};

/// One region's evidence. `verdict` is the latest one, and how long ago it was reached.
pub(super) fn region(region: &RegionPicture, active: bool, verdict: Option<&(Duration, Verdict)>) -> v1::RegionWhy {
    let signals = verdict.iter().flat_map(|(ago, verdict)| {
        verdict.evidence.iter().map(move |e| v1::SignalWhy {
            check: e.check.to_string(),
            observer: e.observer.to_string(),
            target: e.target.as_ref().map(ToString::to_string).unwrap_or_default(),
            outcome: e.seen.as_str().to_owned(),
            text: e.text.clone(),
            age: e.age.and_then(|age| wire::span(age + *ago)),
            vital: e.vital,
            proof: e.proof,
        })
    });
    v1::RegionWhy {
        region: region.name.to_string(),
        active,
        verdict: region.kind.to_string(),
        failing: region.counter.failing,
        failures: region.failures,
        good: region.counter.good,
        successes: region.successes,
        unhealthy: region.counter.unhealthy,
        signals: signals.collect(),
        reasons: region.reasons.clone(),
    }
}

/// What is done about it now, in a line, and the commands to type next.
pub(super) fn decision(picture: &Picture) -> (String, Vec<String>) {
    let (app, active) = (&picture.name, picture.app.active());
    if let Some(number) = picture.app.operation() {
        return (format!("operation {number} runs"), vec![format!("holdfast operations watch {number}")]);
    }
    let never = match (&picture.app.spec.failover, picture.app.spec.regions.len()) {
        (None, _) => Some(format!("{app} has no failover section: it never moves")),
        (Some(_), 0 | 1) => Some(format!("{app} has one region: it never moves")),
        (Some(_), _) => None,
    };
    let Some(region) = picture.active() else {
        return (format!("{active} is not watched yet"), vec!["holdfast status".to_owned()]);
    };
    let (failing, failures) = (region.counter.failing, region.failures);
    let state = match region.kind {
        Kind::Ok if region.counter.unhealthy => format!(
            "{active} works again: {} of {} good, then it counts as healthy",
            region.counter.good, region.successes
        ),
        Kind::Ok => format!("{active} is ok: nothing to decide"),
        Kind::Degraded => format!("{active} is degraded, but it serves: nothing moves"),
        Kind::Unknown => format!("nobody can tell how {active} does: counters stand still, nothing moves"),
        Kind::Failing if !region.counter.unhealthy => format!(
            "{active} is failing, {failing} of {failures}: after {} more in a row it is unhealthy",
            failures.saturating_sub(failing)
        ),
        Kind::Failing => match (&picture.gate, &never) {
            (Some(gate), None) => return (gate.text.clone(), gate.next.clone()),
            (None, None) => format!("{active} is unhealthy: the gate is asked at the next verdict"),
            (_, Some(_)) => format!("{active} is unhealthy"),
        },
    };
    let text = never.map_or(state.clone(), |never| format!("{state}; {never}"));
    (text, vec![])
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use holdfast_coordinator_core::verdict::{Cadence, CheckRef, Fleet, Outcome, RoundInput, Signal, judge};

    use super::*;
    use crate::{api::samples, rounds::GateSeen};

    #[test]
    fn what_is_done_about_a_verdict_is_said_in_one_line() {
        let unhealthy = |p: &mut Picture, kind| {
            p.regions[0].kind = kind;
            p.regions[0].counter.unhealthy = true;
            p.regions[0].counter.failing = 3;
        };
        type Change<'a> = Arc<dyn Fn(&mut Picture) + 'a>;
        let table: [(Change<'_>, &str); 8] = [
            (Arc::new(|_| {}), "us-east is ok: nothing to decide"),
            (Arc::new(|p| p.app.record.operation = 41), "operation 41 runs"),
            (
                Arc::new(|p| {
                    p.regions[0].kind = Kind::Failing;
                    p.regions[0].counter.failing = 1;
                }),
                "us-east is failing, 1 of 3: after 2 more in a row it is unhealthy",
            ),
            (Arc::new(|p| unhealthy(p, Kind::Failing)), "us-east is unhealthy: the gate is asked at the next verdict"),
            (
                Arc::new(|p| {
                    unhealthy(p, Kind::Failing);
                    p.gate = Some(GateSeen { text: "shop will not move".to_owned(), next: vec![] });
                }),
                "shop will not move",
            ),
            (Arc::new(|p| unhealthy(p, Kind::Ok)), "us-east works again: 0 of 3 good, then it counts as healthy"),
            (
                Arc::new(|p| p.regions[0].kind = Kind::Unknown),
                "nobody can tell how us-east does: counters stand still, nothing moves",
            ),
            (
                Arc::new(|p| p.app.spec.failover = None),
                "us-east is ok: nothing to decide; shop has no failover section: it never moves",
            ),
        ];
        for (change, expected) in table {
            let mut picture = samples::good_day();
            change(&mut picture);
            assert_eq!(decision(&picture).0, expected);
        }
    }

    #[test]
    fn evidence_ages_after_its_verdict() {
        let picture = samples::good_day();
        let (spec, active) = (&picture.app.spec, picture.app.active());
        let signal = Signal {
            check: CheckRef::Writer("pg".parse().expect("a name")),
            observer: "use-db1".parse().expect("a name"),
            observer_region: active.clone(),
            target: None,
            region: active.clone(),
            outcome: Outcome::Ok,
            text: "accepts writes".to_owned(),
            age: Duration::from_millis(300),
            database: None,
        };
        let verdict = judge(&RoundInput {
            spec,
            region: active,
            active,
            signals: &[signal],
            cadence: Cadence::steady(Duration::from_secs(1)),
            hosts_live: &Fleet::new(),
            started_for: Duration::from_secs(60),
            in_force_for: Duration::from_secs(60),
            lease_over: false,
        });
        let why = region(&picture.regions[0], true, Some(&(Duration::from_millis(200), verdict)));
        let seen = why.signals.iter().find(|s| s.check == "writer:pg").expect("the writer's look");
        assert_eq!((&*seen.observer, &*seen.outcome, seen.vital), ("use-db1", "ok", true));
        assert_eq!(wire::from_span(seen.age.as_ref()), Some(Duration::from_millis(500)));
        let silent = why.signals.iter().find(|s| s.outcome == "silent").expect("a look that nobody reported");
        assert_eq!(silent.age, None);
    }
}
