//! Logs of programs: their end for a message, and a copy that outlives the net of a test.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

/// The last `lines` of a file; says so when it cannot be read.
pub(super) fn tail(path: &Path, lines: usize) -> String {
    match fs::read(path) {
        Ok(bytes) => {
            let text = String::from_utf8_lossy(&bytes);
            let all: Vec<&str> = text.lines().collect();
            all[all.len().saturating_sub(lines)..].join("\n")
        }
        Err(error) => format!("({}: {error})", path.display()),
    }
}

/// Copies the logs of a test's net beside the build's other output, where the next run of the same label replaces them.
/// Always and not only on failure: a test that returns an error has dropped its net before anyone knows. Other programs
/// than tests leave nothing.
pub(super) fn keep(from: &Path, label: &str) -> io::Result<Option<PathBuf>> {
    // …/target/debug/deps/family-1234
    let own = std::env::current_exe()?;
    let Some(deps) = own.parent().filter(|folder| folder.ends_with("deps")) else { return Ok(None) };
    let Some(target) = deps.ancestors().nth(2) else { return Ok(None) };
    let to = target.join("e2e-logs").join(label);
    if to.exists() {
        fs::remove_dir_all(&to)?;
    }
    fs::create_dir_all(&to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        if entry.file_type()?.is_file() {
            fs::copy(entry.path(), to.join(entry.file_name()))?;
        }
    }
    Ok(Some(to))
}
