//! Where this PostgreSQL lives on the host: its processes, its files, its port.

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

use holdfast_types::spec::RunBy;

use super::{Postgres, PostgresError};
use crate::exec::{
    Until, cgroup,
    child::Run,
    container::{Container, ContainerError, Seen},
    processes::{self, Process, Scope},
};

/// In the data directory of whatever starts as a standby.
pub(super) const STANDBY_SIGNAL: &str = "standby.signal";
/// In the data directory of whatever recovers to a target and then becomes a primary by itself.
pub(super) const RECOVERY_SIGNAL: &str = "recovery.signal";
/// There for the moment in which a promotion was ordered and not yet noticed.
pub(super) const PROMOTE_SIGNAL: &str = "promote";

/// What the kernel calls a PostgreSQL process, on Debian and on Red Hat.
fn is_postgres(process: &Process) -> bool {
    matches!(process.name.as_str(), "postgres" | "postmaster")
}

impl Postgres {
    /// What its processes are told by.
    pub(super) async fn scope(&self, until: Until) -> Result<Scope, PostgresError> {
        let data_dir = Some(self.data_dir.clone());
        match (&self.run_by, &self.container) {
            (RunBy::PgCtl { .. }, _) => Ok(Scope { data_dir, cgroups: Vec::new() }),
            (RunBy::Systemd { unit }, _) => {
                // Without systemd's word the working directory still tells every process of PostgreSQL's own.
                let cgroups = match control_group(unit, until).await {
                    Some(path) => cgroup::dirs_of_unit(&path).unwrap_or_default(),
                    None => Vec::new(),
                };
                Ok(Scope { data_dir, cgroups })
            }
            (RunBy::Container { .. }, Some(container)) => match container.look(until).await {
                // Where it was and what it works in count too: Docker may have lost sight of some of it.
                Ok(Seen::Running { .. } | Seen::Stopped | Seen::Absent) => Ok(self.scope_known(container)),
                Err(e) => {
                    if matches!(e, ContainerError::Docker { .. } | ContainerError::TimedOut { .. }) {
                        self.find_by_socket(container, until).await;
                        let scope = self.scope_known(container);
                        if scope != Scope::default() {
                            return Ok(scope);
                        }
                    }
                    Err(e.into())
                }
            },
            (RunBy::Container { .. }, None) => Err(self.refused("look at", "it has no container")),
        }
    }

    /// Finds a container by who listens at the database's socket, which the kernel tells without Docker. What is known
    /// may be old: the container may have been made anew since.
    async fn find_by_socket(&self, container: &Container, until: Until) {
        let Some(path) = self.socket() else { return };
        let Ok(Ok(stream)) = until.limit(tokio::net::UnixStream::connect(path)).await else { return };
        if let Some(pid) = stream.peer_cred().ok().and_then(|peer| peer.pid())
            && let Ok(cgroups) = cgroup::dirs_of(pid)
        {
            container.found(pid, cgroups);
        }
    }

    /// What a container's processes are told by, by what is known of it.
    fn scope_known(&self, container: &Container) -> Scope {
        let known = container.known();
        Scope { data_dir: known.on_host(&self.data_dir), cgroups: known.cgroups }
    }

    /// Its live PostgreSQL processes, whoever else works in its data directory left out.
    pub(super) async fn alive(&self, until: Until) -> Result<Vec<Process>, PostgresError> {
        if self.container.is_some() {
            let Scope { data_dir, cgroups } = self.scope(until).await?;
            let mut all = processes::list(&Scope { data_dir, cgroups: Vec::new() }).await?;
            all.retain(is_postgres);
            // Whatever runs in the container is its own.
            all.extend(processes::list(&Scope { data_dir: None, cgroups }).await?);
            all.sort();
            all.dedup();
            return Ok(all);
        }
        // The working directory tells them all, and asking systemd for more costs a process each time.
        let scope = Scope { data_dir: Some(self.data_dir.clone()), cgroups: Vec::new() };
        Ok(processes::list(&scope).await?.into_iter().filter(is_postgres).collect())
    }

    /// Whether its data directory holds a file of this name.
    pub(super) async fn has_file(&self, name: &str, until: Until) -> Result<bool, PostgresError> {
        if let Some(container) = &self.container {
            let docker_is_down = match container.has_file(&self.data_dir.join(name), until).await {
                Ok(there) => return Ok(there),
                Err(e @ (ContainerError::Docker { .. } | ContainerError::TimedOut { .. })) => e,
                Err(
                    e
                    @ (ContainerError::Refused { .. } | ContainerError::Cgroup { .. } | ContainerError::Shared { .. }),
                ) => {
                    return Err(e.into());
                }
            };
            return match container.known().on_host(&self.data_dir) {
                Some(data_dir) => has_file(&data_dir, name),
                None => Err(docker_is_down.into()),
            };
        }
        has_file(&self.data_dir, name)
    }

    /// The postmaster among `alive`, if its own file names one of them.
    pub(super) fn postmaster<'a>(&self, alive: &'a [Process]) -> Option<&'a Process> {
        let text = fs::read_to_string(self.data_dir.join("postmaster.pid")).ok()?;
        let pid = postmaster_pid(&text)?;
        alive.iter().find(|process| process.pid == pid)
    }

    /// Waits while the postmaster that its file names is a zombie: PostgreSQL would take it for alive and not start.
    pub(super) async fn wait_for_reaping(&self, until: Until) {
        let text = fs::read_to_string(self.data_dir.join("postmaster.pid")).unwrap_or_default();
        let Some(pid) = postmaster_pid(&text) else { return };
        while processes::is_zombie(pid) {
            if until.limit(tokio::time::sleep(Duration::from_millis(50))).await.is_err() {
                return;
            }
        }
    }

    /// The unix socket it is reached at, when it is.
    fn socket(&self) -> Option<PathBuf> {
        self.login.socket.as_ref().map(|dir| dir.join(format!(".s.PGSQL.{}", self.login.port)))
    }

    /// Whether its port refuses connections: nobody listens there.
    pub(super) async fn refuses(&self, until: Until) -> bool {
        let connected = async {
            match self.socket() {
                Some(path) => tokio::net::UnixStream::connect(path).await.map(drop),
                None => tokio::net::TcpStream::connect((self.login.host(), self.login.port)).await.map(drop),
            }
        };
        match until.limit(connected).await {
            Ok(Err(e)) => matches!(e.kind(), io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound),
            Ok(Ok(())) | Err(_) => false,
        }
    }
}

/// Whether a data directory of the host holds a file of this name.
fn has_file(data_dir: &Path, name: &str) -> Result<bool, PostgresError> {
    let path = data_dir.join(name);
    match fs::symlink_metadata(&path) {
        Ok(_) => Ok(true),
        // A missing file in a directory that is there, as opposed to a disk that is not mounted.
        Err(e) if e.kind() == io::ErrorKind::NotFound && data_dir.is_dir() => Ok(false),
        Err(source) => Err(PostgresError::DataDir { path, source }),
    }
}

/// The cgroup of a unit, as systemd names it; nothing when it has none now or systemd does not answer.
async fn control_group(unit: &str, until: Until) -> Option<String> {
    let show = Run::new("systemctl").arg("show").arg("--property=ControlGroup").arg("--value").arg("--").arg(unit);
    let output = show.until(until).await.ok()?;
    let path = String::from_utf8(output.stdout).ok()?.trim().to_owned();
    (!path.is_empty() && path != "/").then_some(path)
}

/// First line of postmaster.pid. Negative for a single-user server, which is one too.
fn postmaster_pid(text: &str) -> Option<i32> {
    let pid: i32 = text.lines().next()?.trim().parse().ok()?;
    pid.checked_abs().filter(|pid| *pid > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_postmaster_is_read_from_its_file() {
        assert_eq!(postmaster_pid("4711\n/var/lib/postgresql/15/main\n"), Some(4711));
        assert_eq!(postmaster_pid("-4711\n"), Some(4711));
        for bad in ["", "\n", "x", "0", "-2147483648", "99999999999"] {
            assert_eq!(postmaster_pid(bad), None, "{bad:?}");
        }
    }
}
