//! How a problem of a spec reads: `shop.yaml:14: failover.lease.duration is 9s; shorter than 2 × renew …; write 11s`.

use std::fmt;

use serde::Serialize;

/// Most problems that are told one by one; more are counted.
const TOLD_MAX: usize = 200;
/// Most characters of a value, key or file name that are repeated.
const SHOWN_CHARS_MAX: usize = 80;

/// One thing that is wrong with a spec.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// Line in the file, from 1.
    pub line: usize,
    /// The key with all that lead to it, as in `failover.lease.renew`; empty when the file as a whole is meant.
    pub key: String,
    /// What stands there, when it is a single value that may be repeated.
    pub value: Option<String>,
    /// What is wrong with it.
    pub wrong: String,
    /// What would do.
    pub instead: String,
}

/// Without the file's name, which [`Problems`] knows.
impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.key.is_empty(), &self.value) {
            (true, _) => {}
            (false, Some(value)) => write!(f, "{} is {value}; ", self.key)?,
            (false, None) => write!(f, "{}: ", self.key)?,
        }
        write!(f, "{}; {}", self.wrong, self.instead)
    }
}

/// All that is wrong with a spec, in the order of the lines; prints as one line each.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Problems {
    file: String,
    found: Vec<Problem>,
    /// How many more there were than are told.
    untold: usize,
}

impl Problems {
    pub(super) fn new(file: &str, mut found: Vec<Problem>, dropped: usize) -> Self {
        found.sort_by_key(|problem| problem.line);
        let untold = dropped + found.len().saturating_sub(TOLD_MAX);
        found.truncate(TOLD_MAX);
        Self { file: shown(file), found, untold }
    }

    /// The problems, in the order of the lines: the first 200.
    #[must_use]
    pub fn found(&self) -> &[Problem] {
        &self.found
    }

    /// Each problem as one line of text, as in `shop.yaml:14: …`.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        let mut lines: Vec<String> =
            self.found.iter().map(|problem| format!("{}:{}: {problem}", self.file, problem.line)).collect();
        if self.untold > 0 {
            lines.push(format!("{}: and {} more problems", self.file, self.untold));
        }
        lines
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.lines().join("\n"))
    }
}

impl std::error::Error for Problems {}

/// Text from a file, fit for a terminal: one line, of bounded length, nothing that moves a cursor.
pub(super) fn shown(text: &str) -> String {
    let mut shown = String::new();
    for (count, c) in text.chars().enumerate() {
        if count == SHOWN_CHARS_MAX {
            shown.push('…');
            break;
        }
        if c.is_control() || is_invisible(c) {
            shown.extend(c.escape_unicode());
        } else {
            shown.push(c);
        }
    }
    shown
}

/// Characters that reorder or hide what stands around them.
fn is_invisible(c: char) -> bool {
    matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}
