//! One thread waits for every child of this process.
//!
//! A daemon that loses its parent passes to the nearest subreaper. Where PID 1 is slow to reap, a killed PostgreSQL stays
//! a zombie for seconds and looks alive to `kill -0` and to PostgreSQL's own lock file; so this process takes the orphans
//! and reaps them at once. As orphans and own children cannot be told apart by a general wait, the same thread takes both
//! and keeps the ends of the registered ones.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt, io,
    process::{Child, Command},
    sync::{Arc, Condvar, LazyLock, Mutex, MutexGuard, PoisonError},
    thread,
    time::Duration,
};

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, WaitOptions};

/// How a program ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// By itself, with this status.
    Exited(i32),
    /// By this signal.
    Killed(i32),
}

impl Ended {
    /// Whether the status is 0.
    #[must_use]
    pub const fn well(self) -> bool {
        matches!(self, Self::Exited(0))
    }
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exited(status) => write!(f, "exited with status {status}"),
            Self::Killed(signal) => write!(f, "was ended by signal {signal}"),
        }
    }
}

#[derive(Default)]
struct Children {
    running: BTreeSet<u32>,
    ended: BTreeMap<u32, Ended>,
}

#[derive(Default)]
struct Reaper {
    children: Mutex<Children>,
    changed: Condvar,
}

/// Started with the first program and alive as long as the process: orphans may turn up at any time.
static REAPER: LazyLock<Arc<Reaper>> = LazyLock::new(|| {
    // Without it orphans go to PID 1, and only the promptness described above is lost.
    let _ = rustix::process::set_child_subreaper(Some(rustix::process::getpid()));
    let reaper = Arc::new(Reaper::default());
    let own = Arc::clone(&reaper);
    thread::Builder::new()
        .name("reaper".to_owned())
        .spawn(move || own.run())
        .expect("a process that can start programs can start a thread");
    reaper
});

impl Reaper {
    fn lock(&self) -> MutexGuard<'_, Children> {
        self.children.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run(&self) -> ! {
        loop {
            // Only a look: the reaping itself happens under the lock, so that whoever signals a child under the same
            // lock can be sure that the number still means that child.
            match rustix::process::waitid(WaitId::All, WaitIdOptions::EXITED | WaitIdOptions::NOWAIT) {
                Ok(_) => self.reap(),
                Err(rustix::io::Errno::CHILD) => {
                    let children = self.lock();
                    // No child means no descendant either: nothing can end until something is started.
                    drop(
                        self.changed
                            .wait_while(children, |c| c.running.is_empty())
                            .unwrap_or_else(PoisonError::into_inner),
                    );
                }
                Err(_) => {}
            }
        }
    }

    fn reap(&self) {
        let mut children = self.lock();
        while let Ok(Some((pid, status))) = rustix::process::wait(WaitOptions::NOHANG) {
            let Ok(pid) = u32::try_from(pid.as_raw_nonzero().get()) else { continue };
            if children.running.remove(&pid) {
                let ended = match status.terminating_signal() {
                    Some(signal) => Ended::Killed(signal),
                    None => Ended::Exited(status.exit_status().unwrap_or(-1)),
                };
                children.ended.insert(pid, ended);
            }
        }
        self.changed.notify_all();
    }
}

/// Starts a program whose end is kept until [`forget`].
pub(super) fn spawn(command: &mut Command) -> io::Result<Child> {
    // The lock is held over the start: a child that ends at once is registered before it can be reaped.
    let mut children = REAPER.lock();
    let child = command.spawn()?;
    children.running.insert(child.id());
    REAPER.changed.notify_all();
    Ok(child)
}

/// How the child ended; nothing while it runs.
pub(super) fn ended(pid: u32) -> Option<Ended> {
    REAPER.lock().ended.get(&pid).copied()
}

/// Waits for the child's end, at most for `within`.
pub(super) fn wait(pid: u32, within: Duration) -> Option<Ended> {
    let children = REAPER.lock();
    let (children, _) = REAPER
        .changed
        .wait_timeout_while(children, within, |c| !c.ended.contains_key(&pid))
        .unwrap_or_else(PoisonError::into_inner);
    children.ended.get(&pid).copied()
}

/// Drops what is remembered of an ended child.
pub(super) fn forget(pid: u32) {
    REAPER.lock().ended.remove(&pid);
}

/// Signals a child that runs; `false` when it has ended.
pub(super) fn signal(pid: u32, signal: Signal) -> bool {
    let children = REAPER.lock();
    children.running.contains(&pid) && as_pid(pid).is_some_and(|p| rustix::process::kill_process(p, signal).is_ok())
}

/// Signals the process group that a child was started with, also when the child itself has ended: the group's number
/// stays taken while a member lives.
pub(super) fn signal_group(pid: u32, signal: Signal) {
    if let Some(group) = as_pid(pid) {
        // The group is gone: that is what was wanted.
        let _ = rustix::process::kill_process_group(group, signal);
    }
}

pub(super) fn as_pid(pid: u32) -> Option<Pid> {
    i32::try_from(pid).ok().and_then(Pid::from_raw)
}
