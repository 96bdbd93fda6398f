//! What a region's own agents say, or leave unsaid.

use std::collections::BTreeSet;

use holdfast_types::{HostName, RegionName, spec::Place, time::span};

use super::{
    CheckRef, Evidence, Finding, RoundInput, Seen,
    evidence::{Row, complaint},
    expected::{self, Says},
    grace,
};
use crate::counter::Pacing;

/// The region as its own agents show it.
#[derive(Debug, Default)]
pub(super) struct Own {
    /// Why it does not work: their word, or their silence. Empty: it does, as far as they know.
    pub(super) bad: Vec<Finding>,
    /// What is wrong and can be missed.
    pub(super) missed: Vec<Finding>,
    /// What is not known yet.
    pub(super) awaited: Vec<Finding>,
    /// Their word that writers take writes.
    pub(super) life: Vec<Finding>,
}

impl Own {
    pub(super) fn broken(&self) -> bool {
        !self.bad.is_empty()
    }
}

pub(super) fn say(input: &RoundInput<'_>, rows: &[Row]) -> Own {
    let mut own = Own { life: life(input, rows), ..Own::default() };
    if let Some(finding) = silent_region(input) {
        own.bad.push(finding);
        return own;
    }
    let unmissable =
        if input.region == input.active { expected::writer_hosts(input.spec, input.region) } else { BTreeSet::new() };
    for row in rows.iter().filter(|row| row.asked.place == Place::Local) {
        weigh(input, row, &unmissable, &mut own);
    }
    // One silent agent explains many checks; it is told where it weighs most.
    once(&mut own.bad, &[]);
    once(&mut own.missed, &own.bad);
    own
}

fn once(findings: &mut Vec<Finding>, told: &[Finding]) {
    let mut texts: BTreeSet<String> = told.iter().map(|finding| finding.text.clone()).collect();
    findings.retain(|finding| texts.insert(finding.text.clone()));
}

/// What the looks of one check amount to.
fn weigh(input: &RoundInput<'_>, row: &Row, unmissable: &BTreeSet<HostName>, own: &mut Own) {
    let (mut bad, mut unseen, mut awaited) = (Vec::new(), Vec::new(), Vec::new());
    let mut bad_unmissable = false;
    let mut observed = false;
    for (target, looks) in row.by_target() {
        let Some(worst) = decisive(&looks) else {
            continue;
        };
        match worst.seen {
            Seen::Ok => observed = true,
            Seen::Failing | Seen::Silent => {
                observed = true;
                bad_unmissable |= target.as_ref().is_some_and(|host| unmissable.contains(host));
                bad.push(complaint(input, worst, &row.asked.says));
            }
            Seen::CouldNotRun => unseen.push(complaint(input, worst, &row.asked.says)),
            Seen::NotYet => awaited.push(complaint(input, worst, &row.asked.says)),
        }
    }
    let targets = row.asked.looks.len();
    let needed = match row.asked.enough {
        Some(enough) if !row.asked.vital => targets.min(usize::try_from(enough).unwrap_or(usize::MAX)),
        Some(_) | None => targets,
    };
    let too_many = bad.len() > targets - needed || bad_unmissable;
    if too_many && !row.asked.only_warns && !waits_for_source(input, row) {
        own.bad.append(&mut bad);
    } else {
        own.missed.append(&mut bad);
    }
    // One look of many that could not run is a row of evidence; a check that says nothing at all, or a vital one that
    // is incomplete, is less than ok. It is never a failure.
    if !observed || row.asked.vital {
        own.missed.append(&mut unseen);
        own.awaited.append(&mut awaited);
    }
}

/// Of several looks at one target: one that is fine shows that it works, whoever else cannot see it; a word goes
/// before silence, silence before none.
fn decisive<'a>(looks: &[&'a Evidence]) -> Option<&'a Evidence> {
    let weight = |seen: Seen| match seen {
        Seen::Ok => 0,
        Seen::Failing => 1,
        Seen::Silent => 2,
        Seen::NotYet => 3,
        Seen::CouldNotRun => 4,
    };
    looks.iter().copied().min_by_key(|look| weight(look.seen))
}

/// A standby whose source takes no writes follows nobody, and that is not its fault: it is in recovery and waits.
fn waits_for_source(input: &RoundInput<'_>, row: &Row) -> bool {
    let Says::Follows(writer) = &row.asked.says else {
        return false;
    };
    let in_recovery = |look: &Evidence| {
        look.seen == Seen::Failing && look.database.is_some_and(|seen| seen.in_recovery && !seen.accepts_writes)
    };
    let source_writes = input.signals.iter().any(|signal| {
        signal.check == CheckRef::Writer(writer.clone())
            && signal.region == *input.active
            && input.spec.writer_host(writer, input.active).is_some_and(|place| place.host == signal.observer)
            && signal.database.is_some_and(|seen| seen.accepts_writes && !seen.in_recovery)
            && input.fresh(signal)
    });
    !source_writes && row.looks.iter().all(in_recovery)
}

fn life(input: &RoundInput<'_>, rows: &[Row]) -> Vec<Finding> {
    if input.region != input.active {
        return Vec::new();
    }
    let own = rows.iter().filter(|row| row.asked.place == Place::Local && matches!(row.asked.says, Says::Writes(_)));
    own.flat_map(|row| &row.looks)
        .filter(|look| look.seen == Seen::Ok)
        .map(|look| {
            let age = look.age.map(span).unwrap_or_default();
            Finding::of(format!("{} took a write {age} ago, it says ({})", look.observer, look.check), look)
        })
        .collect()
}

/// A region is silent when all of its agents are.
fn silent_region(input: &RoundInput<'_>) -> Option<Finding> {
    let here = input.spec.region(input.region)?;
    let hosts: BTreeSet<&HostName> = here.roles.values().flatten().map(|place| &place.host).collect();
    if hosts.is_empty() || !hosts.iter().all(|host| silent_agent(input, input.region, host)) {
        return None;
    }
    let last = input.signals.iter().filter(|s| hosts.contains(&s.observer)).map(|s| s.age).min();
    let names: Vec<&str> = hosts.iter().map(|host| host.as_str()).collect();
    let text = match last {
        Some(age) => format!("{} is silent for {}: {}", input.region, span(age), names.join(", ")),
        // A new generation, or a new leader, begins to listen anew.
        None => format!(
            "{} is silent, nothing was heard of it for {} at least: {}",
            input.region,
            span(input.in_force_for),
            names.join(", ")
        ),
    };
    // Whom to ask first: the host of a writer.
    let writers = expected::writer_hosts(input.spec, input.region);
    let observer = writers.into_iter().next().or_else(|| hosts.first().map(|host| (*host).clone()));
    Some(Finding { observer, ..Finding::plain(text) })
}

/// An agent is silent when it should have reported something of this app and nothing of it is young enough. One that
/// need not report anything is judged by its session.
pub(super) fn silent_agent(input: &RoundInput<'_>, region: &RegionName, host: &HostName) -> bool {
    let mut heard = input.signals.iter().filter(|s| s.observer == *host).peekable();
    if heard.peek().is_some() {
        return !heard.any(|s| input.fresh(s));
    }
    let asked = expected::asked(input.spec, region, input.active);
    let must_report = expected::own_observers(&asked).contains(host);
    let had_time = input.in_force_for >= grace(&Pacing::of(input.spec));
    let live = input.hosts_live.get(region).and_then(|hosts| hosts.get(host)).copied().unwrap_or(false);
    if must_report { had_time } else { !live }
}

/// Why we ourselves seem cut off: most agents of every region are silent at once, however many each region has. A
/// region whose hosts never joined says nothing either way.
pub(super) fn cut_off(input: &RoundInput<'_>) -> Option<String> {
    let regions: Vec<_> = input.hosts_live.iter().filter(|(_, hosts)| !hosts.is_empty()).collect();
    let mut counts = Vec::new();
    for (region, hosts) in regions {
        // A session may look alive for a while after the network has gone, so what an agent should have reported
        // counts as well.
        let silent = hosts.iter().filter(|(host, live)| !**live || silent_agent(input, region, host)).count();
        if silent * 2 <= hosts.len() {
            return None;
        }
        counts.push(format!("{silent} of {} in {region}", hosts.len()));
    }
    if counts.is_empty() {
        return Some("no host has joined yet".to_owned());
    }
    Some(format!("most agents of every region are silent at once ({}): we ourselves seem cut off", counts.join(", ")))
}
