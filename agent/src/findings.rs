//! How every writer on this host is set up, looked at now and then: what a failover would need and miss, known before it
//! is needed.

use std::{sync::Arc, time::Duration};

use holdfast_proto::v1;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::{
    apps::{Known, Me},
    executors::{Executors, Facts},
};

/// How often it looks: settings change by hand, and each look is one login.
const EVERY: Duration = Duration::from_secs(5);
/// Longest look at one writer.
const WITHIN: Duration = Duration::from_secs(3);

/// What was found last.
pub type Found = Arc<Vec<v1::WriterFacts>>;

/// Looks until cancelled, and publishes what it finds.
pub async fn run(
    me: Me,
    executors: Arc<dyn Executors>,
    mut apps: watch::Receiver<Known>,
    found: watch::Sender<Found>,
    cancel: CancellationToken,
) {
    loop {
        let known = Arc::clone(&apps.borrow_and_update().apps);
        let mut writers = Vec::new();
        for app in known.values() {
            for writer in app.writers_on(&me.host) {
                // A look that is given up changes nothing.
                let facts = tokio::select! {
                    biased;
                    () = cancel.cancelled() => return,
                    facts = executors.facts(writer, WITHIN) => facts,
                };
                writers.extend(facts.map(|facts| wire(app.name.as_str(), writer.name.as_str(), facts)));
            }
        }
        found.send_if_modified(|found| {
            let news = **found != writers;
            if news {
                *found = Arc::new(writers);
            }
            news
        });
        // The watch remembers, the sleep loses nothing.
        tokio::select! {
            biased;
            () = cancel.cancelled() => return,
            changed = apps.changed() => if changed.is_err() { return },
            () = tokio::time::sleep(EVERY) => {}
        }
    }
}

fn wire(app: &str, writer: &str, facts: Facts) -> v1::WriterFacts {
    let (login_problem, login_state) = facts.login.unwrap_or_default();
    let (starts_by_itself, starts_by_itself_add) = facts.starts_by_itself.unwrap_or_default();
    v1::WriterFacts {
        app: app.to_owned(),
        writer: writer.to_owned(),
        login_problem,
        login_state,
        missing_rights: facts.missing_rights,
        in_recovery: facts.in_recovery,
        settings: facts.settings.into_iter().collect(),
        slots: facts.slots,
        starts_by_itself,
        starts_by_itself_add,
        problem: facts.problem,
    }
}
