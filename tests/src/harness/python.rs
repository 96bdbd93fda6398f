//! Programs in Python and the packages they need, in an environment of the build's own: nothing of the machine's Python
//! is changed.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result};

use super::process::Program;
use crate::preflight;

/// Some ten megabytes of packages, on a slow line.
const INSTALLED_WITHIN: Duration = Duration::from_secs(300);

/// A Python with the packages that `tests/python/requirements.txt` names.
#[derive(Debug, Clone)]
pub struct Python {
    program: PathBuf,
    scripts: PathBuf,
}

impl Python {
    /// Makes the environment where there is none of these requirements yet: from the package index, some seconds, once.
    ///
    /// # Errors
    /// When Python has no `venv`, or the packages cannot be had.
    pub fn ready() -> Result<Self> {
        let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
        let scripts = tests.join("python");
        let wanted = fs::read_to_string(scripts.join("requirements.txt"))?;
        let root = tests.parent().context("the tests are a room of the workspace")?;
        let folder = root.join("target/python");
        fs::create_dir_all(&folder)?;
        // Two families at once would write into one another.
        let lock = File::create(folder.join("lock"))?;
        lock.lock().context("target/python/lock")?;
        let (venv, done) = (folder.join("venv"), folder.join("installed.txt"));
        let program = venv.join("bin/python");
        if fs::read_to_string(&done).ok().as_ref() != Some(&wanted) {
            let python = preflight::program("python3")?;
            drop(fs::remove_file(&done));
            let made = Program::new(python).args(["-m", "venv", "--clear"]).arg(&venv).run(INSTALLED_WITHIN)?;
            made.well().context("python3 makes no virtual environment; run tests/preflight.sh --with-docker")?;
            let install = Program::new(&program).args(["-m", "pip", "install", "--quiet", "--requirement"]);
            let installed = install.arg(scripts.join("requirements.txt")).run(INSTALLED_WITHIN)?;
            installed.well().context("packages of tests/python/requirements.txt")?;
            fs::write(&done, &wanted)?;
        }
        Ok(Self { program, scripts })
    }

    /// One of the scripts of `tests/python`, ready for arguments.
    #[must_use]
    pub fn script(&self, name: &str) -> Program {
        Program::new(&self.program).arg(self.scripts.join(name))
    }
}
