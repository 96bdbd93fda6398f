//! Real PostgreSQL and HAProxy for the tests of executors. What is started here ends here, by its own number.

pub mod pg;
pub mod proxy;

use std::{
    fmt::Debug,
    net::TcpListener,
    path::{Path, PathBuf},
    time::Duration,
};

/// Longest wait for any state: generous, because the machine may be busy; reached only by a failure.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Waits until `look` finds what `wanted` accepts and returns it; fails with what was there instead.
pub async fn wait_for<T: Debug>(what: &str, mut look: impl AsyncFnMut() -> T, wanted: impl Fn(&T) -> bool) -> T {
    let mut last = None;
    let waited = tokio::time::timeout(PATIENCE, async {
        loop {
            let found = look().await;
            if wanted(&found) {
                return found;
            }
            last = Some(found);
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    });
    match waited.await {
        Ok(found) => found,
        Err(_) => panic!("waited {PATIENCE:?} for {what}; found {last:?}"),
    }
}

/// A port that nobody uses now.
pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).expect("a free port").port()
}

/// Numbers of the live processes that work in `dir`, found without the code under test.
pub fn pids_in(dir: &Path) -> Vec<i32> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").expect("/proc is mounted").flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<i32>().ok()) else { continue };
        if std::fs::read_link(entry.path().join("cwd")).is_ok_and(|cwd: PathBuf| cwd == dir) {
            found.push(pid);
        }
    }
    found.sort_unstable();
    found
}

/// Sends a signal to one process that this test started.
pub fn signal(pid: i32, signal: rustix::process::Signal) {
    let pid = rustix::process::Pid::from_raw(pid).expect("a process number");
    rustix::process::kill_process(pid, signal).ok();
}
