//! The command line of `holdfast-coordinator`.

use std::{
    io::Write as _,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
};

use anyhow::Context as _;
use aws_lc_rs::rand::SecureRandom as _;
use clap::{CommandFactory as _, Parser, Subcommand};
use holdfast_shared::{
    clock::{SharedClock, SystemClock},
    contexts::contexts_file,
    db::Db,
    error::Chain,
    limits, logging,
    net::TcpAccept,
    pki::{Ca, Material},
    room::Room,
    service,
    sudo::Caller,
};
use holdfast_types::{
    ids::{ContextName, OperatorName},
    room,
};
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
};
use tokio_util::sync::CancellationToken;

use crate::{
    config::{self, Config},
    consensus::MIGRATIONS,
    engine::Faults,
    init::{self, Paths},
    metrics,
    run::{self, Parts},
};

/// Tracks the health of regions, decides, and drives every command. Run `init` once, then the service.
#[derive(Debug, Parser)]
#[command(name = "holdfast-coordinator", version, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make a new cluster: its CA, this coordinator's certificate, and your own context.
    Init {
        /// Name of the cluster, as operators call it.
        #[arg(long, env = "HOLDFAST_CLUSTER")]
        cluster: ContextName,
        /// How agents and operators reach this coordinator: host:port.
        #[arg(long, env = "HOLDFAST_ADDRESS")]
        address: String,
        /// Where to listen.
        #[arg(long, env = "HOLDFAST_LISTEN", default_value = config::LISTEN)]
        listen: String,
        /// Where /metrics, /healthz and /readyz are; off: nowhere.
        #[arg(long, env = "HOLDFAST_METRICS_LISTEN", default_value_t = config::METRICS_LISTEN.to_string())]
        metrics_listen: String,
        /// Where keys and state live.
        #[arg(long, env = "HOLDFAST_STATE_DIR", default_value = config::STATE_DIR)]
        state_dir: PathBuf,
        /// Where the configuration is written.
        #[arg(long, env = "HOLDFAST_CONFIG", default_value = config::FILE)]
        config: PathBuf,
        /// Name of the first admin.
        #[arg(long, env = "HOLDFAST_OPERATOR", default_value = "admin")]
        operator: OperatorName,
        /// The admin's contexts.toml; default ~/.config/holdfast/contexts.toml.
        #[arg(long, env = "HOLDFAST_CONTEXTS_FILE")]
        contexts_file: Option<PathBuf>,
    },
    /// Run the coordinator; systemd does this.
    Run {
        /// Its configuration.
        #[arg(long, env = "HOLDFAST_CONFIG", default_value = config::FILE)]
        config: PathBuf,
    },
}

/// The tree of commands: what `--help` and the manual are made from.
#[must_use]
pub fn tree() -> clap::Command {
    Cli::command()
}

/// Runs the command line. `faults` are none outside tests.
#[must_use]
pub fn main(faults: Arc<dyn Faults>) -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(e) => {
            // Help and version go to stdout and are no error.
            drop(e.print());
            return ExitCode::from(u8::from(e.use_stderr()));
        }
    };
    if let Err(e) = logging::init() {
        return failed(&e.into());
    }
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(e) => return failed(&anyhow::Error::from(e).context("the runtime did not start")),
    };
    match runtime.block_on(carry_out(cli.command, faults)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => failed(&e),
    }
}

fn failed(error: &anyhow::Error) -> ExitCode {
    let text = Chain(error.as_ref()).to_string();
    drop(writeln!(std::io::stderr(), "error: {text}"));
    ExitCode::FAILURE
}

async fn carry_out(command: Command, faults: Arc<dyn Faults>) -> anyhow::Result<()> {
    let clock: SharedClock = Arc::new(SystemClock::new().context("the boot id cannot be read")?);
    match command {
        Command::Init {
            cluster,
            address,
            listen,
            metrics_listen,
            state_dir,
            config,
            operator,
            contexts_file: named,
        } => {
            let watched = config::metrics_listen(&metrics_listen).map_err(anyhow::Error::msg)?;
            let metrics = config::Metrics { listen: watched, ..config::Metrics::default() };
            // What is made for a person who called sudo belongs into their home.
            let person = Caller::find().filter(|_| named.is_none());
            let home = person.as_ref().map(|p| p.home().to_owned());
            let home = home.or_else(|| std::env::var_os("HOME").map(PathBuf::from));
            let contexts = contexts_file(named.as_deref(), home.as_deref())?;
            let request = init::Request {
                cluster: cluster.clone(),
                config: Config { state_dir, listen, address, metrics },
                config_file: config.clone(),
                operator: operator.clone(),
                contexts_file: contexts.clone(),
            };
            let mut random = [0; 16];
            aws_lc_rs::rand::SystemRandom::new().fill(&mut random).map_err(|_| anyhow::anyhow!("no randomness"))?;
            let id = init::init(request, clock, random).await?;
            if let (Some(person), Some(folder)) = (person, contexts.parent()) {
                person
                    .own(folder)
                    .with_context(|| format!("cannot give {} to whom it is made for", folder.display()))?;
            }
            let out = format!(
                "cluster {cluster} ({id}) is made; you are its admin, {operator}\n  context        {}\n  configuration  {}\n  next           start it:  sudo systemctl enable --now holdfast-coordinator     (or: holdfast-coordinator run)\n                 then:      holdfast status\n",
                contexts.display(),
                config.display()
            );
            drop(std::io::stdout().write_all(out.as_bytes()));
            Ok(())
        }
        Command::Run { config } => run_service(&config, clock, faults).await,
    }
}

async fn run_service(file: &Path, clock: SharedClock, faults: Arc<dyn Faults>) -> anyhow::Result<()> {
    let config = Config::load(file)?;
    let paths = Paths::of(&config);
    if !paths.database.exists() {
        anyhow::bail!(
            "{} holds no cluster; make one:  holdfast-coordinator init --cluster NAME --address HOST:PORT",
            config.state_dir.display()
        );
    }
    let files = limits::open_files_to_the_most();
    tracing::debug!(?files, "may open so many files; an agent's connections are two of them");
    let ca = Ca::load(&paths.ca)?;
    let identity = Material::load_dir(&paths.identity)?;
    let room = Room::open(&config.state_dir, room::COORDINATOR);
    let db = Db::open_in(&room, &paths.database, MIGRATIONS)?;
    let accept =
        TcpAccept::bind(&config.listen).await.with_context(|| format!("cannot listen on {}", config.listen))?;
    let watched_at = match config.metrics.listen {
        Some(address) => Some(watched_at(address, file).await?),
        None => None,
    };
    let systemd_credentials = std::env::var_os("CREDENTIALS_DIRECTORY").map(PathBuf::from);
    let credentials: Vec<PathBuf> = systemd_credentials.into_iter().chain([config.metrics.credentials]).collect();
    let push = config.metrics.push.map(|push| metrics::push::Target {
        url: push.url,
        credential: push.credential,
        every: push.every,
        credentials,
    });
    let history = config.metrics.history_max.map(|room| metrics::history::Place { path: paths.history.clone(), room });
    let cancel = CancellationToken::new();
    let mut terminate = signal(SignalKind::terminate()).context("cannot wait for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot wait for SIGINT")?;
    let wall = clock.wall();
    let parts = Parts {
        address: config.address,
        clock,
        db: db.clone(),
        seed: None,
        ca,
        identity,
        identity_folder: paths.identity,
        accept: Box::new(accept),
        watched_at,
        history,
        push,
        faults,
        ready: Box::new(move || {
            tracing::info!(at = %wall, "serves");
            service::ready();
        }),
    };
    let stop = cancel.clone();
    let running = run::run(parts, cancel);
    let ended = {
        tokio::pin!(running);
        tokio::select! {
            biased;
            ended = &mut running => ended,
            _ = terminate.recv() => { service::stopping(); stop.cancel(); running.await }
            _ = interrupt.recv() => { service::stopping(); stop.cancel(); running.await }
        }
    };
    db.close().await;
    ended
}

async fn watched_at(address: SocketAddr, file: &Path) -> anyhow::Result<TcpListener> {
    if !address.ip().is_loopback() {
        tracing::warn!(%address, "whoever reaches this address reads /metrics: it asks nobody who they are");
    }
    TcpListener::bind(address).await.with_context(|| {
        format!(
            "cannot listen on {address} for /metrics; end what listens there, or give metrics_listen another address or \"off\" in {}",
            file.display()
        )
    })
}
