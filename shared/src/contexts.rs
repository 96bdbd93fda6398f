//! The clusters that an operator works with: `~/.config/holdfast/contexts.toml`, and beside it one folder for each
//! operator certificate. No environment is read here; callers pass in what they found there.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use holdfast_types::{ClusterId, ContextName};
use serde::{Deserialize, Serialize};

use crate::files::{self, FileError};

/// A context is about 200 bytes.
const FILE_BYTES_MAX: u64 = 1024 * 1024;

/// Why contexts cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ContextError {
    /// The file cannot be read or written.
    #[error(transparent)]
    File(#[from] FileError),
    /// The file is not what we write.
    #[error("cannot read contexts from {file}")]
    Parse {
        /// The file.
        file: PathBuf,
        /// Line, column, and what is wrong there.
        #[source]
        source: Box<toml::de::Error>,
    },
    /// The file reads but does not make sense.
    #[error("cannot use the contexts in {file}: {why}")]
    Invalid {
        /// The file.
        file: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// The contexts cannot be put into text.
    #[error("cannot write contexts")]
    Print(#[source] Box<toml::ser::Error>),
    /// No context of this name.
    #[error("there is no context \"{name}\" in {file}; there is: {}", or_none(.known))]
    Unknown {
        /// What was asked for.
        name: String,
        /// Where it was looked for.
        file: PathBuf,
        /// The names that are there.
        known: Vec<String>,
    },
    /// Nothing says which cluster is meant.
    #[error("no cluster is chosen: {file} {}; add one with `holdfast context add`", if *.any { "has no current context" } else { "has no context" })]
    NoneChosen {
        /// Where it was looked for.
        file: PathBuf,
        /// Whether there are contexts at all.
        any: bool,
    },
    /// No home folder to look in.
    #[error("cannot find contexts.toml: HOME is not set; name the file with HOLDFAST_CONTEXTS_FILE")]
    NoHome,
}

fn or_none(names: &[String]) -> String {
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}

/// A cluster, and as whom to talk to it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Context {
    /// How the operator calls it: `prod`.
    pub name: ContextName,
    /// Which cluster it is.
    pub cluster: ClusterId,
    /// The coordinators, `host:port`, tried in turn.
    pub addresses: Vec<String>,
    /// The folder with the operator's key and certificate, as `Material::load_dir` reads it. Relative to the folder
    /// of contexts.toml.
    pub identity: PathBuf,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawContexts {
    #[serde(skip_serializing_if = "Option::is_none")]
    current: Option<ContextName>,
    #[serde(default, rename = "context", skip_serializing_if = "Vec::is_empty")]
    contexts: Vec<Context>,
}

/// All contexts of one file, in the order of the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Contexts {
    file: PathBuf,
    current: Option<ContextName>,
    contexts: Vec<Context>,
}

/// Where the contexts are: `named` (HOLDFAST_CONTEXTS_FILE) if given, else `.config/holdfast/contexts.toml` in `home`.
///
/// # Errors
/// [`ContextError::NoHome`] when neither is given.
pub fn contexts_file(named: Option<&Path>, home: Option<&Path>) -> Result<PathBuf, ContextError> {
    match (named, home) {
        (Some(named), _) => Ok(named.to_owned()),
        (None, Some(home)) => Ok(home.join(".config/holdfast/contexts.toml")),
        (None, None) => Err(ContextError::NoHome),
    }
}

impl Contexts {
    /// Reads the file; one that is not there has no contexts.
    ///
    /// # Errors
    /// [`ContextError`] when it cannot be read or does not make sense.
    pub fn load(file: &Path) -> Result<Self, ContextError> {
        let text = match files::read_text(file, FILE_BYTES_MAX) {
            Err(e) if e.is_missing() => String::new(),
            other => other?,
        };
        Self::parse(file, &text)
    }

    /// Reads the text of such a file.
    ///
    /// # Errors
    /// [`ContextError`] when it does not make sense.
    pub fn parse(file: &Path, text: &str) -> Result<Self, ContextError> {
        let parse = |source| ContextError::Parse { file: file.to_owned(), source: Box::new(source) };
        let raw: RawContexts = toml::from_str(text).map_err(parse)?;
        let contexts = Self { file: file.to_owned(), current: raw.current, contexts: raw.contexts };
        contexts.check().map_err(|why| ContextError::Invalid { file: file.to_owned(), why })?;
        Ok(contexts)
    }

    /// Writes the file, and its folder if need be, readable by its owner alone.
    ///
    /// # Errors
    /// [`ContextError`]; the old file is then still whole.
    pub fn save(&self) -> Result<(), ContextError> {
        let raw = RawContexts { current: self.current.clone(), contexts: self.contexts.clone() };
        let text = toml::to_string_pretty(&raw).map_err(|e| ContextError::Print(Box::new(e)))?;
        files::make_private_folder(self.folder())?;
        Ok(files::write_private(&self.file, text.as_bytes())?)
    }

    /// Makes sure that [`Contexts::save`] will find room and permission, before something is done that cannot be
    /// repeated.
    ///
    /// # Errors
    /// [`ContextError::File`] when nothing can be written there.
    pub fn prepare(&self) -> Result<(), ContextError> {
        files::make_private_folder(self.folder())?;
        let probe = self.folder().join(".contexts.probe");
        files::write_private(&probe, b"")?;
        Ok(files::remove(&probe)?)
    }

    /// All of them, in the order of the file.
    #[must_use]
    pub fn all(&self) -> &[Context] {
        &self.contexts
    }

    /// The name of the context that is used when none is named.
    #[must_use]
    pub fn current(&self) -> Option<&str> {
        self.current.as_ref().map(ContextName::as_str)
    }

    /// The context to work with: `named` (a flag, or HOLDFAST_CONTEXT) if given, else the current one.
    ///
    /// # Errors
    /// [`ContextError::Unknown`] when there is none of this name, [`ContextError::NoneChosen`] when nothing is named.
    pub fn choose(&self, named: Option<&str>) -> Result<&Context, ContextError> {
        let none = || ContextError::NoneChosen { file: self.file.clone(), any: !self.contexts.is_empty() };
        let name = named.or(self.current()).ok_or_else(none)?;
        self.find(name).ok_or_else(|| self.unknown(name))
    }

    /// Adds a context or replaces the one of its name; the first becomes the current one.
    ///
    /// # Errors
    /// [`ContextError::Invalid`] when it has no address.
    pub fn put(&mut self, context: Context) -> Result<(), ContextError> {
        if let Some(why) = problem(&context) {
            return Err(ContextError::Invalid { file: self.file.clone(), why });
        }
        if self.contexts.is_empty() {
            self.current = Some(context.name.clone());
        }
        match self.contexts.iter_mut().find(|c| c.name == context.name) {
            Some(old) => *old = context,
            None => self.contexts.push(context),
        }
        Ok(())
    }

    /// Makes a context the current one.
    ///
    /// # Errors
    /// [`ContextError::Unknown`] when there is none of this name.
    pub fn set_current(&mut self, name: &str) -> Result<(), ContextError> {
        let found = self.find(name).ok_or_else(|| self.unknown(name))?.name.clone();
        self.current = Some(found);
        Ok(())
    }

    /// Forgets a context and returns it; its key and certificate stay where they are.
    ///
    /// # Errors
    /// [`ContextError::Unknown`] when there is none of this name.
    pub fn remove(&mut self, name: &str) -> Result<Context, ContextError> {
        let at = self.contexts.iter().position(|c| c.name.as_str() == name).ok_or_else(|| self.unknown(name))?;
        if self.current() == Some(name) {
            self.current = None;
        }
        Ok(self.contexts.remove(at))
    }

    /// The folder of a context's key and certificate.
    #[must_use]
    pub fn identity_folder(&self, context: &Context) -> PathBuf {
        self.folder().join(&context.identity)
    }

    /// Where the key and certificate of a new context of this name belong, as [`Context::identity`] has it.
    #[must_use]
    pub fn identity_for(name: &ContextName) -> PathBuf {
        Path::new("contexts").join(name.as_str())
    }

    /// What stands in the way of a new context of this name: one that is there, or a key where its own would lie, of
    /// another file in the same folder.
    #[must_use]
    pub fn taken(&self, name: &ContextName) -> Option<String> {
        if self.all().iter().any(|context| context.name == *name) {
            return Some(format!("{} has a context {name} already", self.file.display()));
        }
        let folder = self.folder().join(Self::identity_for(name));
        folder.exists().then(|| format!("a key lies in {} already, of another contexts file", folder.display()))
    }

    fn folder(&self) -> &Path {
        self.file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
    }

    fn find(&self, name: &str) -> Option<&Context> {
        self.contexts.iter().find(|c| c.name.as_str() == name)
    }

    fn unknown(&self, name: &str) -> ContextError {
        let known = self.contexts.iter().map(|c| c.name.to_string()).collect();
        ContextError::Unknown { name: name.to_owned(), file: self.file.clone(), known }
    }

    fn check(&self) -> Result<(), String> {
        let mut seen = BTreeSet::new();
        for context in &self.contexts {
            if let Some(why) = problem(context) {
                return Err(why);
            }
            if !seen.insert(&context.name) {
                return Err(format!("context \"{}\" is there twice", context.name));
            }
        }
        match self.current() {
            Some(name) if self.find(name).is_none() => Err(format!("current is \"{name}\", which is none of them")),
            Some(_) | None => Ok(()),
        }
    }
}

fn problem(context: &Context) -> Option<String> {
    context.addresses.is_empty().then(|| format!("context \"{}\" has no address", context.name))
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt};

    use super::*;
    use crate::error::Chain;

    fn context(name: &str) -> Context {
        let name = ContextName::new(name).expect("a name");
        Context {
            cluster: ClusterId::from_random([3; 16]),
            addresses: vec!["c1.example:7443".into(), "10.0.0.2:7443".into()],
            identity: Contexts::identity_for(&name),
            name,
        }
    }

    #[test]
    fn contexts_are_saved_private_and_read_back() {
        let dir = tempfile::tempdir().expect("a folder");
        let file = contexts_file(None, Some(dir.path())).expect("a home");
        let mut contexts = Contexts::load(&file).expect("none yet");
        assert!(matches!(contexts.choose(None), Err(ContextError::NoneChosen { any: false, .. })));
        contexts.put(context("prod")).expect("added");
        contexts.put(context("lab")).expect("added");
        contexts.save().expect("saved");
        let read = Contexts::load(&file).expect("read");
        assert_eq!(read, contexts);
        assert_eq!(read.choose(None).expect("the first is current").name.as_str(), "prod");
        assert_eq!(read.choose(Some("lab")).expect("named").name.as_str(), "lab");
        assert_eq!(read.identity_folder(&context("lab")), dir.path().join(".config/holdfast/contexts/lab"));
        assert_eq!(fs::metadata(&file).expect("metadata").permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn the_named_file_comes_before_home() {
        let (named, home) = (Path::new("/n/c.toml"), Path::new("/h"));
        assert_eq!(contexts_file(Some(named), Some(home)).expect("named"), named);
        assert_eq!(contexts_file(None, Some(home)).expect("home"), Path::new("/h/.config/holdfast/contexts.toml"));
        assert!(matches!(contexts_file(None, None), Err(ContextError::NoHome)));
    }

    #[test]
    fn a_removed_or_unknown_context_cannot_be_chosen() {
        let dir = tempfile::tempdir().expect("a folder");
        let file = dir.path().join("contexts.toml");
        let mut contexts = Contexts::load(&file).expect("none yet");
        contexts.put(context("prod")).expect("added");
        contexts.put(context("lab")).expect("added");
        let e = contexts.choose(Some("lba")).expect_err("unknown").to_string();
        assert_eq!(e, format!("there is no context \"lba\" in {}; there is: prod, lab", file.display()));
        assert!(contexts.set_current("lba").is_err());
        contexts.remove("prod").expect("removed");
        let e = contexts.choose(None).expect_err("none is current").to_string();
        assert!(e.contains("has no current context"), "{e}");
        contexts.set_current("lab").expect("there");
        assert_eq!(contexts.current(), Some("lab"));
    }

    #[test]
    fn what_does_not_make_sense_is_refused_with_the_reason() {
        let dir = tempfile::tempdir().expect("a folder");
        let file = dir.path().join("contexts.toml");
        let cluster = ClusterId::from_random([3; 16]);
        let one =
            format!("[[context]]\nname = \"a\"\ncluster = \"{cluster}\"\naddresses = [\"c:1\"]\nidentity = \"x\"\n");
        for (text, reason) in [
            ("current = 1".to_owned(), "TOML parse error at line 1"),
            ("curent = \"a\"".to_owned(), "unknown field `curent`"),
            ("current = \"a\"".to_owned(), "current is \"a\", which is none of them"),
            (format!("{one}{one}"), "context \"a\" is there twice"),
            (one.replace("\"c:1\"", ""), "context \"a\" has no address"),
            (one.replace("\"a\"", "\"../a\""), "\"../a\" is no context name"),
            (one.replace(cluster.as_str(), "prod"), "\"prod\" is no cluster id"),
        ] {
            fs::write(&file, &text).expect("written");
            let e = Contexts::load(&file).expect_err(&text);
            assert!(Chain(&e).to_string().contains(reason), "{}", Chain(&e));
        }
        let mut contexts = Contexts::load(&dir.path().join("none")).expect("none yet");
        assert!(matches!(
            contexts.put(Context { addresses: vec![], ..context("a") }),
            Err(ContextError::Invalid { .. })
        ));
    }
}
