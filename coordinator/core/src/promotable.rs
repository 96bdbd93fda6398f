//! Which regions could take over: those whose databases follow, and for a while those that have just ceased to.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use holdfast_types::{BootInstant, RegionName};

/// Since when each promotable region has not followed.
#[derive(Debug, Clone, Default)]
pub struct Absences {
    since: BTreeMap<RegionName, BootInstant>,
}

impl Absences {
    /// The regions to be committed as promotable, or `None`: nothing can be said now.
    ///
    /// While nothing is written in the active region, a standby that does not follow says nothing against the standby.
    /// Whatever else ails the active region is no excuse: what is written meanwhile would be lost.
    pub fn wanted(
        &mut self,
        writes: bool,
        follows: &BTreeMap<RegionName, bool>,
        promotable: &BTreeSet<RegionName>,
        patience: Duration,
        now: BootInstant,
    ) -> Option<BTreeSet<RegionName>> {
        if !writes {
            self.since.clear();
            return None;
        }
        let mut wanted = BTreeSet::new();
        for (region, follows) in follows {
            if *follows {
                self.since.remove(region);
                wanted.insert(region.clone());
            } else if promotable.contains(region) {
                let since = *self.since.entry(region.clone()).or_insert(now);
                if now.since(since) < patience {
                    wanted.insert(region.clone());
                }
            }
        }
        Some(wanted)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verdict::fixture::region;

    const PATIENCE: Duration = Duration::from_secs(10);

    fn at(seconds: u64) -> BootInstant {
        BootInstant::from_boot(Duration::from_secs(seconds))
    }

    fn set(names: &[&str]) -> BTreeSet<RegionName> {
        names.iter().map(|name| region(name)).collect()
    }

    fn west(follows: bool) -> BTreeMap<RegionName, bool> {
        BTreeMap::from([(region("us-west"), follows)])
    }

    #[test]
    fn a_standby_that_ceases_to_follow_what_is_written_is_given_up_after_a_while() {
        let (mut absences, is) = (Absences::default(), set(&["us-west"]));
        let mut look = |follows, seconds| absences.wanted(true, &west(follows), &is, PATIENCE, at(seconds));
        assert_eq!(look(true, 0), Some(is.clone()));
        assert_eq!(look(false, 1), Some(is.clone()));
        assert_eq!(look(false, 10), Some(is.clone()));
        assert_eq!(look(false, 11), Some(set(&[])));
        assert_eq!(look(true, 12), Some(is.clone()), "at once when it follows again");
        assert_eq!(look(false, 13), Some(is.clone()), "and the while begins anew");
    }

    #[test]
    fn while_nothing_is_written_nothing_is_said_and_no_time_counts() {
        let (mut absences, is) = (Absences::default(), set(&["us-west"]));
        assert_eq!(absences.wanted(true, &west(false), &is, PATIENCE, at(0)), Some(is.clone()));
        assert_eq!(absences.wanted(false, &west(false), &is, PATIENCE, at(60)), None);
        assert_eq!(absences.wanted(true, &west(false), &is, PATIENCE, at(61)), Some(is));
    }

    #[test]
    fn a_standby_that_was_none_becomes_one_only_by_following() {
        let mut absences = Absences::default();
        assert_eq!(absences.wanted(true, &west(false), &set(&[]), PATIENCE, at(0)), Some(set(&[])));
        assert_eq!(absences.wanted(true, &west(true), &set(&[]), PATIENCE, at(1)), Some(set(&["us-west"])));
    }
}
