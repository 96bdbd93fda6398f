//! What is done to writers because of a lease: stopped, looked at, started, and opened only under one that lives.

use std::{collections::BTreeMap, sync::Arc, task::Poll, time::Duration};

use holdfast_agent_core::lease::Permit;
use holdfast_shared::{
    clock::SharedClock,
    repeats::{Repeats, Told},
};
use holdfast_types::{AppName, Generation, time::span};
use tokio::{sync::watch, time::sleep};

use super::{LOOK_AT_CLOCK, Views};
use crate::{
    apps::{App, Me},
    executors::Executors,
    locks::AppLocks,
};

/// Longest such a look may take.
const WATCH_WITHIN: Duration = Duration::from_millis(500);
/// Between two attempts to stop what would not stop.
const FENCE_RETRY: Duration = Duration::from_millis(200);
/// Longest that writers may take to start, crash recovery included.
const START_WITHIN: Duration = Duration::from_secs(120);

/// What has ended.
#[derive(Debug)]
pub(super) enum Done {
    Fenced(AppName, String),
    Started(AppName, bool),
    Watched(AppName, bool),
}

/// Stops every writer on this host; returns when nothing is left.
pub(super) async fn fence(
    app: Arc<App>,
    me: Me,
    executors: Arc<dyn Executors>,
    clock: SharedClock,
    within: Duration,
) -> Done {
    let began = clock.boot();
    let writers: Vec<_> = app.writers_on(&me.host).cloned().collect();
    let mut texts = BTreeMap::new();
    let stubborn = Repeats::default();
    while texts.len() < writers.len() {
        let left: Vec<_> = writers.iter().filter(|writer| !texts.contains_key(&writer.name)).collect();
        // All at once: each has the whole time.
        let ended = futures_util::future::join_all(left.iter().map(|writer| executors.fence(writer, within))).await;
        for (writer, ended) in left.into_iter().zip(ended) {
            match ended {
                Ok(text) => drop(texts.insert(writer.name.clone(), text)),
                Err(e) => {
                    let now = clock.boot();
                    if let Some(Told { times }) = stubborn.told(writer.name.clone(), now) {
                        let since = span(now.since(began));
                        tracing::error!(app = %app.name, writer = %writer.name, error = %e, since, times, "a writer is not stopped yet");
                    }
                }
            }
        }
        if texts.len() < writers.len() {
            sleep(FENCE_RETRY).await;
        }
    }
    let took = span(clock.boot().since(began));
    let said: Vec<_> = texts.iter().map(|(writer, text)| format!("{writer} {text}")).collect();
    Done::Fenced(app.name.clone(), format!("{} within {took}", said.join(", ")))
}

/// Looks whether anything accepts writes that must not.
pub(super) async fn watch_writers(
    name: AppName,
    app: Arc<App>,
    me: Me,
    executors: Arc<dyn Executors>,
    stopped: bool,
) -> Done {
    let looks = app.writers_on(&me.host).map(|writer| executors.look(writer, WATCH_WITHIN));
    let looks = futures_util::future::join_all(looks).await;
    let writes = looks.iter().flatten().any(|seen| seen.may_write(stopped));
    Done::Watched(name, writes)
}

/// Starts what was primary here.
pub(super) struct Start {
    pub(super) app: Arc<App>,
    pub(super) me: Me,
    pub(super) executors: Arc<dyn Executors>,
    pub(super) locks: AppLocks,
    pub(super) clock: SharedClock,
    pub(super) views: watch::Receiver<Views>,
    pub(super) generation: Generation,
}

impl Start {
    pub(super) async fn run(mut self) -> Done {
        let name = self.app.name.clone();
        // A command that promotes or starts goes first; then there is nothing left to do.
        let _one_at_a_time = self.locks.lock(&name).await;
        let work = async {
            for writer in self.app.writers_on(&self.me.host) {
                match self.executors.start_primary(writer, START_WITHIN).await {
                    Ok(seen) => tracing::info!(app = %name, writer = %writer.name, "started: {}", seen.text),
                    Err(e) => {
                        tracing::error!(app = %name, writer = %writer.name, error = %e, "cannot start a writer");
                        return false;
                    }
                }
            }
            true
        };
        let well = under_lease(&mut self.views, &self.clock, &name, self.generation, Duration::ZERO, work).await;
        Done::Started(name, well.unwrap_or(false))
    }
}

/// The lease was over, or gone, before or while something was opened under it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no lease of generation {0} that lasts long enough")]
pub struct NoLease(pub Generation);

/// Does `work`, which opens writers, only while a lease of `generation` lives with at least `left` at the start. Drops
/// the work when the lease goes: whatever it had begun is then fenced.
pub(crate) async fn under_lease<T>(
    views: &mut watch::Receiver<Views>,
    clock: &SharedClock,
    app: &AppName,
    generation: Generation,
    left: Duration,
    work: impl Future<Output = T>,
) -> Result<T, NoLease> {
    let permit = |views: &watch::Receiver<Views>| views.borrow().get(app).map_or(Permit::NONE, |view| view.permit);
    if !permit(views).allows(generation, left, clock.boot()) {
        return Err(NoLease(generation));
    }
    let looks = views.clone();
    let gone = async {
        loop {
            let now = clock.boot();
            let current = permit(views);
            if !current.allows(generation, Duration::ZERO, now) {
                return;
            }
            let wait = current.left(now).unwrap_or(LOOK_AT_CLOCK).min(LOOK_AT_CLOCK);
            tokio::select! {
                changed = views.changed() => if changed.is_err() { return },
                () = sleep(wait) => {}
            }
        }
    };
    // What wakes the work may come before the timer that would end it, as after the process was stopped for a while. So
    // each part of it begins with a look of its own.
    let mut work = std::pin::pin!(work);
    let work = std::future::poll_fn(|cx| {
        if permit(&looks).allows(generation, Duration::ZERO, clock.boot()) {
            work.as_mut().poll(cx).map(Ok)
        } else {
            Poll::Ready(Err(NoLease(generation)))
        }
    });
    tokio::select! {
        biased;
        () = gone => Err(NoLease(generation)),
        done = work => done,
    }
}
