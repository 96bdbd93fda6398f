//! Which candidate is furthest on.

use holdfast_coordinator_core::{
    plan::furthest_on,
    records::{Action, Candidate, CommandOutcome, CommandResult, Cut, Hold, Position, Step},
};
use holdfast_types::Lsn;

use crate::support::*;

/// A cut whose candidates are named by their hosts: "a" and "b" in us-west, "c" in eu-one.
fn cut(candidates: &[(&str, &[&str])], results: Vec<CommandResult>) -> Step {
    let candidates = candidates.iter().map(|(region, hosts)| Candidate {
        region: (*region).into(),
        hosts: hosts.iter().map(|h| (*h).to_owned()).collect(),
    });
    Step { action: Some(Action::Cut(Cut { candidates: candidates.collect() })), attempt: 2, results, ..Step::default() }
}

fn said(host: &str, position: Option<(u32, u64)>) -> CommandResult {
    CommandResult {
        attempt: 2,
        host: host.into(),
        outcome: CommandOutcome::Done.into(),
        text: "cut".into(),
        position: position.map(|(timeline, lsn)| Position { timeline, lsn }),
        ..CommandResult::default()
    }
}

fn failed(host: &str) -> CommandResult {
    let outcome = CommandOutcome::Failed.into();
    CommandResult { outcome, text: "its receiver is still there".into(), ..said(host, Some((9, 999))) }
}

fn older(host: &str) -> CommandResult {
    CommandResult { attempt: 1, ..said(host, Some((9, 999))) }
}

const TWO: &[(&str, &[&str])] = &[("us-west", &["a"]), ("eu-one", &["c"])];
const WIDE: &[(&str, &[&str])] = &[("us-west", &["a", "b"]), ("eu-one", &["c"])];

#[test]
fn the_candidate_furthest_on_is_chosen_by_timeline_then_position_then_the_specs_order() {
    let at = |t, l| Some((t, l));
    for (what, candidates, results, expected) in [
        ("position", TWO, vec![said("a", at(1, 10)), said("c", at(1, 11))], "eu-one"),
        ("timeline first", TWO, vec![said("a", at(2, 1)), said("c", at(1, 99))], "us-west"),
        ("order between equals", TWO, vec![said("c", at(1, 7)), said("a", at(1, 7))], "us-west"),
        ("only one has cut", TWO, vec![said("c", at(1, 1))], "eu-one"),
        ("one has failed to", TWO, vec![failed("a"), said("c", at(1, 1))], "eu-one"),
        ("an older attempt says nothing", TWO, vec![older("a"), said("c", at(1, 1))], "eu-one"),
        ("done without a position says nothing", TWO, vec![said("a", None), said("c", at(1, 1))], "eu-one"),
        ("a stranger says nothing", TWO, vec![said("x", at(9, 9)), said("c", at(1, 1))], "eu-one"),
        (
            "as far as its last database",
            WIDE,
            vec![said("a", at(1, 99)), said("b", at(1, 2)), said("c", at(1, 3))],
            "eu-one",
        ),
        (
            "its last is further on",
            WIDE,
            vec![said("a", at(1, 99)), said("b", at(1, 4)), said("c", at(1, 3))],
            "us-west",
        ),
        ("half of a region is none", WIDE, vec![said("a", at(1, 99)), said("c", at(1, 3))], "eu-one"),
        (
            "a timeline behind on one host",
            WIDE,
            vec![said("a", at(2, 9)), said("b", at(1, 9)), said("c", at(2, 1))],
            "eu-one",
        ),
    ] {
        let choice = furthest_on(&cut(candidates, results)).unwrap_or_else(|why| panic!("{what}: {why}"));
        assert_eq!(choice.region, region(expected), "{what}");
    }
    let choice = furthest_on(&cut(TWO, vec![said("a", at(3, 0x3A_945A_1100))])).expect("one");
    assert_eq!((choice.timeline, choice.received), (3, Lsn(0x3A_945A_1100)));
}

#[test]
fn without_a_candidate_that_has_cut_nobody_is_chosen_and_it_says_what_each_said() {
    let nobody = furthest_on(&cut(TWO, vec![failed("a")])).expect_err("nobody has cut");
    assert_eq!(nobody, "no candidate has cut its receiver (a: its receiver is still there)");
    let silent = furthest_on(&cut(TWO, vec![])).expect_err("nobody has answered");
    assert_eq!(silent, "no candidate has cut its receiver (none has answered)");
    assert!(furthest_on(&cut(&[], vec![])).is_err());
    assert!(furthest_on(&cut(&[("us-west", &[])], vec![])).is_err(), "a region without hosts has cut nothing");
    let hold = Step { action: Some(Action::Hold(Hold {})), ..Step::default() };
    assert!(furthest_on(&hold).is_err());
}
