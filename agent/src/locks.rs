//! One thing at a time for each app: commands, and writers that are started under a lease.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use holdfast_types::AppName;
use tokio::sync::OwnedMutexGuard;

/// A lock for each app.
#[derive(Debug, Clone, Default)]
pub struct AppLocks {
    locks: Arc<Mutex<BTreeMap<AppName, Arc<tokio::sync::Mutex<()>>>>>,
}

impl AppLocks {
    /// Waits until nothing else is done to the app.
    pub async fn lock(&self, app: &AppName) -> OwnedMutexGuard<()> {
        let lock = {
            // A map is whole whenever somebody panics around it.
            let mut locks = self.locks.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(locks.entry(app.clone()).or_default())
        };
        lock.lock_owned().await
    }
}
