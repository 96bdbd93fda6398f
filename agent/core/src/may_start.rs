//! Whether a unit of a declared writer may be started right now, by whoever starts it.
//!
//! ```text
//!   surely a standby? ──yes──▶ may: it follows, and is promoted by nobody but under a lease
//!         │ no, or no answer
//!   does an app with leases declare it here? ──no──▶ may: Holdfast was not told to guard it
//!         │ yes, or nobody can tell
//!   for each such app: fencing released by hand, or a lease of this boot that lives, or a durable one without end
//!         │ one of them has none          └── all have ──▶ may
//!         ▼
//!     may not
//! ```
//! It is asked at boot, before any agent runs, and by systemd whenever it would start the unit again by itself. Any
//! doubt is a no: a database that is down can be started, one that wrote without a lease cannot be taken back.

use std::fmt;

use holdfast_types::{AppName, BootInstant, Generation, lease::Timings};
use serde::{Deserialize, Serialize};

use crate::record::{Record, Until};

/// What a data directory says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Role {
    /// It starts as a standby and stays one: there is a `standby.signal`, and no promotion was ordered.
    Standby,
    /// It would start as a primary, or become one by itself.
    Primary,
    /// It cannot be looked at; why.
    Unknown(String),
}

/// What is known on this host of an app that declares the unit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Guarded {
    /// The app.
    pub app: AppName,
    /// It has leases, and a host that lost its lease is stopped.
    pub fences: bool,
    /// Fencing was ended here by hand.
    pub released: bool,
    /// Highest generation of which a lease was ever taken here.
    pub held: Generation,
    /// Highest generation fenced here.
    pub fenced: Generation,
    /// Generation of a durable lease without end.
    pub sole: Option<Generation>,
}

impl Guarded {
    /// Of what a host keeps of an app's lease.
    #[must_use]
    pub fn new(app: AppName, timings: Option<Timings>, fences: bool, kept: crate::lease::Kept) -> Self {
        Self {
            app,
            fences: fences && timings.is_some(),
            released: kept.released,
            held: kept.held,
            fenced: kept.fenced,
            sole: kept.sole,
        }
    }

    /// The same rule as a lease that an agent takes over at its start.
    fn lives(&self, generation: Generation) -> bool {
        generation > self.fenced && generation >= self.held
    }

    fn may(&self, record: Option<Record>, now: BootInstant) -> Result<Why, WhyNot> {
        if !self.fences {
            return Ok(Why::NotGuarded);
        }
        if self.released {
            return Ok(Why::Released(self.app.clone()));
        }
        if self.sole.is_some_and(|generation| self.lives(generation)) {
            return Ok(Why::Lease(self.app.clone()));
        }
        match record.filter(|record| self.lives(record.generation)) {
            Some(Record { until: Until::At(deadline), .. }) if deadline > now => Ok(Why::Lease(self.app.clone())),
            // A note without end whose durable row is gone is worth nothing.
            Some(_) | None => Err(WhyNot::NoLease { app: self.app.clone(), fenced: self.fenced }),
        }
    }
}

/// What is known of the apps on this host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Knowledge {
    /// These apps declare the unit here, each with the note of its lease in `/run`, of this boot.
    Known(Vec<(Guarded, Option<Record>)>),
    /// This host was never told of any app.
    Nothing,
    /// It cannot be read; why.
    Unreadable(String),
}

/// Why it may.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Why {
    /// It is a standby.
    Standby,
    /// No app that this host knows of guards it.
    NotGuarded,
    /// Fencing of this app was ended by hand.
    Released(AppName),
    /// This app has a lease here.
    Lease(AppName),
}

/// Why it may not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WhyNot {
    /// An app that guards it has no lease here.
    NoLease {
        /// The app.
        app: AppName,
        /// Highest generation fenced here.
        fenced: Generation,
    },
    /// What this host knows cannot be read.
    Unreadable(String),
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Standby => f.write_str("it is a standby"),
            Self::NotGuarded => f.write_str("no app on this host guards it"),
            Self::Released(app) => write!(f, "fencing of {app} is released on this host"),
            Self::Lease(app) => write!(f, "{app} has a lease on this host"),
        }
    }
}

impl fmt::Display for WhyNot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoLease { app, fenced } => write!(
                f,
                "it would start as a primary, and {app} has no lease on this host (fenced up to generation {fenced}); the \
                 agent starts it when a coordinator grants one, see holdfast why {app}; by hand: holdfast-agent release \
                 {app} --reason \"…\""
            ),
            Self::Unreadable(why) => write!(
                f,
                "it would start as a primary, and whether an app here has a lease cannot be read: {why}; next: systemctl \
                 status holdfast-agent"
            ),
        }
    }
}

/// Whether the unit may be started.
///
/// # Errors
/// Why not, for the journal.
pub fn may_start(role: &Role, knowledge: &Knowledge, now: BootInstant) -> Result<Why, WhyNot> {
    match role {
        Role::Standby => return Ok(Why::Standby),
        Role::Primary | Role::Unknown(_) => {}
    }
    match knowledge {
        Knowledge::Nothing => Ok(Why::NotGuarded),
        Knowledge::Unreadable(why) => Err(WhyNot::Unreadable(why.clone())),
        Knowledge::Known(apps) => {
            let mut because = Why::NotGuarded;
            for (guarded, record) in apps {
                match guarded.may(*record, now)? {
                    Why::NotGuarded => {}
                    why @ (Why::Standby | Why::Released(_) | Why::Lease(_)) => because = why,
                }
            }
            Ok(because)
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;
    use crate::lease::{Effect, Holder, Kept, Right, Wish};

    fn at(seconds: u64) -> BootInstant {
        BootInstant::from_boot(Duration::from_secs(seconds))
    }

    fn shop() -> Guarded {
        Guarded {
            app: AppName::new("shop").expect("a name"),
            fences: true,
            released: false,
            held: Generation(3),
            fenced: Generation(2),
            sole: None,
        }
    }

    fn note(generation: u64, until: Until) -> Option<Record> {
        Some(Record { generation: Generation(generation), until })
    }

    #[test]
    fn each_way_to_start_and_each_way_not_to() {
        let known = |guarded: Guarded, record| Knowledge::Known(vec![(guarded, record)]);
        let lease = note(3, Until::At(at(20)));
        let dark = || Knowledge::Unreadable("the disk is gone".to_owned());
        let unknown = || Role::Unknown("not mounted".to_owned());
        let table: [(&str, Role, Knowledge, bool); 19] = [
            ("a standby", Role::Standby, known(shop(), None), true),
            ("a standby, and nothing can be read", Role::Standby, dark(), true),
            ("a primary under a live lease", Role::Primary, known(shop(), lease), true),
            ("without a note", Role::Primary, known(shop(), None), false),
            ("the lease is over", Role::Primary, known(shop(), note(3, Until::At(at(10)))), false),
            ("the lease is over, just now", Role::Primary, known(shop(), note(3, Until::At(at(9)))), false),
            ("a fenced generation", Role::Primary, known(shop(), note(2, Until::At(at(20)))), false),
            (
                "an older one than was held",
                Role::Primary,
                known(Guarded { held: Generation(4), ..shop() }, lease),
                false,
            ),
            ("a note without end, no row", Role::Primary, known(shop(), note(3, Until::Never)), false),
            (
                "a durable lease without end",
                Role::Primary,
                known(Guarded { sole: Some(Generation(3)), ..shop() }, None),
                true,
            ),
            (
                "a fenced one without end",
                Role::Primary,
                known(Guarded { sole: Some(Generation(2)), ..shop() }, None),
                false,
            ),
            ("released by hand", Role::Primary, known(Guarded { released: true, ..shop() }, None), true),
            ("an app without leases", Role::Primary, known(Guarded { fences: false, ..shop() }, None), true),
            (
                "never held here",
                Role::Primary,
                known(Guarded { held: Generation(0), fenced: Generation(0), ..shop() }, None),
                false,
            ),
            ("no app declares it", Role::Primary, Knowledge::Known(vec![]), true),
            ("no app was ever told", Role::Primary, Knowledge::Nothing, true),
            ("what is known cannot be read", Role::Primary, dark(), false),
            ("neither can the data directory", unknown(), known(shop(), None), false),
            ("a live lease, and a directory that cannot be read", unknown(), known(shop(), lease), true),
        ];
        for (name, role, knowledge, may) in table {
            let found = may_start(&role, &knowledge, at(10));
            assert_eq!(found.is_ok(), may, "{name}: {found:?}");
        }
    }

    #[test]
    fn one_app_without_a_lease_is_enough_to_refuse() {
        let other = Guarded { app: AppName::new("other").expect("a name"), ..shop() };
        let lease = note(3, Until::At(at(20)));
        let both = |second| Knowledge::Known(vec![(shop(), lease), (other.clone(), second)]);
        assert!(may_start(&Role::Primary, &both(lease), at(10)).is_ok());
        let refused = may_start(&Role::Primary, &both(None), at(10)).expect_err("refused").to_string();
        assert!(refused.contains("other has no lease") && refused.contains("release other"), "{refused}");
    }

    proptest! {
        /// An agent that would start now on the same facts would stop a primary that it finds, unless this lets it start.
        #[test]
        fn what_may_start_is_what_a_starting_agent_would_leave_running(
            held in 0u64..4, fenced in 0u64..4, sole in prop::option::of(0u64..4), released: bool,
            record in prop::option::of((0u64..5, 0u64..20)),
        ) {
            let kept = Kept {
                held: Generation(held),
                fenced: Generation(fenced),
                sole: sole.map(Generation),
                released,
                wish: Some(Wish {
                    generation: Generation(9),
                    first: Generation(1),
                    here: true,
                    since: Generation(0),
                    held: false,
                    lease_ends: true,
                    timings: Some(Timings::new(Duration::from_secs(3), Duration::from_secs(1), Duration::from_secs(1))),
                    fences: true,
                    allowed: true,
                }),
                ..Kept::default()
            };
            let record = record.and_then(|(generation, until)| note(generation, Until::At(at(until))));
            let (holder, effects) = Holder::start(kept, record, false, 0, at(10));
            let guarded = Guarded::new(shop().app, kept.wish.and_then(|wish| wish.timings), true, kept);
            let may = may_start(&Role::Primary, &Knowledge::Known(vec![(guarded, record)]), at(10)).is_ok();
            prop_assert_eq!(may, released || holder.right() != Right::None);
            let stops = effects.iter().any(|e| matches!(e, Effect::Fence { .. }));
            prop_assert!(!(may && stops), "{:?}", effects);
        }
    }
}
