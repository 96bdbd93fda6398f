//! What proves that the active region serves writes: a write that was seen to arrive elsewhere.
//!
//! | evidence | proves writes |
//! |---|---|
//! | another region's agent committed a write there | yes |
//! | WAL came to a standby since it last looked | yes |
//! | a remote check that the spec marks as proof answers | yes, until the lease is over: it may be a page or a cache |
//! | any other page, an open connection, the region's own word | no |

use holdfast_types::{spec::Place, time::span};

use super::{
    CheckRef, Finding, Outcome, RoundInput, Signal,
    expected::{self, Asked, Says},
};

/// Everything that proves it, in a fixed order.
pub(super) fn proofs(input: &RoundInput<'_>) -> Vec<Finding> {
    let mut found = Vec::new();
    for asked in expected::asked(input.spec, input.region, input.active) {
        found.extend(input.signals.iter().filter(|s| is_proof(input, &asked, s)).map(|s| (s, from_outside(s))));
    }
    found.extend(input.signals.iter().filter(|s| wal_arrives(input, s)).map(|s| (s, wal(input, s))));
    found.sort();
    found.dedup();
    let finding = |(signal, text): (&Signal, String)| Finding {
        text,
        check: Some(signal.check.clone()),
        observer: Some(signal.observer.clone()),
        target: signal.target.clone(),
    };
    let mut findings: Vec<Finding> = found.into_iter().map(finding).collect();
    findings.dedup();
    findings
}

/// Whether this answer to a check of the active region, given to an agent of another region, proves writes.
pub(super) fn is_proof(input: &RoundInput<'_>, asked: &Asked, signal: &Signal) -> bool {
    let about = asked.place == Place::Remote
        && signal.check == asked.check
        && signal.region == *input.region
        && input.region == input.active
        && signal.observer_region != *input.region;
    let proves = match asked.says {
        Says::Writes(_) => signal.database.is_none_or(|seen| seen.accepts_writes && !seen.in_recovery),
        // Whoever marked a page as proof cannot know what a cache before it does after the writers were stopped.
        Says::ServesWrites => !input.lease_over,
        Says::Answers | Says::Follows(_) => false,
    };
    about && proves && signal.outcome == Outcome::Ok && input.fresh(signal)
}

/// Whether WAL of the active region arrives here: the host of a writer in another region says that what it received
/// has moved.
fn wal_arrives(input: &RoundInput<'_>, signal: &Signal) -> bool {
    let CheckRef::Writer(writer) = &signal.check else {
        return false;
    };
    let its_host = input.spec.writer_host(writer, &signal.region).is_some_and(|place| place.host == signal.observer);
    let moved = signal.database.is_some_and(|seen| seen.in_recovery && seen.advanced);
    signal.region != *input.active && its_host && moved && input.fresh(signal)
}

fn from_outside(signal: &Signal) -> String {
    let said = if signal.text.is_empty() { "ok" } else { &signal.text };
    format!(
        "{} gets an answer that proves writes, {} ago: {} says {said}",
        signal.observer,
        span(signal.age),
        signal.check
    )
}

fn wal(input: &RoundInput<'_>, signal: &Signal) -> String {
    let at = signal.database.map(|seen| format!(", now at {}", seen.lsn)).unwrap_or_default();
    format!("{} received WAL of {}, seen {} ago{at}", signal.observer, input.active, span(signal.age))
}
