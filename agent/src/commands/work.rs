//! What each command does.

use std::{sync::Arc, time::Duration};

use holdfast_agent_core::duties::Probe;
use holdfast_proto::v1::CommandOutcome;
use holdfast_shared::{clock::SharedClock, error::Chain};
use holdfast_types::{
    Generation, RegionName, Token,
    spec::{PostgresExpect, Writer},
};
use tokio::time::sleep;

use super::Ended;
use crate::{
    apps::{App, Me},
    executors::{Executors, Probed, Seen},
    leases::{self, under_lease},
    proxies,
    store::Store,
    wire::{self, Command, Order},
};

/// A lease must last at least this long, or a quarter of a whole one, for a writer to be opened under it.
const LEFT_MIN: Duration = Duration::from_millis(500);
/// Between two requests for a lease that does not come: the coordinator may just be committing what it needs.
const ASK_AGAIN: Duration = Duration::from_millis(200);
/// Between two looks that wait for something to become true.
const LOOK_AGAIN: Duration = Duration::from_millis(200);
/// Longest single look.
const LOOK_WITHIN: Duration = Duration::from_secs(2);

/// What commands work with.
#[derive(Debug, Clone)]
pub struct Tools {
    /// Who we are.
    pub me: Me,
    /// Time.
    pub clock: SharedClock,
    /// What does things.
    pub executors: Arc<dyn Executors>,
    /// Leases.
    pub leases: leases::Handle,
    /// Proxies.
    pub proxies: proxies::Handle,
}

type Done = Result<Ended, String>;

fn done(text: impl Into<String>, seen: Option<&Seen>) -> Ended {
    let mut ended = Ended::new(CommandOutcome::Done, text);
    ended.database = seen.map(wire::to_evidence);
    ended
}

impl Tools {
    pub(super) async fn work(&self, app: &Arc<App>, command: &Command, store: &Store) -> Ended {
        let within = command.within;
        let ended = match &command.order {
            Order::Fence => self.fence(app, command).await,
            Order::Cut => self.cut(app, within, store).await,
            Order::Reconnect => self.reconnect(app, within, store).await,
            Order::Promote | Order::Start => self.open(app, command, store).await,
            Order::Route { region } => self.route(app, region, command.received.token).await,
            Order::Verify { region } => self.verify(app, region).await,
        };
        ended.unwrap_or_else(|why| Ended::new(CommandOutcome::Failed, why))
    }

    fn writers<'a>(&'a self, app: &'a App) -> Result<Vec<&'a Writer>, String> {
        let writers: Vec<_> = app.writers_on(&self.me.host).collect();
        if writers.is_empty() {
            return Err(format!("no writer of {} is declared on {}", app.name, self.me.host));
        }
        Ok(writers)
    }

    async fn fence(&self, app: &App, command: &Command) -> Done {
        let text = self.leases.fence(&app.name, command.generation).await?;
        let text = if text.is_empty() { "nothing was left to stop".to_owned() } else { text };
        let mut last = None;
        for writer in self.writers(app)? {
            last = self.executors.look(writer, LOOK_WITHIN).await.ok();
        }
        Ok(done(format!("generation {} is fenced: {text}", command.generation), last.as_ref()))
    }

    /// What a standby was connected with stays on this host: it may hold a password. It is kept before the cut, so that
    /// no crash in between leaves a standby that nobody can connect again.
    async fn cut(&self, app: &App, within: Duration, store: &Store) -> Done {
        let mut texts = Vec::new();
        let mut position: Option<Seen> = None;
        for writer in self.writers(app)? {
            let name = writer.name.as_str();
            let connected = self.executors.connected_with(writer, within).await.map_err(|e| e.0)?;
            if connected.is_some() {
                store.put_receiver(&app.name, name, connected).await.map_err(|e| Chain(&e).to_string())?;
            }
            let seen = self.executors.cut(writer, within).await.map_err(|e| e.0)?;
            texts.push(format!("{name} receives no more, {}", seen.text));
            position = Some(seen);
        }
        Ok(done(texts.join("; "), position.as_ref()))
    }

    async fn reconnect(&self, app: &App, within: Duration, store: &Store) -> Done {
        let mut texts = Vec::new();
        for writer in self.writers(app)? {
            let name = writer.name.as_str();
            let Some(kept) = store.receiver(&app.name, name).await.map_err(|e| Chain(&e).to_string())? else {
                texts.push(format!("{name} was not cut"));
                continue;
            };
            self.executors.reconnect(writer, &kept, within).await.map_err(|e| e.0)?;
            store.put_receiver(&app.name, name, None).await.map_err(|e| Chain(&e).to_string())?;
            texts.push(format!("{name} follows again"));
        }
        Ok(done(texts.join("; "), None))
    }

    /// Promotes or starts, under a live lease of the command's generation or of one that followed it here.
    async fn open(&self, app: &App, command: &Command, store: &Store) -> Done {
        let writers = self.writers(app)?;
        let began = self.clock.boot();
        let mut generation = command.generation;
        let lease = app.spec.timings().map(|timings| timings.lease);
        let left = lease.map_or(LEFT_MIN, |lease| LEFT_MIN.min(lease / 4));
        if lease.is_some() {
            generation = self.wait_for_lease(app, command, left).await;
        }
        let work = async {
            let mut last = None;
            for writer in writers {
                let rest = command.within.saturating_sub(self.clock.boot().since(began));
                let seen = match command.order {
                    Order::Promote => self.executors.promote(writer, rest).await,
                    Order::Start
                    | Order::Fence
                    | Order::Cut
                    | Order::Reconnect
                    | Order::Route { .. }
                    | Order::Verify { .. } => self.executors.start_primary(writer, rest).await,
                };
                last = Some(seen.map_err(|e| e.0)?);
            }
            Ok::<_, String>(last)
        };
        let seen = if lease.is_some() {
            // The last look at the lease and the act are in one breath, and the act ends when the lease does.
            let mut views = self.leases.views();
            under_lease(&mut views, &self.clock, &app.name, generation, left, work)
                .await
                .map_err(|e| e.to_string())??
        } else {
            work.await?
        };
        self.leases.opened(&app.name).await;
        if command.order == Order::Promote {
            // It is a primary now: what it once followed is history.
            for writer in self.writers(app)? {
                store.put_receiver(&app.name, writer.name.as_str(), None).await.map_err(|e| Chain(&e).to_string())?;
            }
        }
        let text = seen.as_ref().map_or_else(String::new, |seen| seen.text.clone());
        Ok(done(format!("{text}, under a lease of generation {generation}"), seen.as_ref()))
    }

    /// Returns when the lease is there; the command's own time limit ends the waiting. A lease that ran out before
    /// anything was opened under it has fenced the command's generation here for ever; this host then goes on as the
    /// next one, and what is ordered is ordered all the same.
    async fn wait_for_lease(&self, app: &App, command: &Command, left: Duration) -> Generation {
        let mut views = self.leases.views();
        loop {
            let view = views.borrow_and_update().get(&app.name).copied();
            let live = view.filter(|view| {
                view.generation >= command.generation && view.permit.allows(view.generation, left, self.clock.boot())
            });
            if let Some(view) = live {
                return view.generation;
            }
            self.leases.ask_now(&app.name).await;
            tokio::select! {
                changed = views.changed() => if changed.is_err() { return command.generation },
                () = sleep(ASK_AGAIN) => {}
            }
        }
    }

    async fn route(&self, app: &App, region: &RegionName, token: Token) -> Done {
        // Tried again until the command's time is up: a proxy may just be restarting.
        loop {
            match self.proxies.route(&app.name, region, token).await {
                Ok(text) => return Ok(done(text, None)),
                Err(why) => {
                    tracing::warn!(app = %app.name, region = %region, why, "not routed yet");
                    sleep(LOOK_AGAIN).await;
                }
            }
        }
    }

    async fn verify(&self, app: &App, region: &RegionName) -> Done {
        loop {
            match self.verify_once(app, region).await {
                Ok(ended) => return Ok(ended),
                Err(why) => {
                    tracing::debug!(app = %app.name, region = %region, why, "not verified yet");
                    sleep(LOOK_AGAIN).await;
                }
            }
        }
    }

    async fn verify_once(&self, app: &App, region: &RegionName) -> Done {
        let mut texts = Vec::new();
        let mut database = None;
        if *region == self.me.region {
            for writer in app.writers_on(&self.me.host) {
                let probe = Probe::Postgres { writer: Box::new(writer.clone()), expect: PostgresExpect::AcceptsWrites };
                match self.executors.probe(&probe, LOOK_WITHIN).await {
                    Probed::Ok { text, seen } => {
                        texts.push(format!("{}: {text}", writer.name));
                        database = seen;
                    }
                    Probed::Failing { text, .. } | Probed::CouldNotRun { text } => {
                        return Err(format!("{}: {text}", writer.name));
                    }
                }
            }
        }
        if let Some(text) = self.proxies.verify(&app.name, region).await? {
            texts.push(text);
        }
        if texts.is_empty() {
            return Err(format!("nothing of {} in {region} can be seen from {}", app.name, self.me.host));
        }
        Ok(done(texts.join("; "), database.as_ref()))
    }
}
