//! The apps this host was told of: the committed state, as far as it concerns this host.
//!
//! One task owns them. What it publishes is durable, so that whoever acts on it acts the same after a restart; an
//! entry with a lower token than the known one is never taken.

use std::{collections::BTreeMap, sync::Arc};

use holdfast_agent_core::{duties::writers_on, lease::Wish};
use holdfast_proto::v1;
use holdfast_types::{
    AppName, Generation, HostName, RegionName, Revision, Token,
    spec::{AppSpec, FencedBy, Writer},
};
use prost::Message as _;
use tokio::sync::{Mutex, watch};

use crate::{
    store::{Store, StoreError},
    wire,
};

/// Who this host is, as its certificate says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Me {
    /// The host.
    pub host: HostName,
    /// Its region.
    pub region: RegionName,
}

/// One app as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct App {
    /// Its name.
    pub name: AppName,
    /// Of the spec.
    pub revision: Revision,
    /// What was declared.
    pub spec: Arc<AppSpec>,
    /// Counts its activations.
    pub generation: Generation,
    /// The region that takes writes.
    pub active: RegionName,
    /// The generation with which that became so; 0: not known.
    pub active_since: Generation,
    /// The generation with which the app was declared.
    pub first: Generation,
    /// A hold is committed.
    pub held: bool,
    /// Leases have an end.
    pub lease_ends: bool,
    /// Proxies should be open for the active region.
    pub routed: bool,
    /// Of the entry that last changed generation, region or hold.
    pub token: Token,
}

impl App {
    /// The writers that run on this host.
    pub fn writers_on<'a>(&'a self, host: &'a HostName) -> impl Iterator<Item = &'a Writer> {
        writers_on(&self.spec, host)
    }

    /// What matters for a lease on this host, whose root lets its writers be run or not.
    #[must_use]
    pub fn wish(&self, me: &Me, allowed: bool) -> Wish {
        Wish {
            generation: self.generation,
            here: self.active == me.region && self.writers_on(&me.host).next().is_some(),
            since: self.active_since,
            first: self.first,
            held: self.held,
            lease_ends: self.lease_ends,
            timings: self.spec.timings(),
            fences: match self.spec.fencing.by {
                FencedBy::Agent => true,
                FencedBy::None => false,
            },
            allowed,
        }
    }
}

/// All of them, in the order of their names.
pub type Apps = Arc<BTreeMap<AppName, Arc<App>>>;

/// What is published.
#[derive(Debug, Clone, Default)]
pub struct Known {
    /// The apps.
    pub apps: Apps,
    /// Whether a coordinator has said so in this life of the agent.
    pub fresh: bool,
}

/// Takes what coordinators say, and tells everybody else.
#[derive(Debug, Clone)]
pub struct Desk {
    store: Store,
    region: RegionName,
    // Two coordinators may speak at once; one entry is made durable and published before the next is looked at.
    owner: Arc<Mutex<()>>,
    known: watch::Sender<Known>,
}

impl Desk {
    /// Starts with what the disk says, for a host of `region`.
    #[must_use]
    pub fn new(store: Store, region: RegionName, stored: Vec<v1::DesiredApp>) -> Self {
        let mut apps = BTreeMap::new();
        for desired in stored {
            match wire::app(&desired, &region) {
                Ok(app) => {
                    apps.insert(app.name.clone(), Arc::new(app));
                }
                // Written by another release. The next session brings it again; until then nothing is done about it.
                Err(e) => tracing::error!(app = desired.app, error = %e, "cannot read a stored app"),
            }
        }
        let (known, _) = watch::channel(Known { apps: Arc::new(apps), fresh: false });
        Self { store, region, owner: Arc::default(), known }
    }

    /// The apps, now and whenever they change.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<Known> {
        self.known.subscribe()
    }

    /// The app of that name.
    #[must_use]
    pub fn app(&self, name: &AppName) -> Option<Arc<App>> {
        self.known.borrow().apps.get(name).cloned()
    }

    /// A coordinator says how everything should be.
    ///
    /// # Errors
    /// When it could not be made durable; nothing was taken then.
    pub async fn desired(&self, desired: &v1::Desired) -> Result<(), StoreError> {
        let _one_at_a_time = self.owner.lock().await;
        let old = Arc::clone(&self.known.borrow().apps);
        let whole = wire::token(desired.token.as_ref()).unwrap_or_default();
        let mut new = BTreeMap::new();
        let mut bodies = BTreeMap::new();
        for entry in &desired.apps {
            let app = match wire::app(entry, &self.region) {
                Ok(app) => app,
                Err(e) => {
                    tracing::error!(app = entry.app, error = %e, "cannot follow the committed state of an app");
                    continue;
                }
            };
            if let Some(known) = old.get(&app.name)
                && app.token < known.token
            {
                tracing::warn!(app = %app.name, token = %app.token, known = %known.token, "an older state was refused");
                continue;
            }
            bodies.insert(app.name.clone(), entry.encode_to_vec());
            new.insert(app.name.clone(), Arc::new(app));
        }
        // What is not named is gone, unless somebody speaks who is behind.
        let mut gone = Vec::new();
        for (name, known) in old.iter() {
            let named = desired.apps.iter().any(|entry| entry.app == name.as_str());
            if named || whole < known.token {
                new.entry(name.clone()).or_insert_with(|| Arc::clone(known));
            } else {
                gone.push(name.clone());
            }
        }
        if *old != new {
            self.store.put_desired(bodies, gone).await?;
        }
        self.known.send_if_modified(|known| {
            let changed = *known.apps != new || !known.fresh;
            known.fresh = true;
            if changed {
                known.apps = Arc::new(new);
            }
            changed
        });
        Ok(())
    }
}
