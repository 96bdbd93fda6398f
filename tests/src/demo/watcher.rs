//! Asks the product what it sees and does, on a thread of its own: each question takes as long as it takes, and what is
//! measured beside it must not wait.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc::{Receiver, SyncSender, TrySendError, sync_channel},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use anyhow::{Context, Result};
use serde::Deserialize;

use crate::{
    harness::{Guarded, Program},
    measure::{Moment, Operation},
};

/// A question that takes longer is asked again.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);
/// Between two questions while something happens: often enough to see every round of checks, seldom enough to leave the
/// processor to what is watched.
const ALERT_PAUSE: Duration = Duration::from_millis(150);
/// While nothing happens.
const QUIET_PAUSE: Duration = Duration::from_millis(500);
/// Sights wait here for a screen that is drawn every few hundredths of a second; a full channel ends the watcher's turn,
/// and it looks anew.
const SIGHTS_MAX: usize = 64;

/// Something the product said.
#[derive(Debug, Clone)]
pub enum Sight {
    /// How a region is judged.
    Verdict(Verdict, Moment),
    /// An operation as it is now.
    Operation(Operation),
}

/// One region in `holdfast -o json why`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Verdict {
    /// Which.
    pub region: String,
    /// Whether it takes the app's writes.
    pub active: bool,
    /// ok, degraded, failing, unknown.
    pub verdict: String,
    /// Consecutive failing verdicts so far.
    pub failing: u32,
    /// So many make it unhealthy.
    pub failures: u32,
    /// Why.
    #[serde(default)]
    pub reasons: Vec<String>,
}

/// Asks questions; a copy asks by itself.
#[derive(Debug, Clone)]
pub struct Asker {
    program: Program,
}

impl Asker {
    /// With the first admin's context, beside the coordinator.
    ///
    /// # Errors
    /// When the admin's folder cannot be made.
    pub fn new(guarded: &Guarded) -> Result<Self> {
        Ok(Self { program: guarded.fleet.operator(&guarded.binaries)? })
    }

    /// What `holdfast` prints, as text.
    ///
    /// # Errors
    /// When it fails or does not answer in time.
    pub fn text(&self, args: &[&str]) -> Result<String> {
        self.program.clone().args(args).run(ANSWER_WITHIN)?.well()
    }

    /// What `holdfast -o json` prints.
    ///
    /// # Errors
    /// When it fails, does not answer in time or prints no JSON.
    pub fn json(&self, args: &[&str]) -> Result<serde_json::Value> {
        let text = self.program.clone().args(["-o", "json"]).args(args).run(ANSWER_WITHIN)?.well()?;
        serde_json::from_str(&text).with_context(|| format!("holdfast {args:?} printed {text}"))
    }

    /// The number of an app's newest operation.
    ///
    /// # Errors
    /// When it cannot be asked for.
    pub fn newest(&self, app: &str) -> Result<Option<u64>> {
        let list = self.json(&["operations", "list", "--app", app, "--limit", "1"])?;
        Ok(list["operations"].as_array().into_iter().flatten().filter_map(|op| op["number"].as_u64()).max())
    }

    /// One operation, with its steps.
    ///
    /// # Errors
    /// When it cannot be asked for.
    pub fn operation(&self, number: u64) -> Result<Operation> {
        Operation::from_json(self.json(&["operations", "show", &number.to_string()])?)
    }
}

/// The thread that asks. Ends when it is dropped.
#[derive(Debug)]
pub struct Watcher {
    sights: Receiver<Sight>,
    alert: Arc<AtomicBool>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Watcher {
    /// Starts to watch an app.
    ///
    /// # Errors
    /// When the thread cannot be started.
    pub fn start(asker: Asker, app: &str) -> Result<Self> {
        let (sender, sights) = sync_channel(SIGHTS_MAX);
        let (alert, stop) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
        let (watch_alert, watch_stop, app) = (Arc::clone(&alert), Arc::clone(&stop), app.to_owned());
        let thread = thread::Builder::new().name("watcher".to_owned()).spawn(move || {
            let mut last = None;
            while !watch_stop.load(Ordering::Relaxed) {
                // A coordinator that does not answer is part of what may be shown; the next look tells.
                let _ = look(&asker, &app, &mut last, &sender);
                thread::park_timeout(if watch_alert.load(Ordering::Relaxed) { ALERT_PAUSE } else { QUIET_PAUSE });
            }
        })?;
        Ok(Self { sights, alert, stop, thread: Some(thread) })
    }

    /// Something happens, or not any more: how often it asks.
    pub fn set_alert(&self, alert: bool) {
        self.alert.store(alert, Ordering::Relaxed);
        if let Some(thread) = &self.thread {
            thread.thread().unpark();
        }
    }

    /// What has come in since the last time.
    pub fn sights(&self) -> impl Iterator<Item = Sight> {
        self.sights.try_iter()
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            // A panic there was printed already.
            let _ = thread.join();
        }
    }
}

/// One look: while an operation runs its steps, else the verdicts. `last` is the newest operation that has ended.
fn look(asker: &Asker, app: &str, last: &mut Option<u64>, sender: &SyncSender<Sight>) -> Result<()> {
    if let Some(number) = asker.newest(app)?.filter(|number| Some(*number) != *last) {
        let operation = asker.operation(number)?;
        let ended = operation.ended();
        if sent(sender, Sight::Operation(operation)) && ended {
            *last = Some(number);
        }
        return Ok(());
    }
    let at = Moment::now();
    let regions: Vec<Verdict> = serde_json::from_value(asker.json(&["why", app])?["regions"].take())?;
    regions.into_iter().filter(|verdict| verdict.active).for_each(|verdict| {
        sent(sender, Sight::Verdict(verdict, at));
    });
    Ok(())
}

fn sent(sender: &SyncSender<Sight>, sight: Sight) -> bool {
    match sender.try_send(sight) {
        Ok(()) => true,
        Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => false,
    }
}
