//! What is written for people keeps up with the code: links lead somewhere, every path and name that a document points
//! at is there, every reason for a refusal and every key of the app spec is explained, and commands that are named exist.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use holdfast_types::refusal::Reason;
use serde_json::Value;

/// Longest line of a document, in characters.
const COLUMNS_MAX: usize = 120;
/// A decision that needs more is two.
const DECISION_LINES_MAX: usize = 40;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().expect("the workspace is there")
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

fn files_below(folder: &Path, extension: &str, found: &mut Vec<PathBuf>) {
    let entries = fs::read_dir(folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
    paths.sort();
    for path in paths {
        if path.is_dir() {
            files_below(&path, extension, found);
        } else if path.extension().is_some_and(|e| e == extension) {
            found.push(path);
        }
    }
}

/// A document by its path from the root.
struct Document {
    name: String,
    path: PathBuf,
    text: String,
}

fn documents() -> Vec<Document> {
    let root = root();
    let mut paths: Vec<PathBuf> = ["README.md", "ARCHITECTURE.md", "CHANGELOG.md", "CONTRIBUTING.md"]
        .iter()
        .map(|name| root.join(name))
        .collect();
    files_below(&root.join("docs"), "md", &mut paths);
    let document = |path: PathBuf| {
        let name = path.strip_prefix(&root).expect("below the root").display().to_string();
        Document { text: read(&path), name, path }
    };
    paths.into_iter().map(document).collect()
}

fn document(name: &str) -> Document {
    documents().into_iter().find(|d| d.name == name).unwrap_or_else(|| panic!("no {name}"))
}

/// The text without what stands between lines of three backticks, line by line.
fn prose(text: &str) -> Vec<&str> {
    let mut fenced = false;
    let keep = |line: &&str| {
        let fence = line.trim_start().starts_with("```");
        fenced ^= fence;
        !fence && !fenced
    };
    text.lines().filter(keep).collect()
}

/// What stands between single backticks.
fn spans(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

/// As GitHub makes them: lower case, only letters, digits, spaces and hyphens kept, spaces to hyphens.
fn anchor(heading: &str) -> String {
    let kept = heading.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    kept.map(|c| if c == ' ' { '-' } else { c.to_ascii_lowercase() }).collect()
}

fn anchors(text: &str) -> BTreeSet<String> {
    let headings = prose(text).into_iter().filter(|line| line.starts_with('#'));
    headings.map(|line| anchor(line.trim_start_matches('#').trim())).collect()
}

/// Whether a piece of code is meant as a file or folder of this repository.
fn is_path(span: &str) -> bool {
    const ENDS: [&str; 8] = [".rs", ".md", ".proto", ".toml", ".yaml", ".sql", ".sh", "/"];
    let plain = span.chars().all(|c| c.is_ascii_alphanumeric() || "/._-".contains(c));
    // A folder's name alone may also be one on a host, as in `tls/`.
    let inner = span.trim_end_matches('/').contains('/');
    plain && inner && !span.starts_with(['/', '.']) && ENDS.iter().any(|end| span.ends_with(end))
}

#[test]
fn every_reason_for_a_refusal_has_its_paragraph_and_no_paragraph_is_stale() {
    let guide = document("docs/guide/refusals.md");
    let mut told = BTreeMap::new();
    let mut current = None;
    for line in guide.text.lines() {
        if let Some(heading) = line.strip_prefix("## ") {
            current = Some(heading.to_owned());
            assert!(told.insert(heading.to_owned(), String::new()).is_none(), "{heading} stands twice");
        } else if let Some(heading) = &current {
            let paragraph: &mut String = told.get_mut(heading).expect("just put there");
            paragraph.push_str(line);
            paragraph.push(' ');
        }
    }
    let headings: Vec<&str> = told.keys().map(String::as_str).collect();
    let slugs: BTreeSet<&str> = Reason::ALL.iter().map(|reason| reason.slug()).collect();
    assert_eq!(headings, slugs.into_iter().collect::<Vec<_>>(), "docs/guide/refusals.md against the list of reasons");
    for reason in Reason::ALL {
        let paragraph = told[reason.slug()].trim().to_owned();
        let exit = format!("Exit {}. ", reason.exit().code());
        assert!(paragraph.starts_with(&exit), "{}: does not begin with \"{exit}\"", reason.slug());
        assert!(paragraph.len() > 100, "{}: says too little", reason.slug());
    }
}

#[test]
fn every_relative_link_leads_to_a_file_and_a_heading() {
    let mut wrong = Vec::new();
    for document in documents() {
        for part in prose(&document.text).join("\n").split("](").skip(1) {
            let target = part.split(')').next().unwrap_or_default();
            if target.starts_with("http") || target.starts_with("mailto:") {
                continue;
            }
            let (file, heading) = target.split_once('#').unwrap_or((target, ""));
            let folder = document.path.parent().expect("a folder");
            let path = if file.is_empty() { document.path.clone() } else { folder.join(file) };
            if !path.exists() {
                wrong.push(format!("{}: {target}: no such file", document.name));
            } else if !heading.is_empty() && !anchors(&read(&path)).contains(heading) {
                wrong.push(format!("{}: {target}: no such heading", document.name));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_file_that_a_document_names_is_there() {
    let root = root();
    let mut wrong = Vec::new();
    for document in documents() {
        let text = prose(&document.text).join("\n");
        for span in spans(&text).filter(|span| is_path(span)) {
            let beside = document.path.parent().expect("a folder").join(span);
            // The contract's files are also named without their room.
            if !root.join(span).exists() && !beside.exists() && !root.join("proto").join(span).exists() {
                wrong.push(format!("{}: `{span}`", document.name));
            }
        }
    }
    assert!(wrong.is_empty(), "no such file:\n{}", wrong.join("\n"));
}

/// In ARCHITECTURE.md a line that begins with an arrow names files, and after each file names that stand in it.
#[test]
fn every_name_after_an_arrow_stands_in_its_file() {
    let map = document("ARCHITECTURE.md");
    let mut lines = map.text.lines().peekable();
    let mut wrong = Vec::new();
    let mut names = 0;
    while let Some(line) = lines.next() {
        let Some(first) = line.trim_start().strip_prefix("→ ") else { continue };
        let mut statement = first.to_owned();
        while let Some(more) = lines.next_if(|l| l.starts_with("    ")) {
            statement.push(' ');
            statement.push_str(more.trim());
        }
        let mut file: Option<(&str, String)> = None;
        for span in spans(&statement) {
            if is_path(span) {
                // A missing one is told by another test.
                file = Some((span, fs::read_to_string(root().join(span)).unwrap_or_default()));
                continue;
            }
            let Some((path, text)) = &file else {
                wrong.push(format!("`{span}` stands before any file"));
                continue;
            };
            names += 1;
            let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
            if !text.split(|c| !word(c)).any(|found| found == span) {
                wrong.push(format!("{path} holds no `{span}`"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(names > 100, "only {names} names were looked for");
}

/// Keys that the operator chooses.
fn is_named_by_the_operator(path: &str) -> bool {
    const MAPS: [&str; 5] = ["regions", "regions.*.roles", "writers", "checks", "traffic.proxies[].backends"];
    MAPS.contains(&path)
}

fn keys(value: &Value, path: &str, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                let named = is_named_by_the_operator(path);
                let key = if named { "*" } else { key.as_str() };
                let below = if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") };
                // What an operator calls their own is no key of the format.
                if !named {
                    found.insert(below.clone());
                }
                keys(value, &below, found);
            }
        }
        Value::Array(items) => items.iter().for_each(|item| keys(item, &format!("{path}[]"), found)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// Keys that the guide explains: the first cell of its tables.
fn explained() -> BTreeSet<String> {
    let guide = document("docs/guide/app-spec.md");
    let cells = guide.text.lines().filter_map(|line| line.strip_prefix("| `")?.split_once("` |"));
    cells.map(|(key, _)| key.to_owned()).collect()
}

#[test]
fn every_key_of_the_example_specs_is_explained() {
    let mut examples = Vec::new();
    files_below(&root().join("examples"), "yaml", &mut examples);
    assert!(examples.len() >= 3, "{examples:?}");
    let explained = explained();
    for example in examples {
        let value: Value = serde_saphyr::from_str(&read(&example)).expect("an example is YAML");
        let mut used = BTreeSet::new();
        keys(&value, "", &mut used);
        let missing: Vec<&String> = used.difference(&explained).collect();
        assert!(missing.is_empty(), "{}: docs/guide/app-spec.md does not explain {missing:?}", example.display());
        let text = read(&example);
        let parsed = holdfast_types::spec::parse(&example.display().to_string(), &text);
        assert!(parsed.is_ok(), "{}", parsed.expect_err("a problem"));
    }
}

#[test]
fn every_key_that_is_explained_is_read() {
    let mut readers = Vec::new();
    files_below(&root().join("shared/types/src/spec/read"), "rs", &mut readers);
    let code: String = readers.iter().map(|path| read(path)).collect();
    for key in explained() {
        let last = key.rsplit('.').next().unwrap_or(&key);
        let known = code.contains(&format!("\"{last}\"")) || (last == "credential" && key.contains("password"));
        assert!(known, "docs/guide/app-spec.md explains {key}, which no reader of the format knows");
    }
}

/// A command that does not exist yet stands in no document; what is told as not yet there is told in words.
#[test]
fn every_command_that_a_document_names_exists() {
    let root = root();
    let cli = read(&root.join("cli/src/args.rs"));
    let daemons = [
        ("holdfast-agent", read(&root.join("agent/src/command.rs"))),
        ("holdfast-coordinator", read(&root.join("coordinator/src/command.rs"))),
    ];
    let variant = |word: &str| {
        let mut letters = word.chars();
        letters.next().map(|first| first.to_ascii_uppercase().to_string() + letters.as_str()).unwrap_or_default()
    };
    let mut wrong = Vec::new();
    // Decisions are never edited, so what they name may be gone.
    for document in documents().iter().filter(|d| !d.name.starts_with("docs/adr/")) {
        let words: Vec<&str> = document.text.split(|c: char| c.is_whitespace() || "`,;:()".contains(c)).collect();
        for pair in words.windows(2) {
            let [program, word] = pair else { continue };
            if word.is_empty() || !word.chars().all(|c| c.is_ascii_lowercase()) {
                continue;
            }
            let known = match *program {
                // Only as a command: the word also stands in sentences, capitalised there.
                "holdfast" => cli.contains(&format!("\"{word}\"")) || cli.contains(&format!("\"{word} ")),
                _ => match daemons.iter().find(|(name, _)| name == program) {
                    Some((_, code)) => {
                        code.contains(&format!("    {} {{", variant(word)))
                            || code.contains(&format!("    {},", variant(word)))
                    }
                    None => true,
                },
            };
            // "`holdfast-agent` ends with …": a sentence about the program.
            let sentence = document.text.contains(&format!("`{program}` {word}"));
            if !known && !sentence {
                wrong.push(format!("{}: {program} {word}", document.name));
            }
        }
    }
    assert!(wrong.is_empty(), "no such command:\n{}", wrong.join("\n"));
}

#[test]
fn documents_can_be_read_on_a_narrow_screen_and_decisions_are_short() {
    for document in documents() {
        for (number, line) in document.text.lines().enumerate() {
            let columns = line.chars().count();
            assert!(columns <= COLUMNS_MAX, "{}:{}: {columns} columns", document.name, number + 1);
        }
        if document.name.starts_with("docs/adr/") {
            let lines = document.text.lines().count();
            assert!(lines <= DECISION_LINES_MAX, "{}: {lines} lines", document.name);
        }
    }
}
