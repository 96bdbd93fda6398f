//! Talking to a demo that was left running: one line to its socket, its answer back.
//!
//! ```text
//!   /run/holdfast-demo/   0700, of whoever started it, removed with the demo's net
//!       owner             process id and start of the demo
//!       control           the socket
//!       bin/holdfast      the demo's own, works from any folder
//!       bin/demo          this program
//! ```

use std::{
    fmt, fs,
    io::{self, BufRead, BufReader, ErrorKind, Read, Write},
    os::unix::{
        fs::{PermissionsExt, chown},
        net::{UnixListener, UnixStream},
    },
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result, bail};

use crate::harness::{Net, net};

/// Where a demo that stays can be found: below /run, beginning with `holdfast-`, or it is not removed with its net. Tests
/// name another place by HOLDFAST_DEMO_PLACE, so that they do not meet the demo that somebody looks at.
#[must_use]
pub fn folder() -> PathBuf {
    std::env::var_os(PLACE).map_or_else(|| PathBuf::from("/run/holdfast-demo"), PathBuf::from)
}

/// Names another place.
pub const PLACE: &str = "HOLDFAST_DEMO_PLACE";

/// Healing starts agents and a database again.
const ANSWER_WITHIN: Duration = Duration::from_secs(90);
/// A request is a word or two; whoever connects and says nothing is not waited for.
const REQUEST_WITHIN: Duration = Duration::from_secs(1);
const REQUEST_BYTES_MAX: u64 = 200;

/// What a demo that stays can be told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request {
    /// Take a region's network away.
    Cut(String),
    /// Give all networks back and start what was killed.
    Heal,
    /// Kill everything on a host.
    Kill(String),
    /// Say how things are.
    Status,
    /// End, and take everything down.
    Down,
}

impl fmt::Display for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cut(region) => write!(f, "cut {region}"),
            Self::Heal => f.write_str("heal"),
            Self::Kill(host) => write!(f, "kill {host}"),
            Self::Status => f.write_str("status"),
            Self::Down => f.write_str("down"),
        }
    }
}

impl std::str::FromStr for Request {
    type Err = anyhow::Error;

    fn from_str(line: &str) -> Result<Self> {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words[..] {
            ["cut", region] => Ok(Self::Cut(region.to_owned())),
            ["kill", host] => Ok(Self::Kill(host.to_owned())),
            ["heal"] => Ok(Self::Heal),
            ["status"] => Ok(Self::Status),
            ["down"] => Ok(Self::Down),
            _ => bail!("{line:?} is nothing that a demo can be told: cut REGION, heal, kill HOST, status, down"),
        }
    }
}

/// Tells the demo that stays, and returns its answer.
///
/// # Errors
/// When none runs, and what it says when it refuses.
pub fn tell(request: &Request) -> Result<String> {
    let mut stream = match UnixStream::connect(folder().join("control")) {
        Ok(stream) => stream,
        Err(error) if error.kind() == ErrorKind::PermissionDenied => {
            bail!("the demo that runs here is another user's; try: sudo demo {request}")
        }
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::ConnectionRefused) => {
            if running(&folder()).is_some() {
                bail!("the demo is still being built; try again when it says that it runs");
            }
            bail!("no demo runs on this machine; start one that stays with: make demo KEEP=1")
        }
        Err(error) => return Err(error).context(format!("cannot reach the demo at {}", folder().display())),
    };
    stream.set_read_timeout(Some(ANSWER_WITHIN))?;
    writeln!(stream, "{request}")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).with_context(|| format!("the demo did not answer to {request}"))?;
    match answer.split_once('\n') {
        Some(("ok", text)) => Ok(text.trim_end().to_owned()),
        Some(("refused", text)) => bail!("{}", text.trim_end()),
        _ => bail!("the demo ended while it was told: {request}"),
    }
}

/// The folder of the one demo that stays on this machine.
#[derive(Debug)]
pub struct Place {
    folder: PathBuf,
    listener: Option<UnixListener>,
}

impl Place {
    /// Takes the place; it goes with `net`, however that ends.
    ///
    /// # Errors
    /// When another demo has it.
    pub fn take(net: &Net) -> Result<Self> {
        refuse_if_running()?;
        let (own, wanted) = (std::process::id(), folder());
        // Whole before it has its name: nobody ever finds it without an owner.
        let aside = wanted.with_extension(own.to_string());
        fs::create_dir_all(aside.join("bin")).with_context(|| format!("cannot make {}", aside.display()))?;
        fs::set_permissions(&aside, fs::Permissions::from_mode(0o700))?;
        fs::write(aside.join("owner"), net::process_mark(own))?;
        if wanted.exists() {
            fs::remove_dir_all(&wanted)?;
        }
        let taken = fs::rename(&aside, &wanted);
        if let Err(error) = taken {
            fs::remove_dir_all(&aside)?;
            return Err(error).context("another demo was started in the same moment");
        }
        net.goes_with("place", &wanted)?;
        Ok(Self { folder: wanted, listener: None })
    }

    /// A program that people can call by name once the folder `bin` is in their PATH.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn command(&self, name: &str, script: &str) -> Result<()> {
        let file = self.folder.join("bin").join(name);
        fs::write(&file, script)?;
        fs::set_permissions(&file, fs::Permissions::from_mode(0o755))?;
        Ok(())
    }

    /// Where commands are.
    #[must_use]
    pub fn bin(&self) -> PathBuf {
        self.folder.join("bin")
    }

    /// Opens the socket. Whoever called sudo may use it too.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub fn open(&mut self) -> Result<()> {
        let file = self.folder.join("control");
        let listener = UnixListener::bind(&file)?;
        listener.set_nonblocking(true)?;
        self.listener = Some(listener);
        let number = |name| std::env::var(name).ok().and_then(|text| text.parse::<u32>().ok());
        if let (Some(user), Some(group)) = (number("SUDO_UID"), number("SUDO_GID")) {
            for path in [self.folder.clone(), self.bin(), self.bin().join("demo"), self.bin().join("holdfast"), file] {
                chown(path, Some(user), Some(group))?;
            }
        }
        Ok(())
    }

    /// Somebody who waits for an answer, when there is somebody.
    #[must_use]
    pub fn next(&self) -> Option<(Result<Request>, Caller)> {
        let (stream, _) = self.listener.as_ref()?.accept().ok()?;
        let request = read(&stream);
        Some((request, Caller { stream }))
    }
}

fn read(stream: &UnixStream) -> Result<Request> {
    stream.set_nonblocking(false)?;
    stream.set_read_timeout(Some(REQUEST_WITHIN))?;
    let mut line = String::new();
    BufReader::new(stream.take(REQUEST_BYTES_MAX)).read_line(&mut line)?;
    line.trim().parse()
}

/// Who waits for an answer.
#[derive(Debug)]
pub struct Caller {
    stream: UnixStream,
}

impl Caller {
    /// Answers. Whoever has gone in the meantime does not get it.
    pub fn answer(mut self, answer: &Result<String>) {
        let text = match answer {
            Ok(text) => format!("ok\n{text}\n"),
            Err(error) => format!("refused\n{error:#}\n"),
        };
        let _: io::Result<()> = self.stream.write_all(text.as_bytes());
    }
}

/// One demo stays on a machine at a time.
///
/// # Errors
/// When one does.
pub fn refuse_if_running() -> Result<()> {
    let place = folder();
    let place = place.display();
    match running(&folder()) {
        Some(pid) => bail!(
            "a demo runs already, as process {pid}\n  look  {place}/bin/demo status\n  end   {place}/bin/demo down"
        ),
        None => Ok(()),
    }
}

/// The process that has the place, when it still runs.
fn running(folder: &Path) -> Option<u32> {
    let mark = fs::read_to_string(folder.join("owner")).ok()?;
    let pid = mark.split_whitespace().next()?.parse().ok()?;
    (net::process_mark(pid) == mark).then_some(pid)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_can_be_told_reads_back() {
        let requests = ["cut us-east", "heal", "kill use-db1", "status", "down"];
        for text in requests {
            let request: Request = text.parse().expect("as it is written");
            assert_eq!(request.to_string(), text);
        }
        for text in ["", "cut", "heal us-east", "rm -rf", "cut us-east now"] {
            assert!(text.parse::<Request>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_place_is_taken_only_while_its_process_lives() {
        let folder = tempfile::tempdir().expect("a folder");
        assert_eq!(running(folder.path()), None);
        fs::write(folder.path().join("owner"), net::process_mark(std::process::id())).expect("written");
        assert_eq!(running(folder.path()), Some(std::process::id()));
        // The same number, but another process.
        fs::write(folder.path().join("owner"), format!("{} 1", std::process::id())).expect("written");
        assert_eq!(running(folder.path()), None);
    }
}
