//! The helper's side: one connection, one request, carried out for declared writers only.
//!
//! What always holds:
//! - only the agent's user and root are heard; whoever else connects is told so and nothing of theirs is read;
//! - what is declared is read from root's own file at each request, and remembered durably before anything is done;
//! - a verb ends with its deadline or its connection, whichever comes first, and its children end with it;
//! - a fence waits for nobody. What would open the same writer is ended first, and what was asked for by somebody who
//!   is gone is not begun.

use std::{
    collections::BTreeMap,
    io,
    os::fd::AsFd as _,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use holdfast_agent_core::declared::{Declarations, Declared, Standing};
use holdfast_shared::error::Chain;
use holdfast_types::spec::{RunBy, Writer};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::{UnixListener, UnixStream},
    sync::{Semaphore, watch},
    task::JoinSet,
    time::timeout,
};
use tokio_util::sync::CancellationToken;

use super::protocol::{Answer, REQUEST_BYTES_MAX, Request, VERSION, Verb, line};
use crate::{
    allowed::Memory,
    config::Config,
    executors::{ExecError, Executors, RealExecutors},
};

/// A request is written at once; one that does not end is given up.
const REQUEST_WITHIN: Duration = Duration::from_secs(2);
/// Longest that any verb may take, whatever is asked: a start with crash recovery is the longest.
const WITHIN_MAX: Duration = Duration::from_secs(600);
/// Verbs at once that are no fence. An agent asks for a few for each writer; more means that something is wrong with it.
const VERBS_MAX: usize = 64;
/// Connections at once, fences among them. Beyond this the newest is closed unheard, and its agent tries again.
const CONNECTIONS_MAX: usize = 512;
/// Longest that a fence waits for what it has ended: children are killed, which takes milliseconds.
const ENDS_WITHIN: Duration = Duration::from_secs(2);
/// After a failed accept, as when no file descriptor is left.
const ACCEPT_AGAIN: Duration = Duration::from_millis(100);

/// Where the list of a host comes from.
#[async_trait]
pub trait Lists: Send + Sync + 'static {
    /// What is declared now, and was once, remembered durably before it is answered; and why nothing is declared, when
    /// the file cannot be read. What was known before still counts for fences then.
    fn read(&self) -> (Declarations, Option<String>);

    /// What does things.
    fn executors(&self) -> Arc<dyn Executors>;

    /// Looks where a container's processes are.
    async fn remember(&self, name: &str, within: Duration);
}

/// The real one: root's file, and a memory in a folder of its own.
#[derive(Debug)]
pub struct Host {
    file: Option<PathBuf>,
    memory: Memory,
    known: Mutex<Declarations>,
    executors: Arc<RealExecutors>,
}

impl Host {
    /// With `file` or the usual one as the list, and a memory that knows what was declared once.
    #[must_use]
    pub fn new(file: Option<PathBuf>, memory: Memory, executors: Arc<RealExecutors>) -> Self {
        let known = Mutex::new(Declarations::new([].into(), memory.read()));
        Self { file, memory, known, executors }
    }
}

#[async_trait]
impl Lists for Host {
    fn read(&self) -> (Declarations, Option<String>) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let remembered = || known.all().cloned().collect();
        match Config::load(self.file.as_deref()) {
            Ok(config) => match self.memory.add(config.writers()) {
                Ok(remembered) => {
                    *known = Declarations::new(config.writers().clone(), remembered);
                    (known.clone(), None)
                }
                Err(e) => {
                    let why = format!("cannot remember what is declared: {}", Chain(&e));
                    (Declarations::new([].into(), remembered()), Some(why))
                }
            },
            // Nothing is opened by a file that cannot be read, and everything can still be stopped.
            Err(problems) => {
                (Declarations::new([].into(), remembered()), Some(problems.to_string().replace('\n', "; ")))
            }
        }
    }

    fn executors(&self) -> Arc<dyn Executors> {
        Arc::clone(&self.executors) as Arc<dyn Executors>
    }

    async fn remember(&self, name: &str, within: Duration) {
        self.executors.remember(name, within).await;
    }
}

/// Who may ask: root, and the user that the agent runs as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Askers {
    /// User id of the agent.
    pub agent: Option<u32>,
}

impl Askers {
    fn may(self, uid: u32) -> bool {
        uid == 0 || Some(uid) == self.agent
    }
}

/// What runs right now.
#[derive(Debug, Default)]
struct Desk {
    next: u64,
    running: BTreeMap<u64, Running>,
}

#[derive(Debug)]
struct Running {
    writer: Declared,
    opens: bool,
    cancel: CancellationToken,
    /// Closed when it has ended.
    ended: watch::Receiver<()>,
}

/// The helper.
pub struct Server {
    lists: Arc<dyn Lists>,
    askers: Askers,
    desk: Arc<Mutex<Desk>>,
    verbs: Arc<Semaphore>,
}

impl Server {
    /// Serves these lists to these askers.
    #[must_use]
    pub fn new(lists: Arc<dyn Lists>, askers: Askers) -> Self {
        Self { lists, askers, desk: Arc::default(), verbs: Arc::new(Semaphore::new(VERBS_MAX)) }
    }

    /// Until cancelled. Every verb under way ends with it.
    pub async fn run(self, listener: UnixListener, cancel: CancellationToken) {
        let this = Arc::new(self);
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                biased;
                () = cancel.cancelled() => break,
                Some(ended) = connections.join_next() => if let Err(e) = ended {
                    tracing::error!(error = %e, "a verb panicked");
                },
                accepted = listener.accept() => match accepted {
                    Ok((stream, _)) if connections.len() < CONNECTIONS_MAX => {
                        let this = Arc::clone(&this);
                        connections.spawn(async move { this.serve(stream).await });
                    }
                    Ok(_) => tracing::error!(max = CONNECTIONS_MAX, "too many connections at once; the newest is closed"),
                    Err(e) => {
                        tracing::warn!(error = %e, "cannot accept");
                        tokio::time::sleep(ACCEPT_AGAIN).await;
                    }
                },
            }
        }
        connections.shutdown().await;
    }

    async fn serve(&self, stream: UnixStream) {
        let answer = match stream.peer_cred() {
            Ok(peer) if self.askers.may(peer.uid()) => None,
            Ok(peer) => {
                tracing::warn!(uid = peer.uid(), pid = peer.pid(), "a stranger was refused");
                Some(Answer::Refused(format!("user {} may not ask; the agent and root may", peer.uid())))
            }
            Err(e) => Some(Answer::Refused(format!("who asks cannot be told: {e}"))),
        };
        let (read, mut write) = stream.into_split();
        let mut read = BufReader::new(read.take(REQUEST_BYTES_MAX));
        let answer = match answer {
            Some(answer) => Some(answer),
            None => match self.request(&mut read).await {
                Ok(Some(request)) => {
                    let read: &UnixStream = read.get_ref().get_ref().as_ref();
                    self.carry_out(request, read).await
                }
                // Whoever says nothing wants nothing.
                Ok(None) => None,
                Err(why) => Some(Answer::Refused(why)),
            },
        };
        if let Some(bytes) = answer.and_then(|answer| line(&answer).ok()) {
            // Whoever is gone hears nothing.
            drop(timeout(REQUEST_WITHIN, write.write_all(&bytes)).await);
            drop(write.shutdown().await);
        }
    }

    async fn request<R>(&self, read: &mut BufReader<R>) -> Result<Option<Request>, String>
    where
        R: tokio::io::AsyncRead + Unpin,
    {
        let mut text = Vec::new();
        let whole = timeout(REQUEST_WITHIN, read.read_until(b'\n', &mut text)).await;
        match whole {
            Err(_) => {
                return Err(format!("the request did not end within {}", holdfast_types::time::span(REQUEST_WITHIN)));
            }
            Ok(Err(e)) => return Err(format!("the request cannot be read: {e}")),
            Ok(Ok(0)) => return Ok(None),
            Ok(Ok(_)) => {}
        }
        if text.last() != Some(&b'\n') {
            let why = if text.len() as u64 >= REQUEST_BYTES_MAX { "is too long" } else { "ends in the middle" };
            return Err(format!("the request {why}; one line of at most {REQUEST_BYTES_MAX} bytes is taken"));
        }
        let request: Request =
            serde_json::from_slice(&text).map_err(|e| format!("the request is not understood: {e}"))?;
        if request.version != VERSION {
            let found = request.version;
            return Err(format!(
                "the request is of version {found}, this helper speaks {VERSION}; upgrade the older one"
            ));
        }
        Ok(Some(request))
    }

    /// Nothing: whoever asked is gone.
    async fn carry_out(&self, request: Request, stream: &UnixStream) -> Option<Answer> {
        let within = Duration::from_millis(request.within_millis).min(WITHIN_MAX);
        if request.verb == Verb::Ping {
            let (lists, problem) = self.lists.read();
            let count = lists.declared().len();
            return Some(
                problem.map_or_else(|| Answer::Done(format!("{count} writers are declared")), Answer::Refused),
            );
        }
        let (own, writer) = match self.matched(&request) {
            Ok(matched) => matched,
            Err(why) => {
                tracing::warn!(verb = ?request.verb, why, "refused");
                return Some(Answer::Refused(why));
            }
        };
        let _turn = if request.verb == Verb::Fence {
            None
        } else {
            match self.verbs.try_acquire() {
                Ok(turn) => Some(turn),
                Err(_) => return Some(Answer::Refused(format!("{VERBS_MAX} verbs run already"))),
            }
        };
        let (entry, cancel) = self.enter(&own, request.verb);
        if request.verb == Verb::Fence {
            self.end_openings(&own, entry.number).await;
        }
        // Asked only after it can be found by a fence: whatever is fenced now was given up before that fence was asked for.
        if is_gone(stream) {
            return None;
        }
        let work = self.work(&request, &writer, within);
        tokio::select! {
            biased;
            () = cancel.cancelled() => Some(Answer::Failed("a fence of the same writer has ended it".to_owned())),
            () = gone(stream) => {
                tracing::warn!(verb = ?request.verb, writer = %own, "whoever asked is gone; it is ended");
                None
            }
            answer = timeout(within, work) => Some(answer.unwrap_or_else(|_| {
                Answer::Failed(format!("{:?} was not done after {}", request.verb, holdfast_types::time::span(within)))
            })),
        }
    }

    /// The host's own entry, and the writer in its words.
    fn matched(&self, request: &Request) -> Result<(Declared, Writer), String> {
        let (lists, problem) = self.lists.read();
        let asked = request.writer.as_ref().ok_or("the request names no writer")?;
        let declared = asked.declared().map_err(|problems| problems.join("; "))?;
        let enough = match lists.standing(&declared) {
            Standing::Declared => true,
            Standing::Remembered => request.verb.takes_remembered(),
            Standing::Stranger => false,
        };
        let own = lists.known(&declared).filter(|_| enough).cloned().ok_or_else(|| {
            let problem = problem.map(|problem| format!(" ({problem})")).unwrap_or_default();
            let lines = declared.lines().join("  ");
            format!("agent.toml does not allow {declared}{problem}; add the lines  {lines}  and restart the agent")
        })?;
        let writer = match (asked.writer(&own), request.verb) {
            (Ok(writer), _) => writer,
            // Whatever is wrong with the login keeps nobody from stopping it: without an answer it counts as a writer.
            (Err(_), Verb::Fence) => asked.at("127.0.0.1").writer(&own)?,
            (
                Err(why),
                Verb::Ping
                | Verb::Look
                | Verb::Remember
                | Verb::StartPrimary
                | Verb::Promote
                | Verb::ConnectedWith
                | Verb::Cut
                | Verb::Reconnect,
            ) => return Err(why),
        };
        Ok((own, writer))
    }

    async fn work(&self, request: &Request, writer: &Writer, within: Duration) -> Answer {
        let executors = self.lists.executors();
        let seen = |seen: Result<crate::executors::Seen, ExecError>| match seen {
            Ok(seen) => Answer::Seen(Box::new(seen.into())),
            Err(e) => Answer::Failed(e.0),
        };
        match request.verb {
            Verb::Ping => Answer::Done(String::new()),
            Verb::Look => seen(executors.look(writer, within).await),
            Verb::Remember => {
                if let RunBy::Container { name } = &writer.run_by {
                    self.lists.remember(name, within).await;
                }
                Answer::Done(String::new())
            }
            Verb::Fence => {
                let ended = executors.fence(writer, within).await;
                tracing::info!(writer = %writer.name, outcome = ?ended, "fence");
                ended.map_or_else(|e| Answer::Failed(e.0), Answer::Done)
            }
            Verb::StartPrimary => seen(executors.start_primary(writer, within).await),
            Verb::Promote => seen(executors.promote(writer, within).await),
            Verb::ConnectedWith => {
                executors.connected_with(writer, within).await.map_or_else(|e| Answer::Failed(e.0), Answer::Connected)
            }
            Verb::Cut => seen(executors.cut(writer, within).await),
            Verb::Reconnect => {
                let Some(conninfo) = &request.conninfo else {
                    return Answer::Refused("the request does not say what to connect with".to_owned());
                };
                let done = executors.reconnect(writer, conninfo, within).await;
                done.map_or_else(|e| Answer::Failed(e.0), |()| Answer::Done(String::new()))
            }
        }
    }

    fn desk(&self) -> MutexGuard<'_, Desk> {
        self.desk.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn enter(&self, writer: &Declared, verb: Verb) -> (Entry, CancellationToken) {
        let (ends, ended) = watch::channel(());
        let cancel = CancellationToken::new();
        let mut desk = self.desk();
        desk.next += 1;
        let number = desk.next;
        let running = Running { writer: writer.clone(), opens: verb.opens(), cancel: cancel.clone(), ended };
        desk.running.insert(number, running);
        (Entry { number, desk: Arc::clone(&self.desk), _ends: ends }, cancel)
    }

    /// Ends everything that would open this writer, and waits until it has ended.
    async fn end_openings(&self, writer: &Declared, own: u64) {
        let openings: Vec<_> = {
            let desk = self.desk();
            let of_it =
                |(number, running): &(&u64, &Running)| **number != own && running.opens && running.writer == *writer;
            desk.running.iter().filter(of_it).map(|(_, r)| (r.cancel.clone(), r.ended.clone())).collect()
        };
        for (cancel, _) in &openings {
            cancel.cancel();
        }
        for (_, mut ended) in openings {
            // The channel never says anything; it closes. A fence goes on whatever becomes of the other.
            drop(timeout(ENDS_WITHIN, ended.changed()).await);
        }
    }
}

/// A verb that runs; ends when dropped.
struct Entry {
    number: u64,
    desk: Arc<Mutex<Desk>>,
    _ends: watch::Sender<()>,
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.desk.lock().unwrap_or_else(PoisonError::into_inner).running.remove(&self.number);
    }
}

/// Whether the other side has closed its end, by the kernel's word of this moment.
fn is_gone(stream: &UnixStream) -> bool {
    use rustix::net::{RecvFlags, recv};
    let mut byte = [0; 1];
    match recv(stream.as_fd(), &mut byte, RecvFlags::PEEK | RecvFlags::DONTWAIT) {
        // Something after the request: nobody who speaks our language.
        Ok(_) => true,
        Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => false,
        Err(_) => true,
    }
}

/// Returns when the other side has closed its end.
async fn gone(stream: &UnixStream) {
    loop {
        if stream.readable().await.is_err() {
            return;
        }
        match stream.try_read(&mut [0; 1]) {
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
            Ok(_) | Err(_) => return,
        }
    }
}

/// Opens a socket, for tests and for hosts without systemd; one that an ended helper left behind is replaced.
///
/// # Errors
/// When it cannot be made.
pub fn listen(path: &Path) -> io::Result<UnixListener> {
    crate::control::listen(path)
}
