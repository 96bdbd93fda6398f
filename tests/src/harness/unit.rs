//! A database that is a unit of systemd from now on: same data directory, same socket, another process to run it.

use std::time::Duration;

use anyhow::Result;

use super::{
    machine::{Machine, TARGET},
    postgres::{PgNode, USER},
    time::wait_until,
};

const STARTED_WITHIN: Duration = Duration::from_secs(60);

/// How a unit is made.
#[derive(Debug, Clone, Copy)]
pub struct Unit {
    /// `Restart=`.
    pub restart: &'static str,
    /// `RestartSec=`.
    pub restart_sec: &'static str,
    /// `KillMode=`: `mixed` is what PostgreSQL's own manual says, with `process` systemd ends nobody but the postmaster.
    pub kill_mode: &'static str,
}

impl Default for Unit {
    fn default() -> Self {
        Self { restart: "always", restart_sec: "100ms", kill_mode: "mixed" }
    }
}

impl Unit {
    /// What the unit of a region is called; a spec says `pg-{region}.service`.
    #[must_use]
    pub fn name(region: &str) -> String {
        format!("pg-{region}.service")
    }

    /// Stops a database that runs on the host and starts it as a unit. Beside PostgreSQL there is a process that works
    /// elsewhere: only its cgroup tells that it belongs to the unit.
    ///
    /// # Errors
    /// When the unit cannot be made, or the database does not answer from it.
    pub fn move_in(self, node: &PgNode, machine: &Machine) -> Result<()> {
        node.stop()?;
        let name = Self::name(node.region());
        let (bin, data, log) = (node.bin().display(), node.data_dir(), node.log().display());
        let Self { restart, restart_sec, kill_mode } = self;
        machine.add_unit(
            &name,
            &format!(
                "[Unit]\nDescription=PostgreSQL of {}\n# It may come back as often as it likes.\n\
                 StartLimitIntervalSec=0\n\n[Service]\nType=notify\nUser={USER}\n\
                 ExecStart=/bin/sh -c 'sleep 1000000 & exec {bin}/postgres -D {}'\nStandardOutput=append:{log}\n\
                 StandardError=append:{log}\nKillMode={kill_mode}\nKillSignal=SIGINT\nTimeoutSec=infinity\n\
                 Restart={restart}\nRestartSec={restart_sec}\n\n[Install]\nWantedBy={TARGET}\n",
                node.region(),
                data.display()
            ),
        )?;
        machine.run("systemctl", &["start", "--", &name])?;
        wait_until(&format!("{name} to answer"), STARTED_WITHIN, || {
            node.value("select 1").map_err(|e| format!("{e:#}"))
        })?;
        Ok(())
    }
}
