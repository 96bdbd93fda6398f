//! Tables of single rules, and a model: the holder against the grantor's arithmetic, under any order of events.

use holdfast_types::lease::{LastGrant, over_at};
use proptest::prelude::*;

use super::*;

const SPAN: Duration = Duration::from_millis(3_000);

fn at(millis: u64) -> BootInstant {
    BootInstant::from_boot(Duration::from_millis(millis))
}

fn g(n: u64) -> Generation {
    Generation(n)
}

fn timings() -> Timings {
    Timings::new(SPAN, Duration::from_millis(1_000), Duration::from_millis(1_000))
}

fn wish(generation: u64) -> Wish {
    Wish {
        first: Generation(1),
        generation: g(generation),
        here: true,
        since: g(0),
        held: false,
        lease_ends: true,
        timings: Some(timings()),
        fences: true,
        allowed: true,
    }
}

fn fresh() -> Holder {
    Holder::start(Kept::default(), None, false, 0, at(0)).0
}

fn ask_of(effects: &[Effect]) -> Option<Ask> {
    effects.iter().find_map(|effect| match effect {
        Effect::Ask(ask) => Some(*ask),
        Effect::WriteRecord(_)
        | Effect::ClearRecord
        | Effect::Store(_)
        | Effect::Fence { .. }
        | Effect::Start { .. } => None,
    })
}

fn fences(effects: &[Effect]) -> bool {
    effects.iter().any(|effect| matches!(effect, Effect::Fence { .. }))
}

fn stores(effects: &[Effect], fact: Fact) -> bool {
    effects.contains(&Effect::Store(fact))
}

/// A holder of a lease of `generation` that ends, granted for a request sent at `sent`.
fn holding(generation: u64, sent: u64) -> Holder {
    let mut holder = fresh();
    let ask = ask_of(&holder.desired(wish(generation), at(sent))).expect("asks at once");
    let (taken, _) = holder.grant(ask.number, g(generation), Terms::Ends(SPAN), at(sent + 10));
    assert_eq!(taken, Taken::Yes);
    holder.stored(Fact::Held(g(generation)), at(sent + 11));
    holder
}

#[test]
fn the_deadline_counts_from_when_the_request_was_sent() {
    let mut holder = holding(1, 100);
    assert_eq!(holder.right(), Right::Ends { generation: g(1), deadline: at(3_100) });
    assert!(holder.allows(g(1), Duration::ZERO, at(3_099)));
    assert!(!holder.allows(g(1), Duration::ZERO, at(3_100)), "over at the deadline, noticed or not");
    assert!(!fences(&holder.tick(at(3_099))));
    let over = holder.tick(at(3_100));
    assert!(fences(&over) && stores(&over, Fact::Fenced(g(1))), "{over:?}");
    assert_eq!(holder.right(), Right::None);
}

#[test]
fn a_grant_of_an_unknown_number_or_an_old_or_fenced_generation_changes_nothing() {
    let mut holder = holding(2, 0);
    let ask = ask_of(&holder.ask_now(at(500))).expect("asks");
    let before = holder.right();
    let grant =
        |holder: &mut Holder, number, generation| holder.grant(number, generation, Terms::Ends(SPAN), at(600)).0;
    assert_eq!(grant(&mut holder, ask.number + 1, g(2)), Taken::UnknownNumber);
    assert_eq!(grant(&mut holder, ask.number, g(1)), Taken::OldGeneration);
    assert_eq!(holder.right(), before);
    holder.fence_ordered(g(3)).expect("not released");
    assert_eq!(grant(&mut holder, ask.number, g(3)), Taken::Fenced);
    assert_eq!(holder.right(), Right::None);
}

/// An app of this name was removed at generation 7 and is declared again.
fn declared_again(here: bool) -> Wish {
    Wish { first: g(8), since: g(8), here, ..wish(8) }
}

#[test]
fn an_app_that_is_declared_again_stops_no_writer_before_its_first_lease() {
    let kept = Kept { fenced: g(7), ..Kept::default() };
    let (mut holder, effects) = Holder::start(Kept { wish: Some(declared_again(true)), ..kept }, None, false, 0, at(0));
    assert!(!fences(&effects) && !holder.watches() && holder.stray_found().is_empty());
    // The standby's database must be one from the first moment on.
    let (standby, _) = Holder::start(Kept { wish: Some(declared_again(false)), ..kept }, None, false, 0, at(0));
    assert!(standby.watches());
    // A later generation is none that a look has found writing here.
    let moved = Wish { since: g(9), ..wish(9) };
    let (moved, _) = Holder::start(Kept { wish: Some(Wish { first: g(8), ..moved }), ..kept }, None, false, 0, at(0));
    assert!(moved.watches());
    // Nor would one that began below what is fenced here be taken up: that is why generations go on.
    let ask = ask_of(&holder.tick(at(1))).or_else(|| ask_of(&effects)).expect("asks");
    assert_eq!(holder.grant(ask.number, g(7), Terms::Ends(SPAN), at(2)).0, Taken::Fenced);
    assert_eq!(holder.grant(ask.number, g(8), Terms::Ends(SPAN), at(2)).0, Taken::Yes);
}

#[test]
fn what_was_declared_active_here_starts_again_by_itself_after_a_fence() {
    for first in [1, 8] {
        let here = Wish { first: g(first), since: g(first), ..wish(first) };
        let mut holder = fresh();
        let ask = ask_of(&holder.desired(here, at(0))).expect("asks");
        assert_eq!(holder.grant(ask.number, g(first), Terms::Ends(SPAN), at(1)).0, Taken::Yes);
        holder.stored(Fact::Held(g(first)), at(2));
        assert!(fences(&holder.tick(at(3_000))));
        holder.stored(Fact::Fenced(g(first)), at(3_001));
        holder.fence_finished(at(3_002));
        let next = Wish { generation: g(first + 1), ..here };
        let ask = ask_of(&holder.desired(next, at(3_100))).expect("asks");
        holder.grant(ask.number, g(first + 1), Terms::Ends(SPAN), at(3_101));
        let started = holder.stored(Fact::Held(g(first + 1)), at(3_102));
        assert!(started.contains(&Effect::Start { generation: g(first + 1) }), "first {first}: {started:?}");
    }
}

#[test]
fn a_late_grant_never_shortens_the_lease() {
    let mut holder = holding(1, 0);
    let first = ask_of(&holder.ask_now(at(100))).expect("asks");
    let second = ask_of(&holder.ask_now(at(900))).expect("asks");
    holder.grant(second.number, g(1), Terms::Ends(SPAN), at(1_000));
    holder.grant(first.number, g(1), Terms::Ends(SPAN), at(1_100));
    assert_eq!(holder.right(), Right::Ends { generation: g(1), deadline: at(3_900) });
    assert_eq!(holder.grant(second.number, g(1), Terms::Ends(SPAN), at(3_900)).0, Taken::Late);
}

#[test]
fn a_fence_is_told_only_once_it_is_durable() {
    let mut holder = holding(1, 0);
    holder.tick(at(3_000));
    let ask = ask_of(&holder.ask_now(at(3_010))).expect("asks");
    assert_eq!(ask.fenced, g(0));
    assert!(!holder.fence_confirmed(g(1)));
    let ask = ask_of(&holder.stored(Fact::Fenced(g(1)), at(3_020))).expect("asks at once");
    assert_eq!(ask.fenced, g(1));
    assert!(!holder.fence_confirmed(g(1)), "something is left");
    holder.fence_finished(at(3_030));
    assert!(holder.fence_confirmed(g(1)));
    assert_eq!(holder.state(at(3_030)), State::Fenced);
}

#[test]
fn a_lease_of_the_next_generation_starts_what_was_fenced_once_it_is_durable() {
    let mut holder = holding(1, 0);
    holder.tick(at(3_000));
    holder.stored(Fact::Fenced(g(1)), at(3_010));
    let ask = ask_of(&holder.desired(wish(2), at(3_100))).expect("asks");
    let (_, effects) = holder.grant(ask.number, g(2), Terms::Ends(SPAN), at(3_110));
    let start = Effect::Start { generation: g(2) };
    assert!(!effects.contains(&start), "the fence still runs");
    assert!(!holder.fence_finished(at(3_120)).contains(&start), "the lease is not durably known yet");
    assert!(holder.stored(Fact::Held(g(2)), at(3_130)).contains(&start));
    assert!(!holder.tick(at(3_140)).contains(&start), "once at a time");
    holder.start_ended(false, at(3_150));
    assert!(holder.tick(at(4_200)).contains(&start), "tried again");
    assert!(stores(&holder.start_ended(true, at(4_300)), Fact::Opened(g(2))));
}

#[test]
fn what_another_region_went_on_with_is_not_started_without_a_command() {
    let mut holder = holding(1, 0);
    holder.tick(at(3_000));
    holder.stored(Fact::Fenced(g(1)), at(3_010));
    holder.fence_finished(at(3_020));
    holder.desired(Wish { here: false, ..wish(2) }, at(3_100));
    let ask = ask_of(&holder.desired(wish(3), at(9_000))).expect("asks");
    let (taken, mut effects) = holder.grant(ask.number, g(3), Terms::Ends(SPAN), at(9_010));
    effects.extend(holder.stored(Fact::Held(g(3)), at(9_020)));
    assert_eq!(taken, Taken::Yes);
    assert!(!effects.contains(&Effect::Start { generation: g(3) }), "generation 2 was elsewhere");
    assert!(holder.allows(g(3), Duration::ZERO, at(9_030)), "a command may");
}

#[test]
fn a_restored_disk_that_believes_to_write_alone_is_fenced_when_the_app_is_elsewhere() {
    let kept = Kept { held: g(3), home: g(3), sole: Some(g(3)), wish: Some(wish(3)), ..Kept::default() };
    let mut holder = Holder::start(kept, None, true, 0, at(5)).0;
    assert!(!fences(&holder.moved_on(g(3))), "of its own generation");
    assert!(matches!(holder.right(), Right::Sole { .. }));
    assert!(fences(&holder.moved_on(g(4))));
    assert!(!holder.allows(g(3), Duration::ZERO, at(6)));
    assert!(holder.moved_on(g(5)).is_empty(), "nothing is left to lose");
}

#[test]
fn what_was_fenced_is_started_again_however_many_generations_of_this_region_were_missed() {
    let of = |generation, since| Wish { since: g(since), ..wish(generation) };
    for (since, starts) in [(1, true), (3, false), (0, false)] {
        let mut holder = holding(1, 0);
        holder.desired(of(1, since.min(1)), at(20));
        holder.tick(at(3_000));
        holder.stored(Fact::Fenced(g(1)), at(3_010));
        holder.fence_finished(at(3_020));
        // Generations 2 and 3 went by while nobody could tell; the region is active since `since`.
        let ask = ask_of(&holder.desired(of(4, since), at(9_000))).expect("asks");
        let (_, mut effects) = holder.grant(ask.number, g(4), Terms::Ends(SPAN), at(9_010));
        effects.extend(holder.stored(Fact::Held(g(4)), at(9_020)));
        assert_eq!(effects.contains(&Effect::Start { generation: g(4) }), starts, "since {since}");
    }
}

#[test]
fn a_held_app_or_one_that_moved_asks_no_more_and_keeps_its_lease_until_it_ends() {
    let mut holder = holding(1, 0);
    assert_eq!(ask_of(&holder.desired(Wish { held: true, ..wish(1) }, at(100))), None);
    assert_eq!(ask_of(&holder.ask_now(at(200))), None);
    assert_eq!(holder.next_wake(), Some(at(3_000)));
    assert!(holder.allows(g(1), Duration::ZERO, at(2_999)));
    // Committed elsewhere means: its lease was over, or its fence confirmed. Then it must not be live here.
    assert!(fences(&holder.desired(Wish { here: false, ..wish(2) }, at(300))));
}

#[test]
fn a_host_that_never_held_a_lease_stops_nothing_on_first_apply() {
    let mut holder = fresh();
    assert!(!holder.watches(), "never told of the app");
    holder.desired(wish(1), at(0));
    assert!(!holder.watches(), "the first lease is not here yet");
    let kept = Kept { wish: Some(wish(1)), ..Kept::default() };
    let (restarted, effects) = Holder::start(kept, None, false, 0, at(0));
    assert!(!fences(&effects) && !restarted.watches());
    let (standby, _) =
        Holder::start(Kept { wish: Some(Wish { here: false, ..wish(1) }), ..kept }, None, false, 0, at(0));
    assert!(standby.watches(), "a database of the other region may never accept writes");
}

#[test]
fn an_agent_that_starts_takes_over_a_live_record_and_fences_without_one() {
    let kept = Kept { wish: Some(wish(4)), held: g(4), fenced: g(3), ..Kept::default() };
    let record = |generation, end| Some(Record { generation: g(generation), until: Until::At(at(end)) });
    let start = |record| Holder::start(kept, record, false, 0, at(1_000));
    let (holder, effects) = start(record(4, 1_001));
    assert_eq!(holder.right(), Right::Ends { generation: g(4), deadline: at(1_001) });
    assert!(!fences(&effects));
    let without_end = Some(Record { generation: g(4), until: Until::Never });
    for worthless in [None, record(4, 1_000), record(3, 9_000), record(2, 9_000), without_end] {
        let (holder, effects) = start(worthless);
        assert_eq!(holder.right(), Right::None, "{worthless:?}");
        assert!(fences(&effects) && stores(&effects, Fact::Fenced(g(4))), "{worthless:?}: {effects:?}");
    }
}

#[test]
fn a_lease_without_end_survives_a_reboot_and_starts_its_writers() {
    let kept = Kept { wish: Some(wish(1)), held: g(1), home: g(1), sole: Some(g(1)), ..Kept::default() };
    let (holder, effects) = Holder::start(kept, None, true, 0, at(5));
    assert!(matches!(holder.right(), Right::Sole { .. }));
    assert!(effects.contains(&Effect::Start { generation: g(1) }));
    assert_eq!(holder.state(at(9_000_000)), State::Sole);
    let void = Kept { fenced: g(1), ..kept };
    assert_eq!(Holder::start(void, None, true, 0, at(5)).0.right(), Right::None, "fenced is fenced");
}

#[test]
fn a_lease_without_end_gets_one_only_after_a_fresh_grant_and_durably() {
    let mut holder = fresh();
    let open = Wish { lease_ends: false, ..wish(1) };
    let ask = ask_of(&holder.desired(open, at(0))).expect("asks");
    let (_, effects) = holder.grant(ask.number, g(1), Terms::Sole, at(10));
    assert!(stores(&effects, Fact::Sole(g(1))));
    holder.stored(Fact::Held(g(1)), at(11));
    holder.stored(Fact::Sole(g(1)), at(11));
    assert!(!fences(&holder.tick(at(100_000))), "nobody could take over");
    // Told after a long absence of every coordinator: the last grant is old, so nothing is given up yet.
    let effects = holder.desired(wish(1), at(100_100));
    let ask = ask_of(&effects).expect("asks at once");
    assert!(!ask.counts_end && !stores(&effects, Fact::SoleEnded(g(1))));
    let (_, effects) = holder.grant(ask.number, g(1), Terms::Ends(SPAN), at(100_110));
    assert!(stores(&effects, Fact::SoleEnded(g(1))), "{effects:?}");
    assert!(!ask_of(&holder.ask_now(at(100_120))).expect("asks").counts_end, "not durable yet");
    let ask = ask_of(&holder.stored(Fact::SoleEnded(g(1)), at(100_130))).expect("asks at once");
    assert!(ask.counts_end);
    assert_eq!(holder.right(), Right::Ends { generation: g(1), deadline: at(103_100) });
}

#[test]
fn a_sole_grant_is_not_taken_when_a_later_request_told_an_end() {
    let mut holder = holding(1, 0);
    let first = ask_of(&holder.ask_now(at(100))).expect("asks");
    let second = ask_of(&holder.ask_now(at(200))).expect("asks");
    assert!(first.counts_end && second.counts_end);
    holder.desired(Wish { lease_ends: false, ..wish(1) }, at(250));
    let third = ask_of(&holder.ask_now(at(260))).expect("asks");
    let (_, effects) = holder.grant(first.number, g(1), Terms::Sole, at(300));
    assert!(!stores(&effects, Fact::Sole(g(1))));
    let (_, effects) = holder.grant(third.number, g(1), Terms::Sole, at(310));
    assert!(stores(&effects, Fact::Sole(g(1))));
}

#[test]
fn apps_without_leases_or_with_fencing_off_are_never_fenced() {
    for quiet in [Wish { timings: None, ..wish(1) }, Wish { fences: false, ..wish(1) }] {
        let mut holder = holding(1, 0);
        assert!(!fences(&holder.desired(quiet, at(100))));
        assert!(!fences(&holder.tick(at(60_000))));
        assert!(!holder.watches());
        let kept = Kept { wish: Some(quiet), held: g(1), ..Kept::default() };
        assert!(!fences(&Holder::start(kept, None, true, 0, at(0)).1));
    }
}

#[test]
fn a_writer_that_is_not_allowed_gets_no_lease_and_no_start_and_is_fenced_all_the_same() {
    let barred = |generation| Wish { allowed: false, ..wish(generation) };
    let started = |effects: &[Effect]| effects.iter().any(|e| matches!(e, Effect::Start { .. }));
    // Its line went while the agent was down: the lease that lives is taken over, and not renewed.
    let kept = Kept { wish: Some(barred(1)), held: g(1), home: g(1), stopped: true, ..Kept::default() };
    let record = Record { generation: g(1), until: Until::At(at(2_000)) };
    let (mut holder, effects) = Holder::start(kept, Some(record), false, 0, at(0));
    assert!(ask_of(&effects).is_none() && !started(&effects), "{effects:?}");
    for effects in [holder.tick(at(1_000)), holder.ask_now(at(1_100)), holder.desired(barred(1), at(1_200))] {
        assert!(effects.is_empty(), "{effects:?}");
    }
    assert!(fences(&holder.tick(at(2_000))), "what ran under the lease is stopped when it ends");
    holder.fence_finished(at(2_100));
    assert!(holder.watches(), "and is not let run again");
    // The committed state moves on here: still nothing is asked for.
    assert!(ask_of(&holder.desired(barred(2), at(3_000))).is_none());
    assert_eq!(holder.next_wake(), None);
    // Allowed again, as after the line is back and the agent was started anew.
    assert!(ask_of(&holder.desired(wish(2), at(4_000))).is_some());
}

#[test]
fn a_released_host_fences_nothing_until_it_is_resumed() {
    let mut holder = holding(1, 0);
    assert!(stores(&holder.release(), Fact::Released(true)));
    assert!(!fences(&holder.tick(at(3_000))));
    assert_eq!(holder.fence_ordered(g(1)), Err(FencingReleased));
    assert!(!holder.watches());
    assert_eq!(holder.state(at(3_000)), State::Released);
    assert!(fences(&holder.resume(at(4_000))));
}

/// Everything outside the holder: its disk, `/run`, its writers, the network and the committed state.
#[derive(Debug)]
struct World {
    now: u64,
    holder: Holder,
    starts: u64,
    // the host
    kept: Kept,
    pending: Vec<Fact>,
    record: Option<Record>,
    writers: bool,
    fence_by: Option<u64>,
    start: Option<Generation>,
    token_seen: u64,
    // the network
    requests: Vec<Ask>,
    replies: Vec<(u64, Generation, Terms)>,
    told: Vec<(u64, Wish)>,
    // the committed state, and what the leader remembers
    token: u64,
    state: Wish,
    promotable: bool,
    hold_at: Option<u64>,
    last_reply: u64,
    elsewhere: Generation,
    /// Under which generation the writers here ran last.
    data: Generation,
    newest_request: u64,
}

#[derive(Debug, Clone)]
enum Step {
    Wait(u64),
    Request(usize, bool),
    Reply(usize, bool),
    Tell(usize),
    Lose,
    Store(usize),
    FenceDone,
    StartDone,
    AgentRestart,
    Reboot,
    Hold,
    Abort,
    MoveAway(bool),
    MoveBack,
    StandbyJoins,
    StandbyLost,
    OrderFence,
    Promote,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        12 => (1u64..1_500).prop_map(Step::Wait),
        14 => (any::<usize>(), prop::bool::weighted(0.1)).prop_map(|(i, again)| Step::Request(i, again)),
        14 => (any::<usize>(), prop::bool::weighted(0.1)).prop_map(|(i, again)| Step::Reply(i, again)),
        10 => any::<usize>().prop_map(Step::Tell),
        1 => Just(Step::Lose),
        10 => (1usize..4).prop_map(Step::Store),
        4 => Just(Step::FenceDone),
        4 => Just(Step::StartDone),
        2 => Just(Step::AgentRestart),
        1 => Just(Step::Reboot),
        2 => Just(Step::Hold),
        1 => Just(Step::Abort),
        3 => any::<bool>().prop_map(Step::MoveAway),
        2 => Just(Step::MoveBack),
        4 => Just(Step::StandbyJoins),
        1 => Just(Step::StandbyLost),
        1 => Just(Step::OrderFence),
        3 => Just(Step::Promote),
    ]
}

impl World {
    fn new() -> Self {
        let state = Wish { lease_ends: false, since: g(1), ..wish(1) };
        Self {
            now: 0,
            holder: fresh(),
            starts: 0,
            kept: Kept::default(),
            pending: Vec::new(),
            record: None,
            writers: true,
            fence_by: None,
            start: None,
            token_seen: 0,
            requests: Vec::new(),
            replies: Vec::new(),
            told: vec![(1, state)],
            token: 1,
            state,
            promotable: false,
            hold_at: None,
            last_reply: 0,
            elsewhere: g(0),
            data: g(1),
            newest_request: 0,
        }
    }

    fn carry_out(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Ask(ask) => self.requests.push(ask),
                Effect::WriteRecord(record) => self.record = Some(record),
                Effect::ClearRecord => self.record = None,
                Effect::Store(fact) => self.pending.push(fact),
                Effect::Fence { within, .. } => {
                    let by = self.now + u64::try_from(within.as_millis()).expect("small");
                    self.fence_by = Some(self.fence_by.map_or(by, |old| old.min(by)));
                }
                Effect::Start { generation } => {
                    assert!(self.elsewhere <= self.data, "would start what generation {} left behind", self.elsewhere);
                    self.start = Some(generation);
                }
            }
        }
    }

    fn store(&mut self) {
        if self.pending.is_empty() {
            return;
        }
        let fact = self.pending.remove(0);
        match fact {
            Fact::Held(generation) => self.kept.held = self.kept.held.max(generation),
            Fact::Fenced(generation) => {
                self.kept.fenced = self.kept.fenced.max(generation);
                self.kept.sole = self.kept.sole.filter(|sole| *sole > generation);
                self.kept.stopped = true;
            }
            Fact::Sole(generation) => self.kept.sole = Some(generation),
            Fact::SoleEnded(generation) => self.kept.sole = self.kept.sole.filter(|sole| *sole > generation),
            Fact::Home(generation) => self.kept.home = self.kept.home.max(generation),
            Fact::Opened(generation) => {
                self.kept.stopped = false;
                self.kept.home = self.kept.home.max(generation);
            }
            Fact::Released(released) => self.kept.released = released,
        }
        let effects = self.holder.stored(fact, at(self.now));
        self.carry_out(effects);
    }

    fn fence_done(&mut self) {
        if self.fence_by.take().is_some() {
            self.writers = false;
            let effects = self.holder.fence_finished(at(self.now));
            self.carry_out(effects);
        }
    }

    /// Time passes; timers fire exactly, and a fence takes as long as it may.
    fn wait(&mut self, millis: u64) {
        let end = self.now + millis;
        loop {
            let wake = self
                .holder
                .next_wake()
                .map_or(u64::MAX, |at| u64::try_from(at.since_boot().as_millis()).expect("small"));
            let next = wake.min(self.fence_by.unwrap_or(u64::MAX)).clamp(self.now, end);
            self.now = next;
            let effects = self.holder.tick(at(self.now));
            self.carry_out(effects);
            if self.fence_by.is_some_and(|by| by <= self.now) {
                self.fence_done();
            }
            if self.now >= end {
                return;
            }
            if wake > self.now && self.fence_by.is_none_or(|by| by > self.now) && next == self.now && next == end {
                return;
            }
        }
    }

    fn commit(&mut self, state: Wish) {
        self.token += 1;
        self.state = state;
        self.told.push((self.token, state));
        self.told.dedup();
    }

    fn restart(&mut self, booted: bool) {
        // What was not durable is lost, and so is a fence that was under way; the process it had not killed runs on.
        self.pending.clear();
        self.fence_by = None;
        self.start = None;
        self.starts += 1;
        if booted {
            self.record = None;
            self.writers = false;
        }
        let (holder, effects) = Holder::start(self.kept, self.record, booted, self.starts << 32, at(self.now));
        self.holder = holder;
        self.carry_out(effects);
    }

    /// The leader gets a request: takes its word, and answers.
    fn serve(&mut self, ask: Ask) {
        // Requests that come after a later one say nothing: their bearer may have changed its mind.
        if ask.number < self.newest_request {
            return;
        }
        self.newest_request = ask.number;
        if self.state.here && self.hold_at.is_none() && ask.fenced >= self.state.generation {
            self.promotable = false;
            self.commit(Wish { generation: self.state.generation.next(), ..self.state });
        }
        if !self.state.here || self.hold_at.is_some() {
            return;
        }
        if ask.counts_end && ask.generation == self.state.generation && self.state.lease_ends {
            self.promotable = true;
        }
        let terms = if self.state.lease_ends { Terms::Ends(SPAN) } else { Terms::Sole };
        self.last_reply = self.now;
        self.replies.push((ask.number, self.state.generation, terms));
    }

    fn take(&mut self, step: Step) {
        match step {
            Step::Wait(millis) => self.wait(millis),
            Step::Request(index, again) => {
                if !self.requests.is_empty() {
                    let index = index % self.requests.len();
                    let ask = if again { self.requests[index] } else { self.requests.remove(index) };
                    self.serve(ask);
                }
            }
            Step::Reply(index, again) => {
                if !self.replies.is_empty() {
                    let index = index % self.replies.len();
                    let reply = if again { self.replies[index] } else { self.replies.remove(index) };
                    let (taken, effects) = self.holder.grant(reply.0, reply.1, reply.2, at(self.now));
                    assert!(taken == Taken::Yes || effects.is_empty());
                    self.carry_out(effects);
                }
            }
            Step::Tell(index) => {
                if !self.told.is_empty() {
                    let (token, wish) = self.told.remove(index % self.told.len());
                    if token >= self.token_seen {
                        self.token_seen = token;
                        self.kept.wish = Some(wish);
                        let effects = self.holder.desired(wish, at(self.now));
                        self.carry_out(effects);
                    }
                }
            }
            Step::Lose => {
                self.requests.clear();
                self.replies.clear();
            }
            Step::Store(count) => (0..count).for_each(|_| self.store()),
            Step::FenceDone => self.fence_done(),
            Step::StartDone => {
                if let Some(generation) = self.start.take() {
                    // What opens a writer looks at the lease in the same breath.
                    let open = self.holder.allows(generation, Duration::ZERO, at(self.now));
                    self.writers |= open;
                    let effects = self.holder.start_ended(open, at(self.now));
                    self.carry_out(effects);
                }
            }
            Step::Promote => {
                if self.state.here && self.holder.allows(self.state.generation, Duration::ZERO, at(self.now)) {
                    self.writers = true;
                    let effects = self.holder.opened();
                    self.carry_out(effects);
                }
            }
            Step::AgentRestart => self.restart(false),
            Step::Reboot => self.restart(true),
            Step::Hold => {
                if self.state.here && self.promotable && self.hold_at.is_none() {
                    self.hold_at = Some(self.now);
                    self.commit(Wish { held: true, ..self.state });
                }
            }
            Step::Abort => {
                if self.hold_at.take().is_some() {
                    self.promotable = false;
                    self.commit(Wish { held: false, generation: self.state.generation.next(), ..self.state });
                }
            }
            Step::MoveAway(new_leader) => self.move_away(new_leader),
            Step::MoveBack => {
                // As after a rejoin and a switchover: what ran there is stopped first.
                if !self.state.here {
                    self.commit(Wish {
                        here: true,
                        since: self.state.generation.next(),
                        generation: self.state.generation.next(),
                        lease_ends: true,
                        ..self.state
                    });
                }
            }
            Step::StandbyJoins => {
                if self.state.here && !self.state.lease_ends {
                    self.commit(Wish { lease_ends: true, ..self.state });
                }
            }
            Step::StandbyLost => {
                if self.state.here && self.hold_at.is_none() {
                    self.promotable = false;
                    self.commit(Wish { lease_ends: false, ..self.state });
                }
            }
            Step::OrderFence => {
                if self.hold_at.is_some() {
                    let effects = self.holder.fence_ordered(self.state.generation).expect("not released");
                    self.carry_out(effects);
                }
            }
        }
    }

    fn move_away(&mut self, new_leader: bool) {
        let Some(hold) = self.hold_at else { return };
        let last = if new_leader { LastGrant::NotAllMine } else { LastGrant::Mine(at(self.last_reply)) };
        let over = over_at(at(hold), last, &timings()) <= at(self.now);
        if over || self.holder.fence_confirmed(self.state.generation) {
            self.hold_at = None;
            self.promotable = false;
            self.elsewhere = self.state.generation.next();
            self.commit(Wish {
                held: false,
                here: false,
                since: self.elsewhere,
                generation: self.elsewhere,
                ..self.state
            });
        }
    }

    fn check(&mut self) {
        if self.writers {
            self.data = self.data.max(self.holder.right().generation());
        }
        // The promise: never two regions with writers.
        assert!(self.state.here || !self.writers, "writers here, and generation {} elsewhere", self.elsewhere);
        if self.promotable {
            assert!(!matches!(self.holder.right(), Right::Sole { .. }), "sole, while another region is promotable");
            assert!(self.kept.sole.is_none_or(|sole| sole <= self.kept.fenced), "sole on disk, while promotable");
            assert!(!self.pending.iter().any(|fact| matches!(fact, Fact::Sole(_))), "sole under way, while promotable");
        }
        if let Some(asked) = self.holder.asked.last_key_value()
            && let Right::Ends { deadline, .. } = self.holder.right()
        {
            assert!(deadline <= at(self.now) + SPAN, "{deadline:?} is further than any request plus lease ({asked:?})");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    /// Any delay, loss, repetition and order of messages, slow disks, restarts, reboots, holds, aborts and moves.
    #[test]
    fn two_regions_never_run_writers_and_nobody_holds_without_end_while_another_could_take_over(
        steps in proptest::collection::vec(step(), 1..160),
    ) {
        let mut world = World::new();
        for step in steps {
            world.take(step);
            world.check();
        }
    }

    /// After all the faults: once messages flow and the disk writes, the region that is committed holds a lease.
    #[test]
    fn when_everything_works_again_the_committed_region_holds_a_lease(
        steps in proptest::collection::vec(step(), 1..100),
    ) {
        let mut world = World::new();
        for step in steps {
            world.take(step);
        }
        if world.hold_at.take().is_some() {
            world.commit(Wish { held: false, generation: world.state.generation.next(), ..world.state });
        }
        if !world.state.here {
            return Ok(());
        }
        for _ in 0..40 {
            while !world.told.is_empty() { world.take(Step::Tell(0)); }
            world.take(Step::Store(9));
            world.take(Step::FenceDone);
            while !world.requests.is_empty() { world.take(Step::Request(0, false)); }
            while !world.replies.is_empty() { world.take(Step::Reply(0, false)); }
            world.take(Step::Store(9));
            world.take(Step::StartDone);
            world.take(Step::Wait(300));
            world.check();
        }
        let generation = world.state.generation;
        prop_assert!(world.holder.allows(generation, Duration::ZERO, at(world.now)), "{world:?}");
        prop_assert_eq!(world.promotable, world.state.lease_ends, "{:?}", world);
        // What wrote here since this region is active is the newest there is: nobody has to come and start it.
        if world.data >= world.state.since {
            prop_assert!(!world.holder.stopped(), "left stopped: {world:?}");
        }
    }
}
