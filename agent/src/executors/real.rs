//! The executors of a real host.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use async_trait::async_trait;
use holdfast_agent_core::duties::Probe;
use holdfast_shared::{clock::SharedClock, error::Chain, files, tls::ClockTime};
use holdfast_types::{
    Credential,
    spec::{RunBy, Writer},
};

use super::{ExecError, Executors, Facts, Probed, Seen};
use crate::{
    checks::{Check, Endpoint, Evidence, MongodbAt, Outcome, RedisAt, Runner},
    exec::{
        Until,
        container::{Containers, DOCKER_SOCKET_DEFAULT},
        haproxy::{Admin, Haproxy},
        postgres::{Conninfo, Login, Look, Password, Postgres, State},
        script::Scripts,
    },
};

/// A credential is a line.
const CREDENTIAL_BYTES_MAX: u64 = 4_096;
/// For the look that follows something that was done.
const LOOK_AFTER: Duration = Duration::from_secs(2);
/// For the look at a container beside a check. Docker answers in milliseconds; one that hangs holds up no check.
const REMEMBER_WITHIN: Duration = Duration::from_millis(200);

/// Speaks to PostgreSQL, HAProxy and the network.
#[derive(Debug)]
pub struct RealExecutors {
    containers: Containers,
    /// Where credentials lie, by their names; the first folder that has one counts.
    credentials: Vec<PathBuf>,
    runner: Runner,
}

impl RealExecutors {
    /// With Docker at `docker_socket` (default: Docker's own), and credentials in these folders.
    #[must_use]
    pub fn new(docker_socket: Option<PathBuf>, credentials: Vec<PathBuf>) -> Self {
        let docker_socket = docker_socket.unwrap_or_else(|| DOCKER_SOCKET_DEFAULT.into());
        let runner = Runner::new().docker_at(&docker_socket);
        Self { containers: Containers::new(docker_socket), credentials, runner }
    }

    /// With this clock for what certificates are worth.
    #[must_use]
    pub fn timed_by(mut self, clock: SharedClock) -> Self {
        self.runner = self.runner.timed_by(Arc::new(ClockTime(clock)));
        self
    }

    /// With another folder of scripts.
    #[must_use]
    pub fn scripts_in(mut self, folder: impl Into<PathBuf>) -> Self {
        self.runner = self.runner.scripts_in(Scripts::new(folder));
        self
    }

    /// Notes in `folder` where the processes of containers are, so that an agent that starts while Docker is down can
    /// end them too. It should be gone after a reboot.
    #[must_use]
    pub fn containers_noted_in(mut self, folder: PathBuf) -> Self {
        self.containers = self.containers.noted_in(folder);
        self
    }

    fn password(&self, name: &Credential) -> Result<Password, ExecError> {
        for folder in &self.credentials {
            match files::read_text(&folder.join(name.as_str()), CREDENTIAL_BYTES_MAX) {
                Ok(text) => return Ok(Password::new(text.trim_end_matches(['\r', '\n']))),
                Err(e) if e.is_missing() => {}
                Err(e) => return Err(ExecError(Chain(&e).to_string())),
            }
        }
        let looked: Vec<_> = self.credentials.iter().map(|folder| folder.display().to_string()).collect();
        Err(ExecError(format!("credential {name} is not on this host; put it into {}", looked.join(" or "))))
    }

    fn postgres(&self, writer: &Writer) -> Result<Postgres, ExecError> {
        let password = writer.login.password.as_ref().map(|name| self.password(name)).transpose()?;
        Ok(Postgres::of_writer(writer, password, &self.containers))
    }

    /// For stopping: a password that is missing keeps nobody from killing.
    fn postgres_to_stop(&self, writer: &Writer) -> Postgres {
        self.postgres(writer).unwrap_or_else(|_| Postgres::of_writer(writer, None, &self.containers))
    }

    /// Looks where the processes of a container are while Docker can tell: a fence may come when it cannot.
    pub async fn remember(&self, name: &str, within: Duration) {
        // What fails here fails again, and is said, when it is needed.
        drop(self.containers.get(name).look(Until::after(within)).await);
    }

    /// Runs one probe and looks at nothing else.
    pub(crate) async fn check(&self, probe: &Probe, limit: Duration) -> Probed {
        let check = match probe {
            Probe::Tcp { address, port } => Check::Tcp { address: address.clone(), port: *port },
            Probe::Http { url, expect_status } => Check::Http { url: url.clone(), expect: *expect_status },
            Probe::Postgres { writer, expect } => match self.login(writer) {
                Ok(login) => Check::Postgres { login, expect: *expect },
                Err(e) => return Probed::CouldNotRun { text: e.0 },
            },
            Probe::Container { names } => Check::Container { names: names.clone() },
            Probe::Tls { address, port, server_name, days_min, ca } => Check::Tls(Endpoint {
                address: address.clone(),
                port: *port,
                server_name: server_name.clone(),
                days_min: *days_min,
                ca: ca.clone(),
            }),
            Probe::Redis { address, port, expect, user, password } => {
                let password = match password.as_ref().map(|name| self.password(name)).transpose() {
                    Ok(password) => password,
                    Err(e) => return Probed::CouldNotRun { text: e.0 },
                };
                let at = RedisAt { address: address.clone(), port: *port, user: user.clone(), password };
                Check::Redis { at, expect: *expect }
            }
            Probe::Mongodb { address, port, expect, replica_set } => {
                let at = MongodbAt { address: address.clone(), port: *port, replica_set: replica_set.clone() };
                Check::Mongodb { at, expect: *expect }
            }
            Probe::Exec(script) => Check::Exec { script: script.clone() },
        };
        let outcome = self.runner.run(&check, limit).await;
        let text = outcome.text();
        match outcome {
            Outcome::Ok { evidence } => Probed::Ok { text, seen: seen_of(&evidence) },
            Outcome::Failing { evidence, .. } => Probed::Failing { text, seen: evidence.as_ref().and_then(seen_of) },
            Outcome::CouldNotRun { .. } => Probed::CouldNotRun { text },
        }
    }

    fn login(&self, writer: &Writer) -> Result<Login, ExecError> {
        Ok(self.postgres(writer)?.login().clone())
    }
}

fn failed(error: impl std::error::Error + 'static) -> ExecError {
    ExecError(Chain(&error).to_string())
}

fn seen(look: &Look) -> Seen {
    let mut seen = Seen {
        running: look.running(),
        in_recovery: look.in_recovery(),
        accepts_writes: look.accepts_writes(),
        timeline: look.timeline.map_or(0, |timeline| timeline.0),
        system: look.system.map_or(0, |system| system.0),
        text: look.to_string(),
        ..Seen::default()
    };
    match &look.state {
        State::Down { .. } | State::Mute { .. } => {}
        State::Primary { current } => seen.lsn = *current,
        State::Standby { received, replayed, receiver } => {
            seen.lsn = *received;
            seen.replayed = *replayed;
            if let Some(receiver) = receiver {
                seen.streaming = receiver.streaming;
                seen.sender.clone_from(&receiver.sender_host);
                seen.last_message_age = receiver.last_message_age;
            }
        }
    }
    seen
}

fn seen_of(evidence: &Evidence) -> Option<Seen> {
    match evidence {
        Evidence::Connected
        | Evidence::Http { .. }
        | Evidence::Containers { .. }
        | Evidence::Certificate { .. }
        | Evidence::Answers
        | Evidence::Redis { .. }
        | Evidence::Mongodb { .. }
        | Evidence::Script { .. } => None,
        Evidence::Wrote { system, timeline, lsn } => Some(Seen {
            running: true,
            in_recovery: Some(false),
            accepts_writes: true,
            timeline: timeline.0,
            lsn: *lsn,
            system: system.map_or(0, |system| system.0),
            text: evidence.to_string(),
            ..Seen::default()
        }),
        Evidence::Follows { system, timeline, received, replayed, streaming, sender_host, last_message_age } => {
            Some(Seen {
                running: true,
                in_recovery: Some(true),
                accepts_writes: false,
                streaming: *streaming,
                timeline: timeline.0,
                lsn: *received,
                replayed: *replayed,
                system: system.map_or(0, |system| system.0),
                last_message_age: *last_message_age,
                sender: sender_host.clone(),
                text: evidence.to_string(),
            })
        }
    }
}

#[async_trait]
impl Executors for RealExecutors {
    async fn look(&self, writer: &Writer, within: Duration) -> Result<Seen, ExecError> {
        Ok(seen(&self.postgres(writer)?.look(within).await.map_err(failed)?))
    }

    async fn fence(&self, writer: &Writer, within: Duration) -> Result<String, ExecError> {
        Ok(self.postgres_to_stop(writer).fence(within).await.map_err(failed)?.to_string())
    }

    async fn start_primary(&self, writer: &Writer, within: Duration) -> Result<Seen, ExecError> {
        Ok(seen(&self.postgres(writer)?.start_primary(within).await.map_err(failed)?))
    }

    async fn promote(&self, writer: &Writer, within: Duration) -> Result<Seen, ExecError> {
        let postgres = self.postgres(writer)?;
        let promoted = postgres.promote(within).await.map_err(failed)?;
        Ok(Seen {
            running: true,
            in_recovery: Some(false),
            accepts_writes: true,
            timeline: promoted.timeline.0,
            lsn: promoted.lsn,
            text: format!("primary on timeline {} at {}", promoted.timeline, promoted.lsn),
            ..Seen::default()
        })
    }

    async fn connected_with(&self, writer: &Writer, within: Duration) -> Result<Option<String>, ExecError> {
        let conninfo = self.postgres(writer)?.connected_with(within).await.map_err(failed)?;
        Ok(conninfo.map(|conninfo| conninfo.expose().to_owned()))
    }

    async fn facts(&self, writer: &Writer, within: Duration) -> Option<Facts> {
        Some(match self.postgres(writer) {
            Ok(postgres) => postgres.facts(within).await,
            Err(e) => Facts { problem: e.0, ..Facts::default() },
        })
    }

    async fn cut(&self, writer: &Writer, within: Duration) -> Result<Seen, ExecError> {
        let postgres = self.postgres(writer)?;
        postgres.cut_receiver(within).await.map_err(failed)?;
        Ok(seen(&postgres.look(LOOK_AFTER).await.map_err(failed)?))
    }

    async fn reconnect(&self, writer: &Writer, conninfo: &str, within: Duration) -> Result<(), ExecError> {
        self.postgres(writer)?.reconnect(&Conninfo::new(conninfo), within).await.map_err(failed)
    }

    async fn probe(&self, probe: &Probe, timeout: Duration) -> Probed {
        let remember = async {
            if let Probe::Postgres { writer, .. } = probe
                && let RunBy::Container { name } = &writer.run_by
            {
                self.remember(name, REMEMBER_WITHIN).await;
            }
        };
        tokio::join!(self.check(probe, timeout), remember).0
    }

    async fn servers(
        &self,
        socket: &Path,
        backend: &str,
        within: Duration,
    ) -> Result<BTreeMap<String, bool>, ExecError> {
        let states = Haproxy::new(socket).states(backend, within).await.map_err(failed)?;
        // Whatever is not surely in maintenance may get connections.
        Ok(states.into_iter().map(|server| (server.name, server.state != Admin::Maintenance)).collect())
    }

    async fn open_only(&self, socket: &Path, backend: &str, server: &str, within: Duration) -> Result<(), ExecError> {
        Haproxy::new(socket).open_only(backend, server, within).await.map(|_| ()).map_err(failed)
    }

    async fn close_all(&self, socket: &Path, backend: &str, within: Duration) -> Result<(), ExecError> {
        Haproxy::new(socket).close_all(backend, within).await.map(|_| ()).map_err(failed)
    }
}
