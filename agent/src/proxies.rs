//! The proxies on this host: kept as the committed state says, and as a later command has said.
//!
//! One task switches, so two orders never meet half-way. The order with the higher token counts; an executor closes
//! every other server before it opens one, so two regions are never open at once. Each round looks at what is there:
//! a proxy that restarted has all servers in maintenance, and gets its open one back.

use std::{collections::BTreeMap, path::PathBuf, sync::Arc, time::Duration};

use holdfast_proto::v1;
use holdfast_types::{AppName, RegionName, Token};
use tokio::{
    sync::{mpsc, oneshot, watch},
    time::timeout,
};
use tokio_util::sync::CancellationToken;

use crate::{
    apps::{App, Apps, Known, Me},
    executors::Executors,
};

/// Between two looks.
const ROUND: Duration = Duration::from_secs(1);
/// Longest one look or switch may take.
const WITHIN: Duration = Duration::from_secs(2);
/// Orders that may wait. Their senders wait when it is full: each is a command's.
const ORDERS_MAX: usize = 16;

/// The proxies' states, as reported.
pub type Report = Arc<Vec<v1::ProxyState>>;

#[derive(Debug)]
enum Order {
    Route { app: AppName, region: RegionName, token: Token, done: oneshot::Sender<Result<String, String>> },
    Verify { app: AppName, region: RegionName, done: oneshot::Sender<Result<Option<String>, String>> },
}

/// Speaks to the task.
#[derive(Debug, Clone)]
pub struct Handle {
    orders: mpsc::Sender<Order>,
    report: watch::Receiver<Report>,
}

impl Handle {
    /// Opens a region on every proxy of the app here.
    ///
    /// # Errors
    /// One line saying which proxy is not switched, and why.
    pub async fn route(&self, app: &AppName, region: &RegionName, token: Token) -> Result<String, String> {
        let (done, answer) = oneshot::channel();
        let order = Order::Route { app: app.clone(), region: region.clone(), token, done };
        self.orders.send(order).await.map_err(|_| ending())?;
        answer.await.map_err(|_| ending())?
    }

    /// Whether every proxy of the app here is open for this region and no other; nothing when there is none.
    ///
    /// # Errors
    /// One line saying which is not.
    pub async fn verify(&self, app: &AppName, region: &RegionName) -> Result<Option<String>, String> {
        let (done, answer) = oneshot::channel();
        let order = Order::Verify { app: app.clone(), region: region.clone(), done };
        self.orders.send(order).await.map_err(|_| ending())?;
        answer.await.map_err(|_| ending())?
    }

    /// What the proxies do, now and whenever it changes.
    #[must_use]
    pub fn report(&self) -> watch::Receiver<Report> {
        self.report.clone()
    }
}

fn ending() -> String {
    "the agent is ending".to_owned()
}

/// Where an app's clients should be sent, and who said so last.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Intent {
    token: Token,
    region: RegionName,
    /// Open it; otherwise only see that no other is open.
    open: bool,
}

/// What the committed state says, unless a later command has said something.
fn intent(app: &App, ordered: Option<&Intent>) -> Intent {
    match ordered {
        Some(ordered) if ordered.token > app.token => ordered.clone(),
        Some(_) | None => Intent { token: app.token, region: app.active.clone(), open: app.routed },
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Place {
    socket: PathBuf,
    backend: String,
}

/// The backends of an app on this host.
fn places(app: &App, me: &Me) -> Vec<Place> {
    let Some(region) = app.spec.region(&me.region) else { return Vec::new() };
    let here = |role| region.roles.get(role).is_some_and(|hosts| hosts.iter().any(|p| p.host == me.host));
    let proxies = app.spec.proxies.iter().filter(|proxy| here(&proxy.on));
    proxies
        .flat_map(|proxy| {
            proxy.backends.keys().map(|backend| Place { socket: proxy.socket.clone(), backend: backend.clone() })
        })
        .collect()
}

/// Owns the proxies on this host.
pub struct Proxies {
    me: Me,
    executors: Arc<dyn Executors>,
    apps: watch::Receiver<Known>,
    ordered: BTreeMap<AppName, Intent>,
    orders: mpsc::Receiver<Order>,
    report: watch::Sender<Report>,
}

impl Proxies {
    /// The task and its handle.
    #[must_use]
    pub fn new(me: Me, executors: Arc<dyn Executors>, apps: watch::Receiver<Known>) -> (Self, Handle) {
        let (orders_in, orders) = mpsc::channel(ORDERS_MAX);
        let (report, report_out) = watch::channel(Report::default());
        let this = Self { me, executors, apps, ordered: BTreeMap::new(), orders, report };
        (this, Handle { orders: orders_in, report: report_out })
    }

    /// Runs until cancelled.
    pub async fn run(mut self, cancel: CancellationToken) {
        loop {
            let apps = Arc::clone(&self.apps.borrow_and_update().apps);
            // A round that is dropped half-way is done again by the next start.
            let round = async {
                self.round(&apps).await;
                // Only the waiting is cut short, never a switch under way.
                timeout(ROUND, async {
                    tokio::select! {
                        order = self.orders.recv() => order,
                        _ = self.apps.changed() => None,
                    }
                })
                .await
            };
            let order = tokio::select! {
                biased;
                () = cancel.cancelled() => return,
                order = round => order.ok().flatten(),
            };
            if let Some(order) = order {
                self.take(order, &apps).await;
            }
        }
    }

    async fn take(&mut self, order: Order, apps: &Apps) {
        match order {
            Order::Route { app, region, token, done } => {
                let answer = match apps.get(&app) {
                    None => Err(format!("this host was never told of {app}")),
                    Some(known) => {
                        let asked = Intent { token, region, open: true };
                        let newer = self.ordered.get(&app).is_none_or(|old| old.token <= token);
                        if newer {
                            self.ordered.insert(app.clone(), asked.clone());
                        }
                        let current = intent(known, self.ordered.get(&app));
                        // Committed meanwhile by the very step that orders it, or by a later one that says the same.
                        if (current.open, &current.region) == (asked.open, &asked.region) {
                            self.switch_all(known, &current).await
                        } else {
                            Err(format!(
                                "something later, token {}, sends clients to {}",
                                current.token, current.region
                            ))
                        }
                    }
                };
                drop(done.send(answer));
            }
            Order::Verify { app, region, done } => {
                let answer = match apps.get(&app) {
                    None => Err(format!("this host was never told of {app}")),
                    Some(known) => self.verify(known, &region).await,
                };
                drop(done.send(answer));
            }
        }
    }

    async fn switch_all(&self, app: &App, intent: &Intent) -> Result<String, String> {
        let places = places(app, &self.me);
        for place in &places {
            self.switch(place, intent).await?;
        }
        Ok(self.open_for(places.len(), &intent.region))
    }

    /// Makes one backend as it should be, when it is not.
    async fn switch(&self, place: &Place, intent: &Intent) -> Result<Vec<String>, String> {
        let Place { socket, backend } = place;
        let region = intent.region.as_str();
        let servers = self.executors.servers(socket, backend, WITHIN).await.map_err(|e| e.0)?;
        let open: Vec<_> = servers.iter().filter(|(_, open)| **open).map(|(name, _)| name.clone()).collect();
        let others = open.iter().any(|name| name != region);
        if intent.open && open != [region] {
            tracing::info!(backend, region, was = open.join(", "), "proxy is opened");
            self.executors.open_only(socket, backend, region, WITHIN).await.map_err(|e| e.0)?;
            return Ok(vec![region.to_owned()]);
        }
        if !intent.open && others {
            tracing::info!(backend, region, was = open.join(", "), "proxy is closed until a writer is verified");
            self.executors.close_all(socket, backend, WITHIN).await.map_err(|e| e.0)?;
            return Ok(Vec::new());
        }
        Ok(open)
    }

    async fn verify(&self, app: &App, region: &RegionName) -> Result<Option<String>, String> {
        let places = places(app, &self.me);
        for Place { socket, backend } in &places {
            let servers = self.executors.servers(socket, backend, WITHIN).await.map_err(|e| e.0)?;
            let open: Vec<_> = servers.iter().filter(|(_, open)| **open).map(|(name, _)| name.as_str()).collect();
            if open != [region.as_str()] {
                return Err(format!(
                    "backend {backend} on {} is open for {:?}, not for {region} alone",
                    self.me.host, open
                ));
            }
        }
        Ok((!places.is_empty()).then(|| self.open_for(places.len(), region)))
    }

    fn open_for(&self, backends: usize, region: &RegionName) -> String {
        let (what, is) = if backends == 1 { ("backend", "is") } else { ("backends", "are") };
        format!("{backends} {what} on {} {is} open for {region}", self.me.host)
    }

    async fn round(&self, apps: &Apps) {
        let mut states = Vec::new();
        for app in apps.values() {
            let intent = intent(app, self.ordered.get(&app.name));
            for place in places(app, &self.me) {
                let (open, problem) = match self.switch(&place, &intent).await {
                    Ok(open) => (open, String::new()),
                    Err(why) => (Vec::new(), why),
                };
                states.push(v1::ProxyState { app: app.name.to_string(), backend: place.backend, open, problem });
            }
        }
        self.report.send_if_modified(|old| {
            for state in &states {
                let news = !old.contains(state) && !state.problem.is_empty();
                if news {
                    tracing::warn!(app = state.app, backend = state.backend, "{}", state.problem);
                }
            }
            let changed = **old != states;
            if changed {
                *old = Arc::new(states);
            }
            changed
        });
    }
}
