//! The condition that systemd asks before it starts a declared unit: a drop-in for each.
//!
//! ```text
//! /etc/systemd/system/postgresql@15-main.service.d/50-holdfast.conf
//! ```
//! It stays for what was declared once: whether an app guards the unit is decided when it starts. It names the unit as
//! it is declared, because systemd's own `%n` would say another name for an alias.

use std::{
    collections::BTreeSet,
    fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::Context as _;
use holdfast_agent_core::declared::Declared;

use crate::exec::child::Run;

/// Where an administrator's units lie, and ours with them: this must hold at boot, before `/run` has anything.
const FOLDER: &str = "/etc/systemd/system";
/// The file in a unit's folder.
const NAME: &str = "50-holdfast.conf";
/// First line of each; a file without it is somebody else's.
const MARK: &str = "# Written by holdfast-helper; changes are overwritten.";
/// Reading all units takes a moment on a large host.
const RELOAD_WITHIN: Duration = Duration::from_secs(30);

/// The drop-ins of this host.
#[derive(Debug, Clone)]
pub struct Units {
    folder: PathBuf,
    /// What the condition runs, quoted for systemd.
    command: String,
}

impl Units {
    /// Of this host; the condition runs this very program, with this configuration and memory.
    #[must_use]
    pub fn of_this_host(config: Option<&Path>, state_dir: Option<&Path>) -> Self {
        // A program that was replaced by an upgrade is told as deleted; its place is what counts.
        let own = std::env::current_exe().unwrap_or_else(|_| "/usr/bin/holdfast-helper".into());
        let own = own.to_string_lossy();
        Self::new(FOLDER.into(), Path::new(own.strip_suffix(" (deleted)").unwrap_or(&own)), config, state_dir)
    }

    /// In this folder, with this program.
    #[must_use]
    pub fn new(folder: PathBuf, program: &Path, config: Option<&Path>, state_dir: Option<&Path>) -> Self {
        let option = |name: &str, path: Option<&Path>| {
            path.map(|path| format!(" --{name} {}", quoted(&path.to_string_lossy()))).unwrap_or_default()
        };
        let (config, state_dir) = (option("config", config), option("state-dir", state_dir));
        // As root: the unit's own user cannot read what the agent knows. What decides reads it as the agent's user.
        Self { folder, command: format!("+{}{config}{state_dir}", program.to_string_lossy().replace('%', "%%")) }
    }

    fn file(&self, unit: &str) -> PathBuf {
        self.folder.join(format!("{unit}.d")).join(NAME)
    }

    fn text(&self, unit: &str) -> String {
        format!(
            "{MARK}\n# Keeps this unit from starting as a primary without a lease.\n[Service]\nExecCondition={} may-start {}\n",
            self.command,
            quoted(unit)
        )
    }

    /// Whether nothing starts this unit without asking.
    #[must_use]
    pub fn guards(&self, unit: &str) -> bool {
        fs::read_to_string(self.file(unit)).is_ok_and(|text| text == self.text(unit))
    }

    /// Writes those of these units and takes away our other ones; answers how many changed.
    ///
    /// # Errors
    /// When a file cannot be written, or systemd does not read it.
    pub async fn write(&self, declared: &BTreeSet<Declared>) -> anyhow::Result<usize> {
        let units: BTreeSet<&str> = declared.iter().filter_map(Declared::unit).collect();
        let mut changed = 0;
        for unit in &units {
            if self.guards(unit) {
                continue;
            }
            let file = self.file(unit);
            let folder = file.parent().context("a file in a folder")?;
            fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
            // Written whole: half a condition would be none.
            let staged = folder.join(".50-holdfast.new");
            fs::write(&staged, self.text(unit)).with_context(|| format!("cannot write {}", staged.display()))?;
            fs::File::open(&staged).and_then(|f| f.sync_all()).context("cannot write to the disk")?;
            fs::rename(&staged, &file).with_context(|| format!("cannot write {}", file.display()))?;
            changed += 1;
        }
        changed += self.take_away(|unit| !units.contains(unit))?;
        self.reload(changed).await
    }

    /// Takes all of them away; answers how many there were.
    ///
    /// # Errors
    /// When one cannot be removed, or systemd does not notice.
    pub async fn remove(&self) -> anyhow::Result<usize> {
        let removed = self.take_away(|_| true)?;
        self.reload(removed).await
    }

    fn take_away(&self, which: impl Fn(&str) -> bool) -> anyhow::Result<usize> {
        let mut removed = 0;
        let entries = match fs::read_dir(&self.folder) {
            Ok(entries) => entries,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(0),
            Err(e) => return Err(e).with_context(|| format!("cannot look into {}", self.folder.display())),
        };
        for entry in entries.flatten() {
            let name = entry.file_name();
            let Some(unit) = name.to_str().and_then(|name| name.strip_suffix(".d")) else { continue };
            let file = entry.path().join(NAME);
            if which(unit) && fs::read_to_string(&file).is_ok_and(|text| text.starts_with(MARK)) {
                fs::remove_file(&file).with_context(|| format!("cannot remove {}", file.display()))?;
                // With somebody else's drop-ins in it, it stays.
                drop(fs::remove_dir(entry.path()));
                removed += 1;
            }
        }
        Ok(removed)
    }

    async fn reload(&self, changed: usize) -> anyhow::Result<usize> {
        let real = self.folder == Path::new(FOLDER) && Path::new("/run/systemd/system").exists();
        if changed > 0 && real {
            Run::new("systemctl").arg("daemon-reload").within(RELOAD_WITHIN).await?;
        }
        Ok(changed)
    }
}

/// An argument of a command in a unit.
fn quoted(text: &str) -> String {
    let escaped = text.replace('\\', "\\\\").replace('"', "\\\"").replace('%', "%%").replace('$', "$$");
    format!("\"{escaped}\"")
}

#[cfg(test)]
mod tests {
    use holdfast_types::spec::RunBy;

    use super::*;

    fn declared(unit: &str) -> Declared {
        Declared { run_by: RunBy::Systemd { unit: unit.to_owned() }, data_dir: "/d".into() }
    }

    #[tokio::test]
    async fn every_declared_unit_has_its_condition_and_nothing_of_others_is_touched() {
        let dir = tempfile::tempdir().expect("a folder");
        let units = Units::new(dir.path().to_owned(), Path::new("/usr/bin/holdfast-helper"), None, None);
        let (a, b) = (declared("a@15-x.service"), declared("b\\x2d.service"));
        assert_eq!(units.write(&[a.clone(), b.clone()].into()).await.expect("written"), 2);
        let text = fs::read_to_string(dir.path().join("b\\x2d.service.d/50-holdfast.conf")).expect("there");
        assert!(
            text.ends_with("[Service]\nExecCondition=+/usr/bin/holdfast-helper may-start \"b\\\\x2d.service\"\n"),
            "{text}"
        );
        assert!(units.guards("a@15-x.service"));
        assert_eq!(units.write(&[a.clone(), b.clone()].into()).await.expect("as it is"), 0);
        // Somebody else's, also of the same name.
        let foreign = dir.path().join("c.service.d");
        fs::create_dir(&foreign).expect("made");
        fs::write(foreign.join(NAME), "[Service]\n").expect("written");
        fs::write(dir.path().join("a@15-x.service.d/other.conf"), "[Service]\n").expect("written");
        assert_eq!(units.write(&[b].into()).await.expect("one went"), 1);
        assert!(!units.guards("a@15-x.service") && dir.path().join("a@15-x.service.d/other.conf").exists());
        assert_eq!(units.remove().await.expect("removed"), 1);
        let left: Vec<_> = fs::read_dir(dir.path()).expect("listed").flatten().map(|e| e.file_name()).collect();
        assert_eq!(left.len(), 2, "{left:?}");
        assert!(foreign.join(NAME).exists());
    }
}
