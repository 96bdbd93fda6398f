//! Carries out one step. Every arm may run again after a crash, with the same command ids, and then ends the same way.

use std::time::Duration;

use holdfast_coordinator_core::{
    change::{Kind, NextGeneration, OfOperation, SetRouted},
    plan::furthest_on,
    records::{Action, CommandOutcome, CommandResult, Operation},
    state::App,
};
use holdfast_proto::v1;
use holdfast_types::{Generation, HostName, LogIndex, OperationId, RegionName, time::span};

use super::{
    Ended, Engine,
    dispatch::{Answers, Part},
};
use crate::replica::{COORDINATOR, ProposeError};

/// A host says what it believes of its leases every second, and whenever that changes.
const VIEW_FRESH: Duration = Duration::from_secs(3);

impl Engine {
    pub(super) async fn carry_out(&self, number: OperationId, op: &Operation, app: &App, step: usize) -> Ended {
        let of = OfOperation { operation: number.0, generation: app.record.generation };
        let within = Duration::from_millis(op.steps[step].timeout);
        match &op.steps[step].action {
            None => Ended::badly("this release does not know what this step does"),
            Some(Action::Hold(_)) => {
                let text = format!("{} gets no further lease", app.active());
                self.commit(Kind::Hold(of), |_| Ended::well(text)).await
            }
            Some(Action::Fence(_)) => self.fence(number, op, app, step).await,
            Some(Action::Cut(cut)) => {
                let body = || v1::command::Body::Cut(v1::Cut {});
                let hosts = cut.candidates.iter().flat_map(|c| &c.hosts);
                // A lone candidate is waited for; of several, whoever is there.
                let parts = parts(hosts, body, cut.candidates.len() == 1);
                let answers =
                    self.dispatch(number, op, step, app.record.generation, &parts, self.clock.boot() + within).await;
                // The choice that follows takes only whom it knows to be cut; one is enough.
                some(&answers, "has stopped receiving")
            }
            Some(Action::Choose(choose)) => match op.steps.get(choose.cut_step as usize).map(furthest_on) {
                Some(Ok(choice)) => Ended {
                    well: true,
                    text: format!("{} at {}, timeline {}", choice.region, choice.received, choice.timeline),
                    chosen: choice.region.to_string(),
                },
                Some(Err(why)) => Ended::badly(why),
                None => Ended::badly("the plan names a step that it does not have"),
            },
            Some(Action::Generation(to)) => self.next_generation(number, op, app, &to.region).await,
            Some(Action::Promote(_)) => {
                let parts = self.active_parts(app, || v1::command::Body::Promote(v1::Promote {}));
                let answers =
                    self.dispatch(number, op, step, app.record.generation, &parts, self.clock.boot() + within).await;
                all(&answers)
            }
            Some(Action::Start(_)) => {
                let parts = self.active_parts(app, || v1::command::Body::Start(v1::Start {}));
                let answers =
                    self.dispatch(number, op, step, app.record.generation, &parts, self.clock.boot() + within).await;
                all(&answers)
            }
            Some(Action::Route(route)) => {
                let set = SetRouted { app: op.app.clone(), generation: app.record.generation };
                if let Err(e) = self.replica.propose(COORDINATOR, Kind::SetRouted(set)).await {
                    return Ended::badly(e.to_string());
                }
                let parts: Vec<Part> = route
                    .proxies
                    .iter()
                    .filter_map(|p| {
                        Some(Part {
                            host: p.host.parse().ok()?,
                            body: v1::command::Body::Route(v1::Route { region: app.active().to_string() }),
                            required: p.region == app.active().as_str(),
                        })
                    })
                    .collect();
                let answers =
                    self.dispatch(number, op, step, app.record.generation, &parts, self.clock.boot() + within).await;
                required(&answers, &parts)
            }
            Some(Action::Verify(_)) => {
                let body = || v1::command::Body::Verify(v1::Verify { region: app.active().to_string() });
                let mut parts = self.active_parts(app, body);
                for host in proxies_of(app, app.active()) {
                    if !parts.iter().any(|p| p.host == host) {
                        parts.push(Part { host, body: body(), required: true });
                    }
                }
                let answers =
                    self.dispatch(number, op, step, app.record.generation, &parts, self.clock.boot() + within).await;
                all(&answers)
            }
            Some(Action::Reconnect(reconnect)) => {
                self.reconnect(number, op, app, step, reconnect.cut_step, within).await
            }
            Some(Action::EndHold(_)) => {
                let active = app.active().clone();
                self.commit(Kind::EndHold(of), |n| Ended::well(format!("{active} goes on as generation {n}"))).await
            }
        }
    }

    async fn commit(&self, kind: Kind, well: impl FnOnce(u64) -> Ended) -> Ended {
        match self.replica.propose(COORDINATOR, kind).await {
            Ok(committed) => well(committed.number),
            Err(e) => Ended::badly(e.to_string()),
        }
    }

    /// Every host of the active region's writers, all of them required.
    fn active_parts(&self, app: &App, body: impl Fn() -> v1::command::Body) -> Vec<Part> {
        app.holders(app.active()).into_iter().map(|host| Part { host, body: body(), required: true }).collect()
    }

    /// Asks every holder to stop, and waits until its lease is over for sure; whichever comes first. A holder that
    /// answers that its writers do not stop is believed: then no wait makes them gone.
    async fn fence(&self, number: OperationId, op: &Operation, app: &App, step: usize) -> Ended {
        let Some(timings) = app.timings() else { return Ended::badly("this app has no timings") };
        let hold_applied = self.clock.boot();
        let generation = app.generation();
        let over = self.leases.over_at(
            &app.spec.app,
            generation,
            LogIndex(app.record.generation_index),
            hold_applied,
            &timings,
        );
        let over = if self.faults.skips_wait() { hold_applied } else { over };
        let hosts: Vec<HostName> = app.holders(app.active()).into_iter().collect();
        let parts: Vec<Part> = hosts
            .iter()
            .map(|host| Part { host: host.clone(), body: v1::command::Body::Fence(v1::Fence {}), required: true })
            .collect();
        let mut answers = self.dispatch(number, op, step, generation.0, &parts, over).await;
        let unstopped = |answers: &Answers| -> Vec<String> {
            let now = self.clock.boot();
            let says = |host: &&HostName| self.fleet.says_unstopped(&app.spec.app, host, now, VIEW_FRESH);
            answers.missing.iter().filter(says).map(ToString::to_string).collect()
        };
        if !answers.aborted && !unstopped(&answers).is_empty() {
            // It is there, and its fence takes longer than it may: it is waited for, and its answer counts.
            let patience = hold_applied + Duration::from_millis(op.steps[step].timeout);
            answers = self.dispatch(number, op, step, generation.0, &parts, patience).await;
        }
        if answers.aborted {
            return Ended::badly("aborted by request");
        }
        let failed: Vec<String> = answers
            .results
            .values()
            .filter(|r| r.ended() != CommandOutcome::Done)
            .map(|r| format!("{}: {}", r.host, r.text))
            .collect();
        if !failed.is_empty() {
            return Ended::badly(failed.join("; "));
        }
        let unstopped = unstopped(&answers);
        if !unstopped.is_empty() {
            return Ended::badly(format!("{} says that its writers are not stopped yet", unstopped.join(", ")));
        }
        let text = if answers.missing.is_empty() {
            let how: Vec<String> = answers.results.values().map(|r| format!("{}: {}", r.host, r.text)).collect();
            how.join("; ")
        } else {
            let missing = answers.missing.iter().map(HostName::as_str).collect::<Vec<_>>().join(", ");
            let waited = self.clock.boot().since(hold_applied);
            let how =
                if over <= hold_applied { "no wait was left".to_owned() } else { format!("waited {}", span(waited)) };
            format!("{missing} does not answer; its last lease and fence are over ({how})")
        };
        let of = OfOperation { operation: number.0, generation: generation.0 };
        self.commit(Kind::HoldOver(of), |_| Ended::well(text)).await
    }

    async fn next_generation(&self, number: OperationId, op: &Operation, app: &App, to: &str) -> Ended {
        let region = if to.is_empty() { op.to_region.clone() } else { to.to_owned() };
        let before = Generation(app.record.generation);
        // Committed by whoever led before: this generation is the operation's own already.
        if !app.held() && app.record.active_region == region && op.past_no_return {
            return Ended::well(format!("{before}, {region}, committed"));
        }
        let change = NextGeneration { operation: number.0, generation: before.0, region: region.clone() };
        match self.replica.propose(COORDINATOR, Kind::NextGeneration(change)).await {
            Ok(committed) => Ended::well(format!("{before} → {}, {region}, committed", committed.number)),
            Err(ProposeError::Refused(refused)) => Ended::badly(refused.what),
            Err(e) => Ended::badly(e.to_string()),
        }
    }

    async fn reconnect(
        &self,
        number: OperationId,
        op: &Operation,
        app: &App,
        step: usize,
        cut_step: u32,
        within: Duration,
    ) -> Ended {
        let Some(cut) = op.steps.get(cut_step as usize) else {
            return Ended::badly("the plan names a step that it does not have");
        };
        let Some(Action::Cut(action)) = &cut.action else {
            return Ended::badly("the plan takes back a step that is no cut");
        };
        let parts: Vec<Part> = action
            .candidates
            .iter()
            .flat_map(|c| &c.hosts)
            .filter_map(|host| {
                Some(Part {
                    host: host.parse().ok()?,
                    // Without a result the agent may have cut all the same: it knows what it cut.
                    body: v1::command::Body::Reconnect(v1::Reconnect {}),
                    required: true,
                })
            })
            .collect();
        let answers = self.dispatch(number, op, step, app.record.generation, &parts, self.clock.boot() + within).await;
        all(&answers)
    }
}

fn parts<'a>(
    hosts: impl Iterator<Item = &'a String>,
    body: impl Fn() -> v1::command::Body,
    required: bool,
) -> Vec<Part> {
    hosts.filter_map(|h| Some(Part { host: h.parse().ok()?, body: body(), required })).collect()
}

fn proxies_of(app: &App, region: &RegionName) -> Vec<HostName> {
    let Some(region) = app.spec.region(region) else { return vec![] };
    app.spec
        .proxies
        .iter()
        .flat_map(|p| region.roles.get(&p.on).into_iter().flatten())
        .map(|place| place.host.clone())
        .collect()
}

fn words(results: impl Iterator<Item = CommandResult>) -> String {
    results.map(|r| format!("{}: {}", r.host, r.text)).collect::<Vec<_>>().join("; ")
}

fn silent(answers: &Answers) -> Option<String> {
    (!answers.missing.is_empty()).then(|| {
        format!("{} did not answer", answers.missing.iter().map(HostName::as_str).collect::<Vec<_>>().join(", "))
    })
}

/// Well when everyone has done it.
fn all(answers: &Answers) -> Ended {
    if answers.aborted {
        return Ended::badly("aborted by request");
    }
    let failed: Vec<CommandResult> =
        answers.results.values().filter(|r| r.ended() != CommandOutcome::Done).cloned().collect();
    match (failed.is_empty(), silent(answers)) {
        (true, None) => Ended::well(words(answers.results.values().cloned())),
        (true, Some(silent)) => Ended::badly(silent),
        (false, silent) => {
            let text = words(failed.into_iter());
            Ended::badly(silent.map_or(text.clone(), |s| format!("{text}; {s}")))
        }
    }
}

/// Well when somebody has done it.
fn some(answers: &Answers, what: &str) -> Ended {
    if answers.aborted {
        return Ended::badly("aborted by request");
    }
    let done = answers.results.values().filter(|r| r.ended() == CommandOutcome::Done).count();
    let text = words(answers.results.values().cloned());
    match (done, silent(answers)) {
        (0, silent) => Ended::badly(format!("nobody {what}: {text}{}", silent.unwrap_or_default())),
        (_, Some(silent)) => Ended::well(format!("{text}; {silent}")),
        (_, None) => Ended::well(text),
    }
}

/// Well when every required part is done; the others are told.
fn required(answers: &Answers, parts: &[Part]) -> Ended {
    let mut open = Vec::new();
    for (n, part) in parts.iter().enumerate().filter(|(_, p)| p.required) {
        match answers.results.get(&n) {
            Some(r) if r.ended() == CommandOutcome::Done => {}
            Some(r) => open.push(format!("{}: {}", r.host, r.text)),
            None => open.push(format!("{} did not answer", part.host)),
        }
    }
    if !open.is_empty() {
        return Ended::badly(open.join("; "));
    }
    let text = words(answers.results.values().cloned());
    Ended::well(silent(answers).map_or(text.clone(), |s| format!("{text}; {s}")))
}
