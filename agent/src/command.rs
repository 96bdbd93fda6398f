//! The command line of `holdfast-agent`: joins, runs, and asks the agent that runs. Only builds the real parts.

use std::{
    io::{self, Write as _},
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
    time::Duration,
};

use anyhow::{Context as _, bail};
use clap::{CommandFactory as _, Parser, Subcommand};
use holdfast_shared::{
    clock::{SharedClock, SystemClock},
    db::{Db, DbError},
    files,
    identity::Bearer,
    logging,
    net::TcpDial,
    pki::Material,
    room::Room,
    service,
    tls::HotTlsClient,
    token::JoinToken,
};
use holdfast_types::{AppName, HostName, room};
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::watch,
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;

use crate::{
    Me, Parts,
    allowed::{Allowed, Memory},
    config::{Config, Identity, check_address},
    connect::TlsConnect,
    control::{self, Question},
    exec::{container::DOCKER_SOCKET_DEFAULT, script::keeper},
    executors::{Allowing, Executors, RealExecutors},
    helper::client::HelperExecutors,
    join,
    renew::Renewal,
    store, units,
};

/// The agent of Holdfast: one on every host.
#[derive(Debug, Parser)]
#[command(name = "holdfast-agent", version, max_term_width = 100)]
struct Cli {
    /// Configuration; without it /etc/holdfast/agent.toml, which may be missing.
    #[arg(long, global = true, env = "HOLDFAST_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Join a cluster with the line that `holdfast token create` printed.
    Join {
        /// A coordinator, HOST:PORT.
        address: String,
        /// The token.
        #[arg(long, env = "HOLDFAST_TOKEN", hide_env_values = true)]
        token: String,
        /// Name of this host; by default its hostname up to the first dot.
        #[arg(long, env = "HOLDFAST_HOST", value_name = "NAME")]
        host: Option<String>,
        /// Where the agent keeps what it knows.
        #[arg(long, env = "HOLDFAST_STATE_DIR", value_name = "DIR")]
        state_dir: Option<PathBuf>,
        /// Leave the agent's units as they are.
        #[arg(long, env = "HOLDFAST_NO_START")]
        no_start: bool,
    },
    /// Run the agent.
    Run {
        /// Where the agent keeps what it knows.
        #[arg(long, env = "HOLDFAST_STATE_DIR", value_name = "DIR")]
        state_dir: Option<PathBuf>,
    },
    /// End fencing of an app on this host, as root, without any coordinator. Two writers are possible then.
    Release {
        /// The app.
        app: AppName,
        /// Why; journalled on this host.
        #[arg(long)]
        reason: String,
    },
    /// Take fencing up again: at once, when this host holds no lease.
    Resume {
        /// The app.
        app: AppName,
    },
    /// Sessions, leases and apps of this host.
    Status,
    /// Run a script of the host's folder and end all that it started. The agent calls this itself.
    #[command(hide = true, name = keeper::COMMAND)]
    RunScript {
        /// The folder.
        folder: PathBuf,
        /// The script's bare name.
        name: String,
        /// How long it may take, in milliseconds.
        within: u64,
    },
}

/// How long the end of the program waits for look-ups of names that nobody needs any more: they cannot be interrupted.
const LOOK_UPS_MAX: Duration = Duration::from_secs(1);

/// Replaces what does things on this host by something around it.
pub type Wrap = fn(Arc<dyn Executors>) -> Arc<dyn Executors>;

/// Threads of the runtime. Disk and child processes have their own.
const WORKERS: usize = 2;

/// The tree of commands: what `--help` and the manual are made from.
#[must_use]
pub fn tree() -> clap::Command {
    Cli::command()
}

/// Runs the command line. `wrap` is the identity outside tests.
#[must_use]
pub fn main(wrap: Wrap) -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(e) => {
            // Help and version are no errors; wrong usage is 1 everywhere in Holdfast.
            drop(e.print());
            return if e.use_stderr() { ExitCode::FAILURE } else { ExitCode::SUCCESS };
        }
    };
    match start(cli, wrap) {
        Ok(code) => code,
        Err(e) => {
            drop(writeln!(io::stderr(), "error: {e:#}"));
            ExitCode::FAILURE
        }
    }
}

fn start(cli: Cli, wrap: Wrap) -> anyhow::Result<ExitCode> {
    // A process of its own for every look: before anything that it has no use for, a runtime of threads above all.
    if let Command::RunScript { folder, name, within } = &cli.command {
        return Ok(keeper::keep(folder, name, Duration::from_millis(*within)));
    }
    let config = Config::load(cli.config.as_deref())?;
    // Two are enough for all that an agent does at once, and each costs memory: on a host with many cores, a worker for
    // each of them would be most of what an agent takes.
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(WORKERS)
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    let ended = match cli.command {
        Command::Join { address, token, host, state_dir, no_start } => {
            // The units run with what is usual; who keeps things elsewhere starts the agent in another way.
            let usual = cli.config.is_none() && state_dir.is_none();
            let config = config.with_state_dir(state_dir);
            runtime.block_on(async {
                join_cluster(config, &address, &token, host).await?;
                let done = if usual && !no_start { units::start().await? } else { units::leave() };
                io::stdout().write_all(done.as_bytes())?;
                Ok(ExitCode::SUCCESS)
            })
        }
        Command::Run { state_dir } => runtime.block_on(run(config.with_state_dir(state_dir), wrap)),
        Command::Release { app, reason } => {
            if reason.trim().is_empty() {
                bail!("a reason is needed: --reason \"…\"");
            }
            runtime.block_on(ask(&config, Question::Release { app, reason }))
        }
        Command::Resume { app } => runtime.block_on(ask(&config, Question::Resume { app })),
        Command::Status => runtime.block_on(ask(&config, Question::Status)),
        Command::RunScript { .. } => bail!("a script is run before there is a runtime"),
    };
    // All work has ended; only a look-up of a name may still wait for a resolver that does not answer.
    runtime.shutdown_timeout(LOOK_UPS_MAX);
    ended
}

async fn join_cluster(config: Config, address: &str, token: &str, host: Option<String>) -> anyhow::Result<()> {
    check_address(address).map_err(anyhow::Error::msg)?;
    let token: JoinToken = token.parse()?;
    let host = match host {
        Some(host) => HostName::new(host)?,
        None => {
            let name = files::read_text(Path::new("/proc/sys/kernel/hostname"), 1_024)?.to_lowercase();
            let name = name.trim().split('.').next().unwrap_or_default();
            HostName::new(name).context("this machine's hostname cannot be used; give one with --host")?
        }
    };
    let clock: SharedClock = Arc::new(SystemClock::new().context("cannot read which boot this is")?);
    let identity = join::join(&config, address, &token, host, Arc::new(TcpDial), clock).await?;
    let text = format!("joined {} as {} in {}\n", identity.cluster, identity.host, identity.region);
    io::stdout().write_all(text.as_bytes())?;
    Ok(())
}

/// What was fenced on this host stood in a file that is damaged: it may hold no lease until it is enrolled anew.
fn cannot_open(e: DbError, me: &Me) -> anyhow::Error {
    let damaged = matches!(e, DbError::Damaged { .. });
    let e = anyhow::Error::from(e).context("cannot open the agent's database");
    if !damaged {
        return e;
    }
    e.context(format!(
        "what was fenced on this host is no longer known, so it may hold no lease; stop the databases that it runs for \
         Holdfast, move the file away, then enrol it anew: holdfast token create --region {} --replaces {}",
        me.region, me.host
    ))
}

async fn ask(config: &Config, question: Question) -> anyhow::Result<ExitCode> {
    let answer = control::ask(config.run_dir(), &question).await?;
    let text: String = answer.lines.iter().map(|line| format!("{line}\n")).collect();
    if answer.ok {
        io::stdout().write_all(text.as_bytes())?;
        return Ok(ExitCode::SUCCESS);
    }
    io::stderr().write_all(format!("error: {text}").as_bytes())?;
    // Refused: nothing was changed.
    Ok(ExitCode::from(7))
}

/// What may be touched here. Known durably before anything is done because of it.
async fn allowed(config: &Config, db: &Db, me: &Me) -> anyhow::Result<Allowed> {
    let memory = Memory::in_folder(config.state_dir())?;
    let mut declared = config.writers().clone();
    if memory.is_new() {
        // Before there was a list: whatever holds a lease here must stay one that can be stopped.
        declared.extend(store::held_writers(db, me).await.context("cannot read what the agent knows")?);
    }
    let remembered = memory.add(&declared).context("cannot keep what may be touched on this host")?;
    Ok(Allowed::new(config.file(), config.writers().clone(), remembered))
}

async fn run(config: Config, wrap: Wrap) -> anyhow::Result<ExitCode> {
    logging::init()?;
    let identity = Identity::load(config.state_dir())?;
    let clock: SharedClock = Arc::new(SystemClock::new().context("cannot read which boot this is")?);
    let material = Material::load_dir(&config.tls_dir()).context("cannot read key and certificate")?;
    // The name comes from the certificate, never from a file beside it.
    let me = match material.identity(clock.wall()).context("cannot read the certificate")?.bearer {
        Bearer::Agent { region, host } => Me { host, region },
        other @ (Bearer::Coordinator { .. } | Bearer::Operator { .. }) => {
            bail!("the certificate in {} is one of {other}, not of an agent", config.tls_dir().display())
        }
    };
    let tls = HotTlsClient::new(&material, Arc::clone(&clock)).context("cannot use key and certificate")?;
    let database = config.state_dir().join("agent.db");
    let room = Room::open(config.state_dir(), room::AGENT);
    let db = Db::open_in(&room, &database, store::MIGRATIONS).map_err(|e| cannot_open(e, &me))?;
    files::make_private_folder(config.run_dir())?;
    let allowed = Arc::new(allowed(&config, &db, &me).await?);
    let systemd_credentials = std::env::var_os("CREDENTIALS_DIRECTORY").map(PathBuf::from);
    let own = RealExecutors::new(config.docker_socket(), config.credentials(systemd_credentials))
        .timed_by(Arc::clone(&clock))
        .scripts_in(config.scripts_dir());
    let cancel = CancellationToken::new();
    let mut beside = JoinSet::new();
    let (executors, troubles): (Arc<dyn Executors>, _) = match config.helper() {
        Some(socket) => {
            tracing::info!(socket = %socket.display(), "what takes root is done by the helper");
            let helper = Arc::new(HelperExecutors::new(socket, Arc::new(own)));
            let (troubles, watched, until) = (helper.troubles(), Arc::clone(&helper), cancel.child_token());
            beside.spawn(async move { watched.watch(until).await });
            (helper, troubles)
        }
        None => (Arc::new(own.containers_noted_in(config.run_dir().join("containers"))), watch::channel(Vec::new()).1),
    };
    let executors: Arc<dyn Executors> = Arc::new(Allowing::new(executors, Arc::clone(&allowed)));
    let (ready, mut is_ready) = watch::channel(false);
    let coordinators = config.coordinators().map_or_else(|| identity.coordinators.clone(), <[String]>::to_vec);
    let parts = Parts {
        me,
        coordinators,
        connect: Arc::new(TlsConnect { tls: Arc::clone(&tls), dial: Arc::new(TcpDial) }),
        clock: Arc::clone(&clock),
        db,
        executors: wrap(executors),
        allowed,
        troubles,
        run_dir: config.run_dir().to_owned(),
        seed: rand::random(),
        instance: uuid::Uuid::new_v4().to_string(),
        renewal: Some(Renewal { tls, folder: config.tls_dir(), identity }),
        measures: Some(config.docker_socket().unwrap_or_else(|| DOCKER_SOCKET_DEFAULT.into())),
        control: true,
        ready,
    };
    let mut terminate = signal(SignalKind::terminate()).context("cannot listen for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot listen for SIGINT")?;
    let agent = crate::run(parts, cancel.clone());
    tokio::pin!(agent);
    let mut told = false;
    loop {
        tokio::select! {
            biased;
            ended = &mut agent => {
                ended?;
                return Ok(ExitCode::SUCCESS);
            }
            _ = terminate.recv() => { service::stopping(); cancel.cancel(); }
            _ = interrupt.recv() => { service::stopping(); cancel.cancel(); }
            Ok(_) = is_ready.wait_for(|ready| *ready), if !told => {
                told = true;
                service::ready();
            }
        }
    }
}
