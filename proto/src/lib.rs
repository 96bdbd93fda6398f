//! The contract between agents, coordinators and operators: package `holdfast.v1`, compiled. Nothing else lives here.
//!
//! Fields are added, numbers never reused; zero of every enum means "not said" and is refused where a value is needed.
//! Coordinators upgrade first and speak to agents one release back.

/// Package `holdfast.v1`.
#[expect(missing_docs, reason = "generated; the documentation stands in the .proto files")]
#[allow(clippy::all, clippy::allow_attributes_without_reason, unused_qualifications, reason = "generated code")]
pub mod v1 {
    tonic::include_proto!("holdfast.v1");
}

/// The compiled descriptors, for gRPC reflection.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));

/// The protocol of the agent session that this release speaks, and the oldest that it still understands.
pub const PROTOCOL: u32 = 1;
/// See [`PROTOCOL`].
pub const PROTOCOL_MIN: u32 = 1;
