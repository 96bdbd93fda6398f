//! What a host should know: computed whole from committed state, pushed whenever it differs from what was sent.

use holdfast_coordinator_core::state::{App, State};
use holdfast_proto::v1;
use holdfast_types::{HostName, LogIndex, RegionName};

use crate::fleet::Fleet;

/// Whether an app's spec names this host at all, or needs it as an observer of other regions.
fn concerns(app: &App, host: &HostName, _region: &RegionName) -> bool {
    app.spec.names(host)
}

/// Everything `host` should know, or nothing when no app concerns it.
#[must_use]
pub fn desired(state: &State, fleet: &Fleet, host: &HostName, region: &RegionName) -> v1::Desired {
    // What an agent was told of an app that is gone is older than its removal, also where no other app is newer.
    let mut newest = state.removed_apps().map(|(_, removed)| LogIndex(removed.index)).max().unwrap_or_default();
    let mut apps = Vec::new();
    for (name, app) in state.apps() {
        let record = &app.record;
        let changed = LogIndex(record.changed_index);
        // Of all apps: a host that an app names no more has to believe that nobody speaks who is behind.
        newest = newest.max(changed);
        if !concerns(app, host, region) {
            continue;
        }
        let token = state.token(changed);
        apps.push(v1::DesiredApp {
            app: name.to_string(),
            revision: record.revision,
            spec_yaml: record.spec_yaml.clone(),
            generation: record.generation,
            active_region: record.active_region.clone(),
            held: app.held(),
            lease_ends: app.leased() && !app.lease_is_sole(fleet.end_wanted(name, record.generation)),
            token: Some(v1::Token { incarnation: token.incarnation.0, index: token.index.0 }),
            routed: record.routed,
            active_since: record.active_since,
            first_generation: record.first_generation,
        });
    }
    let token = state.token(newest);
    v1::Desired { token: Some(v1::Token { incarnation: token.incarnation.0, index: token.index.0 }), apps }
}

#[cfg(test)]
mod tests;
