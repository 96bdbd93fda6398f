//! `holdfast failover` and `holdfast operations abort`.

use holdfast_proto::v1::{self, fleet_client::FleetClient, operations_client::OperationsClient};

use super::{Context, watch};
use crate::{
    args::{FailoverArgs, Output, Progress},
    connect::Client,
    console::Stop,
    errors::{Exit, Failure, Intent},
    render::{json, operation, text::clean},
};

pub(super) async fn run(c: &mut Context<'_, '_>, client: &mut Client, args: FailoverArgs) -> Result<Exit, Stop> {
    let (app, to) = (args.app.to_string(), args.to.to_string());
    let again = format!("holdfast failover {app} --to {to} -y");
    if args.dry_run {
        let reply = ask(client, &args, true).await?;
        let text = match c.output {
            Output::Json => json::text(json::DryRun::new(&app, &to, reply)),
            Output::Table => {
                format!("{}  next  holdfast failover {app} --to {to}\n", operation::plan(&app, &to, &reply, &c.view()))
            }
        };
        c.console.data(&text)?;
        return Ok(Exit::Done);
    }
    if !args.yes {
        c.must_be_able_to_ask(&again)?;
        // The gate answers before the operator is asked, and the plan is what they say yes to.
        let plan = ask(client, &args, true).await?;
        let text = operation::plan(&app, &to, &plan, &c.view_err());
        c.console.say(&text);
        let cluster = cluster(client).await?;
        c.must_confirm(&format!("fail over {app} to {to} in {cluster}?"), &again)?;
    }
    let reply = ask(client, &args, false).await?;
    let number = reply.operation;
    if args.detach {
        let text = match c.output {
            Output::Json => json::text(json::Begun::new(number)),
            Output::Table => format!("{number}\n"),
        };
        c.console.data(&text)?;
        c.console.say(&format!("op {number} goes on; watch it: holdfast operations watch {number}\n"));
        return Ok(Exit::Done);
    }
    watch::run(c, client, number, args.progress).await
}

async fn ask(client: &mut Client, args: &FailoverArgs, dry_run: bool) -> Result<v1::FailoverReply, Failure> {
    let request = v1::FailoverRequest {
        app: args.app.to_string(),
        to_region: args.to.to_string(),
        dry_run,
        reason: args.reason.clone(),
    };
    let intent = if dry_run { Intent::Read } else { Intent::Change };
    let asked = client
        .call(&format!("holdfast failover {} --to {}", args.app, args.to), intent, |ch| {
            let request = request.clone();
            async { OperationsClient::new(ch).failover(request).await }
        })
        .await;
    asked.map_err(|failure| {
        // A refusal of the plan changed nothing either, and its reader asked for a change.
        if !args.dry_run && failure.closing.is_none() { failure.closing(crate::errors::UNCHANGED) } else { failure }
    })
}

/// The cluster by its own name, so that nobody says yes to another one.
pub(super) async fn cluster(client: &mut Client) -> Result<String, Failure> {
    let reply = client
        .call("holdfast status", Intent::Read, |ch| async { FleetClient::new(ch).status(v1::StatusRequest {}).await })
        .await?;
    let own = clean(&reply.cluster);
    Ok(match client.name() {
        name if name == own || own.is_empty() => format!("cluster {name}"),
        name => format!("cluster {own} (context {name})"),
    })
}

pub(super) async fn abort(
    c: &mut Context<'_, '_>,
    client: &mut Client,
    number: u64,
    reason: &str,
) -> Result<Exit, Stop> {
    let reply = client
        .call(&format!("holdfast operations abort {number}"), Intent::Change, |ch| async {
            OperationsClient::new(ch).abort(v1::AbortRequest { number, reason: reason.to_owned() }).await
        })
        .await?;
    let operation = reply.operation.unwrap_or_default();
    c.show::<_, json::OneOperation>(operation, |op, _| {
        format!(
            "op {number} is taken back: {}\n  next  holdfast operations watch {number}\n",
            clean(if op.text.is_empty() { &op.state } else { &op.text })
        )
    })?;
    Ok(Exit::Done)
}

/// How an operation is shown where nothing was asked for.
pub(super) fn usual_progress(c: &Context<'_, '_>) -> Progress {
    let terminal = &c.console.terminal;
    let seen = terminal.stderr && (terminal.stdout || c.output == Output::Json);
    if seen && terminal.cursor { Progress::Tty } else { Progress::Plain }
}
