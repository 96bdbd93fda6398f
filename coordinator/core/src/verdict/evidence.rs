//! One row per expected look, and what all looks of one check amount to.

use std::time::Duration;

use holdfast_types::{HostName, spec::Place, time::span};

use super::{
    CheckRef, DatabaseSeen, Finding, Outcome, RoundInput, Signal,
    expected::{self, Asked, Says},
    grace, own, proof,
};
use crate::counter::Pacing;

/// How an expected look stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Seen {
    /// It was fine.
    Ok,
    /// It was not.
    Failing,
    /// Nothing was heard of it in time.
    Silent,
    /// It could not run: no observation.
    CouldNotRun,
    /// Nothing was heard of it yet, and it is asked for only since a moment ago.
    NotYet,
}

impl Seen {
    /// As `holdfast why` prints it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Failing => "failing",
            Self::Silent => "silent",
            Self::CouldNotRun => "could not run",
            Self::NotYet => "not yet",
        }
    }
}

/// One expected look, for `holdfast why`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Evidence {
    /// What was checked.
    pub check: CheckRef,
    /// Who looked, or should have.
    pub observer: HostName,
    /// What was looked at, where the check names hosts.
    pub target: Option<HostName>,
    /// How it stands.
    pub seen: Seen,
    /// What the observer said last.
    pub text: String,
    /// How old that is; `None`: it never said anything.
    pub age: Option<Duration>,
    /// Whether this look alone can make the region fail.
    pub vital: bool,
    /// Whether it proves that the active region serves writes.
    pub proof: bool,
    /// What was seen of the database.
    pub database: Option<DatabaseSeen>,
}

/// All looks of one check.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) asked: Asked,
    pub(super) looks: Vec<Evidence>,
}

impl Row {
    /// The looks at each target.
    pub(super) fn by_target(&self) -> impl Iterator<Item = (&Option<HostName>, Vec<&Evidence>)> {
        self.asked.looks.keys().map(|target| (target, self.looks.iter().filter(|e| e.target == *target).collect()))
    }
}

/// What every expected look of the region came to.
pub(super) fn rows(input: &RoundInput<'_>) -> Vec<Row> {
    let asked = expected::asked(input.spec, input.region, input.active);
    asked
        .into_iter()
        .map(|asked| {
            let pairs = asked.looks.iter().flat_map(|(target, by)| by.iter().map(move |observer| (target, observer)));
            let looks = pairs.map(|(target, observer)| look(input, &asked, target.as_ref(), observer)).collect();
            Row { asked, looks }
        })
        .collect()
}

pub(super) fn all(rows: &[Row]) -> Vec<Evidence> {
    rows.iter().flat_map(|row| row.looks.iter().cloned()).collect()
}

fn look(input: &RoundInput<'_>, asked: &Asked, target: Option<&HostName>, observer: &HostName) -> Evidence {
    let answers = |signal: &&Signal| {
        // An agent that looks at itself may leave the target out.
        let at = match (&signal.target, target) {
            (Some(seen), Some(wanted)) => seen == wanted,
            (None, Some(wanted)) => wanted == observer,
            (Some(_) | None, None) => true,
        };
        at && signal.check == asked.check && signal.observer == *observer && signal.region == *input.region
    };
    let heard: Vec<&Signal> = input.signals.iter().filter(answers).collect();
    // A check that could not run is no observation, so an older one that still counts goes before it. Among equally
    // old ones the order of the input must not decide.
    let youngest = |of: &dyn Fn(&Signal) -> bool| heard.iter().copied().filter(|s| of(s)).min_by_key(|s| (s.age, *s));
    let observation = youngest(&|s| s.outcome != Outcome::CouldNotRun && input.fresh(s));
    let not_run = youngest(&|s| s.outcome == Outcome::CouldNotRun && input.fresh(s));
    let (last, seen) = match (observation, not_run) {
        (Some(signal), _) => (Some(signal), if fine(signal, &asked.says) { Seen::Ok } else { Seen::Failing }),
        (None, Some(signal)) => (Some(signal), Seen::CouldNotRun),
        (None, None) if heard.is_empty() && input.in_force_for < grace(&Pacing::of(input.spec)) => (None, Seen::NotYet),
        (None, None) => (youngest(&|_| true), Seen::Silent),
    };
    Evidence {
        check: asked.check.clone(),
        observer: observer.clone(),
        target: target.cloned(),
        seen,
        text: last.map(|signal| signal.text.clone()).unwrap_or_default(),
        age: last.map(|signal| signal.age),
        vital: asked.vital,
        proof: seen == Seen::Ok && last.is_some_and(|signal| proof::is_proof(input, asked, signal)),
        database: last.and_then(|signal| signal.database),
    }
}

/// Whether what was seen is what this region should show. For a writer the evidence decides, not the observer's
/// opinion: just after a failover an agent may not yet know which side it is on.
fn fine(signal: &Signal, says: &Says) -> bool {
    match (&signal.check, &signal.database, says) {
        (CheckRef::Writer(_), Some(seen), Says::Writes(_)) => seen.accepts_writes && !seen.in_recovery,
        (CheckRef::Writer(_), Some(seen), Says::Follows(_)) => seen.in_recovery && seen.streaming,
        (CheckRef::Writer(_), Some(_), Says::Answers | Says::ServesWrites)
        | (CheckRef::Writer(_), None, _)
        | (CheckRef::Declared(_), _, _) => signal.outcome == Outcome::Ok,
    }
}

/// What agents of other regions cannot reach. Their word alone makes nothing fail: the way between may be what is cut.
pub(super) fn unreachable(input: &RoundInput<'_>, rows: &[Row]) -> Vec<Finding> {
    let remote = rows.iter().filter(|row| row.asked.place == Place::Remote);
    remote
        .filter(|row| row.looks.iter().all(|e| e.seen != Seen::Ok))
        .filter_map(|row| row.looks.iter().find(|e| e.seen == Seen::Failing))
        .map(|e| {
            let text = format!("{} does not answer to {}: {}", named(e, input), e.observer, said(e));
            Finding::of(text, e)
        })
        .collect()
}

fn named(row: &Evidence, input: &RoundInput<'_>) -> String {
    let place = row.target.as_ref().map_or_else(|| input.region.to_string(), ToString::to_string);
    format!("{} on {place}", row.check)
}

/// What the observer said, or that it said nothing.
pub(super) fn said(row: &Evidence) -> String {
    if row.text.is_empty() { "no detail".to_owned() } else { row.text.clone() }
}

/// What is wrong with one look.
pub(super) fn complaint(input: &RoundInput<'_>, row: &Evidence, says: &Says) -> Finding {
    let target = row.target.as_ref().unwrap_or(&row.observer);
    let text = match row.seen {
        Seen::Ok => format!("{} is fine", named(row, input)),
        Seen::Failing => match (&row.check, row.database, says) {
            (CheckRef::Writer(writer), Some(seen), Says::Follows(_)) if seen.accepts_writes => {
                format!("{writer} on {target} accepts writes although {} is active", input.active)
            }
            (CheckRef::Writer(writer), Some(seen), Says::Follows(_)) if !seen.in_recovery => {
                format!("{writer} on {target} is no standby: {}", said(row))
            }
            (CheckRef::Writer(writer), _, Says::Follows(_)) => {
                format!("{writer} on {target} does not follow {}: {}", input.active, said(row))
            }
            (CheckRef::Writer(writer), _, Says::Writes(_) | Says::Answers | Says::ServesWrites) => {
                format!("{writer} on {target} takes no writes: {}", said(row))
            }
            (CheckRef::Declared(_), _, _) if row.observer == *target => {
                format!("{} fails: {}", named(row, input), said(row))
            }
            (CheckRef::Declared(_), _, _) => {
                format!("{} fails, seen by {}: {}", named(row, input), row.observer, said(row))
            }
        },
        // An agent that says nothing at all is one thing to tell, however many checks it should have reported.
        Seen::Silent if own::silent_agent(input, input.region, &row.observer) => {
            let last = input.signals.iter().filter(|s| s.observer == row.observer).map(|s| s.age).min();
            let how_long =
                last.map_or_else(|| ", it never said anything".to_owned(), |age| format!(" for {}", span(age)));
            format!("{} is silent{how_long}", row.observer)
        }
        Seen::Silent => match row.age {
            Some(age) => format!("{}: {} says nothing of it for {}", named(row, input), row.observer, span(age)),
            None => format!("{}: {} never said anything of it", named(row, input), row.observer),
        },
        Seen::CouldNotRun => format!("{} could not run: {}", named(row, input), said(row)),
        Seen::NotYet => format!("{} is not yet observed", named(row, input)),
    };
    Finding::of(text, row)
}
