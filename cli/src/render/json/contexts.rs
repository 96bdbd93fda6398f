//! The clusters that an account can talk to.

use serde::Serialize;

/// `holdfast context add`.
#[derive(Serialize)]
pub struct AddedContext {
    /// Its name here.
    pub context: String,
    /// The cluster's id.
    pub cluster: String,
    /// Who the certificate names.
    pub operator: String,
    /// As what they were let in.
    pub role: String,
    /// Until when the certificate counts.
    pub certificate_until: String,
    /// Whether it is the one that is used when none is named.
    pub current: bool,
}

/// `holdfast context remove`.
#[derive(Serialize)]
pub struct RemovedContext {
    /// Its name.
    pub context: String,
    /// Whether its key was removed with it.
    pub key_removed: bool,
}

/// `holdfast context list`.
#[derive(Serialize)]
pub struct Contexts {
    /// The one that is used when none is named.
    pub current: Option<String>,
    /// All of them.
    pub contexts: Vec<Context>,
}

/// `holdfast context show`.
#[derive(Serialize)]
pub struct Context {
    /// Its name.
    pub context: String,
    /// The cluster's id.
    pub cluster: String,
    /// The coordinators, tried in turn.
    pub addresses: Vec<String>,
    /// The folder of the key and certificate.
    pub identity: String,
    /// Who the certificate names; null when it cannot be read, or in a list.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bearer: Option<String>,
    /// Until when the certificate counts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub certificate_until: Option<String>,
}
