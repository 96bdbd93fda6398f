//! `apps remove`: what becomes of an app that nobody looks after any more, said before and after.

use holdfast_coordinator_core::change::{Kind, RemoveApp};
use holdfast_proto::v1;
use holdfast_types::{HostName, refusal::Reason};
use tonic::Status;

use super::{
    Api,
    call::Call,
    not_committed,
    picture::{Hosts, LeasePicture, Picture},
    refuse::Refusal,
};

/// What becomes of each of its databases, then of its proxies.
fn left(picture: &Picture, hosts: &Hosts) -> Vec<String> {
    let app = &picture.app;
    let mut lines = Vec::new();
    for region in &app.spec.regions {
        for writer in app.spec.writers.keys() {
            let Some(place) = app.spec.writer_host(writer, &region.name) else { continue };
            let (host, active) = (&place.host, region.name == *app.active());
            let live = hosts.get(host).is_some_and(|host| host.live());
            let state = picture.leases.get(host).map(|lease: &LeasePicture| lease.state);
            let stopped = matches!(state, Some(v1::LeaseState::Fenced | v1::LeaseState::Fencing));
            let text = match (live, stopped, active) {
                (false, _, true) if app.leased() => {
                    "its host is not heard: if it holds a lease that ends it stops by itself, and stays down".to_owned()
                }
                (false, _, _) => "its host is not heard: it is left as it is".to_owned(),
                (true, true, _) => "it was stopped by a fence, and stays down until you start it".to_owned(),
                (true, false, true) => "it runs on, without a lease: nothing fences it any more".to_owned(),
                (true, false, false) => "it is left as it is: nothing keeps it from being promoted by hand".to_owned(),
            };
            lines.push(format!("{writer} on {host} ({}): {text}", region.name));
        }
    }
    if !app.spec.proxies.is_empty() {
        lines.push("proxies: they stay as they are now; nobody switches them any more".to_owned());
    }
    lines
}

impl Api {
    /// What would become of an app, or has.
    pub(super) async fn remove_app(
        &self,
        call: Option<&Call>,
        asked: v1::RemoveAppRequest,
    ) -> Result<v1::RemoveAppReply, Status> {
        self.lead().await?;
        let (name, app) = self.app(&asked.app)?;
        let current = app.record.revision;
        if let Some(revision) = asked.if_revision.filter(|revision| *revision != current) {
            let what = format!("app {name} is at revision {current}, not {revision}");
            return Err(Refusal::new(Reason::StaleRevision, what).next("holdfast apps").status());
        }
        if let Some(operation) = app.operation() {
            let what = format!("app {name} is not removed while operation {operation} runs on it");
            return Err(Refusal::new(Reason::OperationRunning, what)
                .next(format!("holdfast operations watch {operation}"))
                .next(format!("holdfast operations abort {operation} --reason \"…\""))
                .status());
        }
        let look = self.look(true);
        let lines = look.pictures.iter().find(|picture| picture.name == name).map(|p| left(p, &look.hosts));
        let (told, absent): (Vec<HostName>, Vec<HostName>) =
            app.spec.hosts().into_keys().partition(|host| look.hosts.get(host).is_some_and(|host| host.live()));
        if let Some(call) = call {
            let change = RemoveApp { app: name.to_string(), revision: current, generation: app.record.generation };
            self.replica
                .propose(call.author(), Kind::RemoveApp(change))
                .await
                .map_err(|e| not_committed(&e, vec!["holdfast apps".to_owned()]))?;
            tracing::warn!(app = %name, generation = app.record.generation, by = %call.caller.name, "app removed: it is fenced no more");
        }
        Ok(v1::RemoveAppReply {
            revision: current,
            active_region: app.active().to_string(),
            generation: app.record.generation,
            left: lines.unwrap_or_default(),
            told: told.iter().map(ToString::to_string).collect(),
            absent: absent.iter().map(ToString::to_string).collect(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{api::samples, fleet::Presence};

    #[test]
    fn what_is_left_behind_is_said_of_every_database() {
        let mut picture = samples::good_day();
        let mut hosts = samples::hosts();
        assert_eq!(
            left(&picture, &hosts),
            [
                "pg on use-db1 (us-east): it runs on, without a lease: nothing fences it any more",
                "pg on usw-db1 (us-west): it is left as it is: nothing keeps it from being promoted by hand",
                "proxies: they stay as they are now; nobody switches them any more",
            ]
        );
        let west: HostName = "usw-db1".parse().expect("a name");
        let fenced = LeasePicture { state: v1::LeaseState::Fenced, left: None, generation: 1 };
        picture.leases.insert(west, fenced);
        hosts.get_mut(&"use-db1".parse::<HostName>().unwrap()).unwrap().presence = Presence::Silent(samples::NOW);
        let lines = left(&picture, &hosts);
        assert!(lines[0].contains("if it holds a lease that ends it stops by itself"), "{lines:?}");
        assert!(lines[1].contains("stays down until you start it"), "{lines:?}");
    }
}
