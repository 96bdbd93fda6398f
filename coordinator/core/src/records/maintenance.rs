//! Maintenance: somebody works on what Holdfast watches, and nothing is to move by itself meanwhile.

use prost::Message;

/// One maintenance, of an app, a region, or everything.
#[derive(Clone, PartialEq, Message)]
pub struct Maintenance {
    /// Who asked for it, as in `operator ada`.
    #[prost(string, tag = "1")]
    pub by: String,
    /// In their words.
    #[prost(string, tag = "2")]
    pub why: String,
    /// When it began, milliseconds since the Unix epoch.
    #[prost(int64, tag = "3")]
    pub since: i64,
    /// When it ends by itself, milliseconds since the Unix epoch.
    #[prost(int64, tag = "4")]
    pub until: i64,
    /// Log index of the entry that began it: tells it from one that is begun later for the same thing.
    #[prost(uint64, tag = "5")]
    pub index: u64,
}
