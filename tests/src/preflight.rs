//! What a test needs of the machine. A missing component is an error with the command that installs it, never a reason
//! to skip.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail, ensure};

/// The oldest PostgreSQL that Holdfast works with: its role takes grants that came with 15.
pub const POSTGRES_OLDEST: u32 = 15;

const NEXT: &str = "run tests/preflight.sh, it says what is missing and installs it";

/// This process may act as other users.
///
/// # Errors
/// When it is not root's.
pub fn root() -> Result<()> {
    ensure!(
        rustix::process::geteuid().is_root(),
        "hosts of a test are network namespaces and take root to make; run it as root or with sudo"
    );
    Ok(())
}

/// This process may make network namespaces, and the programs for that are there.
///
/// # Errors
/// With what is missing.
pub fn namespaces() -> Result<()> {
    root()?;
    ensure!(Path::new("/proc/self/ns/net").exists(), "this kernel has no network namespaces");
    for program in ["ip", "nft", "nsenter", "setpriv", "bash"] {
        self::program(program)?;
    }
    Ok(())
}

/// Where a program is.
///
/// # Errors
/// When PATH and the system's folders do not have it.
pub fn program(name: &str) -> Result<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin", "/sbin"].map(PathBuf::from))
        .map(|folder| folder.join(name))
        .find(|file| file.is_file())
        .with_context(|| format!("{name} is not installed; {NEXT}"))
}

/// The folder with the programs of the newest PostgreSQL on this machine.
///
/// # Errors
/// When there is none that is new enough.
pub fn postgres() -> Result<PathBuf> {
    let newest = fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok())
        .filter(|major| Path::new(&format!("/usr/lib/postgresql/{major}/bin/postgres")).exists())
        .max();
    match newest {
        Some(major) if major >= POSTGRES_OLDEST => Ok(PathBuf::from(format!("/usr/lib/postgresql/{major}/bin"))),
        Some(major) => bail!("PostgreSQL {major} is older than {POSTGRES_OLDEST}; {NEXT}"),
        None => bail!("no PostgreSQL under /usr/lib/postgresql; {NEXT}"),
    }
}
