//! Grants leases: the confirming round begins after the requests came in, one round serves all that wait, and a reply is
//! dropped when a `hold` was applied meanwhile.

use std::sync::{Arc, Mutex};

use holdfast_coordinator_core::{
    change::{Kind, Reactivate, Refused},
    grants::{GrantLog, may_grant},
};
use holdfast_proto::v1;
use holdfast_shared::{
    clock::SharedClock,
    refusal,
    refusals::{Refusals, RefusedKind},
};
use holdfast_types::{AppName, BootInstant, Generation, HostName, LogIndex, lease::Timings, refusal::Reason};
use tokio::sync::mpsc;
use tokio_stream::{StreamExt as _, wrappers::ReceiverStream};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tonic::{Code, Status, Streaming};

use crate::{
    authorise::AgentCaller,
    fleet::Fleet,
    replica::{COORDINATOR, Replica},
};

/// Requests of one agent that one round may serve. An agent holds leases of a few dozen apps at most.
const BATCH_MAX: usize = 256;
/// Replies that may wait for one agent to read; then it gets none, and its leases run out as they would if it were cut.
const REPLIES_MAX: usize = 256;

/// Grants leases, and remembers the last reply of each app.
#[derive(Clone)]
pub struct Leases {
    replica: Replica,
    fleet: Fleet,
    clock: SharedClock,
    log: Arc<Mutex<Option<GrantLog>>>,
    refusals: Refusals,
}

impl Leases {
    /// Grants nothing until a leadership begins.
    #[must_use]
    pub fn new(replica: Replica, fleet: Fleet, clock: SharedClock) -> Self {
        let refusals = Refusals::new(Arc::clone(&clock));
        Self { replica, fleet, clock, log: Arc::default(), refusals }
    }

    /// The same, counting what it refuses with all else that is refused.
    #[must_use]
    pub fn counting(self, refusals: Refusals) -> Self {
        Self { refusals, ..self }
    }

    fn log(&self) -> std::sync::MutexGuard<'_, Option<GrantLog>> {
        self.log.lock().expect("nothing panics while it holds the log of grants")
    }

    /// This coordinator leads since `since`, with everything up to `index` applied.
    pub fn begin_leadership(&self, since: BootInstant, index: LogIndex) {
        *self.log() = Some(GrantLog::new(since, index));
    }

    /// It does not lead any more, as far as it knows.
    pub fn end_leadership(&self) {
        *self.log() = None;
    }

    /// When nothing is left of the lease of the held generation.
    #[must_use]
    pub fn over_at(
        &self,
        app: &AppName,
        generation: Generation,
        generation_index: LogIndex,
        hold_applied: BootInstant,
        timings: &Timings,
    ) -> BootInstant {
        match self.log().as_ref() {
            Some(log) => log.over_at(app, generation, generation_index, hold_applied, timings),
            None => hold_applied + timings.over_after(),
        }
    }

    /// Serves one agent's lease stream until it ends.
    pub fn serve(
        &self,
        caller: AgentCaller,
        requests: Streaming<v1::LeaseRequest>,
        tasks: &TaskTracker,
        cancel: CancellationToken,
    ) -> ReceiverStream<Result<v1::LeaseReply, Status>> {
        let (tx, rx) = mpsc::channel(REPLIES_MAX);
        let this = self.clone();
        tasks.spawn(async move {
            let mut requests = std::pin::pin!(requests.chunks_timeout(BATCH_MAX, std::time::Duration::ZERO));
            loop {
                // A batch that is dropped here was asked by an agent that is told to go; it asks again elsewhere.
                let batch = tokio::select! {
                    biased;
                    () = cancel.cancelled() => return,
                    batch = requests.next() => match batch {
                        Some(batch) => batch,
                        None => return,
                    },
                };
                let mut asked = Vec::new();
                for request in batch {
                    match request {
                        Ok(request) => asked.push(request),
                        Err(status) => {
                            this.cannot_read(&caller, &status);
                            // It may be gone.
                            drop(tx.try_send(Err(status)));
                            return;
                        }
                    }
                }
                for reply in this.answer(&caller.host, asked).await {
                    if tx.try_send(Ok(reply)).is_err() {
                        return;
                    }
                }
            }
        });
        ReceiverStream::new(rx)
    }

    fn cannot_read(&self, caller: &AgentCaller, status: &Status) {
        // Beyond the longest message, or not to be decoded; everything else is a connection that ended.
        if matches!(status.code(), Code::OutOfRange | Code::ResourceExhausted | Code::Internal) {
            self.refusals.note(RefusedKind::Message, &caller.host, status.message());
        }
    }

    /// Answers what came in together.
    pub async fn answer(&self, host: &HostName, requests: Vec<v1::LeaseRequest>) -> Vec<v1::LeaseReply> {
        let mut asked = Vec::new();
        let mut replies = Vec::new();
        for request in requests {
            match AppName::new(&*request.app) {
                Ok(app) => asked.push((app, request)),
                Err(e) => {
                    self.refusals.note(RefusedKind::Message, host, format_args!("a lease request: {e}"));
                    replies.push(refused(&request, &Refused { reason: Reason::BadRequest, what: e.to_string() }));
                }
            }
        }
        // A clone of the host, say, from a copy of its disk: one of the two has the session, and only that one writes.
        let live = self.fleet.live(host).map(|live| live.instance);
        let (asked, others): (Vec<_>, Vec<_>) =
            asked.into_iter().partition(|(_, request)| live.as_ref().is_none_or(|live| *live == request.instance));
        replies.extend(others.iter().map(|(_, request)| {
            let what = format!("another run of the agent has the session of {host}");
            refused(request, &Refused { reason: Reason::NotPermitted, what })
        }));
        for (app, request) in &asked {
            self.fleet.note_heard(host, self.clock.boot());
            // Only of what it holds, so that nothing is remembered of apps that there are not.
            let holds = self.replica.read(|s| s.app(app).is_some_and(|a| a.holders(a.active()).contains(host)));
            if !holds {
                let named = self.replica.read(|s| s.app(app).is_some_and(|a| a.spec.names(host)));
                if !named {
                    let why = format_args!("a lease of {app}, which it does not run");
                    self.refusals.note(RefusedKind::Foreign, host, why);
                }
                continue;
            }
            let counts_end = request.counts_end.then_some(request.generation);
            self.fleet.note_counts_end(app, host, request.number, counts_end);
            self.reactivate_if_fenced(app, host, request).await;
        }
        // Begins after the requests came in: a leader that was deposed before cannot confirm it.
        if let Err(e) = self.replica.consensus().confirm_leader().await {
            let why = Refused { reason: Reason::NoLeader, what: e.to_string() };
            replies.extend(asked.iter().map(|(_, request)| refused(request, &why)));
            return replies;
        }
        for (app, request) in asked {
            replies.push(self.decide(&app, host, &request));
        }
        replies
    }

    /// Looks at the applied state after the round; what was held meanwhile is dropped.
    fn decide(&self, app: &AppName, host: &HostName, request: &v1::LeaseRequest) -> v1::LeaseReply {
        let mut log = self.log();
        let Some(log) = log.as_mut() else {
            return refused(
                request,
                &Refused { reason: Reason::NoLeader, what: "this coordinator does not lead any more".to_owned() },
            );
        };
        let answer = self.replica.read(|state| {
            let end_wanted = self.fleet.end_wanted(app, state.app(app).map_or(0, |a| a.record.generation));
            let terms = may_grant(state, app, host, Generation(request.fenced), end_wanted)?;
            // Under the same read: a hold that is applied after this look waits for what is noted here.
            log.note(app, terms.generation, self.clock.boot());
            Ok::<_, Refused>(terms)
        });
        match answer {
            Ok(terms) => v1::LeaseReply {
                app: app.to_string(),
                number: request.number,
                generation: terms.generation.0,
                answer: Some(v1::lease_reply::Answer::Grant(v1::Grant {
                    lease: terms.lease.and_then(|l| l.try_into().ok()),
                    sole: terms.lease.is_none(),
                })),
            },
            Err(why) => refused(request, &why),
        }
    }

    /// A holder that has fenced the current generation, durably, while nothing else decides about the app: it goes on
    /// as the next generation. It takes no grant of this one any more; another holder in the same region, whose writer
    /// runs on, takes the next one when it renews.
    async fn reactivate_if_fenced(&self, app: &AppName, host: &HostName, request: &v1::LeaseRequest) {
        let wanted = self.replica.read(|state| {
            state.app(app).is_some_and(|a| {
                a.leased()
                    && a.record.generation == request.fenced
                    && !a.held()
                    && a.operation().and_then(|number| state.operation(number)).is_none_or(|op| op.past_no_return)
                    && a.holders(a.active()).contains(host)
                    && state.hosts().get(host).is_some_and(|h| h.quarantine.is_empty())
            })
        });
        if !wanted {
            return;
        }
        let change = Reactivate { app: app.to_string(), generation: request.fenced, host: host.to_string() };
        match self.replica.propose(COORDINATOR, Kind::Reactivate(change)).await {
            Ok(committed) => tracing::info!(
                app = %app, host = %host, generation = committed.number,
                "its writers were fenced and nobody took over: it goes on as the next generation"
            ),
            Err(e) => tracing::debug!(app = %app, host = %host, error = %e, "not reactivated"),
        }
    }
}

fn refused(request: &v1::LeaseRequest, why: &Refused) -> v1::LeaseReply {
    v1::LeaseReply {
        app: request.app.clone(),
        number: request.number,
        generation: request.generation,
        answer: Some(v1::lease_reply::Answer::Refused(refusal::refusal(why.reason, why.what.clone(), vec![], vec![]))),
    }
}
