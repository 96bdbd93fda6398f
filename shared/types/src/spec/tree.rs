//! YAML to a tree of bounded size and depth that knows its lines.
//!
//! Specs are read by hand and not derived, so that one look finds every problem and not only the first. Anchors,
//! aliases and tags are refused: a spec says each thing where it stands, and nothing in it can multiply.

use std::collections::BTreeMap;

use serde_saphyr::granit_parser::{self, ErrorKind, Event, Parser, ScalarStyle, ScanError};

use super::{
    DEPTH_MAX, TEXT_BYTES_MAX,
    problem::shown,
    walk::{Notes, Spot},
};

/// A value and the line it begins on.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) line: usize,
    pub(super) value: Value,
}

#[derive(Debug)]
pub(super) enum Value {
    /// A single value; `plain` when it stands without quotes.
    Text {
        text: String,
        plain: bool,
    },
    List(Vec<Node>),
    Map(Vec<Entry>),
    /// Something that a problem was noted for already.
    Refused,
}

/// One `key: value` of a map, in the order of the file.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) key: String,
    pub(super) line: usize,
    pub(super) node: Node,
}

/// Reads one document. `None` when there is no tree to go on with; the reason is noted.
pub(super) fn read(text: &str, notes: &mut Notes) -> Option<Node> {
    if text.len() > TEXT_BYTES_MAX {
        let wrong = format!("{} bytes long", text.len());
        notes.whole(1, wrong, format!("a spec has at most {TEXT_BYTES_MAX} bytes (1 MiB)"));
        return None;
    }
    let mut options = granit_parser::options! {
        emit_unresolved_aliases: true,
        flow_nesting_limit: DEPTH_MAX,
        block_nesting_limit: DEPTH_MAX,
    };
    options.set_emit_comments(false);
    let mut builder = Builder { open: Vec::new(), root: None, documents: 0 };
    for event in Parser::new_from_str_with_options(text, options) {
        let (event, span) = match event {
            Ok(event) => event,
            Err(error) => {
                no_yaml(&error, notes);
                return None;
            }
        };
        builder.event(event, span.start.line(), notes)?;
    }
    if builder.root.is_none() {
        notes.whole(1, "the file is empty", "begin with spec: 1");
    }
    builder.root
}

fn no_yaml(error: &ScanError, notes: &mut Notes) {
    let line = error.marker().line().max(1);
    if matches!(error.kind(), ErrorKind::RecursionLimitExceeded) {
        too_deep(line, notes);
        return;
    }
    let instead = "look for an open quote or bracket, a tab or a wrong indent, here or above";
    notes.whole(line, format!("this is no YAML: {}", shown(&error.info())), instead);
}

fn too_deep(line: usize, notes: &mut Notes) {
    let instead = format!("a spec has at most {DEPTH_MAX} levels");
    notes.whole(line, format!("nested deeper than {DEPTH_MAX} levels"), instead);
}

/// A list or map that has not ended yet.
enum Open {
    List { line: usize, items: Vec<Node> },
    Map { line: usize, entries: Vec<Entry>, lines: BTreeMap<String, usize>, key: Option<Key> },
}

/// A key whose value comes next.
struct Key {
    text: String,
    line: usize,
    /// The line where the same key stood before.
    before: Option<usize>,
}

struct Builder {
    open: Vec<Open>,
    root: Option<Node>,
    documents: usize,
}

impl Builder {
    /// Takes the next event. `None` ends the reading; the reason is noted.
    fn event(&mut self, event: Event<'_>, line: usize, notes: &mut Notes) -> Option<()> {
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                self.refuse_decoration(anchor, tag.is_some(), line, notes);
                self.scalar(text.into_owned(), style == ScalarStyle::Plain, line, notes)
            }
            Event::SequenceStart(_, anchor, tag) => {
                self.refuse_decoration(anchor, tag.is_some(), line, notes);
                self.begin(Open::List { line, items: Vec::new() }, line, notes)
            }
            Event::MappingStart(_, anchor, tag) => {
                self.refuse_decoration(anchor, tag.is_some(), line, notes);
                let map = Open::Map { line, entries: Vec::new(), lines: BTreeMap::new(), key: None };
                self.begin(map, line, notes)
            }
            Event::SequenceEnd | Event::MappingEnd => {
                let node = match self.open.pop()? {
                    Open::List { line, items } => Node { line, value: Value::List(items) },
                    Open::Map { line, entries, .. } => Node { line, value: Value::Map(entries) },
                };
                self.place(node);
                Some(())
            }
            Event::Alias(_) | Event::UnresolvedAlias(_) => {
                self.note(line, "an alias", "write the value itself; a spec has no anchors and aliases", notes);
                if self.wants_key() {
                    return None;
                }
                self.place(Node { line, value: Value::Refused });
                Some(())
            }
            Event::DocumentStart(..) => {
                self.documents += 1;
                if self.documents > 1 {
                    notes.whole(line, "a second document begins here", "write one app per file");
                    return None;
                }
                Some(())
            }
            Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => Some(()),
            // Not asked for in the options; a later parser adds others only on request, too.
            Event::Anchor(..) | Event::Comment(..) | _ => Some(()),
        }
    }

    fn wants_key(&self) -> bool {
        matches!(self.open.last(), Some(Open::Map { key: None, .. }))
    }

    fn scalar(&mut self, text: String, plain: bool, line: usize, notes: &mut Notes) -> Option<()> {
        if let Some(Open::Map { lines, key, .. }) = self.open.last_mut()
            && key.is_none()
        {
            let before = lines.get(&text).copied();
            lines.entry(text.clone()).or_insert(line);
            *key = Some(Key { text, line, before });
            if let Some(before) = before {
                self.note(line, format!("stands on line {before} already"), "write each key once", notes);
            }
            return Some(());
        }
        self.place(Node { line, value: Value::Text { text, plain } });
        Some(())
    }

    fn begin(&mut self, open: Open, line: usize, notes: &mut Notes) -> Option<()> {
        if self.wants_key() {
            self.note(line, "a list or map stands where a key should", "write a plain word as key", notes);
            return None;
        }
        if self.open.len() >= DEPTH_MAX {
            too_deep(line, notes);
            return None;
        }
        self.open.push(open);
        Some(())
    }

    /// Puts a finished value where it belongs. Of a key that stands twice, the first counts.
    fn place(&mut self, node: Node) {
        match self.open.last_mut() {
            None => self.root = Some(node),
            Some(Open::List { items, .. }) => items.push(node),
            Some(Open::Map { entries, key, .. }) => {
                if let Some(Key { text, line, before: None }) = key.take() {
                    entries.push(Entry { key: text, line, node });
                }
            }
        }
    }

    fn refuse_decoration(&self, anchor: usize, tagged: bool, line: usize, notes: &mut Notes) {
        if anchor != 0 {
            self.note(line, "an anchor", "leave it out; a spec has no anchors and aliases", notes);
        }
        if tagged {
            self.note(line, "a YAML tag", "leave it out; the format says what type each value has", notes);
        }
    }

    fn note(&self, line: usize, wrong: impl Into<String>, instead: &str, notes: &mut Notes) {
        let mut path = String::new();
        for open in &self.open {
            match open {
                Open::List { items, .. } => path.push_str(&format!("[{}]", items.len())),
                Open::Map { key: Some(key), .. } => {
                    if !path.is_empty() {
                        path.push('.');
                    }
                    path.push_str(&shown(&key.text));
                }
                Open::Map { key: None, .. } => {}
            }
        }
        notes.wrong(&Spot { line, key: path, value: None }, wrong, instead);
    }
}
