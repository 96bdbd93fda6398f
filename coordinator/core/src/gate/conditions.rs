//! Each condition of the gate, judged by itself.

use holdfast_types::{RegionName, refusal::Reason, spec::Mode, time::span};

use super::{
    AskedBy, Condition, GateInput, GateLine, Standby,
    candidate::{behind, chosen, obstacle},
};
use crate::maintenance::told;

pub(super) fn judge(input: &GateInput<'_>) -> Vec<GateLine> {
    Condition::ALL.into_iter().map(|condition| line(input, condition)).collect()
}

fn line(input: &GateInput<'_>, condition: Condition) -> GateLine {
    let verdict = match condition {
        Condition::Mode => mode(input),
        Condition::Maintenance => maintenance(input),
        Condition::OtherOperation => other_operation(input),
        Condition::Incidents => incidents(input),
        Condition::Target => target(input),
        Condition::Unhealthy => unhealthy(input),
        Condition::Candidate => candidate(input),
        Condition::LifeSeen => life_seen(input),
        Condition::Lag => Ok(lag(input)),
    };
    match verdict {
        Ok(text) => GateLine { condition, holds: true, text, reason: None },
        Err((reason, text)) => GateLine { condition, holds: false, text, reason },
    }
}

/// Why it holds, or the reason why it does not.
type Judged = Result<String, (Option<Reason>, String)>;

fn operator(input: &GateInput<'_>) -> bool {
    match input.asked_by {
        AskedBy::Operator { .. } => true,
        AskedBy::Verdicts => false,
    }
}

fn mode(input: &GateInput<'_>) -> Judged {
    match input.mode {
        None => Err((
            Some(Reason::NoFailover),
            format!("{} has no failover section: it has no leases and never moves", input.app),
        )),
        Some(_) if operator(input) => Ok("asked for by an operator".to_owned()),
        Some(Mode::Automatic) => Ok("automatic".to_owned()),
        Some(Mode::Assist) => Err((None, "assist: an operator decides".to_owned())),
        Some(Mode::Observe) => Err((None, "observe: an operator decides, unasked".to_owned())),
    }
}

fn maintenance(input: &GateInput<'_>) -> Judged {
    match input.maintenance {
        Some((scope, maintenance)) => Err((Some(Reason::InMaintenance), told(scope, maintenance))),
        None => Ok("off".to_owned()),
    }
}

fn other_operation(input: &GateInput<'_>) -> Judged {
    match input.other_operation {
        Some(id) => Err((Some(Reason::OperationRunning), format!("operation {id} is running"))),
        None => Ok("none is running".to_owned()),
    }
}

fn incidents(input: &GateInput<'_>) -> Judged {
    match input.earlier_incident {
        Some(number) if operator(input) => Ok(format!("incident {number} is open, an operator asks")),
        Some(number) => Err((None, format!("incident {number} is not acknowledged"))),
        None => Ok("none is open".to_owned()),
    }
}

fn target(input: &GateInput<'_>) -> Judged {
    let AskedBy::Operator { to: Some(to) } = &input.asked_by else {
        return Ok("any standby region".to_owned());
    };
    if to == input.active {
        return Err((Some(Reason::AlreadyActive), format!("{} is active in {to} already", input.app)));
    }
    if !input.standbys.iter().any(|standby| standby.region == *to) {
        let regions: Vec<&str> = input.standbys.iter().map(|standby| standby.region.as_str()).collect();
        let others = if regions.is_empty() { "no other region".to_owned() } else { regions.join(", ") };
        return Err((Some(Reason::UnknownRegion), format!("{to} is no region of {}; it has {others}", input.app)));
    }
    Ok(to.to_string())
}

fn unhealthy(input: &GateInput<'_>) -> Judged {
    let count = format!("{} of {} failing", input.counter.failing.min(input.failures), input.failures);
    if operator(input) {
        return Ok(format!("{count}; asked for by an operator"));
    }
    if input.counter.run_is_full(input.failures) {
        Ok(count)
    } else {
        Err((None, format!("{}: {count}", input.active)))
    }
}

fn candidate(input: &GateInput<'_>) -> Judged {
    if let Some(standby) = chosen(input) {
        return Ok(position(standby));
    }
    let asked_for = |region: &RegionName| match &input.asked_by {
        AskedBy::Operator { to: Some(to) } => to == region,
        AskedBy::Operator { to: None } | AskedBy::Verdicts => true,
    };
    let obstacles: Vec<_> = input
        .standbys
        .iter()
        .filter(|standby| asked_for(&standby.region))
        .filter_map(|standby| obstacle(standby, input.active))
        .collect();
    let Some(first) = obstacles.first() else {
        return Err((Some(Reason::NotPromotable), format!("{} has no such standby region", input.app)));
    };
    let texts: Vec<&str> = obstacles.iter().map(|obstacle| obstacle.text.as_str()).collect();
    Err((Some(first.reason), texts.join("; ")))
}

/// `us-west: pg on usw-db1 received 3A/945A1100, timeline 4, seen 0.4 s ago`.
fn position(standby: &Standby) -> String {
    let each: Vec<String> = standby
        .databases
        .iter()
        .map(|(writer, database)| match database.seen {
            Some(seen) => format!(
                "{writer} on {} received {}, timeline {}, seen {} ago",
                database.host,
                seen.lsn,
                seen.timeline,
                span(database.age)
            ),
            None => format!("{writer} on {} was not observed yet", database.host),
        })
        .collect();
    format!("{}: {}", standby.region, each.join("; "))
}

fn life_seen(input: &GateInput<'_>) -> Judged {
    // An operator who believes the region dead must hear what its agents say. The verdicts have weighed that already:
    // they found it failing by the word of those very agents.
    let own = if operator(input) && !input.lease_over { input.own_life } else { &[] };
    let life: Vec<&str> = input.proofs.iter().chain(own).map(|finding| finding.text.as_str()).collect();
    if life.is_empty() {
        return Ok(format!("nothing proves that {} serves writes", input.active));
    }
    Err((Some(Reason::LifeSeen), life.join("; ")))
}

/// Told, and limits nothing: the spec has no limit yet.
fn lag(input: &GateInput<'_>) -> String {
    let Some(standby) = chosen(input) else {
        return "no candidate".to_owned();
    };
    let source = standby.databases.values().find_map(|database| database.source);
    match source {
        Some((source, age)) => {
            format!("{}, {} last seen at {}, {} ago", behind(standby), input.active, source.lsn, span(age))
        }
        None => format!("unknown: {} was not seen since this coordinator watches", input.active),
    }
}
