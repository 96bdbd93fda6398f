//! App specs for a fleet: what differs between two apps on the same hosts is named, the rest is as everywhere.

use std::{fmt::Write as _, fs, path::Path};

use anyhow::{Context, Result};

use super::{guarded::Guarded, operator::APP, postgres::PgNode};

/// An app of a fleet: one PostgreSQL in each region behind both proxies.
#[derive(Debug, Clone)]
pub struct AppPlan {
    /// Its name.
    pub app: String,
    /// automatic | assist | observe.
    pub mode: String,
    /// The whole `failover:` section's timings, as YAML lines.
    pub timings: String,
    /// `fencing.within`.
    pub within: String,
    /// `run_by`, as YAML.
    pub run_by: String,
    /// The data directory, as whoever runs the database calls it.
    pub data_dir: String,
    /// The folder of its socket on the host.
    pub socket: String,
    /// The database's port.
    pub port: u16,
    /// The backend in both proxies.
    pub backend: String,
    /// The port that clients of the proxies connect to.
    pub backend_port: u16,
}

impl Guarded {
    /// The fleet's own app, on the database that it came with.
    #[must_use]
    pub fn app_plan(&self) -> AppPlan {
        self.app_plan_of(APP, &self.fleet.east.pg, "pg_write", 5433)
    }

    /// An app on the database that `east` is the one in us-east of, with the fleet's mode and timings.
    #[must_use]
    pub fn app_plan_of(&self, app: &str, east: &PgNode, backend: &str, backend_port: u16) -> AppPlan {
        AppPlan {
            app: app.to_owned(),
            mode: self.settings.mode.to_owned(),
            timings: self.settings.timings.to_owned(),
            within: self.settings.within.to_owned(),
            run_by: format!("{{pg_ctl: {{bin: {}, user: postgres}}}}", east.bin().display()),
            data_dir: placed(&east.data_dir(), east.region()),
            socket: placed(&east.socket_dir(), east.region()),
            port: east.port(),
            backend: backend.to_owned(),
            backend_port,
        }
    }

    /// The spec of an app.
    #[must_use]
    pub fn spec_of(&self, plan: &AppPlan) -> String {
        let (east, west) = (&self.fleet.east, &self.fleet.west);
        let AppPlan { app, mode, timings, within, run_by, data_dir, socket, port, backend, backend_port } = plan;
        let mut spec = format!("spec: 1\napp: {app}\nregions:\n");
        for region in [east, west] {
            let _ = write!(
                spec,
                "  {}:\n    roles:\n      db: [{{host: {}, address: {}}}]\n      proxy: [{{host: {}, address: {}}}]\n",
                region.name, region.db.name, region.db.address, region.web.name, region.web.address
            );
        }
        let _ = write!(
            spec,
            "writers:\n  pg:\n    kind: postgres\n    on: db\n    run_by: {run_by}\n    data_dir: \"{data_dir}\"\n    \
             port: {port}\n    login: {{socket: \"{socket}\", user: holdfast, database: postgres}}\n    \
             replication: {{mode: async, user: replicator, slot: \"holdfast_{{region}}\"}}\n"
        );
        let proxy = east.proxy.socket().display().to_string();
        let proxy = proxy.replace(&format!("haproxy-{}", east.web.name), "haproxy-{region}");
        let _ = write!(
            spec,
            "checks:\n  writes: {{kind: postgres, writer: pg, where: local, expect: accepts_writes, vital: true, timeout: 1s}}\n  \
             follows: {{kind: postgres, writer: pg, where: local, of: standby, expect: streams, timeout: 1s}}\n  \
             db-port: {{kind: tcp, on: db, port: {port}, where: local, from: proxy, timeout: 1s}}\n  \
             proxy: {{kind: tcp, on: proxy, port: {backend_port}, where: local, timeout: 1s}}\n\
             failover:\n  mode: {mode}\n{timings}fencing: {{by: agent, within: {within}}}\n\
             traffic:\n  proxies:\n    - {{kind: haproxy, on: proxy, socket: \"{proxy}\", backends: {{{backend}: pg}}}}\n"
        );
        spec
    }

    /// Writes a spec to a file and applies it.
    ///
    /// # Errors
    /// When it is refused.
    pub fn apply_text(&self, app: &str, text: &str) -> Result<()> {
        let file = self.fleet.state("operator")?.join(format!("{app}.yaml"));
        fs::write(&file, text)?;
        let path = file.to_str().context("a path that is no text")?;
        self.holdfast(&["apply", "-f", path, "-y"])?.well()?;
        Ok(())
    }
}

/// One path for both regions, with the region's name in it: the hosts share one file system here.
fn placed(path: &Path, region: &str) -> String {
    path.display().to_string().replace(region, "{region}")
}
