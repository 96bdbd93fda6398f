//! A PostgreSQL 15 cluster in a folder of its own, and a pair of them.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    time::Duration,
};

use holdfast_agent::exec::{
    child::Run,
    postgres::{Login, Postgres, State},
};
use holdfast_types::spec::RunBy;
use rustix::process::Signal;
use tempfile::TempDir;
use tokio::task::JoinSet;
use tokio_postgres::NoTls;

use super::{PATIENCE, free_port, pids_in, signal, wait_for};

const BIN: &str = "/usr/lib/postgresql/15/bin";
const ROLE_SQL: &str = include_str!("../../../docs/guide/postgres-role.sql");

/// A data directory and whatever runs in it; all ends with this value.
pub struct Cluster {
    _dir: TempDir,
    pub data_dir: PathBuf,
    pub socket_dir: PathBuf,
    pub port: u16,
    pub postgres: Postgres,
}

/// A superuser's connection.
pub struct Admin {
    pub client: tokio_postgres::Client,
    _driver: JoinSet<()>,
}

async fn pg(program: &str, args: &[&str]) {
    let mut run = Run::new(format!("{BIN}/{program}")).as_user("postgres");
    for arg in args {
        run = run.arg(*arg);
    }
    run.within(Duration::from_secs(120))
        .await
        .expect("PostgreSQL 15 is installed (postgresql-15) and this runs as root");
}

impl Cluster {
    fn empty() -> Self {
        let dir = tempfile::Builder::new().prefix("hf-pg-").tempdir_in("/tmp").expect("a folder in /tmp");
        let passwd = fs::read_to_string("/etc/passwd").expect("readable");
        let ids = passwd
            .lines()
            .find_map(|line| line.strip_prefix("postgres:x:"))
            .expect("user postgres: install postgresql-15");
        let mut ids = ids.split(':').map(|id| id.parse::<u32>().expect("an id"));
        std::os::unix::fs::chown(dir.path(), ids.next(), ids.next()).expect("this runs as root");
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).expect("ours");
        let data_dir = dir.path().join("data");
        let socket_dir = dir.path().to_owned();
        let port = free_port();
        let login = Login {
            socket: Some(socket_dir.clone()),
            address: None,
            port,
            user: "holdfast".into(),
            database: "postgres".into(),
            password: None,
        };
        let run_by = RunBy::PgCtl { bin: BIN.into(), user: "postgres".into() };
        let postgres = Postgres::new(run_by, &data_dir, login, None);
        Self { _dir: dir, data_dir, socket_dir, port, postgres }
    }

    fn configure(&self) {
        let text = format!(
            "port = {}\nlisten_addresses = '127.0.0.1'\nunix_socket_directories = '{}'\nshared_buffers = 16MB\n\
             wal_receiver_status_interval = 1s\nwal_log_hints = on\nmax_standby_streaming_delay = -1\n",
            self.port,
            self.socket_dir.display()
        );
        let file = self.data_dir.join("holdfast-test.conf");
        fs::write(&file, text).expect("writable");
        fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).expect("ours");
    }

    /// A running primary, with Holdfast's role.
    pub async fn primary() -> Self {
        let cluster = Self::empty();
        pg("initdb", &["-U", "postgres", "-A", "trust", "-N", "-D", cluster.data()]).await;
        cluster.configure();
        let conf = cluster.data_dir.join("postgresql.conf");
        let text = fs::read_to_string(&conf).expect("initdb wrote it");
        fs::write(&conf, format!("{text}\ninclude = 'holdfast-test.conf'\n")).expect("writable");
        pg("pg_ctl", &["start", "-w", "-t", "60", "-D", cluster.data(), "-l", cluster.log()]).await;
        // Twice: it must be repeatable.
        let admin = cluster.admin().await;
        for _ in 0..2 {
            admin.client.batch_execute(ROLE_SQL).await.expect("the role's SQL runs");
        }
        cluster
    }

    /// A primary and a standby that streams from it.
    pub async fn pair() -> (Self, Self) {
        let primary = Self::primary().await;
        let standby = Self::empty();
        let from = format!("host=127.0.0.1 port={} user=postgres", primary.port);
        let args = ["-d", &from, "-D", standby.data(), "-R", "-X", "stream", "-C", "-S", "standby", "-c", "fast"];
        pg("pg_basebackup", &args).await;
        standby.configure();
        pg("pg_ctl", &["start", "-w", "-t", "60", "-D", standby.data(), "-l", standby.log()]).await;
        standby.wait_streaming().await;
        (primary, standby)
    }

    fn data(&self) -> &str {
        self.data_dir.to_str().expect("plain path")
    }

    fn log(&self) -> &str {
        // The same file the code under test uses: where to look when a start fails.
        Box::leak(format!("{}/holdfast-start.log", self.data()).into_boxed_str())
    }

    /// Logs in as the superuser.
    pub async fn admin(&self) -> Admin {
        let config = format!("host={} port={} user=postgres dbname=postgres", self.socket_dir.display(), self.port);
        let (client, connection) = tokio_postgres::connect(&config, NoTls).await.expect("the superuser may log in");
        let mut driver = JoinSet::new();
        driver.spawn(async move {
            connection.await.ok();
        });
        Admin { client, _driver: driver }
    }

    pub async fn state(&self) -> State {
        self.postgres.look(PATIENCE).await.expect("it can be looked at").state
    }

    pub async fn wait_streaming(&self) {
        let streams = |s: &State| matches!(s, State::Standby { receiver: Some(r), .. } if r.streaming);
        wait_for("a streaming standby", async || self.state().await, streams).await;
    }

    /// Number of the postmaster, by its own file.
    pub fn postmaster(&self) -> i32 {
        let text = fs::read_to_string(self.data_dir.join("postmaster.pid")).expect("it runs");
        text.lines().next().and_then(|line| line.parse().ok()).expect("a process number")
    }

    /// All live processes of it.
    pub fn pids(&self) -> Vec<i32> {
        pids_in(&self.data_dir)
    }

    pub fn exists(&self, name: &str) -> bool {
        Path::new(&self.data_dir).join(name).exists()
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        // Postmaster first or not: whatever is there is killed until nothing is, by number.
        for _ in 0..1_000 {
            let left = self.pids();
            if left.is_empty() {
                return;
            }
            for pid in left {
                signal(pid, Signal::KILL);
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}
