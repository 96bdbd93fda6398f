//! `holdfast apps remove` and `holdfast hosts remove`: what is forgotten for good.

use std::fmt::Write as _;

use holdfast_proto::v1::{
    self, apps_client::AppsClient, certificates_client::CertificatesClient, fleet_client::FleetClient,
};
use holdfast_types::{AppName, HostName};

use super::{Context, failover::cluster};
use crate::{
    connect::Client,
    console::Stop,
    errors::{Exit, Failure, Intent},
    render::{
        json,
        text::{View, clean, count, hang},
    },
};

pub(super) async fn app(
    c: &mut Context<'_, '_>,
    client: &mut Client,
    app: &AppName,
    reason: &str,
    dry_run: bool,
    yes: bool,
) -> Result<Exit, Stop> {
    let again = format!("holdfast apps remove {app} -y");
    let mut if_revision = None;
    if dry_run || !yes {
        if !dry_run {
            c.must_be_able_to_ask(&again)?;
        }
        let would = ask_app(client, app, reason, true, None).await?;
        if dry_run {
            c.show::<_, json::RemovedApp>(would, |r, view| what_becomes(app, r, false, view))?;
            return Ok(Exit::Done);
        }
        // What was shown is what they say yes to.
        if_revision = Some(would.revision);
        let text = what_becomes(app, &would, false, &c.view_err());
        c.console.say(&text);
        let cluster = cluster(client).await?;
        c.must_confirm(&format!("unfence and forget {app} in {cluster}?"), &again)?;
    }
    let reply = ask_app(client, app, reason, false, if_revision).await?;
    c.show::<_, json::RemovedApp>(reply, |r, view| what_becomes(app, r, true, view))?;
    Ok(Exit::Done)
}

async fn ask_app(
    client: &mut Client,
    app: &AppName,
    reason: &str,
    dry_run: bool,
    if_revision: Option<u64>,
) -> Result<v1::RemoveAppReply, Failure> {
    let request = v1::RemoveAppRequest { app: app.to_string(), reason: reason.to_owned(), dry_run, if_revision };
    let intent = if dry_run { Intent::Read } else { Intent::Change };
    client
        .call(&format!("holdfast apps remove {app}"), intent, |ch| {
            let request = request.clone();
            async { AppsClient::new(ch).remove(request).await }
        })
        .await
}

fn what_becomes(app: &AppName, r: &v1::RemoveAppReply, done: bool, view: &View) -> String {
    let mut out = String::new();
    let (is, was) = if done { ("is", "was active") } else { ("would be", "is active") };
    let region = clean(&r.active_region);
    let head = format!(
        "{app} {is} forgotten and unfenced: it {was} in {region}, revision {}, generation {}",
        r.revision, r.generation
    );
    hang(&mut out, view, "", &head);
    for line in &r.left {
        hang(&mut out, view, "  left  ", line);
    }
    let told = if r.told.is_empty() { "nobody: none of its hosts is live".to_owned() } else { r.told.join(", ") };
    hang(&mut out, view, "  told  ", &format!("{told}: no app names them for {app} any more"));
    if !r.absent.is_empty() {
        hang(&mut out, view, "        ", &format!("once they are back: {}", r.absent.join(", ")));
    }
    if done {
        let _ = writeln!(
            out,
            "  next  keep at most one of its databases writable; declare it again:  holdfast plan -f {app}.yaml"
        );
    }
    out
}

pub(super) async fn host(
    c: &mut Context<'_, '_>,
    client: &mut Client,
    host: &HostName,
    reason: &str,
    yes: bool,
) -> Result<Exit, Stop> {
    if !yes {
        let again = format!("holdfast hosts remove {host} --reason \"…\" -y");
        c.must_be_able_to_ask(&again)?;
        let live = is_live(client, host).await?;
        let cluster = cluster(client).await?;
        let how = if live { ", which is live now," } else { "" };
        let question = format!("revoke and forget {host}{how} in {cluster}? It has to join anew to come back.");
        c.must_confirm(&question, &again)?;
    }
    let reply = client
        .call("holdfast hosts remove", Intent::Change, |ch| async {
            let request = v1::RemoveHostRequest { host: host.to_string(), reason: reason.to_owned(), also_live: true };
            CertificatesClient::new(ch).remove_host(request).await
        })
        .await?;
    c.show::<_, json::RemovedHost>(json::RemovedHost::new(host.as_str(), reply), |r, view| {
        let certificates = count(r.certificates as usize, "certificate");
        let sessions = count(r.sessions_cut as usize, "session");
        let mut out = String::new();
        let head = format!("{} ({}) is forgotten: {certificates} revoked, {sessions} cut", r.host, r.region);
        hang(&mut out, view, "", &head);
        for line in &r.left {
            hang(&mut out, view, "  left  ", line);
        }
        out
    })?;
    Ok(Exit::Done)
}

async fn is_live(client: &mut Client, host: &HostName) -> Result<bool, Failure> {
    let reply = client
        .call("holdfast hosts", Intent::Read, |ch| async { FleetClient::new(ch).hosts(v1::HostsRequest {}).await })
        .await?;
    Ok(reply.hosts.iter().any(|known| known.host == host.as_str() && known.live))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::samples;

    #[test]
    fn what_becomes_of_a_removed_app_is_said_before_and_after() {
        let app = "smellpin".parse().expect("a name");
        for width in [100, 80, 60] {
            let mut text = what_becomes(&app, &samples::removed_app(), false, &samples::view(width));
            text.push_str(&what_becomes(&app, &samples::removed_app(), true, &samples::view(width)));
            insta::assert_snapshot!(format!("removed_app_{width}"), text);
        }
    }
}
