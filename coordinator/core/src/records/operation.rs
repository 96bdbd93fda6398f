//! Operations: their plan, and everything that happened.

use prost::{Enumeration, Message, Oneof};

/// Where an operation stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Enumeration)]
#[repr(i32)]
pub enum OperationState {
    /// Never stored.
    Unspecified = 0,
    /// Its plan runs.
    Running = 1,
    /// Its undos run.
    Unwinding = 2,
    /// Ended: did what it was asked to.
    Done = 3,
    /// Ended: everything is as before, but for the generation.
    Unwound = 4,
    /// Ended before anything changed.
    Failed = 5,
    /// Ended without all of it: past the point of no return, or with something that could not be taken back.
    Partly = 6,
}

impl OperationState {
    /// Whether nothing will happen any more.
    #[must_use]
    pub const fn ended(self) -> bool {
        matches!(self, Self::Done | Self::Unwound | Self::Failed | Self::Partly)
    }

    /// As operators read it.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Unspecified => "unknown",
            Self::Running => "running",
            Self::Unwinding => "unwinding",
            Self::Done => "done",
            Self::Unwound => "unwound",
            Self::Failed => "failed",
            Self::Partly => "partly",
        }
    }
}

/// Where a step stands.
///
/// ```text
///   Planned ──begins──▶ Began ──ended well──▶ Done
///      ▲                  └──────ended badly──▶ Failed ──begins, next attempt──▶ Began
///      └ Skipped: the engine went another way
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Enumeration)]
#[repr(i32)]
pub enum StepState {
    /// Not begun.
    Planned = 0,
    /// "Begins" is committed; something may have been dispatched.
    Began = 1,
    /// Ended as it should.
    Done = 2,
    /// This attempt failed.
    Failed = 3,
    /// Will not run: the plan went another way.
    Skipped = 4,
}

impl StepState {
    /// As operators read it.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Planned => "planned",
            Self::Began => "running",
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Skipped => "skipped",
        }
    }
}

/// An operation, its plan and everything that happened.
#[derive(Clone, PartialEq, Message)]
pub struct Operation {
    /// Whose.
    #[prost(string, tag = "1")]
    pub app: String,
    /// "failover".
    #[prost(string, tag = "2")]
    pub kind: String,
    /// Active when it began.
    #[prost(string, tag = "3")]
    pub from_region: String,
    /// Where it goes; empty until the candidate is chosen.
    #[prost(string, tag = "4")]
    pub to_region: String,
    /// Where it stands.
    #[prost(enumeration = "OperationState", tag = "5")]
    pub state: i32,
    /// Milliseconds since the Unix epoch.
    #[prost(int64, tag = "6")]
    pub started_at: i64,
    /// Milliseconds since the Unix epoch; 0 = runs.
    #[prost(int64, tag = "7")]
    pub ended_at: i64,
    /// Bearer's name, or "automatic".
    #[prost(string, tag = "8")]
    pub requested_by: String,
    /// Why, in the requester's words or the verdict's.
    #[prost(string, tag = "9")]
    pub reason: String,
    /// How it ended.
    #[prost(string, tag = "10")]
    pub text: String,
    /// In the order they run; undos and ways forward are appended.
    #[prost(message, repeated, tag = "11")]
    pub steps: Vec<Step>,
    /// Somebody asked to abort it.
    #[prost(bool, tag = "12")]
    pub aborting: bool,
    /// A new generation was committed: it only goes forward.
    #[prost(bool, tag = "13")]
    pub past_no_return: bool,
    /// The app's generation when it began.
    #[prost(uint64, tag = "14")]
    pub generation_before: u64,
    /// The app's generation when it ended.
    #[prost(uint64, tag = "15")]
    pub generation_after: u64,
    /// How often it has been extended past its point of no return.
    #[prost(uint32, tag = "16")]
    pub ways_forward: u32,
    /// When the region it leaves was last seen to take writes, milliseconds since the Unix epoch; 0 = unknown.
    #[prost(int64, tag = "17")]
    pub last_served_at: i64,
}

/// One item of a plan.
#[derive(Clone, PartialEq, Message)]
pub struct Step {
    /// "hold", "fence" …
    #[prost(string, tag = "1")]
    pub name: String,
    /// What it does, to whom.
    #[prost(string, tag = "2")]
    pub planned: String,
    /// How long one attempt may take, milliseconds.
    #[prost(uint64, tag = "3")]
    pub timeout: u64,
    /// What takes it back, in words; empty = nothing needs to.
    #[prost(string, tag = "4")]
    pub undo: String,
    /// After it there is no way back.
    #[prost(bool, tag = "5")]
    pub no_return: bool,
    /// How often it is tried at most.
    #[prost(uint32, tag = "6")]
    pub attempts_max: u32,
    /// What to do.
    #[prost(oneof = "Action", tags = "10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20")]
    pub action: Option<Action>,
    /// Where it stands.
    #[prost(enumeration = "StepState", tag = "30")]
    pub state: i32,
    /// The attempt that runs or ran last; 0 = none.
    #[prost(uint32, tag = "31")]
    pub attempt: u32,
    /// Log index of the "begins" of this attempt: the token of its commands.
    #[prost(uint64, tag = "32")]
    pub began_index: u64,
    /// Milliseconds since the Unix epoch.
    #[prost(int64, tag = "33")]
    pub began_at: i64,
    /// Milliseconds since the Unix epoch.
    #[prost(int64, tag = "34")]
    pub ended_at: i64,
    /// How it ended.
    #[prost(string, tag = "35")]
    pub text: String,
    /// One for each command of the last attempt that has ended.
    #[prost(message, repeated, tag = "36")]
    pub results: Vec<CommandResult>,
    /// It failed for good, and the plan went on without it.
    #[prost(bool, tag = "37")]
    pub given_up: bool,
}

/// How one command ended.
#[derive(Clone, PartialEq, Message)]
pub struct CommandResult {
    /// Which of the step's commands.
    #[prost(uint32, tag = "1")]
    pub part: u32,
    /// Of which attempt.
    #[prost(uint32, tag = "2")]
    pub attempt: u32,
    /// Who ran it.
    #[prost(string, tag = "3")]
    pub host: String,
    /// How.
    #[prost(enumeration = "CommandOutcome", tag = "4")]
    pub outcome: i32,
    /// One line for people.
    #[prost(string, tag = "5")]
    pub text: String,
    /// A database's position, where the command reports one.
    #[prost(message, optional, tag = "6")]
    pub position: Option<Position>,
}

/// Where a database stands.
#[derive(Clone, Copy, PartialEq, Message)]
pub struct Position {
    /// Timeline.
    #[prost(uint32, tag = "1")]
    pub timeline: u32,
    /// Received position of a standby, current position of a primary.
    #[prost(uint64, tag = "2")]
    pub lsn: u64,
}

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Enumeration)]
#[repr(i32)]
pub enum CommandOutcome {
    /// Never stored.
    Unspecified = 0,
    /// It did what it should.
    Done = 1,
    /// It did not.
    Failed = 2,
    /// The agent did not begin it.
    Refused = 3,
    /// Begun; nobody knows how it ended.
    Unknown = 4,
}

/// What a step does.
#[derive(Clone, PartialEq, Oneof)]
pub enum Action {
    /// From now on nobody is granted a lease of this generation.
    #[prost(message, tag = "10")]
    Hold(Hold),
    /// Every writer of the held generation is gone: confirmed by its hosts, or waited for.
    #[prost(message, tag = "11")]
    Fence(Fence),
    /// Every candidate cuts its receiver, durably.
    #[prost(message, tag = "12")]
    Cut(Cut),
    /// Picks the candidate furthest on, by timeline and received position.
    #[prost(message, tag = "13")]
    Choose(Choose),
    /// Commits the new generation.
    #[prost(message, tag = "14")]
    Generation(NewGeneration),
    /// The active region's host takes a lease of the new generation and promotes under it.
    #[prost(message, tag = "15")]
    Promote(Promote),
    /// The proxies open the active region and close the others.
    #[prost(message, tag = "16")]
    Route(Route),
    /// Writes are served, seen from the proxies' and the database's host.
    #[prost(message, tag = "17")]
    Verify(Verify),
    /// Takes a cut back.
    #[prost(message, tag = "18")]
    Reconnect(Reconnect),
    /// Ends the hold: a further generation, the same region.
    #[prost(message, tag = "19")]
    EndHold(EndHold),
    /// The active region's host takes a lease of the new generation and starts what was primary there.
    #[prost(message, tag = "20")]
    Start(Start),
}

/// See [`Action::Hold`].
#[derive(Clone, Copy, PartialEq, Message)]
pub struct Hold {}

/// See [`Action::Fence`].
#[derive(Clone, PartialEq, Message)]
pub struct Fence {
    /// The hosts that may hold a lease.
    #[prost(string, repeated, tag = "1")]
    pub hosts: Vec<String>,
    /// Their region.
    #[prost(string, tag = "2")]
    pub region: String,
}

/// See [`Action::Cut`].
#[derive(Clone, PartialEq, Message)]
pub struct Cut {
    /// Who might take over, in order of preference.
    #[prost(message, repeated, tag = "1")]
    pub candidates: Vec<Candidate>,
}

/// A region that might take over.
#[derive(Clone, PartialEq, Message)]
pub struct Candidate {
    /// Its name.
    #[prost(string, tag = "1")]
    pub region: String,
    /// Its writers' hosts.
    #[prost(string, repeated, tag = "2")]
    pub hosts: Vec<String>,
}

/// See [`Action::Choose`].
#[derive(Clone, Copy, PartialEq, Message)]
pub struct Choose {
    /// The cut whose positions are compared.
    #[prost(uint32, tag = "1")]
    pub cut_step: u32,
}

/// See [`Action::Generation`].
#[derive(Clone, PartialEq, Message)]
pub struct NewGeneration {
    /// Empty = the operation's chosen one, until it is committed.
    #[prost(string, tag = "1")]
    pub region: String,
}

/// See [`Action::Promote`].
#[derive(Clone, Copy, PartialEq, Message)]
pub struct Promote {}

/// See [`Action::Start`].
#[derive(Clone, Copy, PartialEq, Message)]
pub struct Start {}

/// See [`Action::Route`].
#[derive(Clone, PartialEq, Message)]
pub struct Route {
    /// Hosts with a proxy.
    #[prost(message, repeated, tag = "1")]
    pub proxies: Vec<ProxyHost>,
}

/// A host with a proxy.
#[derive(Clone, PartialEq, Message)]
pub struct ProxyHost {
    /// Its name.
    #[prost(string, tag = "1")]
    pub host: String,
    /// Its region: the active region's proxies must answer, the others may.
    #[prost(string, tag = "2")]
    pub region: String,
}

/// See [`Action::Verify`].
#[derive(Clone, Copy, PartialEq, Message)]
pub struct Verify {}

/// See [`Action::Reconnect`].
#[derive(Clone, Copy, PartialEq, Message)]
pub struct Reconnect {
    /// The cut that is taken back.
    #[prost(uint32, tag = "1")]
    pub cut_step: u32,
}

/// See [`Action::EndHold`].
#[derive(Clone, Copy, PartialEq, Message)]
pub struct EndHold {}

impl Step {
    /// Where it stands; a number that no release wrote counts as planned.
    #[must_use]
    pub fn at(&self) -> StepState {
        StepState::try_from(self.state).unwrap_or(StepState::Planned)
    }

    /// The results of the attempt that runs or ran last.
    pub fn results_now(&self) -> impl Iterator<Item = &CommandResult> {
        self.results.iter().filter(|r| r.attempt == self.attempt)
    }
}

impl Operation {
    /// Where it stands.
    #[must_use]
    pub fn at(&self) -> OperationState {
        OperationState::try_from(self.state).unwrap_or(OperationState::Unspecified)
    }
}

impl CommandResult {
    /// How it ended.
    #[must_use]
    pub fn ended(&self) -> CommandOutcome {
        CommandOutcome::try_from(self.outcome).unwrap_or(CommandOutcome::Unspecified)
    }
}
