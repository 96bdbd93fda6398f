//! A writer's container, through Docker's own socket.
//!
//! Docker is asked to stop and start; whether a container's processes are gone is judged in its cgroup, so a docker
//! daemon that hangs or is down delays a fence but cannot make it lie.

mod memory;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use bollard::{
    API_DEFAULT_VERSION, Docker,
    models::{ContainerInspectResponse, MountPoint},
    query_parameters as query,
};

pub use memory::{Containers, Known};

use super::{Until, cgroup};

/// Where Docker listens unless configured otherwise.
pub const DOCKER_SOCKET_DEFAULT: &str = "/var/run/docker.sock";

/// Longest wait for one answer of Docker, in seconds. Every call also has its caller's own deadline.
const ANSWER_SECONDS_MAX: u64 = 120;

/// A container, by name.
#[derive(Debug, Clone)]
pub struct Container {
    socket: PathBuf,
    name: String,
    /// What is killed when Docker does not answer.
    memory: memory::Memory,
}

/// What Docker says of a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Seen {
    /// There is none of this name.
    Absent,
    /// It is there and has no process.
    Stopped,
    /// It runs (or is paused or restarting with a process).
    Running {
        /// Number of its first process, as the host counts.
        pid: i32,
        /// Cgroups that are its own.
        cgroups: Vec<PathBuf>,
    },
}

/// Why Docker could not be made to do something.
#[derive(Debug, thiserror::Error)]
pub enum ContainerError {
    /// Docker cannot be spoken to.
    #[error("docker does not answer at {socket}")]
    Docker {
        /// Its socket.
        socket: PathBuf,
        /// Why.
        #[source]
        source: bollard::errors::Error,
    },
    /// Docker refused, or failed.
    #[error("cannot {what} container {name}")]
    Refused {
        /// What was asked.
        what: &'static str,
        /// The container.
        name: String,
        /// Why.
        #[source]
        source: bollard::errors::Error,
    },
    /// No answer in time.
    #[error("cannot {what} container {name}: docker at {socket} gave no answer in time")]
    TimedOut {
        /// What was asked.
        what: &'static str,
        /// The container.
        name: String,
        /// Docker's socket.
        socket: PathBuf,
    },
    /// The container's cgroup cannot be found.
    #[error("cannot find the cgroup of container {name} (process {pid})")]
    Cgroup {
        /// The container.
        name: String,
        /// Its first process.
        pid: i32,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The container shares its cgroup with the agent.
    #[error("container {name} (process {pid}) has no cgroup of its own: its processes cannot be told from others")]
    Shared {
        /// The container.
        name: String,
        /// Its first process.
        pid: i32,
    },
}

impl Container {
    /// A container of this name, at the docker daemon that listens on `socket`.
    pub fn new(socket: impl Into<PathBuf>, name: impl Into<String>) -> Self {
        Self { socket: socket.into(), name: name.into(), memory: memory::Memory::default() }
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What Docker said of it when it last answered; nothing of it when it never did.
    #[must_use]
    pub fn known(&self) -> Known {
        self.memory.get()
    }

    /// Somebody else than Docker has told that process `pid` is one of its, in these cgroups. They are remembered beside
    /// those that Docker told, until it tells again.
    pub fn found(&self, pid: i32, cgroups: Vec<PathBuf>) {
        let known = self.known();
        if cgroups.iter().all(|dir| known.cgroups.contains(dir)) {
            return;
        }
        tracing::warn!(container = self.name, pid, "docker does not answer; the container was found by its socket");
        let all = known.cgroups.into_iter().chain(cgroups).collect();
        self.memory.put(pid, Some(all), known.mounts);
    }

    /// When Docker starts it by itself, in Docker's word; nothing where there is no such container.
    ///
    /// # Errors
    /// When Docker does not answer.
    pub async fn restart_policy(&self, until: Until) -> Result<Option<String>, ContainerError> {
        let docker = self.docker(until).await?;
        let asked = docker.inspect_container(&self.name, None::<query::InspectContainerOptions>);
        let inspected = match self.timed("inspect", until, asked).await {
            Ok(inspected) => inspected,
            Err(e) if e.status() == Some(404) => return Ok(None),
            Err(e) => return Err(e),
        };
        let policy = inspected.host_config.and_then(|host| host.restart_policy).and_then(|policy| policy.name);
        Ok(policy.map(|name| name.to_string()))
    }

    /// Looks at it.
    ///
    /// # Errors
    /// When Docker does not answer, or its processes cannot be told from others.
    pub async fn look(&self, until: Until) -> Result<Seen, ContainerError> {
        let docker = self.docker(until).await?;
        let asked = docker.inspect_container(&self.name, None::<query::InspectContainerOptions>);
        let inspected = match self.timed("inspect", until, asked).await {
            Ok(inspected) => inspected,
            Err(e) if e.status() == Some(404) => return Ok(Seen::Absent),
            Err(e) => return Err(e),
        };
        let (pid, mounts) = said(inspected);
        if pid == 0 {
            self.memory.put(0, None, mounts);
            return Ok(Seen::Stopped);
        }
        let cgroups = match cgroup::dirs_of(pid) {
            Ok(cgroups) if cgroups.is_empty() => return Err(ContainerError::Shared { name: self.name.clone(), pid }),
            Ok(cgroups) => cgroups,
            Err(source) => return Err(ContainerError::Cgroup { name: self.name.clone(), pid, source }),
        };
        self.memory.put(pid, Some(cgroups.clone()), mounts);
        Ok(Seen::Running { pid, cgroups })
    }

    /// Starts it. One that runs is fine.
    ///
    /// # Errors
    /// When Docker refuses or does not answer.
    pub async fn start(&self, until: Until) -> Result<(), ContainerError> {
        let docker = self.docker(until).await?;
        let asked = docker.start_container(&self.name, None::<query::StartContainerOptions>);
        unless(self.timed("start", until, asked).await, &[304])
    }

    /// Asks Docker to stop it, with `signal` and after `grace_seconds` by force, and waits for that.
    /// One that is stopped or absent is fine. Docker then does not restart it by itself.
    ///
    /// # Errors
    /// When Docker refuses or does not answer.
    pub async fn stop(&self, signal: &str, grace_seconds: i32, until: Until) -> Result<(), ContainerError> {
        let docker = self.docker(until).await?;
        let options = query::StopContainerOptions { signal: Some(signal.to_owned()), t: Some(grace_seconds) };
        let stop = async {
            unless(self.timed("stop", until, docker.stop_container(&self.name, Some(options))).await, &[304, 404])
        };
        // Engines before 23 (API 1.42) ignore the signal of a stop and send the image's own: PostgreSQL would then
        // wait for its clients. So it is sent by itself too; getting it twice is harmless.
        let kill = async {
            let options = query::KillContainerOptions { signal: signal.to_owned() };
            unless(self.timed("signal", until, docker.kill_container(&self.name, Some(options))).await, &[404, 409])
        };
        let (stopped, _) = tokio::join!(stop, kill);
        stopped
    }

    /// Whether a file of this path is in the container's file system, running or not.
    ///
    /// # Errors
    /// When Docker refuses or does not answer, or there is no such container.
    pub async fn has_file(&self, path: &Path, until: Until) -> Result<bool, ContainerError> {
        let docker = self.docker(until).await?;
        // A 404 below must mean the file, not the container.
        let asked = docker.inspect_container(&self.name, None::<query::InspectContainerOptions>);
        self.timed("inspect", until, asked).await?;
        let options = query::ContainerArchiveInfoOptions { path: path.to_string_lossy().into_owned() };
        match self.timed("look into", until, docker.get_container_archive_info(&self.name, Some(options))).await {
            Ok(_) => Ok(true),
            Err(e) if e.status() == Some(404) => Ok(false),
            Err(e) => Err(e),
        }
    }

    async fn docker(&self, until: Until) -> Result<Docker, ContainerError> {
        let failed = |source| ContainerError::Docker { socket: self.socket.clone(), source };
        let path = self.socket.to_string_lossy();
        let docker = Docker::connect_with_socket(&path, ANSWER_SECONDS_MAX, API_DEFAULT_VERSION).map_err(failed)?;
        match until.limit(docker.negotiate_version()).await {
            Ok(answer) => answer.map_err(failed),
            Err(_) => Err(self.timed_out("reach")),
        }
    }

    async fn timed<T>(
        &self,
        what: &'static str,
        until: Until,
        asked: impl Future<Output = Result<T, bollard::errors::Error>>,
    ) -> Result<T, ContainerError> {
        match until.limit(asked).await {
            Ok(answer) => answer.map_err(|source| ContainerError::Refused { what, name: self.name.clone(), source }),
            Err(_) => Err(self.timed_out(what)),
        }
    }

    fn timed_out(&self, what: &'static str) -> ContainerError {
        ContainerError::TimedOut { what, name: self.name.clone(), socket: self.socket.clone() }
    }
}

impl ContainerError {
    fn status(&self) -> Option<u16> {
        match self {
            Self::Refused { source: bollard::errors::Error::DockerResponseServerError { status_code, .. }, .. } => {
                Some(*status_code)
            }
            Self::Refused { .. }
            | Self::Docker { .. }
            | Self::TimedOut { .. }
            | Self::Cgroup { .. }
            | Self::Shared { .. } => None,
        }
    }
}

/// What matters of what Docker says of a container: number of its first process, 0 when it has none, and its mounts.
pub(crate) fn said(inspected: ContainerInspectResponse) -> (i32, BTreeMap<PathBuf, PathBuf>) {
    let pid = inspected.state.and_then(|s| s.pid).and_then(|pid| i32::try_from(pid).ok()).unwrap_or(0);
    (pid, mounts(inspected.mounts.unwrap_or_default()))
}

/// Directories of the host that are mounted into a container, by their names inside.
fn mounts(mounts: Vec<MountPoint>) -> BTreeMap<PathBuf, PathBuf> {
    let places = mounts.into_iter().filter_map(|mount| {
        let host = mount.source.filter(|source| !source.is_empty())?;
        Some((mount.destination?.into(), host.into()))
    });
    places.collect()
}

/// Answers of these statuses mean that there was nothing to do.
fn unless(answer: Result<(), ContainerError>, done: &[u16]) -> Result<(), ContainerError> {
    match answer {
        Err(e) if e.status().is_some_and(|status| done.contains(&status)) => Ok(()),
        Ok(()) | Err(_) => answer,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn a_docker_that_is_not_there_is_said_so() {
        let container = Container::new("/nonexistent/docker.sock", "shop-postgres");
        let error = container.look(Until::after(Duration::from_secs(5))).await.expect_err("nobody listens");
        assert!(error.to_string().contains("/nonexistent/docker.sock"), "{error}");
        assert_eq!(container.known(), Known::default());
    }
}
