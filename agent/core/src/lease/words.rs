//! What goes into a [`Holder`] and comes out of it.

use std::time::Duration;

use holdfast_types::{BootInstant, Generation, lease::Timings};

#[cfg(doc)]
use super::Holder;
use crate::record::Record;

/// What the committed state says of the app, as far as a lease on this host depends on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wish {
    /// The app's generation.
    pub generation: Generation,
    /// Whether this host has a writer of the committed active region.
    pub here: bool,
    /// The generation with which the active region became it; 0: not known.
    pub since: Generation,
    /// The generation with which the app was declared: until it ends nothing of the app was ever moved or fenced.
    pub first: Generation,
    /// Whether a hold is committed: nobody is granted a lease of this generation any more.
    pub held: bool,
    /// Whether a lease has an end: somebody could take over.
    pub lease_ends: bool,
    /// `None`: the app has no leases (one region, or no `failover`), and is never fenced.
    pub timings: Option<Timings>,
    /// Whether a host that lost its lease is stopped (`fencing.by` is not `none`).
    pub fences: bool,
    /// Whether this host's root lets every writer of the app here be run. Otherwise no lease is asked for and nothing is
    /// started; what ran under an earlier lease is still fenced.
    pub allowed: bool,
}

/// What the disk knows at the start of the agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Kept {
    /// The newest wish.
    pub wish: Option<Wish>,
    /// Highest generation of which a lease was ever taken here.
    pub held: Generation,
    /// Highest generation fenced here.
    pub fenced: Generation,
    /// Up to this generation what lies here is the newest there is.
    pub home: Generation,
    /// Generation of a lease without end.
    pub sole: Option<Generation>,
    /// Writers were stopped by a fence and not started since.
    pub stopped: bool,
    /// Fencing was ended here by hand.
    pub released: bool,
}

/// What gives the right to run writers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Right {
    /// Nothing.
    None,
    /// A lease that ends.
    Ends {
        /// Its generation.
        generation: Generation,
        /// From this instant on it is over.
        deadline: BootInstant,
    },
    /// A lease without end.
    Sole {
        /// Its generation.
        generation: Generation,
        /// When it would be over if it had an end: newest granted request plus lease.
        counted: BootInstant,
    },
}

impl Right {
    pub(super) fn generation(&self) -> Generation {
        match self {
            Self::None => Generation(0),
            Self::Ends { generation, .. } | Self::Sole { generation, .. } => *generation,
        }
    }
}

/// A request for a lease. Its number and the instant it was decided on, which is before it is sent, are remembered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ask {
    /// Grows with every request.
    pub number: u64,
    /// The generation known here.
    pub generation: Generation,
    /// Highest generation fenced here, durably.
    pub fenced: Generation,
    /// A lease with an end is counted here, durably.
    pub counts_end: bool,
}

/// What a grant gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Terms {
    /// So long, counted from when its request was sent.
    Ends(Duration),
    /// For ever.
    Sole,
}

/// Something that must become durable; reported by [`Holder::stored`] when it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fact {
    /// A lease of this generation was taken here.
    Held(Generation),
    /// This generation and all before are fenced, a lease without end of them is void, and writers are stopped.
    Fenced(Generation),
    /// A lease without end of this generation.
    Sole(Generation),
    /// The lease without end of this generation, or an older one, is none any more.
    SoleEnded(Generation),
    /// Up to this generation what lies here is the newest there is.
    Home(Generation),
    /// Writers run under a lease of this generation; also implies [`Fact::Home`].
    Opened(Generation),
    /// Fencing was ended by hand, or taken up again.
    Released(bool),
}

/// Why writers are stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// The lease ran out.
    LeaseOver,
    /// A committed command says so.
    Ordered,
    /// The agent started and found no lease.
    NoLeaseAtStart,
    /// A later generation is committed elsewhere.
    MovedOn,
    /// A database was found that accepts writes without a lease.
    Stray,
    /// Fencing was taken up again, and no lease lives.
    Resumed,
}

/// What the shell must do, in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// Send the request.
    Ask(Ask),
    /// Note the lease in `/run`.
    WriteRecord(Record),
    /// Remove the note.
    ClearRecord,
    /// Make it durable, retrying for ever.
    Store(Fact),
    /// Stop every writer within that time, retrying until nothing is left; then [`Holder::fence_finished`].
    Fence {
        /// How long it may take.
        within: Duration,
        /// Why.
        why: Why,
    },
    /// Start the writers, which were primary here; then [`Holder::start_ended`].
    Start {
        /// Under a lease of this generation.
        generation: Generation,
    },
}

/// What a grant did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Taken {
    /// It counts.
    Yes,
    /// No request of that number is known.
    UnknownNumber,
    /// Its generation is fenced here.
    Fenced,
    /// A later generation is known here.
    OldGeneration,
    /// Its lease was over before it came.
    Late,
    /// This host knows of no leases of this app.
    NoLeases,
}

/// Why an ordered fence was not begun.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("fencing was ended on this host by hand; \"holdfast-agent resume\" takes it up again")]
pub struct FencingReleased;

/// What a host believes, for people and for the coordinator.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Not a holder.
    None,
    /// A lease that ends in so long.
    Ends(Duration),
    /// A lease without end.
    Sole,
    /// Writers are being stopped.
    Fencing,
    /// Writers are stopped.
    Fenced,
    /// Fencing was ended by hand.
    Released,
}

/// The right to open writers: a lease that is durably known to be held here, while nothing is being fenced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Permit(pub(super) Right);

impl Permit {
    /// No right.
    pub const NONE: Self = Self(Right::None);

    /// Whether a lease of exactly `generation` lives for at least `left` more. Looks at the time itself: a deadline
    /// that nobody has noticed yet has passed too.
    #[must_use]
    pub fn allows(&self, generation: Generation, left: Duration, now: BootInstant) -> bool {
        match self.0 {
            Right::None => false,
            Right::Ends { generation: current, deadline } => current == generation && deadline > now + left,
            Right::Sole { generation: current, .. } => current == generation,
        }
    }

    /// For how long it is at least given from `now`; nothing when it has no end.
    #[must_use]
    pub fn left(&self, now: BootInstant) -> Option<Duration> {
        match self.0 {
            Right::None => Some(Duration::ZERO),
            Right::Ends { deadline, .. } => Some(now.until(deadline)),
            Right::Sole { .. } => None,
        }
    }
}
