//! What is known of a container without Docker: where its processes are and where its files lie on the host.
//!
//! A fence must not wait for Docker, which may hang or be dead while its containers serve on. So whatever Docker said
//! last is kept, for as long as the agent runs and, in a note under `/run`, over its restarts. A reboot ends every
//! container, and takes the notes with it.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use holdfast_shared::{error::Chain, files};
use serde::{Deserialize, Serialize};

use super::Container;

/// A note is a few paths.
const NOTE_BYTES_MAX: u64 = 1 << 20;

/// What Docker said of a container when it last answered.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Known {
    /// Number of its first process, as the host counts; 0 when it never ran. May belong to somebody else by now.
    pub first: i32,
    /// Cgroups that were its own when it ran.
    pub cgroups: Vec<PathBuf>,
    /// Where the directories that are mounted into it lie on the host, by their names inside.
    pub mounts: BTreeMap<PathBuf, PathBuf>,
}

impl Known {
    /// Where a path of the container lies on the host; nothing when it is in no mounted directory.
    #[must_use]
    pub fn on_host(&self, inside: &Path) -> Option<PathBuf> {
        let covers = |(at, host): (&PathBuf, &PathBuf)| {
            Some((at.components().count(), host.join(inside.strip_prefix(at).ok()?)))
        };
        // The deepest mount hides those above it.
        let (_, host) = self.mounts.iter().filter_map(covers).max()?;
        // Joining nothing leaves a slash at the end.
        Some(host.components().collect())
    }
}

/// A memory of one container that all its copies share.
#[derive(Debug, Clone, Default)]
pub(super) struct Memory {
    known: Arc<Mutex<Known>>,
    note: Option<PathBuf>,
}

impl Memory {
    /// One that also survives the agent, in this file.
    fn noted(note: PathBuf) -> Self {
        let known = match files::read(&note, NOTE_BYTES_MAX) {
            Ok(bytes) => serde_json::from_slice(&bytes).unwrap_or_else(|e| {
                tracing::warn!(note = %note.display(), error = %e, "the note of a container cannot be read; docker is asked");
                Known::default()
            }),
            Err(e) if e.is_missing() => Known::default(),
            Err(e) => {
                tracing::warn!(error = %Chain(&e), "the note of a container cannot be read; docker is asked");
                Known::default()
            }
        };
        Self { known: Arc::new(Mutex::new(known)), note: Some(note) }
    }

    pub(super) fn get(&self) -> Known {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Keeps what was seen. A container that does not run keeps the cgroups it had: what Docker lost sight of is there.
    pub(super) fn put(&self, first: i32, cgroups: Option<Vec<PathBuf>>, mounts: BTreeMap<PathBuf, PathBuf>) {
        // Under the lock to the end, so that the note of the newer word is the one that stays.
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let cgroups = cgroups.unwrap_or_else(|| known.cgroups.clone());
        let new = Known { first, cgroups, mounts };
        if *known == new {
            return;
        }
        *known = new;
        let Some(note) = &self.note else { return };
        // On tmpfs: this waits for no disk.
        let written = serde_json::to_vec(&*known).map(|bytes| files::write_private(note, &bytes));
        match written {
            Ok(Ok(())) => {}
            // What is in memory holds; only a restart of the agent while Docker is down would miss it.
            Ok(Err(e)) => tracing::warn!(error = %Chain(&e), "cannot note where a container's processes are"),
            Err(e) => {
                tracing::warn!(note = %note.display(), error = %e, "cannot note where a container's processes are")
            }
        }
    }
}

/// The containers of one Docker, each with one memory however often it is asked for.
#[derive(Debug)]
pub struct Containers {
    socket: PathBuf,
    folder: Option<PathBuf>,
    known: Mutex<BTreeMap<String, Memory>>,
}

impl Containers {
    /// Those of the docker daemon that listens on `socket`.
    #[must_use]
    pub fn new(socket: PathBuf) -> Self {
        Self { socket, folder: None, known: Mutex::default() }
    }

    /// Keeps what is known of them in `folder`, which is made when it is missing. It should be gone after a reboot.
    #[must_use]
    pub fn noted_in(mut self, folder: PathBuf) -> Self {
        match files::make_private_folder(&folder) {
            Ok(()) => self.folder = Some(folder),
            Err(e) => tracing::warn!(error = %Chain(&e), "where containers' processes are is not noted"),
        }
        self
    }

    /// The container of that name.
    #[must_use]
    pub fn get(&self, name: &str) -> Container {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let memory = known.entry(name.to_owned()).or_insert_with(|| match &self.folder {
            // A spec's container names hold no slash; another one could name a file elsewhere.
            Some(folder) if !name.contains('/') => Memory::noted(folder.join(format!("{name}.json"))),
            Some(_) | None => Memory::default(),
        });
        Container { socket: self.socket.clone(), name: name.to_owned(), memory: memory.clone() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mounts(pairs: &[(&str, &str)]) -> BTreeMap<PathBuf, PathBuf> {
        pairs.iter().map(|(inside, host)| (inside.into(), host.into())).collect()
    }

    #[test]
    fn a_path_is_found_on_the_host_through_the_deepest_mount() {
        let known = Known {
            mounts: mounts(&[("/var/lib", "/srv/lib"), ("/var/lib/pg/data", "/srv/data"), ("/run", "/srv/run")]),
            ..Known::default()
        };
        assert_eq!(known.on_host(Path::new("/var/lib/pg/data")), Some("/srv/data".into()));
        assert_eq!(known.on_host(Path::new("/var/lib/pg/data/base")), Some("/srv/data/base".into()));
        assert_eq!(known.on_host(Path::new("/var/lib/pg")), Some("/srv/lib/pg".into()));
        assert_eq!(known.on_host(Path::new("/var/library")), None, "a name that only begins alike is another one");
    }

    #[test]
    fn where_a_containers_processes_are_is_known_over_a_restart_of_the_agent() {
        let folder = tempfile::tempdir().expect("a folder");
        let containers =
            || Containers::new("/nonexistent/docker.sock".into()).noted_in(folder.path().join("containers"));
        let before = containers();
        before.get("shop").memory.put(
            7,
            Some(vec!["/sys/fs/cgroup/docker/1".into()]),
            mounts(&[("/data", "/srv/shop")]),
        );
        let known = before.get("shop").known();
        assert_eq!((known.first, known.on_host(Path::new("/data"))), (7, Some("/srv/shop".into())));
        assert_eq!(containers().get("shop").known(), known);
        // It stopped: its cgroups are where anything that is left of it would be.
        before.get("shop").memory.put(0, None, mounts(&[]));
        assert_eq!(containers().get("shop").known().cgroups, known.cgroups);
        assert_eq!(containers().get("other").known(), Known::default());
    }

    #[test]
    fn a_note_that_cannot_be_read_is_no_knowledge_and_no_failure() {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("shop.json"), "{").expect("writable");
        let containers = Containers::new("/nonexistent/docker.sock".into()).noted_in(folder.path().to_owned());
        assert_eq!(containers.get("shop").known(), Known::default());
    }
}
