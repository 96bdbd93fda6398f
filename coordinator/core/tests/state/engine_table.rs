//! Every step of a failover × every way to fail, every crash, every abort, every set of hosts that are gone: it ends, in a
//! bounded number of moves, done or taken back or as far as it came, and leaves nothing held.

use std::collections::BTreeMap;

use holdfast_coordinator_core::records::OperationState;

use crate::{run::*, support::*};

/// The plan's steps.
const FIRST: [At; 8] = [
    At("hold", 0),
    At("fence", 0),
    At("cut", 0),
    At("candidate", 0),
    At("generation", 0),
    At("promote", 0),
    At("route", 0),
    At("verify", 0),
];
/// What follows when one of them fails: undos, and the steps of ways forward.
const LATER: [At; 12] = [
    At("reconnect", 0),
    At("release", 0),
    At("hold", 1),
    At("fence", 1),
    At("cut", 1),
    At("generation", 1),
    At("promote", 1),
    At("start", 0),
    At("hold", 2),
    At("fence", 2),
    At("route", 1),
    At("verify", 1),
];

/// How a step may fail. A release is tried until it is done: without it nobody would ever serve again.
fn ways(at: At) -> Vec<Fails> {
    if at.0 == "release" {
        return vec![Fails::Times(1), Fails::Times(50), Fails::OnceAfterItHappened];
    }
    vec![Fails::Times(1), Fails::Always, Fails::OnceAfterItHappened]
}

fn faults(places: &[At]) -> Vec<Vec<(At, Fails)>> {
    let one = places.iter().flat_map(|at| ways(*at).into_iter().map(|fails| vec![(*at, fails)]));
    std::iter::once(Vec::new()).chain(one).collect()
}

/// The same with each step failing as badly as it may.
fn worst(places: &[At]) -> Vec<Vec<(At, Fails)>> {
    let for_good = |at: &At| if at.0 == "release" { Fails::Times(50) } else { Fails::Always };
    std::iter::once(Vec::new()).chain(places.iter().map(|at| vec![(*at, for_good(at))])).collect()
}

fn all_gone(regions: usize) -> Vec<Vec<usize>> {
    (0..1usize << regions).map(|set| (0..regions).filter(|n| set >> n & 1 == 1).collect()).collect()
}

fn log(regions: usize) -> Log {
    let mut log = Log::with_app(&Wanted::shop(regions));
    log.checked = false;
    log
}

/// Runs each world; tells all that went wrong, and how often each end was seen.
fn all(log: &Log, worlds: impl Iterator<Item = World>) -> BTreeMap<String, usize> {
    let mut ends = BTreeMap::new();
    let mut wrong = Vec::new();
    for world in worlds {
        let mut run = Run::failover(log, world.clone());
        match run.drive().and_then(|()| run.judge()) {
            Ok(end) => *ends.entry(end).or_insert(0) += 1,
            Err(why) => wrong.push(format!("{world:?}\n    {why}")),
        }
    }
    assert!(wrong.is_empty(), "{} of the table's rows:\n{}", wrong.len(), wrong[..wrong.len().min(5)].join("\n"));
    ends
}

#[test]
fn a_failover_ends_whatever_fails_once_or_for_ever_and_whatever_fails_after_it() {
    for regions in [2, 3] {
        let log = log(regions);
        let worlds = all_gone(regions).into_iter().flat_map(move |gone| {
            faults(&FIRST).into_iter().flat_map(move |first| {
                let gone = gone.clone();
                worst(&LATER).into_iter().map(move |later| {
                    let faults = first.iter().chain(&later).copied().collect();
                    World { regions, gone: gone.clone(), faults, ..World::default() }
                })
            })
        });
        let ends = all(&log, worlds);
        // A table that reaches none of these would prove nothing.
        for end in ["done us-west/2", "unwound us-east/2", "partly us-east/2", "partly us-west/2", "partly us-east/3"] {
            assert!(ends.contains_key(end), "no row with {regions} regions ends {end}: {ends:?}");
        }
    }
}

#[test]
fn a_crash_changes_nothing_about_how_a_failover_ends() {
    for regions in [2, 3] {
        let log = log(regions);
        for gone in all_gone(regions) {
            for faults in worst(&FIRST) {
                let end = |crash| {
                    let (gone, faults) = (gone.clone(), faults.clone());
                    let mut run = Run::failover(&log, World { regions, gone, faults, crash, ..World::default() });
                    let end = run.drive().and_then(|()| run.judge());
                    (end, run.crashed())
                };
                let (without, _) = end(None);
                let mut crashes = 0;
                for at in FIRST.into_iter().chain(LATER) {
                    for point in POINTS {
                        let (with, crashed) = end(Some((at, point)));
                        let row = format!("{regions} regions, gone {gone:?}, {faults:?}, crash {point:?} of {at}");
                        assert_eq!(with, without, "{row}");
                        crashes += usize::from(crashed);
                    }
                }
                assert!(crashes >= 6, "only {crashes} crashes hit with {faults:?}");
            }
        }
    }
}

#[test]
fn an_abort_before_the_point_of_no_return_takes_everything_back_and_after_it_is_refused() {
    for regions in [2, 3] {
        let log = log(regions);
        let worlds = all_gone(regions).into_iter().flat_map(move |gone| {
            worst(&FIRST).into_iter().flat_map(move |faults| {
                let gone = gone.clone();
                FIRST.into_iter().chain([At("reconnect", 0), At("release", 0), At("start", 0)]).flat_map(move |at| {
                    let (gone, faults) = (gone.clone(), faults.clone());
                    POINTS.into_iter().map(move |point| World {
                        regions,
                        gone: gone.clone(),
                        faults: faults.clone(),
                        abort: Some((at, point)),
                        ..World::default()
                    })
                })
            })
        });
        let ends = all(&log, worlds);
        for end in ["failed us-east/1", "unwound us-east/2", "done us-west/2"] {
            assert!(ends.contains_key(end), "no row with {regions} regions ends {end}: {ends:?}");
        }
    }
}

#[test]
fn with_everything_unreachable_past_the_point_of_no_return_it_ends_partly() {
    let log = log(3);
    // They were there for the cut, and are gone from then on.
    let mut run = Run::failover(&log, World { regions: 3, gone: vec![0], ..World::default() });
    run.world_goes_dark_at("promote");
    run.drive().expect("an end");
    assert_eq!(run.judge(), Ok("partly us-west/2".to_owned()));
    assert_eq!(run.op().at(), OperationState::Partly);
    assert!(run.op().text.contains("promote failed"), "{}", run.op().text);
}

/// One line for each step that fails for good: how it ends while all hosts are there, and while the source is gone.
#[test]
fn how_a_failover_ends_when_one_step_fails_for_good() {
    let mut lines = String::new();
    for regions in [2, 3] {
        let log = log(regions);
        for at in FIRST {
            let end = |gone: Vec<usize>| {
                let mut run =
                    Run::failover(&log, World { regions, gone, faults: vec![(at, Fails::Always)], ..World::default() });
                run.drive().and_then(|()| run.judge()).unwrap_or_else(|why| why)
            };
            lines += &format!("{regions} regions  {at:<11} {:<18} {}\n", end(vec![]), end(vec![0]));
        }
    }
    insta::assert_snapshot!(lines, @r"
    2 regions  hold        unwound us-east/1  unwound us-east/1
    2 regions  fence       unwound us-east/2  unwound us-east/2
    2 regions  cut         unwound us-east/2  unwound us-east/2
    2 regions  candidate   unwound us-east/2  unwound us-east/2
    2 regions  generation  unwound us-east/2  unwound us-east/2
    2 regions  promote     partly us-east/3   partly us-west/2
    2 regions  route       partly us-west/2   partly us-west/2
    2 regions  verify      partly us-west/2   partly us-west/2
    3 regions  hold        unwound us-east/1  unwound us-east/1
    3 regions  fence       unwound us-east/2  unwound us-east/2
    3 regions  cut         unwound us-east/2  unwound us-east/2
    3 regions  candidate   unwound us-east/2  unwound us-east/2
    3 regions  generation  unwound us-east/2  unwound us-east/2
    3 regions  promote     done eu-one/3      done eu-one/3
    3 regions  route       partly us-west/2   partly us-west/2
    3 regions  verify      partly us-west/2   partly us-west/2
    ");
}
