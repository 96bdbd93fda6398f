//! `failover` and `operations`: begin, list, look, follow, take back.

use holdfast_coordinator_core::{
    change::{AbortOperation, Kind},
    records::{Operation, Step},
    state::State,
};
use holdfast_proto::v1;
use holdfast_types::{AppName, OperationId, Right};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

use super::{
    Api,
    call::{About, Call},
    journal, not_committed, refuse, region_name, wire,
};
use crate::{authorise, consensus::ConsensusError, replica::Author, replica::no_leader};

/// Operations that `list` shows unless told otherwise.
const LISTED: usize = 20;
/// And at most.
const LISTED_MAX: usize = 500;
/// Events that may wait for one reader. While it is full nothing is lost: each event holds the whole operation, so those
/// that would be late are told together.
const EVENTS_MAX: usize = 16;

fn planned(step: &Step) -> v1::PlannedStep {
    v1::PlannedStep {
        name: step.name.clone(),
        text: step.planned.clone(),
        timeout: wire::span(std::time::Duration::from_millis(step.timeout)),
        undo: step.undo.clone(),
        no_return: step.no_return,
    }
}

/// An operation and its app as they are now.
fn told(state: &State, number: OperationId) -> Option<(Operation, v1::Operation)> {
    let op = state.operation(number)?;
    let app = op.app.parse::<AppName>().ok().and_then(|name| state.app(&name));
    Some((op.clone(), journal::operation(number, op, app)))
}

/// The newest operations of an app, or of all.
fn newest(state: &State, app: Option<&AppName>, limit: usize) -> Vec<v1::Operation> {
    let of_app = |op: &&Operation| app.is_none_or(|app| op.app == app.as_str());
    let numbers = state.operations().iter().rev().filter(|(_, op)| of_app(op)).map(|(number, _)| *number);
    numbers.take(limit).filter_map(|number| told(state, number)).map(|(_, told)| told).collect()
}

type Event = Result<v1::OperationEvent, Status>;

impl Api {
    /// Sends the operation now and at every change, until it has ended or nobody reads any more.
    async fn follow(&self, number: OperationId, to: &mpsc::Sender<Event>) {
        // Before the first look, so that nothing falls in between.
        let mut applied = self.replica.applied();
        let mut leadership = self.replica.consensus().leadership();
        let mut before: Option<Operation> = None;
        loop {
            let Some((op, told)) = self.replica.read(|s| told(s, number)) else {
                let gone = self.replica.read(|s| refuse::unknown_operation(number, s.operations().keys()));
                drop(to.send(Err(gone.status())).await);
                return;
            };
            if before.as_ref() != Some(&op) {
                let text = before.as_ref().map(|before| journal::news(before, &op)).unwrap_or_default();
                let at = Some(wire::timestamp(self.clock.wall()));
                let event = v1::OperationEvent { operation: Some(told), at, text };
                if to.send(Ok(event)).await.is_err() || op.at().ended() {
                    return;
                }
                before = Some(op);
            }
            // All only wake the loop.
            tokio::select! {
                biased;
                () = to.closed() => return,
                changed = leadership.changed() => {
                    let leader = *leadership.borrow_and_update();
                    if changed.is_err() || !leader.leading {
                        let error = ConsensusError::NotLeader { leader: leader.leader };
                        drop(to.send(Err(no_leader(&error))).await);
                        return;
                    }
                }
                changed = applied.changed() => if changed.is_err() { return },
            }
        }
    }
}

#[tonic::async_trait]
impl v1::operations_server::Operations for Api {
    type WatchStream = ReceiverStream<Event>;

    async fn failover(&self, request: Request<v1::FailoverRequest>) -> Result<Response<v1::FailoverReply>, Status> {
        let message = request.get_ref();
        // It only looks.
        if message.dry_run {
            let caller = authorise::operator(&request, &self.replica, Right::Read)?;
            return self.begin_failover(caller.author().as_str().into(), request.into_inner()).await.map(Response::new);
        }
        let subject = match message.to_region.as_str() {
            "" => message.app.clone(),
            to => format!("{} to {to}", message.app),
        };
        let about = About { call: "failover", subject: &subject, why: &message.reason };
        let call = self.begin(&request, Right::Move, about).await?;
        let done = self.begin_failover(call.author(), request.into_inner()).await;
        self.end(call, done).await
    }

    async fn list(
        &self,
        request: Request<v1::ListOperationsRequest>,
    ) -> Result<Response<v1::ListOperationsReply>, Status> {
        authorise::operator(&request, &self.replica, Right::Read)?;
        self.lead().await?;
        let v1::ListOperationsRequest { app, limit } = request.into_inner();
        let app = if app.is_empty() { None } else { Some(self.app(&app)?.0) };
        let limit = match usize::try_from(limit) {
            Ok(0) => LISTED,
            Ok(limit) => limit.min(LISTED_MAX),
            Err(_) => LISTED_MAX,
        };
        let operations = self.replica.read(|s| newest(s, app.as_ref(), limit));
        Ok(Response::new(v1::ListOperationsReply { operations }))
    }

    async fn get(&self, request: Request<v1::GetOperationRequest>) -> Result<Response<v1::Operation>, Status> {
        authorise::operator(&request, &self.replica, Right::Read)?;
        self.lead().await?;
        let (number, op, app) = self.operation(request.get_ref().number)?;
        Ok(Response::new(journal::operation(number, &op, app.as_ref())))
    }

    async fn watch(&self, request: Request<v1::WatchOperationRequest>) -> Result<Response<Self::WatchStream>, Status> {
        authorise::operator(&request, &self.replica, Right::Read)?;
        self.lead().await?;
        let (number, _, _) = self.operation(request.get_ref().number)?;
        let (to, events) = mpsc::channel(EVENTS_MAX);
        let (this, cancel) = (self.clone(), self.cancel.child_token());
        self.tasks.spawn(async move {
            // The reader is told that the coordinator goes, and asks again; the journal has everything.
            let stopped = cancel.run_until_cancelled(this.follow(number, &to)).await.is_none();
            if stopped {
                drop(to.try_send(Err(Status::unavailable("this coordinator stops; the operation goes on"))));
            }
        });
        Ok(Response::new(ReceiverStream::new(events)))
    }

    async fn abort(&self, request: Request<v1::AbortRequest>) -> Result<Response<v1::AbortReply>, Status> {
        let message = request.get_ref();
        let subject = format!("operation {}", message.number);
        let about = About { call: "operations abort", subject: &subject, why: &message.reason };
        let call = self.begin(&request, Right::Move, about).await?;
        let done = self.abort_operation(&call, request.into_inner()).await;
        self.end(call, done).await
    }
}

impl Api {
    async fn begin_failover(&self, author: Author, request: v1::FailoverRequest) -> Result<v1::FailoverReply, Status> {
        self.lead().await?;
        let v1::FailoverRequest { app, to_region, dry_run, reason } = request;
        let (name, app) = self.app(&app)?;
        let to = if to_region.is_empty() { None } else { Some(region_name(&to_region)?) };
        if let Some(to) = to.as_ref().filter(|to| app.spec.region(to).is_none()) {
            return Err(refuse::unknown_region(&name, to, app.spec.regions.iter().map(|r| &r.name)).status());
        }
        let decided = self.decider.failover(&name, to, author, &reason, dry_run).await?;
        if let Some(number) = decided.operation {
            tracing::info!(app = %name, operation = number.0, "failover asked for");
        }
        Ok(v1::FailoverReply {
            operation: decided.operation.map_or(0, |number| number.0),
            steps: decided.plan.steps.iter().map(planned).collect(),
            from_region: decided.plan.from_region,
            notes: decided.notes,
        })
    }

    async fn abort_operation(&self, call: &Call, request: v1::AbortRequest) -> Result<v1::AbortReply, Status> {
        self.lead().await?;
        let v1::AbortRequest { number, reason } = request;
        let (id, op, _) = self.operation(number)?;
        let next = if op.at().ended() { "show" } else { "watch" };
        let reason = if reason.is_empty() { call.caller.author() } else { reason };
        self.replica
            .propose(call.author(), Kind::AbortOperation(AbortOperation { operation: number, reason }))
            .await
            .map_err(|e| not_committed(&e, vec![format!("holdfast operations {next} {number}")]))?;
        tracing::info!(app = %op.app, operation = number, by = %call.caller.name, "abort asked for");
        let (_, op, app) = self.operation(number)?;
        Ok(v1::AbortReply { operation: Some(journal::operation(id, &op, app.as_ref())) })
    }
}

#[cfg(test)]
mod tests {
    use holdfast_coordinator_core::{
        change::{ApplySpec, Change, Init, SetPromotable, StartOperation},
        plan::{self, FailoverRequest},
    };
    use holdfast_types::LogIndex;

    use super::*;
    use crate::api::samples;

    #[test]
    fn a_dry_run_prints_the_very_plan() {
        let app = samples::good_day().app;
        let plan =
            plan::failover(&app, &FailoverRequest { to: None, able: None, reason: String::new() }).expect("a plan");
        let steps: Vec<v1::PlannedStep> = plan.steps.iter().map(planned).collect();
        assert_eq!(steps.len(), plan.steps.len());
        let point: Vec<&str> = steps.iter().filter(|s| s.no_return).map(|s| s.name.as_str()).collect();
        assert_eq!(point, ["generation"]);
        assert_eq!(steps[0].undo, "a further generation, the same region");
    }

    #[test]
    fn the_newest_operations_come_first_and_of_one_app_only_if_asked() {
        let mut state = State::default();
        let mut index = 0;
        let mut commit = |state: &mut State, kind| {
            index += 1;
            state.apply(LogIndex(index), &Change::new(samples::NOW, "operator ada", kind)).expect("a known kind");
        };
        let init = Init { cluster: "0198c9a2-6f3e-4c1d-9b7a-2f4e8d1c5a60".to_owned(), name: "acme".to_owned() };
        commit(&mut state, Kind::Init(init));
        let other = samples::FAST.replace("app: shop", "app: till").replace("-db1", "-db2").replace("-web1", "-web2");
        for spec_yaml in [samples::FAST.to_owned(), other] {
            let active_region = "us-east".to_owned();
            commit(&mut state, Kind::ApplySpec(ApplySpec { spec_yaml, on_revision: 0, active_region }));
        }
        for name in ["shop", "till"] {
            let regions = vec!["us-west".to_owned()];
            commit(&mut state, Kind::SetPromotable(SetPromotable { app: name.to_owned(), generation: 1, regions }));
            let app = state.app(&name.parse().expect("a name")).expect("applied").clone();
            let plan =
                plan::failover(&app, &FailoverRequest { to: None, able: None, reason: String::new() }).expect("a plan");
            commit(
                &mut state,
                Kind::StartOperation(StartOperation { operation: Some(plan), generation: 1, revision: 1 }),
            );
        }
        let numbers = |app: Option<&str>, limit| -> Vec<(u64, String)> {
            let app: Option<AppName> = app.map(|name| name.parse().expect("a name"));
            newest(&state, app.as_ref(), limit).into_iter().map(|op| (op.number, op.requested_by)).collect()
        };
        let by = || "operator ada".to_owned();
        assert_eq!(numbers(None, 20), [(2, by()), (1, by())]);
        assert_eq!(numbers(None, 1), [(2, by())]);
        assert_eq!(numbers(Some("shop"), 20), [(1, by())]);
    }
}
