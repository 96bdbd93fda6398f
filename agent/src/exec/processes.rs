//! Whose processes live, judged by /proc, and ending them for sure.
//!
//! A killed postmaster does not stop its backends: each is a session and process group of its own. So a writer is
//! stopped when every process that belongs to it is *gone*, not when its first one was signalled. Belonging is seen in
//! the kernel: by working directory (every PostgreSQL process works in its data directory) or by cgroup. A number alone
//! names nobody: it is always taken together with the start time, and signals go through a pidfd. A zombie is dead: it
//! holds no file, no socket and no shared memory any more, however late its parent reaps it.

use std::{
    fmt, fs, io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    time::Duration,
};

use holdfast_types::time::span;
use rustix::process::{Pid, PidfdFlags, Signal};

use super::Until;

/// Pause between two looks: short against any fence, long against the cost of reading /proc.
const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// Looks in a row that must find nobody. One look can miss a process forked behind its back by one that then died.
const EMPTY_LOOKS: u32 = 2;

/// What a writer's processes are told by. A process belongs when either says so.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Scope {
    /// Processes that work in this directory, or below it, and those of PostgreSQL that are about to.
    pub data_dir: Option<PathBuf>,
    /// Processes in these cgroups, or below them.
    pub cgroups: Vec<PathBuf>,
}

/// One live process.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Process {
    /// Its number.
    pub pid: i32,
    /// When it started, in clock ticks after boot. With the number it names a process for ever.
    pub started: u64,
    /// Its short name, as `postgres`.
    pub name: String,
}

impl fmt::Display for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.pid, self.name)
    }
}

/// Why processes could not be ended or looked at.
#[derive(Debug, thiserror::Error)]
pub enum ProcessesError {
    /// Some live on.
    #[error("{} of {count} processes still there after {}: {}", left.len(), span(*within), list_text(left))]
    Left {
        /// Those that were there in the last look.
        left: Vec<Process>,
        /// How many had been there in all.
        count: usize,
        /// The time they were given.
        within: Duration,
    },
    /// /proc or a cgroup could not be read.
    #[error("cannot look at processes in /proc")]
    Look(#[source] io::Error),
    /// A process could not be signalled.
    #[error("cannot send a signal to process {process}")]
    Signal {
        /// Which.
        process: Process,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// The processes as one line.
#[must_use]
pub fn list_text(processes: &[Process]) -> String {
    const SHOWN_MAX: usize = 8;
    let mut text = processes.iter().take(SHOWN_MAX).map(ToString::to_string).collect::<Vec<_>>().join(", ");
    if processes.len() > SHOWN_MAX {
        text.push_str(", …");
    }
    text
}

/// The live processes of a scope, in the order of their numbers. Never the agent itself.
///
/// # Errors
/// When /proc cannot be read at all. A process that goes meanwhile is no error.
pub async fn list(scope: &Scope) -> Result<Vec<Process>, ProcessesError> {
    let scope = scope.clone();
    blocking(move || list_now(&scope)).await
}

/// Sends SIGKILL to every process of the scope, again and again, until none is left.
/// Returns how many different ones it killed.
///
/// # Errors
/// [`ProcessesError::Left`] when some are there after `within`; calling again goes on.
pub async fn kill_all_and_wait(scope: &Scope, within: Duration) -> Result<usize, ProcessesError> {
    let mut seen: Vec<Process> = Vec::new();
    let mut left = Vec::new();
    let work = async {
        let mut empty = 0;
        while empty < EMPTY_LOOKS {
            let scope = scope.clone();
            left = blocking(move || kill_once(&scope)).await?;
            seen.extend(left.iter().cloned());
            seen.sort();
            seen.dedup();
            empty = if left.is_empty() { empty + 1 } else { 0 };
            tokio::time::sleep(LOOK_AGAIN).await;
        }
        Ok(())
    };
    match Until::after(within).limit(work).await {
        Ok(Ok(())) => Ok(seen.len()),
        Ok(Err(e)) => Err(e),
        Err(_) => Err(ProcessesError::Left { left, count: seen.len(), within }),
    }
}

/// Waits until `done` says so of the scope's live processes.
///
/// # Errors
/// When /proc cannot be read.
pub async fn wait_until(scope: &Scope, done: impl Fn(&[Process]) -> bool) -> Result<(), ProcessesError> {
    while !done(&list(scope).await?) {
        tokio::time::sleep(LOOK_AGAIN).await;
    }
    Ok(())
}

/// Sends a signal to exactly this process. One that is gone already is no error.
///
/// # Errors
/// [`ProcessesError::Signal`] when it lives and the kernel refuses.
pub fn signal(process: &Process, signal: Signal) -> Result<(), ProcessesError> {
    let failed = |source: rustix::io::Errno| ProcessesError::Signal { process: process.clone(), source: source.into() };
    let Some(pid) = Pid::from_raw(process.pid) else { return Ok(()) };
    let handle = match rustix::process::pidfd_open(pid, PidfdFlags::empty()) {
        Ok(handle) => handle,
        Err(rustix::io::Errno::SRCH) => return Ok(()),
        Err(e) => return Err(failed(e)),
    };
    // The handle now names whoever has the number. Only if that one started when ours did is it ours.
    if stat(process.pid).is_none_or(|now| now.started != process.started) {
        return Ok(());
    }
    match rustix::process::pidfd_send_signal(&handle, signal) {
        Ok(()) | Err(rustix::io::Errno::SRCH) => Ok(()),
        Err(e) => Err(failed(e)),
    }
}

/// Whether this number belongs to a process that is dead and not yet reaped.
#[must_use]
pub fn is_zombie(pid: i32) -> bool {
    stat(pid).is_some_and(|stat| !stat.alive())
}

/// Runs a short look at /proc off the runtime's own threads.
async fn blocking<T: Send + 'static>(
    look: impl FnOnce() -> Result<T, ProcessesError> + Send + 'static,
) -> Result<T, ProcessesError> {
    match tokio::task::spawn_blocking(look).await {
        Ok(result) => result,
        // The runtime is going down: nothing was learnt.
        Err(e) => Err(ProcessesError::Look(io::Error::other(e))),
    }
}

fn kill_once(scope: &Scope) -> Result<Vec<Process>, ProcessesError> {
    for dir in &scope.cgroups {
        // Version 2 of cgroups kills a whole tree at once, forks included. Where it cannot, the loop below does.
        let file = dir.join("cgroup.kill");
        if file.exists() {
            drop(fs::write(file, "1"));
        }
    }
    let found = list_now(scope)?;
    let mut refused = None;
    for process in &found {
        // One refusal must not spare the others.
        if let Err(e) = signal(process, Signal::KILL) {
            refused = Some(e);
        }
    }
    match refused {
        Some(e) => Err(e),
        None => Ok(found),
    }
}

fn list_now(scope: &Scope) -> Result<Vec<Process>, ProcessesError> {
    let own = i32::try_from(std::process::id()).unwrap_or(0);
    let mut pids = Vec::new();
    if let Some(dir) = &scope.data_dir {
        pids = working_in(dir).map_err(ProcessesError::Look)?;
    }
    for dir in &scope.cgroups {
        members(dir, &mut pids).map_err(ProcessesError::Look)?;
    }
    pids.sort_unstable();
    pids.dedup();
    Ok(pids
        .into_iter()
        .filter(|pid| *pid != own)
        .filter_map(|pid| stat(pid).filter(Stat::alive).map(|s| s.process(pid)))
        .collect())
}

/// Numbers of all processes whose working directory is `dir`, whatever it is called in their mount namespace, or, in
/// our own, is below it or was before it was deleted. A process on its way out loses its working directory after its
/// files: whoever is not found here can write no more.
fn working_in(dir: &Path) -> io::Result<Vec<i32>> {
    let identity = fs::metadata(dir).ok().map(|m| (m.dev(), m.ino()));
    let path = fs::canonicalize(dir).unwrap_or_else(|_| dir.to_owned());
    let mounts = fs::read_link("/proc/self/ns/mnt").ok();
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let Some(pid) = entry?.file_name().to_str().and_then(|name| name.parse::<i32>().ok()) else { continue };
        let at = PathBuf::from(format!("/proc/{pid}"));
        let cwd = at.join("cwd");
        // Unreadable: gone, a zombie, or a kernel thread.
        let Ok(link) = fs::read_link(&cwd) else { continue };
        let same = || identity.is_some() && fs::metadata(&cwd).ok().map(|m| (m.dev(), m.ino())) == identity;
        let below = || is_below(&link, &path) && fs::read_link(at.join("ns/mnt")).ok() == mounts;
        let starting = || starts_in(&at, &[dir, &path]) && fs::read_link(at.join("ns/mnt")).ok() == mounts;
        if same() || below() || starting() {
            found.push(pid);
        }
    }
    Ok(found)
}

/// Whether a process is a server on its way into one of these directories: pg_ctl, the shell that it starts the server
/// with, or the server itself before it has changed its directory. They leave pg_ctl's process group, so ending that
/// does not end them.
fn starts_in(at: &Path, dirs: &[&Path]) -> bool {
    let name = fs::read_to_string(at.join("comm")).unwrap_or_default();
    if !matches!(name.trim_end(), "pg_ctl" | "sh" | "postgres" | "postmaster") {
        return false;
    }
    let line = fs::read(at.join("cmdline")).unwrap_or_default();
    let line = String::from_utf8_lossy(&line);
    dirs.iter().any(|dir| names_dir(&line, &dir.to_string_lossy()))
}

/// Whether a command line, its arguments ended by zeros, starts a server with this data directory.
fn names_dir(line: &str, dir: &str) -> bool {
    let quoted = format!("\"{dir}\"");
    let server = line.contains("postgres") || line.contains("postmaster") || line.contains("pg_ctl");
    server && line.split('\0').any(|argument| argument == dir || argument.contains(&quoted))
}

fn is_below(link: &Path, dir: &Path) -> bool {
    let text = link.to_string_lossy();
    Path::new(text.strip_suffix(" (deleted)").unwrap_or(&text)).starts_with(dir)
}

/// Adds the members of a cgroup and of all below it. A cgroup that is gone has none.
fn members(dir: &Path, pids: &mut Vec<i32>) -> io::Result<()> {
    let gone = |e: io::Error| if matches!(e.raw_os_error(), Some(code) if is_gone(code)) { Ok(()) } else { Err(e) };
    match fs::read_to_string(dir.join("cgroup.procs")) {
        Ok(text) => pids.extend(text.lines().filter_map(|line| line.parse::<i32>().ok()).filter(|pid| *pid > 0)),
        Err(e) => return gone(e),
    }
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(e) => return gone(e),
    };
    for entry in entries.flatten() {
        if entry.file_type().is_ok_and(|t| t.is_dir()) {
            members(&entry.path(), pids)?;
        }
    }
    Ok(())
}

/// What reading a removed cgroup answers.
fn is_gone(code: i32) -> bool {
    code == rustix::io::Errno::NOENT.raw_os_error() || code == rustix::io::Errno::NODEV.raw_os_error()
}

/// What /proc/PID/stat says.
#[derive(Debug, PartialEq, Eq)]
struct Stat {
    name: String,
    state: char,
    started: u64,
}

impl Stat {
    fn alive(&self) -> bool {
        !matches!(self.state, 'Z' | 'X' | 'x')
    }

    fn process(self, pid: i32) -> Process {
        Process { pid, started: self.started, name: self.name }
    }
}

fn stat(pid: i32) -> Option<Stat> {
    parse_stat(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// The name stands in parentheses and may itself hold any character, parentheses and spaces included.
fn parse_stat(text: &str) -> Option<Stat> {
    let (_, rest) = text.split_once('(')?;
    let (name, rest) = rest.rsplit_once(") ")?;
    let mut fields = rest.split_ascii_whitespace();
    let state = fields.next()?.chars().next()?;
    // Field 22 of the file; the state was field 3.
    let started = fields.nth(18)?.parse().ok()?;
    Some(Stat { name: name.to_owned(), state, started })
}

#[cfg(test)]
mod tests {
    use std::process::{Child, Command};

    use proptest::prelude::*;

    use super::*;

    struct Sleeper(Child);

    impl Sleeper {
        fn in_dir(dir: &Path) -> Self {
            Self(Command::new("sleep").arg("1000").current_dir(dir).spawn().expect("sleep runs"))
        }

        fn pid(&self) -> i32 {
            i32::try_from(self.0.id()).expect("a pid")
        }
    }

    impl Drop for Sleeper {
        fn drop(&mut self) {
            self.0.kill().ok();
            self.0.wait().ok();
        }
    }

    fn pids(processes: &[Process]) -> Vec<i32> {
        processes.iter().map(|p| p.pid).collect()
    }

    async fn list_until(scope: &Scope, wanted: &[i32]) {
        let mut wanted = wanted.to_vec();
        wanted.sort_unstable();
        let mut found = Vec::new();
        for _ in 0..500 {
            found = pids(&list(scope).await.expect("/proc is readable"));
            if found == wanted {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("expected {wanted:?}, found {found:?}");
    }

    #[test]
    fn a_name_cannot_forge_the_fields_behind_it() {
        let tail = "S 1 1 1 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 777 1 1";
        let stat = parse_stat(&format!("12 (a) Z 1 (b) {tail}")).expect("a line");
        assert_eq!(stat, Stat { name: "a) Z 1 (b".into(), state: 'S', started: 777 });
        assert!(stat.alive());
    }

    proptest! {
        #[test]
        fn garbage_in_stat_never_panics(text in ".{0,200}") {
            parse_stat(&text);
        }
    }

    #[tokio::test]
    async fn processes_are_found_by_directory_also_through_links_and_after_it_was_deleted() {
        let dir = tempfile::tempdir().expect("a directory");
        let (data, other) = (dir.path().join("data"), dir.path().join("data2"));
        fs::create_dir_all(data.join("sub")).expect("made");
        fs::create_dir(&other).expect("made");
        std::os::unix::fs::symlink(&data, dir.path().join("link")).expect("made");
        let (a, b, _stranger) = (Sleeper::in_dir(&data), Sleeper::in_dir(&data.join("sub")), Sleeper::in_dir(&other));
        let by_link = Scope { data_dir: Some(dir.path().join("link")), ..Scope::default() };
        list_until(&by_link, &[a.pid(), b.pid()]).await;
        fs::remove_dir_all(&data).expect("removed");
        let by_path = Scope { data_dir: Some(data), ..Scope::default() };
        list_until(&by_path, &[a.pid(), b.pid()]).await;
    }

    #[tokio::test]
    async fn all_of_a_directory_are_killed_and_zombies_count_as_gone() {
        let dir = tempfile::tempdir().expect("a directory");
        let elsewhere = tempfile::tempdir().expect("a directory");
        let sleepers = [Sleeper::in_dir(dir.path()), Sleeper::in_dir(dir.path())];
        let stranger = Sleeper::in_dir(elsewhere.path());
        let scope = Scope { data_dir: Some(dir.path().to_owned()), ..Scope::default() };
        list_until(&scope, &sleepers.each_ref().map(Sleeper::pid)).await;
        // Nobody reaps them before the end of this test: they stay zombies.
        assert_eq!(kill_all_and_wait(&scope, Duration::from_secs(10)).await.expect("they die"), 2);
        assert_eq!(kill_all_and_wait(&scope, Duration::from_secs(10)).await.expect("nobody is left"), 0);
        let strangers = Scope { data_dir: Some(elsewhere.path().to_owned()), ..Scope::default() };
        assert_eq!(pids(&list(&strangers).await.expect("/proc is readable")), [stranger.pid()]);
    }

    #[test]
    fn a_server_on_its_way_into_a_directory_is_told_by_its_command_line() {
        let shell = "sh\0-c\0exec \"/usr/lib/postgresql/15/bin/postgres\" -D \"/srv/pg\" < /dev/null >> \"log\" 2>&1\0";
        for line in [shell, "/bin/pg_ctl\0start\0-D\0/srv/pg\0-w\0", "postgres\0-D\0/srv/pg\0"] {
            assert!(names_dir(line, "/srv/pg"), "{line:?}");
            assert!(!names_dir(line, "/srv/p") && !names_dir(line, "/srv/pg2"), "{line:?}");
        }
        assert!(!names_dir("sh\0-c\0ls \"/srv/pg\"\0", "/srv/pg"), "no server");
    }

    #[tokio::test]
    async fn a_server_that_has_not_yet_entered_its_directory_is_killed_too() {
        let dir = tempfile::tempdir().expect("a directory");
        // As pg_ctl starts it, held up before the server itself runs.
        let script = format!("while :; do sleep 1; done # exec \"postgres\" -D \"{}\"", dir.path().display());
        let mut child = Command::new("sh").arg("-c").arg(script).current_dir("/").spawn().expect("sh runs");
        let pid = i32::try_from(child.id()).expect("a pid");
        let scope = Scope { data_dir: Some(dir.path().to_owned()), ..Scope::default() };
        list_until(&scope, &[pid]).await;
        assert_eq!(kill_all_and_wait(&scope, Duration::from_secs(10)).await.expect("it dies"), 1);
        child.wait().expect("ours");
    }

    #[test]
    fn a_signal_never_reaches_another_process_of_the_same_number() {
        let mut sleeper = Sleeper::in_dir(Path::new("/"));
        let now = stat(sleeper.pid()).expect("it lives").process(sleeper.pid());
        signal(&Process { started: now.started + 1, ..now }, Signal::KILL).expect("nobody to signal is no error");
        assert_eq!(sleeper.0.try_wait().expect("ours"), None, "another process was killed");
    }
}
