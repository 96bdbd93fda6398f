//! Ctrl-C, a request to end, and a demonstration that takes too long: in every case all that was started is taken down
//! before the process ends.

use std::{
    process,
    sync::{
        OnceLock,
        atomic::{AtomicBool, AtomicI32, Ordering},
    },
    thread,
    time::Duration,
};

use anyhow::Result;
use tokio::signal::unix::{SignalKind, signal};

use crate::harness::net::Broom;

/// As a shell says it of a program ended by Ctrl-C.
const INTERRUPTED: i32 = 130;

/// Set as soon as everything is being taken down: what fails from then on fails because of that.
static ENDING: AtomicBool = AtomicBool::new(false);
static STATUS: AtomicI32 = AtomicI32::new(INTERRUPTED);
static BROOM: OnceLock<Broom> = OnceLock::new();

/// From here on a signal takes everything down, and so does the end of `limit`.
///
/// # Errors
/// When the thread that waits cannot be started.
pub fn arm(broom: Broom, limit: Option<Duration>) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    // One demonstration in a process.
    let _ = BROOM.set(broom);
    thread::Builder::new().name("interrupt".to_owned()).spawn(move || {
        let why = runtime.block_on(first(limit));
        end(&why);
    })?;
    Ok(())
}

/// An interrupt is how this one is meant to end.
pub fn ends_well() {
    STATUS.store(0, Ordering::Relaxed);
}

/// Does not return while everything is being taken down by an interrupt: its thread ends the process.
pub fn give_way() {
    while ENDING.load(Ordering::Relaxed) {
        thread::park();
    }
}

/// Waits for the first reason to end; says it.
async fn first(limit: Option<Duration>) -> String {
    let waiting = (signal(SignalKind::interrupt()), signal(SignalKind::terminate()), signal(SignalKind::hangup()));
    let (Ok(mut interrupt), Ok(mut terminate), Ok(mut hangup)) = waiting else {
        // Without handlers a signal ends the process, and the warden of its net takes everything down.
        return std::future::pending().await;
    };
    let late = async {
        match limit {
            Some(limit) => {
                tokio::time::sleep(limit).await;
                STATUS.store(1, Ordering::Relaxed);
                format!("it did not end within {limit:?}")
            }
            None => std::future::pending().await,
        }
    };
    // Each branch only waits; nothing is lost with the ones that are dropped.
    tokio::select! {
        biased;
        _ = interrupt.recv() => "interrupted".to_owned(),
        _ = terminate.recv() => "asked to end".to_owned(),
        _ = hangup.recv() => "the terminal is gone".to_owned(),
        why = late => why,
    }
}

#[expect(clippy::print_stderr, reason = "the last word of a program that is interrupted")]
fn end(why: &str) -> ! {
    ENDING.store(true, Ordering::Relaxed);
    eprintln!("\n{why}: taking everything down");
    if let Some(broom) = BROOM.get()
        && let Err(error) = broom.sweep_own()
    {
        eprintln!("not everything could be taken down: {error:#}");
    }
    process::exit(STATUS.load(Ordering::Relaxed))
}
