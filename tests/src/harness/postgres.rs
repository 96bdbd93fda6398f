//! PostgreSQL in a folder of its own, on a host, run with `pg_ctl` as an operator would.
//!
//! A database is what its data directory says, not a child process: the product stops, promotes and starts it too. It is
//! reached by its unix socket, from any namespace and through any cut.

use std::{
    collections::BTreeSet,
    fmt::Write as _,
    fs,
    net::SocketAddr,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use anyhow::{Context, Result, anyhow, ensure};
use rustix::process::Signal;

use super::{
    host::Host,
    net::Net,
    process::Program,
    reaper,
    session::{Row, Session},
    time::wait_until,
};
use crate::preflight;

/// The user PostgreSQL runs as; it refuses root.
pub const USER: &str = "postgres";

/// The user of replication, as in the example specs.
pub const REPLICATOR: &str = "replicator";

/// The port of the first database of a host.
pub const PORT: u16 = 5432;

/// initdb and pg_basebackup take one to two seconds alone, many times that beside a build.
const MADE_WITHIN: Duration = Duration::from_secs(90);
const STARTED_WITHIN: Duration = Duration::from_secs(60);
const GONE_WITHIN: Duration = Duration::from_secs(10);

/// The role that Holdfast needs is documented where operators read it, and tests use that very text.
const ROLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/guide/postgres-role.sql");

/// Which of a host's databases: its name, which the first one does without, and its port.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Instance(Option<(&'static str, u16)>);

impl Instance {
    /// A further database of the same hosts.
    #[must_use]
    pub const fn named(name: &'static str, port: u16) -> Self {
        Self(Some((name, port)))
    }

    const fn port(self) -> u16 {
        match self.0 {
            Some((_, port)) => port,
            None => PORT,
        }
    }
}

/// Where a database of a region lies in the net's folder.
fn folder_of(net: &Path, region: &str, instance: Instance) -> PathBuf {
    match instance.0 {
        Some((name, _)) => net.join(name).join(region),
        None => net.join(region),
    }
}

/// One database of one region.
#[derive(Debug)]
pub struct PgNode {
    region: String,
    instance: Instance,
    host: Host,
    net: PathBuf,
    folder: PathBuf,
    log: PathBuf,
    bin: PathBuf,
}

impl PgNode {
    /// A running primary with the roles `holdfast` and `replicator` and the table of the workload.
    ///
    /// # Errors
    /// When PostgreSQL is missing or does not start.
    pub fn primary(net: &Net, host: &Host, region: &str) -> Result<Self> {
        Self::primary_of(net, host, region, Instance::default())
    }

    /// The same for a further database of a host.
    ///
    /// # Errors
    /// When PostgreSQL is missing or does not start.
    pub fn primary_of(net: &Net, host: &Host, region: &str, instance: Instance) -> Result<Self> {
        let node = Self::place(net, host, region, instance)?;
        node.tool("initdb")
            .args(["-U", USER, "-A", "trust", "--data-checksums", "-N", "-D"])
            .arg(node.data_dir())
            .run(MADE_WITHIN)?
            .well()?;
        let data = node.data_dir();
        let mut config = fs::read_to_string(data.join("postgresql.conf"))?;
        // The socket folder is relative to the data directory: pg_basebackup and pg_rewind carry this file to another
        // database, and it must mean that one's own folder there.
        write!(
            config,
            "\nlisten_addresses = '{}'\nport = {}\nunix_socket_directories = '../socket'\nwal_log_hints = on\n\
             wal_receiver_status_interval = 1s\nmax_connections = 50\nshared_buffers = 32MB\nwal_keep_size = 256MB\n",
            listens_on(host),
            instance.port()
        )?;
        fs::write(data.join("postgresql.conf"), config)?;
        fs::write(
            data.join("pg_hba.conf"),
            "local all all trust\nhost all all 10.99.0.0/24 trust\nhost all all 127.0.0.0/8 trust\n\
             local replication all trust\nhost replication all 10.99.0.0/24 trust\n\
             host replication all 127.0.0.0/8 trust\n",
        )?;
        node.start()?;
        node.roles()?;
        node.query(crate::workload::TABLE)?;
        node.query(&crate::workload::procedure())?;
        Ok(node)
    }

    /// A running standby that streams from `primary` by the slot of that name, which is made there.
    ///
    /// # Errors
    /// When the copy fails or the standby does not stream.
    pub fn standby(net: &Net, host: &Host, region: &str, primary: &Self, slot: &str) -> Result<Self> {
        let node = Self::place(net, host, region, primary.instance)?;
        let (at, port) = (primary.host.address, primary.port());
        let source = format!("host={at} port={port} user={REPLICATOR} application_name={region}");
        node.tool("pg_basebackup")
            .args(["-d", &source, "-R", "-X", "stream", "-C", "-S", slot, "-c", "fast", "-N", "-D"])
            .arg(node.data_dir())
            .run(MADE_WITHIN)?
            .well()?;
        if host.namespace.is_none() {
            let file = node.data_dir().join("postgresql.conf");
            let copied = fs::read_to_string(&file)?;
            fs::write(&file, copied.replace(&listens_on(&primary.host), &listens_on(host)))?;
        }
        node.start()?;
        node.wait_streaming()?;
        Ok(node)
    }

    fn place(net: &Net, host: &Host, region: &str, instance: Instance) -> Result<Self> {
        let name = match instance.0 {
            Some((name, _)) => format!("{name}-{region}"),
            None => region.to_owned(),
        };
        let folder = folder_of(net.folder(), region, instance);
        ensure!(!folder.exists(), "region {region} has a database already");
        fs::create_dir_all(folder.join("socket"))?;
        let node = Self {
            region: region.to_owned(),
            host: host.clone(),
            bin: preflight::postgres()?,
            net: net.folder().to_owned(),
            log: net.log(&format!("postgres-{name}")),
            instance,
            folder,
        };
        fs::File::create(&node.log)?;
        let owned = Program::new("chown").args(["-R", &format!("{USER}:{USER}")]);
        owned.arg(&node.folder).arg(&node.log).run(GONE_WITHIN)?.well()?;
        Ok(node)
    }

    fn roles(&self) -> Result<()> {
        if Path::new(ROLE).exists() {
            // On standard input: the checkout may lie in a folder that this user cannot read.
            let text = fs::read_to_string(ROLE)?;
            let copy = self.folder.join("role.sql");
            fs::write(&copy, text)?;
            self.psql().args(["-v", "ON_ERROR_STOP=1", "-f"]).arg(&copy).run(STARTED_WITHIN)?.well().context(ROLE)?;
        } else {
            self.query("create role holdfast superuser login")?;
        }
        self.query(&format!(
            "do $$ begin if not exists (select from pg_roles where rolname = '{REPLICATOR}') then \
             create role {REPLICATOR} replication login; end if; end $$"
        ))?;
        Ok(())
    }

    fn tool(&self, name: &str) -> Program {
        Program::new(self.bin.join(name)).on(&self.host).as_user(USER).directory(&self.folder)
    }

    /// `psql` as the superuser, ready for more arguments.
    #[must_use]
    pub fn psql(&self) -> Program {
        let user = ["-X", "-q", "-U", USER, "-d", "postgres", "-h"];
        self.tool("psql").args(user).arg(self.socket_dir()).args(["-p", &self.port().to_string()])
    }

    /// The region it serves.
    #[must_use]
    pub fn region(&self) -> &str {
        &self.region
    }

    /// The host it runs on.
    #[must_use]
    pub const fn host(&self) -> &Host {
        &self.host
    }

    /// Where clients and the other database reach it.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        SocketAddr::new(self.host.address, self.port())
    }

    /// Its port.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.instance.port()
    }

    /// The data directory.
    #[must_use]
    pub fn data_dir(&self) -> PathBuf {
        self.folder.join("data")
    }

    /// Where another database of its host has its data.
    #[must_use]
    pub fn data_dir_of(&self, other: Instance) -> PathBuf {
        folder_of(&self.net, &self.region, other).join("data")
    }

    /// The folder of its unix socket.
    #[must_use]
    pub fn socket_dir(&self) -> PathBuf {
        self.folder.join("socket")
    }

    /// PostgreSQL's major version, as its folder says.
    #[must_use]
    pub fn major(&self) -> &str {
        // …/15/bin
        self.bin.iter().rev().nth(1).and_then(|part| part.to_str()).unwrap_or("?")
    }

    /// Whether its data directory is a standby's.
    #[must_use]
    pub fn is_standby(&self) -> bool {
        self.data_dir().join("standby.signal").exists()
    }

    /// The folder with PostgreSQL's programs.
    #[must_use]
    pub fn bin(&self) -> &Path {
        &self.bin
    }

    /// Starts it and waits until it answers.
    ///
    /// # Errors
    /// When it does not start, with the end of its log.
    pub fn start(&self) -> Result<()> {
        let output = self.tool("pg_ctl").args(["start", "-w", "-t", "50", "-l"]).arg(&self.log);
        let output = output.arg("-D").arg(self.data_dir()).run(STARTED_WITHIN)?;
        output.well().map(drop).with_context(|| format!("{}: {}", self.region, super::logs::tail(&self.log, 25)))
    }

    /// Stops it with a fast shutdown.
    ///
    /// # Errors
    /// When it does not stop.
    pub fn stop(&self) -> Result<()> {
        let output = self.tool("pg_ctl").args(["stop", "-w", "-m", "fast", "-D"]).arg(self.data_dir());
        output.run(STARTED_WITHIN)?.well().map(drop)
    }

    /// Promotes it and waits until it takes writes.
    ///
    /// # Errors
    /// When it does not.
    pub fn promote(&self) -> Result<()> {
        let answer = self.value("select pg_promote(true, 30)")?;
        ensure!(answer == "t", "{}: pg_promote answered {answer}", self.region);
        Ok(())
    }

    /// Runs statements as the superuser, from blocking and from async code.
    ///
    /// # Errors
    /// When PostgreSQL is down, refuses, or does not answer within ten seconds.
    pub fn query(&self, sql: &str) -> Result<Vec<Row>> {
        self.with_session(|session| session.query(sql))
    }

    /// The first column of the first row.
    ///
    /// # Errors
    /// As [`Self::query`], and when there is no row or it holds null.
    pub fn value(&self, sql: &str) -> Result<String> {
        let first = self.query(sql)?.into_iter().next().and_then(|row| row.into_iter().next().flatten());
        first.with_context(|| format!("{}: no value from {sql}", self.region))
    }

    /// Works with one session, on a thread of its own: a session blocks, which async code must not.
    ///
    /// # Errors
    /// When there is no session, and what `work` returns.
    pub fn with_session<T: Send>(&self, work: impl FnOnce(&mut Session) -> Result<T> + Send) -> Result<T> {
        let (socket, port) = (self.socket_dir(), self.port());
        let work = move || work(&mut Session::open(&socket, port)?);
        thread::scope(|scope| scope.spawn(work).join())
            .map_err(|_| anyhow!("the session's thread panicked"))?
            .with_context(|| format!("database of {}", self.region))
    }

    /// Whether it takes writes, by its own word; `false` also when it does not answer.
    #[must_use]
    pub fn accepts_writes(&self) -> bool {
        self.value("select not pg_is_in_recovery()").is_ok_and(|answer| answer == "t")
    }

    /// Waits until this standby streams.
    ///
    /// # Errors
    /// When it does not within 30 s.
    pub fn wait_streaming(&self) -> Result<()> {
        wait_until(&format!("{} to stream", self.region), Duration::from_secs(30), || {
            match self.value("select status from pg_stat_wal_receiver") {
                Ok(status) if status == "streaming" => Ok(()),
                Ok(status) => Err(status),
                Err(error) => Err(format!("{error:#}")),
            }
        })
    }

    /// Waits until this standby has replayed all that `primary` has written so far.
    ///
    /// # Errors
    /// When it has not within 30 s.
    pub fn wait_replayed(&self, primary: &Self) -> Result<()> {
        let written = primary.value("select pg_current_wal_lsn()")?;
        let look = format!("select coalesce(pg_last_wal_replay_lsn() >= '{written}', false), pg_last_wal_replay_lsn()");
        wait_until(&format!("{} to replay {written}", self.region), Duration::from_secs(30), || {
            match self.query(&look).map_err(|e| format!("{e:#}"))?.first() {
                Some(row) if row.first().is_some_and(|yes| yes.as_deref() == Some("t")) => Ok(()),
                other => Err(format!("{other:?}")),
            }
        })
    }

    /// Where its log goes.
    #[must_use]
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// Every process of this database: those whose working directory is the data directory, the postmaster's children
    /// also when the postmaster is gone.
    #[must_use]
    pub fn processes(&self) -> BTreeSet<u32> {
        processes_in(&self.data_dir())
    }

    /// `kill -9` of the postmaster alone. Its backends do not notice at once, and one that is busy goes on committing.
    ///
    /// # Errors
    /// When there is no postmaster.
    pub fn kill_postmaster(&self) -> Result<()> {
        let file = self.data_dir().join("postmaster.pid");
        let text = fs::read_to_string(&file).with_context(|| format!("{} does not run", self.region))?;
        let pid: u32 = text.lines().next().unwrap_or_default().trim().parse().context("postmaster.pid")?;
        ensure!(self.processes().contains(&pid), "{}: postmaster {pid} is gone already", self.region);
        let pid = reaper::as_pid(pid).context("postmaster.pid")?;
        rustix::process::kill_process(pid, Signal::KILL)?;
        Ok(())
    }

    /// Sends a signal to every process of this database.
    ///
    /// # Errors
    /// When there is none.
    pub fn signal_all(&self, signal: Signal) -> Result<()> {
        let all = self.processes();
        ensure!(!all.is_empty(), "{} does not run", self.region);
        all.into_iter().filter_map(reaper::as_pid).for_each(|pid| {
            // Gone between the look and the signal.
            let _ = rustix::process::kill_process(pid, signal);
        });
        Ok(())
    }

    /// Kills every process of this database and waits until all are gone.
    ///
    /// # Errors
    /// When one is still there after ten seconds.
    pub fn kill_all(&self) -> Result<()> {
        wait_until(&format!("every process of {} to be gone", self.region), GONE_WITHIN, || {
            let left = self.processes();
            // Gone between the look and the signal is what is wanted.
            left.iter().filter_map(|pid| reaper::as_pid(*pid)).for_each(|pid| {
                let _ = rustix::process::kill_process(pid, Signal::KILL);
            });
            if left.is_empty() { Ok(()) } else { Err(format!("{left:?}")) }
        })
    }

    /// The same, and nobody can start it again: what every start reads first is gone.
    ///
    /// # Errors
    /// When a process is still there after ten seconds, or the file cannot be moved.
    pub fn ruin(&self) -> Result<()> {
        self.kill_all()?;
        let control = self.data_dir().join("global/pg_control");
        fs::rename(&control, control.with_extension("gone")).context("cannot take pg_control away")
    }
}

/// Every process whose working directory is this data directory, whatever it is called where the process lives: in a
/// container it has another name.
#[must_use]
pub fn processes_in(data_dir: &Path) -> BTreeSet<u32> {
    let identity = |path: &Path| fs::metadata(path).ok().map(|m| (m.dev(), m.ino()));
    let Some(wanted) = identity(data_dir) else { return BTreeSet::new() };
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries
        .filter_map(|entry| Some((entry.file_name().to_str()?.parse::<u32>().ok()?, entry.path().join("cwd"))))
        .filter(|(_, cwd)| identity(cwd) == Some(wanted))
        .map(|(pid, _)| pid)
        .collect()
}

/// In a namespace everywhere, which the copy of another database then takes over as it is.
fn listens_on(host: &Host) -> String {
    if host.namespace.is_some() { "*".to_owned() } else { host.address.to_string() }
}

impl Drop for PgNode {
    fn drop(&mut self) {
        // The net's warden does the same again and removes the folder; a failure here is not the last word.
        let _ = self.kill_all();
    }
}
