//! A refusal on the wire: one reason and its facts, in the details of a gRPC status.
//!
//! The details are a `google.rpc.Status` that carries one `holdfast.v1.Refusal`, so that any gRPC client can read them.
//! The coordinator encodes here and the command line decodes here; nothing else knows the form.

use holdfast_proto::v1;
use holdfast_types::refusal::Reason;
use prost::Message as _;
use tonic::{Code, Status};

/// The type of the one detail, as `google.protobuf.Any` names it.
pub const TYPE_URL: &str = "type.googleapis.com/holdfast.v1.Refusal";

/// What a refusal may weigh, encoded. The details travel as an HTTP header, in base64 and beside the message; clients
/// give up on a header list beyond 16 KiB and would then see no status at all.
const ENCODED_BYTES_MAX: usize = 6 * 1024;

/// The message of the status repeats the first line for clients that decode no details; in percent encoding a byte
/// may take three.
const MESSAGE_BYTES_MAX: usize = 512;

/// `google.rpc.Status`.
#[derive(Clone, PartialEq, prost::Message)]
struct RpcStatus {
    #[prost(int32, tag = "1")]
    code: i32,
    #[prost(string, tag = "2")]
    message: String,
    #[prost(message, repeated, tag = "3")]
    details: Vec<prost_types::Any>,
}

/// The gRPC code that says the most about this reason to a client that knows no refusals.
#[must_use]
pub const fn code(reason: Reason) -> Code {
    match reason {
        Reason::NoLeader | Reason::HostAbsent => Code::Unavailable,
        Reason::NotPermitted | Reason::BadToken | Reason::Revoked | Reason::Quarantined => Code::PermissionDenied,
        Reason::BadRequest | Reason::BadSpec => Code::InvalidArgument,
        Reason::UnknownApp
        | Reason::UnknownRegion
        | Reason::UnknownHost
        | Reason::UnknownOperation
        | Reason::UnknownOperator
        | Reason::NoMaintenance
        | Reason::UnknownSubject => Code::NotFound,
        Reason::StaleRevision | Reason::GenerationMoved => Code::Aborted,
        Reason::WriterTaken | Reason::NameTaken => Code::AlreadyExists,
        Reason::NoRoom => Code::ResourceExhausted,
        Reason::NoSingleWriter
        | Reason::OperationRunning
        | Reason::AlreadyActive
        | Reason::NoFailover
        | Reason::NotPromotable
        | Reason::LifeSeen
        | Reason::PastNoReturn
        | Reason::OperationEnded
        | Reason::LastAdmin
        | Reason::NotAllowedThere
        | Reason::InMaintenance
        | Reason::HostInUse
        | Reason::HostLive
        | Reason::UnsafeChange => Code::FailedPrecondition,
    }
}

/// The refusal itself: `what` in one line, why in labelled lines, then the commands to type next.
#[must_use]
pub fn refusal(reason: Reason, what: impl Into<String>, lines: Vec<v1::Line>, next: Vec<String>) -> v1::Refusal {
    v1::Refusal { reason: reason.number(), what: what.into(), lines, next, moved: vec![] }
}

/// One labelled line, as in `where  pg on usw-db1: replayed 3A/91C0F2D8`.
#[must_use]
pub fn line(label: impl Into<String>, text: impl Into<String>) -> v1::Line {
    v1::Line { label: label.into(), text: text.into() }
}

/// A refusal as the status of a call. Lines beyond what a header can carry are counted instead of sent.
#[must_use]
pub fn to_status(reason: Reason, what: impl Into<String>, lines: Vec<v1::Line>, next: Vec<String>) -> Status {
    status(reason, refusal(reason, what, lines, next))
}

/// The same of a refusal that says more. Its reason is this one.
#[must_use]
pub fn status(reason: Reason, refusal: v1::Refusal) -> Status {
    let refusal = bounded(refusal);
    let message = cut(&refusal.what, MESSAGE_BYTES_MAX);
    let details = RpcStatus {
        code: i32::from(code(reason)),
        message: message.clone(),
        details: vec![prost_types::Any { type_url: TYPE_URL.to_owned(), value: refusal.encode_to_vec() }],
    };
    Status::with_details(code(reason), message, details.encode_to_vec().into())
}

/// The refusal in a status, if it carries one. Details that do not decode are no refusal.
#[must_use]
pub fn from_status(status: &Status) -> Option<v1::Refusal> {
    if status.details().is_empty() {
        return None;
    }
    let details = RpcStatus::decode(status.details()).ok()?;
    let any = details.details.iter().find(|any| any.type_url == TYPE_URL)?;
    v1::Refusal::decode(any.value.as_slice()).ok()
}

/// Cuts a refusal to what fits into a header: long texts first, then the last lines, with their number said.
fn bounded(mut refusal: v1::Refusal) -> v1::Refusal {
    if refusal.encoded_len() <= ENCODED_BYTES_MAX {
        return refusal;
    }
    const TEXT_BYTES_MAX: usize = 512;
    const NEXT_MAX: usize = 4;
    refusal.what = cut(&refusal.what, TEXT_BYTES_MAX);
    refusal.next.truncate(NEXT_MAX);
    for next in &mut refusal.next {
        *next = cut(next, TEXT_BYTES_MAX);
    }
    for line in &mut refusal.lines {
        line.label = cut(&line.label, 32);
        line.text = cut(&line.text, TEXT_BYTES_MAX);
    }
    let said = refusal.lines.len();
    while refusal.encoded_len() > ENCODED_BYTES_MAX - 64 && refusal.lines.pop().is_some() {}
    let dropped = said - refusal.lines.len();
    if dropped > 0 {
        refusal.lines.push(line("", format!("… and {dropped} more")));
    }
    refusal
}

/// The text, or as much of it as fits, ending in an ellipsis.
fn cut(text: &str, bytes_max: usize) -> String {
    if text.len() <= bytes_max {
        return text.to_owned();
    }
    let ellipsis = '…';
    let end = text.floor_char_boundary(bytes_max - ellipsis.len_utf8());
    format!("{}{ellipsis}", &text[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(n: usize, text: &str) -> Vec<v1::Line> {
        (0..n).map(|i| line("where", format!("{i}: {text}"))).collect()
    }

    #[test]
    fn a_refusal_survives_the_wire_for_every_reason() {
        for reason in Reason::ALL {
            let next = vec!["holdfast why smellpin".to_owned()];
            let status = to_status(*reason, "smellpin will not move – Zürich", lines(2, "3A/91C0F2D8"), next.clone());
            // The header form is what really travels.
            let headers = {
                let response = status.clone().into_http::<()>();
                response.headers().clone()
            };
            let seen = Status::from_header_map(&headers).expect("a status was written");
            assert_eq!(seen.code(), code(*reason));
            assert_eq!(seen.message(), "smellpin will not move – Zürich");
            let got = from_status(&seen).expect("a refusal was written");
            assert_eq!(Reason::from_number(got.reason), Some(*reason));
            assert_eq!(got.lines, lines(2, "3A/91C0F2D8"));
            assert_eq!(got.next, next);
        }
    }

    #[test]
    fn no_reason_is_told_as_success_or_as_a_fault_of_ours() {
        for reason in Reason::ALL {
            assert!(!matches!(code(*reason), Code::Ok | Code::Unknown | Code::Internal), "{reason:?}");
        }
    }

    #[test]
    fn a_huge_refusal_is_cut_and_says_so() {
        let status = to_status(Reason::BadSpec, "ü".repeat(9_000), lines(5_000, &"ß".repeat(900)), Vec::new());
        assert!(status.message().len() <= MESSAGE_BYTES_MAX);
        assert!(status.details().len() < ENCODED_BYTES_MAX + 1_024, "{} bytes", status.details().len());
        let got = from_status(&status).expect("still a refusal");
        let last = got.lines.last().expect("some lines are left");
        assert!(last.text.starts_with("… and "), "{last:?}");
        assert!(got.lines.len() > 3);
    }

    #[test]
    fn a_status_without_a_refusal_is_none() {
        assert_eq!(from_status(&Status::unavailable("gone")), None);
        let noise = Status::with_details(Code::Internal, "odd", vec![0xff, 0xff, 0xff].into());
        assert_eq!(from_status(&noise), None);
    }
}
