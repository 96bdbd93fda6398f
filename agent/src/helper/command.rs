//! The command line of `holdfast-helper`.

use std::{
    io::{self, Write as _},
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
};

use anyhow::{Context as _, bail};
use clap::{Parser, Subcommand};
use holdfast_shared::{files, logging, service};
use listenfd::ListenFd;
use tokio::{
    net::UnixListener,
    signal::unix::{SignalKind, signal},
};
use tokio_util::sync::CancellationToken;

use super::{
    server::{Askers, Host, Server, listen},
    start::{self, Facts},
    units::Units,
};
use crate::{allowed::Memory, config::Config, exec::child, executors::RealExecutors};

/// The user that the agent runs as, where it is not root.
pub const AGENT_USER: &str = "holdfast-agent";
/// Where the helper keeps what was ever declared.
const STATE_DIR_DEFAULT: &str = "/var/lib/holdfast-helper";
/// Where the helper notes containers. Its own, because root writes nothing into a folder of another user.
const RUN_DIR_DEFAULT: &str = "/run/holdfast-helper";

/// The helper of Holdfast's agent: what takes root, for declared writers only.
#[derive(Debug, Parser)]
#[command(name = "holdfast-helper", version, max_term_width = 100)]
struct Cli {
    /// The agent's configuration, which declares writers; without it /etc/holdfast/agent.toml.
    #[arg(long, global = true, env = "HOLDFAST_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    /// Where the helper keeps what was ever declared.
    #[arg(long, global = true, env = "HOLDFAST_HELPER_STATE_DIR", value_name = "DIR", default_value = STATE_DIR_DEFAULT)]
    state_dir: PathBuf,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve the agent, on the socket that systemd passes.
    Serve {
        /// A socket of its own instead.
        #[arg(long, value_name = "FILE")]
        socket: Option<PathBuf>,
        /// The user that may ask, besides root.
        #[arg(long, value_name = "USER", default_value = AGENT_USER)]
        agent_user: String,
        /// Where containers are noted; should be gone after a reboot.
        #[arg(long, value_name = "DIR", default_value = RUN_DIR_DEFAULT)]
        run_dir: PathBuf,
    },
    /// Say whether a unit may be started now: systemd asks, by the ExecCondition= of each declared unit.
    MayStart {
        /// The unit, as it is declared.
        unit: String,
    },
    /// Write the ExecCondition= of every declared unit, and take those of others away.
    Units {
        /// Take all of them away, as before Holdfast leaves this host.
        #[arg(long)]
        remove: bool,
    },
    /// What the agent knows of its apps, for `may-start`. Runs as the agent's user.
    #[command(hide = true)]
    Facts {
        /// The agent's state directory.
        agent_state_dir: PathBuf,
        /// The agent's folder in /run.
        agent_run_dir: PathBuf,
    },
}

/// Runs the command line.
#[must_use]
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(e) => {
            drop(e.print());
            return if e.use_stderr() { ExitCode::FAILURE } else { ExitCode::SUCCESS };
        }
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let ended = runtime.context("cannot start the runtime").and_then(|runtime| runtime.block_on(start(cli)));
    match ended {
        Ok(code) => code,
        Err(e) => {
            drop(writeln!(io::stderr(), "error: {e:#}"));
            ExitCode::FAILURE
        }
    }
}

async fn start(cli: Cli) -> anyhow::Result<ExitCode> {
    let units = Units::of_this_host(cli.config.as_deref(), own_state_dir(&cli.state_dir));
    match cli.command {
        Command::Serve { socket, agent_user, run_dir } => {
            serve(cli.config, &cli.state_dir, socket, &agent_user, &run_dir).await
        }
        Command::MayStart { unit } => {
            let memory = Memory::in_folder(&cli.state_dir).ok();
            match start::may_start(&unit, cli.config.as_deref(), memory.as_ref()).await {
                Ok(why) => {
                    writeln!(io::stdout(), "{unit} may start: {why}")?;
                    Ok(ExitCode::SUCCESS)
                }
                // 1 to 254 is a condition that does not hold: systemd skips the start, and calls nothing failed.
                Err(why) => {
                    writeln!(io::stderr(), "{unit} is not started: {why}")?;
                    Ok(ExitCode::FAILURE)
                }
            }
        }
        Command::Units { remove: true } => {
            let removed = units.remove().await?;
            writeln!(io::stdout(), "{removed} units are no longer guarded by Holdfast")?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Units { remove: false } => {
            let config = Config::load(cli.config.as_deref())?;
            let all = Memory::in_folder(&cli.state_dir)?.add(config.writers())?;
            let changed = units.write(&all).await?;
            writeln!(io::stdout(), "{changed} units changed; none starts as a primary without a lease")?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Facts { agent_state_dir, agent_run_dir } => {
            let facts = Facts::read(&agent_state_dir, &agent_run_dir);
            let text = serde_json::to_vec(&facts).context("cannot say what is known")?;
            io::stdout().write_all(&text)?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// The folder, where it is not the usual one.
fn own_state_dir(state_dir: &Path) -> Option<&Path> {
    (state_dir != Path::new(STATE_DIR_DEFAULT)).then_some(state_dir)
}

async fn serve(
    file: Option<PathBuf>,
    state_dir: &Path,
    socket: Option<PathBuf>,
    agent_user: &str,
    run_dir: &Path,
) -> anyhow::Result<ExitCode> {
    logging::init()?;
    let memory = Memory::in_folder(state_dir)?;
    let config = Config::load(file.as_deref()).unwrap_or_else(|problems| {
        // What was declared once must still be stopped by somebody.
        tracing::error!("nothing is declared while agent.toml cannot be read: {problems}");
        Config::empty()
    });
    let all = memory.add(config.writers())?;
    let by_systemd = socket.is_none();
    let listener = match socket {
        Some(path) => listen(&path).with_context(|| format!("cannot listen on {}", path.display()))?,
        None => {
            let passed = ListenFd::from_env().take_unix_listener(0).context("the socket that was passed is none")?;
            let Some(listener) = passed else {
                bail!("no socket was passed; start holdfast-helper.socket, or give --socket FILE");
            };
            listener.set_nonblocking(true)?;
            UnixListener::from_std(listener)?
        }
    };
    if by_systemd && let Err(e) = Units::of_this_host(file.as_deref(), own_state_dir(state_dir)).write(&all).await {
        // What is declared can still be fenced; that a unit could start without a lease is said aloud.
        tracing::error!("cannot keep units from starting without a lease: {e:#}");
    }
    let agent = child::user_ids(agent_user).map(|(uid, _)| uid);
    if agent.is_none() {
        tracing::warn!(user = agent_user, "there is no such user; only root may ask");
    }
    files::make_private_folder(run_dir)?;
    let executors = RealExecutors::new(config.docker_socket(), config.credentials(None))
        .containers_noted_in(run_dir.join("containers"));
    let host = Host::new(file, memory, Arc::new(executors));
    let cancel = CancellationToken::new();
    let mut terminate = signal(SignalKind::terminate()).context("cannot listen for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot listen for SIGINT")?;
    tracing::info!(declared = config.writers().len(), "helper starts");
    service::ready();
    let server = Server::new(Arc::new(host), Askers { agent }).run(listener, cancel.clone());
    tokio::pin!(server);
    loop {
        tokio::select! {
            biased;
            () = &mut server => return Ok(ExitCode::SUCCESS),
            _ = terminate.recv() => cancel.cancel(),
            _ = interrupt.recv() => cancel.cancel(),
        }
    }
}
