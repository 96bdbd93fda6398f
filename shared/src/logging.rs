//! Logs: one line per event on stderr, which systemd keeps. HOLDFAST_LOG chooses what is shown, as in `info` or
//! `holdfast_agent=debug`.

use tracing_subscriber::EnvFilter;

/// Starts logging for a daemon. Called once, by `main`.
pub fn init() {
    let filter = EnvFilter::try_from_env("HOLDFAST_LOG").unwrap_or_else(|_| EnvFilter::new("info,openraft=warn"));
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .with_target(false)
        .finish();
    // Only a second call fails, and then the first one's subscriber stays.
    drop(tracing::subscriber::set_global_default(subscriber));
}
