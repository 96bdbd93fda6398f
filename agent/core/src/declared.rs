//! What a host lets Holdfast touch: the writers that its root has declared, whatever an app spec says.
//!
//! A spec says what should be, this list what may be touched; both are needed. Two lists are kept. What stands in the
//! file now is *declared*: it may be looked at, stopped, started, promoted. What stood there once is *remembered*: it
//! may still be looked at and stopped, so that a line that was removed, or a file that cannot be read any more, never
//! leaves a writer that nobody can fence. No lease is asked for what is not declared, so every writer that was ever
//! opened under a lease is one of the two.
//!
//! Names are compared as they are written. No path of a request is followed to find out what it means.

use std::{
    collections::BTreeSet,
    fmt,
    path::{Component, Path, PathBuf},
};

use holdfast_types::spec::{RunBy, Writer};
use serde::{Deserialize, Serialize};

/// A writer that may be touched: what starts and stops it, and where its data lies.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Declared {
    /// What starts and stops it.
    pub run_by: RunBy,
    /// Its data directory, as whoever runs it calls it.
    pub data_dir: PathBuf,
}

/// One as it stands in a file: exactly one of `unit`, `container` and `pg_ctl`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawDeclared {
    /// A unit of systemd.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unit: Option<String>,
    /// A container.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub container: Option<String>,
    /// PostgreSQL's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pg_ctl: Option<RawPgCtl>,
    /// The data directory.
    pub data_dir: PathBuf,
}

/// `pg_ctl` as it stands in a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawPgCtl {
    /// Directory of PostgreSQL's programs.
    pub bin: PathBuf,
    /// The system user that owns the cluster.
    pub user: String,
}

impl Declared {
    /// What a writer of a spec, placed on its host, has to be declared as.
    #[must_use]
    pub fn of(writer: &Writer) -> Self {
        Self { run_by: writer.run_by.clone(), data_dir: writer.data_dir.clone() }
    }

    /// Checks one that was read.
    ///
    /// # Errors
    /// Everything that is wrong with it, a line each.
    pub fn check(raw: &RawDeclared) -> Result<Self, Vec<String>> {
        let mut problems = Vec::new();
        let mut path = |key: &str, path: &Path| {
            if let Some(why) = not_a_place(path) {
                problems
                    .push(format!("{key} is {}, {why}; write the absolute path as the spec has it", path.display()));
            }
        };
        path("data_dir", &raw.data_dir);
        if let Some(RawPgCtl { bin, .. }) = &raw.pg_ctl {
            path("pg_ctl.bin", bin);
        }
        let run_by = match (&raw.unit, &raw.container, &raw.pg_ctl) {
            (Some(unit), None, None) => {
                if !is_unit(unit) {
                    problems.push(format!(
                        "unit is {unit:?}; write a service's full name without placeholders, as in \
                         postgresql@15-main.service"
                    ));
                }
                Some(RunBy::Systemd { unit: unit.clone() })
            }
            (None, Some(name), None) => {
                if !is_container(name) {
                    problems.push(format!("container is {name:?}; write its name without placeholders, as in pg"));
                }
                Some(RunBy::Container { name: name.clone() })
            }
            (None, None, Some(RawPgCtl { bin, user })) => {
                if !is_user(user) {
                    problems.push(format!("pg_ctl.user is {user:?}; write a system user, as in postgres"));
                }
                Some(RunBy::PgCtl { bin: bin.clone(), user: user.clone() })
            }
            (None, None, None) => {
                problems.push(
                    "it does not say what starts and stops it; write one of unit, container and pg_ctl".to_owned(),
                );
                None
            }
            (Some(_), Some(_), _) | (Some(_), _, Some(_)) | (_, Some(_), Some(_)) => {
                problems.push("it says several ways; write one of unit, container and pg_ctl".to_owned());
                None
            }
        };
        match run_by {
            Some(run_by) if problems.is_empty() => Ok(Self { run_by, data_dir: raw.data_dir.clone() }),
            Some(_) | None => Err(problems),
        }
    }

    /// As it stands in a file.
    #[must_use]
    pub fn raw(&self) -> RawDeclared {
        let mut raw = RawDeclared { unit: None, container: None, pg_ctl: None, data_dir: self.data_dir.clone() };
        match &self.run_by {
            RunBy::Systemd { unit } => raw.unit = Some(unit.clone()),
            RunBy::Container { name } => raw.container = Some(name.clone()),
            RunBy::PgCtl { bin, user } => raw.pg_ctl = Some(RawPgCtl { bin: bin.clone(), user: user.clone() }),
        }
        raw
    }

    /// The very lines that declare it in `agent.toml`.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        let run_by = match &self.run_by {
            RunBy::Systemd { unit } => format!("unit = {}", quoted(unit)),
            RunBy::Container { name } => format!("container = {}", quoted(name)),
            RunBy::PgCtl { bin, user } => {
                format!("pg_ctl = {{ bin = {}, user = {} }}", quoted(&bin.to_string_lossy()), quoted(user))
            }
        };
        let data_dir = format!("data_dir = {}", quoted(&self.data_dir.to_string_lossy()));
        vec!["[[writers]]".to_owned(), run_by, data_dir]
    }

    /// Its unit, when it is one.
    #[must_use]
    pub fn unit(&self) -> Option<&str> {
        match &self.run_by {
            RunBy::Systemd { unit } => Some(unit),
            RunBy::Container { .. } | RunBy::PgCtl { .. } => None,
        }
    }
}

/// `unit postgresql@15-main.service, data in /var/lib/postgresql/15/main`.
impl fmt::Display for Declared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.run_by {
            RunBy::Systemd { unit } => write!(f, "unit {unit}")?,
            RunBy::Container { name } => write!(f, "container {name}")?,
            RunBy::PgCtl { bin, user } => write!(f, "pg_ctl of {} as {user}", bin.display())?,
        }
        write!(f, ", data in {}", self.data_dir.display())
    }
}

/// A TOML string.
fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            c if c.is_control() => out.push_str(&format!("\\u{:04X}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

fn not_a_place(path: &Path) -> Option<&'static str> {
    if !path.is_absolute() {
        return Some("which is not absolute");
    }
    if path == Path::new("/") {
        return Some("which is everything");
    }
    // The components alone hide `.` and doubled slashes, and a name is compared as it is written.
    let plain: PathBuf = path.components().collect();
    if path.components().any(|part| part == Component::ParentDir) || plain.as_os_str() != path.as_os_str() {
        return Some("which is not written plainly");
    }
    path.to_string_lossy().contains(['{', '}']).then_some("which has a placeholder")
}

// As in app specs, without their placeholder.
fn is_unit(text: &str) -> bool {
    text.len() <= 255
        && text.strip_suffix(".service").is_some_and(|stem| !stem.is_empty())
        && !text.starts_with(['-', '.'])
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b":_.\\@-".contains(&b))
}

fn is_container(text: &str) -> bool {
    text.len() <= 255
        && text.starts_with(|c: char| c.is_ascii_alphanumeric())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.-".contains(&b))
}

fn is_user(text: &str) -> bool {
    text.len() <= 32
        && text.starts_with(|c: char| c.is_ascii_lowercase() || c == '_')
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"_-".contains(&b))
}

/// What a host may do with a writer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// Anything.
    Declared,
    /// Look at it and stop it: it was declared once.
    Remembered,
    /// Nothing.
    Stranger,
}

/// Both lists.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Declarations {
    declared: BTreeSet<Declared>,
    remembered: BTreeSet<Declared>,
}

impl Declarations {
    /// What is declared now, and what was declared once.
    #[must_use]
    pub fn new(declared: BTreeSet<Declared>, remembered: BTreeSet<Declared>) -> Self {
        Self { declared, remembered }
    }

    /// What is declared now.
    #[must_use]
    pub fn declared(&self) -> &BTreeSet<Declared> {
        &self.declared
    }

    /// What is declared now, or was once.
    pub fn all(&self) -> impl Iterator<Item = &Declared> {
        self.declared.union(&self.remembered)
    }

    /// What may be done with it.
    #[must_use]
    pub fn standing(&self, asked: &Declared) -> Standing {
        if self.declared.contains(asked) {
            Standing::Declared
        } else if self.remembered.contains(asked) {
            Standing::Remembered
        } else {
            Standing::Stranger
        }
    }

    /// The host's own entry for what was asked, if it may be stopped.
    #[must_use]
    pub fn known(&self, asked: &Declared) -> Option<&Declared> {
        self.declared.get(asked).or_else(|| self.remembered.get(asked))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn raw() -> RawDeclared {
        RawDeclared {
            unit: Some("pg.service".to_owned()),
            container: None,
            pg_ctl: None,
            data_dir: "/var/lib/pg".into(),
        }
    }

    fn declared(unit: &str, data_dir: &str) -> Declared {
        Declared { run_by: RunBy::Systemd { unit: unit.to_owned() }, data_dir: data_dir.into() }
    }

    #[test]
    fn everything_wrong_with_a_writer_is_told() {
        let pg_ctl = |bin: &str, user: &str| Some(RawPgCtl { bin: bin.into(), user: user.to_owned() });
        let table: [(&str, RawDeclared, &[&str]); 13] = [
            ("as it should be", raw(), &[]),
            ("nothing", RawDeclared { unit: None, ..raw() }, &["does not say what starts"]),
            ("two ways", RawDeclared { container: Some("pg".into()), ..raw() }, &["several ways"]),
            ("a relative place", RawDeclared { data_dir: "pg".into(), ..raw() }, &["not absolute"]),
            ("a way up", RawDeclared { data_dir: "/var/../etc".into(), ..raw() }, &["not written plainly"]),
            ("a slash too many", RawDeclared { data_dir: "/var//pg/".into(), ..raw() }, &["not written plainly"]),
            ("everything", RawDeclared { data_dir: "/".into(), ..raw() }, &["everything"]),
            ("a placeholder", RawDeclared { data_dir: "/pg/{region}".into(), ..raw() }, &["placeholder"]),
            ("a unit's placeholder", RawDeclared { unit: Some("pg-{region}.service".into()), ..raw() }, &["unit is"]),
            ("an option", RawDeclared { unit: Some("--now.service".into()), ..raw() }, &["unit is"]),
            (
                "no service",
                RawDeclared { unit: Some("pg.socket".into()), data_dir: "x".into(), ..raw() },
                &["data_dir", "unit is"],
            ),
            ("a container", RawDeclared { unit: None, container: Some("../pg".into()), ..raw() }, &["container is"]),
            (
                "pg_ctl",
                RawDeclared { unit: None, pg_ctl: pg_ctl("bin", "Root"), ..raw() },
                &["pg_ctl.bin", "pg_ctl.user"],
            ),
        ];
        for (name, raw, expected) in table {
            match Declared::check(&raw) {
                Ok(good) => assert!(expected.is_empty() && good.raw() == raw, "{name}: {good}"),
                Err(problems) => {
                    assert_eq!(problems.len(), expected.len(), "{name}: {problems:?}");
                    for (problem, expected) in problems.iter().zip(expected) {
                        assert!(problem.contains(expected), "{name}: {problem}");
                    }
                }
            }
        }
    }

    #[test]
    fn what_is_declared_differs_from_what_once_was() {
        let (now, once) = (declared("a.service", "/a"), declared("b.service", "/b"));
        let lists = Declarations::new([now.clone()].into(), [now.clone(), once.clone()].into());
        assert_eq!(lists.standing(&now), Standing::Declared);
        assert_eq!(lists.standing(&once), Standing::Remembered);
        for stranger in [
            declared("a.service", "/b"),
            declared("b.service", "/a"),
            declared("a.service", "/a/"),
            declared("a.service", "/a/../a"),
            Declared { run_by: RunBy::Container { name: "a.service".to_owned() }, data_dir: "/a".into() },
        ] {
            // One of these is the same path to the kernel; whoever asks must say it as root has written it.
            let same = stranger.data_dir == now.data_dir && stranger.run_by == now.run_by;
            assert_eq!(lists.standing(&stranger) == Standing::Stranger, !same, "{stranger}");
        }
        assert_eq!(lists.known(&once), Some(&once));
        assert_eq!(lists.all().count(), 2);
    }

    proptest! {
        #[test]
        fn a_writer_is_allowed_only_as_one_entry_says_whole(
            entries in prop::collection::btree_set((0u8..4, 0u8..4), 0..6),
            unit in 0u8..4, dir in 0u8..4,
        ) {
            let of = |(unit, dir): (u8, u8)| declared(&format!("u{unit}.service"), &format!("/d{dir}"));
            let lists = Declarations::new(entries.iter().copied().map(of).collect(), BTreeSet::new());
            let allowed = lists.standing(&of((unit, dir))) == Standing::Declared;
            prop_assert_eq!(allowed, entries.contains(&(unit, dir)));
        }

        #[test]
        fn text_that_goes_into_a_file_cannot_leave_its_string(text in ".{0,40}") {
            let quoted = quoted(&text);
            prop_assert!(!quoted.contains('\n'));
            let inner = &quoted[1..quoted.len() - 1];
            let mut escaped = false;
            for c in inner.chars() {
                prop_assert!(escaped || c != '"');
                escaped = !escaped && c == '\\';
            }
            prop_assert!(!escaped);
        }
    }
}
