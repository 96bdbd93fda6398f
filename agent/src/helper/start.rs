//! Whether a unit may be started now: gathers what [`holdfast_agent_core::may_start`] decides on.
//!
//! Asked at boot, before the agent runs, so everything is read from files. What the agent knows is read by a child that
//! runs as the owner of those files: root opens no database that another user may have written.

use std::{
    fs,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    time::Duration,
};

use holdfast_agent_core::{
    declared::Declared,
    lease::Kept,
    may_start::{self, Guarded, Knowledge, Role, Why, WhyNot},
    record::{self, RECORD_BYTES, Record, Until},
};
use holdfast_proto::v1;
use holdfast_shared::{
    clock::{Clock as _, SystemClock},
    error::Chain,
    files,
};
use holdfast_types::{BootId, BootInstant, Generation};
use prost::Message as _;
use rusqlite::{Connection, OpenFlags};
use serde::{Deserialize, Serialize};

use crate::{
    allowed::Memory,
    config::{Config, Identity, IdentityFileError, RUN_DIR_DEFAULT, STATE_DIR_DEFAULT},
    exec::child::Run,
    leases::notes_folder,
    store, wire,
};

/// Longest that it may take to read what is known: a start waits for it, and a disk may be busy at boot.
const FACTS_WITHIN: Duration = Duration::from_secs(20);

/// What the agent knows, as its own user can read it.
#[derive(Debug, Serialize, Deserialize)]
pub enum Facts {
    /// This host has joined no cluster, or was never told of an app.
    Nothing,
    /// These are its apps.
    Apps(Vec<AppFacts>),
    /// They cannot be read; why.
    Unreadable(String),
}

/// One app.
#[derive(Debug, Serialize, Deserialize)]
pub struct AppFacts {
    guarded: Guarded,
    /// Units of its writers on this host.
    units: Vec<String>,
    record: Option<Noted>,
}

/// [`Record`], on the way.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
struct Noted {
    generation: u64,
    /// Since the boot; nothing: without end.
    until: Option<Duration>,
}

impl From<Record> for Noted {
    fn from(record: Record) -> Self {
        let until = match record.until {
            Until::At(at) => Some(at.since_boot()),
            Until::Never => None,
        };
        Self { generation: record.generation.0, until }
    }
}

impl From<Noted> for Record {
    fn from(noted: Noted) -> Self {
        let until = noted.until.map_or(Until::Never, |at| Until::At(BootInstant::from_boot(at)));
        Self { generation: Generation(noted.generation), until }
    }
}

impl Facts {
    /// Reads them.
    #[must_use]
    pub fn read(state_dir: &Path, run_dir: &Path) -> Self {
        let identity = match Identity::load(state_dir) {
            Ok(identity) => identity,
            Err(IdentityFileError::NotJoined { .. }) => return Self::Nothing,
            Err(e) => return Self::Unreadable(Chain(&e).to_string()),
        };
        let boot = match SystemClock::new() {
            Ok(clock) => clock.boot_id(),
            Err(e) => return Self::Unreadable(format!("cannot read which boot this is: {e}")),
        };
        match apps(state_dir, run_dir, &identity, &boot) {
            Ok(apps) => Self::Apps(apps),
            Err(why) => Self::Unreadable(why),
        }
    }
}

fn apps(state_dir: &Path, run_dir: &Path, identity: &Identity, boot: &BootId) -> Result<Vec<AppFacts>, String> {
    let path = state_dir.join("agent.db");
    if !path.exists() {
        // It joined and never ran.
        return Ok(Vec::new());
    }
    let text = |e: rusqlite::Error| format!("{}: {e}", path.display());
    // Writable, because a log that an ended agent left behind is taken up first; nothing else is written.
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(&path, flags).map_err(text)?;
    connection.busy_timeout(FACTS_WITHIN / 4).map_err(text)?;
    connection.pragma_update(None, "query_only", true).map_err(text)?;
    let mut apps = Vec::new();
    for (body, kept) in store::guarded(&connection).map_err(text)? {
        let desired = v1::DesiredApp::decode(body.as_slice()).map_err(|e| format!("{}: {e}", path.display()))?;
        let app = wire::app(&desired, &identity.region).map_err(|e| format!("app {}: {e}", desired.app))?;
        let me = crate::Me { host: identity.host.clone(), region: identity.region.clone() };
        let units: Vec<_> =
            app.writers_on(&me.host).filter_map(|w| Declared::of(w).unit().map(str::to_owned)).collect();
        let wish = app.wish(&me, true);
        let note = files::read(&notes_folder(run_dir).join(app.name.as_str()), RECORD_BYTES as u64).ok();
        let record = note.and_then(|bytes| record::read(&bytes, boot));
        let guarded = Guarded::new(app.name.clone(), wish.timings, wish.fences, Kept { wish: Some(wish), ..kept });
        apps.push(AppFacts { guarded, units, record: record.map(Noted::from) });
    }
    Ok(apps)
}

/// Whether `unit` may be started now.
///
/// # Errors
/// Why not, for the journal.
pub async fn may_start(unit: &str, file: Option<&Path>, memory: Option<&Memory>) -> Result<Why, WhyNot> {
    let clock = SystemClock::new().map_err(|e| WhyNot::Unreadable(format!("cannot read which boot this is: {e}")))?;
    let config = Config::load(file);
    let mut data_dirs: Vec<PathBuf> = Vec::new();
    let now = config.as_ref().map(|config| config.writers().clone()).unwrap_or_default();
    let once = memory.map(Memory::read).unwrap_or_default();
    data_dirs.extend(now.union(&once).filter(|d| d.unit() == Some(unit)).map(|d| d.data_dir.clone()));
    let role = role_of(&data_dirs);
    if role == Role::Standby {
        return may_start::may_start(&role, &Knowledge::Nothing, clock.boot());
    }
    let knowledge = match &config {
        Ok(config) => knowledge(unit, config.state_dir(), config.run_dir()).await,
        // Where the agent keeps what it knows is not known either; where it usually is may say that nothing is guarded.
        Err(problems) => match knowledge(unit, Path::new(STATE_DIR_DEFAULT), Path::new(RUN_DIR_DEFAULT)).await {
            Knowledge::Known(apps) if !apps.is_empty() => Knowledge::Known(apps),
            Knowledge::Known(_) | Knowledge::Nothing | Knowledge::Unreadable(_) => {
                Knowledge::Unreadable(problems.to_string().replace('\n', "; "))
            }
        },
    };
    may_start::may_start(&role, &knowledge, clock.boot())
}

/// A unit with several data directories is a standby only when all are.
fn role_of(data_dirs: &[PathBuf]) -> Role {
    if data_dirs.is_empty() {
        return Role::Unknown("the unit is not declared".to_owned());
    }
    for dir in data_dirs {
        let has = |name: &str| match fs::symlink_metadata(dir.join(name)) {
            Ok(_) => Ok(true),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound && dir.is_dir() => Ok(false),
            Err(e) => Err(format!("{}: {e}", dir.join(name).display())),
        };
        match (has("standby.signal"), has("promote")) {
            (Ok(true), Ok(false)) => {}
            (Ok(_), Ok(_)) => return Role::Primary,
            (Err(why), _) | (_, Err(why)) => return Role::Unknown(why),
        }
    }
    Role::Standby
}

async fn knowledge(unit: &str, state_dir: &Path, run_dir: &Path) -> Knowledge {
    let owner = match fs::metadata(state_dir) {
        Ok(metadata) => (metadata.uid(), metadata.gid()),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Knowledge::Nothing,
        Err(e) => return Knowledge::Unreadable(format!("{}: {e}", state_dir.display())),
    };
    let facts = if owner.0 == rustix::process::geteuid().as_raw() {
        Facts::read(state_dir, run_dir)
    } else {
        match facts_as(owner, state_dir, run_dir).await {
            Ok(facts) => facts,
            Err(why) => return Knowledge::Unreadable(why),
        }
    };
    match facts {
        Facts::Nothing => Knowledge::Nothing,
        Facts::Unreadable(why) => Knowledge::Unreadable(why),
        Facts::Apps(apps) => {
            let of_it = apps.into_iter().filter(|app| app.units.iter().any(|u| u == unit));
            Knowledge::Known(of_it.map(|app| (app.guarded, app.record.map(Record::from))).collect())
        }
    }
}

async fn facts_as(owner: (u32, u32), state_dir: &Path, run_dir: &Path) -> Result<Facts, String> {
    let own = std::env::current_exe().map_err(|e| format!("cannot find this program: {e}"))?;
    let run = Run::new(own).arg("facts").arg(state_dir).arg(run_dir).as_ids(owner.0, owner.1);
    let output = run.within(FACTS_WITHIN).await.map_err(|e| Chain(&e).to_string())?;
    serde_json::from_slice(&output.stdout).map_err(|e| format!("what is known is not understood: {e}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_data_directory_is_a_standbys_only_for_sure() {
        let dir = tempfile::tempdir().expect("a folder");
        let (one, two) = (dir.path().join("one"), dir.path().join("two"));
        assert!(matches!(role_of(&[]), Role::Unknown(_)));
        assert!(matches!(role_of(std::slice::from_ref(&one)), Role::Unknown(_)), "not mounted");
        for at in [&one, &two] {
            fs::create_dir(at).expect("made");
        }
        assert_eq!(role_of(std::slice::from_ref(&one)), Role::Primary);
        fs::write(one.join("standby.signal"), "").expect("written");
        assert_eq!(role_of(std::slice::from_ref(&one)), Role::Standby);
        assert_eq!(role_of(&[one.clone(), two]), Role::Primary, "one of two");
        fs::write(one.join("promote"), "").expect("written");
        assert_eq!(role_of(&[one]), Role::Primary, "its promotion was ordered");
    }

    #[test]
    fn a_note_arrives_as_it_was() {
        for until in [Until::At(BootInstant::from_boot(Duration::new(7, 9))), Until::Never] {
            let record = Record { generation: Generation(4), until };
            let text = serde_json::to_string(&Noted::from(record)).expect("plain");
            assert_eq!(Record::from(serde_json::from_str::<Noted>(&text).expect("read")), record);
        }
    }

    #[test]
    fn a_host_that_never_joined_knows_of_nothing_and_a_damaged_one_cannot_say() {
        let dir = tempfile::tempdir().expect("a folder");
        assert!(matches!(Facts::read(dir.path(), dir.path()), Facts::Nothing));
        fs::write(dir.path().join("identity.toml"), "cluster = ").expect("written");
        assert!(matches!(Facts::read(dir.path(), dir.path()), Facts::Unreadable(_)));
    }
}
