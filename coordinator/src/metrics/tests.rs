//! What becomes of what agents tell.

use super::*;

fn host() -> (HostName, RegionName) {
    (HostName::new("use-db1").expect("a name"), RegionName::new("us-east").expect("a name"))
}

fn at(seconds: u64) -> (BootInstant, WallTime) {
    let wall = i64::try_from(seconds).expect("small") * 1_000;
    (BootInstant::from_boot(Duration::from_secs(seconds)), WallTime(1_800_000_000_000 + wall))
}

fn told(number: u64, uptime: u64, busy: u64) -> v1::HostMetrics {
    v1::HostMetrics {
        number,
        uptime: Duration::from_secs(uptime).try_into().ok(),
        cpu: Some(v1::CpuTimes { cpus: 1, user: busy, ..v1::CpuTimes::default() }),
        memory: Some(v1::MemoryUse { size: 100, available: 40, ..v1::MemoryUse::default() }),
        ..v1::HostMetrics::default()
    }
}

#[test]
fn rates_come_of_two_looks_of_one_boot() {
    let (metrics, (host, region)) = (Metrics::default(), host());
    let cpu = || metrics.host(&host, at(200).0).and_then(|seen| seen.value(Measure::Cpu));
    metrics.take(&host, &region, told(1, 1_000, 5_000), at(180)).expect("it makes sense");
    assert_eq!(cpu(), None, "one look says nothing of how fast");
    metrics.take(&host, &region, told(2, 1_010, 5_500), at(190)).expect("it makes sense");
    assert_eq!(cpu(), Some(0.5));
    // It booted: what it counts now has another beginning.
    metrics.take(&host, &region, told(1, 5, 6_000), at(200)).expect("it makes sense");
    assert_eq!(cpu(), None);
    let unwritten = metrics.unwritten(&Subject::Host(host));
    let cells = unwritten.iter().flat_map(Block::cells).filter(|(series, ..)| series.measure == Measure::Cpu).count();
    assert_eq!(cells, 1);
}

#[test]
fn nonsense_is_counted_and_changes_nothing() {
    let (metrics, (host, region)) = (Metrics::default(), host());
    metrics.take(&host, &region, told(1, 1_000, 5_000), at(180)).expect("it makes sense");
    let nonsense = v1::HostMetrics { cpu: Some(v1::CpuTimes::default()), ..told(2, 1_010, 5_500) };
    metrics.take(&host, &region, nonsense, at(190)).expect_err("an impossible number of CPUs");
    assert_eq!((metrics.own.samples.get(), metrics.own.samples_refused.get()), (2, 1));
    assert_eq!(metrics.host(&host, at(190).0).map(|seen| seen.told.number), Some(1));
}

#[test]
fn a_host_that_tells_nothing_any_more_has_no_figures() {
    let (metrics, (host, region)) = (Metrics::default(), host());
    metrics.take(&host, &region, told(1, 1_000, 5_000), at(180)).expect("it makes sense");
    assert!(metrics.host(&host, at(210).0).is_some() && metrics.hosts(at(210).0).len() == 1);
    assert!(metrics.host(&host, at(211).0).is_none() && metrics.hosts(at(211).0).is_empty());
    assert!(metrics.values(&Subject::Host(host), at(211).0).is_empty());
}

#[test]
fn a_machine_that_stood_still_and_does_not_know_it_is_behind() {
    let (metrics, (host, region)) = (Metrics::default(), host());
    metrics.take(&host, &region, told(1, 1_000, 5_000), at(180)).expect("it makes sense");
    metrics.take(&host, &region, told(2, 1_010, 5_500), at(250)).expect("it makes sense");
    let behind = metrics.host(&host, at(250).0).expect("fresh").boot_clock_behind;
    assert!((behind - 60.0).abs() < 1e-9, "{behind}");
}

#[test]
fn what_cannot_be_written_is_kept_for_some_minutes_and_no_longer() {
    let (metrics, (host, region)) = (Metrics::default(), host());
    for minute in 0..20 {
        metrics
            .take(&host, &region, told(minute, 1_000 + minute * 60, 5_000), at(minute * 60))
            .expect("it makes sense");
    }
    assert_eq!(metrics.unwritten(&Subject::Host(host)).len(), MINUTES_MAX);
    assert_eq!(metrics.own.history_lost.get(), 20 - MINUTES_MAX as u64);
    // The minute under way is not over.
    assert_eq!(metrics.take_closed(at(19 * 60 + 30).1).len(), MINUTES_MAX - 1);
    assert_eq!(metrics.take_all().len(), 1);
}

#[test]
fn a_look_tells_the_fullest_disk_and_the_resource_that_is_wanted_most() {
    let (metrics, (host, region)) = (Metrics::default(), host());
    let look = |number, uptime, io| v1::HostMetrics {
        file_systems: vec![
            v1::FileSystem { mount: "/".to_owned(), size: 100, available: 50, ..v1::FileSystem::default() },
            v1::FileSystem {
                mount: "/srv".to_owned(),
                size: 100,
                available: 60,
                inodes: 10,
                inodes_free: 1,
                read_only: false,
            },
        ],
        pressures: vec![
            v1::Pressure { resource: v1::PressureResource::Cpu.into(), some: 0, full: 0 },
            v1::Pressure { resource: v1::PressureResource::Io.into(), some: io, full: 0 },
        ],
        ..told(number, uptime, 0)
    };
    metrics.take(&host, &region, look(1, 1_000, 0), at(180)).expect("it makes sense");
    metrics.take(&host, &region, look(2, 1_010, 2_500_000), at(190)).expect("it makes sense");
    let figures = figures(&metrics.host(&host, at(195).0).expect("fresh"), at(195).0);
    assert_eq!((figures.disk, &*figures.disk_mount), (Some(0.9), "/srv"));
    assert_eq!((figures.pressure, &*figures.pressure_resource), (Some(0.25), "io"));
    assert_eq!((figures.memory, figures.cpus), (Some(0.6), 1));
    assert_eq!(figures.age.map(|age| age.seconds), Some(5));
}
