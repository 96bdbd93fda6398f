//! The audit trail: an entry goes in with the very change that it tells of, or with the refusal of it.

use holdfast_types::{
    WallTime,
    audit::{Entry, Hash},
};

use super::{Answer, Context, Key, State};
use crate::{
    change::Kind,
    records::{AuditEntry, Call},
};

/// How many entries are kept; of older ones only the hash lives on, in the entry after them. A few megabytes.
pub const AUDIT_KEPT: usize = 20_000;

impl State {
    /// Appends what came of a call.
    pub(super) fn note_call(&mut self, cx: &mut Context<'_>, call: &Call, kind: &Kind, answer: &Answer) {
        let (done, outcome) = match (kind, answer) {
            (Kind::CallRefused(refused), _) => (false, refused.what.clone()),
            (kind, Ok(number)) => (true, came_of(kind, *number)),
            (_, Err(refused)) => (false, refused.what.clone()),
        };
        self.append(cx, call, done, outcome);
    }

    fn append(&mut self, cx: &mut Context<'_>, call: &Call, done: bool, outcome: String) {
        let (number, previous) = match self.audit.last_key_value() {
            Some((number, last)) => (number + 1, last.hash.clone()),
            None => (1, Hash::default().0.to_vec()),
        };
        let mut record =
            AuditEntry { at: cx.at.unix_millis(), call: Some(call.clone()), done, outcome, previous, hash: Vec::new() };
        record.hash = entry(number, &record).expected().0.to_vec();
        self.audit.insert(number, record);
        cx.touch(Key::Audit(number));
        while self.audit.len() > AUDIT_KEPT {
            if let Some((oldest, _)) = self.audit.pop_first() {
                cx.touch(Key::Audit(oldest));
            }
        }
    }

    /// The trail after the entry of that number, the oldest first.
    pub fn audit_after(&self, number: u64) -> impl DoubleEndedIterator<Item = Entry> {
        self.audit.range(number.saturating_add(1)..).map(|(number, record)| entry(*number, record))
    }
}

/// What a change did, a line.
fn came_of(kind: &Kind, number: u64) -> String {
    match kind {
        Kind::StartOperation(_) => format!("operation {number}"),
        Kind::ApplySpec(_) => format!("revision {number}"),
        Kind::RemoveApp(_) => format!("removed at generation {number}"),
        Kind::Enrol(_) | Kind::Issue(_) | Kind::RedeemInvite(_) => format!("certificate {number}"),
        Kind::BeginMaintenance(_) => {
            let until = WallTime(i64::try_from(number).unwrap_or(i64::MAX));
            format!("until {until}")
        }
        Kind::Revoke(_) | Kind::RevokeOperator(_) | Kind::RemoveHost(_) => format!("certificates revoked: {number}"),
        Kind::Init(_)
        | Kind::CreateToken(_)
        | Kind::RevokeToken(_)
        | Kind::Quarantine(_)
        | Kind::NoteStarts(_)
        | Kind::SetPromotable(_)
        | Kind::Reactivate(_)
        | Kind::SetRouted(_)
        | Kind::StepBegins(_)
        | Kind::CommandEnded(_)
        | Kind::StepEnded(_)
        | Kind::ExtendPlan(_)
        | Kind::EndOperation(_)
        | Kind::AbortOperation(_)
        | Kind::Hold(_)
        | Kind::HoldOver(_)
        | Kind::NextGeneration(_)
        | Kind::EndHold(_)
        | Kind::AddOperator(_)
        | Kind::EndMaintenance(_)
        | Kind::CallRefused(_) => "done".to_owned(),
    }
}

/// A record as the entry that it is. A hash that is none reads as zeros and then does not hold.
fn entry(number: u64, record: &AuditEntry) -> Entry {
    let call = record.call.clone().unwrap_or_default();
    let hash = |bytes: &[u8]| Hash::try_from(bytes).unwrap_or_default();
    Entry {
        number,
        at: record.at,
        by: call.by,
        from: call.from,
        call: call.call,
        subject: call.subject,
        why: call.why,
        done: record.done,
        outcome: record.outcome.clone(),
        previous: hash(&record.previous),
        hash: hash(&record.hash),
    }
}
