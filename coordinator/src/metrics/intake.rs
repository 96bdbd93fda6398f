//! The door for figures: an agent may be old, broken or not what it says. What makes no sense is refused whole.

use std::{collections::BTreeSet, time::Duration};

use holdfast_coordinator_core::metrics::measure::{Measure, Readings, Series};
use holdfast_proto::v1;
use holdfast_types::WallTime;

/// File systems, interfaces and containers that a host may tell; agents tell no more than that.
const FILE_SYSTEMS_MAX: usize = 64;
const INTERFACES_MAX: usize = 64;
const CONTAINERS_MAX: usize = 128;
/// Longest name, in bytes: mount points are the longest.
const NAME_MAX: usize = 200;
/// Longest name of an image.
const IMAGE_MAX: usize = 300;
/// No machine has more, in bytes.
const BYTES_MAX: u64 = 1 << 60;
/// Nor more CPUs.
const CPUS_MAX: u32 = 65_536;
/// A look that is older was not sent by an agent of ours.
const AGE_MAX: Duration = Duration::from_secs(600);

/// Why figures make no sense; one line.
pub(super) fn check(told: &v1::HostMetrics) -> Result<(), String> {
    let count = |what: &str, found: usize, max: usize| {
        if found > max { Err(format!("{found} {what}, at most {max} are taken")) } else { Ok(()) }
    };
    count("file systems", told.file_systems.len(), FILE_SYSTEMS_MAX)?;
    count("interfaces", told.interfaces.len(), INTERFACES_MAX)?;
    count("containers", told.containers.len(), CONTAINERS_MAX)?;
    count("pressures", told.pressures.len(), 3)?;
    for (what, span) in [("age", told.age), ("uptime", told.uptime)] {
        let span = span.map_or(Ok(Duration::ZERO), Duration::try_from).map_err(|_| format!("a negative {what}"))?;
        if what == "age" && span > AGE_MAX {
            return Err(format!("a look that is {} s old", span.as_secs()));
        }
    }
    if told.cpu.is_some_and(|cpu| cpu.cpus == 0 || cpu.cpus > CPUS_MAX) {
        return Err("an impossible number of CPUs".to_owned());
    }
    if let Some(memory) = told.memory {
        part("memory", memory.available, memory.size)?;
        part("memory", memory.free, memory.size)?;
        part("swap", memory.swap_free, memory.swap_size)?;
    }
    unique("file system", told.file_systems.iter().map(|fs| &fs.mount))?;
    for fs in &told.file_systems {
        part("file system", fs.available, fs.size)?;
        part("inodes", fs.inodes_free, fs.inodes)?;
    }
    unique("interface", told.interfaces.iter().map(|interface| &interface.name))?;
    unique("container", told.containers.iter().map(|container| &container.name))?;
    for container in &told.containers {
        if container.image.len() > IMAGE_MAX || container.state.len() > NAME_MAX || container.health.len() > NAME_MAX {
            return Err(format!("a container with too long an image, state or health: {}", container.name));
        }
        if container.r#use.is_some_and(|used| used.memory > BYTES_MAX) {
            return Err(format!("container {} uses more memory than there is", container.name));
        }
    }
    let resources: BTreeSet<i32> = told.pressures.iter().map(|pressure| pressure.resource).collect();
    if resources.len() != told.pressures.len() || resources.iter().any(|resource| !(1..=3).contains(resource)) {
        return Err("pressure of an unknown resource, or of one twice".to_owned());
    }
    Ok(())
}

fn part(what: &str, part: u64, whole: u64) -> Result<(), String> {
    if whole > BYTES_MAX {
        return Err(format!("{what} of {whole}, more than any machine has"));
    }
    if part > whole { Err(format!("{what}: {part} of {whole} are free")) } else { Ok(()) }
}

fn unique<'a>(what: &str, names: impl Iterator<Item = &'a String>) -> Result<(), String> {
    let mut seen = BTreeSet::new();
    for name in names {
        if name.is_empty() || name.len() > NAME_MAX || name.chars().any(char::is_control) {
            return Err(format!("a {what} with an impossible name"));
        }
        if !seen.insert(name) {
            return Err(format!("{what} {name} twice"));
        }
    }
    Ok(())
}

/// How far the host's wall clock is ahead, in seconds.
pub(super) fn clock_offset(told: &v1::HostMetrics, wall: WallTime) -> Option<f64> {
    let sent = told.sent_at?;
    let millis = sent.seconds.checked_mul(1_000)?.checked_add(i64::from(sent.nanos) / 1_000_000)?;
    #[expect(clippy::cast_precision_loss, reason = "an offset of millions of years need not be exact")]
    let ahead = millis.checked_sub(wall.unix_millis())? as f64;
    Some(ahead / 1_000.0)
}

/// The figures as readings, to be kept.
pub(super) fn readings(told: &v1::HostMetrics) -> Readings {
    let mut readings = Readings::new();
    let mut put = |measure, of: &str, value: f64| {
        readings.insert(Series::new(measure, of), value);
    };
    if let Some(cpu) = &told.cpu {
        let cpus = f64::from(cpu.cpus.max(1));
        let per_cpu = |hundredths: u64| float(hundredths) / 100.0 / cpus;
        let busy = [cpu.user, cpu.nice, cpu.system, cpu.irq, cpu.softirq, cpu.steal];
        put(Measure::Cpu, "", per_cpu(busy.iter().fold(0, |sum, state| sum.saturating_add(*state))));
        put(Measure::CpuIowait, "", per_cpu(cpu.iowait));
        put(Measure::CpuSteal, "", per_cpu(cpu.steal));
    }
    if let Some(memory) = &told.memory {
        if let Some(used) = used(memory.available, memory.size) {
            put(Measure::Memory, "", used);
        }
        put(Measure::MemoryAvailable, "", float(memory.available));
        if memory.swap_size > 0 {
            put(Measure::Swap, "", float(memory.swap_size - memory.swap_free.min(memory.swap_size)));
        }
    }
    if let Some(load) = &told.load {
        put(Measure::Load, "", f64::from(load.one) / 100.0);
    }
    for pressure in &told.pressures {
        let measure = match pressure.resource() {
            v1::PressureResource::Cpu => Measure::PressureCpu,
            v1::PressureResource::Memory => Measure::PressureMemory,
            v1::PressureResource::Io => Measure::PressureIo,
            v1::PressureResource::Unspecified => continue,
        };
        put(measure, "", float(pressure.some) / 1e6);
    }
    if let Some(files) = &told.files {
        put(Measure::Files, "", float(files.open));
    }
    for fs in &told.file_systems {
        // One that is never written fills up by nobody's doing.
        if fs.read_only {
            continue;
        }
        if let Some(used) = used(fs.available, fs.size) {
            put(Measure::Disk, &fs.mount, used);
            put(Measure::DiskAvailable, &fs.mount, float(fs.available));
        }
        if let Some(used) = used(fs.inodes_free, fs.inodes) {
            put(Measure::Inodes, &fs.mount, used);
        }
    }
    for interface in &told.interfaces {
        put(Measure::Received, &interface.name, float(interface.received_bytes));
        put(Measure::Sent, &interface.name, float(interface.sent_bytes));
    }
    for container in &told.containers {
        put(Measure::ContainerRestarts, &container.name, f64::from(container.restarts));
        if let Some(used) = &container.r#use {
            put(Measure::ContainerCpu, &container.name, float(used.cpu) / 1e6);
            put(Measure::ContainerMemory, &container.name, float(used.memory));
        }
    }
    if let Some(agent) = &told.agent {
        put(Measure::AgentMemory, "", float(agent.resident_bytes));
    }
    readings
}

/// The share that is not left; nothing where there is nothing.
fn used(left: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| 1.0 - float(left.min(whole)) / float(whole))
}

#[expect(clippy::cast_precision_loss, reason = "figures for people: 53 bits are more than they are exact")]
pub(super) const fn float(value: u64) -> f64 {
    value as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fs(mount: &str) -> v1::FileSystem {
        v1::FileSystem {
            mount: mount.to_owned(),
            size: 100,
            available: 25,
            inodes: 10,
            inodes_free: 9,
            read_only: false,
        }
    }

    fn good() -> v1::HostMetrics {
        v1::HostMetrics {
            cpu: Some(v1::CpuTimes { cpus: 2, user: 400, idle: 600, ..v1::CpuTimes::default() }),
            memory: Some(v1::MemoryUse { size: 100, available: 40, free: 20, ..v1::MemoryUse::default() }),
            file_systems: vec![fs("/"), fs("/srv")],
            pressures: vec![v1::Pressure { resource: v1::PressureResource::Io.into(), some: 2_000_000, full: 0 }],
            ..v1::HostMetrics::default()
        }
    }

    #[test]
    fn good_figures_are_taken_and_say_what_they_say() {
        assert_eq!(check(&good()), Ok(()));
        assert_eq!(check(&v1::HostMetrics::default()), Ok(()), "nothing could be read");
        let readings = readings(&good());
        for (measure, of, value) in [
            (Measure::Cpu, "", 2.0),
            (Measure::Memory, "", 0.6),
            (Measure::Disk, "/srv", 0.75),
            (Measure::DiskAvailable, "/", 25.0),
            (Measure::PressureIo, "", 2.0),
        ] {
            let found = readings[&Series::new(measure, of)];
            assert!((found - value).abs() < 1e-9, "{measure:?} {of}: {found}");
        }
    }

    #[test]
    fn nonsense_is_refused_at_the_edge() {
        type Spoil = fn(&mut v1::HostMetrics);
        let cases: [(&str, Spoil); 14] = [
            ("negative age", |m| m.age = Some(prost_types::Duration { seconds: -1, nanos: 0 })),
            ("s old", |m| m.age = Some(prost_types::Duration { seconds: 86_400, nanos: 0 })),
            ("number of CPUs", |m| m.cpu = Some(v1::CpuTimes::default())),
            ("free", |m| m.memory = Some(v1::MemoryUse { size: 1, available: 2, ..v1::MemoryUse::default() })),
            ("more than any", |m| m.memory = Some(v1::MemoryUse { size: u64::MAX, ..v1::MemoryUse::default() })),
            ("file systems", |m| m.file_systems = (0..=FILE_SYSTEMS_MAX).map(|n| fs(&format!("/{n}"))).collect()),
            ("twice", |m| m.file_systems.push(fs("/"))),
            ("impossible name", |m| m.file_systems.push(fs(""))),
            ("impossible name", |m| m.file_systems.push(fs(&"x".repeat(NAME_MAX + 1)))),
            ("impossible name", |m| m.file_systems.push(fs("/a\nb"))),
            ("inodes", |m| m.file_systems[0].inodes_free = 11),
            ("unknown resource", |m| m.pressures[0].resource = 4),
            ("or of one twice", |m| m.pressures.push(m.pressures[0])),
            ("too long", |m| {
                m.containers.push(v1::Container {
                    name: "x".to_owned(),
                    image: "y".repeat(IMAGE_MAX + 1),
                    ..v1::Container::default()
                });
            }),
        ];
        for (expected, spoil) in cases {
            let mut told = good();
            spoil(&mut told);
            let why = check(&told).expect_err(expected);
            assert!(why.contains(expected), "{why:?} says nothing of {expected:?}");
        }
    }

    #[test]
    fn a_clock_that_is_ahead_is_told_in_seconds() {
        let sent_at = Some(prost_types::Timestamp { seconds: 1_000, nanos: 500_000_000 });
        let told = v1::HostMetrics { sent_at, ..good() };
        assert_eq!(clock_offset(&told, WallTime(998_000)), Some(2.5));
        let absurd =
            v1::HostMetrics { sent_at: Some(prost_types::Timestamp { seconds: i64::MAX, nanos: 0 }), ..good() };
        assert_eq!(clock_offset(&absurd, WallTime(0)), None);
    }
}
