use std::{collections::BTreeSet, sync::Arc};

use holdfast_types::{Lsn, WriterName};
use proptest::prelude::*;

use super::*;
use crate::{
    gate::{AskedBy, GateAnswer, GateInput, ask, standbys},
    verdict::{CheckRef, DatabaseSeen, Outcome, fixture::*},
};

fn subject(interval: u64, recheck: u64, failures: u32, generation: u64) -> Subject {
    Subject {
        spec: Arc::new(smellpin(ms(interval), ms(recheck), failures)),
        revision: Revision(1),
        active: region("us-east"),
        generation: Generation(generation),
    }
}

fn at(millis: u64) -> BootInstant {
    BootInstant::from_boot(ms(millis))
}

/// What a host does: it looks once per pace, at its own moment, and a look takes a while.
#[derive(Debug, Clone)]
struct Agent {
    /// Its observations when all is well.
    says: Vec<Signal>,
    next: u64,
    took: u64,
}

type Change = Box<dyn Fn(u64, &mut Signal) -> bool>;

/// Agents and a coordinator under one clock, in milliseconds. It jumps from event to event.
struct World {
    rounds: Rounds,
    agents: Vec<Agent>,
    now: u64,
    /// What each agent's signal becomes at a moment; `false`: it never arrives.
    change: Change,
    /// From then on nothing is written any more.
    source_dies: u64,
    kinds: Vec<(u64, RegionName, Kind)>,
    asked_at: Vec<u64>,
    unhealthy: Vec<(u64, RegionName)>,
    healthy: Vec<(u64, RegionName)>,
}

impl World {
    fn new(subject: Subject, phases: [u64; 6], change: impl Fn(u64, &mut Signal) -> bool + 'static) -> Self {
        let all: Vec<Signal> = east().into_iter().chain(west()).collect();
        let names = ["use-db1", "use-web1", "use-web2", "usw-db1", "usw-web1", "usw-web2"];
        let agents = names.iter().zip(phases).map(|(name, phase)| Agent {
            says: all.iter().filter(|s| s.observer == host(name)).cloned().collect(),
            next: phase,
            took: 10,
        });
        Self {
            agents: agents.collect(),
            rounds: Rounds::new(subject, at(0), at(0)),
            now: 0,
            change: Box::new(change),
            source_dies: u64::MAX,
            kinds: Vec::new(),
            asked_at: Vec::new(),
            unhealthy: Vec::new(),
            healthy: Vec::new(),
        }
    }

    fn dying_at(self, millis: u64) -> Self {
        Self { source_dies: millis, ..self }
    }

    fn run(&mut self, until: u64) {
        loop {
            let (deadline, _) = self.rounds.next_deadline().expect("an app with regions has rounds");
            let round = u64::try_from(deadline.since_boot().as_micros().div_ceil(1_000)).expect("a short run");
            let look = self.agents.iter().map(|agent| agent.next).min().expect("there are agents");
            let next = round.min(look).max(self.now);
            if next > until {
                self.now = until;
                return;
            }
            self.now = next;
            self.look();
            self.take_round();
        }
    }

    fn look(&mut self) {
        let pace = u64::try_from(self.rounds.pace().as_millis()).expect("a short pace");
        for agent in self.agents.iter_mut().filter(|agent| agent.next <= self.now) {
            agent.next = self.now + pace;
            for mut signal in agent.says.clone() {
                signal.age = ms(agent.took);
                if let Some(seen) = &mut signal.database {
                    // Markers and clients' writes move the position all the time.
                    seen.lsn = Lsn(0x1000 + self.now.min(self.source_dies));
                }
                if (self.change)(self.now, &mut signal) {
                    self.rounds.observe(signal, at(self.now));
                }
            }
        }
    }

    fn take_round(&mut self) {
        let (deadline, _) = self.rounds.next_deadline().expect("an app with regions has rounds");
        let outcome = self.rounds.round(at(self.now), &fleet(true), false);
        assert_eq!(outcome.verdicts.is_empty(), deadline > at(self.now), "a round is taken when it is due");
        let (after, _) = self.rounds.next_deadline().expect("an app with regions has rounds");
        assert!(after > at(self.now), "no round is due twice");
        let note = |regions: &[RegionName]| regions.iter().map(|r| (self.now, r.clone())).collect::<Vec<_>>();
        self.unhealthy.extend(note(&outcome.became_unhealthy));
        self.healthy.extend(note(&outcome.became_healthy));
        if outcome.ask_gate {
            self.asked_at.push(self.now);
        }
        if let Some(pace) = outcome.pace {
            // Told to look sooner, an agent does; told to look later, it counts from now.
            let pace = u64::try_from(pace.as_millis()).expect("a short pace");
            self.agents.iter_mut().for_each(|agent| agent.next = agent.next.min(self.now + pace));
        }
        self.kinds.extend(outcome.verdicts.into_iter().map(|(region, verdict)| (self.now, region, verdict.kind)));
    }

    fn unhealthy_at(&self, name: &str) -> Option<u64> {
        self.unhealthy.iter().find(|(_, region)| region.as_str() == name).map(|(at, _)| *at)
    }

    fn kinds_of(&self, name: &str, from: u64) -> Vec<Kind> {
        self.kinds.iter().filter(|(at, r, _)| *at >= from && r.as_str() == name).map(|(_, _, kind)| *kind).collect()
    }
}

/// us-east falls silent at `cut`; the standby goes on reporting, and receives nothing any more.
fn east_cut(cut: u64) -> impl Fn(u64, &mut Signal) -> bool {
    move |now, signal| now < cut || signal.observer_region != region("us-east")
}

/// All agents of us-east silent, and no WAL on its way: the standby was never there to begin with.
fn all_silent(cut: u64) -> impl Fn(u64, &mut Signal) -> bool {
    move |now, signal| {
        if let Some(seen) = signal.database.as_mut().filter(|seen| seen.in_recovery) {
            seen.lsn = Lsn(0x1000);
        }
        now < cut || signal.observer_region != region("us-east")
    }
}

#[test]
fn a_region_silent_at_once_is_unhealthy_within_4_seconds_at_a_pace_of_one() {
    let mut worst = 0;
    for phase in (0..1_000).step_by(45) {
        for cut in (20_000..21_000).step_by(65) {
            let phases = [phase, (phase * 7) % 1_000, (phase * 3 + 11) % 1_000, (phase * 5) % 1_000, 40, 80];
            let mut world = World::new(subject(1_000, 1_000, 3, 1), phases, all_silent(cut));
            world.run(cut + 6_000);
            let detected = world.unhealthy_at("us-east").expect("the region is found unhealthy") - cut;
            worst = worst.max(detected);
        }
    }
    assert!(worst <= 4_000, "detected after {worst} ms");
}

#[test]
fn a_region_silent_at_once_is_unhealthy_within_45_seconds_at_the_default_pace() {
    let mut worst = 0;
    for phase in (0..30_000).step_by(2_500) {
        for cut in (120_000..150_000).step_by(3_700) {
            let phases = [phase, (phase + 9_000) % 30_000, (phase + 20_000) % 30_000, (phase * 5) % 30_000, 40, 80];
            let mut world = World::new(subject(30_000, 5_000, 3, 1), phases, all_silent(cut));
            world.run(cut + 50_000);
            let detected = world.unhealthy_at("us-east").expect("the region is found unhealthy") - cut;
            worst = worst.max(detected);
        }
    }
    assert!(worst <= 45_000, "detected after {worst} ms");
}

#[test]
fn the_last_wal_of_a_dead_source_delays_detection_by_no_more_than_one_look() {
    // What the standby received just before the cut is proof until its next look shows that nothing came since.
    for (interval, recheck, limit) in [(1_000, 1_000, 4_050), (30_000, 5_000, 45_000)] {
        let mut worst = 0;
        for phase in (0..interval).step_by(usize::try_from(interval / 12).expect("small")) {
            let cut = interval * 5;
            let phases = [interval / 2, interval / 3, interval / 4, phase, 40, 80];
            let mut world = World::new(subject(interval, recheck, 3, 1), phases, east_cut(cut)).dying_at(cut);
            world.run(cut + limit + 10_000);
            let detected = world.unhealthy_at("us-east").expect("the region is found unhealthy") - cut;
            worst = worst.max(detected);
        }
        assert!(worst <= limit, "interval {interval}: detected after {worst} ms");
    }
}

#[test]
fn a_failure_that_is_reported_is_judged_at_once() {
    let broken = |now: u64, signal: &mut Signal| {
        if now >= 100_000 && signal.observer == host("use-db1") {
            (signal.outcome, signal.database) = (Outcome::Failing, Some(DatabaseSeen::default()));
        }
        if let Some(seen) = signal.database.as_mut().filter(|seen| seen.in_recovery) {
            seen.lsn = Lsn(0x1000);
        }
        true
    };
    let mut world = World::new(subject(30_000, 5_000, 3, 1), [100, 200, 300, 400, 500, 600], broken);
    world.run(150_000);
    let first = world.kinds.iter().find(|(_, r, k)| *k == Kind::Failing && r.as_str() == "us-east").expect("a failure");
    assert!(first.0 >= 100_000 && first.0 <= 130_015, "judged at {}", first.0);
    let failing: Vec<u64> =
        world.kinds.iter().filter(|(_, r, k)| *k == Kind::Failing && r.as_str() == "us-east").map(|k| k.0).collect();
    assert!(failing.windows(2).all(|pair| pair[1] - pair[0] >= 5_000), "{failing:?}");
}

#[test]
fn while_all_is_well_nothing_fails_and_the_pace_is_the_interval() {
    for (interval, recheck) in [(1_000, 1_000), (30_000, 5_000)] {
        let mut world = World::new(subject(interval, recheck, 3, 1), [0, 130, 260, 390, 520, 650], |_, _| true);
        world.run(interval * 12);
        let grace = (interval + recheck).max(3_000);
        assert!(world.kinds_of("us-east", grace).iter().all(|kind| *kind == Kind::Ok), "{:?}", world.kinds);
        assert!(world.kinds_of("us-west", grace).iter().all(|kind| *kind == Kind::Ok), "{:?}", world.kinds);
        assert_eq!(world.rounds.pace(), ms(interval));
        assert!(world.asked_at.is_empty());
    }
}

#[test]
fn one_lost_observation_moves_nothing_even_though_the_pace_changes() {
    // use-db1 misses one look at 30 s; the pace becomes 5 s and later 30 s again: neither makes anybody silent.
    let missing =
        |now: u64, signal: &mut Signal| !(signal.observer == host("use-db1") && (115_000..130_000).contains(&now));
    let mut world = World::new(subject(30_000, 5_000, 3, 1), [0, 4_000, 9_000, 14_000, 19_000, 24_000], missing);
    world.run(400_000);
    assert!(world.unhealthy.is_empty(), "{:?}", world.unhealthy);
    assert!(world.kinds_of("us-east", 200_000).iter().all(|kind| *kind == Kind::Ok), "{:?}", world.kinds);
    assert_eq!(world.rounds.pace(), ms(30_000));
}

#[test]
fn the_gate_is_asked_with_every_failing_verdict_of_a_full_run_and_never_before() {
    let mut world = World::new(subject(1_000, 1_000, 3, 1), [0, 100, 200, 300, 400, 500], all_silent(10_000));
    world.run(20_000);
    let unhealthy = world.unhealthy_at("us-east").expect("the region is found unhealthy");
    assert_eq!(world.asked_at.first(), Some(&unhealthy));
    assert!(world.asked_at.len() > 4, "asked again while it fails: {:?}", world.asked_at);
    assert_eq!(world.unhealthy.iter().filter(|(_, r)| r.as_str() == "us-east").count(), 1, "told once");
}

#[test]
fn a_region_comes_back_after_three_good_verdicts_a_recheck_apart() {
    let gap = |now: u64, s: &mut Signal| all_silent(100_000)(now, s) || now >= 200_000;
    let mut world = World::new(subject(30_000, 5_000, 3, 1), [0, 100, 200, 300, 400, 500], gap);
    world.run(260_000);
    let (back, _) = world.healthy.iter().find(|(_, r)| r.as_str() == "us-east").expect("it comes back");
    assert!((210_000..216_000).contains(back), "back at {back}");
    assert_eq!(world.rounds.regions()[&region("us-east")].counter, Counter::default());
}

#[test]
fn a_new_generation_begins_anew() {
    let mut world = World::new(subject(1_000, 1_000, 3, 1), [0, 100, 200, 300, 400, 500], all_silent(10_000));
    world.run(20_000);
    assert!(world.rounds.regions()[&region("us-east")].counter.unhealthy);
    let moved = Subject { active: region("us-west"), generation: Generation(2), ..subject(1_000, 1_000, 3, 2) };
    world.rounds.update(moved, at(20_000));
    assert!(world.rounds.regions().values().all(|r| r.counter == Counter::default() && r.kind() == Kind::Unknown));
    assert!(world.rounds.signals(at(20_000)).is_empty());
    // The new active region is not yet missed for what it was never asked.
    let outcome = world.rounds.round(at(20_005), &fleet(true), false);
    assert_eq!(outcome.verdicts[&region("us-west")].kind, Kind::Unknown);
}

#[test]
fn a_new_revision_keeps_the_counts() {
    let mut world = World::new(subject(1_000, 1_000, 3, 1), [0, 100, 200, 300, 400, 500], all_silent(10_000));
    world.run(20_000);
    let before = world.rounds.regions()[&region("us-east")].counter;
    world.rounds.update(Subject { revision: Revision(2), ..subject(1_000, 1_000, 4, 1) }, at(20_000));
    assert_eq!(world.rounds.regions()[&region("us-east")].counter, before);
    assert!(!world.rounds.signals(at(20_000)).is_empty());
}

#[test]
fn strangers_are_not_stored_and_old_news_changes_nothing() {
    let mut rounds = Rounds::new(subject(1_000, 1_000, 3, 1), at(0), at(0));
    for (check, observer, target, place) in [
        (declared("no-such"), "use-db1", None, "us-east"),
        (CheckRef::Writer(WriterName::new("mysql").expect("a name")), "use-db1", None, "us-east"),
        (declared("proxy"), "use-web9", None, "us-east"),
        (declared("proxy"), "use-web1", Some("usw-web1"), "us-east"),
        (declared("proxy"), "use-web1", None, "eu"),
    ] {
        rounds.observe(signal(check, observer, target, place, Outcome::Ok), at(1_000));
    }
    assert!(rounds.signals(at(1_000)).is_empty());
    let web = |age, outcome| Signal { age: ms(age), ..signal(declared("proxy"), "use-web1", None, "us-east", outcome) };
    rounds.observe(web(0, Outcome::Ok), at(2_000));
    rounds.observe(web(500, Outcome::Failing), at(2_100));
    assert_eq!(rounds.signals(at(2_100))[0].outcome, Outcome::Ok, "taken at 1.6 s, after what was taken at 2 s");
}

#[test]
fn wal_that_came_since_the_last_look_is_found_out_here() {
    let mut rounds = Rounds::new(subject(1_000, 1_000, 3, 1), at(0), at(0));
    let look = |lsn: u64| {
        let mut s = signal(CheckRef::Writer(pg()), "usw-db1", Some("usw-db1"), "us-west", Outcome::Ok);
        (s.age, s.database) = (ms(0), Some(standby(lsn, true)));
        s
    };
    let advanced = |rounds: &Rounds| rounds.signals(at(9_000))[0].database.expect("a database").advanced;
    rounds.observe(look(0x1000), at(1_000));
    assert!(!advanced(&rounds), "a first look cannot say");
    rounds.observe(look(0x1000), at(2_000));
    assert!(!advanced(&rounds), "an idle link proves nothing");
    rounds.observe(look(0x1008), at(3_000));
    assert!(advanced(&rounds));
    rounds.observe(look(0x1008), at(3_000));
    assert!(advanced(&rounds), "delivered twice");
    rounds.observe(look(0x1008), at(4_000));
    assert!(!advanced(&rounds));
}

#[test]
fn a_standby_that_followed_when_the_source_was_last_seen_is_a_candidate_after_the_cut() {
    for (lost_at, open) in [(None, true), (Some(60_000), false)] {
        let change = move |now: u64, s: &mut Signal| {
            let lost = lost_at.is_some_and(|lost| now >= lost) || now >= 100_000;
            if let Some(seen) = s.database.as_mut().filter(|seen| lost && seen.in_recovery) {
                (seen.streaming, seen.lsn) = (false, Lsn(0x1000));
            }
            now < 100_000 || s.observer_region != region("us-east")
        };
        let mut world = World::new(subject(1_000, 1_000, 3, 1), [0, 100, 200, 300, 400, 500], change);
        world.run(110_000);
        let answer = ask_now(&world);
        assert_eq!(matches!(answer, GateAnswer::Open { .. }), open, "{answer:#?}");
    }
}

#[test]
fn a_standby_of_another_database_or_on_another_timeline_follows_nobody_here() {
    type Change = fn(&mut DatabaseSeen);
    let table: [(&str, Change, bool); 5] = [
        ("of one origin", |_| {}, true),
        ("of another database", |seen| seen.system = 8, false),
        ("of nobody knows what", |seen| seen.system = 0, false),
        ("on an older timeline", |seen| seen.timeline = 3, false),
        ("not connected", |seen| seen.streaming = false, false),
    ];
    for (what, change, follows) in table {
        let change = move |now: u64, s: &mut Signal| {
            if let Some(seen) = s.database.as_mut().filter(|seen| seen.in_recovery) {
                change(seen);
                if now >= 10_000 {
                    (seen.streaming, seen.lsn) = (false, Lsn(0x1000));
                }
            }
            now < 10_000 || s.observer_region != region("us-east")
        };
        let mut world = World::new(subject(1_000, 1_000, 3, 1), [0, 100, 200, 300, 400, 500], change);
        world.run(9_000);
        let west = region("us-west");
        let pacing = *world.rounds.pacing();
        assert_eq!(world.rounds.sights().follows(&west, &pg(), &pacing, at(world.now)), follows, "{what}");
        world.run(20_000);
        assert!(!world.rounds.sights().writes(&region("us-east"), &pg(), &pacing, at(world.now)), "{what}: cut");
        let answer = ask_now(&world);
        assert_eq!(matches!(answer, GateAnswer::Open { .. }), follows, "{what}: {answer:#?}");
    }
}

fn ask_now(world: &World) -> GateAnswer {
    let rounds = &world.rounds;
    let spec = &rounds.subject().spec;
    let standbys = standbys(rounds, &BTreeSet::from([region("us-west")]), &fleet(true), at(world.now));
    let active = &rounds.regions()[&region("us-east")];
    let none = Vec::new();
    let (reasons, proofs) = active.last.as_ref().map_or((&none, &none), |(_, v)| (&v.reasons, &v.proofs));
    ask(&GateInput {
        app: &spec.app,
        mode: spec.failover.as_ref().map(|failover| failover.mode),
        asked_by: AskedBy::Verdicts,
        active: &rounds.subject().active,
        counter: active.counter,
        failures: rounds.pacing().failures,
        reasons,
        proofs,
        own_life: &[],
        lease_over: false,
        standbys: &standbys,
        maintenance: None,
        other_operation: None,
        earlier_incident: None,
    })
}

fn faults() -> impl Strategy<Value = Vec<(u64, u64, u8)>> {
    prop::collection::vec((5_000u64..60_000, 100u64..9_000, any::<u8>()), 0..8)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn no_failover_without_failures_consecutive_failing_verdicts_a_recheck_apart(
        faults in faults(),
        failures in 1u32..5,
        phases in prop::array::uniform6(0u64..1_000),
    ) {
        let change = move |now: u64, s: &mut Signal| {
            let active = faults.iter().find(|(from, long, _)| (*from..from + long).contains(&now));
            let Some((_, _, what)) = active else { return true };
            let east = s.observer_region == region("us-east");
            match what % 5 {
                0 => !east,
                1 => { if east { (s.outcome, s.database) = (Outcome::Failing, None); } true }
                2 => false,
                3 => { s.outcome = Outcome::CouldNotRun; s.database = None; true }
                _ => s.observer != host("use-db1"),
            }
        };
        let mut world = World::new(subject(1_000, 1_000, failures, 1), phases, change);
        world.run(70_000);
        for asked in &world.asked_at {
            let until: Vec<(u64, Kind)> = world.kinds.iter()
                .filter(|(at, r, kind)| at <= asked && r.as_str() == "us-east" && *kind != Kind::Unknown)
                .map(|(at, _, kind)| (*at, *kind)).collect();
            let run = &until[until.len().saturating_sub(usize::try_from(failures).expect("small"))..];
            prop_assert_eq!(run.len(), usize::try_from(failures).expect("small"));
            prop_assert!(run.iter().all(|(_, kind)| *kind == Kind::Failing), "{:?}", run);
            prop_assert!(run.windows(2).all(|pair| pair[1].0 - pair[0].0 >= 1_000), "{:?}", run);
        }
    }
}
