//! How much room a daemon needs on the disk of its state, and what follows from how much there is. Pure arithmetic.

/// Sizes in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Kept in a file, for what must still be written when nothing else is left.
    pub reserve: u64,
    /// With less free than this, beside the reserve, new work is refused.
    pub short_below: u64,
    /// And taken again from here on: some more, so that it does not change with every write.
    pub again_from: u64,
    /// With less free than this the reserve is given up, before a write fails for want of room.
    pub give_below: u64,
}

const MIB: u64 = 1 << 20;

/// A coordinator: a failover is some dozens of entries of a few kilobytes; SQLite's log grows to a few MiB before it is
/// folded in.
pub const COORDINATOR: Limits =
    Limits { reserve: 32 * MIB, short_below: 32 * MIB, again_from: 40 * MIB, give_below: 8 * MIB };
/// An agent: a journal of small rows.
pub const AGENT: Limits = Limits { reserve: 8 * MIB, short_below: 8 * MIB, again_from: 12 * MIB, give_below: 4 * MIB };

/// What is to be done with the reserve.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tend {
    /// It stays as it is.
    Leave,
    /// It is given up.
    Give,
    /// It is taken up again.
    Hold,
}

impl Limits {
    /// Whether new work is refused, with so much free. A reserve that was given up counts as not free: what it is for
    /// may still need it.
    #[must_use]
    pub const fn is_short(&self, was_short: bool, held: bool, free: u64) -> bool {
        let free = if held { free } else { free.saturating_sub(self.reserve) };
        free < if was_short { self.again_from } else { self.short_below }
    }

    /// What is done with the reserve, before a write, with so much free.
    #[must_use]
    pub const fn tend(&self, held: bool, free: u64) -> Tend {
        if held && free < self.give_below {
            Tend::Give
        } else if !held && free >= self.again_from + self.reserve {
            Tend::Hold
        } else {
            Tend::Leave
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn new_work_is_refused_before_the_reserve_is_needed_and_taken_again_when_there_is_room() {
        let l = COORDINATOR;
        assert!(l.short_below > l.give_below, "refused first");
        assert!(!l.is_short(false, true, 32 * MIB));
        assert!(l.is_short(false, true, 32 * MIB - 1));
        assert!(l.is_short(true, true, 40 * MIB - 1), "not at the same moment");
        assert!(!l.is_short(true, true, 40 * MIB));
        assert!(l.is_short(true, false, 71 * MIB), "the reserve itself is no room for new work");
        assert!(!l.is_short(true, false, 72 * MIB));
        assert!(l.is_short(false, false, 0));
    }

    #[test]
    fn the_reserve_is_given_up_before_a_write_would_fail_and_taken_up_when_new_work_is() {
        for l in [COORDINATOR, AGENT] {
            assert_eq!(l.tend(true, l.give_below), Tend::Leave);
            assert_eq!(l.tend(true, l.give_below - 1), Tend::Give);
            assert_eq!(l.tend(false, 0), Tend::Leave);
            let enough = l.again_from + l.reserve;
            assert_eq!((l.tend(false, enough - 1), l.tend(false, enough)), (Tend::Leave, Tend::Hold));
            assert!(!l.is_short(true, false, enough) && l.is_short(true, false, enough - 1));
            assert!(l.give_below < l.reserve, "what is given up is worth it");
        }
    }
}
