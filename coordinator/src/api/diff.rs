//! What a spec changes, line by line: `- failover.mode: assist`, `+ failover.mode: automatic`.
//!
//! Each line stands with all keys that lead to it, so that it can be read alone. Comments and blank lines are left out.
//! The order of lines counts: the order of regions is their preference.

/// Compared cell by cell below this; above, lines that moved are told as removed and added, which is true as well.
const CELLS_MAX: usize = 4 << 20;
/// More changed lines help nobody; what is left is counted.
const TOLD_MAX: usize = 2_000;

/// The changed lines, `-` before `+` where both stand in one place.
pub(super) fn diff(old: &str, new: &str) -> Vec<String> {
    let (old, new) = (lines(old), lines(new));
    let before = old.iter().zip(&new).take_while(|(a, b)| a == b).count();
    let after = old[before..].iter().rev().zip(new[before..].iter().rev()).take_while(|(a, b)| a == b).count();
    let (old, new) = (&old[before..old.len() - after], &new[before..new.len() - after]);
    let mut told = changed(old, new);
    let untold = told.len().saturating_sub(TOLD_MAX);
    if untold > 0 {
        told.truncate(TOLD_MAX);
        told.push(format!("… and {untold} more changed lines"));
    }
    told
}

/// The lines that are not in the longest sequence that both have.
fn changed(old: &[String], new: &[String]) -> Vec<String> {
    let (minus, plus) = (|line: &String| format!("- {line}"), |line: &String| format!("+ {line}"));
    if old.len().saturating_mul(new.len()) > CELLS_MAX {
        return old.iter().map(minus).chain(new.iter().map(plus)).collect();
    }
    // longest[i][j]: how much the rests old[i..] and new[j..] have in common.
    let width = new.len() + 1;
    let mut longest = vec![0_u32; (old.len() + 1) * width];
    for i in (0..old.len()).rev() {
        for j in (0..new.len()).rev() {
            longest[i * width + j] = if old[i] == new[j] {
                longest[(i + 1) * width + j + 1] + 1
            } else {
                longest[(i + 1) * width + j].max(longest[i * width + j + 1])
            };
        }
    }
    let (mut i, mut j, mut told) = (0, 0, Vec::new());
    while i < old.len() || j < new.len() {
        if i < old.len() && j < new.len() && old[i] == new[j] {
            (i, j) = (i + 1, j + 1);
        } else if j == new.len() || (i < old.len() && longest[(i + 1) * width + j] >= longest[i * width + j + 1]) {
            told.push(minus(&old[i]));
            i += 1;
        } else {
            told.push(plus(&new[j]));
            j += 1;
        }
    }
    told
}

/// The lines that say something, each with the keys that lead to it. A key that only opens a block is no line of its
/// own unless nothing stands in it.
fn lines(text: &str) -> Vec<String> {
    let mut told: Vec<String> = Vec::new();
    // Keys that are open, with their indentation.
    let mut open: Vec<(usize, String)> = Vec::new();
    let said: Vec<(usize, &str)> = text.lines().filter_map(said).collect();
    for (n, (indent, line)) in said.iter().enumerate() {
        while open.last().is_some_and(|(of, _)| of >= indent) {
            open.pop();
        }
        let deeper = said.get(n + 1).is_some_and(|(next, _)| next > indent);
        match line.strip_suffix(':') {
            Some(key) if deeper && !key.contains(": ") => open.push((*indent, key.to_owned())),
            Some(_) | None => {
                let path: String = open.iter().map(|(_, key)| format!("{key}.")).collect();
                told.push(format!("{path}{line}"));
            }
        }
    }
    told
}

/// A line without its comment, and its indentation; `None` when nothing is left.
fn said(line: &str) -> Option<(usize, &str)> {
    let mut quote = None;
    let mut end = line.len();
    let mut before = ' ';
    for (at, c) in line.char_indices() {
        match (quote, c) {
            (Some(q), c) if c == q => quote = None,
            (None, '"' | '\'') if !before.is_alphanumeric() => quote = Some(c),
            (None, '#') if before.is_whitespace() => {
                end = at;
                break;
            }
            (Some(_) | None, _) => {}
        }
        before = c;
    }
    let line = line[..end].trim_end();
    let text = line.trim_start();
    (!text.is_empty()).then(|| (line.len() - text.len(), text))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const OLD: &str = "spec: 1 # format\napp: shop\nfailover:\n  mode: assist\n  lease: {duration: 20s}\n\nwriters:\n  pg:\n    port: 5432\n";

    #[test]
    fn each_changed_line_stands_with_its_keys() {
        for (old, new, told) in [
            (OLD, OLD.to_owned(), vec![]),
            (OLD, OLD.replace("# format", "# of this file").replace("\n\n", "\n# nothing\n"), vec![]),
            (OLD, OLD.replace("assist", "automatic"), vec!["- failover.mode: assist", "+ failover.mode: automatic"]),
            (OLD, OLD.replace("    port: 5432\n", "    port: 5432\n    user: x\n"), vec!["+ writers.pg.user: x"]),
            (OLD, OLD.replace("  lease: {duration: 20s}\n", ""), vec!["- failover.lease: {duration: 20s}"]),
            ("", "app: \"a # b\"\nempty:\n".to_owned(), vec!["+ app: \"a # b\"", "+ empty:"]),
            ("a: it's\n", "a: it's # new\n".to_owned(), vec![]),
            ("r:\n  x: 1\n  y: 2\n", "r:\n  y: 2\n  x: 1\n".to_owned(), vec!["- r.x: 1", "+ r.x: 1"]),
        ] {
            assert_eq!(diff(old, &new), told, "{old:?} → {new:?}");
        }
    }

    #[test]
    fn a_huge_change_is_counted() {
        let many = |prefix: &str| (0..3_000).map(|n| format!("{prefix}{n}: 1\n")).collect::<String>();
        let told = diff(&many("a"), &many("b"));
        assert_eq!(told.len(), TOLD_MAX + 1);
        assert_eq!(told.last().map(String::as_str), Some("… and 4000 more changed lines"));
    }

    proptest! {
        #[test]
        fn the_changes_lead_from_the_old_lines_to_the_new(
            old in proptest::collection::vec("[a-d]: [12]", 0..12), new in proptest::collection::vec("[a-d]: [12]", 0..12),
        ) {
            let told = diff(&old.join("\n"), &new.join("\n"));
            let mut count = std::collections::BTreeMap::new();
            for line in &old { *count.entry(line.clone()).or_insert(0) += 1; }
            for line in &told {
                let by = if line.starts_with('+') { 1 } else { -1 };
                *count.entry(line[2..].to_owned()).or_insert(0) += by;
            }
            for line in &new { *count.entry(line.clone()).or_insert(0) -= 1; }
            prop_assert!(count.values().all(|n| *n == 0), "{told:?}");
            prop_assert_eq!(told.is_empty(), old == new);
        }

        #[test]
        fn no_text_makes_it_panic(old in "[ a:#'\"\\-\n{}ü]{0,80}", new in "[ a:#'\"\\-\n{}ü]{0,80}") {
            let _ = diff(&old, &new);
        }
    }
}
