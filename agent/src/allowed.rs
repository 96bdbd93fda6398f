//! What this host lets Holdfast touch, as `agent.toml` says, and what follows for the apps that it is told of.
//!
//! Everything that touches a writer here passes [`Allowed`]: looks of a plan, leases, commands and fences. The decision
//! itself is in [`holdfast_agent_core::declared`].

mod memory;

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use holdfast_agent_core::{
    declared::{Declarations, Declared, Standing},
    duties::writers_on,
};
use holdfast_proto::v1;
use holdfast_types::{
    HostName, WriterName,
    spec::{AppSpec, Writer},
};

pub use memory::Memory;

use crate::{
    apps::{App, Apps, Me},
    executors::ExecError,
};

/// Both lists, and the file in which root changes them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Allowed {
    lists: Declarations,
    file: PathBuf,
}

/// A writer that the list leaves out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Barred {
    /// As the spec calls it.
    pub writer: WriterName,
    /// As it would have to be declared.
    pub declared: Declared,
}

impl Allowed {
    /// What is declared in `file` now, and what was declared there once.
    #[must_use]
    pub fn new(file: &Path, declared: BTreeSet<Declared>, remembered: BTreeSet<Declared>) -> Self {
        Self { lists: Declarations::new(declared, remembered), file: file.to_owned() }
    }

    /// Every writer of a spec, for a simulation that has no file.
    #[must_use]
    pub fn all_of(spec: &AppSpec) -> Self {
        Self::new(Path::new("/"), spec.writers.values().map(Declared::of).collect(), BTreeSet::new())
    }

    /// Both lists.
    #[must_use]
    pub fn lists(&self) -> &Declarations {
        &self.lists
    }

    /// What may be done with a writer.
    #[must_use]
    pub fn standing(&self, writer: &Writer) -> Standing {
        self.lists.standing(&Declared::of(writer))
    }

    /// The writers of a spec on a host that may not be run there.
    #[must_use]
    pub fn barred(&self, spec: &AppSpec, host: &HostName) -> Vec<Barred> {
        let mut barred = Vec::new();
        for writer in writers_on(spec, host) {
            match self.standing(writer) {
                Standing::Declared => {}
                Standing::Remembered | Standing::Stranger => {
                    barred.push(Barred { writer: writer.name.clone(), declared: Declared::of(writer) });
                }
            }
        }
        barred
    }

    /// Whether everything of an app on this host may be run.
    #[must_use]
    pub fn allows(&self, app: &App, me: &Me) -> bool {
        self.barred(&app.spec, &me.host).is_empty()
    }

    /// Refuses to run a writer that is not declared.
    ///
    /// # Errors
    /// With the lines that would declare it.
    pub fn may_run(&self, writer: &Writer) -> Result<(), ExecError> {
        match self.standing(writer) {
            Standing::Declared => Ok(()),
            Standing::Remembered | Standing::Stranger => Err(self.refusal(writer)),
        }
    }

    /// Refuses to look at, or stop, a writer that never was declared.
    ///
    /// # Errors
    /// With the lines that would declare it.
    pub fn may_stop(&self, writer: &Writer) -> Result<(), ExecError> {
        match self.standing(writer) {
            Standing::Declared | Standing::Remembered => Ok(()),
            Standing::Stranger => Err(self.refusal(writer)),
        }
    }

    fn refusal(&self, writer: &Writer) -> ExecError {
        let declared = Declared::of(writer);
        ExecError(format!(
            "{} does not allow {declared}; add the lines  {}  and restart the agent",
            self.file.display(),
            declared.lines().join("  ")
        ))
    }

    /// What a look at a spec answers of the writers that may not be run here.
    #[must_use]
    pub fn undeclared(&self, spec: &AppSpec, host: &HostName) -> Vec<v1::UndeclaredWriter> {
        let of = |barred: Barred| v1::UndeclaredWriter {
            writer: barred.writer.to_string(),
            what: barred.declared.to_string(),
            file: self.file.display().to_string(),
            add: barred.declared.lines(),
        };
        self.barred(spec, host).into_iter().map(of).collect()
    }

    /// What ails this host in the eyes of the apps that it was told of, a line each.
    #[must_use]
    pub fn problems(&self, apps: &Apps, me: &Me) -> Vec<String> {
        apps.values().flat_map(|app| self.problems_of(app, me)).collect()
    }

    /// The same of one app.
    #[must_use]
    pub fn problems_of(&self, app: &App, me: &Me) -> Vec<String> {
        let problem = |Barred { writer, declared }: Barred| {
            let stops = match self.lists.standing(&declared) {
                Standing::Declared | Standing::Remembered => "can be fenced, and",
                Standing::Stranger => "cannot be fenced, and",
            };
            let file = self.file.display();
            format!("{}: {writer} {stops} gets no lease here: {file} does not allow {declared}", app.name)
        };
        self.barred(&app.spec, &me.host).into_iter().map(problem).collect()
    }

    /// All of it, to be sent.
    #[must_use]
    pub fn facts(&self, apps: &Apps, me: &Me, troubles: &[String]) -> v1::HostFacts {
        let allows = self.lists.declared().iter().map(ToString::to_string).collect();
        let problems = troubles.iter().cloned().chain(self.problems(apps, me)).collect();
        v1::HostFacts { allows, problems }
    }
}

#[cfg(test)]
mod tests {
    use holdfast_types::{RegionName, spec};

    use super::*;

    const SHOP: &str = r#"
spec: 1
app: shop
regions:
  us-east:
    roles:
      db: [{host: use-db1, address: 10.10.1.11}]
  us-west:
    roles:
      db: [{host: usw-db1, address: 10.20.1.11}]
writers:
  pg:
    kind: postgres
    on: db
    run_by: {systemd: "pg-{region}.service"}
    data_dir: /var/lib/{region}
    port: 5432
    login: {socket: /var/run/postgresql, user: holdfast, database: postgres}
    replication: {mode: async, user: replicator, slot: "holdfast_{region}"}
checks:
  writes: {kind: postgres, writer: pg, where: local, expect: accepts_writes, timeout: 2s}
failover: {mode: automatic, interval: 30s, recheck: 5s, failures: 3, successes: 3, lease: {duration: 20s, renew: 5s}, on_isolation: fence}
fencing: {by: agent, within: 10s}
"#;

    fn shop() -> AppSpec {
        let region = RegionName::new("us-east").expect("a name");
        spec::parse("shop.yaml", SHOP).unwrap_or_else(|e| panic!("{e}")).placed_in(&region)
    }

    #[test]
    fn a_writer_that_is_not_in_the_file_is_refused_with_the_lines_to_add() {
        let (shop, host) = (shop(), HostName::new("use-db1").expect("a name"));
        let file = Path::new("/etc/holdfast/agent.toml");
        let writer = shop.writers.values().next().expect("a writer").clone();
        let allowed = Allowed::new(file, BTreeSet::new(), BTreeSet::new());
        let lines = ["[[writers]]", "unit = \"pg-us-east.service\"", "data_dir = \"/var/lib/us-east\""];
        let undeclared = allowed.undeclared(&shop, &host);
        assert_eq!(undeclared[0].add, lines);
        let refused = allowed.may_stop(&writer).expect_err("never declared").to_string();
        assert!(lines.iter().all(|line| refused.contains(line)), "{refused}");
        // The lines are what they say they are.
        let config = crate::config::Config::parse(file, &lines.join("\n")).expect("a configuration");
        let declared = config.writers().clone();
        let allowed = Allowed::new(file, declared.clone(), BTreeSet::new());
        assert_eq!((allowed.may_run(&writer), allowed.undeclared(&shop, &host)), (Ok(()), vec![]));
        // The line went: it can still be stopped.
        let allowed = Allowed::new(file, BTreeSet::new(), declared);
        assert_eq!(allowed.may_stop(&writer), Ok(()));
        assert!(allowed.may_run(&writer).is_err());
        // Of other hosts' writers nothing is asked here.
        let web = HostName::new("use-web1").expect("a name");
        assert!(allowed.barred(&shop, &web).is_empty());
    }
}
