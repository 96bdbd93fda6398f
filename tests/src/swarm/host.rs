//! One played host.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use anyhow::{Context, Result, bail};
use holdfast_agent_core::duties::{Duty, Probe, duties, writers_on};
use holdfast_proto::{
    PROTOCOL, PROTOCOL_MIN,
    v1::{
        self, agent_session_client::AgentSessionClient, enrol_client::EnrolClient, from_agent, lease_reply, to_agent,
    },
};
use holdfast_shared::{
    clock::SharedClock,
    net::{BoxedIo, Dial},
    pki::{KeyAndCsr, Material},
    tls::{HotTlsClient, channel, pinned_channel},
    token::JoinToken,
};
use holdfast_types::{BootInstant, HostName, RegionName, spec, spec::AppSpec};
use tokio::{
    sync::{Semaphore, mpsc},
    time::{MissedTickBehavior, interval, sleep, timeout},
};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::Streaming;

use super::{Counts, REGIONS, line::Lines};

/// A crowd joins at the pace of the coordinator's processor.
const JOINED_WITHIN: Duration = Duration::from_secs(120);
const WELCOMED_WITHIN: Duration = Duration::from_secs(60);
/// Before a lost session is tried again; an agent's own pause grows, this one is about its middle.
const AGAIN: Duration = Duration::from_secs(2);
/// What waits to be sent.
const OUTGOING_MAX: usize = 64;
/// As an app's lease is renewed without a preset.
const RENEW: Duration = Duration::from_secs(5);
/// How often it is looked whether something is to be observed.
const LOOK: Duration = Duration::from_millis(200);
const HEARTBEAT: Duration = Duration::from_secs(1);

/// Who it is, and where it belongs.
pub(super) struct Played {
    pub(super) name: HostName,
    pub(super) token: JoinToken,
    pub(super) address: String,
    pub(super) clock: SharedClock,
    pub(super) counts: Arc<Counts>,
    pub(super) door: Arc<Semaphore>,
    pub(super) gag: Arc<AtomicBool>,
    pub(super) dead: Arc<Mutex<Vec<BoxedIo>>>,
}

/// An app as this host knows it.
struct App {
    spec: AppSpec,
    desired: v1::DesiredApp,
    duties: Vec<Duty>,
    every: Duration,
    due: BootInstant,
}

impl Played {
    /// Joins, and holds a session until cancelled.
    pub(super) async fn run(self, cancel: CancellationToken) {
        // What is dropped here is a line that goes dead with everything else.
        let _cancelled = cancel.run_until_cancelled(self.live()).await;
    }

    async fn live(self) {
        let lines: Arc<dyn Dial> = Arc::new(Lines { gag: Arc::clone(&self.gag), dead: Arc::clone(&self.dead) });
        let material = loop {
            match self.join(&lines).await {
                Ok(material) => break material,
                Err(error) => tracing::warn!(host = %self.name, error = format!("{error:#}"), "not joined"),
            }
            sleep(AGAIN).await;
        };
        self.counts.enrolled.fetch_add(1, Ordering::Relaxed);
        let tls = match HotTlsClient::new(&material, self.clock.clone()) {
            Ok(tls) => tls,
            Err(error) => return tracing::error!(host = %self.name, %error, "its certificate does not work"),
        };
        loop {
            let mut up = false;
            let ended = self.session(&tls, &lines, &mut up).await;
            if up {
                self.counts.up.fetch_sub(1, Ordering::Relaxed);
            }
            if self.gag.load(Ordering::Relaxed) {
                return;
            }
            if up {
                self.counts.lost.fetch_add(1, Ordering::Relaxed);
            }
            if let Err(error) = ended {
                tracing::warn!(host = %self.name, error = format!("{error:#}"), "no session");
            }
            sleep(AGAIN).await;
        }
    }

    async fn join(&self, lines: &Arc<dyn Dial>) -> Result<Material> {
        let _turn = self.door.acquire().await?;
        let KeyAndCsr { key, csr } = KeyAndCsr::generate()?;
        let (token, host, version) = (self.token.to_string(), self.name.to_string(), "0.1.0".to_owned());
        let way = pinned_channel(Arc::clone(lines), &self.address, self.token.pin(), self.clock.clone())?;
        let request = v1::EnrolRequest { token, host, csr, version };
        let reply = timeout(JOINED_WITHIN, EnrolClient::new(way).enrol(request)).await??.into_inner();
        let v1::Credentials { chain, roots, crls } = reply.credentials.context("no certificate")?;
        Ok(Material::from_der(key, chain, roots, crls))
    }

    async fn session(&self, tls: &Arc<HotTlsClient>, lines: &Arc<dyn Dial>, up: &mut bool) -> Result<()> {
        let turn = self.door.acquire().await?;
        let (to, outgoing) = mpsc::channel(OUTGOING_MAX);
        let hello = v1::Hello {
            version: "0.1.0".to_owned(),
            protocol_min: PROTOCOL_MIN,
            protocol_max: PROTOCOL,
            boot_id: self.clock.boot_id().0,
            starts: 1,
            instance: self.name.to_string(),
        };
        send(&to, from_agent::Body::Hello(hello)).await?;
        let mut client = AgentSessionClient::new(channel(tls, Arc::clone(lines), &self.address));
        let opened = timeout(WELCOMED_WITHIN, client.session(ReceiverStream::new(outgoing))).await??;
        let mut from = opened.into_inner();
        let Some(to_agent::Body::Welcome(welcome)) =
            timeout(WELCOMED_WITHIN, from.message()).await??.and_then(|m| m.body)
        else {
            bail!("no welcome");
        };
        // A connection of their own, as an agent's leases have.
        let (ask, asked) = mpsc::channel(OUTGOING_MAX);
        let mut leases = AgentSessionClient::new(channel(tls, Arc::clone(lines), &self.address));
        let mut replies = timeout(WELCOMED_WITHIN, leases.leases(ReceiverStream::new(asked))).await??.into_inner();
        drop(turn);
        *up = true;
        self.counts.up.fetch_add(1, Ordering::Relaxed);
        let every = welcome.heartbeat.and_then(|every| every.try_into().ok()).unwrap_or(HEARTBEAT);
        self.talk(&to, &mut from, &ask, &mut replies, every).await
    }

    async fn talk(
        &self,
        to: &mpsc::Sender<v1::FromAgent>,
        from: &mut Streaming<v1::ToAgent>,
        ask: &mpsc::Sender<v1::LeaseRequest>,
        replies: &mut Streaming<v1::LeaseReply>,
        every: Duration,
    ) -> Result<()> {
        let mut apps: BTreeMap<String, App> = BTreeMap::new();
        let (mut beats, mut asked) = (0, 0);
        let ticks = |every: Duration| {
            let mut ticks = interval(every);
            // A crowd does not speak in step.
            ticks.reset_after(every.mul_f64(rand::random()));
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            ticks
        };
        let (mut beat, mut look, mut renew) = (ticks(every), ticks(LOOK), ticks(RENEW));
        loop {
            // Streams keep a half-read message, ticks what is due.
            tokio::select! {
                message = from.message() => match message?.and_then(|m| m.body) {
                    Some(body) => self.take(body, &mut apps, to).await?,
                    None => return Ok(()),
                },
                reply = replies.message() => match reply? {
                    Some(reply) => if let Some(lease_reply::Answer::Refused(why)) = reply.answer {
                        tracing::debug!(host = %self.name, app = reply.app, why = why.what, "no lease");
                    },
                    None => return Ok(()),
                },
                _ = beat.tick() => {
                    beats += 1;
                    let leases = apps.values().map(|app| self.view(app)).collect();
                    send(to, from_agent::Body::Heartbeat(v1::Heartbeat { number: beats, leases })).await?;
                }
                _ = look.tick() => {
                    let now = self.clock.boot();
                    for app in apps.values_mut().filter(|app| app.due <= now) {
                        // As an agent: never later than the round needs, which has a quarter of a second to spare.
                        app.due = now + app.every.mul_f64(0.9);
                        for duty in &app.duties {
                            send(to, from_agent::Body::Observation(self.observation(app_name(&app.spec), duty, &app.desired))).await?;
                        }
                    }
                }
                _ = renew.tick() => {
                    for app in apps.values().filter(|app| self.holds(app)) {
                        asked += 1;
                        let request = v1::LeaseRequest {
                            app: app_name(&app.spec),
                            number: asked,
                            generation: app.desired.generation,
                            fenced: 0,
                            counts_end: app.desired.lease_ends,
                            instance: self.name.to_string(),
                        };
                        ask.send(request).await.context("the lease stream is gone")?;
                    }
                }
            }
        }
    }

    async fn take(
        &self,
        body: to_agent::Body,
        apps: &mut BTreeMap<String, App>,
        to: &mpsc::Sender<v1::FromAgent>,
    ) -> Result<()> {
        match body {
            to_agent::Body::Welcome(_) | to_agent::Body::Ack(_) => {}
            // Nothing that a swarm is for begins an operation.
            to_agent::Body::Command(command) => bail!("a command for app {}", command.app),
            to_agent::Body::Desired(desired) => {
                apps.clear();
                for desired in desired.apps {
                    let spec = spec::parse("app.yaml", &desired.spec_yaml).map_err(|e| anyhow::anyhow!("{e}"))?;
                    let active: RegionName = desired.active_region.parse()?;
                    let duties = duties(&spec, &self.name, &active);
                    let every = spec.failover.as_ref().map_or(Duration::from_secs(30), |failover| failover.interval);
                    let due = self.clock.boot() + every.mul_f64(rand::random());
                    apps.insert(desired.app.clone(), App { spec, desired, duties, every, due });
                }
            }
            to_agent::Body::Pace(pace) => {
                if let (Some(app), Some(Ok(every))) = (apps.get_mut(&pace.app), pace.every.map(Duration::try_from)) {
                    app.every = every;
                    app.due = app.due.min(self.clock.boot() + every);
                }
            }
            to_agent::Body::Look(look) => {
                let spec = spec::parse("app.yaml", &look.spec_yaml).map_err(|e| anyhow::anyhow!("{e}"))?;
                let writers = writers_on(&spec, &self.name).map(|writer| v1::WriterFinding {
                    writer: writer.name.to_string(),
                    database: Some(self.evidence(REGIONS[0])),
                    text: "played".to_owned(),
                });
                let reply = v1::LookReply { number: look.number, writers: writers.collect(), ..<_>::default() };
                send(to, from_agent::Body::Look(reply)).await?;
            }
        }
        Ok(())
    }

    fn holds(&self, app: &App) -> bool {
        app.desired.active_region == self.token.region.as_str() && writers_on(&app.spec, &self.name).next().is_some()
    }

    fn view(&self, app: &App) -> v1::LeaseView {
        let state = match (self.holds(app), app.desired.lease_ends) {
            (false, _) => v1::LeaseState::None,
            (true, false) => v1::LeaseState::Sole,
            (true, true) => v1::LeaseState::Ended,
        };
        let left = (state == v1::LeaseState::Ended).then_some(prost_types::Duration { seconds: 15, nanos: 0 });
        let (app, generation) = (app_name(&app.spec), app.desired.generation);
        v1::LeaseView { app, generation, state: state.into(), left, fenced: 0 }
    }

    /// What a database on this host says, while this region takes the writes.
    fn evidence(&self, active: &str) -> v1::DatabaseEvidence {
        let primary = self.token.region.as_str() == active;
        v1::DatabaseEvidence {
            running: true,
            in_recovery: !primary,
            accepts_writes: primary,
            streaming: !primary,
            timeline: 1,
            lsn: 0x300_0148,
            replayed_lsn: 0x300_0148,
            system_identifier: 7,
            last_message_age: Some(prost_types::Duration { seconds: 0, nanos: 5_000_000 }),
            sender: String::new(),
        }
    }

    fn observation(&self, app: String, duty: &Duty, desired: &v1::DesiredApp) -> v1::Observation {
        let asks_database = matches!(duty.probe, Probe::Postgres { .. });
        v1::Observation {
            app,
            check: duty.check.clone(),
            region: duty.region.to_string(),
            target: duty.target.as_ref().map(ToString::to_string).unwrap_or_default(),
            outcome: v1::Outcome::Ok.into(),
            text: "played".to_owned(),
            age: Some(prost_types::Duration::default()),
            took: Some(prost_types::Duration { seconds: 0, nanos: 2_000_000 }),
            database: asks_database.then(|| self.evidence(&desired.active_region)),
            generation: desired.generation,
        }
    }
}

fn app_name(spec: &AppSpec) -> String {
    spec.app.to_string()
}

async fn send(to: &mpsc::Sender<v1::FromAgent>, body: from_agent::Body) -> Result<()> {
    to.send(v1::FromAgent { body: Some(body) }).await.context("the session is gone")
}
