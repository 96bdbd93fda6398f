//! What is measured: by hosts, by checks, and by this coordinator of itself.
//!
//! All of it stays here: nothing is replicated and nothing is decided on it. Every coordinator hears every agent, so each
//! has a picture of its own.
//!
//! | module | owns |
//! |---|---|
//! | [`intake`] | what agents tell: refused at the edge, or taken as readings |
//! | [`checks`] | the latest observation of each check, as readings of its app |
//! | [`history`] | the past, in a file of its own with a bound |
//! | [`own`] | what this coordinator counts of itself |
//! | [`page`], [`serve`] | `/metrics`, `/healthz` and `/readyz` on a port of their own |
//! | [`push`] | the same series to somebody else, by remote write |

mod checks;
pub mod history;
mod intake;
pub mod own;
pub mod page;
pub mod push;
pub mod serve;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use holdfast_coordinator_core::metrics::{
    block::{Block, Cell},
    measure::{Measure, Readings, Series, values},
    tiers::Tier,
};
use holdfast_proto::v1;
use holdfast_types::{AppName, BootInstant, HostName, RegionName, WallTime};

use self::{checks::Checks, history::History, own::Own};

/// Figures older than this say nothing of now: three looks of an agent.
pub const FRESH_FOR: Duration = Duration::from_secs(30);
/// Between two looks further apart than this no rate is told: it would be one of another time.
const RATE_OVER_MAX: Duration = Duration::from_secs(300);
/// Minutes that may wait to be written. A disk that is full stops the history, not the memory.
const MINUTES_MAX: usize = 5;

/// Whose course it is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Subject {
    /// A host's.
    Host(HostName),
    /// An app's.
    App(AppName),
}

/// The latest look of an agent at its host.
#[derive(Debug, Clone)]
pub struct HostSeen {
    /// Its region.
    pub region: RegionName,
    /// As told, and found to make sense.
    pub told: v1::HostMetrics,
    /// When it came.
    pub at: BootInstant,
    /// How far the host's wall clock is ahead of ours, in seconds; the way from there to here counts as behind.
    pub clock_offset: Option<f64>,
    /// How much less time the host's boot clock counted than ours since its first look of this boot, in seconds: a
    /// machine that was suspended from outside and does not know it.
    pub boot_clock_behind: f64,
    /// What it read, and what that says.
    readings: Readings,
    /// Values by series.
    pub values: Readings,
    first: (BootInstant, Duration),
}

#[derive(Debug, Default)]
struct Inner {
    hosts: BTreeMap<HostName, HostSeen>,
    checks: Checks,
    /// Minutes that are not written yet, by their beginning in seconds since the Unix epoch.
    open: BTreeMap<i64, BTreeMap<Subject, Block>>,
}

/// Everything that is measured. Cheap to clone.
#[derive(Clone, Default)]
pub struct Metrics {
    inner: Arc<Mutex<Inner>>,
    /// The past.
    pub history: History,
    /// What this coordinator counts of itself.
    pub own: Own,
}

impl Metrics {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().expect("nothing panics while it holds the figures")
    }

    /// Takes a host's figures.
    ///
    /// # Errors
    /// Why they make no sense: then they are refused whole, and counted.
    pub fn take(
        &self,
        host: &HostName,
        region: &RegionName,
        told: v1::HostMetrics,
        now: (BootInstant, WallTime),
    ) -> Result<(), String> {
        self.own.samples.inc();
        if let Err(why) = intake::check(&told) {
            self.own.samples_refused.inc();
            return Err(why);
        }
        let mut inner = self.lock();
        let age = told.age.and_then(|age| Duration::try_from(age).ok()).unwrap_or_default();
        let taken = now.0 - age;
        let uptime = told.uptime.and_then(|uptime| Duration::try_from(uptime).ok()).unwrap_or_default();
        let before = inner.hosts.get(host);
        let same_boot = before
            .filter(|seen| seen.told.uptime.and_then(|up| Duration::try_from(up).ok()).is_some_and(|up| up <= uptime));
        let first = same_boot.map_or((taken, uptime), |seen| seen.first);
        let (ours, theirs) = (taken.since(first.0), uptime.saturating_sub(first.1));
        let clock_offset = intake::clock_offset(&told, now.1);
        let mut readings = intake::readings(&told);
        if let Some(offset) = clock_offset {
            readings.insert(Series::new(Measure::ClockOffset, ""), offset);
        }
        let since = same_boot.map(|seen| (&seen.readings, taken.since(seen.taken())));
        let values = values(since.filter(|(_, elapsed)| *elapsed <= RATE_OVER_MAX), &readings);
        let seen = HostSeen {
            region: region.clone(),
            told,
            at: now.0,
            clock_offset,
            boot_clock_behind: ours.as_secs_f64() - theirs.as_secs_f64(),
            readings,
            values: values.clone(),
            first,
        };
        inner.hosts.insert(host.clone(), seen);
        inner.keep(Subject::Host(host.clone()), now.1, age, &values, &self.own);
        Ok(())
    }

    /// Takes an observation of a check.
    pub fn observed(&self, app: &AppName, observer: &HostName, observation: &v1::Observation, now: BootInstant) {
        self.lock().checks.note(app, observer, observation, now);
    }

    /// Notes what the checks of each app say now, and forgets what is too old to say anything.
    pub fn sample_apps(&self, now: (BootInstant, WallTime)) {
        let mut inner = self.lock();
        inner.checks.forget_old(now.0);
        inner.hosts.retain(|_, seen| now.0.since(seen.at) <= RATE_OVER_MAX);
        for (app, values) in inner.checks.all_values(now.0) {
            inner.keep(Subject::App(app), now.1, Duration::ZERO, &values, &self.own);
        }
    }

    /// The latest figures of each host that are fresh.
    #[must_use]
    pub fn hosts(&self, now: BootInstant) -> BTreeMap<HostName, HostSeen> {
        let fresh = |(_, seen): &(&HostName, &HostSeen)| now.since(seen.taken()) <= FRESH_FOR;
        self.lock().hosts.iter().filter(fresh).map(|(host, seen)| (host.clone(), seen.clone())).collect()
    }

    /// The latest figures of one host, if they are fresh.
    #[must_use]
    pub fn host(&self, host: &HostName, now: BootInstant) -> Option<HostSeen> {
        self.lock().hosts.get(host).filter(|seen| now.since(seen.taken()) <= FRESH_FOR).cloned()
    }

    /// The latest observations of checks that are fresh, by app.
    #[must_use]
    pub fn checks(&self, now: BootInstant) -> Vec<checks::CheckNow> {
        self.lock().checks.now(now)
    }

    /// What a subject's latest figures say.
    #[must_use]
    pub fn values(&self, subject: &Subject, now: BootInstant) -> Readings {
        let inner = self.lock();
        match subject {
            Subject::Host(host) => inner
                .hosts
                .get(host)
                .filter(|seen| now.since(seen.taken()) <= FRESH_FOR)
                .map(|seen| seen.values.clone())
                .unwrap_or_default(),
            Subject::App(app) => inner.checks.values(app, now),
        }
    }

    /// The minutes of a subject that are not written yet.
    #[must_use]
    pub fn unwritten(&self, subject: &Subject) -> Vec<Block> {
        self.lock().open.values().filter_map(|minute| minute.get(subject).cloned()).collect()
    }

    /// The minutes that are over, to be written.
    fn take_closed(&self, now: WallTime) -> Vec<(i64, BTreeMap<Subject, Block>)> {
        let current = Tier::Fine.row_of(now.unix_millis().div_euclid(1_000) - history::MINUTE_SETTLES);
        let mut inner = self.lock();
        let open = inner.open.split_off(&current);
        std::mem::replace(&mut inner.open, open).into_iter().collect()
    }

    /// All minutes, the one under way too: nothing more will come.
    fn take_all(&self) -> Vec<(i64, BTreeMap<Subject, Block>)> {
        std::mem::take(&mut self.lock().open).into_iter().collect()
    }
}

impl HostSeen {
    /// When the agent looked.
    #[must_use]
    pub fn taken(&self) -> BootInstant {
        let age = self.told.age.and_then(|age| Duration::try_from(age).ok()).unwrap_or_default();
        self.at - age
    }

    /// A value of the whole host.
    #[must_use]
    pub fn value(&self, measure: Measure) -> Option<f64> {
        self.values.get(&Series::new(measure, "")).copied()
    }
}

impl Inner {
    fn keep(&mut self, subject: Subject, wall: WallTime, age: Duration, values: &Readings, own: &Own) {
        let age = i64::try_from(age.as_millis()).unwrap_or(0);
        let at = wall.unix_millis().saturating_sub(age).div_euclid(1_000);
        let row = Tier::Fine.row_of(at);
        let block = self.open.entry(row).or_default().entry(subject).or_insert_with(|| Tier::Fine.block(row));
        for (series, value) in values {
            block.add(series, at, Cell::one(*value));
        }
        while self.open.len() > MINUTES_MAX {
            if let Some((_, lost)) = self.open.pop_first() {
                own.history_lost.inc_by(lost.len() as u64);
            }
        }
    }
}

/// A host at a look.
#[must_use]
pub fn figures(seen: &HostSeen, now: BootInstant) -> v1::HostFigures {
    let fullest = [Measure::Disk, Measure::Inodes].into_iter().flat_map(|measure| {
        seen.values
            .iter()
            .filter(move |(series, _)| series.measure == measure)
            .map(|(series, value)| (&series.of, *value))
    });
    let disk = fullest.max_by(|a, b| a.1.total_cmp(&b.1));
    let pressures = [(Measure::PressureCpu, "cpu"), (Measure::PressureMemory, "memory"), (Measure::PressureIo, "io")];
    let pressure = pressures.iter().filter_map(|(measure, name)| Some((*name, seen.value(*measure)?)));
    let pressure = pressure.max_by(|a, b| a.1.total_cmp(&b.1));
    v1::HostFigures {
        cpu: seen.value(Measure::Cpu),
        memory: seen.value(Measure::Memory),
        disk: disk.map(|(_, share)| share),
        disk_mount: disk.map(|(mount, _)| mount.clone()).unwrap_or_default(),
        pressure: pressure.map(|(_, share)| share),
        pressure_resource: pressure.map(|(name, _)| name.to_owned()).unwrap_or_default(),
        load: seen.value(Measure::Load),
        cpus: seen.told.cpu.map_or(0, |cpu| cpu.cpus),
        clock_offset: seen.clock_offset,
        age: now.since(seen.taken()).try_into().ok(),
    }
}

#[cfg(test)]
mod tests;
