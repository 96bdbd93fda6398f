//! The clusters this account can talk to. Nothing here needs a coordinator.

use holdfast_shared::{
    contexts::{self, Contexts},
    error::Chain,
    identity::Bearer,
    pki::Material,
};

use super::Context;
use crate::{
    args::{ContextCommand, Output},
    connect,
    console::Stop,
    errors::{Exit, Failure},
    render::{
        json,
        table::{Cell, Column, Table},
        text::{Tone, hang, labelled, roughly},
    },
};

pub(super) fn run(
    c: &mut Context<'_, '_>,
    mut contexts: Contexts,
    named: Option<&str>,
    command: ContextCommand,
) -> Result<Exit, Stop> {
    match command {
        // Needs a coordinator, so it is done where those are asked.
        ContextCommand::Add { .. } => {}
        ContextCommand::List => list(c, &contexts)?,
        ContextCommand::Use { name } => {
            connect::choose(&contexts, Some(&name))?;
            let failed = |e| Failure::usage(Chain(&e).to_string(), "holdfast context list");
            contexts.set_current(&name).map_err(failed)?;
            contexts.save().map_err(failed)?;
            c.console.say(&format!("from now on: {name}      next  holdfast status\n"));
        }
        ContextCommand::Remove { name, yes } => remove(c, contexts, &name, yes)?,
        ContextCommand::Show => {
            let context = connect::choose(&contexts, named)?;
            show(c, &contexts, context)?;
        }
    }
    Ok(Exit::Done)
}

fn failed(error: &(dyn std::error::Error + 'static)) -> Failure {
    Failure::usage(Chain(error).to_string(), "holdfast context list")
}

/// The key goes with it where it was made for it here; one that lies elsewhere is somebody else's to remove.
fn remove(c: &mut Context<'_, '_>, mut contexts: Contexts, name: &str, yes: bool) -> Result<(), Stop> {
    let context = connect::choose(&contexts, Some(name))?.clone();
    let folder = contexts.identity_folder(&context);
    let own = context.identity == Contexts::identity_for(&context.name);
    let shared = contexts.all().iter().any(|other| other.name != context.name && other.identity == context.identity);
    let goes = own && !shared;
    if !yes {
        let again = format!("holdfast context remove {name} -y");
        c.must_be_able_to_ask(&again)?;
        let key = if goes { " and its key" } else { "" };
        let question =
            format!("forget {name}{key}, for cluster {}? Only an admin of it can let you in again.", context.cluster);
        c.must_confirm(&question, &again)?;
    }
    contexts.remove(name).and_then(|_| contexts.save()).map_err(|e| failed(&e))?;
    if goes {
        Material::remove_dir(&folder).map_err(|e| {
            failed(&e).line("why", format!("{name} is forgotten; what is left of its key lies in {}", folder.display()))
        })?;
    }
    let current = contexts.current().map(ToOwned::to_owned);
    let done = json::RemovedContext { context: name.to_owned(), key_removed: goes };
    c.show::<_, json::RemovedContext>(done, |r, _| {
        let key = if r.key_removed {
            "its key is removed".to_owned()
        } else {
            format!("its key stays in {}", folder.display())
        };
        format!("{} is forgotten; {key}\n", r.context)
    })?;
    if current.is_none() && c.output == Output::Table && !contexts.all().is_empty() {
        c.console.say("no context is in use now\n  next  holdfast context use NAME\n");
    }
    Ok(())
}

fn list(c: &mut Context<'_, '_>, contexts: &Contexts) -> Result<(), Stop> {
    let current = contexts.current().map(ToOwned::to_owned);
    let all = contexts.all().iter().map(|one| plain(contexts, one)).collect();
    c.show::<_, json::Contexts>(json::Contexts { current, contexts: all }, |reply, view| {
        if reply.contexts.is_empty() {
            return "no contexts yet: holdfast-coordinator init writes the first one, who was let in types\n  next  holdfast context add ADDRESS --token TOKEN\n"
                .to_owned();
        }
        let mut table = Table::new([
            Column::new("IN USE"),
            Column::new("NAME"),
            Column::new("CLUSTER"),
            Column::breaks("ADDRESSES"),
        ]);
        for one in &reply.contexts {
            let current = reply.current.as_deref() == Some(one.context.as_str());
            table.row([
                if current { Cell::toned(Tone::Good, "→") } else { Cell::blank() },
                Cell::toned(Tone::Strong, &one.context),
                Cell::new(&one.cluster),
                Cell::new(one.addresses.join(" ")),
            ]);
        }
        table.render(view)
    })
}

fn plain(contexts: &Contexts, one: &contexts::Context) -> json::Context {
    json::Context {
        context: one.name.to_string(),
        cluster: one.cluster.to_string(),
        addresses: one.addresses.clone(),
        identity: contexts.identity_folder(one).display().to_string(),
        bearer: None,
        certificate_until: None,
    }
}

fn show(c: &mut Context<'_, '_>, contexts: &Contexts, context: &contexts::Context) -> Result<(), Stop> {
    let now = c.clock.wall();
    let mut shown = plain(contexts, context);
    let identity = Material::load_dir(&contexts.identity_folder(context)).and_then(|material| material.identity(now));
    let who = match &identity {
        Ok(peer) => {
            let bearer = match &peer.bearer {
                Bearer::Operator { name } => format!("operator {name}"),
                Bearer::Agent { region, host } => format!("agent {region}/{host}"),
                Bearer::Coordinator { node } => format!("coordinator {node}"),
            };
            shown.bearer = Some(bearer.clone());
            shown.certificate_until = Some(peer.not_after.to_string());
            if peer.not_after > now {
                format!("{bearer}, certificate for another {}", roughly(peer.not_after.since(now)))
            } else {
                format!("{bearer}, but the certificate has expired {} ago", roughly(now.since(peer.not_after)))
            }
        }
        Err(e) => format!("nobody: {}", Chain(e)),
    };
    c.show::<_, json::Context>(shown, |shown, view| {
        let mut out = String::new();
        hang(&mut out, view, "", &shown.context);
        let lines = [
            ("cluster", shown.cluster.clone()),
            ("addresses", shown.addresses.join(" ")),
            ("you", who),
            ("key", shown.identity.clone()),
        ];
        let lines: Vec<_> = lines.into_iter().map(|(label, text)| (label.to_owned(), text)).collect();
        labelled(&mut out, view, 2, &lines, &[]);
        out
    })
}
