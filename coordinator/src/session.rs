//! The agents' sessions: one stream for everything but leases, and one for those.

pub(crate) mod check;

use std::{sync::Arc, time::Duration};

use holdfast_coordinator_core::{
    change::{CommandEnded, Kind, NoteStarts, Quarantine},
    records::{CommandOutcome, CommandResult, Position},
};
use holdfast_proto::{PROTOCOL, PROTOCOL_MIN, v1};
use holdfast_shared::{
    clock::SharedClock,
    refusal::{refusal, status, to_status},
    refusals::{Refusals, RefusedKind, one_line},
    repeats::{Repeats, Told},
};
use holdfast_types::{AppName, HostName, OperationId, refusal::Reason};
use tokio::{sync::mpsc, time::timeout};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tonic::{Code, Request, Response, Status, Streaming};

use crate::{
    authorise::{self, AgentCaller},
    desired::desired,
    fleet::{Fleet, OUTGOING_MAX},
    leases::Leases,
    metrics::Metrics,
    replica::{COORDINATOR, ProposeError, Replica},
    rounds::{Paces, Watch},
};

/// An agent that opens a session says who runs there at once.
const HELLO_WITHIN: Duration = Duration::from_secs(5);
/// An agent reads what it is sent at once; one that has so many messages waiting for so long is stopped or stuck.
const READ_WITHIN: Duration = Duration::from_secs(5);
/// What agents are told to send when nothing else is to be said.
const HEARTBEAT: Duration = Duration::from_secs(1);

/// The service that agents call.
#[derive(Clone)]
pub struct Sessions {
    /// Committed state.
    pub replica: Replica,
    /// What is heard.
    pub fleet: Fleet,
    /// Grants.
    pub leases: Leases,
    /// Judges what is observed.
    pub watch: Watch,
    /// How often each app's checks run right now.
    pub paces: Paces,
    /// What is measured.
    pub metrics: Metrics,
    /// Time.
    pub clock: SharedClock,
    /// Everything that serves a session runs here, and is awaited at the end.
    pub tasks: TaskTracker,
    /// Ends all sessions.
    pub cancel: CancellationToken,
    /// Sessions as they open (`true`) and close, for the log.
    pub comings: Arc<Repeats<(HostName, bool)>>,
    /// Counts what is refused.
    pub refusals: Refusals,
}

#[tonic::async_trait]
impl v1::agent_session_server::AgentSession for Sessions {
    type SessionStream = ReceiverStream<Result<v1::ToAgent, Status>>;
    type LeasesStream = ReceiverStream<Result<v1::LeaseReply, Status>>;

    async fn session(
        &self,
        request: Request<Streaming<v1::FromAgent>>,
    ) -> Result<Response<Self::SessionStream>, Status> {
        let caller = authorise::agent(&request)?;
        self.admit(&caller)?;
        let (tx, rx) = mpsc::channel(OUTGOING_MAX);
        let this = self.clone();
        let stream = request.into_inner();
        let cancel = self.cancel.child_token();
        self.tasks.spawn(async move {
            let to = ToOne { tx, cancel: cancel.clone() };
            if let Err(status) = this.serve(&caller, stream, &to, cancel).await {
                this.count(&caller, &status);
                // The agent may be gone already, or not read; then nobody is left to tell.
                drop(to.tx.try_send(Err(status)));
            }
        });
        Ok(Response::new(ReceiverStream::new(rx)))
    }

    async fn leases(
        &self,
        request: Request<Streaming<v1::LeaseRequest>>,
    ) -> Result<Response<Self::LeasesStream>, Status> {
        let caller = authorise::agent(&request)?;
        self.admit(&caller)?;
        let stream = request.into_inner();
        Ok(Response::new(self.leases.serve(caller, stream, &self.tasks, self.cancel.child_token())))
    }
}

/// What an agent may have to be told anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum News {
    None,
    Paces,
    /// Everything that it should know, and the paces of the apps in it.
    Desired,
}

/// Where one agent's messages go.
struct ToOne {
    tx: mpsc::Sender<Result<v1::ToAgent, Status>>,
    cancel: CancellationToken,
}

impl ToOne {
    /// An agent that does not read is not there: its session ends, whatever else still comes from it.
    async fn send(&self, body: v1::to_agent::Body) -> Result<(), Status> {
        let gone = || Status::cancelled("the agent does not read");
        tokio::select! {
            biased;
            () = self.cancel.cancelled() => Err(Status::aborted("this session is closed")),
            sent = timeout(READ_WITHIN, self.tx.send(Ok(v1::ToAgent { body: Some(body) }))) => {
                sent.map_err(|_| gone())?.map_err(|_| gone())
            }
        }
    }
}

impl Sessions {
    /// A session that ended because of what its agent said, and not because one of the two went away.
    fn count(&self, caller: &AgentCaller, status: &Status) {
        match status.code() {
            // Beyond the longest message, or not to be decoded.
            Code::OutOfRange | Code::ResourceExhausted | Code::InvalidArgument => {
                self.refusals.note(RefusedKind::Message, &caller.host, status.message());
            }
            Code::Internal if !self.cancel.is_cancelled() => {
                self.refusals.note(RefusedKind::Message, &caller.host, status.message());
            }
            Code::PermissionDenied => self.refusals.note(RefusedKind::Call, &caller.host, status.message()),
            Code::Ok
            | Code::Cancelled
            | Code::Unknown
            | Code::DeadlineExceeded
            | Code::NotFound
            | Code::AlreadyExists
            | Code::FailedPrecondition
            | Code::Aborted
            | Code::Unimplemented
            | Code::Internal
            | Code::Unavailable
            | Code::DataLoss
            | Code::Unauthenticated => {}
        }
    }

    /// A certificate is not enough: its host must be enrolled in that region, and not quarantined.
    fn admit(&self, caller: &AgentCaller) -> Result<(), Status> {
        let known = self.replica.read(|s| s.hosts().get(&caller.host).cloned());
        let refuse = |reason, what: String| Err(to_status(reason, what, vec![], vec!["holdfast hosts".to_owned()]));
        match known {
            None => refuse(Reason::UnknownHost, format!("no host {} is enrolled", caller.host)),
            Some(host) if host.region != caller.region.as_str() => refuse(
                Reason::NotPermitted,
                format!("{} is enrolled in {}, its certificate says {}", caller.host, host.region, caller.region),
            ),
            Some(host) if !host.quarantine.is_empty() => Err(self.quarantined(caller, &host.quarantine)),
            Some(_) => Ok(()),
        }
    }

    /// The one thing that a quarantined host is told: which of its apps are active elsewhere. A disk that was restored
    /// may hold a lease without end.
    pub(crate) fn quarantined(&self, caller: &AgentCaller, why: &str) -> Status {
        let moved = self.replica.read(|s| {
            let apps = s.apps().iter().filter(|(_, app)| {
                *app.active() != caller.region && app.holders(&caller.region).contains(&caller.host)
            });
            apps.map(|(name, app)| v1::Moved { app: name.to_string(), generation: app.record.generation }).collect()
        });
        let what = format!("host {} is quarantined: {why}", caller.host);
        let refusal = refusal(Reason::Quarantined, what, vec![], vec!["holdfast hosts".to_owned()]);
        status(Reason::Quarantined, v1::Refusal { moved, ..refusal })
    }

    async fn serve(
        &self,
        caller: &AgentCaller,
        mut from: Streaming<v1::FromAgent>,
        to: &ToOne,
        cancel: CancellationToken,
    ) -> Result<(), Status> {
        let hello = match timeout(HELLO_WITHIN, from.message()).await {
            Ok(Ok(Some(v1::FromAgent { body: Some(v1::from_agent::Body::Hello(hello)) }))) => hello,
            Ok(Ok(_)) => return Err(bad("a session begins with Hello")),
            Ok(Err(status)) => return Err(status),
            Err(_) => return Err(bad("no Hello came in time")),
        };
        check::hello(&hello).map_err(|why| bad(&why))?;
        if hello.protocol_max < PROTOCOL_MIN || hello.protocol_min > PROTOCOL {
            return Err(bad(&format!(
                "agent {} speaks protocols {} to {}, this coordinator {PROTOCOL_MIN} to {PROTOCOL}; upgrade the older one",
                hello.version, hello.protocol_min, hello.protocol_max
            )));
        }
        self.check_clone(caller, &hello).await?;
        self.metrics.own.sessions_opened.inc();
        let now = (self.clock.boot(), self.clock.wall());
        let (number, mut outgoing) =
            self.fleet.enter(&caller.host, &caller.region, &hello, &caller.address, now, cancel.clone());
        // A line that flaps takes two lines a minute here, not two each time.
        if let Some(Told { times }) = self.comings.told((caller.host.clone(), true), self.clock.boot()) {
            tracing::info!(host = %caller.host, region = %caller.region, version = %hello.version, times, "session opened");
        }
        let welcome = v1::Welcome {
            protocol: PROTOCOL.min(hello.protocol_max),
            heartbeat: HEARTBEAT.try_into().ok(),
            leads: self.replica.leads(),
        };
        let ended = self.run(caller, &mut from, to, &mut outgoing, welcome, &cancel).await;
        self.fleet.leave(&caller.host, number, self.clock.wall());
        if let Some(Told { times }) = self.comings.told((caller.host.clone(), false), self.clock.boot()) {
            tracing::info!(host = %caller.host, region = %caller.region, times, "session closed");
        }
        ended
    }

    /// A counter that goes back means a restored disk; a second live run of the agent under one name means a clone.
    async fn check_clone(&self, caller: &AgentCaller, hello: &v1::Hello) -> Result<(), Status> {
        let host = caller.host.to_string();
        let why = match self.fleet.live(&caller.host) {
            Some(live) if live.instance != hello.instance => {
                let known = self.replica.read(|s| s.hosts().get(&caller.host).map_or(0, |h| h.starts));
                // A later start under the same name is a restart: the old session just has not noticed yet.
                (hello.starts <= known)
                    .then(|| format!("two agents use its name at once, from {} and {}", live.address, caller.address))
            }
            Some(_) | None => None,
        };
        if let Some(why) = why {
            let change = Quarantine { host: host.clone(), why: why.clone() };
            self.replica.propose(COORDINATOR, Kind::Quarantine(change)).await.map_err(|e| e.status())?;
            tracing::error!(host = %host, why, "host is quarantined");
            self.fleet.close(&caller.host);
            return Err(self.quarantined(caller, &why));
        }
        // A session that was only lost says nothing new.
        if self.replica.read(|s| s.hosts().get(&caller.host).is_some_and(|h| h.starts == hello.starts)) {
            return Ok(());
        }
        let noted = NoteStarts { host: host.clone(), starts: hello.starts };
        match self.replica.propose(COORDINATOR, Kind::NoteStarts(noted)).await {
            Ok(_) => Ok(()),
            Err(ProposeError::Refused(refused)) if refused.reason == Reason::Quarantined => {
                let change = Quarantine { host: host.clone(), why: refused.what.clone() };
                self.replica.propose(COORDINATOR, Kind::Quarantine(change)).await.map_err(|e| e.status())?;
                tracing::error!(host = %host, why = %refused.what, "host is quarantined");
                Err(self.quarantined(caller, &refused.what))
            }
            Err(e) => Err(e.status()),
        }
    }

    async fn run(
        &self,
        caller: &AgentCaller,
        from: &mut Streaming<v1::FromAgent>,
        to: &ToOne,
        outgoing: &mut mpsc::Receiver<v1::ToAgent>,
        welcome: v1::Welcome,
        cancel: &CancellationToken,
    ) -> Result<(), Status> {
        to.send(v1::to_agent::Body::Welcome(welcome)).await?;
        let mut applied = self.replica.applied();
        let mut wanted = self.fleet.ends_wanted();
        let mut paces = self.paces.changed();
        let mut sent_desired: Option<v1::Desired> = None;
        let mut sent_paces: Vec<v1::Pace> = Vec::new();
        let mut news = News::Desired;
        loop {
            // Not after every message: with thousands of sessions, that would be all that a coordinator does.
            if news == News::Desired {
                let now_desired = self.replica.read(|s| desired(s, &self.fleet, &caller.host, &caller.region));
                // What changed of other hosts' apps is no news here.
                if sent_desired.as_ref().map(|sent| &sent.apps) != Some(&now_desired.apps) {
                    to.send(v1::to_agent::Body::Desired(now_desired.clone())).await?;
                    sent_desired = Some(now_desired);
                }
            }
            if news != News::None {
                let now_paces = self.paces.of(sent_desired.iter().flat_map(|d| &d.apps).map(|a| a.app.as_str()));
                for pace in now_paces.iter().filter(|p| !sent_paces.contains(p)) {
                    to.send(v1::to_agent::Body::Pace(pace.clone())).await?;
                }
                sent_paces = now_paces;
            }
            // `message()` keeps a half-read message in the stream; the watches and the channel lose nothing either.
            news = tokio::select! {
                biased;
                () = cancel.cancelled() => return Err(Status::aborted("this session is closed")),
                _ = applied.changed() => News::Desired,
                _ = wanted.changed() => News::Desired,
                _ = paces.changed() => News::Paces,
                message = outgoing.recv() => {
                    match message {
                        Some(v1::ToAgent { body: Some(body) }) => to.send(body).await?,
                        Some(v1::ToAgent { body: None }) => {}
                        None => return Ok(()),
                    }
                    News::None
                }
                message = from.message() => {
                    match message? {
                        Some(v1::FromAgent { body: Some(body) }) => self.take(caller, body, to).await?,
                        Some(v1::FromAgent { body: None }) => return Err(bad("a message without a body")),
                        None => return Ok(()),
                    }
                    News::None
                }
            };
        }
    }

    async fn take(&self, caller: &AgentCaller, body: v1::from_agent::Body, to: &ToOne) -> Result<(), Status> {
        let now = self.clock.boot();
        self.fleet.note_heard(&caller.host, now);
        match body {
            v1::from_agent::Body::Hello(_) => return Err(bad("a second Hello")),
            v1::from_agent::Body::Heartbeat(beat) => {
                check::heartbeat(&beat).map_err(|why| bad(&why))?;
                let views = beat.leases.into_iter().filter(|view| self.takes(caller, view)).collect();
                self.fleet.note_leases(&caller.host, views, now);
            }
            v1::from_agent::Body::Observation(observation) => self.observe(caller, observation),
            v1::from_agent::Body::Progress(progress) => {
                tracing::debug!(host = %caller.host, text = %one_line(&progress.text), "progress");
            }
            v1::from_agent::Body::Look(mut reply) => {
                check::look(&mut reply).map_err(|why| bad(&why))?;
                self.fleet.looked(&caller.host, reply);
            }
            v1::from_agent::Body::Proxies(mut report) => {
                check::proxies(&mut report).map_err(|why| bad(&why))?;
                report.proxies.retain(|proxy| self.is_own(caller, &proxy.app, "a proxy").is_some());
                self.fleet.note_proxies(&caller.host, report.proxies);
            }
            v1::from_agent::Body::Facts(mut facts) => {
                check::facts(&mut facts).map_err(|why| bad(&why))?;
                self.fleet.note_facts(&caller.host, facts);
            }
            v1::from_agent::Body::Metrics(told) => {
                let now = (now, self.clock.wall());
                if let Err(why) = self.metrics.take(&caller.host, &caller.region, told, now) {
                    self.refusals.note(RefusedKind::Message, &caller.host, format_args!("figures: {why}"));
                }
            }
            v1::from_agent::Body::Findings(mut findings) => {
                check::findings(&mut findings).map_err(|why| bad(&why))?;
                findings.writers.retain(|writer| self.is_own(caller, &writer.app, "a finding").is_some());
                self.fleet.note_findings(&caller.host, findings, self.clock.wall());
            }
            v1::from_agent::Body::Outbox(item) => {
                let (number, result) = check::outbox(item).map_err(|why| bad(&why))?;
                self.commit(caller, result).await?;
                to.send(v1::to_agent::Body::Ack(v1::OutboxAck { number })).await?;
            }
        }
        Ok(())
    }

    /// The app of that name, when its spec names this bearer's host; what is said of any other is counted.
    fn is_own(&self, caller: &AgentCaller, app: &str, what: &str) -> Option<AppName> {
        let name = match AppName::new(app) {
            Ok(name) => name,
            Err(e) => {
                self.refusals.note(RefusedKind::Message, &caller.host, format_args!("{what} of an app: {e}"));
                return None;
            }
        };
        if self.replica.read(|s| s.app(&name).is_some_and(|a| a.spec.names(&caller.host))) {
            return Some(name);
        }
        self.refusals.note(RefusedKind::Foreign, &caller.host, format_args!("{what} of {name}, which it does not run"));
        None
    }

    fn takes(&self, caller: &AgentCaller, view: &v1::LeaseView) -> bool {
        if let Err(why) = check::view(view) {
            self.refusals.note(RefusedKind::Message, &caller.host, why);
            return false;
        }
        self.is_own(caller, &view.app, "a lease").is_some()
    }

    /// Takes only what this bearer may speak about: apps whose spec names its host.
    fn observe(&self, caller: &AgentCaller, mut observation: v1::Observation) {
        let Some(app) = self.is_own(caller, &observation.app, "an observation") else { return };
        match check::observation(&mut observation) {
            Ok(()) => {
                self.metrics.observed(&app, &caller.host, &observation, self.clock.boot());
                self.watch.observe(&app, &caller.host, &caller.region, &observation);
            }
            Err(why) => self.refusals.note(RefusedKind::Message, &caller.host, why),
        }
    }

    /// The agent keeps the result until this has committed it.
    async fn commit(&self, caller: &AgentCaller, result: v1::CommandResult) -> Result<(), Status> {
        let (id, record) = record(&caller.host, result)?;
        // Of what no operation waits for, nothing is written: the log is not an agent's to fill.
        if !self.replica.read(|s| s.awaits(OperationId(id.operation), id.step, &record)) {
            tracing::debug!(host = %caller.host, operation = id.operation, "a result that nothing waits for");
            return Ok(());
        }
        let change = CommandEnded { operation: id.operation, step: id.step, result: Some(record) };
        self.replica.propose(caller.host.as_str(), Kind::CommandEnded(change)).await.map_err(|e| e.status())?;
        Ok(())
    }
}

/// A result as it is committed, and the command that it is of.
pub(crate) fn record(host: &HostName, result: v1::CommandResult) -> Result<(v1::CommandId, CommandResult), Status> {
    let Some(id) = result.id else { return Err(bad("a result without its command")) };
    let outcome = match result.outcome() {
        v1::CommandOutcome::Done => CommandOutcome::Done,
        v1::CommandOutcome::Failed => CommandOutcome::Failed,
        v1::CommandOutcome::Refused => CommandOutcome::Refused,
        v1::CommandOutcome::Unknown => CommandOutcome::Unknown,
        v1::CommandOutcome::Unspecified => return Err(bad("a result without an outcome")),
    };
    let record = CommandResult {
        part: id.part,
        attempt: id.attempt,
        host: host.to_string(),
        outcome: outcome.into(),
        text: one_line(&result.text),
        position: result.database.map(|d| Position { timeline: d.timeline, lsn: d.lsn }),
    };
    Ok((id, record))
}

fn bad(what: &str) -> Status {
    to_status(Reason::BadRequest, what, vec![], vec![])
}

#[cfg(test)]
mod tests {
    use tonic::Code;

    use super::*;

    fn beat() -> v1::to_agent::Body {
        v1::to_agent::Body::Ack(v1::OutboxAck { number: 1 })
    }

    #[tokio::test(start_paused = true)]
    async fn an_agent_that_does_not_read_loses_its_session_and_a_closed_one_waits_for_nobody() {
        let (tx, mut reads) = mpsc::channel(1);
        let to = ToOne { tx, cancel: CancellationToken::new() };
        to.send(beat()).await.expect("there is room for one");
        let within = |limit| timeout(limit, to.send(beat()));
        within(READ_WITHIN - Duration::from_millis(1)).await.expect_err("it waits a while");
        let gone = within(READ_WITHIN + Duration::from_millis(1)).await.expect("and no longer");
        assert_eq!(gone.expect_err("it does not read").code(), Code::Cancelled);
        reads.recv().await.expect("the first").expect("a message");
        to.send(beat()).await.expect("it reads again");
        to.cancel.cancel();
        let closed = timeout(Duration::ZERO, to.send(beat())).await.expect("at once");
        assert_eq!(closed.expect_err("closed").code(), Code::Aborted);
    }
}
