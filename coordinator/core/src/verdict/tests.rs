use std::time::Duration;

use holdfast_types::spec::{Of, Place};
use proptest::prelude::*;

use super::{fixture::*, *};

/// What us-east's own agents show.
#[derive(Debug, Clone, Copy, PartialEq)]
enum OwnWord {
    Ok,
    Failing,
    Silent,
}

/// What comes from elsewhere.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Outside {
    Nothing,
    IdleLink,
    StaticPage,
    Wal,
    RemoteWrite,
    MarkedPage,
}

fn scene(own: OwnWord, outside: Outside) -> Scene {
    let mut signals = match own {
        OwnWord::Ok => east(),
        OwnWord::Failing => {
            let mut signals = east();
            signals[0].outcome = Outcome::Failing;
            signals[0].database = Some(DatabaseSeen::default());
            signals
        }
        OwnWord::Silent => east().into_iter().map(|s| Signal { age: ms(38_000), ..s }).collect(),
    };
    let mut follows = signal(CheckRef::Writer(pg()), "usw-db1", Some("usw-db1"), "us-west", Outcome::Ok);
    follows.database = Some(standby(0x1000, outside == Outside::Wal));
    let remote = |name| signal(declared(name), "usw-web1", None, "us-east", Outcome::Ok);
    let hears = |name| signal(declared(name), "usw-web2", None, "us-east", Outcome::CouldNotRun);
    signals.push(hears("page"));
    match outside {
        Outside::Nothing => {
            follows.database = Some(DatabaseSeen { streaming: false, ..standby(0x1000, false) });
            signals.push(follows);
        }
        Outside::IdleLink | Outside::Wal => signals.push(follows),
        Outside::StaticPage => signals.extend([follows, remote("page")]),
        Outside::RemoteWrite => signals.extend([follows, remote("far-pg")]),
        Outside::MarkedPage => signals.extend([follows, remote("order")]),
    }
    Scene::new("us-east", signals)
}

#[test]
fn own_word_proof_isolation_start_and_lease_decide_together() {
    let (mut seen, mut failing) = (0, 0);
    for own in [OwnWord::Ok, OwnWord::Failing, OwnWord::Silent] {
        for outside in [
            Outside::Nothing,
            Outside::IdleLink,
            Outside::StaticPage,
            Outside::Wal,
            Outside::RemoteWrite,
            Outside::MarkedPage,
        ] {
            for isolated in [false, true] {
                for starting in [false, true] {
                    for lease_over in [false, true] {
                        let mut scene = scene(own, outside);
                        scene.lease_over = lease_over;
                        if isolated {
                            scene.fleet = fleet(false);
                        }
                        if starting {
                            scene.started_for = ms(2_999);
                        }
                        let proven = match outside {
                            Outside::Nothing | Outside::IdleLink | Outside::StaticPage => false,
                            Outside::Wal | Outside::RemoteWrite => true,
                            Outside::MarkedPage => !lease_over,
                        };
                        let expected = match own {
                            _ if starting || isolated => Kind::Unknown,
                            OwnWord::Ok => Kind::Ok,
                            OwnWord::Failing | OwnWord::Silent if proven => Kind::Degraded,
                            OwnWord::Failing | OwnWord::Silent => Kind::Failing,
                        };
                        let verdict = scene.judge();
                        let case = format!(
                            "{own:?} {outside:?} isolated={isolated} starting={starting} lease_over={lease_over}"
                        );
                        assert_eq!(verdict.kind, expected, "{case}: {:?}", verdict.reasons);
                        assert_eq!(!verdict.proofs.is_empty(), proven, "{case}");
                        assert_eq!(verdict.reasons.is_empty(), expected == Kind::Ok, "{case}");
                        assert_eq!(verdict.contested, expected == Kind::Degraded, "{case}");
                        seen += 1;
                        failing += u32::from(expected == Kind::Failing);
                    }
                }
            }
        }
    }
    assert_eq!((seen, failing), (3 * 6 * 2 * 2 * 2, 2 * (3 + 3 + 1)));
}

fn kind_after(change: impl Fn(&mut Signal)) -> Verdict {
    let mut signals = east();
    signals.iter_mut().for_each(change);
    signals.extend(west());
    Scene::new("us-east", signals).judge()
}

fn is(signal: &Signal, check: &str, observer: &str) -> bool {
    signal.check.to_string() == check && signal.observer.as_str() == observer
}

#[test]
fn one_of_two_api_hosts_can_be_missed_because_one_is_enough() {
    for outcome in [Outcome::Failing, Outcome::CouldNotRun] {
        let verdict = kind_after(|s| {
            if is(s, "api", "use-web2") {
                s.outcome = outcome;
            }
        });
        // A look that could not run is no observation; the other one says that the check is fine.
        let expected = if outcome == Outcome::Failing { Kind::Degraded } else { Kind::Ok };
        assert_eq!(verdict.kind, expected, "{:?}", verdict.reasons);
    }
    let silent = kind_after(|s| {
        if is(s, "api", "use-web2") {
            s.age = ms(1_250);
        }
    });
    assert_eq!(silent.kind, Kind::Degraded);
    assert_eq!(silent.reasons[0].text, "use-web2 is silent for 1.2 s");
}

#[test]
fn with_too_few_hosts_left_the_region_fails() {
    let verdict = kind_after(|s| {
        if s.check == declared("api") {
            s.outcome = Outcome::Failing;
        }
    });
    assert_eq!(verdict.kind, Kind::Failing);
    assert_eq!(verdict.reasons.len(), 2, "both hosts are named");
}

#[test]
fn a_vital_check_misses_no_host_even_if_fewer_are_enough() {
    for vital in [false, true] {
        let mut signals = east();
        signals.iter_mut().filter(|s| is(s, "api", "use-web2")).for_each(|s| s.outcome = Outcome::Failing);
        signals.extend(west());
        let mut scene = Scene::new("us-east", signals);
        let name = CheckRef::to_string(&declared("api")).parse().expect("a check name");
        scene.spec.checks.get_mut(&name).expect("the check").vital = vital;
        assert_eq!(scene.judge().kind, if vital { Kind::Failing } else { Kind::Degraded });
    }
}

#[test]
fn the_host_of_a_writer_is_never_missed_in_the_active_region() {
    // A check of two hosts of which one is enough; the one that fails has the writer.
    let mut scene = Scene::new("us-east", east().into_iter().chain(west()).collect());
    let mut both = check("port", holdfast_types::spec::CheckKind::Tcp { port: 22 }, Place::Local);
    both.on = Some(role("all"));
    both.enough = Some(1);
    for place in &mut scene.spec.regions {
        let hosts = place.roles[&role("db")].iter().chain(&place.roles[&role("proxy")]).cloned().collect();
        place.roles.insert(role("all"), hosts);
    }
    scene.spec.checks.insert(both.name.clone(), both);
    for (bad, kind) in [("use-web1", Kind::Degraded), ("use-db1", Kind::Failing)] {
        let mut scene =
            Scene { signals: scene.signals.clone(), spec: scene.spec.clone(), ..Scene::new("us-east", vec![]) };
        for name in ["use-web1", "use-db1"] {
            let outcome = if name == bad { Outcome::Failing } else { Outcome::Ok };
            scene.signals.push(signal(declared("port"), name, Some(name), "us-east", outcome));
        }
        assert_eq!(scene.judge().kind, kind, "{bad}");
    }
}

#[test]
fn a_certificate_warns_and_never_makes_a_region_fail() {
    use holdfast_types::spec::{CheckKind, TlsCheck};
    let tls = TlsCheck { address: None, port: 443, server_name: None, days_min: 14, ca: None };
    // On the host of the writer, which no other check may miss, and vital, which the spec itself refuses.
    let mut asked = check("certificate", CheckKind::Tls(tls), Place::Local);
    asked.on = Some(role("db"));
    asked.vital = true;
    for (outcome, kind) in
        [(Outcome::Ok, Kind::Ok), (Outcome::Failing, Kind::Degraded), (Outcome::CouldNotRun, Kind::Degraded)]
    {
        let mut scene = Scene::new("us-east", east().into_iter().chain(west()).collect());
        scene.spec.checks.insert(asked.name.clone(), asked.clone());
        scene.signals.push(signal(declared("certificate"), "use-db1", Some("use-db1"), "us-east", outcome));
        let verdict = scene.judge();
        assert_eq!(verdict.kind, kind, "{outcome:?}: {:?}", verdict.reasons);
    }
}

#[test]
fn a_silent_writer_host_fails_the_region_though_the_others_speak() {
    let verdict = kind_after(|s| {
        if s.observer == host("use-db1") {
            s.age = ms(372_000);
        }
    });
    assert_eq!(verdict.kind, Kind::Failing);
    assert_eq!(verdict.reasons[0].text, "use-db1 is silent for 6 min 12 s");
}

#[test]
fn a_silent_agent_is_named_once_and_a_silent_check_by_its_name() {
    let verdict = kind_after(|s| {
        if s.observer == host("use-web1") && s.check != declared("proxy") {
            s.age = ms(38_000);
        }
    });
    let texts: Vec<&str> = verdict.reasons.iter().map(|reason| reason.text.as_str()).collect();
    assert_eq!(texts, ["db-port on use-db1: use-web1 says nothing of it for 38 s"]);
    let silent = kind_after(|s| {
        if s.observer == host("use-web1") {
            s.age = ms(38_000);
        }
    });
    let texts: Vec<&str> = silent.reasons.iter().map(|reason| reason.text.as_str()).collect();
    assert_eq!(texts, ["use-web1 is silent for 38 s"]);
}

#[test]
fn a_region_is_silent_only_when_all_of_its_agents_are() {
    let verdict = kind_after(|s| s.age = ms(38_000));
    assert_eq!(verdict.kind, Kind::Failing);
    assert_eq!(verdict.reasons.len(), 1);
    assert_eq!(verdict.reasons[0].text, "us-east is silent for 38 s: use-db1, use-web1, use-web2");
    let but_one = kind_after(|s| {
        if s.observer != host("use-web2") {
            s.age = ms(38_000);
        }
    });
    assert!(but_one.reasons.iter().all(|reason| !reason.text.contains("us-east is silent")));
}

#[test]
fn a_check_that_could_not_run_is_neither_good_nor_bad() {
    // The vital one: less than ok, and no failure, however long it lasts.
    let verdict = kind_after(|s| {
        if s.observer == host("use-db1") {
            (s.outcome, s.text) = (Outcome::CouldNotRun, "no such program".to_owned());
            s.database = None;
        }
    });
    assert_eq!(verdict.kind, Kind::Degraded);
    assert_eq!(verdict.reasons[0].text, "writer:pg on use-db1 could not run: no such program");
    // It does not hide an observation that still counts.
    let mut signals = east();
    let mut not_run = signals[0].clone();
    (not_run.outcome, not_run.database, not_run.age) = (Outcome::CouldNotRun, None, ms(0));
    signals[0].database = Some(DatabaseSeen::default());
    signals.push(not_run);
    signals.extend(west());
    assert_eq!(Scene::new("us-east", signals).judge().kind, Kind::Failing);
}

#[test]
fn most_agents_of_every_region_must_be_silent_before_we_think_ourselves_cut_off() {
    let all: Vec<Signal> = east().into_iter().chain(west()).collect();
    let silent = |hosts: &[&str]| {
        let hide = |s: &Signal| hosts.contains(&s.observer.as_str());
        let signals = all.iter().map(|s| if hide(s) { Signal { age: ms(9_000), ..s.clone() } } else { s.clone() });
        Scene::new("us-east", signals.collect())
    };
    let east_only = silent(&["use-db1", "use-web1", "use-web2"]);
    assert_eq!(east_only.judge().kind, Kind::Failing);
    let one_of_west = silent(&["use-db1", "use-web1", "use-web2", "usw-db1"]);
    assert_eq!(one_of_west.judge().kind, Kind::Failing, "one of three is not most");
    let two_of_west = silent(&["use-db1", "use-web1", "use-web2", "usw-db1", "usw-web1"]);
    let verdict = two_of_west.judge();
    assert_eq!(verdict.kind, Kind::Unknown);
    assert!(verdict.reasons[0].text.contains("3 of 3 in us-east, 2 of 3 in us-west"), "{:?}", verdict.reasons);
    // A region of one host weighs as much as one of three.
    let mut with_eu = silent(&["use-db1", "use-web1", "use-web2", "usw-db1", "usw-web1"]);
    with_eu.fleet.insert(region("eu"), [(host("eu-1"), true)].into());
    assert_eq!(with_eu.judge().kind, Kind::Failing);
    with_eu.fleet.insert(region("eu"), [(host("eu-1"), false)].into());
    assert_eq!(with_eu.judge().kind, Kind::Unknown);
}

#[test]
fn nothing_is_judged_before_an_interval_and_a_recheck_have_passed() {
    for (interval, recheck, grace) in [(30_000, 5_000, 35_000), (1_000, 1_000, 3_000)] {
        for (after, kind) in [(0, Kind::Unknown), (grace - 1, Kind::Unknown), (grace, Kind::Failing)] {
            let mut scene = scene(OwnWord::Failing, Outside::Nothing);
            scene.spec = smellpin(ms(interval), ms(recheck), 3);
            scene.started_for = ms(after);
            assert_eq!(scene.judge().kind, kind, "{interval} after {after}");
        }
    }
}

#[test]
fn what_was_never_observed_is_not_missed_just_after_it_was_asked_for() {
    let never: Vec<Signal> = east().into_iter().filter(|s| s.check != declared("proxy")).chain(west()).collect();
    for (in_force, kind) in [(0, Kind::Unknown), (2_999, Kind::Unknown), (3_000, Kind::Failing)] {
        let mut scene = Scene::new("us-east", never.clone());
        scene.in_force_for = ms(in_force);
        assert_eq!(scene.judge().kind, kind, "{in_force}");
    }
    // What fails by somebody's word fails at once.
    let mut scene = Scene::new("us-east", never);
    scene.in_force_for = ms(0);
    scene.signals[0].database = Some(DatabaseSeen::default());
    assert_eq!(scene.judge().kind, Kind::Failing);
}

#[test]
fn what_others_cannot_reach_alerts_and_never_fails() {
    let mut scene = Scene::new("us-east", east().into_iter().chain(west()).collect());
    for s in scene.signals.iter_mut().filter(|s| s.check == declared("page")) {
        (s.outcome, s.text) = (Outcome::Failing, "connection refused".to_owned());
    }
    let verdict = scene.judge();
    assert_eq!(verdict.kind, Kind::Degraded);
    assert_eq!(verdict.reasons[0].text, "page on us-east does not answer to usw-db1: connection refused");
    // One that reaches it is enough: the others' own way may be cut.
    scene.signals.iter_mut().filter(|s| is(s, "page", "usw-web1")).for_each(|s| s.outcome = Outcome::Ok);
    assert_eq!(scene.judge().kind, Kind::Ok);
}

#[test]
fn the_word_of_a_stranger_or_of_another_place_counts_for_nothing() {
    // A host of us-west speaks for us-east: no own word, and no proof from the region's own host.
    let mut scene = scene(OwnWord::Silent, Outside::Nothing);
    let mut pretender = signal(CheckRef::Writer(pg()), "usw-web1", Some("use-db1"), "us-east", Outcome::Ok);
    pretender.database = Some(primary(0x2000));
    let mut own_page = signal(declared("order"), "use-web1", None, "us-east", Outcome::Ok);
    own_page.age = ms(1_200);
    let mut moved = signal(CheckRef::Writer(pg()), "usw-web1", None, "us-west", Outcome::Ok);
    moved.database = Some(standby(0x3000, true));
    scene.signals.extend([pretender, moved]);
    let verdict = scene.judge();
    assert_eq!(verdict.kind, Kind::Failing);
    assert!(verdict.proofs.is_empty());
    scene.signals.push(own_page);
    assert!(scene.judge().proofs.is_empty(), "a region's own page proves nothing");
}

#[test]
fn a_standby_region_is_ok_while_its_database_follows() {
    let both: Vec<Signal> = east().into_iter().chain(west()).collect();
    assert_eq!(Scene::new("us-west", both.clone()).judge().kind, Kind::Ok);
    let with = |seen: DatabaseSeen| {
        let mut signals = both.clone();
        let follows = signals.iter_mut().find(|s| is(s, "writer:pg", "usw-db1")).expect("the standby's word");
        follows.database = Some(seen);
        Scene::new("us-west", signals)
    };
    let lost = with(DatabaseSeen { streaming: false, ..standby(0x1000, false) }).judge();
    assert_eq!(lost.kind, Kind::Failing);
    assert_eq!(lost.reasons[0].text, "pg on usw-db1 does not follow us-east: fine");
    let second = with(primary(0x1000)).judge();
    assert_eq!(second.kind, Kind::Failing);
    assert_eq!(second.reasons[0].text, "pg on usw-db1 accepts writes although us-east is active");
    assert_eq!(with(DatabaseSeen::default()).judge().kind, Kind::Failing, "down");
}

#[test]
fn a_standby_that_waits_for_a_dead_source_is_degraded_not_failing() {
    for own in [OwnWord::Failing, OwnWord::Silent] {
        let mut scene = scene(own, Outside::Nothing);
        scene.at = region("us-west");
        assert_eq!(scene.judge().kind, Kind::Degraded, "{own:?}");
        // Down is down, whatever the source does.
        scene.signals.iter_mut().filter(|s| is(s, "writer:pg", "usw-db1")).for_each(|s| s.database = None);
        scene.signals.iter_mut().filter(|s| is(s, "writer:pg", "usw-db1")).for_each(|s| s.outcome = Outcome::Failing);
        assert_eq!(scene.judge().kind, Kind::Failing, "{own:?}");
    }
}

#[test]
fn checks_of_the_standby_are_asked_of_standby_regions_only() {
    let mut scene = Scene::new("us-west", east().into_iter().chain(west()).collect());
    let mut disk = check("lag", http("http://{address}/lag"), Place::Local);
    (disk.of, disk.on) = (Of::Standby, Some(role("db")));
    scene.spec.checks.insert(disk.name.clone(), disk);
    assert_eq!(scene.judge().kind, Kind::Failing, "it should have been observed");
    scene.signals.push(signal(declared("lag"), "usw-db1", Some("usw-db1"), "us-west", Outcome::Ok));
    assert_eq!(scene.judge().kind, Kind::Ok);
    scene.at = region("us-east");
    assert_eq!(scene.judge().kind, Kind::Ok, "nobody asks the active region");
}

#[test]
fn the_evidence_has_a_row_for_every_expected_look() {
    let verdict = scene(OwnWord::Silent, Outside::RemoteWrite).judge();
    let rows: Vec<String> = verdict
        .evidence
        .iter()
        .map(|e| {
            let target = e.target.as_ref().map_or("-", |host| host.as_str());
            let marks = format!("{}{}", if e.vital { "vital " } else { "" }, if e.proof { "proof" } else { "" });
            format!("{} {} {target} {} {}", e.check, e.observer, e.seen.as_str(), marks).trim_end().to_owned()
        })
        .collect();
    assert_eq!(
        rows,
        [
            "writer:pg use-db1 use-db1 silent vital",
            "api use-web1 use-web1 silent",
            "api use-web2 use-web2 silent",
            "db-port use-web1 use-db1 silent",
            "far-pg usw-db1 use-db1 silent",
            "far-pg usw-web1 use-db1 silent",
            "far-pg usw-web2 use-db1 silent",
            "order usw-db1 - silent",
            "order usw-web1 - silent",
            "order usw-web2 - silent",
            "page usw-db1 - silent",
            "page usw-web1 - silent",
            "page usw-web2 - could not run",
            "proxy use-web1 use-web1 silent",
        ]
        .map(str::to_owned)
    );
}

#[test]
fn a_check_reads_back_what_it_prints() {
    for check in [declared("outside"), CheckRef::Writer(pg())] {
        assert_eq!(check.to_string().parse(), Ok(check));
    }
    for bad in ["", "writer:", "writer:PG", "a:b"] {
        assert!(bad.parse::<CheckRef>().is_err(), "{bad:?} was taken as a check");
    }
}

fn outcome() -> impl Strategy<Value = Outcome> {
    prop_oneof![Just(Outcome::Ok), Just(Outcome::Failing), Just(Outcome::CouldNotRun)]
}

fn database() -> impl Strategy<Value = Option<DatabaseSeen>> {
    let seen = (any::<[bool; 4]>(), 3u32..5, 0u64..9).prop_map(
        |([accepts_writes, in_recovery, streaming, advanced], timeline, lsn)| {
            let lsn = holdfast_types::Lsn(lsn);
            DatabaseSeen { accepts_writes, in_recovery, streaming, advanced, system: 7, timeline, lsn, replayed: lsn }
        },
    );
    proptest::option::of(seen)
}

fn any_signal() -> impl Strategy<Value = Signal> {
    let checks = prop::sample::select(vec!["writer:pg", "proxy", "db-port", "api", "page", "order", "far-pg"]);
    let hosts = ["use-db1", "use-web1", "use-web2", "usw-db1", "usw-web1", "usw-web2"];
    let observer = prop::sample::select(hosts.to_vec());
    let target = proptest::option::of(prop::sample::select(hosts.to_vec()));
    let at = prop::sample::select(vec!["us-east", "us-west"]);
    (checks, observer, target, at, outcome(), 0u64..2_500, database()).prop_map(
        |(check, observer, target, at, outcome, age, database)| Signal {
            age: ms(age),
            database,
            ..signal(check.parse().expect("a check"), observer, target, at, outcome)
        },
    )
}

fn any_scene() -> impl Strategy<Value = Scene> {
    let start = prop_oneof![Just(2_000u64), Just(10_000)];
    (
        (any::<bool>(), any::<bool>(), any::<u8>()),
        prop::collection::vec(any_signal(), 0..12),
        any::<[bool; 6]>(),
        (start.clone(), start),
        (any::<bool>(), any::<bool>()),
    )
        .prop_map(|((well_east, well_west, hidden), more, live, (started, in_force), (lease_over, at_east))| {
            let mut signals = more;
            if well_east {
                signals.extend(east());
            }
            if well_west {
                signals.extend(west());
            }
            let mut scene = Scene::new(if at_east { "us-east" } else { "us-west" }, signals);
            for (index, alive) in scene.fleet.values_mut().flat_map(|hosts| hosts.values_mut()).enumerate() {
                *alive = live[index] || hidden % 2 == 0;
            }
            (scene.started_for, scene.in_force_for) = (ms(started), ms(in_force));
            scene.lease_over = lease_over;
            scene
        })
}

impl fmt::Debug for Scene {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {:#?} {:?} {:?}", self.at, self.signals, self.fleet, self.started_for)
    }
}

proptest! {
    #[test]
    fn no_region_fails_without_its_own_word_or_silence(scene in any_scene()) {
        let verdict = scene.judge();
        if verdict.kind == Kind::Failing {
            let prefix = if scene.at == region("us-east") { "use" } else { "usw" };
            let own = |host: &HostName| host.as_str().starts_with(prefix);
            let bad = |e: &Evidence| own(&e.observer) && matches!(e.seen, Seen::Failing | Seen::Silent);
            let heard = scene.signals.iter().any(|s| own(&s.observer) && s.age < ms(1_250));
            prop_assert!(verdict.evidence.iter().any(bad) || !heard);
        }
    }

    #[test]
    fn no_region_fails_while_something_proves_its_writes(scene in any_scene()) {
        let verdict = scene.judge();
        prop_assert!(verdict.kind != Kind::Failing || verdict.proofs.is_empty());
        prop_assert!(verdict.kind == Kind::Ok || !verdict.reasons.is_empty());
    }

    #[test]
    fn the_order_of_signals_does_not_matter(scene in any_scene(), seed in any::<u64>()) {
        let verdict = scene.judge();
        let mut shuffled = scene;
        let mut state = seed | 1;
        for i in (1..shuffled.signals.len()).rev() {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let j = usize::try_from(state >> 33).expect("31 bits") % (i + 1);
            shuffled.signals.swap(i, j);
        }
        prop_assert_eq!(shuffled.judge(), verdict.clone());
        prop_assert_eq!(shuffled.judge(), verdict, "the same input, the same verdict");
    }

    #[test]
    fn nobody_is_judged_just_after_the_start(mut scene in any_scene(), millis in 0u64..3_000) {
        scene.started_for = Duration::from_millis(millis);
        prop_assert_eq!(scene.judge().kind, Kind::Unknown);
    }

    #[test]
    fn a_proof_more_never_makes_a_verdict_worse(scene in any_scene()) {
        let before = scene.judge();
        let mut proven = scene;
        let mut wal = signal(CheckRef::Writer(pg()), "usw-db1", Some("usw-db1"), "us-west", Outcome::Ok);
        (wal.database, wal.age) = (Some(standby(9, true)), ms(0));
        proven.signals.push(wal);
        proven.at = region("us-east");
        prop_assert!(proven.judge().kind != Kind::Failing, "before: {:?}", before.kind);
    }
}
