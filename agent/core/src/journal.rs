//! What becomes of a command: run at most once, in the order of tokens.
//!
//! ```text
//!   received ──▶ refused (lower token, quarantine, not ours)      nothing is written
//!            ──▶ run ──▶ running ──▶ ended(result)                each durable before the next is spoken of
//!            ──▶ attach to the running one · repeat the stored result
//!   agent ends while running ──▶ interrupted ──▶ resume
//! ```
//! Every executor of this release is convergent: it looks at what is really there and does what is missing. So a
//! command that was begun before the agent ended is looked at and carried on, never blindly run again.

use holdfast_types::{CommandId, Token};

/// What a command does, as far as its order among others depends on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Stop every writer.
    Fence,
    /// Cut the receiver.
    Cut,
    /// Undo of a cut.
    Reconnect,
    /// Promote under a lease.
    Promote,
    /// Send clients to a region.
    Route,
    /// Start what was primary here, under a lease.
    Start,
    /// Look.
    Verify,
}

impl Kind {
    /// As stored.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Fence => "fence",
            Self::Cut => "cut",
            Self::Reconnect => "reconnect",
            Self::Promote => "promote",
            Self::Route => "route",
            Self::Start => "start",
            Self::Verify => "verify",
        }
    }

    /// Whether a newer command of this kind first ends a running one of the other: a fence waits for nobody, and an
    /// undo first ends what it undoes.
    #[must_use]
    pub const fn preempts(self, running: Self) -> bool {
        match self {
            Self::Fence => !matches!(running, Self::Fence),
            Self::Reconnect => matches!(running, Self::Cut),
            Self::Cut | Self::Promote | Self::Route | Self::Start | Self::Verify => false,
        }
    }

    /// Whether it begins something that can wait for a disk with room. Everything else goes on with what was begun,
    /// takes it back, or stops writers: refused, it would cost an app its service, and a reserve is kept for it.
    #[must_use]
    pub const fn waits_for_room(self) -> bool {
        match self {
            Self::Cut => true,
            Self::Fence | Self::Reconnect | Self::Promote | Self::Route | Self::Start | Self::Verify => false,
        }
    }

    /// Whether it is done also when it cannot be journalled: what stops writers may be done twice, and must not wait.
    #[must_use]
    pub const fn goes_first(self) -> bool {
        matches!(self, Self::Fence)
    }

    /// Whether it opens a writer, and so needs a live lease of its generation.
    #[must_use]
    pub const fn opens(self) -> bool {
        matches!(self, Self::Promote | Self::Start)
    }
}

/// How far a command in the journal is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Progress<R> {
    /// It runs in this life of the agent.
    Running,
    /// It had begun when the agent ended.
    Interrupted,
    /// It has ended so.
    Ended(R),
}

/// A command as received.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Received {
    /// Its name for ever.
    pub id: CommandId,
    /// The committed entry that ordered it.
    pub token: Token,
    /// What it does.
    pub kind: Kind,
}

/// What the journal knows that matters for one command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct View<R> {
    /// The entry of the same id, with the token it came with.
    pub entry: Option<(Token, Progress<R>)>,
    /// Highest token of any command of this app that was begun or undone here.
    pub highest: Token,
    /// Token of the committed state that this host follows for the app.
    pub desired: Token,
    /// Whether the committed state told this host of the app.
    pub told: bool,
    /// Whether this host is quarantined.
    pub quarantined: bool,
}

/// What to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision<R> {
    /// Journal it, then run it.
    Run,
    /// Look at what is there, and carry it on.
    Resume,
    /// It runs: its result will come.
    Attach,
    /// It has ended; say so again.
    Repeat(R),
    /// Do nothing.
    Refuse(Refused),
}

/// Why a command is not begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// A later command was begun.
    #[error("token {token} is lower than {highest}, the highest that was begun here")]
    LowerToken {
        /// The command's.
        token: Token,
        /// What stands against it.
        highest: Token,
    },
    /// The committed state has moved on since.
    #[error("token {token} is lower than {desired}, the committed state that this host follows")]
    Overtaken {
        /// The command's.
        token: Token,
        /// What stands against it.
        desired: Token,
    },
    /// The same id came with another token.
    #[error("this command was received before with token {before}, now it has {token}")]
    Contradicts {
        /// Then.
        before: Token,
        /// Now.
        token: Token,
    },
    /// Nobody told this host of the app.
    #[error("this host was never told of the app")]
    UnknownApp,
    /// The host's memory cannot be trusted.
    #[error("this host is quarantined: its state went back, or two bearers share its name; enrol it anew")]
    Quarantined,
}

/// Decides.
#[must_use]
pub fn decide<R>(received: Received, view: View<R>) -> Decision<R> {
    let Received { token, kind, .. } = received;
    if view.quarantined {
        return Decision::Refuse(Refused::Quarantined);
    }
    if let Some((before, progress)) = view.entry {
        if before != token {
            return Decision::Refuse(Refused::Contradicts { before, token });
        }
        match progress {
            Progress::Ended(result) => return Decision::Repeat(result),
            Progress::Running => return Decision::Attach,
            // Something later was begun meanwhile; it must not be undone by carrying this one on.
            Progress::Interrupted if token < view.highest => {
                return Decision::Refuse(Refused::LowerToken { token, highest: view.highest });
            }
            // Its operation has moved on, or was taken back while this host was away: nobody would take this back again.
            Progress::Interrupted if kind == Kind::Cut && token < view.desired => {
                return Decision::Refuse(Refused::Overtaken { token, desired: view.desired });
            }
            Progress::Interrupted => return Decision::Resume,
        }
    }
    if !view.told {
        return Decision::Refuse(Refused::UnknownApp);
    }
    if token < view.highest {
        return Decision::Refuse(Refused::LowerToken { token, highest: view.highest });
    }
    // Routing follows the committed state all the time; an older order would undo it.
    if kind == Kind::Route && token < view.desired {
        return Decision::Refuse(Refused::Overtaken { token, desired: view.desired });
    }
    Decision::Run
}

#[cfg(test)]
mod tests {
    use holdfast_types::{Incarnation, LogIndex, OperationId};

    use super::*;

    fn token(index: u64) -> Token {
        Token { incarnation: Incarnation(1), index: LogIndex(index) }
    }

    fn received(index: u64, kind: Kind) -> Received {
        Received {
            id: CommandId { operation: OperationId(4), step: 1, part: 0, attempt: 1 },
            token: token(index),
            kind,
        }
    }

    fn view(highest: u64) -> View<&'static str> {
        View { entry: None, highest: token(highest), desired: token(5), told: true, quarantined: false }
    }

    #[test]
    fn what_becomes_of_a_command() {
        let with = |index, progress| View { entry: Some((token(index), progress)), ..view(9) };
        let lower = |index| Refused::LowerToken { token: token(index), highest: token(9) };
        let table = [
            ("new, higher", received(10, Kind::Cut), view(9), Decision::Run),
            ("new, another part of the same step", received(9, Kind::Cut), view(9), Decision::Run),
            ("new, lower", received(8, Kind::Cut), view(9), Decision::Refuse(lower(8))),
            ("lower fence", received(8, Kind::Fence), view(9), Decision::Refuse(lower(8))),
            ("ended", received(3, Kind::Cut), with(3, Progress::Ended("done")), Decision::Repeat("done")),
            ("running", received(9, Kind::Cut), with(9, Progress::Running), Decision::Attach),
            ("interrupted", received(9, Kind::Cut), with(9, Progress::Interrupted), Decision::Resume),
            (
                "interrupted, overtaken",
                received(3, Kind::Cut),
                with(3, Progress::Interrupted),
                Decision::Refuse(lower(3)),
            ),
            (
                "cut, interrupted, older than the committed state",
                received(9, Kind::Cut),
                View { desired: token(10), ..with(9, Progress::Interrupted) },
                Decision::Refuse(Refused::Overtaken { token: token(9), desired: token(10) }),
            ),
            (
                "undo, interrupted, older than the committed state",
                received(9, Kind::Reconnect),
                View { desired: token(10), ..with(9, Progress::Interrupted) },
                Decision::Resume,
            ),
            (
                "same id, other token",
                received(9, Kind::Cut),
                with(8, Progress::Running),
                Decision::Refuse(Refused::Contradicts { before: token(8), token: token(9) }),
            ),
            (
                "unknown app",
                received(9, Kind::Cut),
                View { told: false, ..view(0) },
                Decision::Refuse(Refused::UnknownApp),
            ),
            (
                "route older than the committed state",
                received(9, Kind::Route),
                View { desired: token(10), ..view(0) },
                Decision::Refuse(Refused::Overtaken { token: token(9), desired: token(10) }),
            ),
            (
                "fence older than the committed state",
                received(9, Kind::Fence),
                View { desired: token(10), ..view(0) },
                Decision::Run,
            ),
            (
                "quarantined",
                received(3, Kind::Cut),
                View { quarantined: true, ..with(3, Progress::Ended("done")) },
                Decision::Refuse(Refused::Quarantined),
            ),
        ];
        for (name, received, view, expected) in table {
            assert_eq!(decide(received, view), expected, "{name}");
        }
    }

    #[test]
    fn a_fence_waits_for_nobody_and_an_undo_ends_what_it_undoes() {
        const ALL: [Kind; 7] =
            [Kind::Fence, Kind::Cut, Kind::Reconnect, Kind::Promote, Kind::Route, Kind::Start, Kind::Verify];
        for running in ALL {
            assert_eq!(Kind::Fence.preempts(running), running != Kind::Fence);
            assert_eq!(Kind::Reconnect.preempts(running), running == Kind::Cut);
            assert!(!Kind::Promote.preempts(running) && !Kind::Route.preempts(running));
        }
    }
}
