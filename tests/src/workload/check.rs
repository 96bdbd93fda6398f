//! The judgement over acknowledged writes: pure functions, so that a test can show that each of them does fail.

use std::{collections::BTreeMap, time::Duration};

use anyhow::Result;
use holdfast_types::BootInstant;

use super::ledger::{Ack, Database};

/// An acknowledgement by an older activation after a newer one had acknowledged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Overlap {
    /// The write that should not have been acknowledged any more.
    pub late: Ack,
    /// The first acknowledged write of the newer activation.
    pub newer: Ack,
}

impl Overlap {
    /// The late write was even sent after the newer activation had acknowledged: no delay between database and writer
    /// explains it.
    #[must_use]
    pub fn beyond_doubt(&self) -> bool {
        self.late.sent > self.newer.acked
    }
}

/// The first acknowledged write of each activation, oldest activation first: by timeline, and by first acknowledgement
/// where two databases share one.
fn activations(acks: &[Ack]) -> Vec<&Ack> {
    let mut firsts = BTreeMap::<&Database, &Ack>::new();
    for ack in acks {
        firsts
            .entry(&ack.database)
            .and_modify(|first| {
                if ack.acked < first.acked {
                    *first = ack
                }
            })
            .or_insert(ack);
    }
    let mut firsts: Vec<&Ack> = firsts.into_values().collect();
    firsts.sort_by_key(|first| (first.database.timeline, first.acked));
    firsts
}

/// Every write acknowledged by an older activation after a newer one's first. Empty is the promise.
#[must_use]
pub fn overlaps(acks: &[Ack]) -> Vec<Overlap> {
    let activations = activations(acks);
    let rank: BTreeMap<&Database, usize> = activations.iter().enumerate().map(|(i, a)| (&a.database, i)).collect();
    let overlap = |ack: &Ack| {
        // The earliest of all newer ones decides.
        let newer = activations[rank[&ack.database] + 1..].iter().min_by_key(|newer| newer.acked)?;
        (ack.acked > newer.acked).then(|| Overlap { late: ack.clone(), newer: (*newer).clone() })
    };
    acks.iter().filter_map(overlap).collect()
}

/// The acknowledged writes that `survives` does not find.
///
/// # Errors
/// When it cannot tell.
pub fn lost(acks: &[Ack], mut survives: impl FnMut(&Ack) -> Result<bool>) -> Result<Vec<Ack>> {
    let mut lost = Vec::new();
    for ack in acks {
        if !survives(ack)? {
            lost.push(ack.clone());
        }
    }
    Ok(lost)
}

/// Time from the cut (or kill) to the first acknowledged write of another activation than the one that served before it:
/// `rto_measured` as a client sees it. `None`: there was none, writes have not come back.
#[must_use]
pub fn rto(cut_at: BootInstant, acks: &[Ack]) -> Option<Duration> {
    let before = acks.iter().filter(|ack| ack.acked <= cut_at).max_by_key(|ack| ack.acked)?;
    let after = acks.iter().filter(|ack| ack.acked > cut_at && ack.database != before.database);
    after.map(|ack| ack.acked.since(cut_at)).min()
}

/// The longest time between two acknowledged writes that follow each other: what a planned move costs.
#[must_use]
pub fn longest_gap(acks: &[Ack]) -> Duration {
    let mut instants: Vec<BootInstant> = acks.iter().map(|ack| ack.acked).collect();
    instants.sort();
    instants.windows(2).map(|pair| pair[1].since(pair[0])).max().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ack(server: &str, timeline: u32, sent: u64, acked: u64) -> Ack {
        let at = |millis| BootInstant::from_boot(Duration::from_millis(millis));
        Ack {
            writer: "w".into(),
            sequence: sent,
            sent: at(sent),
            acked: at(acked),
            through: "p".into(),
            database: Database { timeline, server: server.to_owned() },
        }
    }

    #[test]
    fn activations_one_after_the_other_do_not_overlap() {
        let acks = [ack("east", 1, 0, 2), ack("east", 1, 3, 5), ack("west", 2, 6, 8), ack("east", 3, 9, 11)];
        assert_eq!(overlaps(&acks), []);
    }

    #[test]
    fn a_write_by_the_older_activation_after_the_newer_ones_first_is_an_overlap() {
        let acks = [ack("east", 1, 0, 2), ack("west", 2, 3, 5), ack("east", 1, 7, 9), ack("west", 2, 8, 10)];
        let found = overlaps(&acks);
        assert_eq!(found.len(), 1);
        assert_eq!((found[0].late.sequence, found[0].newer.sequence), (7, 3));
        assert!(found[0].beyond_doubt());
    }

    #[test]
    fn an_answer_under_way_counts_as_overlap_but_not_beyond_doubt() {
        let acks = [ack("east", 1, 0, 9), ack("west", 2, 3, 5)];
        let found = overlaps(&acks);
        assert_eq!(found.len(), 1);
        assert!(!found[0].beyond_doubt());
    }

    #[test]
    fn two_databases_on_one_timeline_overlap_when_both_acknowledge() {
        let acks = [ack("east", 1, 0, 2), ack("copy", 1, 3, 5), ack("east", 1, 6, 8)];
        assert_eq!(overlaps(&acks).len(), 1);
    }

    #[test]
    fn the_order_in_which_writers_recorded_does_not_matter() {
        let mut acks = vec![ack("west", 2, 3, 5), ack("east", 1, 7, 9), ack("east", 1, 0, 2)];
        assert_eq!(overlaps(&acks).len(), 1);
        acks.reverse();
        assert_eq!(overlaps(&acks).len(), 1);
    }

    #[test]
    fn an_old_activation_that_is_late_against_two_newer_ones_counts_once_for_each_write() {
        let acks = [ack("east", 1, 0, 2), ack("west", 2, 3, 5), ack("east", 3, 6, 8), ack("east", 1, 9, 11)];
        let found = overlaps(&acks);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].newer.database.timeline, 2);
    }

    #[test]
    fn an_acknowledged_write_that_is_not_there_is_lost() {
        let acks = [ack("east", 1, 0, 2), ack("east", 1, 3, 5)];
        let missing = lost(&acks, |ack| Ok(ack.sequence != 3)).expect("it can tell");
        assert_eq!(missing, [acks[1].clone()]);
        assert!(lost(&acks, |_| anyhow::bail!("down")).is_err(), "not knowing is not the same as not lost");
    }

    #[test]
    fn recovery_counts_from_the_cut_to_the_first_write_of_the_next_activation() {
        let at = BootInstant::from_boot(Duration::from_millis(10));
        // Acknowledged just after the cut by the old one: its answer was under way.
        let acks =
            [ack("east", 1, 0, 5), ack("east", 1, 8, 11), ack("west", 2, 4_000, 4_010), ack("west", 2, 4_020, 4_025)];
        assert_eq!(rto(at, &acks), Some(Duration::from_millis(4_000)));
        assert_eq!(rto(at, &acks[..2]), None, "writes have not come back");
    }

    #[test]
    fn the_longest_gap_is_between_neighbours() {
        let acks = [ack("east", 1, 0, 10), ack("west", 2, 400, 410), ack("east", 1, 20, 30)];
        assert_eq!(longest_gap(&acks), Duration::from_millis(380));
        assert_eq!(longest_gap(&[]), Duration::ZERO);
    }
}
