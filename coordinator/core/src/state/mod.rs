//! The replicated state: an ordered map of typed keys to versioned records, changed only by [`State::apply`].
//!
//! `apply` is pure: the same log gives the same bytes on every voter. It returns the rows it touched; the shell writes
//! rows and applied index in one transaction, and a snapshot is all rows in order. A refused change touches nothing.

mod apps;
mod audit;
mod generations;
mod joining;
mod key;
mod maintenance;
mod operations;
mod people;
mod removal;
mod steps;

use std::collections::{BTreeMap, BTreeSet};

use holdfast_types::{
    AppName, Generation, HostName, Incarnation, LogIndex, OperationId, OperatorName, RegionName, Revision, Token,
    WallTime,
    lease::Timings,
    refusal::Reason,
    spec::{self, AppSpec},
};
use prost::Message as _;

pub use audit::AUDIT_KEPT;
pub use key::{Key, StateError};

use crate::{
    change::{Change, Kind, Outcome, Refused},
    maintenance::Scope,
    records,
};

/// How many ended operations are kept; older ones are pruned when a new one begins.
pub const OPERATIONS_KEPT: usize = 500;

/// One row written or removed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RowChange {
    /// Where.
    pub key: Vec<u8>,
    /// What; `None` = removed.
    pub value: Option<Vec<u8>>,
}

/// What applying one change did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Applied {
    /// In the order of their keys.
    pub rows: Vec<RowChange>,
    /// For who proposed it.
    pub outcome: Outcome,
}

/// An app as the core decides with it: its record, and its spec parsed once.
#[derive(Debug, Clone, PartialEq)]
pub struct App {
    /// As stored.
    pub record: records::App,
    /// Parsed from the record.
    pub spec: AppSpec,
    active: RegionName,
}

impl App {
    /// Takes the writes.
    #[must_use]
    pub fn active(&self) -> &RegionName {
        &self.active
    }

    /// Counts activations.
    #[must_use]
    pub fn generation(&self) -> Generation {
        Generation(self.record.generation)
    }

    /// Counts applied specs.
    #[must_use]
    pub fn revision(&self) -> Revision {
        Revision(self.record.revision)
    }

    /// Whether leases exist for this app at all: it has a failover section and more than one region.
    #[must_use]
    pub fn leased(&self) -> bool {
        self.spec.failover.is_some() && self.spec.regions.len() > 1
    }

    /// Whether nobody is granted a lease of its generation.
    #[must_use]
    pub fn held(&self) -> bool {
        self.record.held_by != 0
    }

    /// Regions that could take over now, in the spec's order of preference.
    pub fn promotable(&self) -> impl Iterator<Item = &RegionName> {
        self.spec.regions.iter().map(|r| &r.name).filter(|r| self.record.promotable.iter().any(|p| p == r.as_str()))
    }

    /// The mutating operation that runs.
    #[must_use]
    pub fn operation(&self) -> Option<OperationId> {
        (self.record.operation != 0).then_some(OperationId(self.record.operation))
    }

    /// Hosts of this region's writers of record, in order: those that hold leases when the region is active.
    #[must_use]
    pub fn holders(&self, region: &RegionName) -> BTreeSet<HostName> {
        hosts_of(&self.spec, region)
    }

    /// The longest of each timing that grants of this generation may rest on.
    #[must_use]
    pub fn timings(&self) -> Option<Timings> {
        let millis = std::time::Duration::from_millis;
        let t = self.record.timings.as_ref()?;
        Some(Timings {
            lease: millis(t.lease),
            renew: millis(t.renew),
            drift: millis(t.drift),
            fence_within: millis(t.fence_within),
        })
    }
}

/// The whole replicated state.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct State {
    cluster: records::Cluster,
    tokens: BTreeMap<String, records::JoinToken>,
    certificates: BTreeMap<u64, records::Certificate>,
    hosts: BTreeMap<HostName, records::Host>,
    apps: BTreeMap<AppName, App>,
    operations: BTreeMap<OperationId, records::Operation>,
    operators: BTreeMap<OperatorName, records::Operator>,
    audit: BTreeMap<u64, records::AuditEntry>,
    maintenance: BTreeMap<Scope, records::Maintenance>,
    removed: BTreeMap<AppName, records::RemovedApp>,
}

/// What a change is applied with: where it stands, when it was proposed, and the rows it has touched so far.
struct Context<'a> {
    index: LogIndex,
    at: WallTime,
    by: &'a str,
    touched: BTreeSet<Key>,
}

impl Context<'_> {
    fn touch(&mut self, key: Key) {
        self.touched.insert(key);
    }
}

fn hosts_of(spec: &AppSpec, region: &RegionName) -> BTreeSet<HostName> {
    spec.writers.keys().filter_map(|w| spec.writer_host(w, region)).map(|p| p.host.clone()).collect()
}

type Answer = Result<u64, Refused>;

fn refuse(reason: Reason, what: impl Into<String>) -> Refused {
    Refused { reason, what: what.into() }
}

impl State {
    /// The state that these rows hold.
    ///
    /// # Errors
    /// When a row is of a kind, or holds a value, that this release cannot read.
    pub fn from_rows(rows: impl IntoIterator<Item = (Vec<u8>, Vec<u8>)>) -> Result<Self, StateError> {
        let mut state = Self::default();
        for (key_bytes, value) in rows {
            let key = Key::decode(&key_bytes)?;
            let named = || String::from_utf8_lossy(&key_bytes).into_owned();
            let record = |source| StateError::Record { key: named(), source };
            match key {
                Key::Cluster => state.cluster = records::Cluster::decode(&*value).map_err(record)?,
                Key::JoinToken(id) => {
                    state.tokens.insert(id, records::JoinToken::decode(&*value).map_err(record)?);
                }
                Key::Certificate(serial) => {
                    state.certificates.insert(serial, records::Certificate::decode(&*value).map_err(record)?);
                }
                Key::Host(name) => {
                    state.hosts.insert(name, records::Host::decode(&*value).map_err(record)?);
                }
                Key::App(name) => {
                    let app = records::App::decode(&*value).map_err(record)?;
                    let active = RegionName::new(&*app.active_region)
                        .map_err(|source| StateError::Name { key: named(), source })?;
                    let spec = spec::parse(name.as_str(), &app.spec_yaml)
                        .map_err(|p| StateError::Spec { app: name.clone(), problems: p.to_string() })?;
                    if spec.app != name {
                        let problems = format!("it is of app {}", spec.app);
                        return Err(StateError::Spec { app: name, problems });
                    }
                    state.apps.insert(name, App { record: app, spec, active });
                }
                Key::Operation(number) => {
                    state.operations.insert(number, records::Operation::decode(&*value).map_err(record)?);
                }
                Key::Operator(name) => {
                    state.operators.insert(name, records::Operator::decode(&*value).map_err(record)?);
                }
                Key::Audit(number) => {
                    state.audit.insert(number, records::AuditEntry::decode(&*value).map_err(record)?);
                }
                Key::RemovedApp(name) => {
                    state.removed.insert(name, records::RemovedApp::decode(&*value).map_err(record)?);
                }
                Key::Maintenance(scope) => {
                    state.maintenance.insert(scope, records::Maintenance::decode(&*value).map_err(record)?);
                }
            }
        }
        Ok(state)
    }

    /// All rows, in the order of their keys' bytes.
    #[must_use]
    pub fn rows(&self) -> Vec<(Vec<u8>, Vec<u8>)> {
        let mut keys: Vec<Key> = Vec::new();
        if !self.cluster.id.is_empty() {
            keys.push(Key::Cluster);
        }
        keys.extend(self.tokens.keys().cloned().map(Key::JoinToken));
        keys.extend(self.certificates.keys().copied().map(Key::Certificate));
        keys.extend(self.hosts.keys().cloned().map(Key::Host));
        keys.extend(self.apps.keys().cloned().map(Key::App));
        keys.extend(self.operations.keys().copied().map(Key::Operation));
        keys.extend(self.operators.keys().cloned().map(Key::Operator));
        keys.extend(self.audit.keys().copied().map(Key::Audit));
        keys.extend(self.maintenance.keys().cloned().map(Key::Maintenance));
        keys.extend(self.removed.keys().cloned().map(Key::RemovedApp));
        let mut rows: Vec<_> = keys.iter().filter_map(|k| self.row(k).map(|value| (k.encode(), value))).collect();
        rows.sort();
        rows
    }

    fn row(&self, key: &Key) -> Option<Vec<u8>> {
        match key {
            Key::Cluster => Some(self.cluster.encode_to_vec()),
            Key::JoinToken(id) => self.tokens.get(id).map(prost::Message::encode_to_vec),
            Key::Certificate(serial) => self.certificates.get(serial).map(prost::Message::encode_to_vec),
            Key::Host(name) => self.hosts.get(name).map(prost::Message::encode_to_vec),
            Key::App(name) => self.apps.get(name).map(|a| a.record.encode_to_vec()),
            Key::Operation(number) => self.operations.get(number).map(prost::Message::encode_to_vec),
            Key::Operator(name) => self.operators.get(name).map(prost::Message::encode_to_vec),
            Key::Audit(number) => self.audit.get(number).map(prost::Message::encode_to_vec),
            Key::RemovedApp(name) => self.removed.get(name).map(prost::Message::encode_to_vec),
            Key::Maintenance(scope) => self.maintenance.get(scope).map(prost::Message::encode_to_vec),
        }
    }

    /// Applies the bytes of a committed change.
    ///
    /// # Errors
    /// When they are of a kind that this release does not know: the coordinator must stop.
    pub fn apply_bytes(&mut self, index: LogIndex, bytes: &[u8]) -> Result<Applied, StateError> {
        let change = Change::decode(bytes).map_err(|source| StateError::Change { index, source })?;
        self.apply(index, &change)
    }

    /// Applies a committed change.
    ///
    /// # Errors
    /// When it is of a kind that this release does not know.
    pub fn apply(&mut self, index: LogIndex, change: &Change) -> Result<Applied, StateError> {
        let kind = change.kind.as_ref().filter(|kind| kind.is_known()).ok_or(StateError::UnknownChange { index })?;
        let mut context = Context { index, at: WallTime(change.at), by: &change.by, touched: BTreeSet::new() };
        let answer = self.dispatch(&mut context, kind);
        // Every arm checks before it changes; a refusal that touched a row would be a bug that replay repeats.
        if answer.is_err() {
            context.touched.clear();
        }
        if let Some(call) = change.call.as_ref().filter(|_| !self.cluster.id.is_empty()) {
            self.note_call(&mut context, call, kind, &answer);
        }
        let mut rows: Vec<_> =
            context.touched.iter().map(|key| RowChange { key: key.encode(), value: self.row(key) }).collect();
        rows.sort_by(|a, b| a.key.cmp(&b.key));
        Ok(Applied { rows, outcome: answer.map_or_else(Outcome::Refused, Outcome::Done) })
    }

    fn dispatch(&mut self, cx: &mut Context<'_>, kind: &Kind) -> Answer {
        if self.cluster.id.is_empty() && !matches!(kind, Kind::Init(_)) {
            return Err(refuse(Reason::BadRequest, "there is no cluster yet; its first entry makes it"));
        }
        match kind {
            Kind::Init(c) => self.init(cx, c),
            Kind::CreateToken(c) => self.create_token(cx, c),
            Kind::RevokeToken(c) => self.revoke_token(cx, c),
            Kind::Enrol(c) => self.enrol(cx, c),
            Kind::Issue(c) => self.issue(cx, c),
            Kind::Revoke(c) => self.revoke(cx, c),
            Kind::Quarantine(c) => self.quarantine(cx, c),
            Kind::NoteStarts(c) => self.note_starts(cx, c),
            Kind::ApplySpec(c) => self.apply_spec(cx, c),
            Kind::SetPromotable(c) => self.set_promotable(cx, c),
            Kind::Reactivate(c) => self.reactivate(cx, c),
            Kind::SetRouted(c) => self.set_routed(cx, c),
            Kind::StartOperation(c) => self.start_operation(cx, c),
            Kind::StepBegins(c) => self.step_begins(cx, c),
            Kind::CommandEnded(c) => self.command_ended(cx, c),
            Kind::StepEnded(c) => self.step_ended(cx, c),
            Kind::ExtendPlan(c) => self.extend_plan(cx, c),
            Kind::EndOperation(c) => self.end_operation(cx, c),
            Kind::AbortOperation(c) => self.abort_operation(cx, c),
            Kind::Hold(c) => self.hold(cx, c),
            Kind::HoldOver(c) => self.hold_is_over(cx, c),
            Kind::NextGeneration(c) => self.next_generation(cx, c),
            Kind::EndHold(c) => self.end_hold(cx, c),
            Kind::AddOperator(c) => self.add_operator(cx, c),
            Kind::RedeemInvite(c) => self.redeem_invite(cx, c),
            Kind::RevokeOperator(c) => self.revoke_operator(cx, c),
            Kind::CallRefused(_) => Ok(0),
            Kind::BeginMaintenance(c) => self.begin_maintenance(cx, c),
            Kind::EndMaintenance(c) => self.end_maintenance(cx, c),
            Kind::RemoveHost(c) => self.remove_host(cx, c),
            Kind::RemoveApp(c) => self.remove_app(cx, c),
        }
    }

    /// The cluster's own record.
    #[must_use]
    pub fn cluster(&self) -> &records::Cluster {
        &self.cluster
    }

    /// The token that the entry at `index` gives to what it orders.
    #[must_use]
    pub fn token(&self, index: LogIndex) -> Token {
        Token { incarnation: Incarnation(self.cluster.incarnation), index }
    }

    /// Join tokens by their public part.
    #[must_use]
    pub fn tokens(&self) -> &BTreeMap<String, records::JoinToken> {
        &self.tokens
    }

    /// Certificates by serial.
    #[must_use]
    pub fn certificates(&self) -> &BTreeMap<u64, records::Certificate> {
        &self.certificates
    }

    /// Enrolled hosts.
    #[must_use]
    pub fn hosts(&self) -> &BTreeMap<HostName, records::Host> {
        &self.hosts
    }

    /// Apps.
    #[must_use]
    pub fn apps(&self) -> &BTreeMap<AppName, App> {
        &self.apps
    }

    /// One app.
    #[must_use]
    pub fn app(&self, name: &AppName) -> Option<&App> {
        self.apps.get(name)
    }

    /// Operations by number.
    #[must_use]
    pub fn operations(&self) -> &BTreeMap<OperationId, records::Operation> {
        &self.operations
    }

    /// People by name.
    #[must_use]
    pub fn operators(&self) -> &BTreeMap<OperatorName, records::Operator> {
        &self.operators
    }

    /// One operation.
    #[must_use]
    pub fn operation(&self, number: OperationId) -> Option<&records::Operation> {
        self.operations.get(&number)
    }
}
