//! What each command does: ask a coordinator, show the answer, end with a code that tells the truth.

mod apply;
mod audit;
mod completions;
mod context;
mod failover;
mod invited;
mod keep;
mod look;
mod maintenance;
mod people;
mod remove;
mod watch;

#[cfg(test)]
mod tests;

use std::{future::Future, pin::Pin, sync::Arc};

use holdfast_shared::clock::SharedClock;
use serde::Serialize;

use crate::{
    args::{AppsCommand, AuditCommand, Cli, Command, ContextCommand, HostsCommand, OperationsCommand, Output},
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
    // Asks nothing of this account, so nothing of it can be in the way.
    if let Command::Completions { shell } = cli.command {
        return completions::run(&mut context, shell);
    }
    let contexts = connect::load_contexts(cli.global.contexts_file.as_deref())?;
    match cli.command {
        Command::Context { command: ContextCommand::Add { address, token, name } } => {
            return invited::run(&mut context, contexts, &address, &token, name).await;
        }
        Command::Context { command } => {
            return context::run(&mut context, contexts, cli.global.context.as_deref(), command);
        }
        // Whoever was given an export needs no cluster to look at it.
        Command::Audit { command: Some(AuditCommand::Verify { file: Some(file) }), .. } => {
            return audit::verify_file(&mut context, &file);
        }
        Command::Status { .. }
        | Command::Why { .. }
        | Command::Readiness { .. }
        | Command::Hosts { .. }
        | Command::Regions
        | Command::Apps { .. }
        | Command::Metrics { .. }
        | Command::Operations { .. }
        | Command::Failover(_)
        | Command::Maintenance { .. }
        | Command::Plan { .. }
        | Command::Apply(_)
        | Command::Token { .. }
        | Command::Operator { .. }
        | Command::Audit { .. }
        | Command::Completions { .. } => {}
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
        Command::Readiness { app, exit_code } => look::readiness(context, client, app.as_ref(), exit_code).await,
        Command::Hosts { command: None } => look::hosts(context, client).await,
        Command::Hosts { command: Some(HostsCommand::Revoke { host, reason, yes }) } => {
            keep::revoke_host(context, client, &host, &reason, yes).await
        }
        Command::Regions => look::regions(context, client).await,
        Command::Apps { command: None } => look::apps(context, client).await,
        Command::Apps { command: Some(AppsCommand::Remove { app, reason, dry_run, yes }) } => {
            remove::app(context, client, &app, &reason, dry_run, yes).await
        }
        Command::Hosts { command: Some(HostsCommand::Remove { host, reason, yes }) } => {
            remove::host(context, client, &host, &reason, yes).await
        }
        Command::Metrics { name, since } => look::metrics(context, client, &name, since).await,
        Command::Operations { command } => match command {
            OperationsCommand::List { app, limit } => look::operations(context, client, app.as_ref(), limit).await,
            OperationsCommand::Show { number } => look::operation(context, client, number).await,
            OperationsCommand::Watch { number, progress } => watch::run(context, client, number, progress).await,
            OperationsCommand::Abort { number, reason } => failover::abort(context, client, number, &reason).await,
        },
        Command::Failover(args) => failover::run(context, client, args).await,
        Command::Maintenance { command } => maintenance::run(context, client, command).await,
        Command::Plan { file, exit_code } => apply::plan(context, client, &file, exit_code).await,
        Command::Apply(args) => apply::run(context, client, args).await,
        Command::Token { command } => keep::token(context, client, command).await,
        Command::Operator { command } => people::run(context, client, command).await,
        Command::Audit { newest, command } => match command {
            None => audit::newest(context, client, newest).await,
            Some(AuditCommand::Export { file }) => audit::export(context, client, file.as_deref()).await,
            Some(AuditCommand::Verify { file: None }) => audit::verify(context, client).await,
            Some(AuditCommand::Verify { file: Some(file) }) => audit::verify_file(context, &file),
        },
        Command::Completions { shell } => completions::run(context, shell),
        Command::Context { .. } => Ok(Exit::Done),
    }
}
