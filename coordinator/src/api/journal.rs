//! An operation as operators read it, and what has just happened in it. Both come from the committed journal alone, so
//! every coordinator tells the same, now and later.

use std::collections::BTreeSet;

use holdfast_coordinator_core::{
    records::{Action, CommandOutcome, Operation, OperationState, Step, StepState},
    state::App,
};
use holdfast_proto::v1;
use holdfast_types::OperationId;

use super::wire;

/// The whole operation. `app` is its app as it is now.
pub(super) fn operation(number: OperationId, op: &Operation, app: Option<&App>) -> v1::Operation {
    let state = op.at();
    let goes_back = op.aborting && !op.past_no_return && state == OperationState::Running;
    v1::Operation {
        number: number.0,
        app: op.app.clone(),
        kind: op.kind.clone(),
        from_region: op.from_region.clone(),
        to_region: op.to_region.clone(),
        state: state.word().to_owned(),
        started_at: wire::moment(op.started_at),
        ended_at: wire::moment(op.ended_at),
        requested_by: op.requested_by.clone(),
        reason: op.reason.clone(),
        text: if goes_back { "it is taken back after the step that runs".to_owned() } else { op.text.clone() },
        steps: (0..).zip(&op.steps).map(|(index, s)| step(index, s)).collect(),
        abortable: state == OperationState::Running && !op.past_no_return && !op.aborting,
        generation_before: op.generation_before,
        generation_after: op.generation_after,
        rto_measured: rto_measured(op),
        facts: facts(op),
        next: next(op, app),
    }
}

/// From the last write that was seen in the region it left to the end of a verification that went well.
fn rto_measured(op: &Operation) -> Option<prost_types::Duration> {
    let verified =
        op.steps.iter().rfind(|s| matches!(s.action, Some(Action::Verify(_))) && s.at() == StepState::Done)?;
    let millis = u64::try_from(verified.ended_at.checked_sub(op.last_served_at)?).ok()?;
    (op.last_served_at > 0).then(|| std::time::Duration::from_millis(millis).try_into().ok()).flatten()
}

fn step(index: u32, step: &Step) -> v1::OperationStep {
    v1::OperationStep {
        index,
        name: step.name.clone(),
        state: step.at().word().to_owned(),
        text: step.text.clone(),
        began_at: wire::moment(step.began_at),
        ended_at: wire::moment(step.ended_at),
        attempt: step.attempt,
        no_return: step.no_return,
        parts: parts(step),
        planned: step.planned.clone(),
    }
}

/// The hosts that have answered, and while it runs those that the plan names and that have not.
fn parts(step: &Step) -> Vec<v1::OperationPart> {
    let mut results: Vec<_> = step.results_now().collect();
    results.sort_by_key(|r| r.part);
    let mut parts: Vec<v1::OperationPart> = results
        .iter()
        .map(|r| v1::OperationPart { host: r.host.clone(), state: outcome(r.ended()).to_owned(), text: r.text.clone() })
        .collect();
    if step.at() == StepState::Began {
        let answered: BTreeSet<&str> = results.iter().map(|r| r.host.as_str()).collect();
        let waits = named(step).into_iter().filter(|host| !answered.contains(host));
        parts.extend(waits.map(|host| v1::OperationPart {
            host: host.to_owned(),
            state: "running".to_owned(),
            text: String::new(),
        }));
    }
    parts
}

/// The hosts that the plan itself names; others follow from the region that is active when the step begins.
fn named(step: &Step) -> Vec<&str> {
    match &step.action {
        Some(Action::Fence(fence)) => fence.hosts.iter().map(String::as_str).collect(),
        Some(Action::Cut(cut)) => cut.candidates.iter().flat_map(|c| &c.hosts).map(String::as_str).collect(),
        Some(Action::Route(route)) => route.proxies.iter().map(|p| p.host.as_str()).collect(),
        Some(
            Action::Hold(_)
            | Action::Choose(_)
            | Action::Generation(_)
            | Action::Promote(_)
            | Action::Verify(_)
            | Action::Reconnect(_)
            | Action::EndHold(_)
            | Action::Start(_),
        )
        | None => Vec::new(),
    }
}

const fn outcome(outcome: CommandOutcome) -> &'static str {
    match outcome {
        CommandOutcome::Done => "done",
        CommandOutcome::Failed => "failed",
        CommandOutcome::Refused => "refused",
        CommandOutcome::Unknown | CommandOutcome::Unspecified => "unknown",
    }
}

/// What an operation that has ended found.
fn facts(op: &Operation) -> Vec<String> {
    if op.at() != OperationState::Done {
        return Vec::new();
    }
    let chosen = op.steps.iter().find(|s| matches!(s.action, Some(Action::Choose(_))) && s.at() == StepState::Done);
    chosen.filter(|s| !s.text.is_empty()).map(|s| format!("taken over at {}", s.text)).into_iter().collect()
}

/// What to do now, while the app is still as this operation left it.
fn next(op: &Operation, app: Option<&App>) -> Vec<String> {
    if let Some(app) = app.filter(|_| op.at() == OperationState::Partly)
        && let Some(finish) = finish(app)
    {
        return vec![format!("once the database's host in {} answers:  {finish}", app.active())];
    }
    let Some(app) = app.filter(|_| op.at() == OperationState::Done) else { return Vec::new() };
    let still = app.record.generation == op.generation_after && app.record.active_region == op.to_region;
    if !still || !app.record.promotable.is_empty() || !app.leased() {
        return Vec::new();
    }
    let source = op.from_region.parse().ok().map(|region| app.holders(&region)).unwrap_or_default();
    let hosts: Vec<&str> = source.iter().map(holdfast_types::HostName::as_str).collect();
    let until = match hosts.as_slice() {
        [] => "another region follows".to_owned(),
        [host] => format!("{host} is back"),
        hosts => format!("{} are back", hosts.join(", ")),
    };
    vec![format!("{} has no standby until {until}:  holdfast why {}", op.app, op.app)]
}

/// How a failover that ended before its region served is finished.
pub(super) fn finish(app: &App) -> Option<String> {
    (!app.record.routed && app.operation().is_none())
        .then(|| format!("holdfast failover {} --to {}", app.spec.app, app.active()))
}

/// What has just happened, in a line.
pub(super) fn news(before: &Operation, now: &Operation) -> String {
    let mut told = Vec::new();
    if now.aborting && !before.aborting {
        told.push("abort asked for".to_owned());
    }
    if now.steps.len() > before.steps.len() {
        let way = if now.at() == OperationState::Unwinding { "goes back" } else { "goes on another way" };
        told.push(with(way.to_owned(), &now.text));
    }
    for (n, step) in now.steps.iter().enumerate() {
        let old = before.steps.get(n);
        let same = old.is_some_and(|old| (old.state, old.attempt) == (step.state, step.attempt));
        if step.at() == StepState::Began && !same {
            told.push(match step.attempt {
                0 | 1 => format!("{} begins", step.name),
                attempt => format!("{} begins again, attempt {attempt}", step.name),
            });
        }
        let known = old.filter(|old| old.attempt == step.attempt).map_or(0, |old| old.results_now().count());
        for result in step.results_now().skip(known) {
            told.push(with(format!("{} on {} {}", step.name, result.host, outcome(result.ended())), &result.text));
        }
        match step.at() {
            StepState::Done if !same => told.push(with(format!("{} done", step.name), &step.text)),
            StepState::Failed if !same => told.push(with(format!("{} failed", step.name), &step.text)),
            StepState::Planned | StepState::Began | StepState::Done | StepState::Failed | StepState::Skipped => {}
        }
    }
    if now.past_no_return && !before.past_no_return {
        told.push("point of no return".to_owned());
    }
    if now.at().ended() && !before.at().ended() {
        told.push(with(format!("ended {}", now.at().word()), &now.text));
    }
    told.join("; ")
}

/// What happened, and what was said of it.
fn with(what: String, text: &str) -> String {
    if text.is_empty() { what } else { format!("{what}: {text}") }
}

#[cfg(test)]
mod tests {
    use holdfast_coordinator_core::{
        plan::{self, FailoverRequest},
        records::CommandResult,
    };

    use super::*;
    use crate::api::samples;

    fn planned() -> (Operation, App) {
        let app = samples::good_day().app;
        let mut op = plan::failover(&app, &FailoverRequest { to: None, able: None, reason: "silent".to_owned() })
            .expect("a plan");
        op.state = OperationState::Running.into();
        op.started_at = samples::NOW.0;
        op.generation_before = 1;
        (op, app)
    }

    fn at<'a>(op: &'a mut Operation, name: &str) -> &'a mut Step {
        op.steps.iter_mut().find(|s| s.name == name).expect("a step of that name")
    }

    fn begins(op: &mut Operation, name: &str, attempt: u32) {
        let step = at(op, name);
        step.state = StepState::Began.into();
        step.attempt = attempt;
        step.began_at = samples::NOW.0;
    }

    fn ends(op: &mut Operation, name: &str, state: StepState, text: &str) {
        let step = at(op, name);
        step.state = state.into();
        step.ended_at = samples::NOW.0 + 20;
        step.text = text.to_owned();
    }

    fn answers(op: &mut Operation, name: &str, host: &str, outcome: CommandOutcome, text: &str) {
        let step = at(op, name);
        let attempt = step.attempt;
        let part = u32::try_from(step.results.len()).expect("few");
        let (host, text) = (host.to_owned(), text.to_owned());
        step.results.push(CommandResult {
            part,
            attempt,
            host,
            outcome: outcome.into(),
            text,
            ..CommandResult::default()
        });
    }

    #[test]
    fn an_operation_reads_as_its_journal_says() {
        let (mut op, app) = planned();
        begins(&mut op, "hold", 1);
        ends(&mut op, "hold", StepState::Done, "us-east gets no further lease");
        begins(&mut op, "fence", 1);
        let told = operation(OperationId(41), &op, Some(&app));
        assert_eq!((told.number, &*told.state, told.abortable), (41, "running", true));
        let names: Vec<(&str, &str)> = told.steps.iter().map(|s| (s.name.as_str(), s.state.as_str())).collect();
        assert_eq!(
            names,
            [
                ("hold", "done"),
                ("fence", "running"),
                ("cut", "planned"),
                ("candidate", "planned"),
                ("generation", "planned"),
                ("promote", "planned"),
                ("route", "planned"),
                ("verify", "planned"),
            ]
        );
        let fence = &told.steps[1];
        assert_eq!((&*fence.parts[0].host, &*fence.parts[0].state), ("use-db1", "running"));
        assert!(fence.planned.contains("use-db1") && told.steps[4].no_return);
        assert_eq!((told.steps[2].began_at, told.ended_at), (None, None));
    }

    #[test]
    fn an_operation_can_be_aborted_until_its_point_of_no_return() {
        let (running, _) = planned();
        let aborting = Operation { aborting: true, ..running.clone() };
        let past = Operation { past_no_return: true, ..running.clone() };
        let unwinding = Operation { state: OperationState::Unwinding.into(), ..running.clone() };
        let done = Operation { state: OperationState::Done.into(), ..running.clone() };
        for (name, op, abortable, text) in [
            ("running", running, true, ""),
            ("aborting", aborting, false, "it is taken back after the step that runs"),
            ("past the point", past, false, ""),
            ("unwinding", unwinding, false, ""),
            ("done", done, false, ""),
        ] {
            let told = operation(OperationId(1), &op, None);
            assert_eq!((told.abortable, &*told.text), (abortable, text), "{name}");
        }
    }

    #[test]
    fn a_done_failover_says_that_the_source_is_missing_until_it_is_back() {
        let (mut op, mut app) = planned();
        begins(&mut op, "candidate", 1);
        ends(&mut op, "candidate", StepState::Done, "us-west at 0/3000148, timeline 1");
        op.state = OperationState::Done.into();
        op.to_region = "us-west".to_owned();
        op.generation_after = 2;
        app.record.generation = 2;
        app.record.active_region = "us-west".to_owned();
        app.record.promotable.clear();
        let told = operation(OperationId(41), &op, Some(&app));
        assert_eq!(told.facts, ["taken over at us-west at 0/3000148, timeline 1"]);
        assert_eq!(told.next, ["shop has no standby until use-db1 is back:  holdfast why shop"]);
        app.record.promotable = vec!["us-east".to_owned()];
        assert!(operation(OperationId(41), &op, Some(&app)).next.is_empty(), "it is back");
        app.record.promotable.clear();
        app.record.generation = 3;
        assert!(operation(OperationId(41), &op, Some(&app)).next.is_empty(), "another story by now");
    }

    #[test]
    fn each_change_of_the_journal_is_told_in_a_line() {
        let (mut op, app) = planned();
        type Change = fn(&mut Operation, &App);
        let changes: [(Change, &str); 9] = [
            (|op, _| begins(op, "hold", 1), "hold begins"),
            (|op, _| ends(op, "hold", StepState::Done, "no further lease"), "hold done: no further lease"),
            (
                |op, _| {
                    begins(op, "cut", 1);
                    answers(op, "cut", "usw-db1", CommandOutcome::Failed, "cannot log in");
                },
                "cut begins; cut on usw-db1 failed: cannot log in",
            ),
            (|op, _| ends(op, "cut", StepState::Failed, "nobody has"), "cut failed: nobody has"),
            (|op, _| begins(op, "cut", 2), "cut begins again, attempt 2"),
            (
                |op, _| answers(op, "cut", "usw-db1", CommandOutcome::Done, "cut at 0/3000148"),
                "cut on usw-db1 done: cut at 0/3000148",
            ),
            (|op, _| op.aborting = true, "abort asked for"),
            (
                |op, app| {
                    op.steps.extend(plan::unwind(op, app));
                    op.state = OperationState::Unwinding.into();
                    op.text = "aborted by request".to_owned();
                },
                "goes back: aborted by request",
            ),
            (|op, _| op.state = OperationState::Unwound.into(), "ended unwound: aborted by request"),
        ];
        for (change, expected) in changes {
            let before = op.clone();
            change(&mut op, &app);
            assert_eq!(news(&before, &op), expected);
            assert_eq!(news(&op, &op), "", "nothing happened after {expected}");
        }
    }
}
