//! What the agent and the helper say to each other: one request and one answer on a connection, a line of JSON each.
//!
//! A request names a writer as the spec does. The helper compares it with its own list and then uses its own words, so
//! that nothing in a request is ever a path that root follows. Closing the connection ends what was asked.

use std::{path::PathBuf, time::Duration};

use holdfast_agent_core::declared::{Declared, RawDeclared};
use holdfast_types::{
    Credential, Lsn, WriterName,
    spec::{Login, Writer, WriterKind},
};
use serde::{Deserialize, Serialize};

use crate::executors::Seen;

/// The only version there is. An agent and a helper of different releases say so instead of guessing.
pub const VERSION: u32 = 1;
/// Longest request, its end of line included. A connection string is the longest thing in one.
pub const REQUEST_BYTES_MAX: u64 = 64 << 10;
/// Longest answer.
pub const ANSWER_BYTES_MAX: u64 = 256 << 10;

/// What is asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Request {
    /// [`VERSION`].
    pub version: u32,
    /// What to do.
    pub verb: Verb,
    /// How long it may take.
    pub within_millis: u64,
    /// To which writer; only [`Verb::Ping`] has none.
    pub writer: Option<Asked>,
    /// What a standby is to be connected with; only of [`Verb::Reconnect`].
    pub conninfo: Option<String>,
}

/// The handful of things that take root.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verb {
    /// Say that you are there.
    Ping,
    /// Look, and change nothing.
    Look,
    /// Look where a container's processes are, for a fence that comes when Docker cannot tell.
    Remember,
    /// Stop it for sure.
    Fence,
    /// Start what was primary.
    StartPrimary,
    /// Promote a standby.
    Promote,
    /// Tell what a standby is connected with.
    ConnectedWith,
    /// Cut a standby from its primary.
    Cut,
    /// Connect it again.
    Reconnect,
}

impl Verb {
    /// Whether it makes a writer accept writes.
    #[must_use]
    pub fn opens(self) -> bool {
        match self {
            Self::StartPrimary | Self::Promote => true,
            Self::Ping
            | Self::Look
            | Self::Remember
            | Self::Fence
            | Self::ConnectedWith
            | Self::Cut
            | Self::Reconnect => false,
        }
    }

    /// Whether a writer that is remembered, and not declared any more, will do.
    #[must_use]
    pub fn takes_remembered(self) -> bool {
        match self {
            Self::Look | Self::Remember | Self::Fence => true,
            Self::Ping | Self::StartPrimary | Self::Promote | Self::ConnectedWith | Self::Cut | Self::Reconnect => {
                false
            }
        }
    }
}

/// A writer as a spec has it, placed on this host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Asked {
    name: WriterName,
    declared: RawDeclared,
    port: u16,
    socket: Option<PathBuf>,
    address: Option<String>,
    user: String,
    database: String,
    /// A name; the helper reads the secret itself.
    password: Option<Credential>,
}

impl Asked {
    /// Of a writer.
    #[must_use]
    pub fn of(writer: &Writer) -> Self {
        let Login { socket, address, user, database, password } = writer.login.clone();
        let declared = Declared::of(writer).raw();
        Self { name: writer.name.clone(), declared, port: writer.port, socket, address, user, database, password }
    }

    /// What it would have to be declared as.
    ///
    /// # Errors
    /// When no entry could be like this.
    pub fn declared(&self) -> Result<Declared, Vec<String>> {
        Declared::check(&self.declared)
    }

    /// The same, logged in to at another address.
    pub(super) fn at(&self, address: &str) -> Self {
        Self { socket: None, address: Some(address.to_owned()), ..self.clone() }
    }

    /// The writer, run and found as the host's own entry says. How it is logged in to is the spec's word; it never
    /// leaves the host.
    ///
    /// # Errors
    /// When the login would.
    pub fn writer(&self, own: &Declared) -> Result<Writer, String> {
        let address = self.address.as_deref();
        if let Some(address) = address.filter(|address| !is_of_this_host(address)) {
            return Err(format!(
                "{} logs in at {address}, and the helper reaches nothing outside its host; use the socket, or 127.0.0.1",
                self.name
            ));
        }
        if let Some(socket) = self.socket.as_ref().filter(|socket| !socket.is_absolute()) {
            return Err(format!("{} has its socket in {}, which is not absolute", self.name, socket.display()));
        }
        Ok(Writer {
            name: self.name.clone(),
            kind: WriterKind::Postgres,
            on: "writer".parse().map_err(|e| format!("no role: {e}"))?,
            run_by: own.run_by.clone(),
            data_dir: own.data_dir.clone(),
            port: self.port,
            login: Login {
                socket: self.socket.clone(),
                address: self.address.clone(),
                user: self.user.clone(),
                database: self.database.clone(),
                password: self.password.clone(),
            },
            replication: None,
        })
    }
}

fn is_of_this_host(address: &str) -> bool {
    address == "localhost" || address.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

/// What is answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// It was done; one line for people.
    Done(String),
    /// It was done, and this was seen.
    Seen(Box<SeenThere>),
    /// What a standby is connected with; nothing when it is cut.
    Connected(Option<String>),
    /// It was not begun.
    Refused(String),
    /// It was begun and not done.
    Failed(String),
}

/// [`Seen`] on the way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SeenThere {
    running: bool,
    in_recovery: Option<bool>,
    accepts_writes: bool,
    streaming: bool,
    timeline: u32,
    lsn: u64,
    replayed: u64,
    system: u64,
    last_message_age_millis: Option<u64>,
    sender: Option<String>,
    text: String,
}

impl From<Seen> for SeenThere {
    fn from(seen: Seen) -> Self {
        let millis = |age: Duration| u64::try_from(age.as_millis()).unwrap_or(u64::MAX);
        Self {
            running: seen.running,
            in_recovery: seen.in_recovery,
            accepts_writes: seen.accepts_writes,
            streaming: seen.streaming,
            timeline: seen.timeline,
            lsn: seen.lsn.0,
            replayed: seen.replayed.0,
            system: seen.system,
            last_message_age_millis: seen.last_message_age.map(millis),
            sender: seen.sender,
            text: seen.text,
        }
    }
}

impl From<SeenThere> for Seen {
    fn from(seen: SeenThere) -> Self {
        Self {
            running: seen.running,
            in_recovery: seen.in_recovery,
            accepts_writes: seen.accepts_writes,
            streaming: seen.streaming,
            timeline: seen.timeline,
            lsn: Lsn(seen.lsn),
            replayed: Lsn(seen.replayed),
            system: seen.system,
            last_message_age: seen.last_message_age_millis.map(Duration::from_millis),
            sender: seen.sender,
            text: seen.text,
        }
    }
}

/// One line.
///
/// # Errors
/// Never for these types; said all the same.
pub fn line(message: &impl Serialize) -> Result<Vec<u8>, serde_json::Error> {
    let mut bytes = serde_json::to_vec(message)?;
    bytes.push(b'\n');
    Ok(bytes)
}

#[cfg(test)]
pub(super) mod tests {
    use holdfast_types::{RegionName, spec};
    use proptest::prelude::*;

    use super::*;

    pub(in crate::helper) fn writer() -> Writer {
        let text = "spec: 1\napp: shop\nregions:\n  us-east:\n    roles:\n      db: [{host: use-db1, address: 10.0.0.1}]\n\
                    writers:\n  pg:\n    kind: postgres\n    on: db\n    run_by: {systemd: \"pg-{region}.service\"}\n    \
                    data_dir: \"/var/lib/{region}\"\n    login: {socket: /run/postgresql, user: holdfast}\n";
        let spec = spec::parse("shop.yaml", text).unwrap_or_else(|e| panic!("{e}"));
        let placed = spec.placed_in(&RegionName::new("us-east").expect("a name"));
        placed.writers.values().next().expect("a writer").clone()
    }

    #[test]
    fn a_writer_is_run_and_found_as_the_host_says() {
        let asked = Asked::of(&writer());
        let own = asked.declared().expect("plain");
        let there = asked.writer(&own).expect("on this host");
        assert_eq!(
            (&there.run_by, &there.data_dir, &there.login),
            (&writer().run_by, &writer().data_dir, &writer().login)
        );
        for (address, here) in
            [("127.0.0.1", true), ("::1", true), ("localhost", true), ("10.0.0.1", false), ("db", false)]
        {
            let asked = Asked { socket: None, address: Some(address.to_owned()), ..asked.clone() };
            assert_eq!(asked.writer(&own).is_ok(), here, "{address}");
        }
    }

    #[test]
    fn what_was_seen_arrives_as_it_was() {
        let seen = Seen {
            running: true,
            in_recovery: Some(true),
            streaming: true,
            timeline: 3,
            lsn: Lsn(u64::MAX),
            last_message_age: Some(Duration::from_millis(17)),
            sender: Some("10.0.0.1".to_owned()),
            text: "standby".to_owned(),
            ..Seen::default()
        };
        let bytes = line(&Answer::Seen(Box::new(seen.clone().into()))).expect("plain");
        let Answer::Seen(there) = serde_json::from_slice(&bytes).expect("read") else { panic!("another answer") };
        assert_eq!(Seen::from(*there), seen);
    }

    proptest! {
        #[test]
        fn garbage_is_refused_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            drop(serde_json::from_slice::<Request>(&bytes));
            drop(serde_json::from_slice::<Answer>(&bytes));
        }
    }
}
