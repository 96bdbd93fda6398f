//! What is known of leases and must be durable, written and read by a task of its own: no renewal waits for a disk.

use std::time::Duration;

use holdfast_agent_core::lease::{Fact, Kept};
use holdfast_shared::{
    clock::SharedClock,
    error::Chain,
    repeats::{Repeats, Told},
};
use holdfast_types::AppName;
use tokio::{sync::mpsc, time::sleep};

use crate::store::Store;

/// Between two attempts to write a fact.
const STORE_RETRY: Duration = Duration::from_millis(500);

/// What waits for the disk, in one order: what is read of an app contains what was written of it before.
#[derive(Debug)]
pub(super) enum DiskWork {
    Write(AppName, Fact),
    Read(AppName),
    Forget(AppName),
}

/// What came of it.
pub(super) enum FromDisk {
    Written(AppName, Fact),
    Kept(AppName, Kept),
    Forgotten,
}

/// Order matters and nothing may be left out: a full disk makes the later ones wait. Leases run meanwhile.
pub(super) async fn work_on_disk(
    store: Store,
    clock: SharedClock,
    mut work: mpsc::Receiver<DiskWork>,
    done: mpsc::Sender<FromDisk>,
) {
    let failed = Repeats::default();
    while let Some(work) = work.recv().await {
        let answer = loop {
            let worked = match &work {
                DiskWork::Write(app, fact) => {
                    store.put_fact(app, *fact).await.map(|()| FromDisk::Written(app.clone(), *fact))
                }
                DiskWork::Forget(app) => store.forget_lease(app).await.map(|()| FromDisk::Forgotten),
                DiskWork::Read(app) => store.kept(app).await.map(|kept| FromDisk::Kept(app.clone(), kept)),
            };
            match worked {
                Ok(answer) => break answer,
                Err(e) => {
                    if let Some(Told { times }) = failed.told((), clock.boot()) {
                        tracing::error!(?work, error = %Chain(&e), times, "cannot store or read what is known of a lease");
                    }
                }
            }
            sleep(STORE_RETRY).await;
        };
        if done.send(answer).await.is_err() {
            return;
        }
    }
}
