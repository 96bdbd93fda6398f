//! What each command does: ask a coordinator, show the answer, end with a code that tells the truth.

mod apply;
mod context;
mod failover;
mod keep;
mod look;
mod watch;

#[cfg(test)]
mod tests;

use std::{future::Future, pin::Pin, sync::Arc};

use holdfast_shared::clock::SharedClock;
use serde::Serialize;

use crate::{
    args::{Cli, Command, HostsCommand, OperationsCommand, Output},
    connect::{self, Client},
    console::{Console, Stop},
    errors::{Exit, Failure},
    render::{json, text::View},
};

/// Resolves when the operator presses Ctrl-C; a new one for each wait.
pub type Interrupt = Arc<dyn Fn() -> Pin<Box<dyn Future<Output = ()>>>>;

/// What a command works with.
pub struct Context<'a, 'c> {
    /// Where it reads and writes.
    pub console: &'a mut Console<'c>,
    /// The clocks.
    pub clock: SharedClock,
    /// Ctrl-C.
    pub interrupt: Interrupt,
    /// Form of the data.
    pub output: Output,
}

impl Context<'_, '_> {
    fn view(&self) -> View {
        self.console.view(self.clock.wall())
    }

    fn view_err(&self) -> View {
        self.console.view_err(self.clock.wall())
    }

    /// Writes the answer in the form that was asked for.
    fn show<R, J>(&mut self, reply: R, table: impl FnOnce(&R, &View) -> String) -> Result<(), Stop>
    where
        J: From<R> + Serialize,
    {
        let text = match self.output {
            Output::Table => table(&reply, &self.view()),
            Output::Json => json::text(J::from(reply)),
        };
        self.console.data(&text)
    }

    /// Asks before something dangerous.
    fn must_confirm(&mut self, question: &str, again: &str) -> Result<(), Stop> {
        self.must_be_able_to_ask(again)?;
        if self.console.confirm(question) {
            return Ok(());
        }
        Err(Failure::new(Exit::Failed, "not confirmed").closing(crate::errors::UNCHANGED).into())
    }

    /// Refuses early where nobody could be asked.
    fn must_be_able_to_ask(&self, again: &str) -> Result<(), Stop> {
        if self.console.terminal.can_ask() {
            return Ok(());
        }
        let failure = Failure::usage("this asks for a confirmation, and there is no terminal to ask on", again);
        Err(failure.closing(crate::errors::UNCHANGED).into())
    }
}

/// Runs a command of the command line.
///
/// # Errors
/// [`Stop`] when it fails or its output is no longer read.
pub async fn run(cli: Cli, mut context: Context<'_, '_>) -> Result<Exit, Stop> {
    let contexts = connect::load_contexts(cli.global.contexts_file.as_deref())?;
    if let Command::Context { command } = cli.command {
        return context::run(&mut context, contexts, cli.global.context.as_deref(), command);
    }
    let client = connect::open(&contexts, cli.global.context.as_deref(), Arc::clone(&context.clock))?;
    run_with(cli.command, &mut context, client).await
}

/// Runs a command that talks to the cluster of `client`.
///
/// # Errors
/// As [`run`].
pub async fn run_with(command: Command, context: &mut Context<'_, '_>, mut client: Client) -> Result<Exit, Stop> {
    let client = &mut client;
    match command {
        Command::Status { exit_code } => look::status(context, client, exit_code).await,
        Command::Why { app } => look::why(context, client, &app).await,
        Command::Hosts { command: None } => look::hosts(context, client).await,
        Command::Hosts { command: Some(HostsCommand::Revoke { host, reason, yes }) } => {
            keep::revoke_host(context, client, &host, &reason, yes).await
        }
        Command::Regions => look::regions(context, client).await,
        Command::Apps => look::apps(context, client).await,
        Command::Operations { command } => match command {
            OperationsCommand::List { app, limit } => look::operations(context, client, app.as_ref(), limit).await,
            OperationsCommand::Show { number } => look::operation(context, client, number).await,
            OperationsCommand::Watch { number, progress } => watch::run(context, client, number, progress).await,
            OperationsCommand::Abort { number, reason } => failover::abort(context, client, number, &reason).await,
        },
        Command::Failover(args) => failover::run(context, client, args).await,
        Command::Plan { file, exit_code } => apply::plan(context, client, &file, exit_code).await,
        Command::Apply(args) => apply::run(context, client, args).await,
        Command::Token { command } => keep::token(context, client, command).await,
        Command::Context { .. } => Ok(Exit::Done),
    }
}
