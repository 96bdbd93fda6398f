//! What may be proposed: every way in which the replicated state changes.
//!
//! A change carries its time, its author and all ids it needs, so that applying it is deterministic. It names what it
//! was decided on (a generation, a revision) and is refused if that has moved.

mod kinds;

use holdfast_types::{WallTime, refusal::Reason};
use prost::{Message, Oneof};

pub use kinds::*;

use crate::records;

/// One entry of the replicated log.
#[derive(Clone, PartialEq, Message)]
pub struct Change {
    /// When it was proposed, milliseconds since the Unix epoch.
    #[prost(int64, tag = "1")]
    pub at: i64,
    /// Who caused it: a bearer's URI, or "coordinator".
    #[prost(string, tag = "2")]
    pub by: String,
    /// Of a call: what goes into the audit trail with it.
    #[prost(message, optional, tag = "3")]
    pub call: Option<records::Call>,
    /// What.
    #[prost(
        oneof = "Kind",
        tags = "10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31, 32, 33, 34, 35, 36, 37, 38, 39, 40"
    )]
    pub kind: Option<Kind>,
}

impl Change {
    /// The same, asked for by a call that goes into the audit trail.
    #[must_use]
    pub fn of_call(self, call: records::Call) -> Self {
        Self { call: Some(call), ..self }
    }

    /// A change with its time and author.
    #[must_use]
    pub fn new(at: WallTime, by: impl Into<String>, kind: Kind) -> Self {
        Self { at: at.unix_millis(), by: by.into(), call: None, kind: Some(kind) }
    }
}

/// The kinds of change. A kind that this release does not know stops the coordinator.
#[derive(Clone, PartialEq, Oneof)]
pub enum Kind {
    /// The first entry of a cluster.
    #[prost(message, tag = "10")]
    Init(Init),
    /// A one-time join token.
    #[prost(message, tag = "11")]
    CreateToken(CreateToken),
    /// Takes a join token back.
    #[prost(message, tag = "12")]
    RevokeToken(RevokeToken),
    /// A host joins; answers the serial of its certificate.
    #[prost(message, tag = "13")]
    Enrol(Enrol),
    /// Gives out a serial for a coordinator, an operator, or a host's next certificate.
    #[prost(message, tag = "14")]
    Issue(Issue),
    /// Every certificate of a bearer, at once.
    #[prost(message, tag = "15")]
    Revoke(Revoke),
    /// A host gets no lease and no command until it is enrolled anew.
    #[prost(message, tag = "16")]
    Quarantine(Quarantine),
    /// A session showed a higher number of agent starts.
    #[prost(message, tag = "17")]
    NoteStarts(NoteStarts),
    /// A new or changed app; answers its revision.
    #[prost(message, tag = "18")]
    ApplySpec(ApplySpec),
    /// Which regions could take over.
    #[prost(message, tag = "19")]
    SetPromotable(SetPromotable),
    /// A fence was confirmed by the holder while nothing else goes on: the next generation, in place.
    #[prost(message, tag = "20")]
    Reactivate(Reactivate),
    /// A writer has been seen where it should be: the proxies may open.
    #[prost(message, tag = "21")]
    SetRouted(SetRouted),
    /// Begins an operation; answers its number.
    #[prost(message, tag = "22")]
    StartOperation(StartOperation),
    /// A step's attempt begins; answers the token's index.
    #[prost(message, tag = "23")]
    StepBegins(StepBegins),
    /// A command of the running attempt has ended.
    #[prost(message, tag = "24")]
    CommandEnded(CommandEnded),
    /// A step's attempt has ended.
    #[prost(message, tag = "25")]
    StepEnded(StepEnded),
    /// Undos, or a way forward.
    #[prost(message, tag = "26")]
    ExtendPlan(ExtendPlan),
    /// The operation has ended.
    #[prost(message, tag = "27")]
    EndOperation(EndOperation),
    /// Somebody wants it taken back.
    #[prost(message, tag = "28")]
    AbortOperation(AbortOperation),
    /// Nobody is granted a lease of this generation any more.
    #[prost(message, tag = "29")]
    Hold(OfOperation),
    /// The held generation's writers are gone for sure.
    #[prost(message, tag = "30")]
    HoldOver(OfOperation),
    /// The next generation, in a region that the operation names.
    #[prost(message, tag = "31")]
    NextGeneration(NextGeneration),
    /// Ends the hold in place: the next generation, the same region.
    #[prost(message, tag = "32")]
    EndHold(OfOperation),
    /// A person is let in.
    #[prost(message, tag = "33")]
    AddOperator(AddOperator),
    /// They get their certificate; answers its serial.
    #[prost(message, tag = "34")]
    RedeemInvite(RedeemInvite),
    /// They are put out; answers how many certificates were revoked.
    #[prost(message, tag = "35")]
    RevokeOperator(RevokeOperator),
    /// A call was refused before anything was proposed. Only the audit trail changes.
    #[prost(message, tag = "36")]
    CallRefused(CallRefused),
    /// No failover begins for a while; answers until when, in milliseconds since the Unix epoch.
    #[prost(message, tag = "37")]
    BeginMaintenance(BeginMaintenance),
    /// The while is over, or somebody ended it.
    #[prost(message, tag = "38")]
    EndMaintenance(EndMaintenance),
    /// A host is forgotten, its certificates are revoked; answers how many.
    #[prost(message, tag = "39")]
    RemoveHost(RemoveHost),
    /// An app is forgotten: its hosts fence it no more. Answers its last generation.
    #[prost(message, tag = "40")]
    RemoveApp(RemoveApp),
}

impl Kind {
    /// Whether everything in it is of a kind that this release knows. A step or an end of a newer release decodes as
    /// none; going on without it would let copies of the state differ.
    #[must_use]
    pub fn is_known(&self) -> bool {
        let known = |steps: &[records::Step]| steps.iter().all(|step| step.action.is_some());
        match self {
            Self::StartOperation(c) => c.operation.as_ref().is_none_or(|op| known(&op.steps)),
            Self::ExtendPlan(c) => known(&c.steps),
            Self::EndOperation(c) => records::OperationState::try_from(c.state).is_ok(),
            Self::Init(_)
            | Self::CreateToken(_)
            | Self::RevokeToken(_)
            | Self::Enrol(_)
            | Self::Issue(_)
            | Self::Revoke(_)
            | Self::Quarantine(_)
            | Self::NoteStarts(_)
            | Self::ApplySpec(_)
            | Self::SetPromotable(_)
            | Self::Reactivate(_)
            | Self::SetRouted(_)
            | Self::StepBegins(_)
            | Self::CommandEnded(_)
            | Self::StepEnded(_)
            | Self::AbortOperation(_)
            | Self::Hold(_)
            | Self::HoldOver(_)
            | Self::NextGeneration(_)
            | Self::EndHold(_)
            | Self::AddOperator(_)
            | Self::RedeemInvite(_)
            | Self::RevokeOperator(_)
            | Self::CallRefused(_)
            | Self::BeginMaintenance(_)
            | Self::EndMaintenance(_)
            | Self::RemoveHost(_)
            | Self::RemoveApp(_) => true,
        }
    }
}

/// What applying a change answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Applied; the number that the change gave out (operation, serial, revision), or 0.
    Done(u64),
    /// Nothing changed.
    Refused(Refused),
}

/// Why a change was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what}")]
pub struct Refused {
    /// The listed reason.
    pub reason: Reason,
    /// One line with names and numbers.
    pub what: String,
}

#[derive(Clone, PartialEq, Message)]
struct OutcomeRecord {
    #[prost(uint64, tag = "1")]
    number: u64,
    #[prost(int32, tag = "2")]
    reason: i32,
    #[prost(string, tag = "3")]
    what: String,
}

impl Outcome {
    /// As bytes, for the way through the consensus.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        match self {
            Self::Done(number) => OutcomeRecord { number: *number, ..OutcomeRecord::default() },
            Self::Refused(r) => OutcomeRecord { number: 0, reason: r.reason.number(), what: r.what.clone() },
        }
        .encode_to_vec()
    }

    /// From bytes.
    ///
    /// # Errors
    /// When they are none of [`Outcome::encode`]'s.
    pub fn decode(bytes: &[u8]) -> Result<Self, String> {
        let record = OutcomeRecord::decode(bytes).map_err(|e| format!("an outcome that cannot be read: {e}"))?;
        if record.reason == 0 {
            return Ok(Self::Done(record.number));
        }
        let reason = Reason::from_number(record.reason)
            .ok_or_else(|| format!("a refusal of unknown reason {}", record.reason))?;
        Ok(Self::Refused(Refused { reason, what: record.what }))
    }
}
