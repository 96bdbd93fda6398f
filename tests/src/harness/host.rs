//! One host: a network namespace with an address, or, where those are not allowed, a loopback address alone.

use std::{fmt, net::IpAddr, path::PathBuf};

use serde::{Deserialize, Serialize};

/// A host of a [`super::Net`]. A copy is a name for the same host.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Host {
    /// What the test calls it: `use-db1`.
    pub name: String,
    /// The network namespace, as `ip netns` lists it; none on a net of loopback addresses.
    pub namespace: Option<String>,
    /// Its address on the net.
    pub address: IpAddr,
    /// The folder its programs run in, removed with the net.
    pub folder: PathBuf,
    /// Its port on the hub's bridge, where cuts are made.
    pub(super) link: String,
}

impl Host {
    /// The file that names the network namespace, where it has one.
    #[must_use]
    pub fn namespace_file(&self) -> Option<PathBuf> {
        self.namespace.as_ref().map(|name| PathBuf::from("/run/netns").join(name))
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.name, self.address)
    }
}
