//! `holdfast`, the operators' command: it asks a coordinator and shows the answer. It decides nothing.

mod args;
mod commands;
mod connect;
mod console;
mod errors;
mod render;
mod usage;

use std::{
    io::{self, Write as _},
    process::ExitCode,
    sync::Arc,
};

use clap::FromArgMatches as _;
use holdfast_shared::clock::{Clock as _, SharedClock, SystemClock};

use crate::{
    args::Cli,
    commands::{Context, Interrupt},
    console::{Console, Stop, Terminal},
    errors::{Exit, Failure},
};

/// The tree of commands: what `--help`, completions and the manual are made from.
#[must_use]
pub fn tree() -> clap::Command {
    args::command()
}

/// Runs the command line of this process.
#[must_use]
pub fn main() -> ExitCode {
    let (mut out, mut err, mut input) = (io::stdout(), io::stderr(), io::stdin().lock());
    let terminal = Terminal::of_process();
    let mut console = Console { out: &mut out, err: &mut err, input: &mut input, terminal };
    let clock = match SystemClock::new() {
        Ok(clock) => Arc::new(clock),
        Err(e) => {
            console.say(&format!("error: cannot read the boot clock: {e}\n"));
            return ExitCode::from(Exit::Usage.code());
        }
    };
    let exit = match command_line(&mut console, &clock) {
        Ok(cli) => finish(run(cli, &mut console, &clock), &mut console, &clock),
        Err(exit) => exit,
    };
    ExitCode::from(exit.code())
}

/// What was typed; help, the version and mistakes are answered here.
fn command_line(console: &mut Console<'_>, clock: &Arc<SystemClock>) -> Result<Cli, Exit> {
    let typed: Vec<String> = std::env::args_os().map(|a| a.to_string_lossy().into_owned()).collect();
    let parsed = args::command().try_get_matches().and_then(|mut m| Cli::from_arg_matches_mut(&mut m));
    parsed.map_err(|error| {
        use clap::error::ErrorKind;
        if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) {
            // Nobody reading is no error; clap leaves colours out where none are wanted.
            let printed = error.print().and_then(|()| io::stdout().flush());
            return match printed {
                Err(e) if e.kind() != io::ErrorKind::BrokenPipe => Exit::Usage,
                Ok(()) | Err(_) => Exit::Done,
            };
        }
        if usage::is_bare(&error, &typed) {
            console.say(&args::command().render_help().to_string());
            return usage::EXIT;
        }
        finish(Err(usage::failure(&error, &typed).into()), console, clock)
    })
}

fn run(cli: Cli, console: &mut Console<'_>, clock: &Arc<SystemClock>) -> Result<Exit, Stop> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|e| Failure::new(Exit::Usage, format!("cannot start: {e}")))?;
    let interrupt: Interrupt = Arc::new(|| {
        Box::pin(async {
            if tokio::signal::ctrl_c().await.is_err() {
                // Without a handler Ctrl-C ends the process, which detaches as well.
                std::future::pending::<()>().await;
            }
        })
    });
    let output = cli.global.output;
    let clock: SharedClock = Arc::clone(clock) as SharedClock;
    runtime.block_on(commands::run(cli, Context { console, clock, interrupt, output }))
}

/// Tells a failure and gives the code to end with.
fn finish(result: Result<Exit, Stop>, console: &mut Console<'_>, clock: &Arc<SystemClock>) -> Exit {
    match result {
        Ok(exit) => exit,
        Err(Stop::PipeClosed) => Exit::Done,
        Err(Stop::Failed(failure)) => {
            let text = failure.render(&console.view_err(clock.wall()));
            console.say(&text);
            failure.exit
        }
    }
}
