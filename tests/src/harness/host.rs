//! One host: a network namespace with an address.

use std::{fmt, net::IpAddr, path::PathBuf};

use serde::{Deserialize, Serialize};

/// A host of a [`super::Net`]. A copy is a name for the same host.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Host {
    /// What the test calls it: `use-db1`.
    pub name: String,
    /// The network namespace, as `ip netns` lists it.
    pub namespace: String,
    /// Its address on the net.
    pub address: IpAddr,
    /// Its port on the hub's bridge, where cuts are made.
    pub(super) link: String,
}

impl Host {
    /// The file that names the network namespace.
    #[must_use]
    pub fn namespace_file(&self) -> PathBuf {
        PathBuf::from("/run/netns").join(&self.namespace)
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.name, self.address)
    }
}
