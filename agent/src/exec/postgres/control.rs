//! What a stopped PostgreSQL says of itself: pg_controldata.

use std::{
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use holdfast_shared::files;
use holdfast_types::{Lsn, spec::RunBy};

use super::{Postgres, SystemId, Timeline};
use crate::exec::{Until, child::Run};

/// `PG_VERSION` is a number.
const VERSION_BYTES_MAX: u64 = 64;

/// The control file, as far as it is needed here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Control {
    /// Which cluster.
    pub system: SystemId,
    /// What it last was.
    pub state: ClusterState,
    /// Timeline of its latest checkpoint, or that up to which a standby must recover when that is later.
    pub timeline: Timeline,
    /// Where its latest checkpoint is.
    pub checkpoint: Lsn,
}

/// "Database cluster state" of the control file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClusterState {
    /// A primary, shut down cleanly.
    ShutDown,
    /// A standby, shut down cleanly.
    ShutDownInRecovery,
    /// A standby, running or killed.
    InArchiveRecovery,
    /// A primary, running or killed.
    InProduction,
    /// Any other: starting, recovering from a crash, shutting down.
    Between,
}

impl Postgres {
    /// Reads the control file. Nothing when that is not possible: for a container, or without PostgreSQL's programs.
    pub(super) async fn control(&self, until: Until) -> Option<Control> {
        let run = |program: PathBuf| Run::new(program).arg("-D").arg(&self.data_dir);
        let run = match &self.run_by {
            RunBy::PgCtl { bin, user } => run(bin.join("pg_controldata")).as_user(user),
            // As the owner of what it reads: nothing that lies in a data directory is root's to trust.
            RunBy::Systemd { .. } => {
                let owner = std::fs::metadata(&self.data_dir).ok()?;
                run(installed("pg_controldata", &self.data_dir)).as_ids(owner.uid(), owner.gid())
            }
            RunBy::Container { .. } => return None,
        };
        let output = run.until(until).await.ok()?;
        parse(&String::from_utf8_lossy(&output.stdout))
    }
}

/// Where a program of the version that the data directory belongs to is installed; its bare name when in no known place.
fn installed(program: &str, data_dir: &Path) -> PathBuf {
    let version = files::read_text(&data_dir.join("PG_VERSION"), VERSION_BYTES_MAX).unwrap_or_default();
    // A number, and never a way to somewhere else.
    let version: String = version.trim().chars().filter(|c| c.is_ascii_digit() || *c == '.').take(8).collect();
    let version = version.trim_matches('.');
    [format!("/usr/lib/postgresql/{version}/bin"), format!("/usr/pgsql-{version}/bin")]
        .iter()
        .map(|dir| Path::new(dir).join(program))
        .find(|path| path.exists())
        .unwrap_or_else(|| program.into())
}

pub(crate) fn parse(text: &str) -> Option<Control> {
    let field = |name: &str| {
        text.lines()
            .find_map(|line| line.split_once(':').filter(|(key, _)| *key == name).map(|(_, value)| value.trim()))
    };
    let timeline = |name| field(name).and_then(|text| text.parse::<u32>().ok());
    Some(Control {
        system: SystemId(field("Database system identifier")?.parse().ok()?),
        state: match field("Database cluster state")? {
            "shut down" => ClusterState::ShutDown,
            "shut down in recovery" => ClusterState::ShutDownInRecovery,
            "in archive recovery" => ClusterState::InArchiveRecovery,
            "in production" => ClusterState::InProduction,
            "starting up" | "shutting down" | "in crash recovery" => ClusterState::Between,
            _ => return None,
        },
        timeline: Timeline(
            timeline("Latest checkpoint's TimeLineID")?
                .max(timeline("Min recovery ending loc's timeline").unwrap_or(0)),
        ),
        checkpoint: field("Latest checkpoint location")?.parse().ok()?,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TEXT: &str = "\
pg_control version number:            1300
Database system identifier:           7562140988718822211
Database cluster state:               in archive recovery
pg_control last modified:             Fri 20 Nov 2026 21:04:17 UTC
Latest checkpoint location:           3A/945A1100
Latest checkpoint's REDO location:    3A/94000028
Latest checkpoint's TimeLineID:       4
Min recovery ending loc's timeline:   5
";

    #[test]
    fn the_control_file_is_read() {
        let control = parse(TEXT).expect("readable");
        assert_eq!(control.system, SystemId(7_562_140_988_718_822_211));
        assert_eq!((control.state, control.timeline), (ClusterState::InArchiveRecovery, Timeline(5)));
        assert_eq!(control.checkpoint.to_string(), "3A/945A1100");
    }

    #[test]
    fn an_unknown_state_is_not_taken_for_another() {
        assert_eq!(parse(&TEXT.replace("in archive recovery", "in love")), None);
        assert_eq!(parse(&TEXT.replace("Latest checkpoint location", "Latest")), None);
    }

    proptest! {
        #[test]
        fn garbage_never_panics(text in ".{0,300}") {
            parse(&text);
        }
    }
}
