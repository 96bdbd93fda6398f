//! A database that lives in a container from now on: same data directory, same socket, another process to run it.

use std::time::Duration;

use anyhow::{Context, Result};

use super::{
    docker::{Docker, IMAGE, Image},
    postgres::{PgNode, USER},
    process::Program,
    time::wait_until,
};

const STARTED_WITHIN: Duration = Duration::from_secs(60);

/// How a container is made.
#[derive(Debug, Clone, Copy, Default)]
pub struct Contained {
    /// `--restart`; nothing is `no`, as the guide asks for.
    pub restart: Option<&'static str>,
    /// `--pid host`: then the end of its first process does not end the others.
    pub host_pids: bool,
}

impl Contained {
    /// What the container of a region is called; a spec says `pg-{region}`.
    #[must_use]
    pub fn name(region: &str) -> String {
        format!("pg-{region}")
    }

    /// Stops a database that runs on the host and starts it in a container, whose data directory is `/data`. Beside
    /// PostgreSQL there is a process that works elsewhere: only its cgroup tells that it belongs to the container.
    ///
    /// # Errors
    /// When the container cannot be made, or the database does not answer from it.
    pub fn move_in(self, node: &PgNode, docker: &Docker, image: &Image) -> Result<()> {
        node.stop()?;
        let user = Program::new("id").args(["-u", USER]).run(STARTED_WITHIN)?.well()?;
        let (region, data) = (node.region(), node.data_dir());
        let folder = data.parent().context("a data directory at the root")?.display();
        let run = format!(
            "sleep 1000000 & exec {}/postgres -D /data -c cluster_name={region} >>/postgres.log 2>&1",
            image.bin().display()
        );
        let (name, user) = (Self::name(region), user.trim().to_owned());
        let (data, socket, log) = (
            format!("{folder}/data:/data"),
            format!("{folder}/socket:/socket"),
            format!("{}:/postgres.log", node.log().display()),
        );
        let mut args = vec!["create", "--name", &name, "--network", "host", "--user", &user, "--env", "LANG=C.UTF-8"];
        args.extend(["--volume", &data, "--volume", &socket, "--volume", &log]);
        args.extend(["--restart", self.restart.unwrap_or("no")]);
        if self.host_pids {
            args.extend(["--pid", "host"]);
        }
        args.extend([IMAGE, "sh", "-c", &run]);
        docker.run(&args)?;
        docker.run(&["start", &name])?;
        wait_until(&format!("{name} to answer"), STARTED_WITHIN, || {
            node.value("select 1").map_err(|e| format!("{e:#}"))
        })?;
        Ok(())
    }
}
