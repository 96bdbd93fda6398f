use holdfast_types::{
    AppName,
    spec::{Mode, parse},
};
use proptest::prelude::*;

use super::*;
use crate::{
    counter::Counter,
    gate::{AskedBy, GateAnswer, GateInput, StandbyDatabase, ask},
    verdict::fixture::{host, ms, pg, primary, region, standby as follows},
};

const SPEC: &str = "spec: 1
app: smellpin
regions:
  us-east:
    roles:
      db: [{host: use-db1, address: 10.10.1.11}]
      proxy: [{host: use-web1, address: 10.10.1.12}]
  us-west:
    roles:
      db: [{host: usw-db1, address: 10.20.1.11}]
      proxy: [{host: usw-web1, address: 10.20.1.12}]
writers:
  pg:
    kind: postgres
    on: db
    run_by: {systemd: postgresql@15-main.service}
    data_dir: /var/lib/postgresql/15/main
    port: 5432
    login: {socket: /run/postgresql, user: holdfast, database: postgres}
    replication: {mode: async, user: replicator}
checks:
  writes: {kind: postgres, writer: pg, where: local, expect: accepts_writes, vital: true}
failover:
  mode: automatic
  lease: {duration: 20s, renew: 5s}
  on_isolation: fence
fencing: {by: agent}
traffic:
  proxies:
    - {kind: haproxy, on: proxy, socket: /run/haproxy/admin.sock, backends: {pg_write: pg}}
";

/// Everything as it should be; a test breaks one thing.
#[derive(Debug, Clone)]
struct World {
    spec: AppSpec,
    operation: Option<OperationId>,
    maintenance: bool,
    routed: bool,
    standbys: Vec<Standby>,
    following: BTreeSet<RegionName>,
    hosts: BTreeMap<HostName, HostSeen>,
    writers: BTreeMap<(RegionName, WriterName), WriterFacts>,
    proxies: BTreeMap<(HostName, String), ProxySeen>,
}

fn facts(in_recovery: bool) -> WriterFacts {
    let settings = [("wal_log_hints", "on"), ("data_checksums", "off"), ("synchronous_standby_names", "")];
    WriterFacts {
        in_recovery,
        settings: settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
        slots: if in_recovery { BTreeSet::new() } else { BTreeSet::from(["holdfast_us_west".to_owned()]) },
        ..WriterFacts::default()
    }
}

impl World {
    fn new() -> Self {
        let spec = parse("smellpin.yaml", SPEC).unwrap_or_else(|problems| panic!("{problems}"));
        let live = HostSeen { live: true, clock_gap: Some(ms(20)), ..HostSeen::default() };
        let database = StandbyDatabase {
            host: host("usw-db1"),
            live: true,
            seen: Some(follows(0x100, true)),
            age: ms(300),
            followed: Some(true),
            source: Some((primary(0x100), ms(300))),
        };
        let standby =
            Standby { region: region("us-west"), promotable: true, databases: BTreeMap::from([(pg(), database)]) };
        let open = ProxySeen { open: BTreeSet::from(["us-east".to_owned()]), problem: String::new() };
        let proxy = |on: &str| ((host(on), "pg_write".to_owned()), open.clone());
        Self {
            hosts: spec.hosts().into_keys().map(|host| (host, live.clone())).collect(),
            operation: None,
            maintenance: false,
            routed: true,
            standbys: vec![standby],
            following: BTreeSet::from([region("us-west")]),
            writers: BTreeMap::from([
                ((region("us-east"), pg()), facts(false)),
                ((region("us-west"), pg()), facts(true)),
            ]),
            proxies: BTreeMap::from([proxy("use-web1"), proxy("usw-web1")]),
            spec,
        }
    }

    fn west(&mut self) -> &mut WriterFacts {
        self.writers.get_mut(&(region("us-west"), pg())).expect("it was looked at")
    }

    fn east(&mut self) -> &mut WriterFacts {
        self.writers.get_mut(&(region("us-east"), pg())).expect("it was looked at")
    }

    fn host(&mut self, name: &str) -> &mut HostSeen {
        self.hosts.get_mut(&host(name)).expect("it is there")
    }

    fn proxy(&mut self) -> &mut ProxySeen {
        self.proxies.get_mut(&(host("use-web1"), "pg_write".to_owned())).expect("it is there")
    }

    fn maintenance() -> Maintenance {
        Maintenance { by: "operator ada".to_owned(), why: "disks".to_owned(), ..Maintenance::default() }
    }

    fn judge(&self) -> Report {
        let maintenance = Self::maintenance();
        judge(&Input {
            spec: &self.spec,
            active: &region("us-east"),
            operation: self.operation,
            maintenance: self.maintenance.then_some((&Scope::All, &maintenance)),
            routed: self.routed,
            standbys: &self.standbys,
            following: &self.following,
            hosts: &self.hosts,
            writers: &self.writers,
            proxies: &self.proxies,
        })
    }

    /// Whether the gate would let a failover begin, were the active region to fail now without a sign of life.
    fn gate_opens(&self) -> bool {
        let maintenance = Self::maintenance();
        let answer = ask(&GateInput {
            app: &AppName::new("smellpin").expect("a name"),
            mode: self.spec.failover.as_ref().map(|failover| failover.mode),
            asked_by: AskedBy::Verdicts,
            active: &region("us-east"),
            counter: Counter { failing: 3, good: 0, unhealthy: true },
            failures: 3,
            reasons: &[],
            proofs: &[],
            own_life: &[],
            lease_over: false,
            standbys: &self.standbys,
            maintenance: self.maintenance.then_some((&Scope::All, &maintenance)),
            other_operation: self.operation,
            earlier_incident: None,
        });
        match answer {
            GateAnswer::Open { .. } => true,
            GateAnswer::Alert { candidate, .. } => candidate.is_some(),
            GateAnswer::Closed { .. } => false,
        }
    }
}

fn of(report: &Report, condition: Condition) -> &Finding {
    report.findings.iter().find(|finding| finding.condition == condition).expect("every condition is judged")
}

#[test]
fn an_app_with_everything_in_place_is_ready() {
    let report = World::new().judge();
    assert!(report.ready, "{report:#?}");
    let conditions: Vec<Condition> = report.findings.iter().map(|finding| finding.condition).collect();
    assert_eq!(conditions, Condition::ALL);
    for finding in &report.findings {
        assert!(finding.state == State::Holds && !finding.text.is_empty() && finding.add.is_empty(), "{finding:?}");
    }
}

#[test]
fn each_thing_that_is_missing_is_told_alone_with_the_very_line() {
    type Break = fn(&mut World);
    let not_let_in: Break = |w| {
        w.west().login_problem = "cannot log in: no pg_hba.conf entry for host".to_owned();
        w.west().login_state = "28000".to_owned();
    };
    let table: [(Condition, State, &str, Break); 19] = [
        (Condition::Declared, State::Missing, "failover: {mode: assist}", |w| w.spec.failover = None),
        (Condition::Free, State::Missing, "holdfast operations watch 41", |w| w.operation = Some(OperationId(41))),
        (Condition::Free, State::Missing, "holdfast maintenance off --all", |w| w.maintenance = true),
        (Condition::Hosts, State::Missing, "systemctl status holdfast-agent", |w| w.host("usw-web1").live = false),
        (Condition::Hosts, State::Missing, "token create --region us-west --replaces usw-web1", |w| {
            w.host("usw-web1").quarantine = "a clone".to_owned();
        }),
        (Condition::Hosts, State::Missing, "", |w| w.host("use-db1").problems.push("not allowed".to_owned())),
        (Condition::Login, State::Unknown, "", |w| w.writers.clear()),
        (Condition::Login, State::Missing, "local  postgres  holdfast  peer map=holdfast", not_let_in),
        (Condition::Login, State::Missing, "create role holdfast login;", |w| {
            w.west().login_problem = "role \"holdfast\" does not exist".to_owned();
            w.west().login_state = "28000".to_owned();
        }),
        (Condition::Rights, State::Missing, "grant pg_monitor to holdfast;", |w| {
            w.west().missing_rights.push("pg_monitor".to_owned());
        }),
        (Condition::Standby, State::Missing, "", |w| w.standbys[0].promotable = false),
        (Condition::Standby, State::Unknown, "", |w| w.following.clear()),
        (
            Condition::Proxies,
            State::Missing,
            "server us-west 10.20.1.11:5432 disabled on-marked-down shutdown-sessions",
            |w| w.proxy().problem = "no server us-west".to_owned(),
        ),
        (Condition::Proxies, State::Missing, "", |w| {
            w.proxy().open.insert("us-west".to_owned());
        }),
        (Condition::Starts, State::Missing, "systemctl disable postgresql@15-main.service", |w| {
            w.west().starts_by_itself = "unit postgresql@15-main.service is enabled".to_owned();
            w.west().starts_by_itself_add = "systemctl disable postgresql@15-main.service".to_owned();
        }),
        (Condition::Synchronous, State::Missing, "synchronous_standby_names = ''", |w| {
            w.west().settings.insert("synchronous_standby_names".to_owned(), "*".to_owned());
        }),
        (Condition::Rewind, State::Advice, "wal_log_hints = on", |w| {
            w.east().settings.insert("wal_log_hints".to_owned(), "off".to_owned());
        }),
        (Condition::Slots, State::Advice, "pg_create_physical_replication_slot('holdfast_us_west')", |w| {
            w.east().slots.clear();
        }),
        (Condition::Clocks, State::Advice, "timedatectl set-ntp true", |w| {
            w.host("use-db1").clock_gap = Some(ms(3_600_000));
        }),
    ];
    for (condition, state, line, break_it) in table {
        let mut world = World::new();
        break_it(&mut world);
        let report = world.judge();
        let finding = of(&report, condition);
        assert_eq!(finding.state, state, "{condition}: {finding:?}");
        assert!(finding.add.iter().any(|add| add.line.contains(line)) || line.is_empty(), "{line:?}: {finding:?}");
        assert!(!finding.text.is_empty(), "{condition}");
        assert_eq!(report.ready, !condition.needed(), "{condition}");
        // Of what nobody declares a failover for, the rest follows.
        if condition != Condition::Declared {
            let others: Vec<&Finding> =
                report.findings.iter().filter(|f| f.state != State::Holds && f.condition != condition).collect();
            assert!(others.is_empty(), "{condition} is told alone: {others:?}");
        }
    }
}

#[test]
fn a_check_that_proves_writes_and_timings_that_suit_are_advised() {
    let mut world = World::new();
    world.spec.checks.clear();
    let report = world.judge();
    assert!(report.ready);
    assert!(of(&report, Condition::Checks).add[0].line.starts_with("writes: {kind: postgres, writer: pg"));
    let short = SPEC.replace("duration: 20s, renew: 5s", "duration: 3s, renew: 1s");
    world = World { spec: parse("smellpin.yaml", &short).expect("a spec"), ..World::new() };
    assert_eq!(of(&world.judge(), Condition::Timings).state, State::Advice);
}

fn any_world() -> impl Strategy<Value = World> {
    let mode = prop::sample::select(vec![None, Some(Mode::Automatic), Some(Mode::Assist), Some(Mode::Observe)]);
    let flags = prop::collection::vec(prop::bool::weighted(0.85), 14);
    (mode, flags, prop::option::weighted(0.9, any::<bool>())).prop_map(|(mode, good, followed)| {
        let mut world = World::new();
        match (mode, &mut world.spec.failover) {
            (Some(mode), Some(failover)) => failover.mode = mode,
            (None, failover) => *failover = None,
            (Some(_), None) => {}
        }
        world.operation = (!good[0]).then_some(OperationId(41));
        world.maintenance = !good[1];
        world.standbys[0].promotable = good[2];
        {
            let database = world.standbys[0].databases.get_mut(&pg()).expect("it has one");
            database.live = good[3];
            database.followed = followed;
            database.seen = database.seen.filter(|_| good[4]).map(|mut seen| {
                seen.in_recovery = good[5];
                seen
            });
        }
        if !good[6] {
            world.standbys.clear();
        }
        if !good[7] {
            world.following.clear();
        }
        world.host("usw-db1").live = good[8];
        if !good[9] {
            world.west().missing_rights.push("pg_monitor".to_owned());
        }
        if !good[10] {
            world.west().login_problem = "no".to_owned();
        }
        if !good[11] {
            world.writers.clear();
        }
        if !good[12] {
            world.proxy().open.clear();
        }
        if !good[13] {
            world.host("use-db1").clock_gap = Some(ms(60_000));
        }
        world
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]
    #[test]
    fn it_never_says_ready_where_the_gate_would_be_closed(world in any_world()) {
        let report = world.judge();
        prop_assert!(!report.ready || world.gate_opens(), "{report:#?}");
        prop_assert_eq!(&report, &world.judge());
        // What is missing is always named.
        prop_assert!(report.ready || report.findings.iter().any(|f| f.condition.needed() && f.state != State::Holds));
    }
}
