//! The agent's side: what takes root goes to the helper, the rest the agent does itself.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use async_trait::async_trait;
use holdfast_agent_core::duties::Probe;
use holdfast_types::{
    spec::{PostgresExpect, RunBy, Writer},
    time::span,
};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::UnixStream,
    sync::watch,
    time::timeout,
};
use tokio_util::sync::CancellationToken;

use super::protocol::{ANSWER_BYTES_MAX, Answer, Asked, Request, VERSION, Verb, line};
use crate::executors::{ExecError, Executors, Probed, RealExecutors, Seen};

/// The helper's own deadline comes first; this is for one that hangs.
const SLACK: Duration = Duration::from_secs(1);
/// For the look at a container beside a check.
const REMEMBER_WITHIN: Duration = Duration::from_millis(200);
/// Between two looks whether the helper is there: no fence should be the first to find out.
const PING_EVERY: Duration = Duration::from_secs(5);
/// A helper that is there answers at once, also when systemd starts it for this.
const PING_WITHIN: Duration = Duration::from_secs(3);

/// Executors of an agent that is not root.
#[derive(Debug)]
pub struct HelperExecutors {
    socket: PathBuf,
    local: Arc<RealExecutors>,
    /// Why the helper cannot be reached; nothing while it can.
    trouble: watch::Sender<Vec<String>>,
}

impl HelperExecutors {
    /// With the helper at this socket.
    #[must_use]
    pub fn new(socket: PathBuf, local: Arc<RealExecutors>) -> Self {
        Self { socket, local, trouble: watch::Sender::new(Vec::new()) }
    }

    /// What ails the helper, a line each.
    #[must_use]
    pub fn troubles(&self) -> watch::Receiver<Vec<String>> {
        self.trouble.subscribe()
    }

    /// Looks whether the helper is there, until cancelled.
    pub async fn watch(&self, cancel: CancellationToken) {
        loop {
            let pinged = async {
                // What ails it is noted where it is found out.
                drop(self.ask(Verb::Ping, None, None, PING_WITHIN).await);
                tokio::time::sleep(PING_EVERY).await;
            };
            tokio::select! {
                biased;
                () = cancel.cancelled() => return,
                () = pinged => {}
            }
        }
    }

    fn note(&self, verb: Verb, answer: &Result<Answer, String>) {
        let trouble: Vec<String> = match answer {
            Err(why) => {
                vec![format!(
                    "the helper at {} cannot be reached, so nothing can be fenced here: {why}",
                    self.socket.display()
                )]
            }
            Ok(Answer::Refused(why)) if verb == Verb::Ping => vec![format!("the helper refuses: {why}")],
            // A verb that was refused says so itself; only a ping says that all is well with the list.
            Ok(Answer::Refused(_)) => return,
            Ok(Answer::Done(_) | Answer::Seen(_) | Answer::Connected(_) | Answer::Failed(_)) if verb != Verb::Ping => {
                return;
            }
            Ok(Answer::Done(_) | Answer::Seen(_) | Answer::Connected(_) | Answer::Failed(_)) => Vec::new(),
        };
        self.trouble.send_if_modified(|known| {
            let news = *known != trouble;
            if news {
                match trouble.first() {
                    Some(trouble) => tracing::error!("{trouble}"),
                    None => tracing::info!(socket = %self.socket.display(), "the helper answers again"),
                }
                known.clone_from(&trouble);
            }
            news
        });
    }

    async fn ask(
        &self,
        verb: Verb,
        writer: Option<&Writer>,
        conninfo: Option<&str>,
        within: Duration,
    ) -> Result<Answer, ExecError> {
        let request = Request {
            version: VERSION,
            verb,
            within_millis: u64::try_from(within.as_millis()).unwrap_or(u64::MAX),
            writer: writer.map(Asked::of),
            conninfo: conninfo.map(str::to_owned),
        };
        let asked = timeout(within.saturating_add(SLACK), self.exchange(&request)).await;
        let answer = asked.unwrap_or_else(|_| Err(format!("no answer within {}", span(within.saturating_add(SLACK)))));
        self.note(verb, &answer);
        answer.map_err(|why| ExecError(format!("the helper at {} cannot be reached: {why}", self.socket.display())))
    }

    /// Dropping it closes the connection, which ends what was asked.
    async fn exchange(&self, request: &Request) -> Result<Answer, String> {
        let text = |e: std::io::Error| e.to_string();
        let mut stream = UnixStream::connect(&self.socket).await.map_err(text)?;
        let request = line(request).map_err(|e| e.to_string())?;
        stream.write_all(&request).await.map_err(text)?;
        let mut answer = Vec::new();
        let mut read = BufReader::new(stream.take(ANSWER_BYTES_MAX));
        read.read_until(b'\n', &mut answer).await.map_err(text)?;
        if answer.last() != Some(&b'\n') {
            return Err("it closed the connection without an answer".to_owned());
        }
        serde_json::from_slice(&answer).map_err(|e| format!("its answer is not understood: {e}"))
    }

    async fn seen(&self, verb: Verb, writer: &Writer, within: Duration) -> Result<Seen, ExecError> {
        match self.ask(verb, Some(writer), None, within).await? {
            Answer::Seen(seen) => Ok((*seen).into()),
            other @ (Answer::Done(_) | Answer::Connected(_) | Answer::Refused(_) | Answer::Failed(_)) => {
                Err(unexpected(other))
            }
        }
    }

    async fn done(
        &self,
        verb: Verb,
        writer: &Writer,
        conninfo: Option<&str>,
        within: Duration,
    ) -> Result<String, ExecError> {
        match self.ask(verb, Some(writer), conninfo, within).await? {
            Answer::Done(text) => Ok(text),
            other @ (Answer::Seen(_) | Answer::Connected(_) | Answer::Refused(_) | Answer::Failed(_)) => {
                Err(unexpected(other))
            }
        }
    }
}

fn unexpected(answer: Answer) -> ExecError {
    match answer {
        Answer::Refused(why) => ExecError(format!("the helper refuses: {why}")),
        Answer::Failed(why) => ExecError(why),
        Answer::Done(_) | Answer::Seen(_) | Answer::Connected(_) => {
            ExecError("the helper answers something else than was asked; is it of the same release?".to_owned())
        }
    }
}

#[async_trait]
impl Executors for HelperExecutors {
    async fn look(&self, writer: &Writer, within: Duration) -> Result<Seen, ExecError> {
        self.seen(Verb::Look, writer, within).await
    }

    async fn fence(&self, writer: &Writer, within: Duration) -> Result<String, ExecError> {
        self.done(Verb::Fence, writer, None, within).await
    }

    async fn start_primary(&self, writer: &Writer, within: Duration) -> Result<Seen, ExecError> {
        self.seen(Verb::StartPrimary, writer, within).await
    }

    async fn promote(&self, writer: &Writer, within: Duration) -> Result<Seen, ExecError> {
        self.seen(Verb::Promote, writer, within).await
    }

    async fn connected_with(&self, writer: &Writer, within: Duration) -> Result<Option<String>, ExecError> {
        match self.ask(Verb::ConnectedWith, Some(writer), None, within).await? {
            Answer::Connected(conninfo) => Ok(conninfo),
            other @ (Answer::Done(_) | Answer::Seen(_) | Answer::Refused(_) | Answer::Failed(_)) => {
                Err(unexpected(other))
            }
        }
    }

    async fn cut(&self, writer: &Writer, within: Duration) -> Result<Seen, ExecError> {
        self.seen(Verb::Cut, writer, within).await
    }

    async fn reconnect(&self, writer: &Writer, conninfo: &str, within: Duration) -> Result<(), ExecError> {
        self.done(Verb::Reconnect, writer, Some(conninfo), within).await.map(drop)
    }

    /// A standby whose helper is gone could not be promoted, so nothing is observed of it. What serves is still seen to.
    async fn probe(&self, probe: &Probe, limit: Duration) -> Probed {
        if let Probe::Postgres { expect: PostgresExpect::Streams, .. } = probe
            && let Some(trouble) = self.trouble.borrow().first().cloned()
        {
            return Probed::CouldNotRun { text: trouble };
        }
        let remember = async {
            if let Probe::Postgres { writer, .. } = probe
                && matches!(writer.run_by, RunBy::Container { .. })
            {
                // What fails here fails again, and is said, when it is needed.
                drop(self.done(Verb::Remember, writer, None, REMEMBER_WITHIN).await);
            }
        };
        let (probed, ()) = tokio::join!(self.local.check(probe, limit), timeout_of(remember));
        probed
    }

    async fn servers(
        &self,
        socket: &Path,
        backend: &str,
        within: Duration,
    ) -> Result<BTreeMap<String, bool>, ExecError> {
        self.local.servers(socket, backend, within).await
    }

    async fn open_only(&self, socket: &Path, backend: &str, server: &str, within: Duration) -> Result<(), ExecError> {
        self.local.open_only(socket, backend, server, within).await
    }

    async fn close_all(&self, socket: &Path, backend: &str, within: Duration) -> Result<(), ExecError> {
        self.local.close_all(socket, backend, within).await
    }
}

/// No check waits for it any longer.
async fn timeout_of(work: impl Future<Output = ()>) {
    drop(timeout(REMEMBER_WITHIN, work).await);
}
