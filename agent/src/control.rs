//! The socket for root on this host: `holdfast-agent release`, `resume` and `status`. Needs no coordinator.
//!
//! One JSON object in a line, one back. Only who may open the socket (mode 0600) may ask.

use std::{
    collections::BTreeMap,
    fs::{self, Permissions},
    io,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use holdfast_agent_core::lease::State;
use holdfast_shared::{clock::SharedClock, error::Chain};
use holdfast_types::{AppName, time::span};
use serde::{Deserialize, Serialize};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::{UnixListener, UnixStream},
    sync::watch,
    task::JoinSet,
    time::timeout,
};
use tokio_util::sync::CancellationToken;

use crate::{
    allowed::Allowed,
    apps::{Known, Me},
    leases,
    session::Standing,
    store::Store,
};

/// Longest question: a reason is a sentence.
const LINE_BYTES_MAX: u64 = 16 << 10;
/// Longest a question and its answer may take.
const ASK_WITHIN: Duration = Duration::from_secs(30);
/// Questions at once; root asks by hand.
const ASKING_MAX: usize = 8;

/// What can be asked.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Question {
    /// End fencing of an app on this host.
    Release {
        /// The app.
        app: AppName,
        /// Why; journalled.
        reason: String,
    },
    /// Take fencing up again.
    Resume {
        /// The app.
        app: AppName,
    },
    /// How everything is.
    Status,
}

/// What is answered.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Answer {
    /// It was done.
    pub ok: bool,
    /// Lines for people.
    pub lines: Vec<String>,
}

/// What the socket serves from.
#[derive(Debug)]
pub struct Control {
    /// Time.
    pub clock: SharedClock,
    /// Where a release is journalled.
    pub store: Store,
    /// Leases.
    pub leases: leases::Handle,
    /// The apps.
    pub apps: watch::Receiver<Known>,
    /// Sessions by the coordinator's address.
    pub sessions: BTreeMap<String, watch::Receiver<Standing>>,
    /// Who we are.
    pub me: Me,
    /// What may be touched here.
    pub allowed: Arc<Allowed>,
    /// What ails this host.
    pub troubles: watch::Receiver<Vec<String>>,
}

/// Where the socket is.
#[must_use]
pub fn socket_path(run_dir: &Path) -> PathBuf {
    run_dir.join("agent.sock")
}

/// Opens the socket; one that an ended agent left behind is replaced.
///
/// # Errors
/// When it cannot be made.
pub fn listen(path: &Path) -> io::Result<UnixListener> {
    match fs::remove_file(path) {
        Ok(()) => {}
        Err(e) if e.kind() == io::ErrorKind::NotFound => {}
        Err(e) => return Err(e),
    }
    let listener = UnixListener::bind(path)?;
    fs::set_permissions(path, Permissions::from_mode(0o600))?;
    Ok(listener)
}

impl Control {
    /// Answers until cancelled.
    pub async fn run(self, listener: UnixListener, cancel: CancellationToken) {
        let this = Arc::new(self);
        let mut asking = JoinSet::new();
        loop {
            tokio::select! {
                biased;
                () = cancel.cancelled() => break,
                Some(_) = asking.join_next() => {}
                accepted = listener.accept(), if asking.len() < ASKING_MAX => match accepted {
                    Ok((stream, _)) => {
                        let this = Arc::clone(&this);
                        asking.spawn(async move {
                            // A questioner that went away hears nothing.
                            drop(timeout(ASK_WITHIN, this.serve(stream)).await);
                        });
                    }
                    Err(e) => {
                        tracing::warn!(error = %e, "cannot accept on the control socket");
                        tokio::time::sleep(Duration::from_millis(100)).await;
                    }
                },
            }
        }
        asking.shutdown().await;
    }

    async fn serve(&self, stream: UnixStream) -> io::Result<()> {
        let (read, mut write) = stream.into_split();
        let mut line = String::new();
        BufReader::new(read.take(LINE_BYTES_MAX)).read_line(&mut line).await?;
        let answer = match serde_json::from_str(&line) {
            Ok(question) => self.answer(question).await,
            Err(e) => Answer { ok: false, lines: vec![format!("not understood: {e}")] },
        };
        let mut text = serde_json::to_vec(&answer).map_err(io::Error::other)?;
        text.push(b'\n');
        write.write_all(&text).await?;
        write.shutdown().await
    }

    async fn answer(&self, question: Question) -> Answer {
        match question {
            Question::Release { app, reason } => self.by_hand(&app, "release", reason).await,
            Question::Resume { app } => self.by_hand(&app, "resume", String::new()).await,
            Question::Status => Answer { ok: true, lines: self.status() },
        }
    }

    async fn by_hand(&self, app: &AppName, what: &'static str, reason: String) -> Answer {
        // Journalled before it is done. A full disk does not keep anybody from the way out.
        let noted = self.store.note_release(self.clock.wall(), app, what, reason).await;
        let done = match what {
            "release" => self.leases.release(app).await,
            _ => self.leases.resume(app).await,
        };
        let (ok, mut lines) = match done {
            Ok(text) => (true, vec![text]),
            Err(text) => (false, vec![text]),
        };
        if let Err(e) = noted {
            lines.push(format!("it could not be journalled: {}", Chain(&e)));
        }
        Answer { ok, lines }
    }

    fn status(&self) -> Vec<String> {
        let mut lines = vec![format!("host {} in {}", self.me.host, self.me.region)];
        for (address, standing) in &self.sessions {
            let standing = standing.borrow();
            let text = match (standing.up, standing.leads) {
                (true, true) => "session up, leads".to_owned(),
                (true, false) => "session up".to_owned(),
                (false, _) if standing.problem.is_empty() => "connecting".to_owned(),
                (false, _) => format!("no session: {}", standing.problem),
            };
            lines.push(format!("coordinator {address}: {text}"));
        }
        let views = self.leases.views();
        let views = views.borrow();
        let now = self.clock.boot();
        for app in self.apps.borrow().apps.values() {
            let lease = views.get(&app.name).map_or_else(
                || "no writer here".to_owned(),
                |view| {
                    let left = view.permit.left(now).unwrap_or_default();
                    match view.state {
                        State::None => "no lease".to_owned(),
                        State::Ends(_) => format!("lease of generation {}, {} left", view.generation, span(left)),
                        State::Sole => format!("lease of generation {} without end", view.generation),
                        State::Fencing => "writers are being stopped".to_owned(),
                        State::Fenced => format!("fenced up to generation {}", view.fenced),
                        State::Released => "RELEASED: nothing is fenced here".to_owned(),
                    }
                },
            );
            let held = if app.held { ", held" } else { "" };
            lines.push(format!("app {}: generation {} in {}{held}; {lease}", app.name, app.generation, app.active));
        }
        let apps = Arc::clone(&self.apps.borrow().apps);
        let facts = self.allowed.facts(&apps, &self.me, &self.troubles.borrow());
        lines.extend(facts.allows.iter().map(|writer| format!("may run: {writer}")));
        lines.extend(facts.problems.iter().map(|problem| format!("PROBLEM: {problem}")));
        lines
    }
}

/// Asks the agent that runs on this host.
///
/// # Errors
/// When none answers.
pub async fn ask(run_dir: &Path, question: &Question) -> io::Result<Answer> {
    let path = socket_path(run_dir);
    let asked = async {
        let mut stream = UnixStream::connect(&path).await?;
        let mut text = serde_json::to_vec(question).map_err(io::Error::other)?;
        text.push(b'\n');
        stream.write_all(&text).await?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await?;
        serde_json::from_slice(&answer).map_err(io::Error::other)
    };
    let late = |_| io::Error::new(io::ErrorKind::TimedOut, "no answer");
    let named = |e: io::Error| {
        io::Error::new(
            e.kind(),
            format!("cannot ask the agent at {}: {e}; does it run, and are you root?", path.display()),
        )
    };
    timeout(ASK_WITHIN, asked).await.map_err(late).flatten().map_err(named)
}
