//! Scripts of the one folder that belongs to the host's root: the only programs that an app spec can have run.
//!
//! A spec names a file there by its bare name and gives it no argument. Folder and file must be root's, and so must
//! everything on the way to them; nobody else may be able to change any of it, and no symbolic link is followed. What
//! was looked at is what runs: the file is executed by the descriptor that was checked, not by its name again.
//!
//! A script runs as a child of a keeper (`keeper`), a process of its own that ends whatever the script started, also
//! what has left its session and its process group.

use std::{
    os::fd::OwnedFd,
    path::{Component, Path, PathBuf},
    time::Duration,
};

use holdfast_agent_core::duties::Script;
use rustix::{
    fs::{CWD, FileType, Mode, OFlags, RawMode, Stat, fstat, openat},
    io::Errno,
};

use super::{
    Until,
    child::{ChildError, Ended, Run},
};

pub mod keeper;

/// Where scripts lie unless configured otherwise.
pub const SCRIPTS_DEFAULT: &str = "/etc/holdfast/scripts";

/// Most of a script's time that is kept back for ending what it started.
const ENDING_MAX: Duration = Duration::from_millis(250);

/// The host's folder of scripts.
#[derive(Debug, Clone)]
pub struct Scripts {
    folder: PathBuf,
    program: PathBuf,
}

impl Default for Scripts {
    fn default() -> Self {
        Self::new(SCRIPTS_DEFAULT)
    }
}

impl Scripts {
    /// The folder, absolute.
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        // The program that runs, also when its file has been replaced by a newer one meanwhile.
        Self { folder: folder.into(), program: "/proc/self/exe".into() }
    }

    /// With another agent's program as keeper: a test is no agent.
    #[must_use]
    pub fn kept_by(mut self, program: impl Into<PathBuf>) -> Self {
        self.program = program.into();
        self
    }

    /// Where they lie.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Runs a script for at most `within`, all that it started included. One that was still running then shows as ended
    /// by [`keeper::TIME_IS_OVER`]; one that could not be started, as [`keeper::COULD_NOT_RUN`] with the reason on its
    /// standard error.
    ///
    /// # Errors
    /// When not even its keeper could be started, or that hung.
    pub async fn run(&self, script: &Script, within: Duration) -> Result<Ended, ChildError> {
        let own = within - (within / 5).min(ENDING_MAX);
        Run::new(&self.program)
            .arg(keeper::COMMAND)
            .arg(&self.folder)
            .arg(&script.name)
            .arg(own.as_millis().to_string())
            .env("HOLDFAST_APP", script.app.as_str())
            .env("HOLDFAST_REGION", script.region.as_str())
            .env("HOLDFAST_CHECK", script.check.as_str())
            .ended(Until::after(within))
            .await
    }
}

/// Why a script is not run.
#[derive(Debug, thiserror::Error)]
pub enum ScriptError {
    /// The name leads out of the folder, or to nothing.
    #[error("{0:?} is no bare name of a file")]
    Name(String),
    /// Something on the way cannot be opened.
    #[error("cannot open {}: {why}", path.display())]
    Open {
        /// What.
        path: PathBuf,
        /// Why.
        why: String,
    },
    /// Something on the way could be changed by others than root.
    #[error("{} {wrong}; it must be root's and writable by nobody else: chown root:root and chmod go-w", path.display())]
    Untrusted {
        /// What.
        path: PathBuf,
        /// What is wrong with it.
        wrong: String,
    },
    /// It is nothing that could be run.
    #[error("{} {wrong}", path.display())]
    NoScript {
        /// What.
        path: PathBuf,
        /// What it is instead.
        wrong: &'static str,
    },
}

/// Opens a script for reading and running, through folders that only `owner` or root can change. The descriptor stays
/// open over an exec: whoever interprets the script reads it there.
///
/// # Errors
/// [`ScriptError`].
pub fn open(folder: &Path, name: &str, owner: u32) -> Result<OwnedFd, ScriptError> {
    let plain = !name.is_empty() && !name.starts_with('.') && !name.bytes().any(|b| b == b'/' || b == 0);
    if !plain || !folder.is_absolute() {
        return Err(ScriptError::Name(name.to_owned()));
    }
    let to_look = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut at = PathBuf::from("/");
    let failed = |path: &Path, e: Errno| ScriptError::Open { path: path.to_owned(), why: said(e) };
    let mut here = openat(CWD, &at, to_look, Mode::empty()).map_err(|e| failed(&at, e))?;
    for part in folder.components() {
        let Component::Normal(part) = part else { continue };
        trusted(&here, &at, owner, true)?;
        at.push(part);
        here = openat(&here, part, to_look, Mode::empty()).map_err(|e| failed(&at, e))?;
    }
    trusted(&here, &at, owner, false)?;
    at.push(name);
    // Without waiting: a pipe of that name would hold up its opener for ever.
    let to_run = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let script = openat(&here, name, to_run, Mode::empty()).map_err(|e| failed(&at, e))?;
    let stat = trusted(&script, &at, owner, false)?;
    let no_script = |wrong| Err(ScriptError::NoScript { path: at.clone(), wrong });
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return no_script("is no file");
    }
    if stat.st_mode & 0o111 == 0 {
        return no_script("may not be executed: chmod +x");
    }
    // It runs with the agent's rights and no others.
    if stat.st_mode & 0o6000 != 0 {
        return no_script("would run as somebody else: chmod u-s,g-s");
    }
    Ok(script)
}

/// Whether nobody but root and `owner` can change what is open here. On the way a folder may be writable by others when
/// it is sticky, as /tmp: what lies in it is then still only its owner's to move away.
fn trusted(fd: &OwnedFd, path: &Path, owner: u32, on_the_way: bool) -> Result<Stat, ScriptError> {
    let stat = fstat(fd).map_err(|e| ScriptError::Open { path: path.to_owned(), why: said(e) })?;
    match distrust(stat.st_uid, stat.st_mode, owner, on_the_way) {
        Some(wrong) => Err(ScriptError::Untrusted { path: path.to_owned(), wrong }),
        None => Ok(stat),
    }
}

fn distrust(uid: u32, mode: RawMode, owner: u32, on_the_way: bool) -> Option<String> {
    const STICKY: RawMode = 0o1000;
    if uid != 0 && uid != owner {
        return Some(format!("belongs to uid {uid}"));
    }
    let by_others = mode & 0o022 != 0 && !(on_the_way && mode & STICKY != 0);
    by_others.then(|| format!("is writable by group or others (mode {:o})", mode & 0o7777))
}

fn said(e: Errno) -> String {
    match e {
        Errno::LOOP | Errno::NOTDIR => "it is a symbolic link, or no folder".to_owned(),
        Errno::NOENT => "there is none; put it there as root".to_owned(),
        Errno::ACCESS => {
            format!("uid {} may not; scripts run as the agent's user", rustix::process::geteuid().as_raw())
        }
        other => std::io::Error::from(other).to_string(),
    }
}

#[cfg(test)]
mod tests {
    use std::{
        fs,
        os::unix::fs::{PermissionsExt as _, symlink},
    };

    use super::*;

    /// A folder with a script, both as they should be, and who owns them.
    struct Place {
        _dir: tempfile::TempDir,
        folder: PathBuf,
        owner: u32,
    }

    impl Place {
        fn new() -> Self {
            let dir = tempfile::tempdir().expect("a folder");
            let folder = dir.path().canonicalize().expect("it is there").join("scripts");
            fs::create_dir(&folder).expect("made");
            let place = Self { _dir: dir, folder, owner: rustix::process::geteuid().as_raw() };
            place.mode("", 0o755);
            fs::write(place.folder.join("look"), "#!/bin/sh\n").expect("written");
            place.mode("look", 0o755);
            place
        }

        fn mode(&self, name: &str, mode: u32) {
            fs::set_permissions(self.folder.join(name), fs::Permissions::from_mode(mode)).expect("changed");
        }

        fn refused(&self, name: &str) -> String {
            open(&self.folder, name, self.owner).expect_err("refused").to_string()
        }
    }

    #[test]
    fn a_script_that_only_its_owner_can_change_is_opened() {
        let place = Place::new();
        open(&place.folder, "look", place.owner).expect("opened");
    }

    #[test]
    fn names_that_lead_elsewhere_are_refused() {
        let place = Place::new();
        for name in ["", ".", "..", "../look", "a/b", "/bin/sh", ".hidden", "a\0b"] {
            assert!(place.refused(name).contains("no bare name"), "{name:?}");
        }
        assert!(place.refused("none").ends_with("there is none; put it there as root"));
    }

    #[test]
    fn what_others_could_change_is_refused() {
        let place = Place::new();
        for mode in [0o775, 0o757, 0o777] {
            place.mode("look", mode);
            assert!(place.refused("look").contains("is writable by group or others"), "{mode:o}");
        }
        place.mode("look", 0o755);
        place.mode("", 0o1777);
        // Sticky or not, others could put a script into it.
        assert!(place.refused("look").contains("scripts is writable by group or others"), "{}", place.refused("look"));
        place.mode("", 0o755);
        let parent = place.folder.parent().expect("a folder");
        fs::set_permissions(parent, fs::Permissions::from_mode(0o777)).expect("changed");
        assert!(place.refused("look").contains("is writable by group or others (mode 777)"));
        fs::set_permissions(parent, fs::Permissions::from_mode(0o700)).expect("changed");
    }

    #[test]
    fn others_are_not_root() {
        assert_eq!(distrust(1_000, 0o755, 0, false), Some("belongs to uid 1000".to_owned()));
        assert_eq!(distrust(0, 0o755, 0, false), None);
        assert_eq!(distrust(0, 0o1777, 0, true), None);
        assert!(distrust(0, 0o1777, 0, false).is_some());
    }

    #[test]
    fn links_and_what_is_no_script_are_refused() {
        let place = Place::new();
        symlink("/bin/true", place.folder.join("link")).expect("made");
        assert!(place.refused("link").contains("symbolic link"), "{}", place.refused("link"));
        let other = place.folder.parent().expect("a folder").join("other");
        symlink(&place.folder, &other).expect("made");
        let e = open(&other, "look", place.owner).expect_err("refused").to_string();
        assert!(e.contains("symbolic link"), "{e}");
        fs::create_dir(place.folder.join("folder")).expect("made");
        place.mode("folder", 0o755);
        assert!(place.refused("folder").ends_with("is no file"));
        rustix::fs::mknodat(CWD, place.folder.join("pipe"), FileType::Fifo, Mode::from_raw_mode(0o600), 0)
            .expect("made");
        assert!(place.refused("pipe").ends_with("is no file"));
        place.mode("look", 0o644);
        assert!(place.refused("look").contains("chmod +x"));
        place.mode("look", 0o4755);
        assert!(place.refused("look").contains("somebody else"));
    }
}
