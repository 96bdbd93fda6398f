//! Asks the gate and begins what it opens for: the same way for the verdicts and for an operator.

use std::collections::BTreeSet;

use holdfast_coordinator_core::{
    change::{Kind, StartOperation},
    gate::{self, AskedBy, GateAnswer, GateInput},
    plan::{self, FailoverRequest},
    records::Operation,
    state::App,
};
use holdfast_proto::v1;
use holdfast_shared::{clock::SharedClock, refusal};
use holdfast_types::{AppName, OperationId, RegionName, refusal::Reason};
use tonic::Status;

use crate::{
    replica::{Author, ProposeError, Replica, no_leader},
    rounds::{GateSeen, Watch},
};

/// Author of an automatic failover.
pub const AUTOMATIC: &str = "automatic";

/// What was decided.
#[derive(Debug, Clone)]
pub struct Decided {
    /// The operation that has begun; `None` for a dry run.
    pub operation: Option<OperationId>,
    /// Its plan.
    pub plan: Operation,
    /// Where it is weaker than it could be.
    pub notes: Vec<String>,
}

/// Decides about failovers. Cheap to clone.
#[derive(Clone)]
pub struct Decider {
    replica: Replica,
    watch: Watch,
    clock: SharedClock,
}

impl Decider {
    /// With the committed state and what is seen.
    #[must_use]
    pub fn new(replica: Replica, watch: Watch, clock: SharedClock) -> Self {
        Self { replica, watch, clock }
    }

    fn app(&self, name: &AppName) -> Option<App> {
        self.replica.read(|s| s.app(name).cloned())
    }

    /// Asks the gate about an app that is watched.
    fn ask(&self, app: &App, asked_by: AskedBy) -> Option<GateAnswer> {
        let now = self.clock.boot();
        let hosts = self.watch.hosts();
        let lease_over = self.watch.lease_over(&app.spec.app, now);
        let promotable: BTreeSet<RegionName> = app.promotable().cloned().collect();
        let maintenance = self.replica.read(|s| s.maintenance_of(app).map(|(scope, m)| (scope.clone(), m.clone())));
        self.watch.read(&app.spec.app, |rounds| {
            let region = rounds.regions().get(app.active());
            let verdict = region.and_then(|r| r.last.as_ref()).map(|(_, v)| v.clone());
            let standbys = gate::standbys(rounds, &promotable, &hosts, now);
            gate::ask(&GateInput {
                app: &app.spec.app,
                mode: app.spec.failover.as_ref().map(|f| f.mode),
                asked_by,
                active: app.active(),
                counter: region.map(|r| r.counter).unwrap_or_default(),
                failures: rounds.pacing().failures,
                reasons: verdict.as_ref().map_or(&[], |v| &v.reasons),
                proofs: verdict.as_ref().map_or(&[], |v| &v.proofs),
                own_life: verdict.as_ref().map_or(&[], |v| &v.own_life),
                lease_over,
                standbys: &standbys,
                maintenance: maintenance.as_ref().map(|(scope, m)| (scope, m)),
                other_operation: app.operation(),
                earlier_incident: None,
            })
        })
    }

    /// What can be seen of the promotable regions. A plan asks only these: one that did not follow when the source was
    /// last seen would take over with old data if the others could not be reached.
    fn able(&self, app: &App) -> Option<BTreeSet<RegionName>> {
        let (now, hosts) = (self.clock.boot(), self.watch.hosts());
        let promotable: BTreeSet<RegionName> = app.promotable().cloned().collect();
        self.watch
            .read(&app.spec.app, |rounds| gate::able(&gate::standbys(rounds, &promotable, &hosts, now), app.active()))
    }

    /// Every condition of the gate, as it stands for the verdicts.
    #[must_use]
    pub fn gate_lines(&self, name: &AppName) -> Vec<v1::GateLine> {
        self.app(name)
            .filter(|app| app.spec.failover.is_some())
            .and_then(|app| self.ask(&app, AskedBy::Verdicts))
            .map(|answer| wire(answer.lines()))
            .unwrap_or_default()
    }

    /// An operator's failover: to `to`, or to the best.
    ///
    /// # Errors
    /// A refusal with every condition of the gate; nothing was changed then.
    pub async fn failover(
        &self,
        name: &AppName,
        to: Option<RegionName>,
        by: Author,
        reason: &str,
        dry_run: bool,
    ) -> Result<Decided, Status> {
        self.replica.consensus().confirm_leader().await.map_err(|e| no_leader(&e))?;
        let app = self.app(name).ok_or_else(|| {
            refusal::to_status(Reason::UnknownApp, format!("no app {name}"), vec![], vec!["holdfast apps".to_owned()])
        })?;
        let able = self.able(&app);
        let request = FailoverRequest { to: to.clone(), able, reason: reason.to_owned() };
        // The planner's refusals are about names; the gate's about what is seen. Names first.
        let plan = plan::failover(&app, &request).map_err(|refused| {
            let answer = self.ask(&app, AskedBy::Operator { to: to.clone() });
            answer.and_then(|a| closed(&a)).unwrap_or_else(|| {
                let next = vec![format!("holdfast why {name}"), "holdfast apps".to_owned()];
                refusal::to_status(refused.reason, refused.what, vec![], next)
            })
        })?;
        // What is assigned there already asks no gate: nobody else may write, whatever is seen.
        if plan.from_region == plan.to_region {
            let notes = vec![format!("{} is assigned to {} already; this finishes its failover", name, plan.to_region)];
            let operation =
                if dry_run { None } else { Some(self.start(&app, plan.clone(), by).await.map_err(|e| e.status())?) };
            return Ok(Decided { operation, plan, notes });
        }
        let Some(answer) = self.ask(&app, AskedBy::Operator { to }) else {
            return Err(refusal::to_status(
                Reason::NotPromotable,
                format!("app {name} has not been observed yet; this coordinator has only just begun to lead"),
                vec![],
                vec![format!("holdfast why {name}")],
            ));
        };
        if let Some(status) = closed(&answer) {
            return Err(status);
        }
        let notes: Vec<String> =
            answer.lines().iter().filter(|l| l.condition == gate::Condition::Lag).map(|l| l.text.clone()).collect();
        if dry_run {
            return Ok(Decided { operation: None, plan, notes });
        }
        let operation = self.start(&app, plan.clone(), by).await.map_err(|e| e.status())?;
        Ok(Decided { operation: Some(operation), plan, notes })
    }

    /// A full run of failing verdicts: begins a failover if the gate opens; else tells why not, once.
    pub async fn verdicts(&self, name: &AppName) {
        let Some(app) = self.app(name).filter(|a| a.spec.failover.is_some()) else { return };
        let Some(answer) = self.ask(&app, AskedBy::Verdicts) else { return };
        match answer {
            GateAnswer::Open { .. } => {
                self.watch.note_gate(name, None);
                let reason = self
                    .watch
                    .read(name, |r| {
                        r.regions()
                            .get(app.active())
                            .and_then(|r| r.last.as_ref())
                            .and_then(|(_, v)| v.reasons.first())
                            .map(|f| f.text.clone())
                    })
                    .flatten()
                    .unwrap_or_default();
                let able = self.able(&app);
                let plan = match plan::failover(&app, &FailoverRequest { to: None, able, reason }) {
                    Ok(plan) => plan,
                    Err(refused) => {
                        tracing::warn!(app = %name, why = %refused.what, "no plan for a failover");
                        return;
                    }
                };
                match self.start(&app, plan, AUTOMATIC.into()).await {
                    Ok(number) => {
                        tracing::warn!(app = %name, operation = number.0, from = %app.active(), "failover begins");
                    }
                    Err(e) => tracing::warn!(app = %name, error = %e, "a failover could not begin"),
                }
            }
            GateAnswer::Closed { headline, next, .. } | GateAnswer::Alert { headline, next, .. } => {
                let seen = GateSeen { text: headline, next };
                if self.watch.note_gate(name, Some(seen.clone())) {
                    tracing::warn!(app = %name, "{}", seen.text);
                }
            }
        }
    }

    async fn start(&self, app: &App, mut plan: Operation, by: Author) -> Result<OperationId, ProposeError> {
        // Of several writers the one that was lost first: from then on the app was not served whole.
        let served = self.watch.read(&app.spec.app, |rounds| {
            app.spec.writers.keys().map(|w| rounds.sights().source(w).map(|s| s.at)).min().flatten()
        });
        if let Some(at) = served.flatten() {
            let ago = i64::try_from(self.clock.boot().since(at).as_millis()).unwrap_or(0);
            plan.last_served_at = self.clock.wall().unix_millis() - ago;
        }
        let change =
            StartOperation { operation: Some(plan), generation: app.record.generation, revision: app.record.revision };
        let committed = self.replica.propose(by, Kind::StartOperation(change)).await?;
        Ok(OperationId(committed.number))
    }
}

fn wire(lines: &[gate::GateLine]) -> Vec<v1::GateLine> {
    lines
        .iter()
        .map(|l| v1::GateLine { condition: l.condition.to_string(), holds: l.holds, text: l.text.clone() })
        .collect()
}

/// A closed gate as a refusal: what was seen, then every condition on one line.
fn closed(answer: &GateAnswer) -> Option<Status> {
    match answer {
        GateAnswer::Closed { condition, reason, headline, seen, lines, next } => {
            let mut told: Vec<v1::Line> = seen.iter().map(|s| refusal::line("where", s.clone())).collect();
            let marks: Vec<String> =
                lines.iter().map(|l| format!("{} {}", l.condition, if l.holds { "✔" } else { "✘" })).collect();
            told.push(refusal::line("gate", marks.join("  ")));
            told.push(refusal::line("docs", format!("gate/{}", condition.slug())));
            Some(refusal::to_status(reason.unwrap_or(Reason::NotPromotable), headline.clone(), told, next.clone()))
        }
        GateAnswer::Open { .. } | GateAnswer::Alert { .. } => None,
    }
}
