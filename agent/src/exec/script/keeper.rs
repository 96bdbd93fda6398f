//! The keeper of one script: a process of its own that leaves nothing of the script behind.
//!
//! ```text
//!   agent ── keeper (leads a process group; reaper of all below it) ── script ── whatever it starts
//! ```
//!
//! Orphans go to the nearest reaper above them, so whatever a script starts, in whatever session or group, is or becomes
//! a child of the keeper. When the script has ended, or its time is over, the keeper kills its children until it has
//! none. Should the agent die meanwhile, the keeper still ends them in time; should the keeper hang, the agent kills it
//! with its group.

use std::{
    fs, io,
    io::Write as _,
    os::{
        fd::{AsFd as _, AsRawFd as _},
        unix::process::CommandExt as _,
    },
    path::Path,
    process::{Command, ExitCode, Stdio},
    time::Duration,
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::Errno,
    process::{Pid, PidfdFlags, Signal, WaitOptions, WaitStatus},
};

/// The agent's own command for it: folder, name and milliseconds follow.
pub const COMMAND: &str = "run-script";

/// Exit code when the script was not run; the reason stands on the standard error. The shell's own codes for that, 126
/// and 127, follow it.
pub const COULD_NOT_RUN: u8 = 125;

/// The signal that a keeper ends by when the script had not ended in time. No script can look like that: what ends one
/// becomes an exit code, as in the shell.
pub const TIME_IS_OVER: Signal = Signal::ALARM;

/// Root is the only owner that a script may have.
const ROOT: u32 = 0;

/// Runs the script, waits for it, and ends all that it started.
#[must_use]
pub fn keep(folder: &Path, name: &str, within: Duration) -> ExitCode {
    let first = match start(folder, name) {
        Ok(first) => first,
        Err(why) => {
            // Without a standard error nobody is there to be told.
            drop(writeln!(io::stderr(), "{why}"));
            return ExitCode::from(COULD_NOT_RUN);
        }
    };
    let in_time = ends_within(first, within);
    match (in_time, end_all(first)) {
        (true, Some(status)) => ExitCode::from(code(status)),
        (false, _) | (true, None) => {
            rustix::process::kill_process(rustix::process::getpid(), TIME_IS_OVER).ok();
            ExitCode::from(COULD_NOT_RUN)
        }
    }
}

fn start(folder: &Path, name: &str) -> Result<Pid, String> {
    let script = super::open(folder, name, ROOT).map_err(|e| e.to_string())?;
    // Before there is anybody to take up.
    rustix::process::set_child_subreaper(Some(rustix::process::getpid()))
        .map_err(|e| format!("cannot take up what the script leaves behind: {e}"))?;
    let child = Command::new(format!("/proc/self/fd/{}", script.as_raw_fd()))
        .arg0(folder.join(name))
        .stdin(Stdio::null())
        .spawn()
        .map_err(|e| format!("cannot run {}: {e}", folder.join(name).display()))?;
    i32::try_from(child.id()).ok().and_then(Pid::from_raw).ok_or_else(|| "the script has no pid".to_owned())
}

/// Waits for the script itself. It is not reaped, so its number stays its own.
fn ends_within(first: Pid, within: Duration) -> bool {
    let Ok(exit) = rustix::process::pidfd_open(first, PidfdFlags::empty()) else { return true };
    let limit = Timespec {
        tv_sec: i64::try_from(within.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: i64::from(within.subsec_nanos()),
    };
    loop {
        match poll(&mut [PollFd::from_borrowed_fd(exit.as_fd(), PollFlags::IN)], Some(&limit)) {
            Ok(ready) => return ready > 0,
            // Only being stopped and continued interrupts: the agent still watches the time.
            Err(Errno::INTR) => {}
            Err(_) => return false,
        }
    }
}

/// Kills and reaps children until there are none: those of a child that was killed become ours. Returns how the script
/// itself ended.
fn end_all(first: Pid) -> Option<WaitStatus> {
    let mut how = None;
    let mut note = |(pid, status): (Pid, WaitStatus)| {
        if pid == first {
            how = Some(status);
        }
    };
    loop {
        // What is dead already is reaped without looking through /proc, which is all there is to do for most scripts.
        match rustix::process::wait(WaitOptions::NOHANG) {
            Ok(Some(ended)) => {
                note(ended);
                continue;
            }
            Ok(None) => {}
            Err(Errno::INTR) => continue,
            Err(_) => return how,
        }
        for child in children() {
            // A child of ours that is not reaped keeps its number, so this hits nobody else.
            rustix::process::kill_process(child, Signal::KILL).ok();
        }
        match rustix::process::wait(WaitOptions::empty()) {
            Ok(Some(ended)) => note(ended),
            Ok(None) | Err(Errno::INTR) => {}
            Err(_) => return how,
        }
    }
}

/// The children of this process, by /proc.
fn children() -> Vec<Pid> {
    let own = rustix::process::getpid().as_raw_nonzero().get();
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    pids.filter(|pid| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        parent(&stat) == Some(own)
    })
    .filter_map(Pid::from_raw)
    .collect()
}

/// The parent's number in the text of /proc/PID/stat. The name in parentheses may hold anything.
fn parent(stat: &str) -> Option<i32> {
    let (_, rest) = stat.rsplit_once(") ")?;
    rest.split_ascii_whitespace().nth(1)?.parse().ok()
}

/// As the shell says it.
fn code(status: WaitStatus) -> u8 {
    let code = status.exit_status().or_else(|| status.terminating_signal().map(|signal| 128 + signal));
    code.and_then(|code| u8::try_from(code).ok()).unwrap_or(COULD_NOT_RUN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parent_is_found_behind_any_name() {
        assert_eq!(parent("41 (a) b) (c) S 7 41 41 0"), Some(7));
        assert_eq!(parent("41 (sh"), None);
        assert_eq!(parent(""), None);
    }
}
