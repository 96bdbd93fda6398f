//! Where a spec promises less than it could. Said at every plan and apply, so that nobody learns it from an outage.

use holdfast_types::{
    spec::{AppSpec, FencedBy, OnIsolation, ReplicationMode},
    time::span,
};

/// A line for each weaker promise.
pub(super) fn notes(spec: &AppSpec) -> Vec<String> {
    let mut notes = Vec::new();
    match (spec.regions.as_slice(), &spec.failover) {
        ([only], _) => notes.push(format!("{} is its only region: no lease, never fenced, never moved", only.name)),
        (_, None) => notes.push("no failover section: no lease, never fenced, never moved".to_owned()),
        (_, Some(failover)) => {
            match spec.fencing.by {
                FencedBy::Agent => {
                    notes.push("fenced by the agent: a stopped agent leaves the database running".to_owned());
                    notes.push(match failover.on_isolation {
                        OnIsolation::Fence => isolated(spec),
                    });
                }
                FencedBy::None => notes.push("fencing is none: two regions may accept writes at once".to_owned()),
            }
            let short = spec.arithmetic().into_iter().find(|line| line.what == "takeover");
            notes.extend(short.map(|line| match line.note {
                Some(note) => format!("{}: {note}", line.formula),
                None => line.formula,
            }));
        }
    }
    if spec.failover.is_some() {
        notes.extend(spec.writers.values().filter_map(|writer| match writer.replication.as_ref()?.mode {
            ReplicationMode::Async => Some(format!(
                "{} replicates asynchronously: a failover may lose the last acknowledged writes",
                writer.name
            )),
            ReplicationMode::Sync => None,
        }));
    }
    if spec.proxies.is_empty() && spec.regions.len() > 1 && !spec.writers.is_empty() {
        notes.push("no proxy: clients list the database hosts of all regions themselves".to_owned());
    }
    notes
}

/// What becomes of an app whose leases end when nobody can renew them.
pub(super) fn isolated(spec: &AppSpec) -> String {
    let lease = spec.timings().map(|t| format!(" ({})", span(t.lease))).unwrap_or_default();
    format!("while this coordinator is down for longer than its lease{lease}, {} is fenced", spec.app)
}

#[cfg(test)]
mod tests {
    use holdfast_types::spec::parse;

    use super::*;
    use crate::api::samples::{FAST, ONE_REGION};

    #[test]
    fn every_weaker_promise_is_said() {
        let without_proxy = FAST.split("traffic:").next().expect("a first part").to_owned();
        let none = FAST.replace("by: agent", "by: none").replace("mode: automatic", "mode: observe");
        let slow = FAST.replace("preset: fast", "interval: 30s");
        let without_failover = {
            let (head, tail) = FAST.split_once("failover:").expect("a failover section");
            let (_, tail) = tail.split_once("traffic:").expect("a traffic section");
            format!("{head}traffic:{tail}")
        };
        for (spec, said, not_said) in [
            (FAST, "a stopped agent leaves the database running", "no proxy"),
            (FAST, "is down for longer than its lease (3 s), shop is fenced", "fencing is none"),
            (FAST, "losing a coordinator fences the app", "only region"),
            (&slow, "its lease (20 s), shop is fenced", "losing a coordinator"),
            (FAST, "pg replicates asynchronously", "no failover"),
            (&without_proxy, "no proxy: clients list", "only region"),
            (&none, "fencing is none: two regions may accept writes at once", "is fenced"),
            (ONE_REGION, "eu-1 is its only region", "no proxy"),
            (&without_failover, "no failover section: no lease", "stopped agent"),
        ] {
            let spec = parse("test", spec).unwrap_or_else(|problems| panic!("{problems}"));
            let notes = notes(&spec).join("\n");
            assert!(notes.contains(said) && !notes.contains(not_said), "{said}, not {not_said}:\n{notes}");
        }
    }
}
