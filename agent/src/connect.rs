//! How the agent gets to a coordinator.

use std::{fmt, sync::Arc, time::Duration};

use holdfast_shared::{
    net::Dial,
    tls::{HotTlsClient, Keepalive, channel_with},
};
use tonic::transport::Channel;

/// A dead connection is noticed within six seconds, which is before a default lease runs out and well before a session
/// would be missed by anybody else.
const KEEPALIVE: Keepalive = Keepalive { interval: Duration::from_secs(2), timeout: Duration::from_secs(4) };

/// Makes channels. Each is a connection of its own, opened at its first call.
pub trait Connect: Send + Sync + fmt::Debug {
    /// A channel to the coordinator at `address` (`host:port`).
    fn channel(&self, address: &str) -> Channel;
}

/// Mutual TLS with the material of the moment.
pub struct TlsConnect {
    /// The material.
    pub tls: Arc<HotTlsClient>,
    /// The network.
    pub dial: Arc<dyn Dial>,
}

impl fmt::Debug for TlsConnect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TlsConnect")
    }
}

impl Connect for TlsConnect {
    fn channel(&self, address: &str) -> Channel {
        channel_with(&self.tls, Arc::clone(&self.dial), address, KEEPALIVE)
    }
}
