//! Logs. `HOLDFAST_LOG` chooses what is shown, as in `info` or `holdfast_agent=debug`; `HOLDFAST_LOG_FORMAT` how:
//!
//! - `human`: one line per event on stderr,
//! - `json`: one object per line on stderr,
//! - `journald`: to systemd's journal, with the values in fields of their own.
//!
//! Without it a daemon whose stderr systemd has connected to the journal uses the journal, any other is human.

mod journal;

use std::{env, io, os::fd::AsFd};

use tracing_subscriber::{EnvFilter, Layer, Registry, layer::SubscriberExt as _};

/// What is shown unless said otherwise.
const SHOWN: &str = "info,openraft=warn";

/// How events are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// One line per event.
    Human,
    /// One JSON object per line.
    Json,
    /// Fields of systemd's journal.
    Journald,
}

/// Why logging could not begin.
#[derive(Debug, thiserror::Error)]
pub enum LoggingError {
    /// `HOLDFAST_LOG` cannot be understood.
    #[error("HOLDFAST_LOG is \"{value}\"; write a level or a list, as in info or info,holdfast_agent=debug: {why}")]
    Shown {
        /// What it is.
        value: String,
        /// What is wrong with it.
        why: String,
    },
    /// `HOLDFAST_LOG_FORMAT` is none of them.
    #[error("HOLDFAST_LOG_FORMAT is \"{0}\"; write human, json or journald")]
    Format(String),
    /// The journal was asked for by name and is not there.
    #[error("HOLDFAST_LOG_FORMAT is journald, and systemd's journal cannot be reached")]
    Journal(#[source] io::Error),
}

/// Starts logging for a daemon. Called once, by `main`.
///
/// # Errors
/// [`LoggingError`]: what was asked for by name is done or refused.
pub fn init() -> Result<(), LoggingError> {
    let shown = env::var("HOLDFAST_LOG").ok().filter(|value| !value.is_empty());
    let shown = shown.unwrap_or_else(|| SHOWN.to_owned());
    let filter = EnvFilter::builder()
        .parse(&shown)
        .map_err(|e| LoggingError::Shown { value: shown.clone(), why: e.to_string() })?;
    let asked = env::var("HOLDFAST_LOG_FORMAT").ok().filter(|value| !value.is_empty());
    let named = asked.as_deref().map(format_of).transpose()?;
    let format = named.unwrap_or_else(|| if stderr_is_journal() { Format::Journald } else { Format::Human });
    let lines = match format {
        Format::Human => human(),
        Format::Json => tracing_subscriber::fmt::layer().json().flatten_event(true).with_writer(io::stderr).boxed(),
        Format::Journald => match journal::layer() {
            Ok(journal) => journal.boxed(),
            Err(e) if named.is_some() => return Err(LoggingError::Journal(e)),
            // systemd takes the lines of stderr as well.
            Err(_) => human(),
        },
    };
    let subscriber = tracing_subscriber::registry().with(lines.with_filter(filter));
    // Only a second call fails, and then the first one's subscriber stays.
    drop(tracing::subscriber::set_global_default(subscriber));
    Ok(())
}

fn human() -> Box<dyn Layer<Registry> + Send + Sync> {
    tracing_subscriber::fmt::layer().with_writer(io::stderr).with_ansi(false).with_target(false).boxed()
}

fn format_of(name: &str) -> Result<Format, LoggingError> {
    match name {
        "human" => Ok(Format::Human),
        "json" => Ok(Format::Json),
        "journald" => Ok(Format::Journald),
        other => Err(LoggingError::Format(other.to_owned())),
    }
}

/// Whether stderr is the stream that systemd speaks of in `JOURNAL_STREAM`: device and inode, as it says them.
fn stderr_is_journal() -> bool {
    let Ok(told) = env::var("JOURNAL_STREAM") else { return false };
    is_stream(io::stderr().as_fd(), &told)
}

fn is_stream(fd: std::os::fd::BorrowedFd<'_>, told: &str) -> bool {
    rustix::fs::fstat(fd).is_ok_and(|stat| told == format!("{}:{}", stat.st_dev, stat.st_ino))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt as _;

    use super::*;

    #[test]
    fn only_the_stream_that_systemd_names_is_the_journal() {
        let file = tempfile::tempfile().expect("a file");
        let meta = file.metadata().expect("its inode");
        assert!(is_stream(file.as_fd(), &format!("{}:{}", meta.dev(), meta.ino())));
        assert!(!is_stream(file.as_fd(), &format!("{}:{}", meta.dev(), meta.ino() + 1)));
        assert!(
            !is_stream(file.as_fd(), ""),
            "a program that was started from a unit's shell, with its stderr in a file"
        );
    }

    #[test]
    fn a_format_that_is_none_is_refused_with_those_that_are() {
        assert_eq!(format_of("json").expect("known"), Format::Json);
        let refused = format_of("xml").expect_err("unknown").to_string();
        assert_eq!(refused, "HOLDFAST_LOG_FORMAT is \"xml\"; write human, json or journald");
    }
}
