//! Watches two databases all the time: the old one must be down, to its last process, before the other leaves recovery.
//!
//! One look asks the candidate first and counts the old one's processes after that. A candidate never returns into
//! recovery, so an answer "primary" that is followed by a living process of the old one shows both at once, however long
//! the look took.

use std::{
    path::Path,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use anyhow::{Result, anyhow};
use holdfast_types::BootInstant;

use super::{
    postgres::{PgNode, processes_in},
    session::Session,
    time::now,
};

/// Between two looks.
const EVERY: Duration = Duration::from_millis(5);

/// Both were seen to be there at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TwoPrimaries {
    /// When.
    pub at: BootInstant,
    /// What lived of the old one.
    pub old_processes: usize,
}

#[derive(Debug, Default)]
struct Seen {
    looks: u64,
    promoted: Option<BootInstant>,
    both: Vec<TwoPrimaries>,
}

/// A watch over the old database and the one that may be promoted; ends when it is dropped.
#[derive(Debug)]
pub struct Primaries {
    stop: Arc<AtomicBool>,
    seen: Arc<Mutex<Seen>>,
    thread: Option<JoinHandle<()>>,
}

impl Primaries {
    /// Watches from now on.
    ///
    /// # Errors
    /// When no thread can be started.
    pub fn watch(old: &PgNode, candidate: &PgNode) -> Result<Self> {
        let port = candidate.port();
        let (old, candidate) = (old.data_dir(), candidate.socket_dir());
        let (stop, seen) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(Seen::default())));
        let (until, into) = (Arc::clone(&stop), Arc::clone(&seen));
        let thread = thread::Builder::new().name("primaries".to_owned()).spawn(move || {
            let mut session = None;
            while !until.load(Ordering::Relaxed) {
                look(&old, (&candidate, port), &mut session, &into);
                thread::sleep(EVERY);
            }
        })?;
        Ok(Self { stop, seen, thread: Some(thread) })
    }

    /// Ends the watch: when the candidate was first seen as primary, and every look that saw both.
    ///
    /// # Errors
    /// When the watch itself broke.
    pub fn end(mut self) -> Result<(Option<BootInstant>, Vec<TwoPrimaries>)> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread
            .take()
            .map_or(Ok(()), JoinHandle::join)
            .map_err(|_| anyhow!("the watch over both databases panicked"))?;
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        anyhow::ensure!(seen.looks > 0, "the watch never looked");
        Ok((seen.promoted, seen.both.clone()))
    }
}

impl Drop for Primaries {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // Its panic was printed; a second one from here would hide the first.
            let _ = thread.join();
        }
    }
}

fn look(old_data: &Path, candidate: (&Path, u16), session: &mut Option<Session>, seen: &Mutex<Seen>) {
    if session.is_none() {
        *session = Session::open(candidate.0, candidate.1).ok();
    }
    let answer = session.as_mut().map(|session| session.query("select not pg_is_in_recovery()"));
    let primary = match answer {
        Some(Ok(rows)) => rows.first().and_then(|row| row.first()).is_some_and(|value| value.as_deref() == Some("t")),
        Some(Err(_)) => {
            *session = None;
            false
        }
        None => false,
    };
    let at = now();
    let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
    seen.looks += 1;
    if primary {
        seen.promoted.get_or_insert(at);
        let alive = processes_in(old_data).len();
        if alive > 0 {
            seen.both.push(TwoPrimaries { at, old_processes: alive });
        }
    }
}
