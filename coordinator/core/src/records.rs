//! What is stored: versioned protobuf records, one per row of the replicated state.
//!
//! Fields are added, numbers never reused. Names and times are plain here (text, milliseconds), because rows outlive
//! the code that wrote them; [`crate::state`] hands them out as the types the rest of the core decides with.

mod maintenance;
mod operation;
mod people;

use prost::Message;

pub use maintenance::*;
pub use operation::*;
pub use people::*;

/// The cluster itself; exactly one row.
#[derive(Clone, PartialEq, Message)]
pub struct Cluster {
    /// Made at `init`, a UUID.
    #[prost(string, tag = "1")]
    pub id: String,
    /// As operators call it.
    #[prost(string, tag = "2")]
    pub name: String,
    /// Raised by a human only.
    #[prost(uint64, tag = "3")]
    pub incarnation: u64,
    /// The newest kinds of change that every voter has said it knows.
    #[prost(uint32, tag = "4")]
    pub feature_level: u32,
    /// Serial of the last certificate given out.
    #[prost(uint64, tag = "5")]
    pub last_serial: u64,
    /// Number of the last operation.
    #[prost(uint64, tag = "6")]
    pub last_operation: u64,
    /// Number of the last certificate revocation list.
    #[prost(uint64, tag = "7")]
    pub crl_number: u64,
    /// Milliseconds since the Unix epoch.
    #[prost(int64, tag = "8")]
    pub created_at: i64,
}

/// A one-time join token. Only the hash of its secret is stored.
#[derive(Clone, PartialEq, Message)]
pub struct JoinToken {
    /// SHA-256 of the secret.
    #[prost(bytes = "vec", tag = "1")]
    pub secret_hash: Vec<u8>,
    /// The only region it enrols into.
    #[prost(string, tag = "2")]
    pub region: String,
    /// How many hosts it still enrols.
    #[prost(uint32, tag = "3")]
    pub uses_left: u32,
    /// Milliseconds since the Unix epoch.
    #[prost(int64, tag = "4")]
    pub until: i64,
    /// Operator who made it.
    #[prost(string, tag = "5")]
    pub created_by: String,
    /// A host whose enrolment it may replace; empty = none.
    #[prost(string, tag = "6")]
    pub replaces: String,
}

/// A certificate that was given out and has not expired long ago.
#[derive(Clone, PartialEq, Message)]
pub struct Certificate {
    /// Its bearer's URI.
    #[prost(string, tag = "1")]
    pub bearer: String,
    /// Milliseconds since the Unix epoch.
    #[prost(int64, tag = "2")]
    pub until: i64,
    /// When it was revoked, milliseconds since the Unix epoch; 0 = not.
    #[prost(int64, tag = "3")]
    pub revoked_at: i64,
}

/// An enrolled host.
#[derive(Clone, PartialEq, Message)]
pub struct Host {
    /// The region its certificate names.
    #[prost(string, tag = "1")]
    pub region: String,
    /// Serial of its newest certificate.
    #[prost(uint64, tag = "2")]
    pub serial: u64,
    /// Milliseconds since the Unix epoch.
    #[prost(int64, tag = "3")]
    pub enrolled_at: i64,
    /// Why it gets no lease and no command; empty = fine.
    #[prost(string, tag = "4")]
    pub quarantine: String,
    /// Highest number of agent starts that it has shown.
    #[prost(uint64, tag = "5")]
    pub starts: u64,
    /// SHA-256 of the request that enrolled it: the same request again gets the same answer.
    #[prost(bytes = "vec", tag = "6")]
    pub request_hash: Vec<u8>,
}

/// The timings that grants of one generation rest on, milliseconds.
#[derive(Clone, Copy, PartialEq, Message)]
pub struct TimingsRecord {
    /// Lease.
    #[prost(uint64, tag = "1")]
    pub lease: u64,
    /// Renewal.
    #[prost(uint64, tag = "2")]
    pub renew: u64,
    /// Allowance for clocks.
    #[prost(uint64, tag = "3")]
    pub drift: u64,
    /// Longest fence.
    #[prost(uint64, tag = "4")]
    pub fence_within: u64,
}

/// An app: its spec and which region is active.
#[derive(Clone, PartialEq, Message)]
pub struct App {
    /// The spec as the operator wrote it.
    #[prost(string, tag = "1")]
    pub spec_yaml: String,
    /// Counts applied specs.
    #[prost(uint64, tag = "2")]
    pub revision: u64,
    /// Takes the writes.
    #[prost(string, tag = "3")]
    pub active_region: String,
    /// Counts activations.
    #[prost(uint64, tag = "4")]
    pub generation: u64,
    /// Log index of the entry that began this generation.
    #[prost(uint64, tag = "5")]
    pub generation_index: u64,
    /// Regions that could take over. None: the lease is without end.
    #[prost(string, repeated, tag = "6")]
    pub promotable: Vec<String>,
    /// The operation that holds the generation; 0 = none. From then on nobody is granted a lease of it.
    #[prost(uint64, tag = "7")]
    pub held_by: u64,
    /// Log index of the `hold`.
    #[prost(uint64, tag = "8")]
    pub hold_index: u64,
    /// Whether the held generation's writers are gone for sure: fence confirmed, or the one wait is over.
    #[prost(bool, tag = "9")]
    pub hold_over: bool,
    /// The longest of each timing committed since the generation began.
    #[prost(message, optional, tag = "10")]
    pub timings: Option<TimingsRecord>,
    /// The mutating operation that runs; 0 = none.
    #[prost(uint64, tag = "11")]
    pub operation: u64,
    /// Log index of the entry that last changed generation, region, hold or promotable regions.
    #[prost(uint64, tag = "12")]
    pub changed_index: u64,
    /// Milliseconds since the Unix epoch; 0 = never moved.
    #[prost(int64, tag = "13")]
    pub moved_at: i64,
    /// "failover", or "first apply".
    #[prost(string, tag = "14")]
    pub moved_by: String,
    /// Whether a writer has been verified in the active region, so that the proxies may be open.
    #[prost(bool, tag = "15")]
    pub routed: bool,
    /// The automatic failover that nobody has looked at yet; 0 = none.
    #[prost(uint64, tag = "16")]
    pub last_operation: u64,
    /// The generation with which the active region became it; 0 = written before this was kept.
    #[prost(uint64, tag = "17")]
    pub active_since: u64,
    /// The generation with which the app was declared: one more than it had when an app of its name was removed before.
    /// 0 = 1.
    #[prost(uint64, tag = "18")]
    pub first_generation: u64,
}

/// What is left of an app that was removed. Generations are never used twice: hosts keep durably which they have fenced.
#[derive(Clone, PartialEq, Message)]
pub struct RemovedApp {
    /// Its last generation: no host has seen a higher one.
    #[prost(uint64, tag = "1")]
    pub generation: u64,
    /// Log index of the entry that removed it: what is told from then on is newer than all that was told of the app.
    #[prost(uint64, tag = "2")]
    pub index: u64,
    /// Milliseconds since the Unix epoch.
    #[prost(int64, tag = "3")]
    pub at: i64,
    /// Who removed it.
    #[prost(string, tag = "4")]
    pub by: String,
}
