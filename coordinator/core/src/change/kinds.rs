//! What each kind of change carries.

use prost::Message;

#[cfg(doc)]
use super::Kind;
use crate::records;

/// See [`Kind::Init`].
#[derive(Clone, PartialEq, Message)]
pub struct Init {
    /// A UUID.
    #[prost(string, tag = "1")]
    pub cluster: String,
    /// As operators call it.
    #[prost(string, tag = "2")]
    pub name: String,
}

/// See [`Kind::CreateToken`].
#[derive(Clone, PartialEq, Message)]
pub struct CreateToken {
    /// Public part.
    #[prost(string, tag = "1")]
    pub id: String,
    /// The rest.
    #[prost(message, optional, tag = "2")]
    pub token: Option<records::JoinToken>,
}

/// See [`Kind::RevokeToken`].
#[derive(Clone, PartialEq, Message)]
pub struct RevokeToken {
    /// Public part.
    #[prost(string, tag = "1")]
    pub id: String,
}

/// See [`Kind::Enrol`].
#[derive(Clone, PartialEq, Message)]
pub struct Enrol {
    /// Public part of the token.
    #[prost(string, tag = "1")]
    pub token: String,
    /// SHA-256 of the secret shown.
    #[prost(bytes = "vec", tag = "2")]
    pub secret_hash: Vec<u8>,
    /// Name asked for.
    #[prost(string, tag = "3")]
    pub host: String,
    /// SHA-256 of the signing request.
    #[prost(bytes = "vec", tag = "4")]
    pub request_hash: Vec<u8>,
    /// Until when the certificate will hold.
    #[prost(int64, tag = "5")]
    pub until: i64,
}

/// See [`Kind::Issue`].
#[derive(Clone, PartialEq, Message)]
pub struct Issue {
    /// The bearer's URI.
    #[prost(string, tag = "1")]
    pub bearer: String,
    /// Until when the certificate will hold.
    #[prost(int64, tag = "2")]
    pub until: i64,
    /// The serial that it replaces; 0 = none. A revoked one is refused.
    #[prost(uint64, tag = "3")]
    pub renews: u64,
}

/// See [`Kind::Revoke`].
#[derive(Clone, PartialEq, Message)]
pub struct Revoke {
    /// The bearer's URI.
    #[prost(string, tag = "1")]
    pub bearer: String,
    /// Why.
    #[prost(string, tag = "2")]
    pub reason: String,
}

/// See [`Kind::Quarantine`].
#[derive(Clone, PartialEq, Message)]
pub struct Quarantine {
    /// Whom.
    #[prost(string, tag = "1")]
    pub host: String,
    /// Why.
    #[prost(string, tag = "2")]
    pub why: String,
}

/// See [`Kind::NoteStarts`].
#[derive(Clone, PartialEq, Message)]
pub struct NoteStarts {
    /// Whose.
    #[prost(string, tag = "1")]
    pub host: String,
    /// How many.
    #[prost(uint64, tag = "2")]
    pub starts: u64,
}

/// See [`Kind::ApplySpec`].
#[derive(Clone, PartialEq, Message)]
pub struct ApplySpec {
    /// The text; it was checked before it was proposed, and is again when applied.
    #[prost(string, tag = "1")]
    pub spec_yaml: String,
    /// The revision it was decided on; 0 = a new app.
    #[prost(uint64, tag = "2")]
    pub on_revision: u64,
    /// Of a new app: the one region that was found to accept writes.
    #[prost(string, tag = "3")]
    pub active_region: String,
}

/// See [`Kind::SetPromotable`].
#[derive(Clone, PartialEq, Message)]
pub struct SetPromotable {
    /// Whose.
    #[prost(string, tag = "1")]
    pub app: String,
    /// The generation it was decided on.
    #[prost(uint64, tag = "2")]
    pub generation: u64,
    /// All of them.
    #[prost(string, repeated, tag = "3")]
    pub regions: Vec<String>,
}

/// See [`Kind::Reactivate`].
#[derive(Clone, PartialEq, Message)]
pub struct Reactivate {
    /// Whose.
    #[prost(string, tag = "1")]
    pub app: String,
    /// The generation that its holder confirmed as fenced.
    #[prost(uint64, tag = "2")]
    pub generation: u64,
    /// That holder.
    #[prost(string, tag = "3")]
    pub host: String,
}

/// See [`Kind::SetRouted`].
#[derive(Clone, PartialEq, Message)]
pub struct SetRouted {
    /// Whose.
    #[prost(string, tag = "1")]
    pub app: String,
    /// The generation it was decided on.
    #[prost(uint64, tag = "2")]
    pub generation: u64,
}

/// See [`Kind::StartOperation`].
#[derive(Clone, PartialEq, Message)]
pub struct StartOperation {
    /// As planned, nothing begun.
    #[prost(message, optional, tag = "1")]
    pub operation: Option<records::Operation>,
    /// The generation it was planned on.
    #[prost(uint64, tag = "2")]
    pub generation: u64,
    /// The app's revision it was planned on.
    #[prost(uint64, tag = "3")]
    pub revision: u64,
}

/// See [`Kind::StepBegins`].
#[derive(Clone, Copy, PartialEq, Message)]
pub struct StepBegins {
    /// Which operation.
    #[prost(uint64, tag = "1")]
    pub operation: u64,
    /// Which step.
    #[prost(uint32, tag = "2")]
    pub step: u32,
    /// The last one + 1.
    #[prost(uint32, tag = "3")]
    pub attempt: u32,
}

/// See [`Kind::CommandEnded`].
#[derive(Clone, PartialEq, Message)]
pub struct CommandEnded {
    /// Which operation.
    #[prost(uint64, tag = "1")]
    pub operation: u64,
    /// Which step.
    #[prost(uint32, tag = "2")]
    pub step: u32,
    /// How.
    #[prost(message, optional, tag = "3")]
    pub result: Option<records::CommandResult>,
}

/// See [`Kind::StepEnded`].
#[derive(Clone, PartialEq, Message)]
pub struct StepEnded {
    /// Which operation.
    #[prost(uint64, tag = "1")]
    pub operation: u64,
    /// Which step.
    #[prost(uint32, tag = "2")]
    pub step: u32,
    /// Which attempt.
    #[prost(uint32, tag = "3")]
    pub attempt: u32,
    /// Whether it did what it should.
    #[prost(bool, tag = "4")]
    pub well: bool,
    /// How it went, a line.
    #[prost(string, tag = "5")]
    pub text: String,
    /// Of a choice: the region.
    #[prost(string, tag = "6")]
    pub chosen: String,
}

/// See [`Kind::ExtendPlan`].
#[derive(Clone, PartialEq, Message)]
pub struct ExtendPlan {
    /// Which operation.
    #[prost(uint64, tag = "1")]
    pub operation: u64,
    /// How many steps it had when this was decided.
    #[prost(uint32, tag = "2")]
    pub at_steps: u32,
    /// What comes instead of everything that has not been done.
    #[prost(message, repeated, tag = "3")]
    pub steps: Vec<records::Step>,
    /// Undos, not a way forward.
    #[prost(bool, tag = "4")]
    pub unwinding: bool,
    /// Why, a line.
    #[prost(string, tag = "5")]
    pub why: String,
}

/// See [`Kind::EndOperation`].
#[derive(Clone, PartialEq, Message)]
pub struct EndOperation {
    /// Which operation.
    #[prost(uint64, tag = "1")]
    pub operation: u64,
    /// How.
    #[prost(enumeration = "records::OperationState", tag = "2")]
    pub state: i32,
    /// A line.
    #[prost(string, tag = "3")]
    pub text: String,
}

/// See [`Kind::AbortOperation`].
#[derive(Clone, PartialEq, Message)]
pub struct AbortOperation {
    /// Which operation.
    #[prost(uint64, tag = "1")]
    pub operation: u64,
    /// Why.
    #[prost(string, tag = "2")]
    pub reason: String,
}

/// A change of an operation's app, decided on a generation.
#[derive(Clone, Copy, PartialEq, Message)]
pub struct OfOperation {
    /// Which operation.
    #[prost(uint64, tag = "1")]
    pub operation: u64,
    /// The generation it was decided on.
    #[prost(uint64, tag = "2")]
    pub generation: u64,
}

/// See [`Kind::NextGeneration`].
#[derive(Clone, PartialEq, Message)]
pub struct NextGeneration {
    /// Which operation.
    #[prost(uint64, tag = "1")]
    pub operation: u64,
    /// The generation that ends.
    #[prost(uint64, tag = "2")]
    pub generation: u64,
    /// The region that takes the writes.
    #[prost(string, tag = "3")]
    pub region: String,
}

/// See [`Kind::AddOperator`].
#[derive(Clone, PartialEq, Message)]
pub struct AddOperator {
    /// Their name.
    #[prost(string, tag = "1")]
    pub name: String,
    /// What they may do.
    #[prost(enumeration = "records::OperatorRole", tag = "2")]
    pub role: i32,
    /// What they show to get a certificate; none for the admin that `init` makes.
    #[prost(message, optional, tag = "3")]
    pub invite: Option<records::Invite>,
}

/// See [`Kind::RedeemInvite`].
#[derive(Clone, PartialEq, Message)]
pub struct RedeemInvite {
    /// Whose.
    #[prost(string, tag = "1")]
    pub name: String,
    /// Public part of the token.
    #[prost(string, tag = "2")]
    pub token: String,
    /// SHA-256 of the secret shown.
    #[prost(bytes = "vec", tag = "3")]
    pub secret_hash: Vec<u8>,
    /// SHA-256 of the signing request.
    #[prost(bytes = "vec", tag = "4")]
    pub request_hash: Vec<u8>,
    /// Until when the certificate will hold.
    #[prost(int64, tag = "5")]
    pub until: i64,
}

/// See [`Kind::RevokeOperator`].
#[derive(Clone, PartialEq, Message)]
pub struct RevokeOperator {
    /// Whom.
    #[prost(string, tag = "1")]
    pub name: String,
    /// Why.
    #[prost(string, tag = "2")]
    pub reason: String,
}

/// See [`Kind::CallRefused`].
#[derive(Clone, PartialEq, Message)]
pub struct CallRefused {
    /// Why, a line.
    #[prost(string, tag = "1")]
    pub what: String,
}

/// See [`Kind::BeginMaintenance`].
#[derive(Clone, PartialEq, Message)]
pub struct BeginMaintenance {
    /// Of this app; empty = not of one.
    #[prost(string, tag = "1")]
    pub app: String,
    /// Of this region; empty = not of one. Neither app nor region = of everything.
    #[prost(string, tag = "2")]
    pub region: String,
    /// How long, milliseconds.
    #[prost(uint64, tag = "3")]
    pub lasts: u64,
    /// Why.
    #[prost(string, tag = "4")]
    pub why: String,
}

/// See [`Kind::EndMaintenance`].
#[derive(Clone, PartialEq, Message)]
pub struct EndMaintenance {
    /// Of this app; empty = not of one.
    #[prost(string, tag = "1")]
    pub app: String,
    /// Of this region; empty = not of one. Neither app nor region = of everything.
    #[prost(string, tag = "2")]
    pub region: String,
    /// Only the one that began with this entry; 0 = whichever there is.
    #[prost(uint64, tag = "3")]
    pub index: u64,
}

/// See [`Kind::RemoveHost`].
#[derive(Clone, PartialEq, Message)]
pub struct RemoveHost {
    /// Which.
    #[prost(string, tag = "1")]
    pub host: String,
    /// Why.
    #[prost(string, tag = "2")]
    pub reason: String,
}

/// See [`Kind::RemoveApp`].
#[derive(Clone, PartialEq, Message)]
pub struct RemoveApp {
    /// Which.
    #[prost(string, tag = "1")]
    pub app: String,
    /// The revision it was decided on.
    #[prost(uint64, tag = "2")]
    pub revision: u64,
    /// The generation it was decided on.
    #[prost(uint64, tag = "3")]
    pub generation: u64,
}
