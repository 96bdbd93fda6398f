//! What was ever declared, kept by whoever may touch writers: the agent that runs as root, or the helper.
//!
//! A line that goes from `agent.toml` ends starts and promotions, and must not leave a running writer that nobody can
//! stop. So every entry is written here, durably, before anything is done because of it.

use std::{collections::BTreeSet, path::PathBuf};

use holdfast_agent_core::declared::{Declared, RawDeclared};
use holdfast_shared::{
    error::Chain,
    files::{self, FileError},
};

/// A few hundred entries.
const BYTES_MAX: u64 = 1 << 20;

/// The file. Its folder is private to its owner.
#[derive(Debug, Clone)]
pub struct Memory {
    path: PathBuf,
}

impl Memory {
    /// In this folder, which is made when it is missing.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn in_folder(folder: &std::path::Path) -> Result<Self, FileError> {
        files::make_private_folder(folder)?;
        Ok(Self { path: folder.join("declared.json") })
    }

    /// Whether nothing was ever written: before the first start of a release that keeps it.
    #[must_use]
    pub fn is_new(&self) -> bool {
        !self.path.exists()
    }

    /// Everything that was declared once. Entries that cannot be read are said aloud and left out.
    #[must_use]
    pub fn read(&self) -> BTreeSet<Declared> {
        let bytes = match files::read(&self.path, BYTES_MAX) {
            Ok(bytes) => bytes,
            Err(e) if e.is_missing() => return BTreeSet::new(),
            Err(e) => {
                tracing::error!(error = %Chain(&e), "what was declared once cannot be read; only what agent.toml says now is known");
                return BTreeSet::new();
            }
        };
        match serde_json::from_slice::<Vec<RawDeclared>>(&bytes) {
            Ok(entries) => entries.iter().filter_map(|raw| Declared::check(raw).ok()).collect(),
            Err(e) => {
                tracing::error!(file = %self.path.display(), error = %e, "what was declared once cannot be read; only what agent.toml says now is known");
                BTreeSet::new()
            }
        }
    }

    /// Adds entries; returns all that are known once that is on disk.
    ///
    /// # Errors
    /// When it cannot be written; nothing may be opened then because of what is new.
    pub fn add(&self, declared: &BTreeSet<Declared>) -> Result<BTreeSet<Declared>, FileError> {
        let known = self.read();
        let all: BTreeSet<Declared> = known.union(declared).cloned().collect();
        if all != known || self.is_new() {
            let raw: Vec<RawDeclared> = all.iter().map(Declared::raw).collect();
            let bytes = serde_json::to_vec_pretty(&raw).expect("plain text has a form in JSON");
            files::write_private(&self.path, &bytes)?;
        }
        Ok(all)
    }
}

#[cfg(test)]
mod tests {
    use holdfast_types::spec::RunBy;

    use super::*;

    #[test]
    fn what_was_declared_once_is_known_for_ever() {
        let dir = tempfile::tempdir().expect("a folder");
        let memory = Memory::in_folder(&dir.path().join("state")).expect("made");
        assert!(memory.is_new());
        let of = |unit: &str| Declared { run_by: RunBy::Systemd { unit: unit.to_owned() }, data_dir: "/d".into() };
        let (a, b) = (of("a.service"), of("b.service"));
        assert_eq!(memory.add(&[a.clone()].into()).expect("written"), [a.clone()].into());
        assert_eq!(memory.add(&[b.clone()].into()).expect("written"), [a.clone(), b.clone()].into());
        let again = Memory::in_folder(&dir.path().join("state")).expect("there");
        assert!(!again.is_new());
        assert_eq!(again.add(&BTreeSet::new()).expect("nothing new"), [a, b].into());
        std::fs::write(dir.path().join("state/declared.json"), "[{").expect("damaged");
        assert_eq!(again.read(), BTreeSet::new());
    }
}
