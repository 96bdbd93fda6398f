//! Maintenance begins, and ends: by somebody, or because its time is up.

use std::time::Duration;

use holdfast_types::{AppName, RegionName, refusal::Reason};

use super::{Answer, App, Context, Key, State, refuse};
use crate::{
    change::{self, Refused},
    maintenance::{LONGEST, Scope},
    records,
};

fn scope(app: &str, region: &str) -> Result<Scope, Refused> {
    let bad = |e: holdfast_types::ids::BadName| refuse(Reason::BadRequest, e.to_string());
    match (app, region) {
        ("", "") => Ok(Scope::All),
        (app, "") => Ok(Scope::App(AppName::new(app).map_err(bad)?)),
        ("", region) => Ok(Scope::Region(RegionName::new(region).map_err(bad)?)),
        (_, _) => Err(refuse(Reason::BadRequest, "maintenance is of an app or of a region, not of both")),
    }
}

impl State {
    /// Every maintenance there is.
    pub fn maintenance(&self) -> impl Iterator<Item = (&Scope, &records::Maintenance)> {
        self.maintenance.iter()
    }

    /// The maintenance that an app is in: of several the one that lasts longest.
    #[must_use]
    pub fn maintenance_of(&self, app: &App) -> Option<(&Scope, &records::Maintenance)> {
        self.maintenance.iter().filter(|(scope, _)| scope.covers(&app.spec)).max_by_key(|(_, m)| m.until)
    }

    pub(super) fn begin_maintenance(&mut self, cx: &mut Context<'_>, c: &change::BeginMaintenance) -> Answer {
        let scope = scope(&c.app, &c.region)?;
        if c.why.trim().is_empty() {
            return Err(refuse(Reason::BadRequest, "maintenance needs a reason"));
        }
        let lasts = Duration::from_millis(c.lasts);
        if lasts.is_zero() || lasts > LONGEST {
            return Err(refuse(
                Reason::BadRequest,
                format!("maintenance lasts up to {}, and more than nothing", holdfast_types::time::span(LONGEST)),
            ));
        }
        match &scope {
            Scope::All => {}
            Scope::App(name) if self.apps.contains_key(name) => {}
            Scope::App(name) => return Err(refuse(Reason::UnknownApp, format!("no app {name}"))),
            Scope::Region(name) => {
                let enrolled = self.hosts.values().any(|host| host.region == name.as_str());
                if !enrolled && !self.apps.values().any(|app| app.spec.region(name).is_some()) {
                    return Err(refuse(Reason::UnknownRegion, format!("no region {name}")));
                }
            }
        }
        let until = cx.at.unix_millis().saturating_add_unsigned(c.lasts);
        let record = records::Maintenance {
            by: cx.by.to_owned(),
            why: c.why.clone(),
            since: cx.at.unix_millis(),
            until,
            index: cx.index.0,
        };
        self.maintenance.insert(scope.clone(), record);
        cx.touch(Key::Maintenance(scope));
        Ok(until.unsigned_abs())
    }

    pub(super) fn end_maintenance(&mut self, cx: &mut Context<'_>, c: &change::EndMaintenance) -> Answer {
        let scope = scope(&c.app, &c.region)?;
        let of_that = |m: &records::Maintenance| c.index == 0 || m.index == c.index;
        if !self.maintenance.get(&scope).is_some_and(of_that) {
            return Err(refuse(Reason::NoMaintenance, format!("{scope} is not in maintenance")));
        }
        self.maintenance.remove(&scope);
        cx.touch(Key::Maintenance(scope));
        Ok(0)
    }

    /// What was decided before a maintenance was committed must not begin within it. An operation that stays in its
    /// region finishes what has moved already.
    pub(super) fn refuse_in_maintenance(&self, planned: &records::Operation) -> Result<(), Refused> {
        let app = AppName::new(&*planned.app).ok().and_then(|name| self.apps.get(&name));
        let moves = |app: &&App| app.record.active_region != planned.to_region;
        match app.filter(moves).and_then(|app| self.maintenance_of(app)) {
            Some((scope, maintenance)) => {
                Err(refuse(Reason::InMaintenance, crate::maintenance::told(scope, maintenance)))
            }
            None => Ok(()),
        }
    }
}
