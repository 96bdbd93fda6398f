//! Maintenance: what it covers, how long it may last, and when it is over.
//!
//! It ends by a committed entry, so the state alone says whether an app is in maintenance and a change of leaders alters
//! nothing. Whoever leads proposes that entry when the time is up. The time is counted on the boot clock from when the
//! leader first saw the maintenance, so that a wall clock that is set in between neither ends it early nor holds it up.

use std::{collections::BTreeMap, fmt, time::Duration};

use holdfast_types::{AppName, BootInstant, RegionName, WallTime, spec::AppSpec};

use crate::records::Maintenance;

/// Longest maintenance that can be asked for at once. What is forgotten for longer is no maintenance.
pub const LONGEST: Duration = Duration::from_hours(7 * 24);
/// How long it lasts when nobody says.
pub const USUAL: Duration = Duration::from_hours(1);

/// What a maintenance covers.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scope {
    /// Every app, those that are declared later included.
    All,
    /// One app.
    App(AppName),
    /// Every app that declares this region: nothing moves out of it or into it.
    Region(RegionName),
}

impl Scope {
    /// Whether it covers an app.
    #[must_use]
    pub fn covers(&self, spec: &AppSpec) -> bool {
        match self {
            Self::All => true,
            Self::App(name) => spec.app == *name,
            Self::Region(name) => spec.region(name).is_some(),
        }
    }

    /// The command that ends it.
    #[must_use]
    pub fn off(&self) -> String {
        match self {
            Self::All => "holdfast maintenance off --all".to_owned(),
            Self::App(name) => format!("holdfast maintenance off {name}"),
            Self::Region(name) => format!("holdfast maintenance off --region {name}"),
        }
    }
}

/// `app shop`, `region us-east`, `the whole cluster`.
impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => f.write_str("the whole cluster"),
            Self::App(name) => write!(f, "app {name}"),
            Self::Region(name) => write!(f, "region {name}"),
        }
    }
}

/// `app shop is in maintenance until 2026-11-20 21:10 UTC (operator ada: new disks)`.
#[must_use]
pub fn told(scope: &Scope, maintenance: &Maintenance) -> String {
    let until = WallTime(maintenance.until);
    format!("{scope} is in maintenance until {} UTC ({}: {})", until.minute(), maintenance.by, maintenance.why)
}

/// When each maintenance ends, on the boot clock of whoever leads.
#[derive(Debug, Clone, Default)]
pub struct Ends(BTreeMap<(Scope, u64), BootInstant>);

impl Ends {
    /// Those that are over, each with the index of the entry that began it. To be asked again and again.
    pub fn due<'a>(
        &mut self,
        committed: impl Iterator<Item = (&'a Scope, &'a Maintenance)>,
        wall: WallTime,
        now: BootInstant,
    ) -> Vec<(Scope, u64)> {
        let mut known = BTreeMap::new();
        for (scope, maintenance) in committed {
            let key = (scope.clone(), maintenance.index);
            let left = || now + WallTime(maintenance.until).since(wall).min(LONGEST);
            let ends = self.0.get(&key).copied().unwrap_or_else(left);
            known.insert(key, ends);
        }
        self.0 = known;
        self.0.iter().filter(|(_, ends)| now >= **ends).map(|(key, _)| key.clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> BootInstant {
        BootInstant::from_boot(Duration::from_secs(seconds))
    }

    fn row(index: u64, until_seconds: i64) -> (Scope, Maintenance) {
        let app = Scope::App(AppName::new("shop").expect("a name"));
        (app, Maintenance { index, until: until_seconds * 1_000, ..Maintenance::default() })
    }

    fn due(ends: &mut Ends, rows: &[(Scope, Maintenance)], wall: i64, now: u64) -> Vec<u64> {
        let all = ends.due(rows.iter().map(|(s, m)| (s, m)), WallTime(wall * 1_000), at(now));
        all.into_iter().map(|(_, index)| index).collect()
    }

    #[test]
    fn a_wall_clock_that_is_set_moves_no_end() {
        let rows = [row(7, 1_060)];
        for (set_to, how) in [(4_600, "an hour forward"), (1_000 - 3_600, "an hour back")] {
            let mut ends = Ends::default();
            assert!(due(&mut ends, &rows, 1_000, 50).is_empty());
            assert!(due(&mut ends, &rows, set_to, 109).is_empty(), "{how}");
            assert_eq!(due(&mut ends, &rows, set_to, 110), [7], "{how}");
        }
    }

    #[test]
    fn a_new_leader_counts_what_is_left_and_one_begun_anew_counts_anew() {
        let mut later = Ends::default();
        assert!(due(&mut later, &[row(7, 1_060)], 1_050, 9_000).is_empty());
        assert_eq!(due(&mut later, &[row(7, 1_060)], 1_060, 9_010), [7]);
        assert!(due(&mut later, &[row(8, 1_120)], 1_060, 9_010).is_empty(), "the longer one has just begun");
        assert!(due(&mut later, &[], 1_061, 9_011).is_empty());
        assert_eq!(due(&mut Ends::default(), &[row(7, 1_060)], 2_000, 5), [7], "over before anybody led");
        // Whatever a wall clock says when a leader begins, no maintenance is longer than it may be asked for.
        let mut wrong = Ends::default();
        assert!(due(&mut wrong, &[row(7, 1_060)], -90_000_000, 0).is_empty());
        assert_eq!(due(&mut wrong, &[row(7, 1_060)], -90_000_000, LONGEST.as_secs()), [7]);
    }
}
