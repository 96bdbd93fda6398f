//! An app in two regions, and what its agents say, for the tests of verdict, rounds and gate.

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use holdfast_types::{
    AppName, CheckName, HostName, Lsn, RegionName, RoleName, WriterName,
    spec::{
        AppSpec, Check, CheckKind, Failover, FencedBy, Fencing, Login, Mode, Of, OnIsolation, Place, Placement,
        PostgresExpect, Region, Replication, ReplicationMode, RunBy, Writer, WriterKind,
    },
};

use super::{Cadence, CheckRef, DatabaseSeen, Fleet, Outcome, RoundInput, Signal};

pub(crate) fn region(name: &str) -> RegionName {
    RegionName::new(name).expect("a region name")
}

pub(crate) fn host(name: &str) -> HostName {
    HostName::new(name).expect("a host name")
}

pub(crate) fn pg() -> WriterName {
    WriterName::new("pg").expect("a writer name")
}

pub(crate) const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

pub(crate) fn declared(name: &str) -> CheckRef {
    CheckRef::Declared(CheckName::new(name).expect("a check name"))
}

pub(crate) fn check(name: &str, kind: CheckKind, place: Place) -> Check {
    Check {
        name: CheckName::new(name).expect("a check name"),
        kind,
        on: None,
        from: None,
        place,
        of: Of::Active,
        vital: false,
        enough: None,
        timeout: ms(1_000),
        proves_writes: false,
    }
}

pub(crate) fn http(url: &str) -> CheckKind {
    CheckKind::Http { url: url.to_owned(), expect_status: 200 }
}

pub(crate) fn role(name: &str) -> RoleName {
    RoleName::new(name).expect("a role name")
}

/// A region with a database host, a proxy host and two hosts of the api: `PREFIX-db1`, `-web1`, `-web1` and `-web2`.
fn place(name: &str, prefix: &str) -> Region {
    let at = |host_name: &str| Placement {
        host: host(&format!("{prefix}-{host_name}")),
        address: format!("{prefix}-{host_name}.internal"),
    };
    Region {
        name: region(name),
        roles: BTreeMap::from([
            (role("db"), vec![at("db1")]),
            (role("proxy"), vec![at("web1")]),
            (role("api"), vec![at("web1"), at("web2")]),
        ]),
    }
}

/// Interval, recheck and failures as given. One check of every sort.
pub(crate) fn smellpin(interval: Duration, recheck: Duration, failures: u32) -> AppSpec {
    let writes = CheckKind::Postgres { writer: pg(), expect: PostgresExpect::AcceptsWrites };
    let checks = [
        Check { on: Some(role("proxy")), ..check("proxy", CheckKind::Tcp { port: 5_433 }, Place::Local) },
        Check {
            on: Some(role("db")),
            from: Some(role("proxy")),
            ..check("db-port", CheckKind::Tcp { port: 5_432 }, Place::Local)
        },
        Check {
            on: Some(role("api")),
            enough: Some(1),
            ..check("api", http("http://{address}:8080/health"), Place::Local)
        },
        check("page", http("https://{region}.smellpin.example/health"), Place::Remote),
        Check { proves_writes: true, ..check("order", http("https://{region}.smellpin.example/order"), Place::Remote) },
        check("far-pg", writes, Place::Remote),
    ];
    AppSpec {
        app: AppName::new("smellpin").expect("an app name"),
        regions: vec![place("us-east", "use"), place("us-west", "usw")],
        writers: BTreeMap::from([(pg(), writer())]),
        checks: checks.into_iter().map(|check| (check.name.clone(), check)).collect(),
        failover: Some(Failover {
            mode: Mode::Automatic,
            interval,
            recheck,
            failures,
            successes: 3,
            lease: ms(3_000),
            renew: ms(1_000),
            on_isolation: OnIsolation::Fence,
            rto_target: None,
            rpo_target: None,
        }),
        fencing: Fencing { by: FencedBy::Agent, within: ms(1_000) },
        proxies: Vec::new(),
    }
}

fn writer() -> Writer {
    Writer {
        name: pg(),
        kind: WriterKind::Postgres,
        on: role("db"),
        run_by: RunBy::Systemd { unit: "postgresql@15-main.service".to_owned() },
        data_dir: PathBuf::from("/var/lib/postgresql/15/main"),
        port: 5_432,
        login: Login {
            socket: Some(PathBuf::from("/var/run/postgresql")),
            address: None,
            user: "holdfast".to_owned(),
            database: "postgres".to_owned(),
            password: None,
        },
        replication: Some(Replication {
            mode: ReplicationMode::Async,
            user: "replicator".to_owned(),
            password: None,
            slot: "holdfast_{region}".to_owned(),
        }),
    }
}

pub(crate) fn signal(check: CheckRef, observer: &str, target: Option<&str>, at: &str, outcome: Outcome) -> Signal {
    let home = if observer.starts_with("use-") { "us-east" } else { "us-west" };
    let text = match outcome {
        Outcome::Ok => "fine",
        Outcome::Failing => "connection refused",
        Outcome::CouldNotRun => "no such program",
    };
    Signal {
        check,
        observer: host(observer),
        observer_region: region(home),
        target: target.map(host),
        region: region(at),
        outcome,
        text: text.to_owned(),
        age: ms(100),
        database: None,
    }
}

pub(crate) fn primary(lsn: u64) -> DatabaseSeen {
    DatabaseSeen { accepts_writes: true, system: 7, timeline: 4, lsn: Lsn(lsn), ..DatabaseSeen::default() }
}

pub(crate) fn standby(lsn: u64, advanced: bool) -> DatabaseSeen {
    let lsn = Lsn(lsn);
    DatabaseSeen {
        in_recovery: true,
        streaming: true,
        system: 7,
        timeline: 4,
        lsn,
        replayed: lsn,
        advanced,
        accepts_writes: false,
    }
}

/// What the agents of us-east say of themselves while all is well.
pub(crate) fn east() -> Vec<Signal> {
    let ok = |check, observer, target| signal(check, observer, Some(target), "us-east", Outcome::Ok);
    let mut writer = ok(CheckRef::Writer(pg()), "use-db1", "use-db1");
    writer.database = Some(primary(0x1000));
    vec![
        writer,
        ok(declared("proxy"), "use-web1", "use-web1"),
        ok(declared("db-port"), "use-web1", "use-db1"),
        ok(declared("api"), "use-web1", "use-web1"),
        ok(declared("api"), "use-web2", "use-web2"),
    ]
}

/// What the agents of us-west say while all is well there and the link to us-east is idle: nothing of it is a proof.
pub(crate) fn west() -> Vec<Signal> {
    let mut follows = signal(CheckRef::Writer(pg()), "usw-db1", Some("usw-db1"), "us-west", Outcome::Ok);
    follows.database = Some(standby(0x1000, false));
    let page = |observer| signal(declared("page"), observer, None, "us-east", Outcome::Ok);
    vec![follows, page("usw-db1"), page("usw-web1"), page("usw-web2")]
}

/// Every host, all alive or none.
pub(crate) fn fleet(live: bool) -> Fleet {
    let hosts = |prefix: &str| ["db1", "web1", "web2"].map(|name| (host(&format!("{prefix}-{name}")), live));
    BTreeMap::from([
        (region("us-east"), BTreeMap::from(hosts("use"))),
        (region("us-west"), BTreeMap::from(hosts("usw"))),
    ])
}

/// A round well after the start, with the active region us-east.
pub(crate) struct Scene {
    pub(crate) spec: AppSpec,
    pub(crate) at: RegionName,
    pub(crate) active: RegionName,
    pub(crate) signals: Vec<Signal>,
    pub(crate) fleet: Fleet,
    pub(crate) started_for: Duration,
    pub(crate) in_force_for: Duration,
    pub(crate) lease_over: bool,
}

impl Scene {
    pub(crate) fn new(at: &str, signals: Vec<Signal>) -> Self {
        Self {
            spec: smellpin(ms(1_000), ms(1_000), 3),
            at: region(at),
            active: region("us-east"),
            signals,
            fleet: fleet(true),
            started_for: ms(3_600_000),
            in_force_for: ms(3_600_000),
            lease_over: false,
        }
    }

    pub(crate) fn judge(&self) -> super::Verdict {
        super::judge(&RoundInput {
            spec: &self.spec,
            region: &self.at,
            active: &self.active,
            signals: &self.signals,
            cadence: Cadence::steady(ms(1_000)),
            hosts_live: &self.fleet,
            started_for: self.started_for,
            in_force_for: self.in_force_for,
            lease_over: self.lease_over,
        })
    }
}
