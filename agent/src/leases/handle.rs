//! What others see of leases, and how they speak to the task that owns them.

use std::{collections::BTreeMap, sync::Arc};

use holdfast_agent_core::lease::{Permit, State};
use holdfast_proto::v1;
use holdfast_types::{AppName, Generation};
use tokio::sync::{mpsc, oneshot, watch};

/// One app's lease as others see it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct View {
    /// What may be opened.
    pub permit: Permit,
    /// For people.
    pub state: State,
    /// Of the lease, or the newest known.
    pub generation: Generation,
    /// Highest fenced durably.
    pub fenced: Generation,
}

/// All of them.
pub type Views = Arc<BTreeMap<AppName, View>>;

#[derive(Debug)]
pub(super) enum Order {
    AskNow(AppName),
    Opened(AppName),
    Fence { app: AppName, generation: Generation, done: oneshot::Sender<Result<String, String>> },
    Release { app: AppName, done: oneshot::Sender<Result<String, String>> },
    Resume { app: AppName, done: oneshot::Sender<Result<String, String>> },
    Moved { app: AppName, generation: Generation },
}

/// A reply of a coordinator, or the news that one can be asked.
#[derive(Debug)]
pub enum Heard {
    /// A lease stream is up; requests go there too from now on.
    Up(usize, mpsc::Sender<v1::LeaseRequest>),
    /// It is down.
    Down(usize),
    /// A coordinator knows of this run of the agent from now on; what it refused before it may grant now.
    Welcomed,
    /// An answer.
    Reply(v1::LeaseReply),
}

/// Speaks to the task.
#[derive(Debug, Clone)]
pub struct Handle {
    pub(super) orders: mpsc::Sender<Order>,
    pub(super) heard: mpsc::Sender<Heard>,
    pub(super) views: watch::Receiver<Views>,
}

impl Handle {
    /// The leases, now and whenever they change.
    #[must_use]
    pub fn views(&self) -> watch::Receiver<Views> {
        self.views.clone()
    }

    /// What may be opened of an app right now.
    #[must_use]
    pub fn permit(&self, app: &AppName) -> Permit {
        self.views.borrow().get(app).map_or(Permit::NONE, |view| view.permit)
    }

    /// Asks for a lease out of turn.
    pub async fn ask_now(&self, app: &AppName) {
        // The task is gone only when the agent ends.
        drop(self.orders.send(Order::AskNow(app.clone())).await);
    }

    /// Writers of this app were opened under its lease.
    pub async fn opened(&self, app: &AppName) {
        drop(self.orders.send(Order::Opened(app.clone())).await);
    }

    /// A coordinator that keeps this host out says that the app is active elsewhere.
    pub async fn moved(&self, app: &AppName, generation: Generation) {
        drop(self.orders.send(Order::Moved { app: app.clone(), generation }).await);
    }

    /// Fences a generation; returns what was done once it is durable and nothing is left.
    ///
    /// # Errors
    /// One line saying why it cannot be done here.
    pub async fn fence(&self, app: &AppName, generation: Generation) -> Result<String, String> {
        let app = app.clone();
        self.order(|done| Order::Fence { app, generation, done }).await
    }

    /// Ends fencing of an app on this host.
    ///
    /// # Errors
    /// One line saying why not.
    pub async fn release(&self, app: &AppName) -> Result<String, String> {
        let app = app.clone();
        self.order(|done| Order::Release { app, done }).await
    }

    /// Takes fencing up again.
    ///
    /// # Errors
    /// One line saying why not.
    pub async fn resume(&self, app: &AppName) -> Result<String, String> {
        let app = app.clone();
        self.order(|done| Order::Resume { app, done }).await
    }

    async fn order(
        &self,
        order: impl FnOnce(oneshot::Sender<Result<String, String>>) -> Order,
    ) -> Result<String, String> {
        let (done, answer) = oneshot::channel();
        let ending = || "the agent is ending".to_owned();
        self.orders.send(order(done)).await.map_err(|_| ending())?;
        answer.await.map_err(|_| ending())?
    }

    /// Where streams bring what they hear.
    #[must_use]
    pub fn heard(&self) -> mpsc::Sender<Heard> {
        self.heard.clone()
    }
}
