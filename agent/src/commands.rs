//! Commands: journalled before they begin, one at a time for each app in the order of their tokens, and their results
//! in the outbox in the same moment as in the journal.

mod work;

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use holdfast_agent_core::journal::{Decision, Kind, Progress, View, decide};
use holdfast_proto::v1;
use holdfast_shared::{
    clock::SharedClock,
    error::Chain,
    repeats::{Repeats, Told},
};
use holdfast_types::{AppName, CommandId, Token};
use tokio::{
    sync::{broadcast, mpsc, watch},
    task::JoinSet,
    time::sleep,
};
use tokio_util::sync::CancellationToken;

pub use work::Tools;

use crate::{
    apps::Known,
    locks::AppLocks,
    store::{Store, StoreError},
    wire::{self, Command},
};

/// Commands that may wait to be looked at. When full a session reads no further, and the coordinator waits.
const INCOMING_MAX: usize = 64;
/// Lines of progress that a slow session may be behind; older ones are dropped: they are for people.
pub const PROGRESS_MAX: usize = 64;
/// Between two attempts to store a result.
const STORE_RETRY: Duration = Duration::from_millis(500);

/// What became of a command.
#[derive(Debug, Clone, PartialEq)]
pub struct Ended {
    /// How it ended.
    pub outcome: v1::CommandOutcome,
    /// One line for people.
    pub text: String,
    /// What was seen of the database.
    pub database: Option<v1::DatabaseEvidence>,
}

impl Ended {
    fn new(outcome: v1::CommandOutcome, text: impl Into<String>) -> Self {
        Self { outcome, text: text.into(), database: None }
    }
}

/// Gives commands to the task.
#[derive(Debug, Clone)]
pub struct Handle {
    incoming: mpsc::Sender<v1::Command>,
}

impl Handle {
    /// Takes a command; waits while too many are waiting.
    pub async fn take(&self, command: v1::Command) {
        // The task is gone only when the agent ends; the coordinator tells again.
        drop(self.incoming.send(command).await);
    }
}

/// What the task needs.
#[derive(Debug)]
pub struct Parts {
    /// Time.
    pub clock: SharedClock,
    /// The journal.
    pub store: Store,
    /// What commands work with.
    pub tools: Tools,
    /// One at a time for each app.
    pub locks: AppLocks,
    /// The apps.
    pub apps: watch::Receiver<Known>,
    /// Set when a coordinator has said that this host is quarantined.
    pub quarantined: Arc<AtomicBool>,
    /// Where progress is told.
    pub progress: broadcast::Sender<v1::CommandProgress>,
}

struct Running {
    id: CommandId,
    kind: Kind,
    cancel: CancellationToken,
}

#[derive(Default)]
struct Queue {
    running: Option<Running>,
    waiting: BTreeMap<(Token, CommandId), (Command, v1::Command)>,
}

impl Queue {
    /// Whether one that waits would end this one at once if it ran.
    fn is_overtaken(&self, command: &Command) -> bool {
        self.waiting.values().any(|(later, _)| {
            later.received.token > command.received.token && later.received.kind.preempts(command.received.kind)
        })
    }
}

/// Owns all commands.
pub struct Commands {
    parts: Parts,
    queues: BTreeMap<AppName, Queue>,
    work: JoinSet<(AppName, CommandId)>,
    incoming: mpsc::Receiver<v1::Command>,
    interrupted: Vec<v1::Command>,
}

impl Commands {
    /// The task and its handle.
    ///
    /// # Errors
    /// When the journal cannot be read.
    pub async fn new(parts: Parts) -> Result<(Self, Handle), StoreError> {
        let interrupted = parts.store.interrupted().await?;
        let (sender, incoming) = mpsc::channel(INCOMING_MAX);
        let this = Self { parts, queues: BTreeMap::new(), work: JoinSet::new(), incoming, interrupted };
        Ok((this, Handle { incoming: sender }))
    }

    /// Runs until cancelled. What runs then is dropped; the journal says so to the next start.
    pub async fn run(mut self, cancel: CancellationToken) {
        loop {
            // Nothing is lost by the branches that lose: they only take out of channels and the set.
            tokio::select! {
                biased;
                () = cancel.cancelled() => break,
                Some(ended) = self.work.join_next() => match ended {
                    Ok((app, id)) => self.ended(&app, id).await,
                    // Its app would wait for it for ever. The next start of the agent carries on what was begun.
                    Err(e) => {
                        tracing::error!(error = %e, "a command panicked; the agent starts again");
                        break;
                    }
                },
                changed = self.parts.apps.changed() => {
                    if changed.is_err() {
                        break;
                    }
                    self.resume_interrupted().await;
                }
                Some(command) = self.incoming.recv() => self.take(command).await,
            }
        }
        self.work.shutdown().await;
    }

    /// Only after a coordinator has told the committed state in this life of the agent: what had begun before may be
    /// long overtaken.
    async fn resume_interrupted(&mut self) {
        if self.parts.apps.borrow_and_update().fresh {
            for command in std::mem::take(&mut self.interrupted) {
                self.take(command).await;
            }
        }
    }

    async fn take(&mut self, message: v1::Command) {
        let command = match wire::command(&message) {
            Ok(command) => command,
            Err(e) => {
                tracing::warn!(app = message.app, error = %e, "a command that cannot be understood");
                if let Ok(id) = wire::command_id(message.id.as_ref()) {
                    self.tell(
                        id,
                        Ended::new(v1::CommandOutcome::Refused, format!("not understood: {e}")),
                        Duration::ZERO,
                    )
                    .await;
                }
                return;
            }
        };
        let id = command.received.id;
        let queued = self.queues.get(&command.app).is_some_and(|queue| {
            queue.running.as_ref().is_some_and(|running| running.id == id)
                || queue.waiting.contains_key(&(command.received.token, id))
        });
        if queued {
            // Attached: the result goes to every session by the outbox.
            return;
        }
        match self.decide(&command).await {
            Ok(Decision::Run) if command.received.kind.waits_for_room() && self.parts.store.has_room().is_err() => {
                let why = self.parts.store.has_room().err().map(|short| short.to_string()).unwrap_or_default();
                tracing::warn!(app = %command.app, command = %id, why, "command refused");
                self.tell(id, Ended::new(v1::CommandOutcome::Refused, why), Duration::ZERO).await;
            }
            Ok(Decision::Run | Decision::Resume) => {
                let kind = command.received.kind;
                let queue = self.queues.entry(command.app.clone()).or_default();
                if let Some(running) = &queue.running
                    && kind.preempts(running.kind)
                {
                    tracing::warn!(app = %command.app, command = %running.id, by = %id, "ended by a later command");
                    running.cancel.cancel();
                }
                let app = command.app.clone();
                queue.waiting.insert((command.received.token, id), (command, message));
                self.begin_next(&app).await;
            }
            Ok(Decision::Attach) => {}
            Ok(Decision::Repeat(result)) => self.store_result(id, &result).await,
            Ok(Decision::Refuse(why)) => {
                tracing::warn!(app = %command.app, command = %id, why = %why, "command refused");
                self.tell(id, Ended::new(v1::CommandOutcome::Refused, why.to_string()), Duration::ZERO).await;
            }
            // Not answered at all: the coordinator tells it again.
            Err(e) => tracing::error!(command = %id, error = %Chain(&e), "cannot read the journal"),
        }
    }

    async fn decide(&self, command: &Command) -> Result<Decision<v1::CommandResult>, StoreError> {
        let entry = self.parts.store.entry(command.received.id).await?;
        let highest = self.parts.store.highest(&command.app).await?;
        let app = self.parts.apps.borrow().apps.get(&command.app).cloned();
        Ok(decide(
            command.received,
            View {
                entry: entry.map(|entry| {
                    // What this life began and is in no queue has ended without its result being stored.
                    let progress = match entry.progress {
                        Progress::Running => Progress::Interrupted,
                        other @ (Progress::Interrupted | Progress::Ended(_)) => other,
                    };
                    (entry.token, progress)
                }),
                highest,
                desired: app
                    .as_ref()
                    .filter(|app| sends_elsewhere(app, &command.order))
                    .map_or_else(Token::default, |app| app.token),
                told: app.is_some(),
                quarantined: self.parts.quarantined.load(Ordering::Relaxed),
            },
        ))
    }

    async fn begin_next(&mut self, app: &AppName) {
        while let Some(queue) = self.queues.get_mut(app) {
            if queue.running.is_some() {
                return;
            }
            let Some((_, (command, message))) = queue.waiting.pop_first() else { return };
            let id = command.received.id;
            if queue.is_overtaken(&command) {
                let text = format!("{} was not begun: a later command takes it back", command.received.kind.name());
                self.tell(id, Ended::new(v1::CommandOutcome::Failed, text), Duration::ZERO).await;
                continue;
            }
            // Something higher may have begun while it waited.
            match self.decide(&command).await {
                Ok(Decision::Run | Decision::Resume) => {}
                Ok(Decision::Attach | Decision::Repeat(_)) => continue,
                Ok(Decision::Refuse(why)) => {
                    self.tell(id, Ended::new(v1::CommandOutcome::Refused, why.to_string()), Duration::ZERO).await;
                    continue;
                }
                Err(e) => {
                    tracing::error!(command = %id, error = %Chain(&e), "cannot read the journal");
                    continue;
                }
            }
            let Some(spec) = self.parts.apps.borrow().apps.get(app).cloned() else { continue };
            if let Err(e) = self.parts.store.begin(id, app, command.received.token, &message).await {
                if !command.received.kind.goes_first() {
                    tracing::error!(command = %id, error = %Chain(&e), "cannot journal a command, so it does not begin");
                    // Its result could not be stored either. Only told; nobody may be listening.
                    drop(self.parts.progress.send(v1::CommandProgress {
                        id: Some(wire::to_command_id(id)),
                        text: format!("not begun, it cannot be journalled: {}", Chain(&e)),
                    }));
                    continue;
                }
                tracing::error!(command = %id, error = %Chain(&e), "cannot journal a fence; it goes first all the same");
            }
            tracing::info!(app = %app, command = %id, token = %command.received.token, what = command.received.kind.name(), "begins");
            let cancel = CancellationToken::new();
            let running = Running { id, kind: command.received.kind, cancel: cancel.clone() };
            if let Some(queue) = self.queues.get_mut(app) {
                queue.running = Some(running);
            }
            let run = Run {
                clock: Arc::clone(&self.parts.clock),
                store: self.parts.store.clone(),
                tools: self.parts.tools.clone(),
                locks: self.parts.locks.clone(),
                progress: self.parts.progress.clone(),
                app: spec,
                command,
                cancel,
            };
            self.work.spawn(run.run());
            return;
        }
    }

    async fn ended(&mut self, app: &AppName, id: CommandId) {
        if let Some(queue) = self.queues.get_mut(app)
            && queue.running.as_ref().is_some_and(|running| running.id == id)
        {
            queue.running = None;
        }
        self.begin_next(app).await;
    }

    async fn tell(&self, id: CommandId, ended: Ended, took: Duration) {
        let result = result(id, ended, took, &self.parts.clock);
        self.store_result(id, &result).await;
    }

    async fn store_result(&self, id: CommandId, result: &v1::CommandResult) {
        if let Err(e) = self.parts.store.end(id, result).await {
            tracing::error!(command = %id, error = %Chain(&e), "cannot store a command's result");
        }
    }
}

/// Whether following the committed state would undo what is ordered. That a proxy should open may have been committed by
/// the very step that orders it.
fn sends_elsewhere(app: &crate::apps::App, order: &wire::Order) -> bool {
    match order {
        wire::Order::Route { region } => !app.routed || app.active != *region,
        wire::Order::Fence
        | wire::Order::Cut
        | wire::Order::Reconnect
        | wire::Order::Promote
        | wire::Order::Start
        | wire::Order::Verify { .. } => true,
    }
}

fn result(id: CommandId, ended: Ended, took: Duration, clock: &SharedClock) -> v1::CommandResult {
    v1::CommandResult {
        id: Some(wire::to_command_id(id)),
        outcome: ended.outcome.into(),
        text: ended.text,
        took: wire::to_duration(took),
        database: ended.database,
        ended_at: Some(wire::to_timestamp(clock.wall())),
    }
}

struct Run {
    clock: SharedClock,
    store: Store,
    tools: Tools,
    locks: AppLocks,
    progress: broadcast::Sender<v1::CommandProgress>,
    app: Arc<crate::apps::App>,
    command: Command,
    cancel: CancellationToken,
}

impl Run {
    async fn run(self) -> (AppName, CommandId) {
        let began = self.clock.boot();
        let id = self.command.received.id;
        let name = self.command.received.kind.name();
        let within = holdfast_types::time::span(self.command.within);
        // Only told to people; nobody may be listening.
        drop(self.progress.send(v1::CommandProgress {
            id: Some(wire::to_command_id(id)),
            text: format!("{name} begins, {within} at most"),
        }));
        let work = async {
            // A fence waits for nobody: what runs is ended by it.
            let _one_at_a_time = match self.command.received.kind {
                Kind::Fence => None,
                Kind::Cut | Kind::Reconnect | Kind::Promote | Kind::Route | Kind::Start | Kind::Verify => {
                    Some(self.locks.lock(&self.app.name).await)
                }
            };
            self.tools.work(&self.app, &self.command, &self.store).await
        };
        // Work that is dropped ends its own children; what it had ordered is looked at by whatever comes next.
        let ended = tokio::select! {
            biased;
            () = self.cancel.cancelled() => Ended::new(v1::CommandOutcome::Failed, format!("{name} was ended by a later command")),
            ended = work => ended,
            () = sleep(self.command.within) => Ended::new(v1::CommandOutcome::Failed, format!("{name} was not done after {within}")),
        };
        let took = self.clock.boot().since(began);
        tracing::info!(app = %self.app.name, command = %id, outcome = ?ended.outcome, took = %holdfast_types::time::span(took), "{name}: {}", ended.text);
        let result = result(id, ended, took, &self.clock);
        let failed = Repeats::default();
        while let Err(e) = self.store.end(id, &result).await {
            if let Some(Told { times }) = failed.told((), self.clock.boot()) {
                tracing::error!(command = %id, error = %Chain(&e), times, "cannot store a command's result; it is tried again");
            }
            sleep(STORE_RETRY).await;
        }
        (self.app.name.clone(), id)
    }
}
