//! How a command fails: what, where, why, the next command to type, and an exit code that tells the truth.

use std::fmt::Write as _;

use holdfast_proto::v1;
use holdfast_shared::refusal;
use holdfast_types::refusal::Reason;
use tonic::Code;

use crate::render::text::{Tone, View, clean, hang, labelled};

/// How a command ends. The numbers are part of the interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// 0: done.
    Done,
    /// 1: wrong usage, or the cluster could not be talked to.
    Usage,
    /// 2: the plan has changes, or something needs a human; only with `--exit-code`.
    Changes,
    /// 3: failed, nothing changed.
    Failed,
    /// 4: failed and undone.
    Unwound,
    /// 5: partly done.
    Partly,
    /// 6: timed out, outcome unknown.
    Unknown,
    /// 7: refused.
    Refused,
    /// 8: no leader.
    NoLeader,
    /// 9: not permitted.
    NotPermitted,
    /// 130: detached; what was begun goes on.
    Detached,
}

impl Exit {
    /// The process exit code.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Usage => 1,
            Self::Changes => 2,
            Self::Failed => 3,
            Self::Unwound => 4,
            Self::Partly => 5,
            Self::Unknown => 6,
            Self::Refused => 7,
            Self::NoLeader => 8,
            Self::NotPermitted => 9,
            Self::Detached => 130,
        }
    }
}

impl From<holdfast_types::refusal::Exit> for Exit {
    fn from(exit: holdfast_types::refusal::Exit) -> Self {
        use holdfast_types::refusal::Exit as Of;
        match exit {
            Of::Usage => Self::Usage,
            Of::Refused => Self::Refused,
            Of::NoLeader => Self::NoLeader,
            Of::NotPermitted => Self::NotPermitted,
        }
    }
}

/// Whether a call only reads, or asks for something to be changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Intent {
    /// Nothing can have changed, whatever went wrong.
    Read,
    /// Without an answer nobody knows whether it was done.
    Change,
}

/// A command that failed, as its operator reads it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// How the command ends.
    pub exit: Exit,
    /// One line: what failed, with names and numbers.
    pub what: String,
    /// Where and why, as labelled lines.
    pub lines: Vec<(String, String)>,
    /// Commands to type next, the likeliest first.
    pub next: Vec<String>,
    /// Said at the end, in words: whether anything was changed.
    pub closing: Option<&'static str>,
    /// Trying again may do: the way was broken, or nobody leads for a moment.
    pub passing: bool,
}

/// Nothing came of it.
pub const UNCHANGED: &str = "nothing was changed";

/// There was no answer to a request that may have been carried out.
const NOT_KNOWN: &str = "whether it was done is not known";

impl Failure {
    /// A failure that says only what.
    pub fn new(exit: Exit, what: impl Into<String>) -> Self {
        Self { exit, what: what.into(), lines: Vec::new(), next: Vec::new(), closing: None, passing: false }
    }

    /// Wrong usage, with the command that helps.
    pub fn usage(what: impl Into<String>, next: impl Into<String>) -> Self {
        Self::new(Exit::Usage, what).next(next)
    }

    /// Adds a labelled line.
    #[must_use]
    pub fn line(mut self, label: &str, text: impl Into<String>) -> Self {
        self.lines.push((label.to_owned(), text.into()));
        self
    }

    /// Adds a command to type next.
    #[must_use]
    pub fn next(mut self, command: impl Into<String>) -> Self {
        self.next.push(command.into());
        self
    }

    /// Says at the end what became of the request.
    #[must_use]
    pub fn closing(mut self, closing: &'static str) -> Self {
        self.closing = Some(closing);
        self
    }

    /// What a refusal says, with the exit code of its reason. A reason that this release does not know is still a
    /// refusal.
    #[must_use]
    pub fn refused(refusal: v1::Refusal, intent: Intent) -> Self {
        let reason = Reason::from_number(refusal.reason);
        let mut lines: Vec<_> = refusal.lines.into_iter().map(|l| (l.label, l.text)).collect();
        if let Some(reason) = reason {
            lines.push(("docs".to_owned(), format!("refusals/{}", reason.slug())));
        }
        Self {
            exit: reason.map_or(Exit::Refused, |r| r.exit().into()),
            what: refusal.what,
            lines,
            next: refusal.next,
            closing: (intent == Intent::Change).then_some(UNCHANGED),
            passing: reason == Some(Reason::NoLeader),
        }
    }

    /// What the status of a call means. `asked` names the call in the words of its command, `address` who answered.
    #[must_use]
    pub fn from_status(status: &tonic::Status, asked: &str, address: &str, intent: Intent) -> Self {
        if let Some(refusal) = refusal::from_status(status) {
            return Self::refused(refusal, intent);
        }
        let why = if status.message().is_empty() { "it gives no reason" } else { status.message() };
        let from = format!("{address}: {why}");
        let failed = |exit, what: String| Self::new(exit, what).line("where", from.clone());
        match status.code() {
            Code::PermissionDenied | Code::Unauthenticated => {
                failed(Exit::NotPermitted, format!("{asked} is not permitted with this certificate"))
                    .next("holdfast context show")
            }
            Code::Unimplemented => failed(Exit::Usage, format!("the coordinator does not know {asked}"))
                .line("why", format!("it is older than this holdfast, {}", env!("CARGO_PKG_VERSION")))
                .next("upgrade the coordinator first, then the command"),
            Code::InvalidArgument
            | Code::OutOfRange
            | Code::NotFound
            | Code::FailedPrecondition
            | Code::Aborted
            | Code::AlreadyExists
            | Code::ResourceExhausted => {
                let failure = failed(Exit::Refused, format!("{asked} was refused"));
                if intent == Intent::Change { failure.closing(UNCHANGED) } else { failure }
            }
            Code::Ok
            | Code::Cancelled
            | Code::Unknown
            | Code::DeadlineExceeded
            | Code::Internal
            | Code::Unavailable
            | Code::DataLoss => Self { passing: true, ..Self::unanswered(asked, &from, intent) },
        }
    }

    /// The request went out and no usable answer came back.
    #[must_use]
    pub fn unanswered(asked: &str, from: &str, intent: Intent) -> Self {
        match intent {
            Intent::Read => Self::new(Exit::Usage, format!("no answer to {asked}")).line("where", from).next(
                "holdfast status     if that fails too, look on the coordinator: journalctl -u holdfast-coordinator",
            ),
            Intent::Change => Self::new(Exit::Unknown, format!("no answer to {asked}"))
                .line("where", from)
                .next("holdfast operations list")
                .next("holdfast status")
                .closing(NOT_KNOWN),
        }
    }

    /// The failure as it is printed to stderr.
    #[must_use]
    pub fn render(&self, view: &View) -> String {
        let mut out = String::new();
        let head = view.paint(Tone::Bad, "error:");
        // The head is measured unpainted: colours take no columns.
        let mut body = String::new();
        hang(&mut body, view, "error: ", &self.what);
        let _ = write!(out, "{}", body.replacen("error:", &head, 1));
        labelled(&mut out, view, 2, &self.lines, &self.next);
        if let Some(closing) = self.closing {
            let _ = writeln!(out, "{} (exit {})", clean(closing), self.exit.code());
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use holdfast_types::WallTime;

    use super::*;

    const VIEW: View = View { width: 100, colour: false, now: WallTime(0) };

    fn life_seen() -> v1::Refusal {
        refusal::refusal(
            Reason::LifeSeen,
            "smellpin will not move to us-west: us-east is still alive, and two regions must never write",
            vec![
                refusal::line(
                    "where",
                    "usw-db1 received WAL 0.4 s ago; eu-1 gets 200 from https://us-east.smellpin.example/health",
                ),
                refusal::line("", "silent: the agents on use-db1 and use-web1, since 20:57:31"),
                refusal::line("gate", "mode ✔  other operation ✔  incidents ✔  candidate ✔  life seen ✘  lag ✔"),
            ],
            vec![
                "look at the agents first: ssh use-db1 systemctl status holdfast-agent".to_owned(),
                "holdfast why smellpin".to_owned(),
            ],
        )
    }

    #[test]
    fn a_refusal_reads_as_where_gate_and_next() {
        insta::assert_snapshot!(Failure::refused(life_seen(), Intent::Change).render(&VIEW));
    }

    #[test]
    fn a_refusal_fits_into_sixty_columns_apart_from_its_commands() {
        let text = Failure::refused(life_seen(), Intent::Change).render(&View { width: 60, ..VIEW });
        insta::assert_snapshot!(text);
    }

    #[test]
    fn every_reason_ends_as_the_list_says() {
        for reason in Reason::ALL {
            let status = refusal::to_status(*reason, "no", Vec::new(), Vec::new());
            let failure = Failure::from_status(&status, "it", "c1:7443", Intent::Change);
            assert_eq!(failure.exit.code(), reason.exit().code(), "{reason:?}");
            assert_eq!(failure.closing, Some(UNCHANGED));
        }
    }

    #[test]
    fn a_reason_of_a_later_release_is_still_a_refusal() {
        let failure = Failure::refused(v1::Refusal { reason: 9_999, ..life_seen() }, Intent::Read);
        assert_eq!(failure.exit, Exit::Refused);
        assert_eq!(failure.closing, None);
    }

    #[test]
    fn no_answer_to_a_change_is_never_called_unchanged() {
        for code in [Code::Unknown, Code::Internal, Code::Unavailable, Code::DeadlineExceeded, Code::Cancelled] {
            let of = |intent| Failure::from_status(&tonic::Status::new(code, "gone"), "it", "c1:7443", intent);
            assert_eq!(of(Intent::Change).exit, Exit::Unknown);
            assert_eq!(of(Intent::Change).closing, Some(NOT_KNOWN));
            assert_eq!(of(Intent::Read).exit, Exit::Usage);
        }
    }

    #[test]
    fn a_message_cannot_paint_or_move() {
        let failure = Failure::new(Exit::Failed, "a\x1b[2J\nb").line("where", "c\rd");
        assert_eq!(failure.render(&VIEW), "error: a [2J b\n  where  c d\n");
    }
}
