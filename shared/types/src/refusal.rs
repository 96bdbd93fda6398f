//! Why something was refused: the one list of reasons that the wire, the command line, the exit codes and the operator
//! guide are all tested against.

use serde::{Deserialize, Serialize};

/// How a refused command ends on the command line. The codes are part of the interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Exit {
    /// 1: wrong usage, or the request could not be understood.
    Usage,
    /// 7: refused by the gate, a lock or a revision; nothing was changed.
    Refused,
    /// 8: no leader could take it.
    NoLeader,
    /// 9: not permitted.
    NotPermitted,
}

impl Exit {
    /// The process exit code.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::Usage => 1,
            Self::Refused => 7,
            Self::NoLeader => 8,
            Self::NotPermitted => 9,
        }
    }
}

macro_rules! reasons {
    ($($(#[$doc:meta])* $variant:ident = $number:literal, $slug:literal, $exit:ident;)*) => {
        /// Why. The number is the wire's (`holdfast.v1.Reason`), the slug the guide's paragraph.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(rename_all = "snake_case")]
        pub enum Reason {
            $($(#[$doc])* $variant = $number,)*
        }

        impl Reason {
            /// All of them, in the order of their numbers.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// The number on the wire.
            #[must_use]
            pub const fn number(self) -> i32 {
                self as i32
            }

            /// The reason with this number on the wire.
            #[must_use]
            pub fn from_number(number: i32) -> Option<Self> {
                Self::ALL.iter().copied().find(|r| r.number() == number)
            }

            /// Heading of the reason's paragraph in the operator guide, as in `docs: refusals/lag`.
            #[must_use]
            pub const fn slug(self) -> &'static str {
                match self { $(Self::$variant => $slug,)* }
            }

            /// How the command line ends.
            #[must_use]
            pub const fn exit(self) -> Exit {
                match self { $(Self::$variant => Exit::$exit,)* }
            }
        }
    };
}

reasons! {
    /// This coordinator does not lead, or cannot reach a quorum.
    NoLeader = 1, "no-leader", NoLeader;
    /// The bearer may not do this.
    NotPermitted = 2, "not-permitted", NotPermitted;
    /// The request itself makes no sense: an unknown value, a missing field.
    BadRequest = 3, "bad-request", Usage;
    /// No app of this name.
    UnknownApp = 4, "unknown-app", Refused;
    /// No region of this name, or none of this app's.
    UnknownRegion = 5, "unknown-region", Refused;
    /// No host of this name.
    UnknownHost = 6, "unknown-host", Refused;
    /// No operation of this number.
    UnknownOperation = 7, "unknown-operation", Refused;
    /// The app spec has problems; all are listed.
    BadSpec = 8, "bad-spec", Refused;
    /// The revision named is not the current one.
    StaleRevision = 9, "stale-revision", Refused;
    /// The first apply did not find exactly one region whose database accepts writes.
    NoSingleWriter = 10, "no-single-writer", Refused;
    /// A writer of this spec belongs to another app.
    WriterTaken = 11, "writer-taken", Refused;
    /// Another operation is running on this app.
    OperationRunning = 12, "operation-running", Refused;
    /// The app's active region is the target already.
    AlreadyActive = 13, "already-active", Refused;
    /// The app has no `failover` section.
    NoFailover = 14, "no-failover", Refused;
    /// The target is not promotable: its database is absent or does not follow.
    NotPromotable = 15, "not-promotable", Refused;
    /// Something proves that the active region still serves writes.
    LifeSeen = 16, "life-seen", Refused;
    /// The operation is past its point of no return.
    PastNoReturn = 17, "past-no-return", Refused;
    /// The operation has ended.
    OperationEnded = 18, "operation-ended", Refused;
    /// The generation this was decided on is no longer the app's.
    GenerationMoved = 19, "generation-moved", Refused;
    /// The token is unknown, used up, expired, or of another region.
    BadToken = 20, "bad-token", NotPermitted;
    /// The name is taken by another host.
    NameTaken = 21, "name-taken", Refused;
    /// The certificate was revoked.
    Revoked = 22, "revoked", NotPermitted;
    /// The host is quarantined: its state went back, or two bearers share its name.
    Quarantined = 23, "quarantined", NotPermitted;
    /// The spec would change what only a fresh look or an operation may change.
    UnsafeChange = 24, "unsafe-change", Refused;
    /// A host that this needs has no live session.
    HostAbsent = 25, "host-absent", Refused;
    /// No operator of this name.
    UnknownOperator = 26, "unknown-operator", Refused;
    /// The only admin cannot be put out.
    LastAdmin = 27, "last-admin", Refused;
    /// The app is in maintenance: nothing moves it.
    InMaintenance = 28, "maintenance", Refused;
    /// What was to be taken out of maintenance is not in it.
    NoMaintenance = 29, "no-maintenance", Refused;
    /// An app spec names the host, so it cannot be removed.
    HostInUse = 30, "host-in-use", Refused;
    /// The host has a live session, and nobody said that it is to be removed all the same.
    HostLive = 31, "host-live", Refused;
    /// The disk of the coordinator's state is nearly full; new work is refused, what runs goes on.
    NoRoom = 40, "no-room", Refused;
    /// A host's own list leaves out a writer of the spec.
    NotAllowedThere = 45, "not-allowed-there", Refused;
    /// Neither a host nor an app has this name.
    UnknownSubject = 50, "unknown-subject", Refused;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_has_its_own_number_and_slug() {
        for (i, a) in Reason::ALL.iter().enumerate() {
            assert_eq!(Reason::from_number(a.number()), Some(*a));
            assert!(a.number() > 0, "0 is UNSPECIFIED on the wire");
            for b in &Reason::ALL[i + 1..] {
                assert_ne!(a.slug(), b.slug());
                assert_ne!(a.number(), b.number());
            }
        }
    }
}
