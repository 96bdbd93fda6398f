//! Leases: one task that owns every app's [`Holder`], asks, fences and starts.
//!
//! Nothing on the way of a renewal waits for a disk: the note in `/run` is on tmpfs, and what must be durable is
//! written by a task of its own, in order, which says when it is. The timer looks at the boot clock at least each
//! [`LOOK_AT_CLOCK`], because the runtime's timers stand still while a machine is suspended.

mod disk;
mod handle;
mod notes;
mod stream;
#[cfg(test)]
mod tests;
mod work;

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use holdfast_agent_core::{
    lease::{Effect, Fact, FencingReleased, Holder, Kept, State, Taken},
    record::Record,
};
use holdfast_proto::v1;
use holdfast_shared::{
    clock::{SharedClock, WallWatch},
    service::Pulse,
};
use holdfast_types::{AppName, BootInstant, Generation, time::span};
use tokio::{
    sync::{mpsc, oneshot, watch},
    task::JoinSet,
    time::sleep,
};
use tokio_util::sync::CancellationToken;

pub use handle::{Handle, Heard, View, Views};
pub use notes::Notes;
pub use stream::{Link, serve_link};
pub use work::NoLease;
pub(crate) use work::under_lease;

use disk::{DiskWork, FromDisk, work_on_disk};
use handle::Order;
use work::{Done, Start, fence, watch_writers};

use crate::{
    allowed::Allowed,
    apps::{App, Known, Me},
    executors::Executors,
    locks::AppLocks,
    store::Store,
};

/// Longest the task sleeps while it owns an app.
const LOOK_AT_CLOCK: Duration = Duration::from_millis(100);
/// Between two looks at stopped writers: a database that is started without a lease is found within this.
const WATCH_STOPPED: Duration = Duration::from_millis(200);
/// Between two looks at a standby, which somebody may promote by hand. Each is a connection to the database.
const WATCH_STANDBY: Duration = Duration::from_secs(1);
/// Orders that may wait for the task. Their senders wait when it is full: each is a command's, and commands are few.
const ORDERS_MAX: usize = 64;
/// Replies that may wait. Beyond this a reply is lost, like one on the network, and the next request brings another.
const REPLIES_MAX: usize = 256;

/// What the task needs.
#[derive(Debug)]
pub struct Parts {
    /// Who we are.
    pub me: Me,
    /// Time.
    pub clock: SharedClock,
    /// The disk.
    pub store: Store,
    /// The notes in `/run`.
    pub notes: Notes,
    /// What stops and starts writers.
    pub executors: Arc<dyn Executors>,
    /// One at a time for each app.
    pub locks: AppLocks,
    /// The apps.
    pub apps: watch::Receiver<Known>,
    /// What may be run here.
    pub allowed: Arc<Allowed>,
    /// Numbers of requests start after this one.
    pub number: u64,
    /// Which run of the agent this is; told with every request.
    pub instance: String,
    /// The host was booted since the agent last ran.
    pub booted: bool,
    /// Beats each time round.
    pub pulse: Pulse,
}

struct Slot {
    holder: Holder,
    app: Arc<App>,
    /// Confirmations that are waited for.
    waiting: Vec<(Generation, oneshot::Sender<Result<String, String>>)>,
    /// Acts by hand that are answered once they are durable.
    by_hand: Vec<(Fact, oneshot::Sender<Result<String, String>>)>,
    /// What the last fence did.
    fence_text: String,
    look_at: BootInstant,
    looking: bool,
}

/// Owns all leases.
pub struct Leases {
    parts: Parts,
    slots: BTreeMap<AppName, Slot>,
    /// New apps, of which it is being read what is kept.
    reading: BTreeSet<AppName>,
    links: BTreeMap<usize, mpsc::Sender<v1::LeaseRequest>>,
    work: JoinSet<Done>,
    disk: mpsc::Sender<DiskWork>,
    /// What the task of the disk has no room for yet, in order.
    undone: VecDeque<DiskWork>,
    from_disk: mpsc::Receiver<FromDisk>,
    disk_task: JoinSet<()>,
    orders: mpsc::Receiver<Order>,
    heard: mpsc::Receiver<Heard>,
    views: watch::Sender<Views>,
}

impl Leases {
    /// The task and its handle. Takes over what is left of every app's lease before anything else is done.
    pub async fn new(parts: Parts) -> Result<(Self, Handle), crate::store::StoreError> {
        let (orders_in, orders) = mpsc::channel(ORDERS_MAX);
        let (heard_in, heard) = mpsc::channel(REPLIES_MAX);
        let (views, views_out) = watch::channel(Views::default());
        let (disk, work) = mpsc::channel(ORDERS_MAX);
        let (done, from_disk) = mpsc::channel(ORDERS_MAX);
        let mut disk_task = JoinSet::new();
        disk_task.spawn(work_on_disk(parts.store.clone(), Arc::clone(&parts.clock), work, done));
        let mut this = Self {
            parts,
            slots: BTreeMap::new(),
            reading: BTreeSet::new(),
            links: BTreeMap::new(),
            work: JoinSet::new(),
            disk,
            undone: VecDeque::new(),
            from_disk,
            disk_task,
            orders,
            heard,
            views,
        };
        let apps = Arc::clone(&this.parts.apps.borrow().apps);
        for (name, app) in apps.iter() {
            if app.writers_on(&this.parts.me.host).next().is_some() {
                let kept = this.parts.store.kept(name).await?;
                this.take_over(name, app, kept);
            }
        }
        this.follow_apps();
        this.publish();
        Ok((this, Handle { orders: orders_in, heard: heard_in, views: views_out }))
    }

    /// Runs until cancelled. What is being stopped then is stopped by nobody: the next start looks again.
    pub async fn run(mut self, cancel: CancellationToken) {
        let mut wall = WallWatch::default();
        loop {
            wall.tell(&self.parts.clock);
            self.parts.pulse.beat();
            let sleep_for = self.sleep_for();
            // Every branch only takes something out of a channel, which loses nothing when another one wins.
            tokio::select! {
                biased;
                () = cancel.cancelled() => break,
                heard = self.heard.recv() => if let Some(heard) = heard { self.hear(heard) },
                Some(done) = self.from_disk.recv() => self.take_from_disk(done),
                Some(done) = self.work.join_next() => match done {
                    Ok(done) => self.finish(done),
                    Err(e) => tracing::error!(error = %e, "work on a lease panicked"),
                },
                order = self.orders.recv() => if let Some(order) = order { self.take_order(order) },
                changed = self.parts.apps.changed() => {
                    if changed.is_err() {
                        break;
                    }
                    self.follow_apps();
                }
                () = sleep(sleep_for) => {}
            }
            self.tick();
            self.publish();
        }
        self.work.shutdown().await;
        // What is queued is written before the agent leaves.
        let Self { disk, undone, mut disk_task, mut from_disk, .. } = self;
        let rest = async move {
            for work in undone {
                if disk.send(work).await.is_err() {
                    break;
                }
            }
        };
        let answers = async { while from_disk.recv().await.is_some() {} };
        tokio::join!(rest, answers);
        while disk_task.join_next().await.is_some() {}
    }

    fn now(&self) -> BootInstant {
        self.parts.clock.boot()
    }

    fn sleep_for(&self) -> Duration {
        let now = self.now();
        let wakes = self.slots.values().filter_map(|slot| {
            let watch = (slot.holder.watches() && !slot.looking).then_some(slot.look_at);
            [slot.holder.next_wake(), watch].into_iter().flatten().min()
        });
        match wakes.min() {
            Some(at) => now.until(at).min(LOOK_AT_CLOCK),
            None => LOOK_AT_CLOCK * 2,
        }
    }

    fn follow_apps(&mut self) {
        let apps = Arc::clone(&self.parts.apps.borrow_and_update().apps);
        for (name, app) in apps.iter() {
            if !self.slots.contains_key(name) {
                let ours = app.writers_on(&self.parts.me.host).next().is_some();
                if ours && self.reading.insert(name.clone()) {
                    self.undone.push_back(DiskWork::Read(name.clone()));
                }
                continue;
            }
            let wish = app.wish(&self.parts.me, self.parts.allowed.allows(app, &self.parts.me));
            if let Some(slot) = self.slots.get_mut(name) {
                slot.app = Arc::clone(app);
            }
            self.with(name, |holder, now| holder.desired(wish, now));
        }
        let gone: Vec<_> = self.slots.keys().filter(|name| !apps.contains_key(name)).cloned().collect();
        for name in gone {
            tracing::info!(app = %name, "this host is told of the app no more; its lease is given up and nothing is stopped");
            self.parts.notes.clear(&name);
            // Behind what is still to be written of it.
            self.undone.push_back(DiskWork::Forget(name.clone()));
            if let Some(slot) = self.slots.remove(&name) {
                // If the app comes back, what it asked for before must not count as newer.
                self.parts.number = self.parts.number.max(slot.holder.number());
            }
        }
    }

    fn take_over(&mut self, name: &AppName, app: &Arc<App>, mut kept: Kept) {
        // Only what this host was told before it ended counts as known; for a new app nothing is kept.
        let allowed = self.parts.allowed.allows(app, &self.parts.me);
        kept.wish = Some(app.wish(&self.parts.me, allowed));
        let record = self.parts.notes.read(name, &self.parts.clock.boot_id());
        let (number, now) = (self.parts.number, self.now());
        let (holder, effects) = Holder::start(kept, record, self.parts.booted, number, now);
        if kept.released {
            tracing::error!(app = %name, "fencing is released on this host; \"holdfast-agent resume {name}\" takes it up again");
        }
        tracing::info!(app = %name, state = ?holder.state(now), generation = %holder.generation(), fenced = %holder.fenced_durably(), "lease taken up");
        if !allowed {
            for problem in self.parts.allowed.problems_of(app, &self.parts.me) {
                tracing::error!(app = %name, "{problem}");
            }
        }
        let slot = Slot {
            holder,
            app: Arc::clone(app),
            waiting: Vec::new(),
            by_hand: Vec::new(),
            fence_text: String::new(),
            look_at: now,
            looking: false,
        };
        self.slots.insert(name.clone(), slot);
        self.carry_out(name, effects);
    }

    fn with(&mut self, app: &AppName, input: impl FnOnce(&mut Holder, BootInstant) -> Vec<Effect>) {
        let now = self.now();
        if let Some(slot) = self.slots.get_mut(app) {
            let effects = input(&mut slot.holder, now);
            self.carry_out(app, effects);
        }
    }

    fn hear(&mut self, heard: Heard) {
        match heard {
            Heard::Up(link, to) => {
                self.links.insert(link, to);
                self.ask_for_all();
            }
            Heard::Welcomed => self.ask_for_all(),
            Heard::Down(link) => drop(self.links.remove(&link)),
            Heard::Reply(reply) => self.take_reply(reply),
        }
    }

    fn ask_for_all(&mut self) {
        let apps: Vec<_> = self.slots.keys().cloned().collect();
        for app in apps {
            self.with(&app, |holder, now| holder.ask_now(now));
        }
    }

    fn take_reply(&mut self, reply: v1::LeaseReply) {
        let Ok(app) = AppName::new(reply.app) else {
            tracing::warn!("a lease reply without an app's name");
            return;
        };
        let terms = match crate::wire::lease(reply.answer) {
            Ok(Ok(terms)) => terms,
            Ok(Err(why)) => return tracing::debug!(app = %app, why = why.what, "no lease was granted"),
            Err(e) => return tracing::warn!(app = %app, error = %e, "a lease reply that is none"),
        };
        let now = self.now();
        let Some(slot) = self.slots.get_mut(&app) else { return };
        let before = slot.holder.generation();
        let (taken, effects) = slot.holder.grant(reply.number, Generation(reply.generation), terms, now);
        match taken {
            Taken::Yes
                if slot.holder.generation() != before || effects.iter().any(|e| matches!(e, Effect::Store(_))) =>
            {
                tracing::info!(app = %app, generation = reply.generation, ?terms, "lease taken");
            }
            Taken::Yes => {}
            Taken::UnknownNumber | Taken::Fenced | Taken::OldGeneration | Taken::Late | Taken::NoLeases => {
                tracing::debug!(app = %app, generation = reply.generation, ?taken, "a grant changed nothing");
            }
        }
        self.carry_out(&app, effects);
    }

    fn take_order(&mut self, order: Order) {
        match order {
            Order::AskNow(app) => self.with(&app, |holder, now| holder.ask_now(now)),
            Order::Opened(app) => self.with(&app, |holder, _| holder.opened()),
            Order::Moved { app, generation } => self.with(&app, |holder, _| holder.moved_on(generation)),
            Order::Fence { app, generation, done } => {
                let Some(slot) = self.slots.get_mut(&app) else {
                    // Nothing of the app's writers is declared here; there is nothing to stop.
                    drop(done.send(Err(format!("no writer of {app} is declared on this host"))));
                    return;
                };
                match slot.holder.fence_ordered(generation) {
                    Ok(effects) => {
                        slot.waiting.push((generation, done));
                        self.carry_out(&app, effects);
                    }
                    Err(e @ FencingReleased) => drop(done.send(Err(e.to_string()))),
                }
            }
            Order::Release { app, done } => {
                self.by_hand(&app, Fact::Released(true), done, |holder, _| holder.release());
            }
            Order::Resume { app, done } => {
                self.by_hand(&app, Fact::Released(false), done, |holder, now| holder.resume(now));
            }
        }
    }

    /// In force at once, answered once it is durable.
    fn by_hand(
        &mut self,
        app: &AppName,
        fact: Fact,
        done: oneshot::Sender<Result<String, String>>,
        input: impl FnOnce(&mut Holder, BootInstant) -> Vec<Effect>,
    ) {
        self.with(app, input);
        if let Some(slot) = self.slots.get_mut(app) {
            tracing::warn!(app = %app, ?fact, "by hand");
            slot.by_hand.push((fact, done));
        } else {
            drop(done.send(Err(format!("no writer of {app} is declared on this host"))));
        }
    }

    fn take_from_disk(&mut self, done: FromDisk) {
        match done {
            FromDisk::Forgotten => {}
            FromDisk::Written(app, fact) => self.note_stored(&app, fact),
            FromDisk::Kept(app, kept) => {
                self.reading.remove(&app);
                // It may be gone again.
                let known = self.parts.apps.borrow().apps.get(&app).cloned();
                if let Some(known) = known {
                    self.take_over(&app, &known, kept);
                }
            }
        }
    }

    fn note_stored(&mut self, app: &AppName, fact: Fact) {
        self.with(app, |holder, now| holder.stored(fact, now));
        let now = self.now();
        let Some(slot) = self.slots.get_mut(app) else { return };
        let (stored, still) = std::mem::take(&mut slot.by_hand).into_iter().partition(|(waits, _)| *waits == fact);
        slot.by_hand = still;
        let state = match slot.holder.state(now) {
            State::None => "no lease".to_owned(),
            State::Ends(left) => format!("a lease that lasts {}", span(left)),
            State::Sole => "a lease without end".to_owned(),
            State::Fencing => "its writers are being stopped".to_owned(),
            State::Fenced => "its writers are stopped".to_owned(),
            State::Released => "nothing is fenced here".to_owned(),
        };
        for (_, done) in stored {
            drop(done.send(Ok(format!("{app} on this host: {state}"))));
        }
    }

    fn finish(&mut self, done: Done) {
        match done {
            Done::Fenced(app, text) => {
                tracing::warn!(app = %app, "fenced: {text}");
                if let Some(slot) = self.slots.get_mut(&app) {
                    slot.fence_text = text;
                }
                self.with(&app, Holder::fence_finished);
            }
            Done::Started(app, well) => self.with(&app, |holder, now| holder.start_ended(well, now)),
            Done::Watched(app, writes) => {
                let now = self.now();
                if let Some(slot) = self.slots.get_mut(&app) {
                    slot.looking = false;
                    slot.look_at = now + if slot.holder.stopped() { WATCH_STOPPED } else { WATCH_STANDBY };
                    if writes && slot.holder.watches() {
                        tracing::error!(app = %app, "a database accepts writes here without a lease; it is stopped");
                        let effects = slot.holder.stray_found();
                        self.carry_out(&app, effects);
                    }
                }
            }
        }
    }

    fn tick(&mut self) {
        let apps: Vec<_> = self.slots.keys().cloned().collect();
        let now = self.now();
        for app in apps {
            self.with(&app, Holder::tick);
            let Some(slot) = self.slots.get_mut(&app) else { continue };
            if slot.holder.watches() && !slot.looking && now >= slot.look_at {
                slot.looking = true;
                let work = watch_writers(
                    app.clone(),
                    Arc::clone(&slot.app),
                    self.parts.me.clone(),
                    Arc::clone(&self.parts.executors),
                    slot.holder.stopped(),
                );
                self.work.spawn(work);
            }
            let mut waiting = std::mem::take(&mut slot.waiting);
            waiting.retain(|(_, done)| !done.is_closed());
            let (confirmed, still) = waiting.into_iter().partition(|(g, _)| slot.holder.fence_confirmed(*g));
            slot.waiting = still;
            for (_, done) in confirmed {
                // The command may have run out of time; what was done stays done.
                drop(done.send(Ok(slot.fence_text.clone())));
            }
        }
        while let Some(work) = self.undone.pop_front() {
            if let Err(mpsc::error::TrySendError::Full(work)) = self.disk.try_send(work) {
                self.undone.push_front(work);
                break;
            }
        }
    }

    fn carry_out(&mut self, app: &AppName, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Ask(ask) => {
                    let request = v1::LeaseRequest {
                        app: app.to_string(),
                        number: ask.number,
                        generation: ask.generation.0,
                        fenced: ask.fenced.0,
                        counts_end: ask.counts_end,
                        instance: self.parts.instance.clone(),
                    };
                    for to in self.links.values() {
                        // A stream that takes nothing is as good as one that is down; the next request is soon.
                        drop(to.try_send(request.clone()));
                    }
                }
                Effect::WriteRecord(record) => self.note(app, record),
                Effect::ClearRecord => self.parts.notes.clear(app),
                Effect::Store(fact) => self.undone.push_back(DiskWork::Write(app.clone(), fact)),
                Effect::Fence { within, why } => {
                    tracing::warn!(app = %app, ?why, within = %span(within), "writers are being stopped");
                    if let Some(slot) = self.slots.get(app) {
                        let (app, me) = (Arc::clone(&slot.app), self.parts.me.clone());
                        let clock = Arc::clone(&self.parts.clock);
                        self.work.spawn(fence(app, me, Arc::clone(&self.parts.executors), clock, within));
                    }
                }
                Effect::Start { generation } => {
                    if let Some(slot) = self.slots.get(app) {
                        let start = Start {
                            app: Arc::clone(&slot.app),
                            me: self.parts.me.clone(),
                            executors: Arc::clone(&self.parts.executors),
                            locks: self.parts.locks.clone(),
                            clock: Arc::clone(&self.parts.clock),
                            views: self.views.subscribe(),
                            generation,
                        };
                        self.work.spawn(start.run());
                    }
                }
            }
        }
    }

    fn note(&mut self, app: &AppName, record: Record) {
        let boot = self.parts.clock.boot_id();
        if let Err(e) = self.parts.notes.write(app, &boot, record) {
            // Without the note a restart of the agent fences. What is believed in memory still holds.
            tracing::error!(app = %app, error = %e, "cannot note the lease");
        }
    }

    fn publish(&self) {
        let now = self.now();
        let views: BTreeMap<_, _> = self
            .slots
            .iter()
            .map(|(app, slot)| {
                let view = View {
                    permit: slot.holder.permit(),
                    state: slot.holder.state(now),
                    generation: slot.holder.generation(),
                    fenced: slot.holder.fenced_durably(),
                };
                (app.clone(), view)
            })
            .collect();
        self.views.send_if_modified(|old| {
            // How much is left changes all the time and wakes nobody.
            let same = old.len() == views.len()
                && old.iter().zip(&views).all(|((a, x), (b, y))| {
                    a == b
                        && x.permit == y.permit
                        && x.generation == y.generation
                        && x.fenced == y.fenced
                        && std::mem::discriminant(&x.state) == std::mem::discriminant(&y.state)
                });
            *old = Arc::new(views);
            !same
        });
    }
}

/// Where the notes lie, under the agent's folder in `/run`.
#[must_use]
pub fn notes_folder(run_dir: &std::path::Path) -> PathBuf {
    run_dir.join("leases")
}
