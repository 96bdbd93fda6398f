//! What `/metrics` says of hosts, apps and operations: the picture that operators see, as numbers.

use std::collections::BTreeMap;

use holdfast_coordinator_core::records::OperationState;
use holdfast_proto::v1;
use holdfast_types::{HostName, RegionName};

use super::{Api, fleet::Look, picture::Picture};

/// A host.
#[derive(Debug, Clone)]
pub struct HostFact {
    /// Its name.
    pub host: HostName,
    /// Its region.
    pub region: String,
    /// It has a session.
    pub live: bool,
    /// It gets no lease and no command.
    pub quarantined: bool,
    /// When its certificate ends, in seconds since the Unix epoch.
    pub certificate_until: Option<f64>,
}

/// An app in a region.
#[derive(Debug, Clone)]
pub struct RegionFact {
    /// The region.
    pub region: RegionName,
    /// It takes the app's writes.
    pub active: bool,
    /// The latest verdict.
    pub verdict: String,
    /// So many were failing in a row that the gate is asked.
    pub unhealthy: bool,
}

/// An app.
#[derive(Debug, Clone)]
pub struct AppFact {
    /// Its name.
    pub app: String,
    /// Its generation.
    pub generation: u64,
    /// Nobody is granted a lease.
    pub held: bool,
    /// automatic | assist | observe | none
    pub mode: String,
    /// A standby could take over; nothing where none ever could, or where nobody here can say.
    pub can_fail_over: Option<bool>,
    /// The gate was asked and refused.
    pub gate_closed: bool,
    /// How far the best standby is behind.
    pub behind_bytes: Option<u64>,
    /// Its regions.
    pub regions: Vec<RegionFact>,
    /// What each host believes of its lease, and what is left of it in seconds.
    pub leases: Vec<(String, &'static str, Option<f64>)>,
}

/// All of it.
#[derive(Debug, Clone, Default)]
pub struct Facts {
    /// Every enrolled host.
    pub hosts: Vec<HostFact>,
    /// Every app.
    pub apps: Vec<AppFact>,
    /// Operations by app, kind and state.
    pub operations: BTreeMap<(String, String, &'static str), u32>,
}

/// The one kind of operation that is there.
const FAILOVER: &str = "failover";
/// How an operation may stand.
const OPERATION_STATES: [OperationState; 6] = [
    OperationState::Running,
    OperationState::Unwinding,
    OperationState::Done,
    OperationState::Unwound,
    OperationState::Failed,
    OperationState::Partly,
];

impl Api {
    /// Everything as it is now, as far as this coordinator knows. Only a leader judges.
    #[must_use]
    pub fn facts(&self) -> Facts {
        let leads = self.replica.leads();
        let Look { pictures, hosts, .. } = self.look(leads);
        let (until, operations) = self.replica.read(|s| {
            let until = |serial| s.certificates().get(serial).map(|certificate| certificate.until);
            let until: BTreeMap<HostName, i64> =
                s.hosts().iter().filter_map(|(name, record)| Some((name.clone(), until(&record.serial)?))).collect();
            // What there are none of is told as none: a series that begins with the first one hides it.
            let none = s.apps().keys().flat_map(|app| {
                OPERATION_STATES.map(|state| ((app.to_string(), FAILOVER.to_owned(), state.word()), 0))
            });
            let mut operations: BTreeMap<(String, String, &'static str), u32> = none.collect();
            for op in s.operations().values() {
                *operations.entry((op.app.clone(), op.kind.clone(), op.at().word())).or_default() += 1;
            }
            (until, operations)
        });
        let host = |(host, picture): (HostName, super::picture::HostPicture)| HostFact {
            live: picture.live(),
            quarantined: !picture.quarantine.is_empty(),
            // Whole seconds are what a certificate has.
            certificate_until: until.get(&host).and_then(|millis| u32::try_from(millis / 1_000).ok()).map(f64::from),
            region: picture.region,
            host,
        };
        Facts {
            hosts: hosts.into_iter().map(host).collect(),
            apps: pictures.iter().map(|picture| app(picture, leads)).collect(),
            operations,
        }
    }
}

fn app(picture: &Picture, leads: bool) -> AppFact {
    let row = picture.row();
    let region = |region: &super::picture::RegionPicture| RegionFact {
        active: region.name == *picture.app.active(),
        region: region.name.clone(),
        verdict: region.kind.to_string(),
        unhealthy: region.counter.unhealthy,
    };
    let lease = |(host, lease): (&HostName, &super::picture::LeasePicture)| {
        (host.to_string(), lease_word(lease.state), lease.left.map(|left| left.as_secs_f64()))
    };
    let promotable = picture.app.promotable().next().is_some();
    AppFact {
        generation: row.generation,
        held: row.held,
        can_fail_over: (leads && row.mode != "none").then_some(promotable && row.standby_state == "streaming"),
        gate_closed: picture.gate.is_some(),
        behind_bytes: row.behind_bytes,
        regions: picture.regions.iter().map(region).collect(),
        leases: picture.leases.iter().map(lease).collect(),
        mode: row.mode,
        app: row.app,
    }
}

const fn lease_word(state: v1::LeaseState) -> &'static str {
    match state {
        v1::LeaseState::Unspecified => "unknown",
        v1::LeaseState::None => "none",
        v1::LeaseState::Ended => "ends",
        v1::LeaseState::Sole => "sole",
        v1::LeaseState::Fencing => "fencing",
        v1::LeaseState::Fenced => "fenced",
        v1::LeaseState::Released => "released",
    }
}
