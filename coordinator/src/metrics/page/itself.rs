//! This coordinator, as it is now.

use holdfast_shared::refusals::RefusedKind;

use super::{Families, labels};
use crate::{
    api::Api,
    metrics::{history::Standing, intake::float},
};

pub(super) fn add(to: &mut Families, api: &Api) {
    let one = |value: f64| [(vec![], value)];
    let leadership = *api.replica.consensus().leadership().borrow();
    let build = labels! {"version": env!("CARGO_PKG_VERSION"), "coordinator": api.coordinator};
    to.gauge("holdfast_coordinator_info", "This coordinator and its version.", [(build, 1.0)]);
    to.gauge(
        "holdfast_coordinator_leading",
        "1 while this coordinator believes that it leads.",
        one(f64::from(u8::from(leadership.leading))),
    );
    to.gauge(
        "holdfast_coordinator_has_leader",
        "1 while this coordinator knows who leads.",
        one(f64::from(u8::from(leadership.leader.is_some()))),
    );
    to.gauge("holdfast_raft_term", "Raft's term.", one(float(leadership.term)));
    let applied = api.replica.applied().borrow().0;
    to.gauge("holdfast_raft_applied_index", "The newest entry that is applied here.", one(float(applied)));
    to.gauge(
        "holdfast_sessions",
        "Agents that have a session with this coordinator.",
        one(float(api.fleet.reachable().len() as u64)),
    );
    to.counter(
        "holdfast_verdicts",
        "Verdicts that this coordinator reached.",
        api.watch.verdicts().into_iter().map(|(kind, count)| (labels! {"verdict": kind}, float(count))),
    );
    to.counter(
        "holdfast_refused_at_edge",
        "What was refused before anybody looked into it: connections, messages, enrolments, by kind.",
        RefusedKind::ALL.map(|kind| (labels! {"kind": kind.label()}, float(api.hot.refusals().total(kind)))),
    );
    let history = &api.metrics.history;
    let (kept, stopped) = match history.standing() {
        Standing::Off => (false, false),
        Standing::Kept => (true, false),
        Standing::Stopped(_) => (true, true),
    };
    if kept {
        to.gauge("holdfast_history_stopped", "1 while the history is not written.", one(f64::from(u8::from(stopped))));
        to.gauge("holdfast_history_bytes", "What is used of the history's file.", one(float(history.used())));
    }
    if let Ok(process) = procfs::process::Process::myself() {
        if let Ok(stat) = process.stat() {
            let resident = stat.rss.saturating_mul(procfs::page_size());
            to.gauge("holdfast_coordinator_resident_memory_bytes", "Memory of this coordinator.", one(float(resident)));
            let ticks = procfs::ticks_per_second().max(1);
            let cpu = float(stat.utime.saturating_add(stat.stime)) / float(ticks);
            to.counter("holdfast_coordinator_cpu_seconds", "CPU time of this coordinator.", one(cpu));
        }
        if let Ok(open) = process.fd_count() {
            to.gauge("holdfast_coordinator_open_files", "Files and sockets that it has open.", one(float(open as u64)));
        }
    }
}
