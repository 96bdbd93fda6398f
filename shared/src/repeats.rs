//! Events that may come a thousand times: the first is told at once, the others are counted and told once a minute.
//!
//! Whoever logs asks [`Repeats::told`] first. So a stranger who knocks all night, or a line that flaps, takes a line a
//! minute in a log, and what it says is how often.

use std::{collections::BTreeMap, sync::Mutex, time::Duration};

use holdfast_types::BootInstant;

/// How often the same event is told at most.
pub const TOLD_EVERY: Duration = Duration::from_mins(1);

/// Events that are told apart at once. With more of them the one that was told longest ago is forgotten with its count:
/// it is then told at once when it comes again.
const KEPT_MAX: usize = 1_024;

/// This time the event is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Told {
    /// How often it has happened since it was last told, this time included; nothing when it is new.
    pub times: Option<u64>,
}

/// Counts events by what they are. One for each place that logs.
#[derive(Debug)]
pub struct Repeats<K>(Mutex<BTreeMap<K, Kept>>);

#[derive(Debug)]
struct Kept {
    told_at: BootInstant,
    untold: u64,
}

impl<K> Default for Repeats<K> {
    fn default() -> Self {
        Self(Mutex::new(BTreeMap::new()))
    }
}

impl<K: Ord + Clone> Repeats<K> {
    /// Notes that it happened; answers when it is to be told now.
    pub fn told(&self, what: K, now: BootInstant) -> Option<Told> {
        let mut kept = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(known) = kept.get_mut(&what) {
            known.untold += 1;
            if now.since(known.told_at) < TOLD_EVERY {
                return None;
            }
            let times = Some(known.untold);
            *known = Kept { told_at: now, untold: 0 };
            return Some(Told { times });
        }
        if kept.len() >= KEPT_MAX {
            kept.retain(|_, known| now.since(known.told_at) < TOLD_EVERY);
        }
        if kept.len() >= KEPT_MAX {
            let oldest = kept.iter().min_by_key(|(_, known)| known.told_at).map(|(what, _)| what.clone());
            oldest.and_then(|oldest| kept.remove(&oldest));
        }
        kept.insert(what, Kept { told_at: now, untold: 0 });
        Some(Told { times: None })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NEW: Told = Told { times: None };

    fn at(millis: u64) -> BootInstant {
        BootInstant::from_boot(Duration::from_millis(millis))
    }

    #[test]
    fn the_first_is_told_at_once_and_the_others_once_a_minute_with_their_number() {
        let refused = Repeats::default();
        let told: Vec<_> = (0..200).filter_map(|n| Some((n, refused.told("refused", at(n * 1_000))?.times))).collect();
        assert_eq!(told, [(0, None), (60, Some(60)), (120, Some(60)), (180, Some(60))]);
        assert_eq!(refused.told("another", at(199_500)), Some(NEW), "another event is another line");
    }

    #[test]
    fn what_it_keeps_is_bounded_and_what_is_new_is_told() {
        let refused = Repeats::default();
        for n in 0..3 * KEPT_MAX as u64 {
            assert_eq!(refused.told(n, at(n)), Some(NEW));
            assert!(refused.0.lock().unwrap().len() <= KEPT_MAX);
        }
        let newest = 3 * KEPT_MAX as u64 - 1;
        assert_eq!(refused.told(newest, at(newest + 1)), None, "the ones told last are the ones still known");
    }
}
