//! Apps: specs, active regions, generations, who could take over.

use holdfast_types::{
    AppName, LogIndex, RegionName,
    lease::Timings,
    refusal::Reason,
    spec::{self, AppSpec},
};

use super::{Answer, App, Context, Key, State, refuse};
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

impl App {
    /// Everything that ends with a generation: hold, who could take over, the timings of old grants.
    pub(super) fn begin_generation(&mut self, index: LogIndex) {
        // Where a hold is taken back, nobody waited for what was granted before it: it may outlast its generation.
        let living = self.timings().filter(|_| self.held() && !self.record.hold_over);
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

    pub(super) fn activate(&mut self, region: RegionName) {
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
            app.record.promotable.retain(|p| new.regions.iter().any(|r| r.name.as_str() == p));
            app.spec = new;
            return Ok(app.record.revision);
        }
        let Some(active) = region else {
            return Err(refuse(Reason::NoSingleWriter, format!("app {name} is new and has no active region")));
        };
        let mut app = App {
            record: records::App {
                spec_yaml: c.spec_yaml.clone(),
                revision: 1,
                moved_by: "first apply".to_owned(),
                ..records::App::default()
            },
            spec: new,
            active: active.clone(),
        };
        app.activate(active);
        app.begin_generation(cx.index);
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
        let mut regions = c.regions.clone();
        regions.sort();
        regions.dedup();
        for region in &regions {
            let known = app.spec.regions.iter().any(|r| r.name.as_str() == region);
            if !known || region == app.active.as_str() {
                return Err(refuse(Reason::UnknownRegion, format!("{region} is no standby region of app {name}")));
            }
        }
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
        if app.held() || app.record.operation != 0 {
            return Err(refuse(
                Reason::OperationRunning,
                format!("operation {} decides about app {name}", app.record.operation),
            ));
        }
        if !app.holders(&app.active).iter().any(|h| h.as_str() == c.host) {
            return Err(refuse(Reason::NotPermitted, format!("{} holds no writer of app {name}", c.host)));
        }
        app.begin_generation(cx.index);
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

/// A database that both specs declare as theirs: same host, same directory, port or name of what runs it.
fn shared_writer(one: &AppSpec, two: &AppSpec) -> Option<String> {
    for (writer, a) in &one.writers {
        for b in two.writers.values() {
            for region in &two.regions {
                let here = two.writer_host(&b.name, &region.name);
                let there = one.regions.iter().filter_map(|r| one.writer_host(&a.name, &r.name));
                let Some(place) = here else { continue };
                if there.into_iter().any(|p| p.host == place.host)
                    && (a.data_dir == b.data_dir || a.run_by == b.run_by || a.port == b.port)
                {
                    return Some(format!("the database {writer} on {} (port {})", place.host, a.port));
                }
            }
        }
    }
    None
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
    if old.record.operation != 0 {
        return Err(refuse(Reason::OperationRunning, format!("operation {} runs on app {app}", old.record.operation)));
    }
    Ok(())
}
