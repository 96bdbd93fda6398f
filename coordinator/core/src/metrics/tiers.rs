//! Which resolution is kept for how long, what is rolled up when, and what goes first when there is no room.
//!
//! ```text
//!   10 s ──minute──▶ fine, a row a minute ──10 min──▶ middle, a row for 10 min ──2 h──▶ coarse, a row for 2 h
//!                    a day                            two weeks                        a year
//! ```
//! Each resolution has a share of the room. When all of it is used, the one that is furthest over its share loses its
//! oldest rows: so an hour ago can be seen in every detail, and last summer at all, on a disk however small.

use super::block::{Block, NoBlock};

/// Seconds after the end of a stretch of time until it is rolled up: what is under way is written by then.
const SETTLED_AFTER: i64 = 90;

/// A resolution.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Tier {
    /// Each measurement.
    Fine,
    /// A minute.
    Middle,
    /// Ten minutes.
    Coarse,
}

impl Tier {
    /// From the finest on.
    pub const ALL: [Self; 3] = [Self::Fine, Self::Middle, Self::Coarse];

    /// The number in files.
    #[must_use]
    pub const fn number(self) -> u8 {
        match self {
            Self::Fine => 0,
            Self::Middle => 1,
            Self::Coarse => 2,
        }
    }

    /// Seconds of a step.
    #[must_use]
    pub const fn step(self) -> u32 {
        match self {
            Self::Fine => 10,
            Self::Middle => 60,
            Self::Coarse => 600,
        }
    }

    /// Steps of a row.
    #[must_use]
    pub const fn steps(self) -> usize {
        match self {
            Self::Fine => 6,
            Self::Middle => 10,
            Self::Coarse => 12,
        }
    }

    /// Seconds of a row.
    #[must_use]
    pub const fn row(self) -> i64 {
        match self {
            Self::Fine => 60,
            Self::Middle => 600,
            Self::Coarse => 7_200,
        }
    }

    /// Seconds for which it is kept.
    #[must_use]
    pub const fn keep(self) -> i64 {
        const DAY: i64 = 86_400;
        match self {
            Self::Fine => DAY,
            Self::Middle => 14 * DAY,
            Self::Coarse => 365 * DAY,
        }
    }

    /// Its share of the room, in hundredths.
    #[must_use]
    pub const fn share(self) -> u64 {
        match self {
            Self::Fine => 30,
            Self::Middle | Self::Coarse => 35,
        }
    }

    /// Every cell is of one measurement.
    #[must_use]
    pub const fn is_single(self) -> bool {
        matches!(self, Self::Fine)
    }

    /// What it is rolled up into.
    #[must_use]
    pub const fn coarser(self) -> Option<Self> {
        match self {
            Self::Fine => Some(Self::Middle),
            Self::Middle => Some(Self::Coarse),
            Self::Coarse => None,
        }
    }

    /// Where the row of a moment begins.
    #[must_use]
    pub const fn row_of(self, at: i64) -> i64 {
        at - at.rem_euclid(self.row())
    }

    /// An empty row.
    #[must_use]
    pub fn block(self, row: i64) -> Block {
        Block::new(row, self.step(), self.steps())
    }

    /// A row from its bytes.
    ///
    /// # Errors
    /// [`NoBlock`].
    pub fn read(self, row: i64, layout: &[u8], data: &[u8]) -> Result<Block, NoBlock> {
        Block::read(row, self.step(), self.steps(), self.is_single(), layout, data)
    }
}

/// One row of a coarser resolution, of the finer rows within it.
#[must_use]
pub fn roll(into: Tier, row: i64, finer: &[Block]) -> Block {
    let mut block = into.block(row);
    for one in finer {
        block.merge(one);
    }
    block
}

/// The next row that is to be rolled up, if its time has come. `until`: up to where it was done; `oldest`: the oldest
/// finer row from there on.
#[must_use]
pub fn due(into: Tier, until: i64, oldest: Option<i64>, now: i64) -> Option<i64> {
    let row = into.row_of(until.max(oldest?));
    (row + into.row() + SETTLED_AFTER <= now).then_some(row)
}

/// The row before which nothing of a resolution is kept.
#[must_use]
pub const fn kept_from(tier: Tier, now: i64) -> i64 {
    tier.row_of(now - tier.keep())
}

/// Which resolution must give up its oldest row; none while there is room. `bytes` by resolution.
#[must_use]
pub fn evict(bytes: [(Tier, u64); 3], used: u64, room: u64) -> Option<Tier> {
    if used <= room {
        return None;
    }
    let over = |(tier, bytes): &(Tier, u64)| u128::from(*bytes) * 1_000 / u128::from(tier.share());
    bytes.iter().filter(|(_, bytes)| *bytes > 0).max_by_key(|one| over(one)).map(|(tier, _)| *tier)
}

/// What there is of a resolution, in seconds since the Unix epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kept {
    /// The oldest row.
    pub oldest: i64,
    /// Up to where it is complete.
    pub until: i64,
}

/// From where to read what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Part {
    /// The resolution.
    pub tier: Tier,
    /// From here on.
    pub from: i64,
    /// To here.
    pub until: i64,
}

/// How to read a span: by the resolution that suits a step of so many seconds, before its time by coarser ones, and what
/// is not rolled up yet by finer ones. `kept` by resolution, from the finest on.
#[must_use]
pub fn plan(from: i64, until: i64, step: u32, kept: [Option<Kept>; 3]) -> Vec<Part> {
    let suits = |tier: &Tier| tier.step() <= step.max(Tier::Fine.step()) && kept_of(kept, *tier).is_some();
    let base = Tier::ALL.into_iter().rev().find(suits).unwrap_or(Tier::Fine);
    let mut parts = Vec::new();
    let mut end = until;
    // Backwards from now: finer ones as far as the next coarser is not complete, the base and coarser ones to their ends.
    for tier in Tier::ALL {
        let Some(here) = kept_of(kept, tier) else { continue };
        let begin = match tier.coarser().and_then(|coarser| kept_of(kept, coarser)) {
            Some(coarser) if tier < base => coarser.until.max(here.oldest),
            Some(_) | None => here.oldest,
        };
        let begin = begin.max(from);
        if begin < end {
            parts.push(Part { tier, from: begin, until: end });
            end = begin;
        }
    }
    parts.reverse();
    parts
}

fn kept_of(kept: [Option<Kept>; 3], tier: Tier) -> Option<Kept> {
    kept.get(usize::from(tier.number())).copied().flatten()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HOUR: i64 = 3_600;

    #[test]
    fn rows_are_whole_and_fit_into_each_other() {
        for tier in Tier::ALL {
            assert_eq!(tier.row(), i64::from(tier.step()) * i64::try_from(tier.steps()).expect("few"));
            if let Some(coarser) = tier.coarser() {
                assert_eq!(coarser.row() % tier.row(), 0);
                assert_eq!(i64::from(coarser.step()) % i64::from(tier.step()), 0);
                assert!(coarser.keep() > tier.keep() && tier.keep() > coarser.row() + SETTLED_AFTER);
            }
        }
        assert_eq!(Tier::ALL.iter().map(|tier| tier.share()).sum::<u64>(), 100);
        assert_eq!(Tier::Coarse.row_of(-1), -7_200);
    }

    #[test]
    fn a_row_is_rolled_up_once_it_is_settled_and_a_gap_is_skipped() {
        assert_eq!(due(Tier::Middle, 0, None, 10 * HOUR), None, "nothing to roll up");
        assert_eq!(due(Tier::Middle, 600, Some(600), 1_200 + SETTLED_AFTER - 1), None);
        assert_eq!(due(Tier::Middle, 600, Some(600), 1_200 + SETTLED_AFTER), Some(600));
        assert_eq!(due(Tier::Middle, 600, Some(100 * HOUR + 60), 200 * HOUR), Some(100 * HOUR));
    }

    #[test]
    fn the_resolution_furthest_over_its_share_goes_first() {
        let bytes = |fine, middle, coarse| [(Tier::Fine, fine), (Tier::Middle, middle), (Tier::Coarse, coarse)];
        assert_eq!(evict(bytes(30, 35, 35), 100, 100), None);
        assert_eq!(evict(bytes(31, 35, 35), 101, 100), Some(Tier::Fine));
        assert_eq!(evict(bytes(30, 36, 35), 101, 100), Some(Tier::Middle));
        assert_eq!(evict(bytes(0, 0, 7), 101, 100), Some(Tier::Coarse));
        assert_eq!(evict(bytes(0, 0, 0), 101, 100), None, "there is nothing to give");
    }

    #[test]
    fn an_hour_is_read_in_every_detail_and_a_month_is_not() {
        let now = 1_000 * HOUR;
        let kept = [
            Some(Kept { oldest: now - 24 * HOUR, until: now }),
            Some(Kept { oldest: now - 300 * HOUR, until: now - 600 }),
            Some(Kept { oldest: 0, until: now - 2 * HOUR }),
        ];
        let part = |tier, from, until| Part { tier, from, until };
        assert_eq!(plan(now - HOUR, now, 10, kept), [part(Tier::Fine, now - HOUR, now)]);
        let day = plan(now - 20 * HOUR, now, 1_200, kept);
        let expected = [
            part(Tier::Coarse, now - 20 * HOUR, now - 2 * HOUR),
            part(Tier::Middle, now - 2 * HOUR, now - 600),
            part(Tier::Fine, now - 600, now),
        ];
        assert_eq!(day, expected);
        // Wanted in detail, but the detail is gone.
        let month = plan(now - 700 * HOUR, now, 10, kept);
        let expected = [
            part(Tier::Coarse, now - 700 * HOUR, now - 300 * HOUR),
            part(Tier::Middle, now - 300 * HOUR, now - 24 * HOUR),
            part(Tier::Fine, now - 24 * HOUR, now),
        ];
        assert_eq!(month, expected);
        assert_eq!(plan(now - HOUR, now, 10, [None; 3]), []);
    }

    proptest! {
        #[test]
        fn the_parts_of_a_plan_follow_each_other(
            from in 0..900 * HOUR,
            span in 1..900 * HOUR,
            step in 1..10_000_u32,
            oldest in prop::array::uniform3(prop::option::of(0..1_000 * HOUR)),
            length in prop::array::uniform3(0..1_000 * HOUR),
        ) {
            let kept = |n: usize| oldest[n].map(|oldest| Kept { oldest, until: oldest + length[n] });
            let until = from + span;
            let parts = plan(from, until, step, [kept(0), kept(1), kept(2)]);
            prop_assert!(parts.iter().all(|part| part.from < part.until && part.from >= from && part.until <= until));
            prop_assert!(parts.windows(2).all(|two| two[0].until <= two[1].from && two[0].tier > two[1].tier));
        }

        #[test]
        fn evicting_ends_within_the_room(fine in 0..50_u64, middle in 0..50_u64, coarse in 0..50_u64, room in 0..150_u64) {
            let mut bytes = [(Tier::Fine, fine), (Tier::Middle, middle), (Tier::Coarse, coarse)];
            let used = |bytes: &[(Tier, u64); 3]| bytes.iter().map(|(_, bytes)| bytes).sum::<u64>();
            while let Some(tier) = evict(bytes, used(&bytes), room) {
                let one = bytes.iter_mut().find(|(of, _)| *of == tier).expect("all are there");
                prop_assert!(one.1 > 0);
                one.1 -= 1;
            }
            prop_assert!(used(&bytes) <= room);
            // Nobody within its share gave anything while another was over its own.
            for (tier, left) in bytes {
                let before = match tier { Tier::Fine => fine, Tier::Middle => middle, Tier::Coarse => coarse };
                prop_assert!(left == before || left * 100 + 100 >= room * tier.share() || used(&bytes) == room);
            }
        }
    }
}
