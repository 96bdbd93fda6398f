//! "Did you mean …?"

/// Words longer than this are no slip of the hand; the comparison takes time with the square of their length.
const WORD_BYTES_MAX: usize = 64;
/// Candidates beyond these are not looked at.
const CANDIDATES_MAX: usize = 256;

/// The candidate that is nearest to a word, if it is near: one slip in three letters.
#[must_use]
pub fn nearest<'c>(word: &str, candidates: impl IntoIterator<Item = &'c str>) -> Option<&'c str> {
    if word.len() > WORD_BYTES_MAX {
        return None;
    }
    let lower = word.to_ascii_lowercase().replace('-', "_");
    candidates
        .into_iter()
        .take(CANDIDATES_MAX)
        .filter(|candidate| candidate.len() <= WORD_BYTES_MAX)
        .map(|candidate| (slips(&lower, &candidate.replace('-', "_")), candidate))
        .filter(|(slips, candidate)| *slips <= (candidate.len().max(lower.len()) / 3).max(1))
        .filter(|(slips, candidate)| *slips < candidate.len())
        .min_by_key(|(slips, _)| *slips)
        .map(|(_, candidate)| candidate)
}

/// How many letters were added, left out, changed or swapped with their neighbour.
fn slips(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut before: Vec<usize> = Vec::new();
    let mut above: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let changed = above[j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut best = changed.min(above[j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(before[j - 2] + 1);
            }
            row.push(best);
        }
        before = std::mem::replace(&mut above, row);
    }
    above[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_of_the_hand_finds_its_word() {
        let words = ["interval", "recheck", "failures", "on_isolation", "on", "of"];
        for (slip, word) in [
            ("intervall", "interval"),
            ("rehceck", "recheck"),
            ("Failures", "failures"),
            ("on-isolation", "on_isolation"),
        ] {
            assert_eq!(nearest(slip, words), Some(word), "{slip}");
        }
        for other in ["zz", "x", "something", &"interval".repeat(1_000)] {
            assert_eq!(nearest(other, words), None, "{other}");
        }
    }
}
