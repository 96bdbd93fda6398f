//! Sends a step's commands and waits for their results to be committed. A repeat keeps the command's id: the agent
//! answers it with the stored result, or attaches to the running one.

use std::{collections::BTreeMap, time::Duration};

use holdfast_coordinator_core::records::{CommandResult, Operation};
use holdfast_proto::v1;
use holdfast_types::{BootInstant, HostName, LogIndex, OperationId};

use super::{Engine, index};

/// How often the sessions and the journal are looked at while nothing happens.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// One command of a step.
pub(super) struct Part {
    pub(super) host: HostName,
    pub(super) body: v1::command::Body,
    /// The step cannot end well without it.
    pub(super) required: bool,
}

/// What became of a step's commands.
pub(super) struct Answers {
    pub(super) results: BTreeMap<usize, CommandResult>,
    /// Hosts that have not answered.
    pub(super) missing: Vec<HostName>,
    /// Somebody asked to abort meanwhile.
    pub(super) aborted: bool,
}

impl Engine {
    /// Sends every part to its host, again whenever that host opens a new session, until all have answered, `until` has
    /// come, or an abort. Parts that are not required are waited for only while their host is there.
    pub(super) async fn dispatch(
        &self,
        number: OperationId,
        op: &Operation,
        step: usize,
        generation: u64,
        parts: &[Part],
        until: BootInstant,
    ) -> Answers {
        let mut sent: BTreeMap<usize, u64> = BTreeMap::new();
        let mut applied = self.replica.applied();
        let mut changed = self.fleet.changed();
        loop {
            let Some((now_op, _)) = self.look(number) else {
                return Answers { results: BTreeMap::new(), missing: vec![], aborted: true };
            };
            let record = &now_op.steps[step];
            let mut results = BTreeMap::new();
            for (n, part) in parts.iter().enumerate() {
                // A result counts only from the host that the part was sent to.
                let found = record.results_now().find(|r| r.part == index(n) && r.host == part.host.as_str());
                if let Some(result) = found {
                    results.insert(n, result.clone());
                }
            }
            let now = self.clock.boot();
            let waits_for = |n: &usize| {
                !results.contains_key(n) && (parts[*n].required || self.fleet.session(&parts[*n].host).is_some())
            };
            let aborted = now_op.aborting && !now_op.past_no_return && !op.aborting;
            let open = (0..parts.len()).any(|n| waits_for(&n));
            if !open || now >= until || aborted {
                let missing = (0..parts.len()).filter(|n| !results.contains_key(n)).map(|n| parts[n].host.clone());
                return Answers { missing: missing.collect(), results, aborted };
            }
            for (n, part) in parts.iter().enumerate() {
                let Some(session) = self.fleet.session(&part.host) else { continue };
                if results.contains_key(&n) || sent.get(&n) == Some(&session) {
                    continue;
                }
                let token = self.replica.read(|s| s.token(LogIndex(record.began_index)));
                let command = v1::Command {
                    id: Some(v1::CommandId {
                        operation: number.0,
                        step: index(step),
                        part: index(n),
                        attempt: record.attempt,
                    }),
                    token: Some(v1::Token { incarnation: token.incarnation.0, index: token.index.0 }),
                    app: op.app.clone(),
                    generation,
                    within: now.until(until).try_into().ok(),
                    body: Some(part.body.clone()),
                };
                if self.fleet.send(&part.host, v1::to_agent::Body::Command(command)) {
                    sent.insert(n, session);
                }
            }
            // All three only wake the loop.
            tokio::select! {
                biased;
                _ = applied.changed() => {}
                _ = changed.changed() => {}
                () = tokio::time::sleep(LOOK_AGAIN.min(now.until(until))) => {}
            }
        }
    }
}
