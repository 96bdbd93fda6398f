use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::verdict::fixture::{host, ms, pg, primary, region, standby as follows};

const FULL: Counter = Counter { failing: 3, good: 0, unhealthy: true };

/// A gate with everything as it should be for an automatic failover of smellpin from us-east to us-west.
#[derive(Debug, Clone)]
struct Gate {
    mode: Option<Mode>,
    asked_by: AskedBy,
    counter: Counter,
    reasons: Vec<Finding>,
    proofs: Vec<Finding>,
    own_life: Vec<Finding>,
    lease_over: bool,
    standbys: Vec<Standby>,
    maintenance: bool,
    other_operation: Option<OperationId>,
    earlier_incident: Option<u64>,
}

fn finding(text: &str, observer: &str) -> Finding {
    Finding { observer: Some(host(observer)), ..Finding::plain(text.to_owned()) }
}

fn standby(name: &str, host_name: &str, lsn: u64) -> Standby {
    let database = StandbyDatabase {
        host: host(host_name),
        live: true,
        seen: Some(follows(lsn, false)),
        age: ms(400),
        followed: Some(true),
        source: Some((primary(0x3A_945A_1100), ms(38_000))),
    };
    Standby { region: region(name), promotable: true, databases: BTreeMap::from([(pg(), database)]) }
}

impl Gate {
    fn new() -> Self {
        Self {
            mode: Some(Mode::Automatic),
            asked_by: AskedBy::Verdicts,
            counter: FULL,
            reasons: vec![finding("us-east is silent for 38 s: use-db1, use-web1", "use-db1")],
            proofs: Vec::new(),
            own_life: Vec::new(),
            lease_over: false,
            standbys: vec![standby("us-west", "usw-db1", 0x3A_945A_1100)],
            maintenance: false,
            other_operation: None,
            earlier_incident: None,
        }
    }

    fn by_operator(to: Option<&str>) -> Self {
        Self { asked_by: AskedBy::Operator { to: to.map(region) }, ..Self::new() }
    }

    fn database(&mut self) -> &mut StandbyDatabase {
        self.standbys[0].databases.get_mut(&pg()).expect("it has one")
    }

    fn ask(&self) -> GateAnswer {
        let maintenance = Maintenance {
            by: "operator ada".to_owned(),
            why: "new disks".to_owned(),
            until: 1_795_208_400_000,
            ..Maintenance::default()
        };
        ask(&GateInput {
            app: &AppName::new("smellpin").expect("an app name"),
            mode: self.mode,
            asked_by: self.asked_by.clone(),
            active: &region("us-east"),
            counter: self.counter,
            failures: 3,
            reasons: &self.reasons,
            proofs: &self.proofs,
            own_life: &self.own_life,
            lease_over: self.lease_over,
            standbys: &self.standbys,
            maintenance: self.maintenance.then_some((&Scope::All, &maintenance)),
            other_operation: self.other_operation,
            earlier_incident: self.earlier_incident,
        })
    }
}

fn closed(gate: &Gate) -> (Condition, Option<Reason>, String) {
    match gate.ask() {
        GateAnswer::Closed { condition, reason, headline, .. } => (condition, reason, headline),
        answer @ (GateAnswer::Open { .. } | GateAnswer::Alert { .. }) => panic!("not closed: {answer:#?}"),
    }
}

fn opens_to(gate: &Gate) -> Option<String> {
    match gate.ask() {
        GateAnswer::Open { candidate, .. } => Some(candidate.to_string()),
        GateAnswer::Closed { .. } | GateAnswer::Alert { .. } => None,
    }
}

#[test]
fn an_automatic_failover_passes_when_every_condition_holds() {
    let answer = Gate::new().ask();
    let conditions: Vec<Condition> = answer.lines().iter().map(|line| line.condition).collect();
    assert_eq!(conditions, Condition::ALL);
    assert!(answer.lines().iter().all(|line| line.holds && !line.text.is_empty()));
    assert_eq!(opens_to(&Gate::new()).as_deref(), Some("us-west"));
}

#[test]
fn each_condition_alone_closes_the_gate_to_the_verdicts() {
    type Break = fn(&mut Gate);
    let table: [(Condition, Option<Reason>, Break); 7] = [
        (Condition::Mode, Some(Reason::NoFailover), |g| g.mode = None),
        (Condition::Maintenance, Some(Reason::InMaintenance), |g| g.maintenance = true),
        (Condition::OtherOperation, Some(Reason::OperationRunning), |g| g.other_operation = Some(OperationId(41))),
        (Condition::Incidents, None, |g| g.earlier_incident = Some(7)),
        (Condition::Unhealthy, None, |g| g.counter.failing = 2),
        (Condition::Candidate, Some(Reason::NotPromotable), |g| g.standbys.clear()),
        (Condition::LifeSeen, Some(Reason::LifeSeen), |g| g.proofs.push(finding("WAL arrives", "usw-db1"))),
    ];
    for (condition, reason, break_it) in table {
        let mut gate = Gate::new();
        break_it(&mut gate);
        let (by, why, headline) = closed(&gate);
        assert_eq!((by, why), (condition, reason));
        assert!(headline.starts_with("smellpin will not move away from us-east: "), "{headline}");
        assert_eq!(gate.ask().lines().len(), Condition::ALL.len(), "all are judged");
        let broken: Vec<Condition> = gate.ask().lines().iter().filter(|l| !l.holds).map(|l| l.condition).collect();
        assert_eq!(broken, [condition], "and no other one is");
    }
}

#[test]
fn an_operators_request_passes_what_only_holds_back_the_verdicts() {
    let mut gate = Gate::by_operator(Some("us-west"));
    gate.counter = Counter::default();
    gate.earlier_incident = Some(7);
    for mode in [Mode::Automatic, Mode::Assist, Mode::Observe] {
        gate.mode = Some(mode);
        assert_eq!(opens_to(&gate).as_deref(), Some("us-west"), "{mode:?}");
    }
    gate.mode = None;
    assert_eq!(closed(&gate).1, Some(Reason::NoFailover));
}

#[test]
fn whatever_refuses_an_operator_has_a_reason_on_the_wire() {
    type Break = fn(&mut Gate);
    let table: [(Reason, Break); 10] = [
        (Reason::OperationRunning, |g| g.other_operation = Some(OperationId(41))),
        (Reason::AlreadyActive, |g| g.asked_by = AskedBy::Operator { to: Some(region("us-east")) }),
        (Reason::UnknownRegion, |g| g.asked_by = AskedBy::Operator { to: Some(region("mars")) }),
        (Reason::HostAbsent, |g| g.database().live = false),
        (Reason::NotPromotable, |g| g.standbys[0].promotable = false),
        (Reason::NotPromotable, |g| g.database().seen = None),
        (Reason::NotPromotable, |g| g.database().followed = Some(false)),
        (Reason::NotPromotable, |g| g.database().seen = Some(crate::verdict::DatabaseSeen::default())),
        (Reason::NotPromotable, |g| {
            g.database().seen = Some(crate::verdict::DatabaseSeen { system: 8, ..follows(0x1000, false) });
            g.database().followed = Some(false);
        }),
        (Reason::LifeSeen, |g| g.own_life.push(finding("use-db1 took a write 0.2 s ago, it says", "use-db1"))),
    ];
    for (reason, break_it) in table {
        let mut gate = Gate::by_operator(Some("us-west"));
        break_it(&mut gate);
        let (_, why, headline) = closed(&gate);
        assert_eq!(why, Some(reason), "{headline}");
    }
}

#[test]
fn the_regions_own_word_refuses_an_operator_only_while_it_may_hold_a_lease() {
    let mut gate = Gate::by_operator(Some("us-west"));
    gate.own_life.push(finding("use-db1 took a write 0.2 s ago, it says", "use-db1"));
    assert_eq!(closed(&gate).0, Condition::LifeSeen);
    gate.lease_over = true;
    assert_eq!(opens_to(&gate).as_deref(), Some("us-west"));
    // The verdicts have weighed it already.
    gate.lease_over = false;
    gate.asked_by = AskedBy::Verdicts;
    assert_eq!(opens_to(&gate).as_deref(), Some("us-west"));
}

#[test]
fn a_source_that_this_coordinator_never_saw_does_not_close_the_gate() {
    let mut gate = Gate::new();
    (gate.database().followed, gate.database().source) = (None, None);
    let answer = gate.ask();
    assert!(matches!(answer, GateAnswer::Open { .. }));
    let lag = answer.lines().last().expect("the lag");
    assert_eq!(lag.text, "unknown: us-east was not seen since this coordinator watches");
}

#[test]
fn of_several_standbys_the_one_furthest_on_is_chosen_and_of_equals_the_first() {
    let mut gate = Gate::new();
    gate.standbys =
        vec![standby("us-west", "usw-db1", 100), standby("eu", "eu-db1", 200), standby("asia", "as-db1", 200)];
    assert_eq!(opens_to(&gate).as_deref(), Some("eu"));
    // A later timeline goes before any position.
    gate.standbys[0].databases.get_mut(&pg()).expect("one").seen.as_mut().expect("seen").timeline = 5;
    assert_eq!(opens_to(&gate).as_deref(), Some("us-west"));
    // One that cannot take over is none.
    gate.standbys[0].databases.get_mut(&pg()).expect("one").live = false;
    gate.standbys[1].promotable = false;
    assert_eq!(opens_to(&gate).as_deref(), Some("asia"));
    // An operator gets the one that was named, or a refusal, never another one.
    gate.asked_by = AskedBy::Operator { to: Some(region("eu")) };
    assert_eq!(closed(&gate).1, Some(Reason::NotPromotable));
}

#[test]
fn assist_and_observe_tell_and_hold_nothing() {
    for mode in [Mode::Assist, Mode::Observe] {
        let mut gate = Gate { mode: Some(mode), ..Gate::new() };
        let GateAnswer::Alert { headline, candidate, next, .. } = gate.ask() else {
            panic!("{mode:?} must only tell");
        };
        assert_eq!(
            headline,
            "smellpin: us-east is unhealthy (3 of 3 failing, us-east is silent for 38 s: use-db1, use-web1); \
             us-west is ready, 0 B behind"
        );
        assert_eq!(candidate, Some(region("us-west")));
        assert_eq!(next[0], "holdfast failover smellpin --to us-west");
        gate.database().live = false;
        let GateAnswer::Alert { headline, candidate, next, .. } = gate.ask() else {
            panic!("{mode:?} must only tell");
        };
        assert!(headline.ends_with("; it cannot move: usw-db1 (us-west) has no live session, last heard 400 ms ago"));
        assert_eq!((candidate, next), (None, vec!["holdfast why smellpin".to_owned()]));
        // Not unhealthy: nobody is told anything.
        gate.counter = Counter::default();
        assert!(matches!(gate.ask(), GateAnswer::Closed { .. }));
    }
}

#[test]
fn a_refusal_says_what_was_seen_and_what_to_type_next() {
    let mut gate = Gate::by_operator(Some("us-west"));
    gate.reasons = vec![finding("use-db1 is silent for 38 s", "use-db1")];
    gate.proofs = vec![finding("usw-db1 received WAL of us-east, seen 400 ms ago, now at 3A/945A1100", "usw-db1")];
    let GateAnswer::Closed { headline, seen, next, .. } = gate.ask() else {
        panic!("life was seen");
    };
    assert_eq!(headline, "smellpin will not move to us-west: us-east is still alive, and two regions must never write");
    assert_eq!(
        seen,
        ["usw-db1 received WAL of us-east, seen 400 ms ago, now at 3A/945A1100", "use-db1 is silent for 38 s"]
    );
    assert_eq!(next, ["ssh use-db1 systemctl status holdfast-agent", "holdfast why smellpin"]);

    let mut gate = Gate::by_operator(None);
    gate.other_operation = Some(OperationId(41));
    let GateAnswer::Closed { headline, next, .. } = gate.ask() else {
        panic!("an operation runs");
    };
    assert_eq!(headline, "smellpin will not move away from us-east: operation 41 is running");
    assert_eq!(next[0], "holdfast operations watch 41");
}

#[test]
fn maintenance_refuses_everybody_and_names_who_why_and_how_to_end_it() {
    for mut gate in [Gate::new(), Gate::by_operator(Some("us-west"))] {
        gate.maintenance = true;
        let GateAnswer::Closed { condition, headline, next, .. } = gate.ask() else {
            panic!("in maintenance");
        };
        assert_eq!(condition, Condition::Maintenance);
        let why = "the whole cluster is in maintenance until 2026-11-20 21:00 UTC (operator ada: new disks)";
        assert!(headline.ends_with(why), "{headline}");
        assert_eq!(next, ["holdfast maintenance off --all", "holdfast why smellpin"]);
    }
}

#[test]
fn the_lines_say_how_far_the_candidate_is() {
    let mut gate = Gate::new();
    gate.standbys = vec![standby("us-west", "usw-db1", 0x3A_945A_1100 - (41 << 20))];
    let texts: Vec<String> = gate.ask().lines().iter().map(|l| format!("{}: {}", l.condition, l.text)).collect();
    assert_eq!(
        texts,
        [
            "mode: automatic",
            "maintenance: off",
            "other operation: none is running",
            "incidents: none is open",
            "target: any standby region",
            "unhealthy: 3 of 3 failing",
            "candidate: us-west: pg on usw-db1 received 3A/91CA1100, timeline 4, seen 400 ms ago",
            "life seen: nothing proves that us-east serves writes",
            "lag: 41 MiB behind, us-east last seen at 3A/945A1100, 38 s ago",
        ]
    );
}

/// Promotable, live, seen, in recovery; followed; position.
type Drawn = ([bool; 4], Option<bool>, u64);

fn any_gate() -> impl Strategy<Value = Gate> {
    let mode = prop::sample::select(vec![None, Some(Mode::Automatic), Some(Mode::Assist), Some(Mode::Observe)]);
    let asked_by = prop::sample::select(vec![
        AskedBy::Verdicts,
        AskedBy::Operator { to: None },
        AskedBy::Operator { to: Some(region("us-west")) },
        AskedBy::Operator { to: Some(region("us-east")) },
        AskedBy::Operator { to: Some(region("mars")) },
    ]);
    let database = (any::<[bool; 4]>(), prop::option::of(any::<bool>()), 1u64..9);
    let standbys = prop::collection::vec(database, 0..3).prop_map(|each| {
        let names = [("us-west", "usw-db1"), ("eu", "eu-db1"), ("asia", "as-db1")];
        let make = |((flags, followed, lsn), (name, on)): (Drawn, (&str, &str))| {
            let [promotable, live, seen, recovery] = flags;
            let mut made = standby(name, on, lsn);
            made.promotable = promotable;
            let database = made.databases.get_mut(&pg()).expect("it has one");
            (database.live, database.followed) = (live, followed);
            database.seen = database.seen.filter(|_| seen).map(|mut seen| {
                seen.in_recovery = recovery;
                seen
            });
            made
        };
        each.into_iter().zip(names).map(make).collect::<Vec<_>>()
    });
    (mode, asked_by, (0u32..5, any::<bool>()), any::<[bool; 6]>(), standbys).prop_map(
        |(
            mode,
            asked_by,
            (failing, unhealthy),
            [proof, life, lease_over, maintenance, operation, incident],
            standbys,
        )| Gate {
            mode,
            asked_by,
            counter: Counter { failing, good: 0, unhealthy: unhealthy || failing >= 3 },
            proofs: proof.then(|| finding("WAL arrives", "usw-db1")).into_iter().collect(),
            own_life: life.then(|| finding("it takes writes", "use-db1")).into_iter().collect(),
            lease_over,
            standbys,
            maintenance,
            other_operation: operation.then_some(OperationId(41)),
            earlier_incident: incident.then_some(7),
            ..Gate::new()
        },
    )
}

proptest! {
    #[test]
    fn no_automatic_failover_without_a_full_run_a_candidate_and_the_mode(gate in any_gate()) {
        if let GateAnswer::Open { candidate, lines } = gate.ask() {
            prop_assert!(lines.iter().all(|line| line.holds));
            prop_assert!(gate.proofs.is_empty() && gate.other_operation.is_none() && !gate.maintenance);
            let taken = gate.standbys.iter().find(|s| s.region == candidate).expect("one of them");
            prop_assert!(taken.promotable && taken.databases.values().all(|d| d.live && d.followed != Some(false)));
            if gate.asked_by == AskedBy::Verdicts {
                prop_assert_eq!(gate.mode, Some(Mode::Automatic));
                prop_assert!(gate.counter.failing >= 3 && gate.earlier_incident.is_none());
            }
        }
    }

    #[test]
    fn the_same_question_has_the_same_answer_and_every_refusal_a_next_command(gate in any_gate()) {
        let answer = gate.ask();
        prop_assert_eq!(&answer, &gate.ask());
        let next = match answer {
            GateAnswer::Open { .. } => return Ok(()),
            GateAnswer::Closed { next, reason, condition, .. } => {
                // A refusal that an operator gets must have its page in the guide.
                let operator = gate.asked_by != AskedBy::Verdicts;
                prop_assert!(!operator || reason.is_some(), "{condition}");
                next
            }
            GateAnswer::Alert { next, .. } => next,
        };
        prop_assert!(!next.is_empty());
    }
}
