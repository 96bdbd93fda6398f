//! Hosts, their containers, checks, databases and apps.

use holdfast_proto::v1;

use super::{Families, Labels, labels};
use crate::{
    api::{Api, facts::AppFact},
    metrics::{HostSeen, checks::CheckNow, intake::float},
};

/// Seconds of a count of hundredths.
fn hundredths(count: u64) -> f64 {
    float(count) / 100.0
}

fn yes(holds: bool) -> f64 {
    f64::from(u8::from(holds))
}

pub(super) fn add(to: &mut Families, api: &Api) {
    let facts = api.facts();
    let host = |fact: &crate::api::facts::HostFact| labels! {"host": fact.host, "region": fact.region};
    to.gauge(
        "holdfast_host_up",
        "1 while the agent of the host has a session with this coordinator.",
        facts.hosts.iter().map(|fact| (host(fact), yes(fact.live))),
    );
    to.gauge(
        "holdfast_host_quarantined",
        "1 while the host gets no lease and no command.",
        facts.hosts.iter().map(|fact| (host(fact), yes(fact.quarantined))),
    );
    to.gauge(
        "holdfast_host_certificate_expiry_timestamp_seconds",
        "When the host's certificate ends, in seconds since the Unix epoch.",
        facts.hosts.iter().filter_map(|fact| Some((host(fact), fact.certificate_until?))),
    );
    let seen: Vec<(Labels, HostSeen)> = api
        .metrics
        .hosts(api.clock.boot())
        .into_iter()
        .map(|(name, seen)| (labels! {"host": name, "region": seen.region}, seen))
        .collect();
    hosts(to, &seen, api);
    containers(to, &seen);
    checks(to, &api.metrics.checks(api.clock.boot()));
    apps(to, &facts.apps);
    to.gauge(
        "holdfast_operations",
        "Operations that are remembered, by how they stand.",
        facts
            .operations
            .iter()
            .map(|((app, kind, state), count)| (labels! {"app": app, "kind": kind, "state": state}, f64::from(*count))),
    );
}

fn hosts(to: &mut Families, seen: &[(Labels, HostSeen)], api: &Api) {
    let with = |labels: &Labels, more: Labels| labels.iter().cloned().chain(more).collect::<Labels>();
    let of = |pick: fn(&HostSeen) -> Option<f64>| {
        seen.iter().filter_map(move |(labels, seen)| Some((labels.clone(), pick(seen)?))).collect::<Vec<_>>()
    };
    let cpu = |seen: &HostSeen| seen.told.cpu;
    to.counter(
        "holdfast_host_cpu_seconds",
        "Time that the CPUs of the host spent in each state.",
        seen.iter().flat_map(|(labels, seen)| {
            let states = cpu(seen).map(|cpu| {
                [
                    ("user", cpu.user),
                    ("nice", cpu.nice),
                    ("system", cpu.system),
                    ("idle", cpu.idle),
                    ("iowait", cpu.iowait),
                    ("irq", cpu.irq),
                    ("softirq", cpu.softirq),
                    ("steal", cpu.steal),
                ]
            });
            let point = |(state, time): (&'static str, u64)| (with(labels, labels! {"state": state}), hundredths(time));
            states.into_iter().flatten().map(point).collect::<Vec<_>>()
        }),
    );
    to.gauge("holdfast_host_cpus", "CPUs of the host.", of(|seen| Some(f64::from(seen.told.cpu?.cpus))));
    to.gauge("holdfast_host_memory_size_bytes", "Memory of the host.", of(|seen| Some(float(seen.told.memory?.size))));
    to.gauge(
        "holdfast_host_memory_available_bytes",
        "Memory that programs could have without swapping.",
        of(|seen| Some(float(seen.told.memory?.available))),
    );
    to.gauge(
        "holdfast_host_memory_cached_bytes",
        "Memory that holds contents of files.",
        of(|seen| Some(float(seen.told.memory?.cached))),
    );
    to.gauge("holdfast_host_swap_size_bytes", "Swap of the host.", of(|seen| Some(float(seen.told.memory?.swap_size))));
    to.gauge(
        "holdfast_host_swap_free_bytes",
        "Swap that is free.",
        of(|seen| Some(float(seen.told.memory?.swap_free))),
    );
    to.gauge(
        "holdfast_host_load",
        "Load average of one, five and fifteen minutes.",
        seen.iter().flat_map(|(labels, seen)| {
            let windows = seen.told.load.map(|load| [("1m", load.one), ("5m", load.five), ("15m", load.fifteen)]);
            let point = |(window, load): (&'static str, u32)| {
                (with(labels, labels! {"window": window}), hundredths(u64::from(load)))
            };
            windows.into_iter().flatten().map(point).collect::<Vec<_>>()
        }),
    );
    to.counter(
        "holdfast_host_pressure_stalled_seconds",
        "Time in which some or all tasks stood still for want of a resource.",
        seen.iter().flat_map(|(labels, seen)| {
            let points = seen.told.pressures.iter().flat_map(|pressure| {
                let resource = match pressure.resource() {
                    v1::PressureResource::Cpu => "cpu",
                    v1::PressureResource::Memory => "memory",
                    v1::PressureResource::Io => "io",
                    v1::PressureResource::Unspecified => return vec![],
                };
                let point = |(kind, stalled): (&'static str, u64)| {
                    (with(labels, labels! {"resource": resource, "kind": kind}), float(stalled) / 1e6)
                };
                [("some", pressure.some), ("full", pressure.full)].into_iter().map(point).collect()
            });
            points.collect::<Vec<_>>()
        }),
    );
    to.gauge("holdfast_host_open_files", "Open files of the host.", of(|seen| Some(float(seen.told.files?.open))));
    to.gauge(
        "holdfast_host_open_files_limit",
        "Files that may be open at once.",
        of(|seen| Some(float(seen.told.files?.limit))),
    );
    to.gauge("holdfast_host_uptime_seconds", "Time since the host booted.", of(uptime));
    to.gauge(
        "holdfast_host_clock_offset_seconds",
        "How far the host's wall clock is ahead of the coordinator's; the way of the message counts as behind.",
        of(|seen| seen.clock_offset),
    );
    to.gauge(
        "holdfast_host_boot_clock_behind_seconds",
        "How much less time the host's boot clock counted than the coordinator's: a machine that was suspended from outside.",
        of(|seen| Some(seen.boot_clock_behind)),
    );
    let now = api.clock.boot();
    to.gauge(
        "holdfast_host_sample_age_seconds",
        "How old the host's figures are.",
        seen.iter().map(|(labels, seen)| (labels.clone(), now.since(seen.taken()).as_secs_f64())),
    );
    to.counter(
        "holdfast_host_samples_dropped",
        "Looks that the agent did not send because its session was busy with more important things.",
        of(|seen| Some(float(seen.told.dropped))),
    );
    to.gauge(
        "holdfast_agent_resident_memory_bytes",
        "Memory of the agent itself.",
        of(|seen| Some(float(seen.told.agent?.resident_bytes))),
    );
    to.counter(
        "holdfast_agent_cpu_seconds",
        "CPU time of the agent itself.",
        of(|seen| Some(hundredths(seen.told.agent?.cpu))),
    );
    let file_systems = |pick: fn(&v1::FileSystem) -> Option<f64>| {
        let points = seen.iter().flat_map(|(labels, seen)| {
            let point = |fs: &v1::FileSystem| Some((with(labels, labels! {"mount": fs.mount}), pick(fs)?));
            seen.told.file_systems.iter().filter_map(point).collect::<Vec<_>>()
        });
        points.collect::<Vec<_>>()
    };
    to.gauge("holdfast_host_filesystem_size_bytes", "Size of a file system.", file_systems(|fs| Some(float(fs.size))));
    to.gauge(
        "holdfast_host_filesystem_available_bytes",
        "What is left of it for everybody but root.",
        file_systems(|fs| Some(float(fs.available))),
    );
    to.gauge(
        "holdfast_host_filesystem_inodes",
        "Inodes of a file system that has a fixed number.",
        file_systems(|fs| (fs.inodes > 0).then_some(float(fs.inodes))),
    );
    to.gauge(
        "holdfast_host_filesystem_inodes_free",
        "Those that are free.",
        file_systems(|fs| (fs.inodes > 0).then_some(float(fs.inodes_free))),
    );
    to.gauge(
        "holdfast_host_filesystem_readonly",
        "1 where it is mounted read-only.",
        file_systems(|fs| Some(yes(fs.read_only))),
    );
    let interfaces = |pick: fn(&v1::NetworkInterface) -> u64| {
        let points = seen.iter().flat_map(|(labels, seen)| {
            let point = |one: &v1::NetworkInterface| (with(labels, labels! {"interface": one.name}), float(pick(one)));
            seen.told.interfaces.iter().map(point).collect::<Vec<_>>()
        });
        points.collect::<Vec<_>>()
    };
    to.counter(
        "holdfast_host_network_received_bytes",
        "Received by an interface.",
        interfaces(|one| one.received_bytes),
    );
    to.counter("holdfast_host_network_sent_bytes", "Sent by an interface.", interfaces(|one| one.sent_bytes));
    to.counter("holdfast_host_network_received_errors", "Errors in receiving.", interfaces(|one| one.received_errors));
    to.counter("holdfast_host_network_sent_errors", "Errors in sending.", interfaces(|one| one.sent_errors));
}

fn uptime(seen: &HostSeen) -> Option<f64> {
    std::time::Duration::try_from(seen.told.uptime?).ok().map(|uptime| uptime.as_secs_f64())
}

fn containers(to: &mut Families, seen: &[(Labels, HostSeen)]) {
    let of = |pick: fn(&v1::Container) -> Option<f64>| {
        let points = seen.iter().flat_map(|(labels, seen)| {
            let point = |one: &v1::Container| {
                let named = labels.iter().cloned().chain(labels! {"container": one.name, "image": one.image});
                Some((named.collect::<Labels>(), pick(one)?))
            };
            seen.told.containers.iter().filter_map(point).collect::<Vec<_>>()
        });
        points.collect::<Vec<_>>()
    };
    to.gauge("holdfast_container_running", "1 while the container runs.", of(|one| Some(yes(one.state == "running"))));
    to.gauge(
        "holdfast_container_healthy",
        "What the container's own health check says: 1 healthy, 0 not, or not yet.",
        of(|one| (!one.health.is_empty()).then(|| yes(one.health == "healthy"))),
    );
    to.counter(
        "holdfast_container_restarts",
        "How often Docker has started it again.",
        of(|one| Some(f64::from(one.restarts))),
    );
    to.counter(
        "holdfast_container_cpu_seconds",
        "CPU time of the container since its start.",
        of(|one| Some(float(one.r#use?.cpu) / 1e6)),
    );
    to.gauge(
        "holdfast_container_memory_bytes",
        "Memory of the container, without what the kernel could take back at once.",
        of(|one| Some(float(one.r#use?.memory))),
    );
    to.gauge(
        "holdfast_container_memory_limit_bytes",
        "What it may have at most.",
        of(|one| one.r#use.filter(|used| used.memory_limit > 0).map(|used| float(used.memory_limit))),
    );
}

fn checks(to: &mut Families, checks: &[CheckNow]) {
    let named = |check: &CheckNow| {
        labels! {
            "app": check.app,
            "check": check.check,
            "region": check.region,
            "target": check.target,
            "observer": check.observer,
        }
    };
    to.gauge(
        "holdfast_check_up",
        "What the latest observation of a check says: 1 as expected, 0 not.",
        checks.iter().map(|check| (named(check), yes(check.ok))),
    );
    to.gauge(
        "holdfast_check_seconds",
        "How long the latest look of a check took.",
        checks.iter().map(|check| (named(check), check.took.as_secs_f64())),
    );
    let databases = |pick: fn(&CheckNow, &v1::DatabaseEvidence) -> Option<f64>| {
        let points = checks.iter().filter_map(move |check| {
            let writer = check.check.strip_prefix("writer:")?;
            let labels = labels! {
                "app": check.app, "writer": writer, "region": check.region, "host": check.observer,
            };
            Some((labels, pick(check, check.database.as_ref()?)?))
        });
        points.collect::<Vec<_>>()
    };
    to.gauge(
        "holdfast_database_accepts_writes",
        "1 where a marker was committed.",
        databases(|_, seen| Some(yes(seen.accepts_writes))),
    );
    to.gauge("holdfast_database_in_recovery", "1 on a standby.", databases(|_, seen| Some(yes(seen.in_recovery))));
    to.gauge(
        "holdfast_database_streaming",
        "1 on a standby that receives from its primary.",
        databases(|_, seen| seen.in_recovery.then(|| yes(seen.streaming))),
    );
    to.gauge(
        "holdfast_database_timeline",
        "The database's timeline.",
        databases(|_, seen| (seen.timeline > 0).then(|| f64::from(seen.timeline))),
    );
    to.gauge(
        "holdfast_database_lag_bytes",
        "What a standby has not received of its primary.",
        databases(|check, _| check.lag_bytes.map(float)),
    );
    to.gauge(
        "holdfast_database_not_replayed_bytes",
        "What a standby has received and not replayed.",
        databases(|_, seen| seen.in_recovery.then(|| float(seen.lsn.saturating_sub(seen.replayed_lsn)))),
    );
}

fn apps(to: &mut Families, apps: &[AppFact]) {
    let of = |pick: fn(&AppFact) -> Option<f64>| {
        apps.iter().filter_map(move |app| Some((labels! {"app": app.app}, pick(app)?))).collect::<Vec<_>>()
    };
    to.gauge("holdfast_app_generation", "How often the app was activated.", of(|app| Some(float(app.generation))));
    to.gauge("holdfast_app_held", "1 while nobody is granted a lease.", of(|app| Some(yes(app.held))));
    to.gauge(
        "holdfast_app_automatic",
        "1 where the app fails over by itself.",
        of(|app| Some(yes(app.mode == "automatic"))),
    );
    to.gauge(
        "holdfast_app_can_fail_over",
        "1 while a standby region could take the app over; not there for an app that never fails over, nor at a follower.",
        of(|app| app.can_fail_over.map(yes)),
    );
    to.gauge(
        "holdfast_app_gate_closed",
        "1 while the app's region is unhealthy and its gate refuses to move it.",
        of(|app| Some(yes(app.gate_closed))),
    );
    to.gauge(
        "holdfast_app_behind_bytes",
        "How far the best standby of the app is behind.",
        of(|app| app.behind_bytes.map(float)),
    );
    to.gauge(
        "holdfast_app_active",
        "1 for the region that takes the app's writes.",
        apps.iter().flat_map(|app| {
            let point = |region: &crate::api::facts::RegionFact| {
                (labels! {"app": app.app, "region": region.region}, yes(region.active))
            };
            app.regions.iter().map(point).collect::<Vec<_>>()
        }),
    );
    to.gauge(
        "holdfast_app_verdict",
        "1 for the verdict on the app in a region: ok, degraded, failing or unknown.",
        apps.iter().flat_map(|app| {
            let points = app.regions.iter().flat_map(|region| {
                ["ok", "degraded", "failing", "unknown"].map(|verdict| {
                    let named = labels! {"app": app.app, "region": region.region, "verdict": verdict};
                    (named, yes(region.verdict == verdict))
                })
            });
            points.collect::<Vec<_>>()
        }),
    );
    to.gauge(
        "holdfast_app_unhealthy",
        "1 while so many verdicts in a row were failing that the gate is asked.",
        apps.iter().flat_map(|app| {
            let point = |region: &crate::api::facts::RegionFact| {
                (labels! {"app": app.app, "region": region.region}, yes(region.unhealthy))
            };
            app.regions.iter().map(point).collect::<Vec<_>>()
        }),
    );
    to.gauge(
        "holdfast_app_lease",
        "1 for what a host believes of its lease of the app: none, ends, sole, fencing, fenced or released.",
        apps.iter().flat_map(|app| {
            let point = |(host, state, _): &(String, &'static str, Option<f64>)| {
                (labels! {"app": app.app, "host": host, "state": state}, 1.0)
            };
            app.leases.iter().map(point).collect::<Vec<_>>()
        }),
    );
    to.gauge(
        "holdfast_app_lease_left_seconds",
        "What is left of a lease that ends.",
        apps.iter().flat_map(|app| {
            let point = |(host, _, left): &(String, &'static str, Option<f64>)| {
                Some((labels! {"app": app.app, "host": host}, (*left)?))
            };
            app.leases.iter().filter_map(point).collect::<Vec<_>>()
        }),
    );
}
