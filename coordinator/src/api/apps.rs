//! `apps`, `plan`, `apply`. Plan and apply examine a spec in the same way; apply then proposes it.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use holdfast_coordinator_core::{
    change::{ApplySpec, Kind},
    state::{App, State},
};
use holdfast_proto::v1;
use holdfast_types::{
    RegionName, Right,
    refusal::Reason,
    spec::{self, AppSpec, Problems},
};
use tokio::time::timeout;
use tonic::{Request, Response, Status};

use super::{
    Api,
    call::{About, Call},
    diff,
    look::{self, Answer, Answers},
    not_committed,
    picture::{Picture, silence},
    refuse::{Refusal, listed},
    weak,
};
use crate::{authorise, fleet::Fleet};

/// How long hosts get to look at their databases: a login takes milliseconds, a busy host a second or two.
const LOOK_WITHIN: Duration = Duration::from_secs(3);

/// A spec that was read, compared and looked at.
struct Examined {
    spec: AppSpec,
    /// As committed; `None`: the app is new.
    old: Option<App>,
    /// What the hosts said.
    answers: Answers,
    /// The region that is active, or would become so.
    active: Option<RegionName>,
    /// Why it may not be applied.
    refusal: Option<Refusal>,
}

impl Examined {
    fn revision(&self) -> u64 {
        self.old.as_ref().map_or(0, |old| old.record.revision)
    }

    fn notes(&self) -> Vec<String> {
        let mut notes = weak::notes(&self.spec);
        notes.extend(look::notes(&self.spec, &self.answers));
        notes
    }
}

/// Nobody waits for the answers of a look any more, however the call ended.
struct Asked<'a> {
    fleet: &'a Fleet,
    number: u64,
}

impl Drop for Asked<'_> {
    fn drop(&mut self) {
        self.fleet.end_look(self.number);
    }
}

/// The text means the same as what is committed.
fn unchanged(old: Option<&App>, new: &AppSpec) -> bool {
    old.is_some_and(|old| old.spec == *new)
}

/// The lines that change. None where the meaning stays, however the text is written.
fn changes(old: Option<&App>, new: &AppSpec, text: &str) -> Vec<String> {
    if unchanged(old, new) { Vec::new() } else { diff::diff(old.map_or("", |old| &old.record.spec_yaml), text) }
}

/// Hosts that the spec names and that are not enrolled.
fn strangers(state: &State, spec: &AppSpec) -> Option<Refusal> {
    let mut regions: BTreeMap<RegionName, Vec<String>> = BTreeMap::new();
    for (host, region) in spec.hosts() {
        if !state.hosts().contains_key(&host) {
            regions.entry(region).or_default().push(host.to_string());
        }
    }
    let hosts: Vec<&String> = regions.values().flatten().collect();
    let what = match hosts.as_slice() {
        [] => return None,
        [host] => format!("{} names {host}, which is not enrolled", spec.app),
        hosts => format!("{} names {} hosts that are not enrolled: {}", spec.app, hosts.len(), listed(hosts)),
    };
    let mut refusal = Refusal::new(Reason::UnknownHost, what);
    for (region, hosts) in &regions {
        let uses = if hosts.len() > 1 { format!(" --uses {}", hosts.len()) } else { String::new() };
        refusal = refusal.line("where", format!("{region}: {}", hosts.join(", ")));
        refusal = refusal.next(format!("holdfast token create --region {region}{uses}"));
    }
    Some(refusal)
}

/// Why the spec may not be applied, and the region that is active or becomes so. Of an app that exists, hosts that are
/// away must not keep its spec from being changed.
fn judge(state: &State, spec: &AppSpec, answers: &Answers) -> (Option<RegionName>, Option<Refusal>) {
    let committed = state.app(&spec.app).map(|old| old.active().clone());
    let found = match committed {
        Some(active) => Ok(active),
        None => look::conclude(spec, answers),
    };
    // Whatever the look says, a writer that belongs to another app or a host of another region is told first: more looks
    // would not help.
    let stand_in = found.as_ref().ok().or_else(|| spec.regions.first().map(|r| &r.name));
    let refusal = strangers(state, spec)
        .or_else(|| state.may_apply(spec, stand_in).err().map(|refused| with_next(refused.into(), spec)))
        .or_else(|| look::not_allowed(spec, answers))
        .or_else(|| found.as_ref().err().cloned());
    (found.ok(), refusal)
}

fn with_next(refusal: Refusal, spec: &AppSpec) -> Refusal {
    let next = match refusal.reason {
        Reason::WriterTaken | Reason::OperationRunning => "holdfast apps".to_owned(),
        Reason::NoLeader
        | Reason::NotPermitted
        | Reason::BadRequest
        | Reason::UnknownApp
        | Reason::UnknownRegion
        | Reason::UnknownHost
        | Reason::UnknownOperation
        | Reason::BadSpec
        | Reason::StaleRevision
        | Reason::NoSingleWriter
        | Reason::AlreadyActive
        | Reason::NoFailover
        | Reason::NotPromotable
        | Reason::LifeSeen
        | Reason::PastNoReturn
        | Reason::OperationEnded
        | Reason::GenerationMoved
        | Reason::BadToken
        | Reason::NameTaken
        | Reason::Revoked
        | Reason::Quarantined
        | Reason::UnsafeChange
        | Reason::HostAbsent
        | Reason::UnknownOperator
        | Reason::LastAdmin
        | Reason::NotAllowedThere
        | Reason::InMaintenance
        | Reason::NoMaintenance
        | Reason::HostInUse
        | Reason::HostLive
        | Reason::NoRoom
        | Reason::UnknownSubject => format!("holdfast why {}", spec.app),
    };
    refusal.next(next)
}

/// What stands in front of each problem.
fn file_name(file: &str) -> &str {
    if file.is_empty() { "spec" } else { file }
}

fn bad_spec(file: &str, problems: &Problems) -> Status {
    let lines = problems.lines();
    let count = if lines.len() == 1 { "1 problem".to_owned() } else { format!("{} problems", lines.len()) };
    Refusal::new(Reason::BadSpec, format!("{} has {count}", file_name(file)))
        .lines("", lines)
        .next(format!("holdfast plan -f {}", file_name(file)))
        .status()
}

/// An apply that named a revision which is not the app's.
fn stale(spec: &AppSpec, current: u64, asked: u64, file: &str) -> Option<Refusal> {
    let what = match (current, asked) {
        (current, asked) if current == asked => return None,
        (0, asked) => format!("app {} does not exist, so it is not at revision {asked}", spec.app),
        (current, 0) => format!("app {} exists already, at revision {current}", spec.app),
        (current, asked) => format!("app {} is at revision {current}, not {asked}", spec.app),
    };
    Some(Refusal::new(Reason::StaleRevision, what).next(format!("holdfast plan -f {}", file_name(file))))
}

impl Api {
    async fn examine(&self, spec: AppSpec, text: &str) -> Examined {
        let answers = self.ask_hosts(&spec, text).await;
        self.replica.read(|state| {
            let (active, refusal) = judge(state, &spec, &answers);
            Examined { old: state.app(&spec.app).cloned(), answers, active, refusal, spec }
        })
    }

    /// Asks every host of the spec that has a session what runs there.
    async fn ask_hosts(&self, spec: &AppSpec, text: &str) -> Answers {
        let (hosts, now) = (self.enrolled(), self.clock.wall());
        let reachable = self.fleet.reachable();
        let mut answers = Answers::new();
        let mut asked = BTreeSet::new();
        for host in spec.hosts().into_keys() {
            if reachable.contains(&host) {
                asked.insert(host);
                continue;
            }
            let why = match hosts.get(&host) {
                Some(known) if !known.quarantine.is_empty() => format!("is quarantined: {}", known.quarantine),
                Some(_) | None => {
                    silence(&host, &hosts, now).map_or("has no session".to_owned(), |s| format!("has no session: {s}"))
                }
            };
            answers.insert(host, Answer::Unseen(why));
        }
        let (number, mut replies) = self.fleet.begin_look(&asked, &spec.app, text);
        let guard = Asked { fleet: &self.fleet, number };
        let all = async {
            let mut missing = asked.clone();
            while !missing.is_empty() {
                let Some((host, reply)) = replies.recv().await else { return };
                if missing.remove(&host) {
                    answers.insert(host, Answer::Looked(reply));
                }
            }
        };
        // What has come in counts, also when the rest is late.
        drop(timeout(LOOK_WITHIN, all).await);
        drop(guard);
        for host in asked {
            let late = || Answer::Unseen(format!("did not answer within {}", holdfast_types::time::span(LOOK_WITHIN)));
            answers.entry(host).or_insert_with(late);
        }
        answers
    }
}

#[tonic::async_trait]
impl v1::apps_server::Apps for Api {
    async fn list(&self, request: Request<v1::ListAppsRequest>) -> Result<Response<v1::ListAppsReply>, Status> {
        authorise::operator(&request, &self.replica, Right::Read)?;
        self.lead().await?;
        let apps = self.look(true).pictures.iter().map(Picture::row).collect();
        Ok(Response::new(v1::ListAppsReply { apps }))
    }

    async fn plan(&self, request: Request<v1::PlanRequest>) -> Result<Response<v1::PlanReply>, Status> {
        authorise::operator(&request, &self.replica, Right::Declare)?;
        self.lead().await?;
        let v1::PlanRequest { file, spec_yaml } = request.into_inner();
        let spec = match spec::parse(file_name(&file), &spec_yaml) {
            Ok(spec) => spec,
            Err(problems) => {
                return Ok(Response::new(v1::PlanReply { problems: problems.lines(), ..v1::PlanReply::default() }));
            }
        };
        let examined = self.examine(spec, &spec_yaml).await;
        Ok(Response::new(v1::PlanReply {
            app: examined.spec.app.to_string(),
            revision: examined.revision(),
            problems: Vec::new(),
            diff: changes(examined.old.as_ref(), &examined.spec, &spec_yaml),
            arithmetic: examined.spec.arithmetic().iter().map(ToString::to_string).collect(),
            found: look::found(&examined.spec, &examined.answers),
            notes: examined.notes(),
            active_region: examined.active.as_ref().map(ToString::to_string).unwrap_or_default(),
            refusal: examined.refusal.map(Refusal::wire),
        }))
    }

    async fn apply(&self, request: Request<v1::ApplyRequest>) -> Result<Response<v1::ApplyReply>, Status> {
        let subject = subject(&request.get_ref().spec_yaml);
        let about = About { call: "apply", subject: &subject, why: "" };
        let call = self.begin(&request, Right::Declare, about).await?;
        let done = self.apply_spec(&call, request.into_inner()).await;
        self.end(call, done).await
    }

    async fn remove(&self, request: Request<v1::RemoveAppRequest>) -> Result<Response<v1::RemoveAppReply>, Status> {
        let message = request.get_ref();
        if message.dry_run {
            authorise::operator(&request, &self.replica, Right::Declare)?;
            return self.remove_app(None, request.into_inner()).await.map(Response::new);
        }
        let about = About { call: "apps remove", subject: &message.app, why: &message.reason };
        let call = self.begin(&request, Right::Declare, about).await?;
        let done = self.remove_app(Some(&call), request.into_inner()).await;
        self.end(call, done).await
    }
}

/// The app that a text says it is of, whatever else is wrong with it.
fn subject(spec_yaml: &str) -> String {
    let name = spec_yaml.lines().find_map(|line| line.strip_prefix("app:"));
    name.map(|name| name.trim().chars().take(63).collect()).unwrap_or_default()
}

impl Api {
    async fn apply_spec(&self, call: &Call, request: v1::ApplyRequest) -> Result<v1::ApplyReply, Status> {
        self.lead().await?;
        let v1::ApplyRequest { file, spec_yaml, if_revision } = request;
        let spec = spec::parse(file_name(&file), &spec_yaml).map_err(|problems| bad_spec(&file, &problems))?;
        let old = self.replica.read(|s| s.app(&spec.app).cloned());
        let current = old.as_ref().map_or(0, |old| old.record.revision);
        if let Some(stale) = if_revision.and_then(|asked| stale(&spec, current, asked, &file)) {
            return Err(stale.status());
        }
        if let Some(old) = old.filter(|old| unchanged(Some(old), &spec)) {
            return Ok(v1::ApplyReply {
                revision: old.record.revision,
                changed: false,
                active_region: old.active().to_string(),
                generation: old.record.generation,
                notes: weak::notes(&spec),
            });
        }
        let examined = self.examine(spec, &spec_yaml).await;
        if let Some(refusal) = &examined.refusal {
            return Err(refusal.clone().status());
        }
        let is_new = examined.old.is_none();
        let change = ApplySpec {
            spec_yaml,
            // Of before the look: what was applied meanwhile was not looked at.
            on_revision: current,
            active_region: examined.active.as_ref().filter(|_| is_new).map(ToString::to_string).unwrap_or_default(),
        };
        let next = vec![format!("holdfast plan -f {}", file_name(&file))];
        let committed =
            self.replica.propose(call.author(), Kind::ApplySpec(change)).await.map_err(|e| not_committed(&e, next))?;
        let (name, notes) = (&examined.spec.app, examined.notes());
        tracing::info!(app = %name, revision = committed.number, by = %call.caller.name, "spec applied");
        let (active_region, generation) = self.replica.read(|s| {
            s.app(name).map_or_else(Default::default, |app| (app.active().to_string(), app.record.generation))
        });
        Ok(v1::ApplyReply { revision: committed.number, changed: true, active_region, generation, notes })
    }
}

#[cfg(test)]
mod tests {
    use holdfast_coordinator_core::change::{Change, Init};
    use holdfast_types::LogIndex;

    use super::*;
    use crate::api::samples;

    fn parsed(text: &str) -> AppSpec {
        spec::parse("test", text).unwrap_or_else(|problems| panic!("{problems}"))
    }

    #[test]
    fn only_what_means_something_else_is_a_change() {
        let old = samples::app(samples::FAST, "us-east");
        let commented = format!("# reviewed\n{}", samples::FAST.replace("mode: automatic", "mode:   automatic  # yes"));
        assert!(changes(Some(&old), &parsed(&commented), &commented).is_empty());
        let assist = samples::FAST.replace("mode: automatic", "mode: assist");
        assert_eq!(
            changes(Some(&old), &parsed(&assist), &assist),
            ["- failover.mode: automatic", "+ failover.mode: assist"]
        );
        let new = changes(None, &parsed(samples::FAST), samples::FAST);
        assert!(new.iter().all(|line| line.starts_with("+ ")) && new.contains(&"+ app: shop".to_owned()), "{new:?}");
    }

    #[test]
    fn hosts_that_are_not_enrolled_are_named_with_their_tokens() {
        let refusal = strangers(&State::default(), &parsed(samples::FAST)).expect("nobody is enrolled");
        assert_eq!(refusal.reason, Reason::UnknownHost);
        assert_eq!(refusal.what, "shop names 4 hosts that are not enrolled: use-db1, use-web1, usw-db1, usw-web1");
        assert_eq!(refusal.lines[0].text, "us-east: use-db1, use-web1");
        assert_eq!(
            refusal.next,
            ["holdfast token create --region us-east --uses 2", "holdfast token create --region us-west --uses 2"]
        );
    }

    #[test]
    fn a_stale_revision_is_refused_by_its_number() {
        let spec = parsed(samples::FAST);
        for (current, asked, what) in [
            (4, 4, None),
            (0, 0, None),
            (4, 3, Some("app shop is at revision 4, not 3")),
            (4, 0, Some("app shop exists already, at revision 4")),
            (0, 3, Some("app shop does not exist, so it is not at revision 3")),
        ] {
            assert_eq!(stale(&spec, current, asked, "shop.yaml").map(|r| r.what).as_deref(), what);
        }
    }

    #[test]
    fn what_stands_in_the_way_is_told_in_the_order_that_it_is_mended() {
        let mut state = State::default();
        let init = Init { cluster: "0198c9a2-6f3e-4c1d-9b7a-2f4e8d1c5a60".to_owned(), name: "acme".to_owned() };
        state.apply(LogIndex(1), &Change::new(samples::NOW, "test", Kind::Init(init))).expect("a known kind");
        let spec = parsed(samples::FAST);
        let (active, refusal) = judge(&state, &spec, &Answers::new());
        assert_eq!((active, refusal.map(|r| r.reason)), (None, Some(Reason::UnknownHost)), "hosts first");
        // An app that exists is not held up by hosts that are away.
        let apply =
            ApplySpec { spec_yaml: samples::FAST.to_owned(), on_revision: 0, active_region: "us-east".to_owned() };
        state.apply(LogIndex(2), &Change::new(samples::NOW, "test", Kind::ApplySpec(apply))).expect("a known kind");
        let (active, _) = judge(&state, &spec, &Answers::new());
        assert_eq!(active.map(|r| r.to_string()).as_deref(), Some("us-east"));
        // Another app that declares the same database is told so before any look.
        let thief = parsed(&samples::FAST.replace("app: shop", "app: thief"));
        let taken = state.may_apply(&thief, thief.regions.first().map(|r| &r.name)).expect_err("its database is taken");
        assert_eq!(taken.reason, Reason::WriterTaken);
    }
}
