//! Child processes: each has a deadline and its own process group, and ends as a group.
//!
//! Whatever way a run ends (exit, deadline, the caller dropping it), no member of its process group is left running
//! and the child is reaped. What leaves the group on purpose, as a postmaster does, stays.

use std::{
    ffi::OsString,
    fmt,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use holdfast_types::time::span;
use rustix::process::{Pid, PidfdFlags, Signal};
use tokio::{
    io::{Interest, unix::AsyncFd},
    process::Command,
};

use captured::Captured;

use super::Until;

mod captured;

/// Most bytes kept of each of a child's outputs. More is read, so that the child does not block, and dropped.
pub const OUTPUT_BYTES_MAX: usize = 64 * 1024;

/// How long outputs are still read after the child has gone: a daemon it started may hold them open for ever.
const OUTPUT_LINGER: Duration = Duration::from_millis(250);

/// How long a killed child may take to be reaped before it is left to the runtime: only an uninterruptible read or
/// write takes longer.
const REAP_MAX: Duration = Duration::from_secs(1);

/// Where programs are looked for when the agent itself was started without a PATH.
const PATH_DEFAULT: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// A program to run.
#[derive(Debug, Clone)]
pub struct Run {
    program: PathBuf,
    args: Vec<OsString>,
    told: Vec<(&'static str, OsString)>,
    user: Option<String>,
    /// User and group id, where a user has no name or it does not matter.
    ids: Option<(u32, u32)>,
}

/// What a child that exited with 0 said.
#[derive(Debug, Clone)]
pub struct Output {
    /// Its standard output: the first [`OUTPUT_BYTES_MAX`] bytes.
    pub stdout: Vec<u8>,
    /// Its standard error: the last [`OUTPUT_BYTES_MAX`] bytes.
    pub stderr: Vec<u8>,
    /// Whether the standard output was longer than what was kept.
    pub truncated: bool,
}

/// How a child ended, whatever its status.
#[derive(Debug, Clone)]
pub struct Ended {
    /// Its exit code or the signal that ended it.
    pub status: ExitStatus,
    /// Its standard output: the first [`OUTPUT_BYTES_MAX`] bytes.
    pub stdout: Vec<u8>,
    /// Its standard error: the last [`OUTPUT_BYTES_MAX`] bytes.
    pub stderr: Vec<u8>,
}

/// Why a child did not do its work.
#[derive(Debug, thiserror::Error)]
pub enum ChildError {
    /// The user to run as is not on this host.
    #[error("cannot run {command} as {user}: no such user in /etc/passwd")]
    UnknownUser {
        /// What was to run.
        command: String,
        /// The user.
        user: String,
    },
    /// Only root can become another user.
    #[error("cannot run {command} as {user}: this process runs as uid {uid}; run the agent as root or as {user}")]
    CannotBecome {
        /// What was to run.
        command: String,
        /// The user.
        user: String,
        /// Who we are.
        uid: u32,
    },
    /// It could not be started or waited for.
    #[error("cannot run {command}")]
    Spawn {
        /// What was to run.
        command: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// It ran past its deadline and was killed with its group.
    #[error("{command} had not ended at its deadline and was killed; it said: {stderr}")]
    TimedOut {
        /// What ran.
        command: String,
        /// The end of its standard error.
        stderr: String,
    },
    /// It ended with another status than 0.
    #[error("{command} failed with {status}: {stderr}")]
    Failed {
        /// What ran.
        command: String,
        /// How it ended.
        status: ExitStatus,
        /// The end of its standard error, or of its output when that is empty.
        stderr: String,
    },
}

impl Run {
    /// A program, by path or by name in PATH.
    pub fn new(program: impl Into<PathBuf>) -> Self {
        Self { program: program.into(), args: Vec::new(), told: Vec::new(), user: None, ids: None }
    }

    /// Adds an argument. Arguments are visible to everybody on the host: never a secret.
    #[must_use]
    pub fn arg(mut self, arg: impl Into<OsString>) -> Self {
        self.args.push(arg.into());
        self
    }

    /// Sets a variable of its environment, which is otherwise PATH and LC_ALL alone. Visible to its user: never a secret.
    #[must_use]
    pub fn env(mut self, name: &'static str, value: impl Into<OsString>) -> Self {
        self.told.push((name, value.into()));
        self
    }

    /// Runs as this user, with that user's groups. Needs root, or to be that user.
    #[must_use]
    pub fn as_user(mut self, user: impl Into<String>) -> Self {
        self.user = Some(user.into());
        self
    }

    /// Runs as whoever has these ids, with no further groups. Needs root, or to be that user.
    #[must_use]
    pub fn as_ids(mut self, uid: u32, gid: u32) -> Self {
        self.ids = Some((uid, gid));
        self
    }

    /// Runs to the end, for at most `within`.
    ///
    /// # Errors
    /// [`ChildError`] unless it exited with 0 in time.
    pub async fn within(self, within: Duration) -> Result<Output, ChildError> {
        self.until(Until::after(within)).await.map_err(|e| match e {
            ChildError::TimedOut { command, stderr } => {
                ChildError::TimedOut { command: format!("{command}, given {},", span(within)), stderr }
            }
            other @ (ChildError::UnknownUser { .. }
            | ChildError::CannotBecome { .. }
            | ChildError::Spawn { .. }
            | ChildError::Failed { .. }) => other,
        })
    }

    /// Runs to the end, until `until` at the latest.
    ///
    /// # Errors
    /// [`ChildError`] unless it exited with 0 in time.
    pub async fn until(self, until: Until) -> Result<Output, ChildError> {
        let command = self.to_string();
        let (status, stdout, stderr) = self.run_out(until).await?;
        if status.success() {
            return Ok(Output { truncated: stdout.dropped, stdout: stdout.bytes, stderr: stderr.bytes });
        }
        let said = if stderr.bytes.is_empty() { &stdout } else { &stderr };
        Err(ChildError::Failed { command, status, stderr: said.shown() })
    }

    /// Runs to the end, until `until` at the latest, whatever its exit code then says.
    ///
    /// # Errors
    /// [`ChildError`] when it could not be started or did not end in time.
    pub async fn ended(self, until: Until) -> Result<Ended, ChildError> {
        let (status, stdout, stderr) = self.run_out(until).await?;
        Ok(Ended { status, stdout: stdout.bytes, stderr: stderr.bytes })
    }

    async fn run_out(self, until: Until) -> Result<(ExitStatus, Captured, Captured), ChildError> {
        let name = self.to_string();
        let spawn_error = |source| ChildError::Spawn { command: name.clone(), source };
        let mut child = self.command()?.spawn().map_err(spawn_error)?;
        let (mut stdout, mut stderr) = (Captured::head(), Captured::tail());
        let (out, err) = (child.stdout.take(), child.stderr.take());
        let group = Group::of(&child).map_err(spawn_error)?;

        let ended = until
            .limit(async {
                let reading = async { tokio::join!(stdout.fill(out), stderr.fill(err)) };
                tokio::pin!(reading);
                // Either branch may be dropped at any await: what was read is in the buffers, and looking at a pidfd
                // changes nothing.
                tokio::select! {
                    exited = group.leader_exited() => {
                        group.kill();
                        // Nothing to report when a daemon holds the pipes: the child itself has ended.
                        drop(tokio::time::timeout(OUTPUT_LINGER, &mut reading).await);
                        exited
                    }
                    ((), ()) = &mut reading => {
                        let exited = group.leader_exited().await;
                        group.kill();
                        exited
                    }
                }
            })
            .await;
        group.kill();
        // The child is a zombie now, or about to be. Only after this is its pid free for others.
        let status = tokio::time::timeout(REAP_MAX, child.wait()).await;
        group.reaped();

        match (ended, status) {
            (Err(_), _) | (Ok(Ok(())), Err(_)) => Err(ChildError::TimedOut { command: name, stderr: stderr.shown() }),
            (Ok(Err(source)), _) | (Ok(Ok(())), Ok(Err(source))) => Err(ChildError::Spawn { command: name, source }),
            (Ok(Ok(())), Ok(Ok(status))) => Ok((status, stdout, stderr)),
        }
    }

    fn command(&self) -> Result<Command, ChildError> {
        let mut command = match (self.user.as_deref(), self.ids) {
            (Some(user), _) => self.command_as(user)?,
            (None, Some((uid, gid))) if rustix::process::getuid().as_raw() != uid => {
                let mut command = Command::new("setpriv");
                let (user, group) = (format!("--reuid={uid}"), format!("--regid={gid}"));
                command.arg(user).arg(group).arg("--clear-groups").arg("--").arg(&self.program);
                command
            }
            (None, Some(_) | None) => Command::new(&self.program),
        };
        let path = std::env::var_os("PATH").unwrap_or_else(|| PATH_DEFAULT.into());
        command
            .args(&self.args)
            .env_clear()
            .env("PATH", path)
            // Messages are read by programs and by people of any language: one language, always the same.
            .env("LC_ALL", "C")
            .envs(self.told.iter().map(|(name, value)| (name, value)))
            // A child whose directory is a writer's data directory would count as one of its processes.
            .current_dir("/")
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        Ok(command)
    }

    fn command_as(&self, user: &str) -> Result<Command, ChildError> {
        let unknown = || ChildError::UnknownUser { command: self.to_string(), user: user.to_owned() };
        let passwd = std::fs::read_to_string("/etc/passwd").map_err(|_| unknown())?;
        let (uid, gid) = ids_of(&passwd, user).ok_or_else(unknown)?;
        let own = rustix::process::getuid().as_raw();
        if own == uid {
            return Ok(Command::new(&self.program));
        }
        if own != 0 {
            return Err(ChildError::CannotBecome { command: self.to_string(), user: user.to_owned(), uid: own });
        }
        // setpriv also takes the user's own supplementary groups, which the standard library cannot: PostgreSQL reads
        // its TLS key by the group ssl-cert on Debian. It replaces itself by the program, so the group stays one.
        let mut command = Command::new("setpriv");
        command
            .arg(format!("--reuid={uid}"))
            .arg(format!("--regid={gid}"))
            .arg("--init-groups")
            .arg("--")
            .arg(&self.program);
        Ok(command)
    }
}

/// The command as people would type it.
impl fmt::Display for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.program.file_name().map_or_else(|| self.program.as_path(), Path::new);
        write!(f, "`{}", name.display())?;
        for arg in &self.args {
            write!(f, " {}", arg.display())?;
        }
        f.write_str("`")
    }
}

/// User id and primary group id of a user of this host.
#[must_use]
pub fn user_ids(user: &str) -> Option<(u32, u32)> {
    ids_of(&std::fs::read_to_string("/etc/passwd").ok()?, user)
}

/// User id and primary group id of a user in the text of /etc/passwd.
fn ids_of(passwd: &str, user: &str) -> Option<(u32, u32)> {
    passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        if fields.next() != Some(user) {
            return None;
        }
        let (uid, gid) = (fields.nth(1)?, fields.next()?);
        Some((uid.parse().ok()?, gid.parse().ok()?))
    })
}

/// The process group of a child, killed when this is dropped before the child was reaped.
struct Group {
    leader: Pid,
    exit: AsyncFd<OwnedFd>,
    reaped: AtomicBool,
}

impl Group {
    fn of(child: &tokio::process::Child) -> std::io::Result<Self> {
        let pid = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
        let leader = pid.ok_or_else(|| std::io::Error::other("the child has no pid"))?;
        let exit = rustix::process::pidfd_open(leader, PidfdFlags::NONBLOCK)?;
        #[expect(
            deprecated,
            reason = "an owned descriptor always stays the one that was registered; its heir is unsafe"
        )]
        let exit = AsyncFd::with_interest(exit, Interest::READABLE)?;
        Ok(Self { leader, exit, reaped: AtomicBool::new(false) })
    }

    /// Waits until the leader has exited, without reaping it: until it is reaped, its number names this group only.
    async fn leader_exited(&self) -> std::io::Result<()> {
        self.exit.readable().await.map(drop)
    }

    fn kill(&self) {
        if !self.reaped.load(Ordering::Relaxed) {
            // The only failure is that no member is left.
            rustix::process::kill_process_group(self.leader, Signal::KILL).ok();
        }
    }

    fn reaped(&self) {
        self.reaped.store(true, Ordering::Relaxed);
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.kill();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sh(script: &str) -> Run {
        Run::new("sh").arg("-c").arg(script)
    }

    #[test]
    fn users_are_found_in_passwd_by_their_whole_name() {
        let passwd = "root:x:0:0:root:/root:/bin/sh\npostgres:x:105:110:,,,:/var/lib/postgresql:/bin/bash\nbad:x:a:b\n";
        assert_eq!(ids_of(passwd, "postgres"), Some((105, 110)));
        assert_eq!(ids_of(passwd, "postgre"), None);
        assert_eq!(ids_of(passwd, "bad"), None);
    }

    #[tokio::test]
    async fn output_comes_back_and_the_environment_is_clean() {
        let output = sh("echo out; echo err >&2; env | cut -d= -f1 | sort | tr '\\n' ' '; pwd")
            .within(Duration::from_secs(20))
            .await;
        let output = output.expect("it exits with 0");
        assert_eq!(String::from_utf8_lossy(&output.stdout), "out\nLC_ALL PATH PWD /\n");
        assert_eq!(output.stderr, b"err\n");
    }

    #[tokio::test]
    async fn a_failure_tells_command_status_and_the_end_of_stderr() {
        let error =
            sh("echo disk is gone >&2; exit 3").within(Duration::from_secs(20)).await.expect_err("it exits with 3");
        let text = error.to_string();
        assert!(
            text.contains("exit 3`") && text.contains("exit status: 3") && text.ends_with("disk is gone"),
            "{text}"
        );
    }

    #[tokio::test]
    async fn endless_output_is_bounded() {
        let output = sh("head -c 300000 /dev/zero; head -c 300000 /dev/zero >&2; echo end >&2")
            .within(Duration::from_secs(20))
            .await;
        let output = output.expect("it exits with 0");
        assert_eq!((output.stdout.len(), output.truncated), (OUTPUT_BYTES_MAX, true));
        assert_eq!(output.stderr.len(), OUTPUT_BYTES_MAX);
        assert!(output.stderr.ends_with(b"end\n"));
    }

    #[tokio::test]
    async fn at_the_deadline_the_whole_group_is_killed() {
        let dir = tempfile::tempdir().expect("a directory");
        let file = dir.path().join("pid");
        let script = format!("sleep 1000 & echo $! > {}; wait", file.display());
        let error = sh(&script).within(Duration::from_millis(500)).await.expect_err("it never ends");
        assert!(matches!(error, ChildError::TimedOut { .. }), "{error}");
        let pid = std::fs::read_to_string(&file).expect("the child wrote it");
        wait_until_dead(pid.trim()).await;
    }

    #[tokio::test]
    async fn a_run_that_is_dropped_leaves_nothing_running() {
        let dir = tempfile::tempdir().expect("a directory");
        let file = dir.path().join("pid");
        let script = format!("sleep 1000 & echo $! > {}; wait", file.display());
        let mut run = Box::pin(sh(&script).within(Duration::from_secs(100)));
        let pid = loop {
            tokio::select! {
                _ = &mut run => panic!("it never ends"),
                () = tokio::time::sleep(Duration::from_millis(10)) => {}
            }
            match std::fs::read_to_string(&file) {
                Ok(pid) if pid.ends_with('\n') => break pid,
                Ok(_) | Err(_) => {}
            }
        };
        drop(run);
        wait_until_dead(pid.trim()).await;
    }

    async fn wait_until_dead(pid: &str) {
        for _ in 0..500 {
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            if stat.is_empty() || stat.contains(") Z ") {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("process {pid} is still alive after 5 s");
    }
}
