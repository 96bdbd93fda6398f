//! Calls that change something: who may, and what came of it, in the audit trail.
//!
//! The entry of an allowed call is applied by the same log entry as what it changes. One that is refused before anything
//! was proposed is noted by an entry of its own; somebody who is refused over and over is noted only now and then, so
//! that nobody fills the log who may not even write to it.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, atomic::AtomicBool, atomic::Ordering},
    time::Duration,
};

use holdfast_coordinator_core::{
    change::{CallRefused, Kind},
    records,
};
use holdfast_shared::{refusal::from_status, refusals::RefusedKind};
use holdfast_types::{BootInstant, Right, refusal::Reason};
use tonic::{Request, Response, Status};

use super::Api;
use crate::{
    authorise::{self, Caller},
    replica::{Author, ProposeError},
};

/// So many refused calls of one bearer are noted at once …
const BURST: u64 = 20;
/// … and one more each time this has passed.
const EVERY: Duration = Duration::from_secs(10);
/// Bearers that are counted; there are far fewer people.
const BEARERS_MAX: usize = 1_000;
/// Longest texts that go into the trail, in characters.
const TEXT_MAX: usize = 500;

/// One call on its way.
pub(super) struct Call {
    /// Who calls.
    pub(super) caller: Caller,
    record: records::Call,
    noted: Arc<AtomicBool>,
}

impl Call {
    /// For what it proposes.
    pub(super) fn author(&self) -> Author {
        Author::of_call(self.record.clone(), Arc::clone(&self.noted))
    }
}

/// What a call is about.
#[derive(Debug, Clone, Copy)]
pub(super) struct About<'a> {
    /// As on the command line: `token create`.
    pub(super) call: &'static str,
    /// An app, a host, a person.
    pub(super) subject: &'a str,
    /// In the caller's words.
    pub(super) why: &'a str,
}

impl Api {
    /// Begins a call that changes something.
    ///
    /// # Errors
    /// When its bearer may not do this. That is noted.
    pub(super) async fn begin<T>(&self, request: &Request<T>, right: Right, about: About<'_>) -> Result<Call, Status> {
        let (identity, from) = authorise::identity(request)?;
        let mut record = records::Call {
            by: identity.bearer.to_string(),
            from: from.to_owned(),
            call: about.call.to_owned(),
            subject: cut(about.subject),
            why: cut(about.why),
        };
        match authorise::operator(request, &self.replica, right) {
            Ok(caller) => {
                record.by = caller.author();
                Ok(Call { caller, record, noted: Arc::default() })
            }
            Err(status) => {
                self.note_refused(record, &status).await;
                Err(status)
            }
        }
    }

    /// Ends it: a refusal that is not in the trail yet goes there.
    pub(super) async fn end<T>(&self, call: Call, done: Result<T, Status>) -> Result<Response<T>, Status> {
        if let Err(status) = &done
            && !call.noted.load(Ordering::Relaxed)
        {
            self.note_refused(call.record, status).await;
        }
        done.map(Response::new)
    }

    async fn note_refused(&self, record: records::Call, status: &Status) {
        let reason = from_status(status).map(|refused| refused.reason);
        let kind = if reason == Some(Reason::NoRoom.number()) { RefusedKind::NoRoom } else { RefusedKind::Call };
        self.hot.refusals().note(kind, &record.by, format_args!("{}: {}", record.call, status.message()));
        // Without a leader nothing can be noted, and nothing was done.
        if reason == Some(Reason::NoLeader.number()) {
            return;
        }
        let Some(left_out) = self.refused.take(&record.by, self.clock.boot()) else { return };
        let mut what = cut(status.message());
        if left_out > 0 {
            what = format!("{what} ({left_out} refused before it were not noted)");
        }
        let author = Author::of_call(record, Arc::default());
        let noted = self.replica.propose(author, Kind::CallRefused(CallRefused { what })).await;
        // With no room for it, the count and the log have to do.
        if let Err(e) = noted
            && !matches!(e, ProposeError::NoRoom(_))
        {
            tracing::warn!(error = %e, "a refused call is not in the audit trail");
        }
    }
}

fn cut(text: &str) -> String {
    if text.chars().nth(TEXT_MAX).is_none() {
        return text.to_owned();
    }
    text.chars().take(TEXT_MAX - 1).chain(['…']).collect()
}

/// How many refused calls of each bearer may still be noted.
#[derive(Debug, Clone, Default)]
pub struct RefusedCalls(Arc<Mutex<BTreeMap<String, Quota>>>);

#[derive(Debug)]
struct Quota {
    left: u64,
    at: BootInstant,
    left_out: u64,
}

impl RefusedCalls {
    /// Whether one more is noted; then how many before it were not.
    fn take(&self, bearer: &str, now: BootInstant) -> Option<u64> {
        let mut all = self.0.lock().expect("nothing panics while it counts");
        if !all.contains_key(bearer) && all.len() >= BEARERS_MAX {
            all.clear();
        }
        let quota = all.entry(bearer.to_owned()).or_insert(Quota { left: BURST, at: now, left_out: 0 });
        let earned = u64::try_from(now.since(quota.at).as_millis() / EVERY.as_millis()).unwrap_or(u64::MAX);
        if earned > 0 {
            quota.left = quota.left.saturating_add(earned).min(BURST);
            quota.at = now;
        }
        if quota.left == 0 {
            quota.left_out += 1;
            return None;
        }
        quota.left -= 1;
        Some(std::mem::take(&mut quota.left_out))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_refused_over_and_over_is_noted_now_and_then_with_a_count() {
        let calls = RefusedCalls::default();
        let at = |seconds| BootInstant::from_boot(Duration::from_secs(seconds));
        for _ in 0..BURST {
            assert_eq!(calls.take("operator eve", at(100)), Some(0));
        }
        for second in 100..109 {
            assert_eq!(calls.take("operator eve", at(second)), None);
        }
        assert_eq!(calls.take("operator kim", at(109)), Some(0), "everybody for themselves");
        assert_eq!(calls.take("operator eve", at(110)), Some(9));
        assert_eq!(calls.take("operator eve", at(111)), None);
        assert_eq!(calls.take("operator eve", at(10_000)), Some(1));
    }

    #[test]
    fn long_words_are_cut() {
        assert_eq!(cut("drill"), "drill");
        assert_eq!(cut(&"ä".repeat(TEXT_MAX)).chars().count(), TEXT_MAX);
        assert_eq!(cut(&"ä".repeat(TEXT_MAX + 1)).chars().last(), Some('…'));
    }
}
