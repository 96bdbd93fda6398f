//! `status`, `hosts`, `regions`, `why`: gathers what is committed, heard and judged, once per call.

use std::{collections::BTreeMap, time::Duration};

use holdfast_coordinator_core::{
    counter::{Counter, Pacing},
    gate,
    readiness::{Add, Finding, Report, State},
    records,
    rounds::RegionRounds,
    state::App,
    verdict::{self, Kind, SILENCE_SLACK},
};
use holdfast_proto::v1;
use holdfast_types::{AppName, BootInstant, HostName, OperationId, RegionName, Right, WallTime, spec::FencedBy};
use tonic::{Request, Response, Status};

use super::{
    Api,
    attention::attention,
    maintenance,
    picture::{HostPicture, Hosts, LeasePicture, Picture, RegionPicture, region_rows},
    weak, why, wire,
};
use crate::{authorise, consensus::ConsensusError, fleet::Presence, metrics};

/// Everything as it is at one moment.
pub(super) struct Look {
    pub(super) pictures: Vec<Picture>,
    pub(super) hosts: Hosts,
    pub(super) boot: BootInstant,
    pub(super) wall: WallTime,
}

impl Api {
    /// Gathers. `judged`: this coordinator leads, so that its verdicts count; otherwise nobody's do.
    pub(super) fn look(&self, judged: bool) -> Look {
        let (boot, wall) = (self.clock.boot(), self.clock.wall());
        let apps: Vec<_> = self.replica.read(|s| {
            let last = |app: &App| {
                let number = OperationId(app.record.last_operation);
                s.operation(number).map(|op| (number, op.clone()))
            };
            let maintenance = |app: &App| s.maintenance_of(app).map(|(scope, m)| (scope.clone(), m.clone()));
            s.apps().iter().map(|(name, app)| (name.clone(), app.clone(), last(app), maintenance(app))).collect()
        });
        let live = self.watch.hosts();
        let pictures = apps
            .into_iter()
            .map(|(name, app, last, maintenance)| Picture {
                maintenance,
                readiness: judged.then(|| self.readiness.last(&name)).flatten(),
                regions: self.regions_of(&name, &app, judged, &live, boot),
                leases: self.leases_of(&name, &app, boot),
                gate: judged.then(|| self.watch.gate(&name)).flatten(),
                last,
                name,
                app,
            })
            .collect();
        Look { pictures, hosts: self.enrolled(), boot, wall }
    }

    /// Every enrolled host, and what each app runs there.
    pub(super) fn enrolled(&self) -> Hosts {
        self.replica.read(|s| {
            let mut roles: BTreeMap<HostName, Vec<String>> = BTreeMap::new();
            for (name, app) in s.apps() {
                for host in app.spec.hosts().into_keys() {
                    let here: Vec<String> = app.spec.roles_of(&host).iter().map(ToString::to_string).collect();
                    roles.entry(host).or_default().push(format!("{name} {}", here.join(", ")));
                }
            }
            let picture = |(name, record): (&HostName, &records::Host)| {
                let picture = HostPicture {
                    region: record.region.clone(),
                    presence: self.fleet.presence(name),
                    quarantine: record.quarantine.clone(),
                    problems: self.fleet.facts(name).problems,
                    roles: roles.remove(name).unwrap_or_default(),
                };
                (name.clone(), picture)
            };
            s.hosts().iter().map(picture).collect()
        })
    }

    fn regions_of(
        &self,
        name: &AppName,
        app: &App,
        judged: bool,
        live: &verdict::Fleet,
        now: BootInstant,
    ) -> Vec<RegionPicture> {
        let pacing = Pacing::of(&app.spec);
        let promotable = app.promotable().cloned().collect();
        let seen = self.watch.read(name, |rounds| {
            // For a moment after a change the rounds still watch what was active before.
            let of_now = judged && rounds.subject().active == *app.active();
            let regions = if of_now { rounds.regions().clone() } else { BTreeMap::new() };
            let standbys = if of_now { gate::standbys(rounds, &promotable, live, now) } else { Vec::new() };
            (regions, standbys)
        });
        let (mut rounds, standbys) = seen.unwrap_or_default();
        app.spec
            .regions
            .iter()
            .map(|region| {
                let seen = rounds.remove(&region.name);
                let reasons = seen.as_ref().and_then(|r| r.last.as_ref()).map(|(_, verdict)| &verdict.reasons);
                RegionPicture {
                    name: region.name.clone(),
                    kind: seen.as_ref().map_or(Kind::Unknown, RegionRounds::kind),
                    counter: seen.as_ref().map_or(Counter::default(), |r| r.counter),
                    failures: pacing.failures,
                    successes: pacing.successes,
                    fresh_for: pacing.interval + SILENCE_SLACK,
                    reasons: reasons.into_iter().flatten().map(|finding| finding.text.clone()).collect(),
                    databases: standbys
                        .iter()
                        .find(|standby| standby.region == region.name)
                        .map(|standby| standby.databases.clone())
                        .unwrap_or_default(),
                }
            })
            .collect()
    }

    fn leases_of(&self, name: &AppName, app: &App, now: BootInstant) -> BTreeMap<HostName, LeasePicture> {
        let hosts = app.spec.hosts().into_keys();
        hosts
            .filter_map(|host| {
                let seen = self.fleet.lease(name, &host)?;
                let left = wire::from_span(seen.view.left.as_ref());
                let picture = LeasePicture {
                    state: seen.view.state(),
                    left: left.map(|left| left.saturating_sub(now.since(seen.at))),
                    generation: seen.view.generation,
                };
                Some((host, picture))
            })
            .collect()
    }

    /// The verdicts behind a `why`, each with its age.
    fn verdicts(&self, name: &AppName, now: BootInstant) -> BTreeMap<RegionName, (Duration, verdict::Verdict)> {
        let verdicts = self.watch.read(name, |rounds| {
            let last = |r: &RegionRounds| r.last.as_ref().map(|(at, verdict)| (now.since(*at), verdict.clone()));
            rounds.regions().iter().filter_map(|(region, r)| Some((region.clone(), last(r)?))).collect()
        });
        verdicts.unwrap_or_default()
    }
}

/// Things that weaken a promise right now, whatever else is well.
fn notes(pictures: &[Picture]) -> Vec<String> {
    let mut notes = Vec::new();
    for app in pictures.iter().map(|p| &p.app).filter(|app| app.leased()) {
        match app.spec.fencing.by {
            // What nobody could take over has a lease without end, and goes on.
            FencedBy::Agent if app.lease_is_sole(false) => {}
            FencedBy::Agent => notes.push(weak::isolated(&app.spec)),
            FencedBy::None => {
                notes.push(format!("{}: fencing is none, two regions may accept writes at once", app.spec.app));
            }
        }
    }
    notes
}

/// What a coordinator with too little room says of itself.
fn without_room(short: &holdfast_shared::room::Short) -> v1::Attention {
    v1::Attention {
        what: "the coordinator's disk is nearly full: new work is refused".to_owned(),
        lines: vec![holdfast_shared::refusal::line("why", short.to_string())],
        next: vec![short.next()],
        app: String::new(),
    }
}

/// What a coordinator that could not confirm that it leads says of itself.
fn without_quorum(error: &ConsensusError) -> v1::Attention {
    v1::Attention {
        what: "this coordinator could not confirm that it leads: nothing fails over by its word".to_owned(),
        lines: vec![holdfast_shared::refusal::line("why", error.to_string())],
        next: vec!["systemctl status holdfast-coordinator".to_owned()],
        app: String::new(),
    }
}

/// As operators read it.
fn wired(name: &AppName, app: &App, report: &Report) -> v1::AppReadiness {
    let add = |add: &Add| holdfast_shared::refusal::line(add.place.clone(), add.line.clone());
    let line = |finding: &Finding| v1::ReadinessLine {
        condition: finding.condition.slug().to_owned(),
        state: match finding.state {
            State::Holds => "holds",
            State::Unknown => "unknown",
            State::Advice => "advice",
            State::Missing => "missing",
        }
        .to_owned(),
        text: finding.text.clone(),
        add: finding.add.iter().map(add).collect(),
        needed: finding.condition.needed(),
    };
    v1::AppReadiness {
        app: name.to_string(),
        ready: report.ready,
        active_region: app.active().to_string(),
        lines: report.findings.iter().map(line).collect(),
    }
}

#[tonic::async_trait]
impl v1::fleet_server::Fleet for Api {
    async fn readiness(&self, request: Request<v1::ReadinessRequest>) -> Result<Response<v1::ReadinessReply>, Status> {
        authorise::operator(&request, &self.replica, Right::Read)?;
        self.lead().await?;
        let asked = request.into_inner().app;
        let apps: Vec<(AppName, App)> = if asked.is_empty() {
            self.replica.read(|s| s.apps().iter().map(|(name, app)| (name.clone(), app.clone())).collect())
        } else {
            vec![self.app(&asked)?]
        };
        let apps = apps.iter().map(|(name, app)| wired(name, app, &self.readiness.of(app))).collect();
        Ok(Response::new(v1::ReadinessReply { apps, at: Some(wire::timestamp(self.clock.wall())) }))
    }

    /// The one call that is also answered without a quorum: somebody who looks during an outage must see something. It
    /// then says so, and shows no verdicts.
    async fn status(&self, request: Request<v1::StatusRequest>) -> Result<Response<v1::StatusReply>, Status> {
        authorise::operator(&request, &self.replica, Right::Read)?;
        let led = self.replica.consensus().confirm_leader().await;
        let Look { pictures, hosts, wall, .. } = self.look(led.is_ok());
        let mut reply = v1::StatusReply {
            cluster: self.replica.read(|s| s.cluster().name.clone()),
            coordinator: self.coordinator.clone(),
            leader: self.coordinator.clone(),
            // The group has one member; further ones come with members that can be added.
            coordinators: 1,
            at: Some(wire::timestamp(wall)),
            apps: pictures.iter().map(Picture::row).collect(),
            regions: region_rows(&pictures, &hosts),
            attention: attention(&pictures, &hosts, wall),
            notes: self.replica.read(maintenance::notes).into_iter().chain(notes(&pictures)).collect(),
        };
        if let Err(short) = self.replica.has_room() {
            reply.attention.insert(0, without_room(&short));
        }
        if let Err(error) = led {
            reply.leader = match &error {
                ConsensusError::NotLeader { leader: Some(leader) } => format!("c{leader}"),
                ConsensusError::NotLeader { leader: None } | ConsensusError::TimedOut | ConsensusError::Stopped(_) => {
                    String::new()
                }
            };
            reply.attention.insert(0, without_quorum(&error));
            reply.notes.insert(0, "this coordinator has no quorum: what it shows may be old".to_owned());
        }
        Ok(Response::new(reply))
    }

    async fn hosts(&self, request: Request<v1::HostsRequest>) -> Result<Response<v1::HostsReply>, Status> {
        authorise::operator(&request, &self.replica, Right::Read)?;
        self.lead().await?;
        let until: BTreeMap<_, i64> = self.replica.read(|s| {
            let until = |serial| s.certificates().get(serial).map_or(0, |c| c.until);
            s.hosts().iter().map(|(name, record)| (name.clone(), until(&record.serial))).collect()
        });
        let now = self.clock.boot();
        let hosts = self.enrolled().into_iter().map(|(host, picture)| {
            let figures = self.metrics.host(&host, now).map(|seen| metrics::figures(&seen, now));
            let (live, since) = match picture.presence {
                Presence::Live(since) => (true, Some(since)),
                Presence::Silent(since) => (false, Some(since)),
                Presence::NeverSeen => (false, None),
            };
            let facts = self.fleet.facts(&host);
            v1::HostStatus {
                live,
                allows: facts.allows,
                problems: facts.problems,
                since: since.map(wire::timestamp),
                version: self.fleet.version(&host),
                certificate_until: until.get(&host).copied().and_then(wire::moment),
                address: self.fleet.live(&host).map(|l| l.address).unwrap_or_default(),
                host: host.to_string(),
                region: picture.region,
                roles: picture.roles,
                quarantine: picture.quarantine,
                figures,
            }
        });
        Ok(Response::new(v1::HostsReply { hosts: hosts.collect() }))
    }

    async fn regions(&self, request: Request<v1::RegionsRequest>) -> Result<Response<v1::RegionsReply>, Status> {
        authorise::operator(&request, &self.replica, Right::Read)?;
        self.lead().await?;
        let Look { pictures, hosts, .. } = self.look(true);
        Ok(Response::new(v1::RegionsReply { regions: region_rows(&pictures, &hosts) }))
    }

    async fn why(&self, request: Request<v1::WhyRequest>) -> Result<Response<v1::WhyReply>, Status> {
        authorise::operator(&request, &self.replica, Right::Read)?;
        self.lead().await?;
        let (name, _) = self.app(&request.get_ref().app)?;
        let Look { pictures, boot, wall, .. } = self.look(true);
        let Some(picture) = pictures.iter().find(|p| p.name == name) else {
            return Err(Status::internal(format!("app {name} went while it was looked at")));
        };
        let verdicts = self.verdicts(&name, boot);
        let regions = picture
            .regions
            .iter()
            .map(|region| why::region(region, region.name == *picture.app.active(), verdicts.get(&region.name)));
        let (decision, next) = why::decision(picture);
        Ok(Response::new(v1::WhyReply {
            app: Some(picture.row()),
            regions: regions.collect(),
            gate: self.decider.gate_lines(&name),
            at: Some(wire::timestamp(wall)),
            decision,
            next,
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::samples;

    #[test]
    fn status_says_what_the_loss_of_this_coordinator_would_do() {
        let mut picture = samples::good_day();
        let told = notes(std::slice::from_ref(&picture));
        assert_eq!(told, ["while this coordinator is down for longer than its lease (3 s), shop is fenced"]);
        picture.app.record.promotable.clear();
        assert!(notes(std::slice::from_ref(&picture)).is_empty(), "a lease without end goes on");
    }
}
