//! Apps: specs, active regions, generations, who could take over.

use std::collections::BTreeSet;

use holdfast_types::{
    AppName, HostName, LogIndex, OperationId, RegionName,
    lease::Timings,
    refusal::Reason,
    spec::{self, AppSpec, FencedBy, RunBy, Writer},
};

use super::{Answer, App, Context, Key, State, hosts_of, refuse};
use crate::{
    change::{self, Refused},
    records::{self, TimingsRecord},
};

fn millis(span: std::time::Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

fn record(timings: &Timings) -> TimingsRecord {
    TimingsRecord {
        lease: millis(timings.lease),
        renew: millis(timings.renew),
        drift: millis(timings.drift),
        fence_within: millis(timings.fence_within),
    }
}

/// Leases of the generation that ends, and of any before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Before {
    /// None is left: their end was waited for, or every holder has fenced.
    Over,
    /// Nobody waited: they may outlast their generation.
    MayLive,
}

impl App {
    /// Everything that ends with a generation: hold, who could take over, the timings of old grants.
    pub(super) fn begin_generation(&mut self, index: LogIndex, leases: Before) {
        let living = self.timings().filter(|_| leases == Before::MayLive);
        let timings = match (living, self.spec.timings()) {
            (Some(old), Some(new)) => Some(old.longest(&new)),
            (_, new) => new,
        };
        self.record.generation += 1;
        self.record.generation_index = index.0;
        self.record.changed_index = index.0;
        self.record.held_by = 0;
        self.record.hold_index = 0;
        self.record.hold_over = false;
        self.record.timings = timings.as_ref().map(record);
    }

    /// Whether a lease of this app has no end: nobody could take over. While an operation runs every lease has an end,
    /// because the operation may have to wait for it. `end_wanted` is the leader's intention to make a region promotable:
    /// it is carried out only when the holder has said that it counts an end.
    #[must_use]
    pub fn lease_is_sole(&self, end_wanted: bool) -> bool {
        self.record.promotable.is_empty() && self.record.operation == 0 && !self.held() && !end_wanted
    }

    /// To be followed by the generation that it begins with.
    pub(super) fn activate(&mut self, region: RegionName) {
        self.record.active_since = self.record.generation + 1;
        self.record.active_region = region.as_str().to_owned();
        self.active = region;
        self.record.promotable.clear();
        self.record.routed = false;
    }
}

impl State {
    pub(super) fn app_mut(&mut self, name: &str) -> Result<(AppName, &mut App), Refused> {
        let unknown = || refuse(Reason::UnknownApp, format!("no app {name}"));
        let name = AppName::new(name).map_err(|_| unknown())?;
        match self.apps.get_mut(&name) {
            Some(app) => Ok((name, app)),
            None => Err(unknown()),
        }
    }

    /// Why this spec may not become the app's, whatever its text: what `plan` says and `apply` refuses.
    ///
    /// # Errors
    /// The first of them.
    pub fn may_apply(&self, new: &AppSpec, active_region: Option<&RegionName>) -> Result<(), Refused> {
        for (other, app) in &self.apps {
            if other == &new.app {
                continue;
            }
            if let Some(shared) = shared_writer(&app.spec, new) {
                return Err(refuse(
                    Reason::WriterTaken,
                    format!("{shared} belongs to app {other}; what shares a database is one app"),
                ));
            }
        }
        for (host, region) in new.hosts() {
            if let Some(known) = self.hosts.get(&host)
                && known.region != region.as_str()
            {
                return Err(refuse(
                    Reason::UnsafeChange,
                    format!("{host} is enrolled in {}, the spec puts it into {region}", known.region),
                ));
            }
        }
        match (self.apps.get(&new.app), active_region) {
            (None, None) => Err(refuse(
                Reason::NoSingleWriter,
                format!("app {} is new and no region is known to accept its writes", new.app),
            )),
            (None, Some(region)) => match new.region(region) {
                Some(_) => Ok(()),
                None => Err(refuse(Reason::UnknownRegion, format!("app {} declares no region {region}", new.app))),
            },
            (Some(old), _) => unsafe_change(old, new),
        }
    }

    pub(super) fn apply_spec(&mut self, cx: &mut Context<'_>, c: &change::ApplySpec) -> Answer {
        let new = spec::parse("spec", &c.spec_yaml).map_err(|p| refuse(Reason::BadSpec, p.to_string()))?;
        let region = if c.active_region.is_empty() {
            None
        } else {
            Some(RegionName::new(&*c.active_region).map_err(|e| refuse(Reason::BadRequest, e.to_string()))?)
        };
        let current = self.apps.get(&new.app).map_or(0, |a| a.record.revision);
        if current != c.on_revision {
            return Err(refuse(
                Reason::StaleRevision,
                format!("app {} is at revision {current}, this was decided on {}", new.app, c.on_revision),
            ));
        }
        self.may_apply(&new, region.as_ref())?;
        let name = new.app.clone();
        cx.touch(Key::App(name.clone()));
        if let Some(app) = self.apps.get_mut(&name) {
            let longest = match (app.timings(), new.timings()) {
                (Some(a), Some(b)) => Some(a.longest(&b)),
                (a, b) => a.or(b),
            };
            app.record.timings = longest.as_ref().map(record);
            app.record.spec_yaml.clone_from(&c.spec_yaml);
            app.record.revision += 1;
            app.record.changed_index = cx.index.0;
            // What is known of a region's standby is known of these hosts, and of a holder that counts an end.
            let known = app.leased();
            let before = app.spec.clone();
            app.record.promotable.retain(|p| {
                let same =
                    |r: &&spec::Region| r.name.as_str() == p && hosts_of(&before, &r.name) == hosts_of(&new, &r.name);
                known && new.regions.iter().any(|r| same(&r))
            });
            app.spec = new;
            return Ok(app.record.revision);
        }
        let Some(active) = region else {
            return Err(refuse(Reason::NoSingleWriter, format!("app {name} is new and has no active region")));
        };
        let before = self.generation_before(&name);
        self.no_more_removed(cx, &name);
        let mut app = App {
            record: records::App {
                spec_yaml: c.spec_yaml.clone(),
                revision: 1,
                moved_by: "first apply".to_owned(),
                // Above whatever its hosts may have fenced of an app of this name before.
                generation: before,
                first_generation: before + 1,
                ..records::App::default()
            },
            spec: new,
            active: active.clone(),
        };
        app.activate(active);
        app.begin_generation(cx.index, Before::Over);
        // A running database was found there: clients may be sent to it at once.
        app.record.routed = true;
        self.apps.insert(name, app);
        Ok(1)
    }

    pub(super) fn set_promotable(&mut self, cx: &mut Context<'_>, c: &change::SetPromotable) -> Answer {
        let (name, app) = self.app_mut(&c.app)?;
        app.on_generation(&name, c.generation)?;
        // Frozen from an operation's start to its end: the leases it waits for must be the ones that were granted.
        if app.held() || app.record.operation != 0 {
            return Err(refuse(
                Reason::OperationRunning,
                format!("operation {} decides about app {name}", app.record.operation),
            ));
        }
        // An app without leases has a holder that was never told of an end.
        if !app.leased() && !c.regions.is_empty() {
            return Err(refuse(Reason::NoFailover, format!("app {name} has no leases, so nobody can take it over")));
        }
        let mut regions = c.regions.clone();
        regions.sort();
        regions.dedup();
        let mut hosts = BTreeSet::new();
        for region in &regions {
            let declared = app.spec.regions.iter().map(|r| &r.name).find(|r| r.as_str() == region);
            let Some(declared) = declared.filter(|r| **r != app.active) else {
                return Err(refuse(Reason::UnknownRegion, format!("{region} is no standby region of app {name}")));
            };
            hosts.extend(app.holders(declared));
        }
        if let Some((host, why)) = self.quarantined(&hosts) {
            return Err(refuse(Reason::Quarantined, format!("host {host} is quarantined: {why}")));
        }
        let (name, app) = self.app_mut(&c.app)?;
        if regions != app.record.promotable {
            app.record.promotable = regions;
            app.record.changed_index = cx.index.0;
            cx.touch(Key::App(name));
        }
        Ok(0)
    }

    pub(super) fn reactivate(&mut self, cx: &mut Context<'_>, c: &change::Reactivate) -> Answer {
        let (name, app) = self.app_mut(&c.app)?;
        app.on_generation(&name, c.generation)?;
        let (held, operation) = (app.held(), OperationId(app.record.operation));
        // Past its point of no return an operation wants its new holder to write. A lease that ran out meanwhile has
        // fenced the new generation for ever, and without a further one nobody could.
        let decides = self.operations.get(&operation).is_some_and(|op| !op.past_no_return);
        if held || decides {
            return Err(refuse(Reason::OperationRunning, format!("operation {operation} decides about app {name}")));
        }
        let (name, app) = self.app_mut(&c.app)?;
        if !app.leased() {
            return Err(refuse(Reason::NoFailover, format!("app {name} has no leases, so no fence ends one")));
        }
        let holders = app.holders(&app.active);
        // This one has fenced; the others may write on, and take the next generation when they renew.
        let before = if holders.len() == 1 { Before::Over } else { Before::MayLive };
        let Some(holder) = holders.into_iter().find(|h| h.as_str() == c.host) else {
            return Err(refuse(Reason::NotPermitted, format!("{} holds no writer of app {name}", c.host)));
        };
        if let Some((host, why)) = self.quarantined(&BTreeSet::from([holder])) {
            return Err(refuse(Reason::Quarantined, format!("host {host} is quarantined: {why}")));
        }
        let (name, app) = self.app_mut(&c.app)?;
        app.begin_generation(cx.index, before);
        cx.touch(Key::App(name));
        Ok(app_generation(self, &c.app))
    }

    pub(super) fn set_routed(&mut self, cx: &mut Context<'_>, c: &change::SetRouted) -> Answer {
        let (name, app) = self.app_mut(&c.app)?;
        app.on_generation(&name, c.generation)?;
        if !app.record.routed {
            app.record.routed = true;
            app.record.changed_index = cx.index.0;
            cx.touch(Key::App(name));
        }
        Ok(0)
    }
}

impl State {
    /// The first of these hosts that gets no lease, and why.
    fn quarantined(&self, hosts: &BTreeSet<HostName>) -> Option<(HostName, String)> {
        hosts.iter().find_map(|host| {
            let why = &self.hosts.get(host)?.quarantine;
            (!why.is_empty()).then(|| (host.clone(), why.clone()))
        })
    }

    /// A quarantined host gets no lease, so its region takes nothing over. What an operation was planned with stays
    /// frozen: its steps find out by themselves.
    pub(super) fn cannot_take_over(&mut self, cx: &mut Context<'_>, host: &HostName) {
        for (name, app) in &mut self.apps {
            if app.record.operation != 0 {
                continue;
            }
            let (spec, before) = (&app.spec, app.record.promotable.len());
            app.record.promotable.retain(|p| {
                let region = spec.regions.iter().map(|r| &r.name).find(|r| r.as_str() == p);
                !region.is_some_and(|r| hosts_of(spec, r).contains(host))
            });
            if app.record.promotable.len() != before {
                app.record.changed_index = cx.index.0;
                cx.touch(Key::App(name.clone()));
            }
        }
    }
}

fn app_generation(state: &State, name: &str) -> u64 {
    AppName::new(name).ok().and_then(|n| state.apps.get(&n)).map_or(0, |a| a.record.generation)
}

impl App {
    /// Refuses what was decided on another generation.
    pub(super) fn on_generation(&self, name: &AppName, generation: u64) -> Result<(), Refused> {
        if self.record.generation == generation {
            return Ok(());
        }
        Err(refuse(
            Reason::GenerationMoved,
            format!("app {name} is at generation {}, this was decided on {generation}", self.record.generation),
        ))
    }
}

/// A database that both specs declare as theirs: on one host, and one by its port or by what runs it.
fn shared_writer(one: &AppSpec, two: &AppSpec) -> Option<String> {
    for region in &two.regions {
        // Names of things on a host count as they read there: one spec may say `{region}` where the other does not.
        let two = two.placed_in(&region.name);
        for there in &one.regions {
            let one = one.placed_in(&there.name);
            for a in one.writers.values() {
                for b in two.writers.values() {
                    let places = (two.writer_host(&b.name, &region.name), one.writer_host(&a.name, &there.name));
                    let (Some(here), Some(place)) = places else { continue };
                    if here.host == place.host && (a.port == b.port || runs_as_one(a, b)) {
                        return Some(format!("the database {} on {} (port {})", a.name, place.host, a.port));
                    }
                }
            }
        }
    }
    None
}

/// Whether two writers of one host are one database by what runs it. Programs and their user are shared by many; a
/// directory inside a container says nothing about the host.
fn runs_as_one(a: &Writer, b: &Writer) -> bool {
    match (&a.run_by, &b.run_by) {
        (RunBy::Container { name: a }, RunBy::Container { name: b }) => a == b,
        (RunBy::Container { .. }, RunBy::Systemd { .. } | RunBy::PgCtl { .. })
        | (RunBy::Systemd { .. } | RunBy::PgCtl { .. }, RunBy::Container { .. }) => false,
        (RunBy::Systemd { unit: one }, RunBy::Systemd { unit: other }) => one == other || a.data_dir == b.data_dir,
        (RunBy::Systemd { .. } | RunBy::PgCtl { .. }, RunBy::Systemd { .. } | RunBy::PgCtl { .. }) => {
            a.data_dir == b.data_dir
        }
    }
}

/// What only a fresh look or an operation may change: where the active region's writers are, and that they are fenced.
fn unsafe_change(old: &App, new: &AppSpec) -> Result<(), Refused> {
    let app = &new.app;
    let active = &old.active;
    if new.region(active).is_none() {
        return Err(refuse(
            Reason::UnsafeChange,
            format!("app {app} is active in {active}, which the spec leaves out"),
        ));
    }
    for (name, writer) in &old.spec.writers {
        let same = new.writers.get(name).is_some_and(|w| {
            w.kind == writer.kind && w.run_by == writer.run_by && w.data_dir == writer.data_dir && w.port == writer.port
        });
        let place = old.spec.writer_host(name, active);
        if !same || new.writer_host(name, active).map(|p| &p.host) != place.map(|p| &p.host) {
            return Err(refuse(
                Reason::UnsafeChange,
                format!("writer {name} of app {app} serves in {active}; a spec cannot move, remove or rename it"),
            ));
        }
    }
    if let Some(added) = new.writers.keys().find(|w| !old.spec.writers.contains_key(*w)) {
        return Err(refuse(
            Reason::UnsafeChange,
            format!("writer {added} is new; a database joins an app only at its first apply"),
        ));
    }
    let fenced = |spec: &AppSpec| spec.failover.is_some() && spec.regions.len() > 1;
    if fenced(&old.spec) && !fenced(new) {
        return Err(refuse(
            Reason::UnsafeChange,
            format!("app {app} has leases; a spec cannot take its failover section or its only other region away"),
        ));
    }
    // A host that has not heard of it yet would go on without a lease, and the wait of a failover would prove nothing.
    if fenced(&old.spec) && old.spec.fencing.by == FencedBy::None && new.fencing.by != FencedBy::None {
        return Err(refuse(
            Reason::UnsafeChange,
            format!(
                "nothing fences app {app}, and a spec cannot change that while it is guarded; holdfast apps remove {app}, \
                 then apply it anew"
            ),
        ));
    }
    if old.record.operation != 0 {
        return Err(refuse(Reason::OperationRunning, format!("operation {} runs on app {app}", old.record.operation)));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An app on one host, with its `run_by`, data directory and port.
    fn app(name: &str, run_by: &str, data_dir: &str, port: u16) -> AppSpec {
        let text = format!(
            "spec: 1\napp: {name}\nregions:\n  us-east:\n    roles:\n      db: [{{host: use-db1, address: 10.10.1.11}}]\n\
             writers:\n  pg:\n    kind: postgres\n    on: db\n    run_by: {run_by}\n    data_dir: \"{data_dir}\"\n    port: {port}\n    \
             login: {{socket: /run/pg, user: holdfast, database: postgres}}\n"
        );
        spec::parse("app.yaml", &text).expect("well formed")
    }

    #[test]
    fn databases_of_one_host_are_told_apart_by_port_and_by_what_runs_them() {
        let pg_ctl = "{pg_ctl: {bin: /usr/lib/postgresql/15/bin, user: postgres}}";
        let one = app("one", pg_ctl, "/srv/{region}/one", 5432);
        let shared = |two: AppSpec| shared_writer(&one, &two).is_some();
        assert!(!shared(app("two", pg_ctl, "/srv/{region}/two", 5532)), "programs and user are everybody's");
        assert!(shared(app("two", pg_ctl, "/srv/us-east/one", 5532)), "one directory, spelt in two ways");
        assert!(shared(app("two", "{systemd: two.service}", "/srv/us-east/one", 5532)));
        assert!(shared(app("two", pg_ctl, "/srv/two", 5432)), "one port");

        let boxed = |name: &str, port| app("boxed", &format!("{{container: {name}}}"), "/data", port);
        assert!(shared_writer(&boxed("a", 1), &boxed("b", 2)).is_none(), "each container has a /data of its own");
        assert!(shared_writer(&boxed("a", 1), &boxed("a", 2)).is_some());
        let unit = |name: &str, dir| app("unit", &format!("{{systemd: {name}}}"), dir, 1);
        assert!(shared_writer(&unit("a.service", "/a"), &app("x", "{systemd: a.service}", "/b", 2)).is_some());
    }
}
