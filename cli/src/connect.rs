//! Reaching a coordinator: the addresses of the context in turn, one deadline for each call, and for each address
//! that does not do, why not.

use std::{
    future::Future,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use holdfast_proto::v1::{StatusRequest, fleet_client::FleetClient};
use holdfast_shared::{
    clock::SharedClock,
    contexts::{Context, ContextError, Contexts, contexts_file},
    error::Chain,
    net::TcpDial,
    pki::Material,
    refusal,
    tls::{HotTlsClient, Keepalive, channel_with, describe_connect_error},
};
use holdfast_types::refusal::Reason;
use tonic::{Response, Status, transport::Channel};

use crate::errors::{Exit, Failure, Intent};

/// A call that takes longer has no answer. Operator calls take under 200 ms; the rest is for a takeover under way.
pub const CALL_DEADLINE: Duration = Duration::from_secs(10);

/// One operator at one terminal can afford to notice soon that the other end is gone, and wants to.
const KEEPALIVE: Keepalive = Keepalive { interval: Duration::from_secs(2), timeout: Duration::from_secs(3) };

/// Opens a channel to an address. Connecting happens at the first call.
pub type Connector = Arc<dyn Fn(&str) -> Channel + Send + Sync>;

/// A cluster to talk to.
pub struct Client {
    name: String,
    addresses: Vec<String>,
    connector: Connector,
    /// The address that answered last, and its channel.
    live: Option<(String, Channel)>,
}

impl Client {
    /// A client of these addresses.
    pub fn new(name: impl Into<String>, addresses: Vec<String>, connector: Connector) -> Self {
        Self { name: name.into(), addresses, connector, live: None }
    }

    /// The name of the context.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Calls a coordinator; `asked` names the call as in `no answer to holdfast status`. A change is sent only over a
    /// connection that has just carried an answer, so that an address that cannot be reached never leaves in doubt
    /// whether the change was done.
    ///
    /// # Errors
    /// [`Failure`] with the refusal, or with what each address said.
    pub async fn call<T, F, Fut>(&mut self, asked: &str, intent: Intent, call: F) -> Result<T, Failure>
    where
        F: Fn(Channel) -> Fut,
        Fut: Future<Output = Result<Response<T>, Status>>,
    {
        let mut tried = Tried::default();
        for (address, channel) in self.candidates() {
            if intent == Intent::Change
                && let Err(e) = timed(FleetClient::new(channel.clone()).status(StatusRequest {})).await
                && !is_answer(&e)
            {
                tried.push(&address, &e);
                continue;
            }
            match timed(call(channel.clone())).await {
                Ok(reply) => {
                    self.live = Some((address, channel));
                    return Ok(reply.into_inner());
                }
                Err(e) if leads_not(&e) => tried.push(&address, &e),
                Err(e) if intent == Intent::Read && !is_answer(&e) => tried.push(&address, &e),
                Err(e) => {
                    let words = if is_answer(&e) { e } else { in_words(&e) };
                    return Err(Failure::from_status(&words, asked, &address, intent));
                }
            }
        }
        self.live = None;
        Err(tried.failure(&self.name, intent))
    }

    /// Opens a stream of replies from the first address that gives one.
    ///
    /// # Errors
    /// As [`Client::call`].
    pub async fn stream<T, F, Fut>(&mut self, asked: &str, call: F) -> Result<(String, T), Failure>
    where
        F: Fn(Channel) -> Fut,
        Fut: Future<Output = Result<Response<T>, Status>>,
    {
        let reply = self.call(asked, Intent::Read, call).await?;
        let address = self.live.as_ref().map(|(a, _)| a.clone()).unwrap_or_default();
        Ok((address, reply))
    }

    /// Forgets the connection, so that the next call makes a new one.
    pub fn disconnect(&mut self) {
        self.live = None;
    }

    /// The addresses in turn, the one that answered last first.
    fn candidates(&self) -> Vec<(String, Channel)> {
        let live = self.live.clone();
        let known = live.as_ref().map(|(a, _)| a.clone());
        let others = self.addresses.iter().filter(|a| Some(*a) != known.as_ref());
        live.into_iter().chain(others.map(|a| (a.clone(), (self.connector)(a)))).collect()
    }
}

/// The client of the context that is named, or of the current one.
///
/// # Errors
/// [`Failure`] when there is no such context, or its key cannot be used.
pub fn open(contexts: &Contexts, named: Option<&str>, clock: SharedClock) -> Result<Client, Failure> {
    let context = choose(contexts, named)?;
    let folder = contexts.identity_folder(context);
    let unusable = |why: String| {
        Failure::usage(format!("cannot use the key of context {}: {why}", context.name), "holdfast context show")
    };
    let material = Material::load_dir(&folder).map_err(|e| unusable(Chain(&e).to_string()))?;
    let tls = HotTlsClient::new(&material, clock).map_err(|e| unusable(Chain(&e).to_string()))?;
    let connector: Connector = Arc::new(move |address| channel_with(&tls, Arc::new(TcpDial), address, KEEPALIVE));
    Ok(Client::new(context.name.to_string(), context.addresses.clone(), connector))
}

/// The contexts of this account.
///
/// # Errors
/// [`Failure`] when the file cannot be read or does not make sense.
pub fn load_contexts(named: Option<&Path>) -> Result<Contexts, Failure> {
    let named = named.filter(|n| !n.as_os_str().is_empty());
    let home = std::env::var_os("HOME").filter(|h| !h.is_empty()).map(PathBuf::from);
    let failed = |e: ContextError| {
        let failure = Failure::new(Exit::Usage, Chain(&e).to_string());
        failure.next("holdfast context list --contexts-file FILE      to read another file")
    };
    contexts_file(named, home.as_deref()).and_then(|file| Contexts::load(&file)).map_err(failed)
}

/// The context to work with.
///
/// # Errors
/// [`Failure`] naming the contexts that there are.
pub fn choose<'a>(contexts: &'a Contexts, named: Option<&str>) -> Result<&'a Context, Failure> {
    let named = named.filter(|n| !n.is_empty());
    contexts.choose(named).map_err(|e| match e {
        ContextError::Unknown { name, file, known } if !known.is_empty() => {
            Failure::usage(format!("there is no context {name} in {}", file.display()), "holdfast context list")
                .line("there is", known.join(", "))
        }
        ContextError::Unknown { file, .. } | ContextError::NoneChosen { file, any: false } => {
            Failure::new(Exit::Usage, format!("no cluster is known here: {} has no context", file.display()))
                .line("why", "the first one is written by holdfast-coordinator init, for who runs it")
                .next("holdfast context add ADDRESS --token TOKEN      with the line that an admin gave you")
                .next("HOLDFAST_CONTEXTS_FILE=FILE holdfast status      to read another file")
        }
        ContextError::NoneChosen { file, any: true } => {
            Failure::usage(format!("no cluster is chosen in {}", file.display()), "holdfast context list")
                .next("holdfast context use NAME")
        }
        other @ (ContextError::File(_)
        | ContextError::Parse { .. }
        | ContextError::Invalid { .. }
        | ContextError::Print(_)
        | ContextError::NoHome) => Failure::usage(Chain(&other).to_string(), "holdfast context list"),
    })
}

async fn timed<T>(call: impl Future<Output = Result<Response<T>, Status>>) -> Result<Response<T>, Status> {
    let late = |_| Err(Status::deadline_exceeded(format!("no answer within {} s", CALL_DEADLINE.as_secs())));
    tokio::time::timeout(CALL_DEADLINE, call).await.unwrap_or_else(late)
}

/// Whether a coordinator said this, rather than the way to it.
fn is_answer(status: &Status) -> bool {
    use tonic::Code;
    if refusal::from_status(status).is_some() {
        return true;
    }
    match status.code() {
        Code::Ok
        | Code::InvalidArgument
        | Code::NotFound
        | Code::AlreadyExists
        | Code::PermissionDenied
        | Code::Unauthenticated
        | Code::ResourceExhausted
        | Code::FailedPrecondition
        | Code::Aborted
        | Code::OutOfRange
        | Code::Unimplemented => true,
        // A status with a source was made on this side.
        Code::Internal | Code::DataLoss => std::error::Error::source(status).is_none(),
        Code::Cancelled | Code::Unknown | Code::DeadlineExceeded | Code::Unavailable => false,
    }
}

/// Another coordinator may lead.
fn leads_not(status: &Status) -> bool {
    refusal::from_status(status).is_some_and(|r| Reason::from_number(r.reason) == Some(Reason::NoLeader))
}

/// The same status, its cause put into words.
fn in_words(status: &Status) -> Status {
    Status::new(status.code(), describe_connect_error(status))
}

/// What each address said.
#[derive(Default)]
struct Tried {
    lines: Vec<(String, String)>,
    no_leader: Option<Failure>,
    refused: bool,
}

impl Tried {
    fn push(&mut self, address: &str, status: &Status) {
        if let Some(refusal) = refusal::from_status(status) {
            self.lines.push(("where".to_owned(), format!("{address}: {}", refusal.what)));
            self.no_leader = Some(Failure::refused(refusal, Intent::Read));
            return;
        }
        let why = describe_connect_error(status);
        // The one thing about a certificate that trying again will not mend.
        self.refused |= why.contains("the coordinator refused the connection: this certificate");
        let why = why.strip_prefix(&format!("cannot connect to {address}: ")).unwrap_or(&why);
        self.lines.push(("where".to_owned(), format!("{address}: {why}")));
    }

    fn failure(self, name: &str, intent: Intent) -> Failure {
        let mut failure = match (self.no_leader, self.refused) {
            (Some(refused), _) => {
                let mut failure = Failure::new(Exit::NoLeader, format!("no coordinator of {name} leads"));
                failure.next = refused.next;
                failure.next("holdfast status")
            }
            (None, true) => Failure::new(Exit::NotPermitted, format!("{name} does not take this certificate"))
                .next("holdfast context show"),
            (None, false) => Failure::new(Exit::Usage, format!("no coordinator of {name} can be reached"))
                .next("on the coordinator: systemctl status holdfast-coordinator")
                .next("holdfast context show      for its addresses"),
        };
        failure.passing = failure.exit != Exit::NotPermitted;
        failure.lines = self.lines;
        if intent == Intent::Change {
            failure = failure.closing(crate::errors::UNCHANGED);
        }
        failure
    }
}
