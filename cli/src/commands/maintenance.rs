//! `holdfast maintenance on` and `off`.

use std::fmt::Write as _;

use holdfast_proto::v1::{self, maintenance_client::MaintenanceClient};

use super::{Context, keep::span_to_wire};
use crate::{
    args::{MaintenanceCommand, MaintenanceOf},
    connect::Client,
    console::Stop,
    errors::{Exit, Intent},
    render::{
        json,
        text::{clean, hang, roughly},
        wire::wall,
    },
};

/// App and region as the wire has them.
fn named(of: &MaintenanceOf) -> (String, String) {
    let text = |name: Option<String>| name.unwrap_or_default();
    (text(of.app.as_ref().map(ToString::to_string)), text(of.region.as_ref().map(ToString::to_string)))
}

/// As it is typed after `on` or `off`, and in a sentence.
fn words(of: &MaintenanceOf) -> (String, String) {
    match (&of.app, &of.region) {
        (Some(app), _) => (app.to_string(), format!("app {app}")),
        (None, Some(region)) => (format!("--region {region}"), format!("region {region}")),
        (None, None) => ("--all".to_owned(), "the whole cluster".to_owned()),
    }
}

pub(super) async fn run(
    c: &mut Context<'_, '_>,
    client: &mut Client,
    command: MaintenanceCommand,
) -> Result<Exit, Stop> {
    match command {
        MaintenanceCommand::On { of, reason, lasts } => {
            let ((app, region), (typed, said)) = (named(&of), words(&of));
            let request = v1::BeginMaintenanceRequest { app, region, reason, lasts: Some(span_to_wire(lasts.0)) };
            let reply = client
                .call("holdfast maintenance on", Intent::Change, |ch| {
                    let request = request.clone();
                    async { MaintenanceClient::new(ch).begin(request).await }
                })
                .await?;
            c.show::<_, json::MaintenanceBegun>(reply, |r, view| {
                let until = wall(r.until.as_ref());
                let left = until.map(|until| roughly(until.since(view.now))).unwrap_or_default();
                let until = until.map(|until| until.minute()).unwrap_or_default();
                let mut out = String::new();
                let what = format!("{said} is in maintenance until {until} UTC ({left}): no failover begins");
                hang(&mut out, view, "", &what);
                if of.app.is_none() {
                    let apps = if r.apps.is_empty() { "none yet".to_owned() } else { r.apps.join(", ") };
                    hang(&mut out, view, "  apps  ", &apps);
                }
                for note in &r.notes {
                    hang(&mut out, view, "  note  ", note);
                }
                let _ = writeln!(out, "  next  when it is done:  holdfast maintenance off {}", clean(&typed));
                out
            })?;
        }
        MaintenanceCommand::Off { of, reason } => {
            let ((app, region), (_, said)) = (named(&of), words(&of));
            let request = v1::EndMaintenanceRequest { app, region, reason };
            let reply = client
                .call("holdfast maintenance off", Intent::Change, |ch| {
                    let request = request.clone();
                    async { MaintenanceClient::new(ch).end(request).await }
                })
                .await?;
            c.show::<_, json::MaintenanceEnded>(reply, |r, view| {
                let mut out = String::new();
                hang(&mut out, view, "", &format!("{said} is out of maintenance"));
                for still in &r.still {
                    hang(&mut out, view, "  note  ", still);
                }
                out
            })?;
        }
    }
    Ok(Exit::Done)
}
