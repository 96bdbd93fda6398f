//! Whether a PostgreSQL takes writes, or follows its primary.

use holdfast_shared::error::Chain;
use holdfast_types::spec::PostgresExpect;

use super::{Evidence, Outcome, io_cause, is_ours};
use crate::exec::{
    Until,
    names::Names,
    postgres::{Login, Look, SqlError, State, Timeline, sql::Session},
};

pub(super) async fn run(names: &Names, login: &Login, expect: PostgresExpect, until: Until) -> Outcome {
    let mut login = login.clone();
    if login.socket.is_none() {
        match names.addresses(login.host()).await {
            Ok(found) => login.address = found.first().map(ToString::to_string),
            Err(e) => return Outcome::could_not_run(e.to_string()),
        }
    }
    let looked = async {
        let session = Session::open(&login, until).await?;
        let look = session.look(until).await?;
        match (expect, &look.state) {
            // The only proof that writes are taken is one that was: a full disk or a missing synchronous standby lets
            // everything else look well.
            (PostgresExpect::AcceptsWrites, State::Primary { .. }) => {
                let lsn = session.commit_marker("check", until).await?;
                let timeline = look.timeline.unwrap_or(Timeline(0));
                Ok(Outcome::Ok { evidence: Evidence::Wrote { system: look.system, timeline, lsn } })
            }
            (PostgresExpect::AcceptsWrites, State::Standby { .. } | State::Mute { .. } | State::Down { .. }) => {
                Ok(Outcome::Failing { why: format!("accepts no writes: {look}"), evidence: follows(&look) })
            }
            (PostgresExpect::Streams, _) => Ok(streams(&look)),
        }
    };
    match looked.await {
        Ok(outcome) => outcome,
        Err(e) => failed(&e),
    }
}

fn streams(look: &Look) -> Outcome {
    match follows(look) {
        Some(evidence @ Evidence::Follows { streaming: true, .. }) => Outcome::Ok { evidence },
        evidence => Outcome::Failing { why: format!("does not follow: {look}"), evidence },
    }
}

fn follows(look: &Look) -> Option<Evidence> {
    match &look.state {
        State::Standby { received, replayed, receiver } => Some(Evidence::Follows {
            system: look.system,
            timeline: look.timeline?,
            received: *received,
            replayed: *replayed,
            streaming: receiver.as_ref().is_some_and(|r| r.streaming),
            sender_host: receiver.as_ref().and_then(|r| r.sender_host.clone()),
            last_message_age: receiver.as_ref().and_then(|r| r.last_message_age),
        }),
        State::Primary { .. } | State::Mute { .. } | State::Down { .. } => None,
    }
}

fn failed(error: &SqlError) -> Outcome {
    let why = Chain(error).to_string();
    // A refused login or a missing right says that the role is not set up, nothing about the service.
    if error.is_ours() {
        return Outcome::could_not_run(format!("{why}; set the role up as in docs/guide/postgres-role.sql"));
    }
    if io_cause(error).is_some_and(is_ours) {
        return Outcome::could_not_run(why);
    }
    Outcome::failing(why)
}
