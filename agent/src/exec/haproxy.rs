//! HAProxy, by its runtime socket: which server of a backend gets the connections.
//!
//! A backend has one server for each region, `disabled` in haproxy.cfg, so that a proxy that restarts sends nothing
//! until told. Its answers carry no status: nothing is success, text is an error. So what was asked for is read back
//! before it counts. Routing is no fence: sessions of an older HAProxy process that drains after a reload are out of
//! this socket's reach.

use std::{
    fmt, io,
    path::{Path, PathBuf},
    time::Duration,
};

use holdfast_types::time::span;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::UnixStream,
};

use parse::{name, parse_servers, parse_sessions};

use super::Until;

pub(crate) mod parse;

/// Longest answer taken: a backend with thousands of servers is below it.
pub const ANSWER_BYTES_MAX: usize = 1 << 20;

/// Pause between two looks at sessions that are being cut.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// One server of a backend.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerState {
    /// Its name; a region's, in a backend of Holdfast's.
    pub name: String,
    /// Whether it may get connections.
    pub state: Admin,
    /// Whether HAProxy takes it for reachable.
    pub up: bool,
    /// Sessions on it now.
    pub sessions: u64,
}

/// What the administrator has set for a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Admin {
    /// It gets connections.
    Open,
    /// It gets none.
    Maintenance,
    /// Something else, as HAProxy calls it.
    Other(String),
}

impl fmt::Display for Admin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Open => f.write_str("open"),
            Self::Maintenance => f.write_str("in maintenance"),
            Self::Other(what) => f.write_str(what),
        }
    }
}

impl fmt::Display for ServerState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} with {} sessions", self.name, self.state, self.sessions)
    }
}

/// Why HAProxy could not be made to do something.
#[derive(Debug, thiserror::Error)]
pub enum HaproxyError {
    /// Nobody listens, or not for us.
    #[error("cannot speak to haproxy at {}; does it run, with `stats socket … level admin` readable by the agent?", socket.display())]
    Unreachable {
        /// Its socket.
        socket: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// No answer in time.
    #[error("haproxy at {} gave no answer to \"{command}\" in time", socket.display())]
    TimedOut {
        /// Its socket.
        socket: PathBuf,
        /// What was asked.
        command: String,
    },
    /// It refused.
    #[error("haproxy at {} refused \"{command}\": {answer}", socket.display())]
    Refused {
        /// Its socket.
        socket: PathBuf,
        /// What was asked.
        command: String,
        /// What it said.
        answer: String,
    },
    /// It has no such backend.
    #[error("haproxy at {} has no backend {backend}", socket.display())]
    UnknownBackend {
        /// Its socket.
        socket: PathBuf,
        /// The backend.
        backend: String,
    },
    /// The backend has no such server.
    #[error(
        "backend {backend} of haproxy at {} has no server {server}, it has: {found}; it needs one for each region, named as the region",
        socket.display()
    )]
    UnknownServer {
        /// Its socket.
        socket: PathBuf,
        /// The backend.
        backend: String,
        /// The server.
        server: String,
        /// Those it has.
        found: String,
    },
    /// The answer is not what this program knows.
    #[error("haproxy at {} answered \"{command}\" with something this version does not understand: {what}", socket.display())]
    Unreadable {
        /// Its socket.
        socket: PathBuf,
        /// What was asked.
        command: String,
        /// What was odd.
        what: String,
    },
    /// A name that HAProxy cannot have.
    #[error("{name:?} is no name of a haproxy backend or server: use letters, digits and . _ - :")]
    BadName {
        /// The text.
        name: String,
    },
    /// It took the commands and is not as it should be.
    #[error("backend {backend} of haproxy at {} is not switched after {}: {found}", socket.display(), span(*within))]
    NotSwitched {
        /// Its socket.
        socket: PathBuf,
        /// The backend.
        backend: String,
        /// The time it was given.
        within: Duration,
        /// How its servers are.
        found: String,
    },
}

/// One HAProxy.
#[derive(Debug, Clone)]
pub struct Haproxy {
    socket: PathBuf,
}

impl Haproxy {
    /// The one whose runtime socket is at `socket`.
    pub fn new(socket: impl Into<PathBuf>) -> Self {
        Self { socket: socket.into() }
    }

    /// How the servers of a backend are, in the order of haproxy.cfg.
    ///
    /// # Errors
    /// When HAProxy does not answer within `within`, has no such backend, or answers oddly.
    pub async fn states(&self, backend: &str, within: Duration) -> Result<Vec<ServerState>, HaproxyError> {
        self.states_until(backend, Until::after(within)).await
    }

    /// Puts every other server of the backend in maintenance, cuts their sessions, then opens this one; reads back that
    /// it is so and returns it. Done already is fine.
    ///
    /// # Errors
    /// Nothing was changed when the backend or the server is unknown. Otherwise what was done stays: calling it again
    /// goes on.
    pub async fn open_only(
        &self,
        backend: &str,
        server: &str,
        within: Duration,
    ) -> Result<Vec<ServerState>, HaproxyError> {
        name(server)?;
        self.switch(backend, Some(server), within).await
    }

    /// Puts every server of the backend in maintenance and cuts all sessions; reads back that it is so.
    ///
    /// # Errors
    /// What was done stays: calling it again goes on.
    pub async fn close_all(&self, backend: &str, within: Duration) -> Result<Vec<ServerState>, HaproxyError> {
        self.switch(backend, None, within).await
    }

    async fn switch(
        &self,
        backend: &str,
        open: Option<&str>,
        within: Duration,
    ) -> Result<Vec<ServerState>, HaproxyError> {
        let until = Until::after(within);
        let mut states = self.states_until(backend, until).await?;
        if let Some(server) = open
            && !states.iter().any(|s| s.name == server)
        {
            let found = states.iter().map(|s| s.name.as_str()).collect::<Vec<_>>().join(", ");
            let (socket, backend, server) = (self.socket.clone(), backend.to_owned(), server.to_owned());
            return Err(HaproxyError::UnknownServer { socket, backend, server, found });
        }
        loop {
            let (mine, others): (Vec<_>, Vec<_>) = states.iter().partition(|s| Some(s.name.as_str()) == open);
            // Closed first: two open servers would split the writes of a moment.
            for other in others.iter().filter(|s| s.state != Admin::Maintenance) {
                self.command(&format!("set server {backend}/{} state maint", other.name), until).await?;
            }
            for other in others.iter().filter(|s| s.sessions > 0 || s.state != Admin::Maintenance) {
                self.command(&format!("shutdown sessions server {backend}/{}", other.name), until).await?;
            }
            for server in mine.iter().filter(|s| s.state != Admin::Open) {
                self.command(&format!("set server {backend}/{} state ready", server.name), until).await?;
            }
            states = self.states_until(backend, until).await?;
            if states.iter().all(|s| is_right(s, open)) {
                return Ok(states);
            }
            // A session that was just being set up may outlive one cut: look and cut again.
            if until.limit(tokio::time::sleep(LOOK_AGAIN)).await.is_err() {
                let found = states.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
                let (socket, backend) = (self.socket.clone(), backend.to_owned());
                return Err(HaproxyError::NotSwitched { socket, backend, within, found });
            }
        }
    }

    async fn states_until(&self, backend: &str, until: Until) -> Result<Vec<ServerState>, HaproxyError> {
        name(backend)?;
        let command = format!("show servers state {backend}");
        let answer = self.ask(&command, until).await?;
        if answer.contains("Can't find backend") {
            return Err(HaproxyError::UnknownBackend { socket: self.socket.clone(), backend: backend.to_owned() });
        }
        let odd = |command: &str, what: String| HaproxyError::Unreadable {
            socket: self.socket.clone(),
            command: command.to_owned(),
            what,
        };
        let servers = parse_servers(&answer, backend).map_err(|what| odd(&command, what))?;
        let Some(first) = servers.first() else { return Ok(Vec::new()) };
        // By number: a frontend may have the backend's name.
        let command = format!("show stat {} 4 -1", first.backend_id);
        let answer = self.ask(&command, until).await?;
        let sessions = parse_sessions(&answer).map_err(|what| odd(&command, what))?;
        servers
            .into_iter()
            .map(|server| {
                let found = sessions.get(&server.name).copied();
                let sessions = found.ok_or_else(|| odd(&command, format!("nothing about server {}", server.name)))?;
                Ok(ServerState { name: server.name, state: server.state, up: server.up, sessions })
            })
            .collect()
    }

    /// A command whose success is silence.
    async fn command(&self, command: &str, until: Until) -> Result<(), HaproxyError> {
        let answer = self.ask(command, until).await?;
        let answer = answer.trim();
        if answer.is_empty() {
            return Ok(());
        }
        let answer = answer.chars().take(200).collect();
        Err(HaproxyError::Refused { socket: self.socket.clone(), command: command.to_owned(), answer })
    }

    /// One command on a connection of its own: HAProxy closes it after the answer, which so has an end.
    async fn ask(&self, command: &str, until: Until) -> Result<String, HaproxyError> {
        let asked = async {
            let mut stream = UnixStream::connect(&self.socket).await?;
            stream.write_all(command.as_bytes()).await?;
            stream.write_all(b"\n").await?;
            let mut answer = Vec::new();
            let limit = u64::try_from(ANSWER_BYTES_MAX).unwrap_or(u64::MAX) + 1;
            stream.take(limit).read_to_end(&mut answer).await?;
            Ok(answer)
        };
        let socket = || self.socket.clone();
        let odd = |what: &str| HaproxyError::Unreadable {
            socket: socket(),
            command: command.to_owned(),
            what: what.to_owned(),
        };
        match until.limit(asked).await {
            Err(_) => Err(HaproxyError::TimedOut { socket: socket(), command: command.to_owned() }),
            Ok(Err(source)) => Err(HaproxyError::Unreachable { socket: socket(), source }),
            Ok(Ok(answer)) if answer.len() > ANSWER_BYTES_MAX => Err(odd("more than 1 MiB")),
            // Every answer ends with an empty line. Without it, the proxy went away in the middle.
            Ok(Ok(answer)) if !answer.ends_with(b"\n") => Err(odd("an answer that breaks off")),
            Ok(Ok(answer)) => String::from_utf8(answer).map_err(|_| odd("bytes that are no UTF-8")),
        }
    }

    /// Its socket.
    #[must_use]
    pub fn socket(&self) -> &Path {
        &self.socket
    }
}

fn is_right(server: &ServerState, open: Option<&str>) -> bool {
    if Some(server.name.as_str()) == open {
        return server.state == Admin::Open;
    }
    server.state == Admin::Maintenance && server.sessions == 0
}
