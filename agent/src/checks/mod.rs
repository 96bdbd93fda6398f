//! Checks: one probe each, and what it saw.
//!
//! A check that could not run is no observation: it says nothing about what it was to look at. So a fault of ours (a
//! bad URL, a refused password, no file descriptors left) is told apart from a fault of the service's. Whatever hangs,
//! a check has ended at its timeout.

mod connect;
mod container;
mod exec;
mod http;
mod mongodb;
mod postgres;
mod redis;
mod tcp;
mod tls;

use std::{fmt, io, path::Path, sync::Arc, time::Duration};

use holdfast_agent_core::duties::Script;
use holdfast_shared::error::Chain;
use holdfast_types::{
    Lsn, WallTime,
    line::one_line,
    spec::{MongodbExpect, PostgresExpect, RedisExpect},
    time::span,
};

use rustls::time_provider::TimeProvider;

pub use self::{
    mongodb::{MongodbAt, MongodbSeen},
    redis::{RedisAt, RedisSeen},
    tls::Endpoint,
};
use crate::exec::{
    Until,
    names::Names,
    postgres::{Login, SystemId, Timeline},
    script::Scripts,
};

/// Most characters of what a check says for people. A service may say anything, and it goes through everybody's hands.
pub const TEXT_CHARS_MAX: usize = 400;

/// What to look at.
#[derive(Debug, Clone)]
pub enum Check {
    /// Whether a port accepts connections.
    Tcp {
        /// Name or address.
        address: String,
        /// The port.
        port: u16,
    },
    /// Whether a GET is answered with this status. Redirects are not followed.
    Http {
        /// The URL.
        url: String,
        /// The status.
        expect: u16,
    },
    /// Whether a PostgreSQL takes writes, or follows its primary.
    Postgres {
        /// Where and as whom.
        login: Login,
        /// Which of the two.
        expect: PostgresExpect,
    },
    /// Whether containers run and are healthy.
    Container {
        /// Their names.
        names: Vec<String>,
    },
    /// Whether the certificate of an endpoint is good, and for how long.
    Tls(Endpoint),
    /// What a Redis is.
    Redis {
        /// Where and as whom.
        at: RedisAt,
        /// What it should be.
        expect: RedisExpect,
    },
    /// What a MongoDB is.
    Mongodb {
        /// Where.
        at: MongodbAt,
        /// What it should be.
        expect: MongodbExpect,
    },
    /// Whether a script says so.
    Exec {
        /// Which, and for whom.
        script: Script,
    },
}

impl Check {
    /// The name or address that is looked up for it.
    fn name(&self) -> Option<String> {
        match self {
            Self::Tcp { address, .. } => Some(address.clone()),
            Self::Http { url, .. } => reqwest::Url::parse(url).ok()?.host_str().map(str::to_owned),
            Self::Postgres { login, .. } if login.socket.is_none() => Some(login.host().to_owned()),
            Self::Tls(at) => Some(at.address.clone()),
            Self::Redis { at, .. } => Some(at.address.clone()),
            Self::Mongodb { at, .. } => Some(at.address.clone()),
            Self::Postgres { .. } | Self::Container { .. } | Self::Exec { .. } => None,
        }
    }
}

/// What came of a check.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// All is as expected.
    Ok {
        /// What was seen.
        evidence: Evidence,
    },
    /// It was looked at and is not as expected.
    Failing {
        /// Why, for people.
        why: String,
        /// What was seen all the same: a standby that lost its primary still tells how far it came.
        evidence: Option<Evidence>,
    },
    /// It could not be looked at: this is no observation.
    CouldNotRun {
        /// Why, for people, with what to do.
        why: String,
    },
}

/// What was seen. Its text is one short line.
#[derive(Debug, Clone, PartialEq)]
pub enum Evidence {
    /// The port accepted a connection.
    Connected,
    /// The server answered.
    Http {
        /// With this status.
        status: u16,
    },
    /// A marker was committed.
    Wrote {
        /// Which cluster.
        system: Option<SystemId>,
        /// On which timeline.
        timeline: Timeline,
        /// Where the marker is.
        lsn: Lsn,
    },
    /// A standby told where it stands.
    Follows {
        /// Which cluster.
        system: Option<SystemId>,
        /// On which timeline.
        timeline: Timeline,
        /// Safely stored.
        received: Lsn,
        /// Replayed.
        replayed: Lsn,
        /// Whether it streams from a primary.
        streaming: bool,
        /// Where it streams from.
        sender_host: Option<String>,
        /// Time since its sender last said anything.
        last_message_age: Option<Duration>,
    },
    /// Docker told of containers.
    Containers {
        /// Each by its name.
        text: String,
    },
    /// A certificate was shown.
    Certificate {
        /// Until when it is good.
        not_after: WallTime,
        /// Whole days until then; negative when it is over.
        days_left: i64,
    },
    /// A service answered, and was asked nothing more.
    Answers,
    /// A Redis told of itself.
    Redis {
        /// It took the marker.
        wrote: bool,
        /// What it told.
        seen: RedisSeen,
    },
    /// A MongoDB told of itself.
    Mongodb {
        /// What it told.
        seen: MongodbSeen,
    },
    /// A script ended well.
    Script {
        /// The first line that it said; may be empty.
        line: String,
    },
}

impl fmt::Display for Evidence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connected => f.write_str("accepts connections"),
            Self::Http { status } => write!(f, "answers {status}"),
            Self::Containers { text } => f.write_str(text),
            Self::Certificate { not_after, days_left } => {
                write!(f, "expires in {days_left} d, on {}", tls::day(*not_after))
            }
            Self::Answers => f.write_str("answers"),
            Self::Redis { wrote: true, seen } => write!(f, "took a marker, {seen}"),
            Self::Redis { wrote: false, seen } => write!(f, "{seen}"),
            Self::Mongodb { seen } => write!(f, "{seen}"),
            Self::Script { line } if line.is_empty() => f.write_str("exits with 0"),
            Self::Script { line } => f.write_str(line),
            Self::Wrote { timeline, lsn, .. } => write!(f, "committed a marker at {lsn}, timeline {timeline}"),
            Self::Follows { timeline, received, replayed, streaming, sender_host, last_message_age, .. } => {
                write!(f, "received {received}, replayed {replayed}, timeline {timeline}")?;
                if !streaming {
                    return f.write_str(", not streaming");
                }
                write!(f, ", streaming from {}", sender_host.as_deref().unwrap_or("its primary"))?;
                last_message_age.map_or(Ok(()), |age| write!(f, ", last message {} ago", span(age)))
            }
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ok { evidence } => write!(f, "{evidence}"),
            Self::Failing { why, .. } => f.write_str(why),
            Self::CouldNotRun { why } => write!(f, "could not run: {why}"),
        }
    }
}

impl Outcome {
    /// What is told to people: one line of bounded length, whatever a service said.
    #[must_use]
    pub fn text(&self) -> String {
        one_line(&self.to_string(), TEXT_CHARS_MAX)
    }

    fn failing(why: impl Into<String>) -> Self {
        Self::Failing { why: why.into(), evidence: None }
    }

    fn could_not_run(why: impl Into<String>) -> Self {
        Self::CouldNotRun { why: why.into() }
    }
}

/// Runs checks. Holds what is costly to make; cheap to clone.
#[derive(Debug, Clone)]
pub struct Runner {
    /// Nothing when the host's trust store cannot be loaded: only the checks that need it then cannot run.
    http: Result<reqwest::Client, String>,
    names: Names,
    tls: tls::Looker,
    docker: container::Asker,
    scripts: Scripts,
}

impl Default for Runner {
    fn default() -> Self {
        Self::new()
    }
}

impl Runner {
    /// Loads the host's trust store.
    #[must_use]
    pub fn new() -> Self {
        Self::asking(Names::default())
    }

    /// The same with another resolver of names.
    #[must_use]
    pub fn asking(names: Names) -> Self {
        Self {
            http: http::client(&names).map_err(|e| Chain(&e).to_string()),
            names,
            tls: tls::Looker::default(),
            docker: container::Asker::default(),
            scripts: Scripts::default(),
        }
    }

    /// With another clock than the system's for what certificates are worth.
    #[must_use]
    pub fn timed_by(mut self, time: Arc<dyn TimeProvider>) -> Self {
        self.tls = self.tls.timed_by(time);
        self
    }

    /// With Docker at this socket.
    #[must_use]
    pub fn docker_at(mut self, socket: &Path) -> Self {
        self.docker = container::Asker::new(socket);
        self
    }

    /// With this folder of scripts.
    #[must_use]
    pub fn scripts_in(mut self, scripts: Scripts) -> Self {
        self.scripts = scripts;
        self
    }

    /// Runs one check, for at most `timeout`.
    pub async fn run(&self, check: &Check, timeout: Duration) -> Outcome {
        let until = Until::after(timeout);
        let ran = async {
            match check {
                Check::Tcp { address, port } => tcp::run(&self.names, address, *port).await,
                Check::Http { url, expect } => http::run(&self.http, url, *expect).await,
                Check::Postgres { login, expect } => postgres::run(&self.names, login, *expect, until).await,
                Check::Container { names } => self.docker.run(names).await,
                Check::Tls(at) => self.tls.run(&self.names, at).await,
                Check::Redis { at, expect } => redis::run(&self.names, at, *expect).await,
                Check::Mongodb { at, expect } => mongodb::run(&self.names, at, *expect).await,
                Check::Exec { script } => exec::run(&self.scripts, script, timeout).await,
            }
        };
        match until.limit(ran).await {
            Ok(outcome) => outcome,
            // What hung was this host's resolver, not the service.
            Err(_) if let Some(name) = check.name().filter(|name| self.names.waits_for(name)) => {
                Outcome::could_not_run(format!("cannot look up {name}: no answer within {}", span(timeout)))
            }
            Err(_) => Outcome::failing(format!("no answer within {}", span(timeout))),
        }
    }
}

/// Whether an error of the socket layer is this host's own: out of descriptors, memory, ports, or forbidden.
fn is_ours(error: &io::Error) -> bool {
    use rustix::io::Errno;
    const OURS: [Errno; 8] = [
        Errno::MFILE,
        Errno::NFILE,
        Errno::NOMEM,
        Errno::NOBUFS,
        Errno::ADDRNOTAVAIL,
        Errno::ACCESS,
        Errno::PERM,
        Errno::AFNOSUPPORT,
    ];
    error.raw_os_error().is_some_and(|code| OURS.iter().any(|e| e.raw_os_error() == code))
}

/// The first error of the socket layer among an error and its causes.
fn io_cause<'a>(error: &'a (dyn std::error::Error + 'static)) -> Option<&'a io::Error> {
    let mut next = Some(error);
    while let Some(e) = next {
        // An I/O error made of another error is only a wrapping.
        match e.downcast_ref::<io::Error>() {
            Some(io) if io.raw_os_error().is_some() => return Some(io),
            Some(_) | None => next = e.source(),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn evidence_is_one_short_line() {
        let follows = |streaming| Evidence::Follows {
            system: None,
            timeline: Timeline(2),
            received: Lsn(0x300),
            replayed: Lsn(0x200),
            streaming,
            sender_host: Some("10.10.1.11".into()),
            last_message_age: Some(Duration::from_millis(1_500)),
        };
        let expected = "received 0/300, replayed 0/200, timeline 2, streaming from 10.10.1.11, last message 1.5 s ago";
        assert_eq!(follows(true).to_string(), expected);
        assert_eq!(follows(false).to_string(), "received 0/300, replayed 0/200, timeline 2, not streaming");
        let wrote = Evidence::Wrote { system: None, timeline: Timeline(3), lsn: Lsn(0x10) };
        assert_eq!(Outcome::Ok { evidence: wrote }.to_string(), "committed a marker at 0/10, timeline 3");
    }

    #[test]
    fn only_faults_of_this_host_are_ours() {
        assert!(is_ours(&io::Error::from_raw_os_error(rustix::io::Errno::MFILE.raw_os_error())));
        assert!(!is_ours(&io::Error::from_raw_os_error(rustix::io::Errno::CONNREFUSED.raw_os_error())));
        assert!(!is_ours(&io::Error::other("odd")));
    }
}
