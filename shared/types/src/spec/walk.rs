//! Taking values out of the tree by key, and noting what is wrong with them.
//!
//! Every reader goes on after a problem, so that one look finds them all. A value that cannot be used is `None`, its
//! problem is noted, and nobody notes a second one because it is missing.

use super::{
    later,
    problem::{Problem, shown},
    suggest,
    tree::{Entry, Node, Value},
};

/// Most problems that are kept. Far more than are told; a file that is wrong throughout must not fill the memory.
const KEPT_MAX: usize = 2_000;

/// The problems found so far.
#[derive(Debug, Default)]
pub(super) struct Notes {
    found: Vec<Problem>,
    dropped: usize,
}

impl Notes {
    pub(super) fn wrong(&mut self, spot: &Spot, wrong: impl Into<String>, instead: impl Into<String>) {
        if self.is_full() {
            self.dropped += 1;
            return;
        }
        let Spot { line, key, value } = spot.clone();
        self.found.push(Problem { line, key, value, wrong: wrong.into(), instead: instead.into() });
    }

    /// A problem of the file as a whole.
    pub(super) fn whole(&mut self, line: usize, wrong: impl Into<String>, instead: impl Into<String>) {
        self.wrong(&Spot { line, key: String::new(), value: None }, wrong, instead);
    }

    /// How many there are: a reader compares, to know whether its own section is sound.
    pub(super) fn count(&self) -> usize {
        self.found.len() + self.dropped
    }

    fn is_full(&self) -> bool {
        self.found.len() == KEPT_MAX
    }

    pub(super) fn into_found(self) -> (Vec<Problem>, usize) {
        (self.found, self.dropped)
    }
}

/// A place in the file: what a problem points at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Spot {
    pub(super) line: usize,
    pub(super) key: String,
    pub(super) value: Option<String>,
}

impl Spot {
    /// The place of a key below this one.
    pub(super) fn below(&self, key: &str) -> Self {
        let key = if self.key.is_empty() { shown(key) } else { format!("{}.{}", self.key, shown(key)) };
        Self { line: self.line, key, value: None }
    }
}

/// A value that knows its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Spotted<T> {
    pub(super) is: T,
    pub(super) spot: Spot,
}

/// A node of the tree with the key that leads to it.
#[derive(Debug, Clone)]
pub(super) struct At<'t> {
    node: &'t Node,
    spot: Spot,
}

impl<'t> At<'t> {
    pub(super) fn root(node: &'t Node) -> Self {
        Self { node, spot: Spot { line: node.line, key: String::new(), value: None } }
    }

    /// Where this is, with the value that stands there.
    pub(super) fn spot(&self) -> Spot {
        let value = match &self.node.value {
            Value::Text { text, .. } => Some(shown(text)),
            Value::List(_) | Value::Map(_) | Value::Refused => None,
        };
        Spot { value, ..self.spot.clone() }
    }

    /// Where this is, without the value: it may be a secret that stands in the wrong place.
    pub(super) fn bare_spot(&self) -> Spot {
        self.spot.clone()
    }

    /// Whether a single value stands here.
    pub(super) fn is_text(&self) -> bool {
        matches!(self.node.value, Value::Text { .. })
    }

    /// The single value. `wanted` completes "write …".
    pub(super) fn text(&self, wanted: &str, notes: &mut Notes) -> Option<&'t str> {
        let wrong = match &self.node.value {
            Value::Text { text, plain } if is_empty(text, *plain) => "nothing stands here",
            Value::Text { text, .. } => return Some(text),
            Value::List(_) => "a list stands here",
            Value::Map(_) => "a map stands here",
            Value::Refused => return None,
        };
        notes.wrong(&self.spot, wrong, format!("write {wanted}"));
        None
    }

    /// The items of a list.
    pub(super) fn list(&self, wanted: &str, notes: &mut Notes) -> Option<Vec<At<'t>>> {
        let wrong = match &self.node.value {
            Value::List(items) => {
                let at = |(i, node): (usize, &'t Node)| {
                    let key = format!("{}[{i}]", self.spot.key);
                    At { node, spot: Spot { line: node.line, key, value: None } }
                };
                return Some(items.iter().enumerate().map(at).collect());
            }
            Value::Text { text, plain } if is_empty(text, *plain) => "nothing stands here",
            Value::Text { .. } => "a single value stands here",
            Value::Map(_) => "a map stands here",
            Value::Refused => return None,
        };
        notes.wrong(&self.spot, wrong, format!("write {wanted}"));
        None
    }

    /// The entries of a map.
    pub(super) fn fields(&self, wanted: &str, notes: &mut Notes) -> Option<Fields<'t>> {
        let wrong = match &self.node.value {
            Value::Map(entries) => {
                return Some(Fields { spot: self.spot.clone(), entries, known: Vec::new() });
            }
            Value::Text { text, plain } if is_empty(text, *plain) => "nothing stands here",
            Value::Text { .. } => "a single value stands here",
            Value::List(_) => "a list stands here",
            Value::Refused => return None,
        };
        notes.wrong(&self.spot, wrong, format!("write {wanted}"));
        None
    }
}

/// YAML's ways to say nothing.
fn is_empty(text: &str, plain: bool) -> bool {
    text.is_empty() || plain && matches!(text, "~" | "null" | "Null" | "NULL")
}

/// The entries of a map. A reader takes those it knows, and then [`Fields::close`] refuses the others.
#[derive(Debug)]
pub(super) struct Fields<'t> {
    pub(super) spot: Spot,
    entries: &'t [Entry],
    known: Vec<&'static str>,
}

impl<'t> Fields<'t> {
    /// The value of a key, if it is there.
    pub(super) fn take(&mut self, key: &'static str) -> Option<At<'t>> {
        self.known.push(key);
        self.entries.iter().find(|entry| entry.key == key).map(|entry| self.at(entry))
    }

    /// The value of a key that must be there. `instead` says what to write.
    pub(super) fn need(&mut self, key: &'static str, instead: &str, notes: &mut Notes) -> Option<At<'t>> {
        let found = self.take(key);
        if found.is_none() {
            notes.wrong(&self.spot.below(key), "missing", instead);
        }
        found
    }

    /// Whether a key is there.
    pub(super) fn has(&self, key: &str) -> bool {
        self.entries.iter().any(|entry| entry.key == key)
    }

    /// All entries of a map whose keys are names that the operator chose, with their keys. More than `most` are
    /// refused and left unread.
    pub(super) fn each(&self, most: usize, notes: &mut Notes) -> Vec<(&'t str, At<'t>)> {
        if self.entries.len() > most {
            notes.wrong(&self.spot, format!("{} entries", self.entries.len()), format!("write {most} or less"));
        }
        self.entries.iter().take(most).map(|entry| (entry.key.as_str(), self.at(entry))).collect()
    }

    fn at(&self, entry: &'t Entry) -> At<'t> {
        At { node: &entry.node, spot: Spot { line: entry.line, ..self.spot.below(&entry.key) } }
    }

    /// Refuses every key that was not taken. Their values are not repeated: a misspelt `password` may stand there.
    pub(super) fn close(self, section: later::Section, notes: &mut Notes) {
        for entry in self.entries {
            if self.known.contains(&entry.key.as_str()) {
                continue;
            }
            if notes.is_full() {
                // Counted, without the trouble of looking for what was meant.
                notes.dropped += 1;
                continue;
            }
            let spot = self.at(entry).bare_spot();
            if later::key(section, &entry.key) {
                notes.wrong(&spot, later::NOT_YET, "leave it out");
                continue;
            }
            let instead = match suggest::nearest(&entry.key, self.known.iter().copied()) {
                Some(near) => format!("did you mean {near}?"),
                None => format!("known here: {}", self.known.join(", ")),
            };
            notes.wrong(&spot, "unknown key", instead);
        }
    }
}
