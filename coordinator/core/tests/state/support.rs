//! A cluster with hosts and apps to begin with, and a log whose every entry is checked.

use std::collections::BTreeMap;

use holdfast_coordinator_core::{
    change::{self, Change, Kind, Outcome, Refused},
    records,
    state::{App, State},
};
use holdfast_types::{AppName, HostName, LogIndex, OperationId, RegionName, WallTime};
use prost::Message as _;

/// Regions in the order of every spec here.
pub const REGIONS: [&str; 3] = ["us-east", "us-west", "eu-one"];
/// The database host of each region.
pub const DB: [&str; 3] = ["use-db1", "usw-db1", "eu1-db1"];
/// The proxy host of each region.
pub const WEB: [&str; 3] = ["use-web1", "usw-web1", "eu1-web1"];

pub fn name<T: std::str::FromStr>(text: &str) -> T {
    text.parse().unwrap_or_else(|_| panic!("{text:?} is a name"))
}

pub fn region(text: &str) -> RegionName {
    name(text)
}

pub fn host(text: &str) -> HostName {
    name(text)
}

pub fn shop() -> AppName {
    name("shop")
}

/// What a spec of the tests says; everything else is the same in all.
#[derive(Debug, Clone, PartialEq)]
pub struct Wanted {
    pub app: &'static str,
    pub regions: usize,
    pub failover: bool,
    pub lease: &'static str,
    pub renew: &'static str,
    pub fenced_by: &'static str,
    pub within: &'static str,
    pub proxies: bool,
    /// Instead of the region's own database host.
    pub west_db: &'static str,
    pub port: u16,
    /// A second database of the app, on each region's other host.
    pub second: bool,
}

impl Wanted {
    pub fn shop(regions: usize) -> Self {
        Self {
            app: "shop",
            regions,
            failover: true,
            lease: "20s",
            renew: "5s",
            fenced_by: "agent",
            within: "10s",
            proxies: true,
            west_db: DB[1],
            port: 5432,
            second: false,
        }
    }

    pub fn yaml(&self) -> String {
        let mut text = format!("spec: 1\napp: {}\nregions:\n", self.app);
        for n in 0..self.regions {
            let db = if n == 1 { self.west_db } else { DB[n] };
            text += &format!(
                "  {}:\n    roles:\n      db: [{{host: {db}, address: 10.{n}.0.1}}]\n      proxy: [{{host: {}, address: 10.{n}.0.2}}]\n",
                REGIONS[n], WEB[n]
            );
            if self.second {
                text += &format!("      db2: [{{host: {}, address: 10.{n}.0.2}}]\n", WEB[n]);
            }
        }
        text += "writers:\n";
        for (writer, on, port) in [("pg", "db", self.port), ("pg2", "db2", 5433)] {
            if writer == "pg2" && !self.second {
                continue;
            }
            text += &format!(
                "  {writer}:\n    kind: postgres\n    on: {on}\n    run_by: {{systemd: {app}-{on}.service}}\n    data_dir: /srv/{app}-{on}\n    \
                 port: {port}\n    login: {{socket: /run/postgresql, user: holdfast}}\n",
                app = self.app,
            );
            if self.regions > 1 {
                text += "    replication: {mode: async, user: replicator}\n";
            }
        }
        text += "checks:\n  writes: {kind: postgres, writer: pg, where: local, expect: accepts_writes, vital: true}\n";
        if self.failover {
            text += &format!(
                "failover:\n  mode: assist\n  lease: {{duration: {}, renew: {}}}\n  on_isolation: fence\n",
                self.lease, self.renew
            );
            if self.regions > 1 {
                text += &format!("fencing: {{by: {}, within: {}}}\n", self.fenced_by, self.within);
            }
        }
        if self.proxies {
            text += "traffic:\n  proxies:\n    - {kind: haproxy, on: proxy, socket: /run/haproxy.sock, backends: {pg: pg}}\n";
        }
        text
    }
}

/// A state, and the rows that a shell would have written.
#[derive(Clone)]
pub struct Log {
    pub state: State,
    pub written: BTreeMap<Vec<u8>, Vec<u8>>,
    pub index: u64,
    /// Rows, refusals and bytes are compared after every entry.
    pub checked: bool,
}

impl Log {
    pub fn empty() -> Self {
        Self { state: State::default(), written: BTreeMap::new(), index: 0, checked: true }
    }

    /// A cluster whose hosts of three regions are enrolled.
    pub fn cluster() -> Self {
        let mut log = Self::empty();
        log.done(Kind::Init(change::Init {
            cluster: "0198c9a2-6f3e-4c1d-9b7a-2f4e8d1c5a60".into(),
            name: "prod".into(),
        }));
        for (n, region) in REGIONS.iter().enumerate() {
            log.done(token(region, region, 9, ""));
            let mut hosts = vec![DB[n], WEB[n]];
            if n == 1 {
                hosts.push("usw-db2");
            }
            for host in hosts {
                log.done(enrol(region, host));
            }
        }
        log
    }

    /// The same with the app, active in the first region, and the others promotable.
    pub fn with_app(wanted: &Wanted) -> Self {
        let mut log = Self::cluster();
        log.done(apply_spec(wanted, 0));
        if wanted.failover && wanted.regions > 1 {
            let regions = REGIONS[1..wanted.regions].to_vec();
            log.done(promotable(wanted.app, 1, &regions));
        }
        log
    }

    pub fn try_apply(&mut self, kind: Kind) -> Result<u64, Refused> {
        self.index += 1;
        let at = WallTime(1_795_208_657_532 + i64::try_from(self.index).expect("small") * 10);
        self.apply(&Change::new(at, "holdfast://prod/operator/mara", kind))
    }

    pub fn apply(&mut self, change: &Change) -> Result<u64, Refused> {
        let before = self.checked.then(|| self.state.clone());
        let applied = self.state.apply(LogIndex(self.index), change).expect("a known kind of change");
        for row in &applied.rows {
            match &row.value {
                Some(value) => self.written.insert(row.key.clone(), value.clone()),
                None => self.written.remove(&row.key),
            };
        }
        if let Some(mut before) = before {
            let rows: Vec<_> = self.written.clone().into_iter().collect();
            assert_eq!(self.state.rows(), rows, "what was written is all rows, after {change:?}");
            // Of a call, the refusal is noted.
            if let (Outcome::Refused(refused), None) = (&applied.outcome, &change.call) {
                assert!(applied.rows.is_empty(), "{change:?} was refused and touched rows");
                assert_eq!(self.state, before, "{change:?} was refused ({refused}) and changed something");
            }
            let again = before.apply_bytes(LogIndex(self.index), &change.encode_to_vec()).expect("a known kind");
            assert_eq!(again, applied, "the same entry on the same state, {change:?}");
        }
        match applied.outcome {
            Outcome::Done(number) => Ok(number),
            Outcome::Refused(refused) => Err(refused),
        }
    }

    pub fn done(&mut self, kind: Kind) -> u64 {
        let text = format!("{kind:?}");
        self.try_apply(kind).unwrap_or_else(|refused| panic!("{text} was refused: {refused}"))
    }

    pub fn refused(&mut self, kind: Kind) -> Refused {
        let text = format!("{kind:?}");
        self.try_apply(kind).expect_err(&format!("{text} was not refused"))
    }

    pub fn app(&self, app: &str) -> &App {
        self.state.app(&name(app)).expect("the app is there")
    }

    pub fn op(&self, number: u64) -> &records::Operation {
        self.state.operation(OperationId(number)).expect("the operation is there")
    }

    /// As a coordinator that starts again: from the rows alone.
    pub fn restarted(&self) -> Self {
        let state = State::from_rows(self.written.clone()).expect("rows that were just written");
        assert_eq!(state, self.state, "rows say all there is");
        Self { state, ..self.clone() }
    }
}

/// A state whose record of an app says something that no change would make it say.
pub fn bent(state: &State, app: &str, bend: impl Fn(&mut records::App)) -> State {
    let rows = state.rows().into_iter().map(|(key, value)| {
        if key != format!("app/{app}").into_bytes() {
            return (key, value);
        }
        let mut record = records::App::decode(&*value).expect("a row of an app");
        bend(&mut record);
        (key, record.encode_to_vec())
    });
    State::from_rows(rows).expect("rows of a state")
}

pub fn token(id: &str, region: &str, uses_left: u32, replaces: &str) -> Kind {
    let token = records::JoinToken {
        secret_hash: id.as_bytes().to_vec(),
        region: region.into(),
        uses_left,
        until: 1_995_208_657_532,
        created_by: "mara".into(),
        replaces: replaces.into(),
    };
    Kind::CreateToken(change::CreateToken { id: id.into(), token: Some(token) })
}

pub fn enrol(token: &str, host: &str) -> Kind {
    Kind::Enrol(change::Enrol {
        token: token.into(),
        secret_hash: token.as_bytes().to_vec(),
        host: host.into(),
        request_hash: host.as_bytes().to_vec(),
        until: 1_895_208_657_532,
    })
}

pub fn apply_spec(wanted: &Wanted, on_revision: u64) -> Kind {
    let active_region = if on_revision == 0 { REGIONS[0].into() } else { String::new() };
    Kind::ApplySpec(change::ApplySpec { spec_yaml: wanted.yaml(), on_revision, active_region })
}

pub fn promotable(app: &str, generation: u64, regions: &[&str]) -> Kind {
    let regions = regions.iter().map(|r| (*r).to_owned()).collect();
    Kind::SetPromotable(change::SetPromotable { app: app.into(), generation, regions })
}

pub fn quarantine(host: &str) -> Kind {
    Kind::Quarantine(change::Quarantine { host: host.into(), why: "its disk went back".into() })
}

pub fn reactivate(app: &str, generation: u64, host: &str) -> Kind {
    Kind::Reactivate(change::Reactivate { app: app.into(), generation, host: host.into() })
}

pub fn start(app: &App, operation: records::Operation) -> Kind {
    Kind::StartOperation(change::StartOperation {
        operation: Some(operation),
        generation: app.record.generation,
        revision: app.record.revision,
    })
}

pub fn begins(operation: u64, step: usize, attempt: u32) -> Kind {
    Kind::StepBegins(change::StepBegins { operation, step: small(step), attempt })
}

pub fn ended(operation: u64, step: usize, attempt: u32, well: bool, chosen: &str) -> Kind {
    let text = if well { "well" } else { "it did not" };
    Kind::StepEnded(change::StepEnded {
        operation,
        step: small(step),
        attempt,
        well,
        text: text.into(),
        chosen: chosen.into(),
    })
}

pub fn small(n: usize) -> u32 {
    u32::try_from(n).expect("a small number")
}

/// Draws that look random and are the same for the same seed.
#[derive(Clone)]
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ 0x1234_5678_9ABC_DEF1)
    }

    /// Less than `n`, which is not 0.
    pub fn roll(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) % n
    }

    pub fn one_in(&mut self, n: u64) -> bool {
        self.roll(n) == 0
    }
}
