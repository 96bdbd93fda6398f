//! Programs: run to their end with a deadline, or kept running until dropped.

use std::{
    ffi::{OsStr, OsString},
    fs::{self, File},
    io::{self, Read, Seek},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, bail};
use rustix::process::Signal;

pub use super::reaper::Ended;
use super::{host::Host, logs, reaper};

/// SIGKILL takes effect at the next return from the kernel; only a disk that hangs makes that long.
const KILLED_WITHIN: Duration = Duration::from_secs(5);

/// How much of a log is worth printing with a failure.
const TAIL_LINES: usize = 25;

/// What to run, where and as whom.
#[derive(Debug, Clone)]
pub struct Program {
    program: OsString,
    args: Vec<OsString>,
    env: Vec<(OsString, OsString)>,
    namespace: Option<PathBuf>,
    through: Vec<OsString>,
    user: Option<String>,
    directory: PathBuf,
}

/// What a program said until it ended.
#[derive(Debug, Clone)]
pub struct Output {
    /// How it ended.
    pub ended: Ended,
    /// What it wrote to standard output.
    pub stdout: String,
    /// What it wrote to standard error.
    pub stderr: String,
    what: String,
}

impl Output {
    /// The exit status; nothing when a signal ended it.
    #[must_use]
    pub const fn status(&self) -> Option<i32> {
        match self.ended {
            Ended::Exited(status) => Some(status),
            Ended::Killed(_) => None,
        }
    }

    /// Standard output of a program that ended well.
    ///
    /// # Errors
    /// When it ended otherwise, with what it said.
    pub fn well(self) -> Result<String> {
        if self.ended.well() {
            return Ok(self.stdout);
        }
        bail!("{} {}: {}{}", self.what, self.ended, self.stdout, self.stderr)
    }
}

impl Program {
    /// A program by path or by name in PATH.
    pub fn new(program: impl AsRef<OsStr>) -> Self {
        Self {
            program: program.as_ref().to_owned(),
            args: Vec::new(),
            env: Vec::new(),
            namespace: None,
            through: Vec::new(),
            user: None,
            // Readable for every user, unlike the folder a test is started from.
            directory: PathBuf::from("/"),
        }
    }

    /// Adds an argument.
    #[must_use]
    pub fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.args.push(arg.as_ref().to_owned());
        self
    }

    /// Adds arguments.
    #[must_use]
    pub fn args<A: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = A>) -> Self {
        self.args.extend(args.into_iter().map(|a| a.as_ref().to_owned()));
        self
    }

    /// Sets an environment variable.
    #[must_use]
    pub fn env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.env.push((name.as_ref().to_owned(), value.as_ref().to_owned()));
        self
    }

    /// Runs it on a host, in the host's folder: by that it is found again where there are no namespaces.
    #[must_use]
    pub fn on(mut self, host: &Host) -> Self {
        self.namespace = host.namespace_file();
        self.directory.clone_from(&host.folder);
        self
    }

    /// Has another program start it, whose command line these words begin: one that leads into a booted machine.
    #[must_use]
    pub fn through(mut self, words: &[OsString]) -> Self {
        self.through = words.to_vec();
        self
    }

    /// Runs it as another user.
    #[must_use]
    pub fn as_user(mut self, user: &str) -> Self {
        self.user = Some(user.to_owned());
        self
    }

    /// Runs it in another folder than `/`.
    #[must_use]
    pub fn directory(mut self, directory: impl Into<PathBuf>) -> Self {
        self.directory = directory.into();
        self
    }

    /// `initdb -D /x` as people would type it.
    #[must_use]
    pub fn shown(&self) -> String {
        std::iter::once(&self.program).chain(&self.args).map(|a| a.to_string_lossy()).collect::<Vec<_>>().join(" ")
    }

    /// The command line in full. nsenter and setpriv replace themselves by the next program, so the process that is
    /// started is the one that is meant. nsenter and not `ip netns exec`: that also mounts another /sys.
    fn command(&self) -> Command {
        let mut words = Vec::<OsString>::new();
        if let Some(namespace) = &self.namespace {
            let mut net = OsString::from("--net=");
            net.push(namespace);
            words.extend(["nsenter".into(), net, "--".into()]);
        }
        words.extend(self.through.iter().cloned());
        if let Some(user) = &self.user {
            words.extend(["setpriv", "--reuid", user, "--regid", user, "--init-groups", "--"].map(OsString::from));
        }
        words.push(self.program.clone());
        words.extend(self.args.iter().cloned());
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]).envs(self.env.iter().cloned()).current_dir(&self.directory).stdin(Stdio::null());
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        command
    }

    /// Runs it to its end; after `within` it is killed with its group.
    ///
    /// # Errors
    /// When it cannot be started or does not end in time. How it ended is in the output.
    pub fn run(&self, within: Duration) -> Result<Output> {
        // Files and not pipes: a daemon that the program leaves behind keeps a pipe open, and its reader waiting.
        let (mut out, mut err) = (tempfile::tempfile()?, tempfile::tempfile()?);
        let mut command = self.command();
        command.stdout(out.try_clone()?).stderr(err.try_clone()?);
        let pid = reaper::spawn(&mut command).with_context(|| format!("cannot start {}", self.shown()))?.id();
        let ended = reaper::wait(pid, within);
        if ended.is_none() {
            reaper::signal_group(pid, Signal::KILL);
            reaper::wait(pid, KILLED_WITHIN);
        }
        reaper::forget(pid);
        let (stdout, stderr) = (content(&mut out)?, content(&mut err)?);
        match ended {
            Some(ended) => Ok(Output { ended, stdout, stderr, what: self.shown() }),
            None => bail!("{} did not end within {within:?}, it said: {stdout}{stderr}", self.shown()),
        }
    }

    /// Starts it and keeps it running; both outputs are appended to `log`.
    ///
    /// # Errors
    /// When it cannot be started or the log cannot be opened.
    pub fn start(&self, name: &str, log: &Path) -> Result<Process> {
        if let Some(folder) = log.parent() {
            fs::create_dir_all(folder)?;
        }
        let out =
            File::options().create(true).append(true).open(log).with_context(|| format!("log {}", log.display()))?;
        let mut command = self.command();
        command.stdout(out.try_clone()?).stderr(out);
        let pid = reaper::spawn(&mut command).with_context(|| format!("cannot start {}", self.shown()))?.id();
        Ok(Process { name: name.to_owned(), pid, log: log.to_owned() })
    }
}

fn content(file: &mut File) -> io::Result<String> {
    let mut bytes = Vec::new();
    file.rewind()?;
    file.read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// A program that runs until it is dropped; then its whole group is killed and waited for.
#[derive(Debug)]
pub struct Process {
    name: String,
    pid: u32,
    log: PathBuf,
}

impl Process {
    /// What the test calls it.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The program's own process id; also the id of its group.
    #[must_use]
    pub const fn pid(&self) -> u32 {
        self.pid
    }

    /// Where its output goes.
    #[must_use]
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// How it ended; nothing while it runs.
    #[must_use]
    pub fn ended(&self) -> Option<Ended> {
        reaper::ended(self.pid)
    }

    /// Nothing, while it runs.
    ///
    /// # Errors
    /// When it has ended, with the end of its log.
    pub fn must_run(&self) -> Result<()> {
        match self.ended() {
            None => Ok(()),
            Some(ended) => bail!("{} {ended}, the end of its log:\n{}", self.name, self.tail()),
        }
    }

    /// The last lines of its log.
    #[must_use]
    pub fn tail(&self) -> String {
        logs::tail(&self.log, TAIL_LINES)
    }

    /// Sends a signal to the program alone; `false` when it had ended.
    pub fn signal(&self, signal: Signal) -> bool {
        reaper::signal(self.pid, signal)
    }

    /// `kill -9` of the program alone, not of what it started; returns when it is gone.
    ///
    /// # Errors
    /// When it is still there after five seconds.
    pub fn kill9(&self) -> Result<Ended> {
        self.signal(Signal::KILL);
        self.wait(KILLED_WITHIN)
    }

    /// Takes its time away, as a paused machine would (SIGSTOP).
    pub fn stop(&self) -> bool {
        self.signal(Signal::STOP)
    }

    /// Lets it go on (SIGCONT).
    pub fn cont(&self) -> bool {
        self.signal(Signal::CONT)
    }

    /// Asks it to end (SIGTERM) and waits for that.
    ///
    /// # Errors
    /// When it does not within the time given.
    pub fn terminate(&self, within: Duration) -> Result<Ended> {
        self.signal(Signal::TERM);
        self.wait(within)
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// When it still runs after the time given, with the end of its log.
    pub fn wait(&self, within: Duration) -> Result<Ended> {
        reaper::wait(self.pid, within)
            .with_context(|| format!("{} still runs after {within:?}, the end of its log:\n{}", self.name, self.tail()))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        reaper::signal_group(self.pid, Signal::KILL);
        reaper::wait(self.pid, KILLED_WITHIN);
        reaper::forget(self.pid);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::harness::wait_until;

    const SOON: Duration = Duration::from_secs(10);

    #[test]
    fn a_program_past_its_deadline_is_killed_with_its_children() {
        let error = Program::new("sh")
            .args(["-c", "echo begun; sleep 1000 & wait"])
            .run(Duration::from_millis(200))
            .expect_err("it sleeps far longer");
        assert!(error.to_string().contains("it said: begun"), "{error:#}");
    }

    #[test]
    fn output_and_status_of_a_program_come_back() {
        let output = Program::new("sh").args(["-c", "echo out; echo err >&2; exit 3"]).run(SOON).expect("it ends");
        assert_eq!((output.status(), &*output.stdout, &*output.stderr), (Some(3), "out\n", "err\n"));
    }

    #[test]
    fn a_program_that_does_not_exist_is_an_error_and_not_a_hang() {
        let error = Program::new("/nonexistent/program").run(SOON).expect_err("no such file");
        assert!(format!("{error:#}").contains("No such file"), "{error:#}");
    }

    #[test]
    fn an_orphan_is_reaped_as_soon_as_it_ends() {
        let output =
            Program::new("sh").args(["-c", "sleep 1000 >/dev/null 2>&1 & echo $!"]).run(SOON).expect("it ends");
        let orphan: u32 = output.stdout.trim().parse().expect("a process id");
        let pid = reaper::as_pid(orphan).expect("a process id");
        rustix::process::kill_process(pid, Signal::KILL).expect("the orphan lives");
        wait_until("the orphan's entry to go", Duration::from_secs(1), || {
            match fs::read_to_string(format!("/proc/{orphan}/stat")) {
                Ok(stat) => Err(stat),
                Err(_) => Ok(()),
            }
        })
        .expect("reaped at once, not by PID 1 some time later");
    }

    #[test]
    fn a_process_can_be_paused_continued_and_killed() {
        let folder = tempfile::tempdir().expect("a folder");
        let process =
            Program::new("sleep").arg("1000").start("sleeper", &folder.path().join("log")).expect("it starts");
        let state = |p: &Process| fs::read_to_string(format!("/proc/{}/stat", p.pid())).unwrap_or_default();
        assert!(process.stop());
        wait_until("state T", SOON, || if state(&process).contains(") T ") { Ok(()) } else { Err(state(&process)) })
            .expect("stopped");
        assert!(process.cont());
        process.must_run().expect("it runs");
        assert_eq!(process.kill9().expect("it ends"), Ended::Killed(9));
        assert!(process.must_run().is_err());
    }
}
