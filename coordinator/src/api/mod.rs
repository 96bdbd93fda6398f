//! What operators ask of a coordinator: one file per noun of the contract, and beside each what it decides, as plain
//! functions of plain values.
//!
//! Every call is authorised first. All but `status` are answered only by a leader that has just confirmed with the
//! quorum that it leads: a deposed one must not show what it remembers as what is.
//!
//! | file | owns |
//! |---|---|
//! | `fleet`, `apps`, `operations`, `tokens`, `certificates`, `people`, `audit`, `maintenance` | the services: gather, ask, propose, answer |
//! | `call` | who may change something, and what came of it, in the audit trail |
//! | `picture` | one app and the hosts as they are now, and the rows that `status` shows of them |
//! | `attention` | what needs a human |
//! | `metrics`, `facts` | the course of measures, and what `/metrics` says of hosts and apps |
//! | `why` | the evidence behind the verdicts, and what follows from it |
//! | `removal` | what becomes of an app that is removed |
//! | `look` | what a first look at the hosts of a new app concludes |
//! | `diff` | what a spec changes |
//! | `weak` | where a spec promises less than it could |
//! | `journal` | an operation as operators read it, and what has just happened in it |
//! | `refuse` | refusals that name what would be right |
//! | `wire` | times and spans on the wire |

mod apps;
mod attention;
mod audit;
mod call;
mod certificates;
mod diff;
pub(crate) mod facts;
mod fleet;
mod journal;
mod look;
mod maintenance;
mod metrics;
mod operations;
mod people;
mod picture;
mod refuse;
mod removal;
#[cfg(test)]
mod samples;
#[cfg(test)]
mod tests;
pub(crate) mod tokens;
mod weak;
mod why;
mod wire;

use std::sync::Arc;

use holdfast_coordinator_core::{records::Operation, state::App};
use holdfast_shared::{clock::SharedClock, tls::HotTls};
use holdfast_types::{AppName, OperationId, RegionName};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tonic::Status;

use crate::{
    decide::Decider,
    fleet::Fleet,
    issue::Issuer,
    leases::Leases,
    metrics::Metrics,
    readiness::Readiness,
    replica::{ProposeError, Replica, no_leader},
    rounds::Watch,
};
pub use call::RefusedCalls;
use refuse::Refusal;

/// Serves operators. Cheap to clone.
#[derive(Clone)]
pub struct Api {
    /// Committed state.
    pub replica: Replica,
    /// What is heard.
    pub fleet: Fleet,
    /// What is judged.
    pub watch: Watch,
    /// Grants.
    pub leases: Leases,
    /// Certificates.
    pub issuer: Issuer,
    /// This coordinator's TLS, which a revocation changes.
    pub hot: Arc<HotTls>,
    /// Time.
    pub clock: SharedClock,
    /// This coordinator, as operators call it: `c1`.
    pub coordinator: String,
    /// How hosts reach it; stands in join commands.
    pub address: String,
    /// Everything that serves a stream runs here, and is awaited at the end.
    pub tasks: TaskTracker,
    /// Ends all streams.
    pub cancel: CancellationToken,
    /// Asks the gate and begins failovers.
    pub decider: Decider,
    /// Judges what apps could do.
    pub readiness: Readiness,
    /// Counts refused calls.
    pub refused: RefusedCalls,
    /// What is measured.
    pub metrics: Metrics,
}

impl Api {
    /// Confirms with the quorum that this coordinator leads now.
    async fn lead(&self) -> Result<(), Status> {
        self.replica.consensus().confirm_leader().await.map(drop).map_err(|e| no_leader(&e))
    }

    /// The app of that name, as committed.
    fn app(&self, text: &str) -> Result<(AppName, App), Status> {
        let name = AppName::new(text).map_err(|e| refuse::bad(e.to_string()))?;
        self.replica
            .read(|s| s.app(&name).cloned().ok_or_else(|| refuse::unknown_app(&name, s.apps().keys())))
            .map(|app| (name, app))
            .map_err(Refusal::status)
    }

    /// The operation of that number, and its app.
    fn operation(&self, number: u64) -> Result<(OperationId, Operation, Option<App>), Status> {
        let id = OperationId(number);
        self.replica
            .read(|s| {
                let op =
                    s.operation(id).cloned().ok_or_else(|| refuse::unknown_operation(id, s.operations().keys()))?;
                let app = op.app.parse().ok().and_then(|name: AppName| s.app(&name).cloned());
                Ok((id, op, app))
            })
            .map_err(Refusal::status)
    }
}

/// The status of a change that did not happen, with commands that help.
fn not_committed(error: &ProposeError, next: Vec<String>) -> Status {
    match error {
        ProposeError::Refused(refused) => Refusal::new(refused.reason, refused.what.clone()).nexts(next).status(),
        ProposeError::Consensus(_) | ProposeError::NoRoom(_) | ProposeError::Unreadable(_) => error.status(),
    }
}

/// A region's name from the wire.
fn region_name(text: &str) -> Result<RegionName, Status> {
    RegionName::new(text).map_err(|e| refuse::bad(e.to_string()))
}
