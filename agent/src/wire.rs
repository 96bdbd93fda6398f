//! The door: messages become domain values here, or are refused.

use std::{sync::Arc, time::Duration};

use holdfast_agent_core::{
    journal::{Kind, Received},
    lease::Terms,
};
use holdfast_proto::v1;
use holdfast_types::{
    AppName, BootInstant, CommandId, Generation, Incarnation, LogIndex, OperationId, RegionName, Revision, Token, spec,
};

use crate::{
    apps::App,
    executors::{Probed, Seen},
};

/// Why a message is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Malformed(pub String);

fn malformed(what: impl std::fmt::Display) -> Malformed {
    Malformed(what.to_string())
}

/// A token.
///
/// # Errors
/// When it is not there.
pub fn token(token: Option<&v1::Token>) -> Result<Token, Malformed> {
    let token = token.ok_or_else(|| malformed("a token is missing"))?;
    Ok(Token { incarnation: Incarnation(token.incarnation), index: LogIndex(token.index) })
}

/// A command's name.
///
/// # Errors
/// When it is not there.
pub fn command_id(id: Option<&v1::CommandId>) -> Result<CommandId, Malformed> {
    let id = id.ok_or_else(|| malformed("a command's id is missing"))?;
    Ok(CommandId { operation: OperationId(id.operation), step: id.step, part: id.part, attempt: id.attempt })
}

/// The same, to be sent.
#[must_use]
pub fn to_command_id(id: CommandId) -> v1::CommandId {
    v1::CommandId { operation: id.operation.0, step: id.step, part: id.part, attempt: id.attempt }
}

/// An app as it should be on a host of `region`.
///
/// # Errors
/// When a value is missing or unknown, or the spec is one this version cannot read.
pub fn app(desired: &v1::DesiredApp, region: &RegionName) -> Result<App, Malformed> {
    let name = AppName::new(&*desired.app).map_err(malformed)?;
    let spec = spec::parse(&format!("{name}.yaml"), &desired.spec_yaml).map_err(malformed)?;
    if spec.app != name {
        return Err(Malformed(format!("app {name} came with the spec of {}", spec.app)));
    }
    Ok(App {
        revision: Revision(desired.revision),
        generation: Generation(desired.generation),
        active: RegionName::new(&*desired.active_region).map_err(malformed)?,
        active_since: Generation(desired.active_since),
        first: Generation(desired.first_generation.max(1)),
        held: desired.held,
        lease_ends: desired.lease_ends,
        routed: desired.routed,
        token: token(desired.token.as_ref())?,
        spec: Arc::new(spec.placed_in(region)),
        name,
    })
}

/// What a command does, with what it needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Order {
    /// Stop every writer.
    Fence,
    /// Cut the receivers.
    Cut,
    /// Connect them again.
    Reconnect,
    /// Promote under a lease.
    Promote,
    /// Start what was primary, under a lease.
    Start,
    /// Send clients to this region.
    Route {
        /// The region.
        region: RegionName,
    },
    /// Look whether this region serves.
    Verify {
        /// The region.
        region: RegionName,
    },
}

impl Order {
    /// Its kind.
    #[must_use]
    pub fn kind(&self) -> Kind {
        match self {
            Self::Fence => Kind::Fence,
            Self::Cut => Kind::Cut,
            Self::Reconnect { .. } => Kind::Reconnect,
            Self::Promote => Kind::Promote,
            Self::Start => Kind::Start,
            Self::Route { .. } => Kind::Route,
            Self::Verify { .. } => Kind::Verify,
        }
    }
}

/// A command, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Command {
    /// Its name, token and kind.
    pub received: Received,
    /// The app.
    pub app: AppName,
    /// The app's generation that it is of.
    pub generation: Generation,
    /// From its start.
    pub within: Duration,
    /// What to do.
    pub order: Order,
}

/// A command.
///
/// # Errors
/// When a value is missing or unknown. Without an id nobody can be told.
pub fn command(command: &v1::Command) -> Result<Command, Malformed> {
    let order = match command.body.as_ref().ok_or_else(|| malformed("a command without a body that we know"))? {
        v1::command::Body::Fence(v1::Fence {}) => Order::Fence,
        v1::command::Body::Cut(v1::Cut {}) => Order::Cut,
        v1::command::Body::Reconnect(_) => Order::Reconnect,
        v1::command::Body::Promote(v1::Promote {}) => Order::Promote,
        v1::command::Body::Start(v1::Start {}) => Order::Start,
        v1::command::Body::Route(route) => Order::Route { region: RegionName::new(&*route.region).map_err(malformed)? },
        v1::command::Body::Verify(verify) => {
            Order::Verify { region: RegionName::new(&*verify.region).map_err(malformed)? }
        }
    };
    let within = command.within.ok_or_else(|| malformed("a command without a time limit"))?;
    Ok(Command {
        received: Received {
            id: command_id(command.id.as_ref())?,
            token: token(command.token.as_ref())?,
            kind: order.kind(),
        },
        app: AppName::new(&*command.app).map_err(malformed)?,
        generation: Generation(command.generation),
        within: duration(&within)?,
        order,
    })
}

/// What a coordinator answers to a request for a lease: its terms, or why there is none.
///
/// # Errors
/// When it answers nothing that this version knows.
pub fn lease(answer: Option<v1::lease_reply::Answer>) -> Result<Result<Terms, v1::Refusal>, Malformed> {
    match answer {
        Some(v1::lease_reply::Answer::Grant(v1::Grant { sole: true, .. })) => Ok(Ok(Terms::Sole)),
        Some(v1::lease_reply::Answer::Grant(v1::Grant { lease: Some(lease), .. })) => {
            Ok(Ok(Terms::Ends(duration(&lease)?)))
        }
        Some(v1::lease_reply::Answer::Refused(why)) => Ok(Err(why)),
        Some(v1::lease_reply::Answer::Grant(_)) | None => Err(malformed("no answer that we know")),
    }
}

/// A span of time.
///
/// # Errors
/// When it is negative.
pub fn duration(span: &prost_types::Duration) -> Result<Duration, Malformed> {
    holdfast_shared::span::from_wire(span).ok_or_else(|| malformed("a span of time is negative, or none"))
}

/// A span of time, to be sent. One beyond what can be said (10 000 years) becomes nothing.
#[must_use]
pub fn to_duration(span: Duration) -> Option<prost_types::Duration> {
    span.try_into().ok()
}

/// A moment for people, to be sent.
#[must_use]
pub fn to_timestamp(at: holdfast_types::WallTime) -> prost_types::Timestamp {
    let millis = at.unix_millis();
    prost_types::Timestamp {
        seconds: millis.div_euclid(1_000),
        nanos: i32::try_from(millis.rem_euclid(1_000) * 1_000_000).unwrap_or(0),
    }
}

/// What was seen of a database, to be sent.
#[must_use]
pub fn to_evidence(seen: &Seen) -> v1::DatabaseEvidence {
    v1::DatabaseEvidence {
        running: seen.running,
        in_recovery: seen.in_recovery.unwrap_or(false),
        accepts_writes: seen.accepts_writes,
        streaming: seen.streaming,
        timeline: seen.timeline,
        lsn: seen.lsn.0,
        replayed_lsn: seen.replayed.0,
        system_identifier: seen.system,
        last_message_age: seen.last_message_age.and_then(to_duration),
        sender: seen.sender.clone().unwrap_or_default(),
    }
}

/// One probe's result, as it was when it was taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Observed {
    /// The app.
    pub app: AppName,
    /// The check.
    pub check: String,
    /// The region that was looked at.
    pub region: RegionName,
    /// The host that was looked at.
    pub target: String,
    /// What came of it.
    pub probed: Probed,
    /// When it had ended.
    pub taken: BootInstant,
    /// How long it took.
    pub took: Duration,
    /// The app's generation known then.
    pub generation: Generation,
}

/// An observation, to be sent now: how long ago it was taken is counted to this moment.
#[must_use]
pub fn to_observation(observed: &Observed, now: BootInstant) -> v1::Observation {
    let (outcome, text, seen) = match &observed.probed {
        Probed::Ok { text, seen } => (v1::Outcome::Ok, text, seen.as_ref()),
        Probed::Failing { text, seen } => (v1::Outcome::Failing, text, seen.as_ref()),
        Probed::CouldNotRun { text } => (v1::Outcome::CouldNotRun, text, None),
    };
    v1::Observation {
        app: observed.app.to_string(),
        check: observed.check.clone(),
        region: observed.region.to_string(),
        target: observed.target.clone(),
        outcome: outcome.into(),
        text: text.clone(),
        age: to_duration(now.since(observed.taken)),
        took: to_duration(observed.took),
        database: seen.map(to_evidence),
        generation: observed.generation.0,
    }
}
