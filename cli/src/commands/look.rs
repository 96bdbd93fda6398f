//! The commands that only look.

use holdfast_proto::v1::{
    self, apps_client::AppsClient, fleet_client::FleetClient, metrics_client::MetricsClient,
    operations_client::OperationsClient,
};
use holdfast_types::{AppName, time::Span};

use super::Context;
use crate::{
    args::Output,
    connect::Client,
    console::Stop,
    errors::{Exit, Intent},
    render::{json, lists, metrics, operation, readiness, status, why},
};

pub(super) async fn status(c: &mut Context<'_, '_>, client: &mut Client, exit_code: bool) -> Result<Exit, Stop> {
    let reply = client
        .call("holdfast status", Intent::Read, |ch| async { FleetClient::new(ch).status(v1::StatusRequest {}).await })
        .await?;
    let needs_someone = !reply.attention.is_empty();
    c.show::<_, json::Status>(reply, status::status)?;
    Ok(if exit_code && needs_someone { Exit::Changes } else { Exit::Done })
}

pub(super) async fn why(c: &mut Context<'_, '_>, client: &mut Client, app: &AppName) -> Result<Exit, Stop> {
    let asked = format!("holdfast why {app}");
    let reply = client
        .call(&asked, Intent::Read, |ch| async {
            FleetClient::new(ch).why(v1::WhyRequest { app: app.to_string() }).await
        })
        .await?;
    c.show::<_, json::Why>(reply, why::why)?;
    Ok(Exit::Done)
}

pub(super) async fn readiness(
    c: &mut Context<'_, '_>,
    client: &mut Client,
    app: Option<&AppName>,
    exit_code: bool,
) -> Result<Exit, Stop> {
    let request = v1::ReadinessRequest { app: app.map(ToString::to_string).unwrap_or_default() };
    let reply = client
        .call("holdfast readiness", Intent::Read, |ch| {
            let request = request.clone();
            async { FleetClient::new(ch).readiness(request).await }
        })
        .await?;
    let all_ready = reply.apps.iter().all(|app| app.ready);
    c.show::<_, json::Readiness>(reply, readiness::readiness)?;
    Ok(if exit_code && !all_ready { Exit::Changes } else { Exit::Done })
}

pub(super) async fn hosts(c: &mut Context<'_, '_>, client: &mut Client) -> Result<Exit, Stop> {
    let reply = client
        .call("holdfast hosts", Intent::Read, |ch| async { FleetClient::new(ch).hosts(v1::HostsRequest {}).await })
        .await?;
    c.show::<_, json::Hosts>(reply, |r, view| lists::hosts(&r.hosts, view))?;
    Ok(Exit::Done)
}

pub(super) async fn regions(c: &mut Context<'_, '_>, client: &mut Client) -> Result<Exit, Stop> {
    let reply = client
        .call("holdfast regions", Intent::Read, |ch| async {
            FleetClient::new(ch).regions(v1::RegionsRequest {}).await
        })
        .await?;
    c.show::<_, json::Regions>(reply, |r, view| lists::regions(&r.regions, view))?;
    Ok(Exit::Done)
}

pub(super) async fn apps(c: &mut Context<'_, '_>, client: &mut Client) -> Result<Exit, Stop> {
    let reply = client
        .call("holdfast apps", Intent::Read, |ch| async { AppsClient::new(ch).list(v1::ListAppsRequest {}).await })
        .await?;
    c.show::<_, json::Apps>(reply, |r, view| lists::apps(&r.apps, view))?;
    Ok(Exit::Done)
}

pub(super) async fn metrics(
    c: &mut Context<'_, '_>,
    client: &mut Client,
    name: &str,
    since: Span,
) -> Result<Exit, Stop> {
    let request = v1::HistoryRequest {
        name: name.to_owned(),
        since: since.0.try_into().ok(),
        points: match c.output {
            Output::Table => metrics::points(c.view().width),
            Output::Json => 0,
        },
    };
    let reply = client
        .call("holdfast metrics", Intent::Read, |ch| {
            let request = request.clone();
            async { MetricsClient::new(ch).history(request).await }
        })
        .await?;
    let letters = c.console.terminal.letters;
    c.show::<_, json::Metrics>(reply, |r, view| metrics::metrics(r, letters, view))?;
    Ok(Exit::Done)
}

pub(super) async fn operations(
    c: &mut Context<'_, '_>,
    client: &mut Client,
    app: Option<&AppName>,
    limit: u32,
) -> Result<Exit, Stop> {
    let request = v1::ListOperationsRequest { app: app.map(ToString::to_string).unwrap_or_default(), limit };
    let reply = client
        .call("holdfast operations list", Intent::Read, |ch| {
            let request = request.clone();
            async { OperationsClient::new(ch).list(request).await }
        })
        .await?;
    c.show::<_, json::Operations>(reply, |r, view| operation::list(&r.operations, view))?;
    Ok(Exit::Done)
}

pub(super) async fn operation(c: &mut Context<'_, '_>, client: &mut Client, number: u64) -> Result<Exit, Stop> {
    let asked = format!("holdfast operations show {number}");
    let reply = client
        .call(&asked, Intent::Read, |ch| async {
            OperationsClient::new(ch).get(v1::GetOperationRequest { number }).await
        })
        .await?;
    c.show::<_, json::OneOperation>(reply, operation::show)?;
    Ok(Exit::Done)
}
