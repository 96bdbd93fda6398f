//! `maintenance on`, `maintenance off`.

use holdfast_coordinator_core::{
    change::{BeginMaintenance, EndMaintenance, Kind},
    maintenance::{LONGEST, Scope, USUAL, told},
    records::Maintenance,
    state::{App, State},
};
use holdfast_proto::v1;
use holdfast_types::{AppName, RegionName, Right, WallTime, refusal::Reason, time::span};
use tonic::{Request, Response, Status};

use super::{
    Api,
    call::{About, Call},
    not_committed,
    refuse::{self, Refusal, listed},
    wire,
};
use crate::maintenance::named;

/// What was named.
fn scope(app: &str, region: &str) -> Result<Scope, Status> {
    match (app, region) {
        ("", "") => Ok(Scope::All),
        (app, "") => AppName::new(app).map(Scope::App).map_err(|e| refuse::bad(e.to_string())),
        ("", region) => RegionName::new(region).map(Scope::Region).map_err(|e| refuse::bad(e.to_string())),
        (_, _) => Err(refuse::bad("maintenance is of an app or of a region, not of both")),
    }
}

/// As in the audit trail.
fn subject(app: &str, region: &str) -> String {
    match (app, region) {
        ("", "") => "--all".to_owned(),
        (app, "") => app.to_owned(),
        (_, region) => format!("--region {region}"),
    }
}

fn covered<'a>(state: &'a State, scope: &'a Scope) -> impl Iterator<Item = (&'a AppName, &'a App)> {
    state.apps().iter().filter(|(_, app)| scope.covers(&app.spec))
}

/// A name that there is not, with those that there are.
fn unknown(state: &State, scope: &Scope) -> Option<Refusal> {
    match scope {
        Scope::App(name) if state.app(name).is_none() => Some(refuse::unknown_app(name, state.apps().keys())),
        Scope::Region(name) => {
            let mut known: Vec<&str> = state.hosts().values().map(|host| host.region.as_str()).collect();
            known.extend(state.apps().values().flat_map(|app| &app.spec.regions).map(|region| region.name.as_str()));
            known.sort_unstable();
            known.dedup();
            let missing = !known.contains(&name.as_str());
            missing.then(|| {
                Refusal::new(Reason::UnknownRegion, format!("no region {name}"))
                    .line("regions", listed(known))
                    .next("holdfast regions")
            })
        }
        Scope::All | Scope::App(_) => None,
    }
}

/// As `status` tells it.
pub(super) fn wired(scope: &Scope, maintenance: &Maintenance) -> v1::InMaintenance {
    v1::InMaintenance {
        scope: scope.to_string(),
        by: maintenance.by.clone(),
        why: maintenance.why.clone(),
        since: wire::moment(maintenance.since),
        until: wire::moment(maintenance.until),
    }
}

/// Every maintenance there is, a line each.
pub(super) fn notes(state: &State) -> Vec<String> {
    let line = |(scope, maintenance): (&Scope, &Maintenance)| {
        format!("{}; no failover begins until then, or: {}", told(scope, maintenance), scope.off())
    };
    state.maintenance().map(line).collect()
}

#[tonic::async_trait]
impl v1::maintenance_server::Maintenance for Api {
    async fn begin(
        &self,
        request: Request<v1::BeginMaintenanceRequest>,
    ) -> Result<Response<v1::BeginMaintenanceReply>, Status> {
        let message = request.get_ref();
        let subject = subject(&message.app, &message.region);
        let about = About { call: "maintenance on", subject: &subject, why: &message.reason };
        // By its own name: the service has a method that is called the same.
        let call = Api::begin(self, &request, Right::Move, about).await?;
        let done = self.begin_maintenance(&call, request.into_inner()).await;
        Api::end(self, call, done).await
    }

    async fn end(
        &self,
        request: Request<v1::EndMaintenanceRequest>,
    ) -> Result<Response<v1::EndMaintenanceReply>, Status> {
        let message = request.get_ref();
        let subject = subject(&message.app, &message.region);
        let about = About { call: "maintenance off", subject: &subject, why: &message.reason };
        let call = Api::begin(self, &request, Right::Move, about).await?;
        let done = self.end_maintenance(&call, request.into_inner()).await;
        Api::end(self, call, done).await
    }
}

impl Api {
    async fn begin_maintenance(
        &self,
        call: &Call,
        asked: v1::BeginMaintenanceRequest,
    ) -> Result<v1::BeginMaintenanceReply, Status> {
        self.lead().await?;
        let scope = scope(&asked.app, &asked.region)?;
        if asked.reason.trim().is_empty() {
            return Err(refuse::bad(
                "maintenance needs a reason: those who find an app that does not move will read it",
            ));
        }
        let lasts = match &asked.lasts {
            None => USUAL,
            Some(lasts) => {
                wire::from_span(Some(lasts)).filter(|lasts| *lasts <= LONGEST && lasts.as_millis() > 0).ok_or_else(
                    || refuse::bad(format!("maintenance lasts up to {}, and more than nothing", span(LONGEST))),
                )?
            }
        };
        if let Some(refusal) = self.replica.read(|s| unknown(s, &scope)) {
            return Err(refusal.status());
        }
        let (app, region) = named(&scope);
        let millis = u64::try_from(lasts.as_millis()).unwrap_or(u64::MAX);
        let change = BeginMaintenance { app, region, lasts: millis, why: asked.reason };
        let committed = self
            .replica
            .propose(call.author(), Kind::BeginMaintenance(change))
            .await
            .map_err(|e| not_committed(&e, vec!["holdfast status".to_owned()]))?;
        let until = WallTime(i64::try_from(committed.number).unwrap_or(i64::MAX));
        tracing::warn!(scope = %scope, until = %until, by = %call.caller.name, "maintenance begins");
        let (apps, notes) = self.replica.read(|s| {
            let apps = covered(s, &scope).map(|(name, _)| name.to_string()).collect();
            let runs = covered(s, &scope).filter_map(|(name, app)| {
                Some(format!("operation {} runs on {name} already, and goes on", app.operation()?))
            });
            (apps, runs.collect())
        });
        Ok(v1::BeginMaintenanceReply { until: Some(wire::timestamp(until)), apps, notes })
    }

    async fn end_maintenance(
        &self,
        call: &Call,
        asked: v1::EndMaintenanceRequest,
    ) -> Result<v1::EndMaintenanceReply, Status> {
        self.lead().await?;
        let scope = scope(&asked.app, &asked.region)?;
        if let Some(refusal) = self.replica.read(|s| unknown(s, &scope)) {
            return Err(refusal.status());
        }
        let (app, region) = named(&scope);
        let others = || {
            self.replica.read(|s| {
                let mut others: Vec<(String, String)> = covered(s, &scope)
                    .filter_map(|(_, app)| s.maintenance_of(app))
                    .map(|(scope, maintenance)| (told(scope, maintenance), scope.off()))
                    .collect();
                others.sort();
                others.dedup();
                others
            })
        };
        let change = EndMaintenance { app, region, index: 0 };
        if let Err(error) = self.replica.propose(call.author(), Kind::EndMaintenance(change)).await {
            let mut next: Vec<String> = others().into_iter().map(|(_, off)| off).collect();
            next.push("holdfast status".to_owned());
            return Err(not_committed(&error, next));
        }
        tracing::warn!(scope = %scope, by = %call.caller.name, "maintenance ends");
        Ok(v1::EndMaintenanceReply {
            still: others().into_iter().map(|(told, off)| format!("{told}; {off}")).collect(),
        })
    }
}
