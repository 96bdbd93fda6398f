//! Ends every maintenance whose time is up. A steady duty of whoever leads.

use std::time::Duration;

use holdfast_coordinator_core::{
    change::{EndMaintenance, Kind},
    maintenance::{Ends, Scope},
};
use holdfast_shared::clock::SharedClock;
use tokio_util::sync::CancellationToken;

use crate::replica::{COORDINATOR, ProposeError, Replica};

/// How often it looks.
const EVERY: Duration = Duration::from_millis(250);

/// App and region of a scope, as a change names them.
#[must_use]
pub fn named(scope: &Scope) -> (String, String) {
    match scope {
        Scope::All => (String::new(), String::new()),
        Scope::App(name) => (name.to_string(), String::new()),
        Scope::Region(name) => (String::new(), name.to_string()),
    }
}

/// Until cancelled.
pub async fn run(replica: Replica, clock: SharedClock, cancel: CancellationToken) {
    let mut ends = Ends::default();
    loop {
        let due = replica.read(|s| ends.due(s.maintenance(), clock.wall(), clock.boot()));
        for (scope, index) in due {
            let (app, region) = named(&scope);
            match replica.propose(COORDINATOR, Kind::EndMaintenance(EndMaintenance { app, region, index })).await {
                Ok(_) => tracing::info!(scope = %scope, "maintenance is over"),
                Err(ProposeError::Refused(refused)) => tracing::debug!(why = %refused.what, "maintenance not ended"),
                // It is still due at the next look.
                Err(e) => tracing::debug!(scope = %scope, error = %e, "the end of a maintenance is not committed"),
            }
        }
        tokio::select! {
            biased;
            () = cancel.cancelled() => return,
            () = tokio::time::sleep(EVERY) => {}
        }
    }
}
