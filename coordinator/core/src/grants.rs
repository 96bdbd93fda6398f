//! Whether a lease may be granted, and what a leader remembers of the grants it gave.

use std::collections::BTreeMap;

use holdfast_types::{
    AppName, BootInstant, Generation, HostName, LogIndex,
    lease::{LastGrant, Timings, over_at},
    refusal::Reason,
};

use crate::{change::Refused, state::State};

/// What a grant says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Terms {
    /// Of this generation.
    pub generation: Generation,
    /// Counted from when the request was sent; `None` = without end.
    pub lease: Option<std::time::Duration>,
}

/// Whether `host` may hold a lease of `app` right now. To be asked after the quorum has confirmed that this coordinator
/// leads, and again when the reply is given: a `hold` that was applied meanwhile drops it.
///
/// # Errors
/// Why not; the lease the host may still hold then runs out.
pub fn may_grant(
    state: &State,
    app: &AppName,
    host: &HostName,
    fenced: Generation,
    end_wanted: bool,
) -> Result<Terms, Refused> {
    let refuse = |reason, what: String| Err(Refused { reason, what });
    let Some(record) = state.app(app) else {
        return refuse(Reason::UnknownApp, format!("no app {app}"));
    };
    let Some(known) = state.hosts().get(host) else {
        return refuse(Reason::UnknownHost, format!("no host {host} is enrolled"));
    };
    if !known.quarantine.is_empty() {
        return refuse(Reason::Quarantined, format!("host {host} is quarantined: {}", known.quarantine));
    }
    let Some(timings) = record.spec.timings().filter(|_| record.leased()) else {
        return refuse(Reason::NoFailover, format!("app {app} has no leases"));
    };
    if !record.holders(record.active()).contains(host) {
        return refuse(
            Reason::NotPermitted,
            format!("{host} has no writer of app {app} in the active region {}", record.active()),
        );
    }
    if record.held() {
        return refuse(
            Reason::OperationRunning,
            format!("generation {} of app {app} is held by operation {}", record.generation(), record.record.held_by),
        );
    }
    if fenced >= record.generation() {
        return refuse(
            Reason::GenerationMoved,
            format!("{host} has fenced generation {fenced} of app {app}; it waits for the next"),
        );
    }
    let lease = (!record.lease_is_sole(end_wanted)).then_some(timings.lease);
    Ok(Terms { generation: record.generation(), lease })
}

/// What a leader remembers of its grants: the time of its last reply, a shortcut only. Lost with the process, and then
/// the wait is counted from later.
#[derive(Debug, Clone)]
pub struct GrantLog {
    /// When this leadership began, and the last entry that an earlier leader may have written.
    since: BootInstant,
    since_index: LogIndex,
    last: BTreeMap<AppName, (Generation, BootInstant)>,
}

impl GrantLog {
    /// Nothing granted yet. `since_index` is at or after the last entry of any earlier leadership, as the index that
    /// the first confirmation of this one answers; what happens to be applied here may be less, and would not do.
    /// A new one is needed for each term, also when a coordinator follows on itself.
    #[must_use]
    pub fn new(since: BootInstant, since_index: LogIndex) -> Self {
        Self { since, since_index, last: BTreeMap::new() }
    }

    /// To be noted before the reply is handed to the network.
    pub fn note(&mut self, app: &AppName, generation: Generation, now: BootInstant) {
        let entry = self.last.entry(app.clone()).or_insert((generation, now));
        *entry = (entry.0.max(generation), entry.1.max(now));
    }

    /// When nothing is left of the lease of `generation`, for an app held since `hold_applied` on this process's clock.
    #[must_use]
    pub fn over_at(
        &self,
        app: &AppName,
        generation: Generation,
        generation_index: LogIndex,
        hold_applied: BootInstant,
        timings: &Timings,
    ) -> BootInstant {
        // A generation that began under this leadership was granted by nobody else. Leases of the one before may live on
        // where nobody waited for their end: a hold that was taken back. So the last reply of any generation counts, and
        // what earlier leaders granted was asked for before this leadership began.
        let last = if generation_index > self.since_index {
            match self.last.get(app) {
                Some((newest, at)) if *newest <= generation => LastGrant::Mine(*at),
                Some(_) => LastGrant::NotAllMine,
                None => LastGrant::Mine(self.since),
            }
        } else {
            LastGrant::NotAllMine
        };
        over_at(hold_applied, last, timings)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn at(millis: u64) -> BootInstant {
        BootInstant::from_boot(Duration::from_millis(millis))
    }

    #[test]
    fn only_a_leader_that_saw_the_generation_begin_counts_from_its_last_reply() {
        let app = AppName::new("shop").expect("a name");
        let timings = Timings::new(Duration::from_secs(3), Duration::from_secs(1), Duration::from_secs(1));
        let over = timings.over_after();
        let mut log = GrantLog::new(at(1_000), LogIndex(50));
        log.note(&app, Generation(3), at(5_000));
        let ask = |log: &GrantLog, index| log.over_at(&app, Generation(3), LogIndex(index), at(9_000), &timings);
        assert_eq!(ask(&log, 51), at(5_000) + over, "began under this leadership");
        assert_eq!(ask(&log, 50), at(9_000) + over, "began before: somebody else may have granted");
        let fresh = GrantLog::new(at(1_000), LogIndex(50));
        assert_eq!(ask(&fresh, 51), at(1_000) + over, "nobody was ever granted one");
        log.note(&app, Generation(4), at(9_500));
        log.note(&app, Generation(3), at(9_900));
        assert_eq!(
            log.over_at(&app, Generation(4), LogIndex(60), at(20_000), &timings),
            at(9_900) + over,
            "a lease of the generation before may live on"
        );
    }
}
