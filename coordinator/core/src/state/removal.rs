//! What is removed for good: an app, a host.
//!
//! Removing an app ends its fencing and starts nothing. Its last generation stays, so that an app of the same name that is
//! declared later begins above it: hosts keep durably which generations they have fenced, and would take no lease of one.

use holdfast_types::{AppName, HostName, refusal::Reason};

use super::{Answer, Context, Key, State, refuse};
use crate::{change, maintenance::Scope, records};

impl State {
    /// What is left of apps that were removed and not declared again.
    pub fn removed_apps(&self) -> impl Iterator<Item = (&AppName, &records::RemovedApp)> {
        self.removed.iter()
    }

    /// The last generation of an app of this name that was removed; 0 = there was none.
    pub(super) fn generation_before(&self, name: &AppName) -> u64 {
        self.removed.get(name).map_or(0, |removed| removed.generation)
    }

    /// It is declared again.
    pub(super) fn no_more_removed(&mut self, cx: &mut Context<'_>, name: &AppName) {
        if self.removed.remove(name).is_some() {
            cx.touch(Key::RemovedApp(name.clone()));
        }
    }

    pub(super) fn remove_app(&mut self, cx: &mut Context<'_>, c: &change::RemoveApp) -> Answer {
        let (name, app) = self.app_mut(&c.app)?;
        app.on_generation(&name, c.generation)?;
        if app.record.revision != c.revision {
            return Err(refuse(
                Reason::StaleRevision,
                format!("app {name} is at revision {}, this was decided on {}", app.record.revision, c.revision),
            ));
        }
        if app.record.operation != 0 || app.held() {
            let operation = app.record.operation.max(app.record.held_by);
            return Err(refuse(Reason::OperationRunning, format!("operation {operation} runs on app {name}")));
        }
        let generation = app.record.generation;
        let left = records::RemovedApp { generation, index: cx.index.0, at: cx.at.unix_millis(), by: cx.by.to_owned() };
        self.apps.remove(&name);
        cx.touch(Key::App(name.clone()));
        let scope = Scope::App(name.clone());
        if self.maintenance.remove(&scope).is_some() {
            cx.touch(Key::Maintenance(scope));
        }
        self.removed.insert(name.clone(), left);
        cx.touch(Key::RemovedApp(name));
        Ok(generation)
    }

    /// Apps whose spec names this host, in order.
    pub fn apps_on<'a>(&'a self, host: &'a HostName) -> impl Iterator<Item = &'a AppName> {
        self.apps.iter().filter(|(_, app)| app.spec.hosts().contains_key(host)).map(|(name, _)| name)
    }

    /// Its certificates stay as revoked ones for as long as they could be shown.
    pub(super) fn remove_host(&mut self, cx: &mut Context<'_>, c: &change::RemoveHost) -> Answer {
        let host = HostName::new(&*c.host).map_err(|e| refuse(Reason::BadRequest, e.to_string()))?;
        if !self.hosts.contains_key(&host) {
            return Err(refuse(Reason::UnknownHost, format!("no host {host} is enrolled")));
        }
        let apps: Vec<String> = self.apps_on(&host).map(ToString::to_string).collect();
        if !apps.is_empty() {
            return Err(refuse(Reason::HostInUse, format!("{host} is named by the spec of {}", apps.join(", "))));
        }
        let revoked = self.revoke_of_host(cx, &host);
        self.hosts.remove(&host);
        cx.touch(Key::Host(host));
        Ok(revoked)
    }
}
