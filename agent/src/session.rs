//! The session with one coordinator: everything but leases, both ways.
//!
//! A session is kept with every coordinator, so that the follower's picture is warm. Nothing here decides: what comes
//! down goes to its owner, what goes up is taken from watches, the outbox and the stream of observations. A peer that
//! takes nothing for [`SEND_WITHIN`] is as good as gone.

use std::{
    collections::BTreeSet,
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use holdfast_proto::{PROTOCOL, PROTOCOL_MIN, v1, v1::agent_session_client::AgentSessionClient};
use holdfast_shared::{
    clock::SharedClock,
    error::Chain,
    refusal,
    repeats::{Repeats, Told},
    tls::describe_connect_error,
};
use holdfast_types::{AppName, Generation, refusal::Reason, spec, time::span};
use tokio::{
    sync::{broadcast, mpsc, watch},
    task::JoinSet,
    time::{interval, timeout},
};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{Status, Streaming};

use crate::{
    allowed::Allowed,
    apps::{Desk, Known, Me},
    backoff::Backoff,
    commands,
    connect::Connect,
    executors::Executors,
    findings::Found,
    leases::{Handle as LeaseHandle, Views},
    metrics,
    proxies::Report,
    scheduler,
    store::Store,
    wire::{self, Observed},
};

/// Messages that may wait to be sent. Small, so that what is sent is fresh; results and observations wait elsewhere.
const OUTGOING_MAX: usize = 64;
/// Room that figures leave for everything else: they are dropped first.
const METRICS_LEAVE: usize = OUTGOING_MAX / 2;
/// A peer that does not take one message in this time is given up.
const SEND_WITHIN: Duration = Duration::from_secs(5);
/// A coordinator welcomes at once.
const WELCOME_WITHIN: Duration = Duration::from_secs(5);
/// Longest pause between two attempts.
const PAUSE_MAX: Duration = Duration::from_secs(10);
/// Until the coordinator has said how often.
const HEARTBEAT_DEFAULT: Duration = Duration::from_secs(10);
/// Shortest heartbeat that is taken from a coordinator.
const HEARTBEAT_MIN: Duration = Duration::from_millis(50);
/// A result that is not acknowledged is told again after this: the leader may have changed meanwhile.
const RESEND: Duration = Duration::from_secs(3);
/// What was found is told again after this, with the time that the host has.
const FINDINGS_AGAIN: Duration = Duration::from_secs(15);
/// Largest message, both ways.
const MESSAGE_BYTES_MAX: usize = 4 << 20;
/// Longest look for one request.
const LOOK_WITHIN: Duration = Duration::from_secs(5);

/// What every session needs.
#[derive(Clone)]
pub struct Shared {
    /// Who we are.
    pub me: Me,
    /// Time.
    pub clock: SharedClock,
    /// The outbox.
    pub store: Store,
    /// How to get to a coordinator.
    pub connect: Arc<dyn Connect>,
    /// First message of every session.
    pub hello: v1::Hello,
    /// Takes what should be.
    pub desk: Desk,
    /// Takes commands.
    pub commands: commands::Handle,
    /// Takes paces.
    pub scheduler: scheduler::Handle,
    /// Looks.
    pub executors: Arc<dyn Executors>,
    /// What may be touched here.
    pub allowed: Arc<Allowed>,
    /// What ails this host.
    pub troubles: watch::Receiver<Vec<String>>,
    /// What is believed of leases.
    pub leases: LeaseHandle,
    /// What the proxies do.
    pub proxies: watch::Receiver<Report>,
    /// What is seen.
    pub seen: broadcast::Sender<Arc<Observed>>,
    /// How writers are set up.
    pub findings: watch::Receiver<Found>,
    /// What commands say.
    pub progress: broadcast::Sender<v1::CommandProgress>,
    /// A coordinator has said that this host is quarantined.
    pub quarantined: Arc<AtomicBool>,
    /// Observations that were dropped because a session did not keep up.
    pub dropped: Arc<AtomicU64>,
    /// The latest look at this host.
    pub latest: Arc<metrics::Latest>,
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").field("me", &self.me).finish_non_exhaustive()
    }
}

/// How a session is, for people.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Standing {
    /// It is up.
    pub up: bool,
    /// The coordinator led when it welcomed us.
    pub leads: bool,
    /// Why it is not up.
    pub problem: String,
}

/// One coordinator's session.
pub struct Session {
    shared: Shared,
    address: String,
    standing: watch::Sender<Standing>,
    backoff: Backoff,
    /// Why there was no session, or an empty text for one that is up.
    told: Repeats<String>,
    /// Looks that were not sent since the agent started.
    figures: Figures,
}

impl Session {
    /// The session and a view of it.
    #[must_use]
    pub fn new(shared: Shared, address: String, seed: u64) -> (Self, watch::Receiver<Standing>) {
        let (standing, view) = watch::channel(Standing::default());
        let backoff = Backoff::new(seed, PAUSE_MAX);
        (Self { shared, address, standing, backoff, told: Repeats::default(), figures: Figures::default() }, view)
    }

    /// Keeps the session up until cancelled.
    pub async fn run(mut self, cancel: CancellationToken) {
        let cancelled = cancel.clone();
        // Dropping a session is like losing it: results wait in the outbox, and what was told is told again.
        tokio::select! {
            biased;
            () = cancelled.cancelled() => {}
            () = self.keep_up() => {}
        }
    }

    async fn keep_up(&mut self) {
        loop {
            let ended = self.once().await;
            let why = match ended {
                Ok(()) => "the coordinator ended it".to_owned(),
                Err(status) => self.heed(&status).await,
            };
            let was_up = self.standing.borrow().up;
            let news = self.standing.borrow().problem != why;
            if (was_up || news)
                && let Some(Told { times }) = self.told.told(why.clone(), self.shared.clock.boot())
            {
                tracing::warn!(coordinator = self.address, why, times, "no session");
            }
            self.standing.send_replace(Standing { up: false, leads: false, problem: why });
            self.backoff.pause().await;
        }
    }

    /// Says why there is no session, and does what it means for this host.
    async fn heed(&self, status: &Status) -> String {
        let Some(refused) = refusal::from_status(status) else { return describe_connect_error(status) };
        if Reason::from_number(refused.reason) == Some(Reason::Quarantined) {
            self.shared.quarantined.store(true, Ordering::Relaxed);
            // What was restored or copied with its disk may believe that it writes alone.
            for moved in refused.moved {
                if let Ok(app) = AppName::new(moved.app) {
                    self.shared.leases.moved(&app, Generation(moved.generation)).await;
                }
            }
        }
        refused.what
    }

    async fn once(&mut self) -> Result<(), Status> {
        let (to, stream) = mpsc::channel(OUTGOING_MAX);
        // Taken before the session begins: nothing seen meanwhile is missed.
        let seen = self.shared.seen.subscribe();
        let progress = self.shared.progress.subscribe();
        let hello = v1::from_agent::Body::Hello(self.shared.hello.clone());
        let up = Up { to };
        up.send(hello).await?;
        let mut client = AgentSessionClient::new(self.shared.connect.channel(&self.address))
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
            .max_encoding_message_size(MESSAGE_BYTES_MAX);
        let late = |_| Status::deadline_exceeded(format!("no welcome within {}", span(WELCOME_WITHIN)));
        let opened = timeout(WELCOME_WITHIN, client.session(ReceiverStream::new(stream))).await.map_err(late)?;
        let mut from = opened?.into_inner();
        let first = timeout(WELCOME_WITHIN, from.message()).await.map_err(late)??;
        let Some(v1::ToAgent { body: Some(v1::to_agent::Body::Welcome(welcome)) }) = first else {
            return Err(Status::failed_precondition("the coordinator did not begin with a welcome"));
        };
        if !(PROTOCOL_MIN..=PROTOCOL).contains(&welcome.protocol) {
            let (found, min, max) = (welcome.protocol, PROTOCOL_MIN, PROTOCOL);
            return Err(Status::failed_precondition(format!(
                "the coordinator speaks protocol {found}, this agent {min} to {max}; upgrade the older one"
            )));
        }
        self.shared.quarantined.store(false, Ordering::Relaxed);
        if let Some(Told { times }) = self.told.told(String::new(), self.shared.clock.boot()) {
            tracing::info!(coordinator = self.address, leads = welcome.leads, times, "session is up");
        }
        self.standing.send_replace(Standing { up: true, leads: welcome.leads, problem: String::new() });
        self.backoff.worked();
        self.figures.begin();
        let figures = &mut self.figures;
        Talk { shared: &self.shared, up, sent: BTreeSet::new(), beats: 0, facts: None, figures }
            .run(&mut from, &welcome, seen, progress)
            .await
    }
}

struct Up {
    to: mpsc::Sender<v1::FromAgent>,
}

impl Up {
    async fn send(&self, body: v1::from_agent::Body) -> Result<(), Status> {
        let sent = timeout(SEND_WITHIN, self.to.send(v1::FromAgent { body: Some(body) })).await;
        match sent {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(Status::unavailable("the connection is gone")),
            Err(_) => Err(Status::unavailable(format!("the coordinator took nothing for {}", span(SEND_WITHIN)))),
        }
    }
}

/// What becomes of the looks at this host in one session after the other.
#[derive(Debug, Default)]
struct Figures {
    /// The latest that was sent or dropped in this session.
    number: Option<u64>,
    dropped: u64,
}

impl Figures {
    /// What was seen while there was no session was dropped by nobody.
    const fn begin(&mut self) {
        self.number = None;
    }

    /// Sends the latest look if there is room to spare. What is not sent, and what a newer one has replaced before this
    /// session came to it, is counted.
    fn offer(&mut self, up: &Up, look: &metrics::Look, clock: &SharedClock) {
        let number = look.seen.number;
        let missed = self.number.map_or(0, |before| number.saturating_sub(before + 1));
        self.number = Some(number);
        self.dropped += missed;
        if up.to.capacity() <= METRICS_LEAVE {
            self.dropped += 1;
            return;
        }
        let seen = v1::HostMetrics {
            age: wire::to_duration(clock.boot().since(look.taken)),
            sent_at: Some(wire::to_timestamp(clock.wall())),
            dropped: self.dropped,
            ..look.seen.clone()
        };
        // Nobody else sends in between: there is room, or the connection is gone, which whoever must send finds out.
        drop(up.to.try_send(v1::FromAgent { body: Some(v1::from_agent::Body::Metrics(seen)) }));
    }
}

/// A session that is up.
struct Talk<'a> {
    shared: &'a Shared,
    up: Up,
    /// Outbox numbers that this session has told since the last time everything was told again.
    sent: BTreeSet<u64>,
    beats: u64,
    /// What this session was told last of what the host allows.
    facts: Option<v1::HostFacts>,
    figures: &'a mut Figures,
}

impl Talk<'_> {
    async fn run(
        mut self,
        from: &mut Streaming<v1::ToAgent>,
        welcome: &v1::Welcome,
        mut seen: broadcast::Receiver<Arc<Observed>>,
        mut progress: broadcast::Receiver<v1::CommandProgress>,
    ) -> Result<(), Status> {
        let every = welcome.heartbeat.as_ref().and_then(|every| wire::duration(every).ok());
        let mut beat = interval(every.unwrap_or(HEARTBEAT_DEFAULT).max(HEARTBEAT_MIN));
        let mut resend = interval(RESEND);
        let mut outbox = self.shared.store.outbox_changes();
        let mut proxies = self.shared.proxies.clone();
        let mut views = self.shared.leases.views();
        let mut findings = self.shared.findings.clone();
        // Also what this host's clock says, so it is told again now and then.
        let mut told_again = interval(FINDINGS_AGAIN);
        let (mut apps, mut troubles) = (self.shared.desk.watch(), self.shared.troubles.clone());
        self.tell_facts(&apps, &troubles).await?;
        let mut looks: JoinSet<v1::LookReply> = JoinSet::new();
        let mut figures = self.shared.latest.subscribe();
        // One that was taken a moment ago is as good as the next.
        figures.mark_changed();
        loop {
            // Nothing is lost by the branches that lose: `message()` keeps a half-read message in the stream, the
            // watches remember, the channels keep.
            tokio::select! {
                biased;
                message = from.message() => match message? {
                    Some(v1::ToAgent { body: Some(body) }) => self.take(body, &mut looks).await?,
                    Some(v1::ToAgent { body: None }) => tracing::debug!("a message that this version does not know"),
                    None => return Ok(()),
                },
                _ = beat.tick() => self.heartbeat(&views, &proxies).await?,
                changed = views.changed() => {
                    if changed.is_ok() {
                        // A lease that began or ended is worth a heartbeat of its own.
                        self.heartbeat(&views, &proxies).await?;
                    }
                }
                changed = apps.changed() => {
                    if changed.is_ok() {
                        self.tell_facts(&apps, &troubles).await?;
                    }
                }
                Ok(()) = troubles.changed() => self.tell_facts(&apps, &troubles).await?,
                changed = proxies.changed() => {
                    if changed.is_ok() {
                        self.report_proxies(&proxies).await?;
                    }
                }
                changed = findings.changed() => {
                    if changed.is_ok() {
                        self.tell_findings(&findings).await?;
                    }
                }
                _ = told_again.tick() => self.tell_findings(&findings).await?,
                _ = resend.tick() => {
                    self.sent.clear();
                    self.empty_outbox().await?;
                }
                changed = outbox.changed() => {
                    if changed.is_ok() {
                        self.empty_outbox().await?;
                    }
                }
                Some(reply) = looks.join_next() => match reply {
                    Ok(reply) => self.up.send(v1::from_agent::Body::Look(reply)).await?,
                    Err(e) => tracing::error!(error = %e, "a look panicked"),
                },
                said = progress.recv() => {
                    if let Ok(said) = said {
                        self.up.send(v1::from_agent::Body::Progress(said)).await?;
                    }
                }
                observed = seen.recv() => match observed {
                    Ok(observed) => {
                        let observation = wire::to_observation(&observed, self.shared.clock.boot());
                        self.up.send(v1::from_agent::Body::Observation(observation)).await?;
                    }
                    Err(broadcast::error::RecvError::Lagged(count)) => {
                        let total = self.shared.dropped.fetch_add(count, Ordering::Relaxed) + count;
                        tracing::warn!(count, total, "observations were dropped: this session does not keep up");
                    }
                    Err(broadcast::error::RecvError::Closed) => return Ok(()),
                },
                changed = figures.changed() => {
                    // Its other end lies beside the outbox, for as long as there are sessions.
                    let look = figures.borrow_and_update().clone();
                    if changed.is_ok() && let Some(look) = look {
                        self.figures.offer(&self.up, &look, &self.shared.clock);
                    }
                }
            }
        }
    }

    async fn take(&mut self, body: v1::to_agent::Body, looks: &mut JoinSet<v1::LookReply>) -> Result<(), Status> {
        match body {
            v1::to_agent::Body::Welcome(_) => {}
            v1::to_agent::Body::Desired(desired) => {
                if let Err(e) = self.shared.desk.desired(&desired).await {
                    // Without it on disk nothing may be done about it. A new session brings it again.
                    return Err(Status::internal(format!("cannot store what should be: {}", Chain(&e))));
                }
            }
            v1::to_agent::Body::Command(command) => self.shared.commands.take(command).await,
            v1::to_agent::Body::Ack(v1::OutboxAck { number }) => {
                self.sent.remove(&number);
                if let Err(e) = self.shared.store.acknowledged(number).await {
                    tracing::warn!(number, error = %Chain(&e), "cannot take a result out of the outbox");
                }
            }
            v1::to_agent::Body::Look(request) => {
                let (executors, allowed) = (Arc::clone(&self.shared.executors), Arc::clone(&self.shared.allowed));
                looks.spawn(look(executors, allowed, self.shared.me.clone(), request));
            }
            v1::to_agent::Body::Pace(pace) => self.shared.scheduler.pace(pace).await,
        }
        Ok(())
    }

    async fn heartbeat(
        &mut self,
        views: &watch::Receiver<Views>,
        proxies: &watch::Receiver<Report>,
    ) -> Result<(), Status> {
        self.beats += 1;
        let leases = {
            let views = views.borrow();
            views.iter().map(|(app, view)| lease_view(app.to_string(), view)).collect()
        };
        let beat = v1::Heartbeat { number: self.beats, leases };
        self.up.send(v1::from_agent::Body::Heartbeat(beat)).await?;
        self.report_proxies(proxies).await
    }

    async fn tell_facts(
        &mut self,
        apps: &watch::Receiver<Known>,
        troubles: &watch::Receiver<Vec<String>>,
    ) -> Result<(), Status> {
        let (apps, troubles) = (Arc::clone(&apps.borrow().apps), troubles.borrow().clone());
        let facts = self.shared.allowed.facts(&apps, &self.shared.me, &troubles);
        if self.facts.as_ref() == Some(&facts) {
            return Ok(());
        }
        self.facts = Some(facts.clone());
        self.up.send(v1::from_agent::Body::Facts(facts)).await
    }

    async fn tell_findings(&self, findings: &watch::Receiver<Found>) -> Result<(), Status> {
        let writers = findings.borrow().to_vec();
        let findings = v1::Findings { writers, at: Some(wire::to_timestamp(self.shared.clock.wall())) };
        self.up.send(v1::from_agent::Body::Findings(findings)).await
    }

    async fn report_proxies(&self, proxies: &watch::Receiver<Report>) -> Result<(), Status> {
        let report = Arc::clone(&proxies.borrow());
        if report.is_empty() {
            return Ok(());
        }
        self.up.send(v1::from_agent::Body::Proxies(v1::ProxyReport { proxies: report.to_vec() })).await
    }

    async fn empty_outbox(&mut self) -> Result<(), Status> {
        let items = match self.shared.store.outbox().await {
            Ok(items) => items,
            Err(e) => {
                tracing::error!(error = %Chain(&e), "cannot read the outbox");
                return Ok(());
            }
        };
        for item in items {
            if self.sent.insert(item.number) {
                self.up.send(v1::from_agent::Body::Outbox(item)).await?;
            }
        }
        Ok(())
    }
}

fn lease_view(app: String, view: &crate::leases::View) -> v1::LeaseView {
    use holdfast_agent_core::lease::State;
    let (state, left) = match view.state {
        State::None => (v1::LeaseState::None, None),
        State::Ends(left) => (v1::LeaseState::Ended, wire::to_duration(left)),
        State::Sole => (v1::LeaseState::Sole, None),
        State::Fencing => (v1::LeaseState::Fencing, None),
        State::Fenced => (v1::LeaseState::Fenced, None),
        State::Released => (v1::LeaseState::Released, None),
    };
    v1::LeaseView { app, generation: view.generation.0, state: state.into(), left, fenced: view.fenced.0 }
}

/// Looks at the writers of a spec on this host, without changing anything.
async fn look(executors: Arc<dyn Executors>, allowed: Arc<Allowed>, me: Me, request: v1::LookRequest) -> v1::LookReply {
    let mut reply = v1::LookReply { number: request.number, ..v1::LookReply::default() };
    let spec = match spec::parse(&format!("{}.yaml", request.app), &request.spec_yaml) {
        Ok(spec) => spec.placed_in(&me.region),
        Err(e) => {
            reply.problems.extend(e.lines());
            return reply;
        }
    };
    match spec.hosts().get(&me.host) {
        Some(region) if *region == me.region => {}
        Some(region) => {
            reply.problems.push(format!("the spec puts {} into {region}, its certificate says {}", me.host, me.region))
        }
        None => reply.problems.push(format!("the spec does not name {}", me.host)),
    }
    reply.undeclared = allowed.undeclared(&spec, &me.host);
    for writer in holdfast_agent_core::duties::writers_on(&spec, &me.host) {
        if let Err(e) = allowed.may_run(writer) {
            reply.writers.push(v1::WriterFinding { writer: writer.name.to_string(), database: None, text: e.0 });
            continue;
        }
        match executors.look(writer, LOOK_WITHIN).await {
            Ok(seen) => reply.writers.push(v1::WriterFinding {
                writer: writer.name.to_string(),
                database: Some(wire::to_evidence(&seen)),
                text: seen.text,
            }),
            Err(e) => {
                reply.problems.push(format!("{} on {}: {e}", writer.name, me.host));
                reply.writers.push(v1::WriterFinding { writer: writer.name.to_string(), database: None, text: e.0 });
            }
        }
    }
    for proxy in &spec.proxies {
        let here = spec.roles_of(&me.host).contains(&proxy.on);
        for backend in proxy.backends.keys().filter(|_| here) {
            match executors.servers(&proxy.socket, backend, LOOK_WITHIN).await {
                Ok(servers) => {
                    for region in spec.regions.iter().filter(|region| !servers.contains_key(region.name.as_str())) {
                        reply.problems.push(format!(
                            "backend {backend} on {} has no server {}; it needs one for each region, named as the region",
                            me.host, region.name
                        ));
                    }
                }
                Err(e) => reply.problems.push(format!("{backend} on {}: {e}", me.host)),
            }
        }
    }
    reply
}

#[cfg(test)]
mod tests {
    use holdfast_shared::clock::SystemClock;

    use super::*;

    fn look(number: u64) -> metrics::Look {
        let seen = v1::HostMetrics { number, ..v1::HostMetrics::default() };
        metrics::Look { taken: holdfast_types::BootInstant::default(), seen }
    }

    fn result(number: u64) -> v1::from_agent::Body {
        v1::from_agent::Body::Outbox(v1::OutboxItem { number, result: None })
    }

    /// A coordinator that is slow: nothing is read while figures and results come.
    #[tokio::test]
    async fn a_session_that_is_slow_drops_figures_and_counts_them_and_never_a_result() {
        let clock: SharedClock = Arc::new(SystemClock::new().expect("a clock"));
        let (to, mut reads) = mpsc::channel(OUTGOING_MAX);
        let (up, mut figures) = (Up { to }, Figures::default());
        // Every one of both is offered; only figures ever find no room.
        for number in 1..=OUTGOING_MAX as u64 - METRICS_LEAVE as u64 {
            figures.offer(&up, &look(number), &clock);
        }
        assert_eq!(figures.dropped, 0);
        let sent = OUTGOING_MAX as u64 - METRICS_LEAVE as u64;
        for number in sent + 1..=sent + 100 {
            figures.offer(&up, &look(number), &clock);
        }
        assert_eq!(figures.dropped, 100);
        for number in 1..=METRICS_LEAVE as u64 {
            up.send(result(number)).await.expect("there is room for every result");
        }
        // It reads again: all results are there, and the next figures tell what was dropped, and what they missed.
        let (mut results, mut told) = (0, 0);
        while let Ok(message) = reads.try_recv() {
            match message.body {
                Some(v1::from_agent::Body::Outbox(_)) => results += 1,
                Some(v1::from_agent::Body::Metrics(_)) => told += 1,
                other => panic!("{other:?}"),
            }
        }
        assert_eq!((results, told), (METRICS_LEAVE as u64, sent));
        figures.offer(&up, &look(sent + 104), &clock);
        let message = reads.try_recv().expect("there is room");
        let Some(v1::from_agent::Body::Metrics(seen)) = message.body else { panic!("{message:?}") };
        assert_eq!((seen.number, seen.dropped), (sent + 104, 103));
    }

    #[test]
    fn what_was_seen_without_a_session_was_dropped_by_nobody() {
        let clock: SharedClock = Arc::new(SystemClock::new().expect("a clock"));
        let (to, _reads) = mpsc::channel(OUTGOING_MAX);
        let (up, mut figures) = (Up { to }, Figures::default());
        figures.offer(&up, &look(1), &clock);
        figures.begin();
        figures.offer(&up, &look(50), &clock);
        assert_eq!(figures.dropped, 0);
        figures.offer(&up, &look(52), &clock);
        assert_eq!(figures.dropped, 1);
    }
}
