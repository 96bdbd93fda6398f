//! Which checks of an app this host runs, and against what.
//!
//! Local checks are run by the region's own hosts: those of the role `from`, or else each host that is looked at looks
//! at itself. Remote checks are run by the app's hosts in every other region. Besides what is declared, every host
//! with a writer looks at it in every round, as `writer:NAME`: whether the region could take over must be known even
//! when no check says so.

use std::{path::PathBuf, time::Duration};

use holdfast_types::{
    AppName, CheckName, Credential, HostName, RegionName, WriterName,
    spec::{AppSpec, Check, CheckKind, MongodbExpect, Of, Place, PostgresExpect, RedisExpect, Region, Writer},
};

/// Longest an implicit look at a writer may take.
const WRITER_LOOK_TIMEOUT: Duration = Duration::from_secs(2);

/// One probe that this host runs in each round.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Duty {
    /// The check's name, or `writer:NAME`.
    pub check: String,
    /// The region that is looked at.
    pub region: RegionName,
    /// The host that is looked at, where the check names hosts.
    pub target: Option<HostName>,
    /// What to do.
    pub probe: Probe,
    /// When an answer is too late.
    pub timeout: Duration,
}

/// How to look.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Probe {
    /// Open a TCP connection.
    Tcp {
        /// IP address or DNS name.
        address: String,
        /// Port.
        port: u16,
    },
    /// Ask a URL.
    Http {
        /// The URL.
        url: String,
        /// The status that is fine.
        expect_status: u16,
    },
    /// Log in to this host's own database.
    Postgres {
        /// The writer.
        writer: Box<Writer>,
        /// What is fine.
        expect: PostgresExpect,
    },
    /// Ask Docker about containers of this host.
    Container {
        /// Their names.
        names: Vec<String>,
    },
    /// Look at the certificate that an endpoint shows.
    Tls {
        /// IP address or DNS name.
        address: String,
        /// Port.
        port: u16,
        /// The name that it must be for.
        server_name: String,
        /// With fewer days left it is failing.
        days_min: u32,
        /// A file of CAs on this host, in the place of those that it trusts.
        ca: Option<PathBuf>,
    },
    /// Ask a Redis.
    Redis {
        /// IP address or DNS name.
        address: String,
        /// Port.
        port: u16,
        /// What is fine.
        expect: RedisExpect,
        /// The user of its ACL.
        user: Option<String>,
        /// The credential with its password.
        password: Option<Credential>,
    },
    /// Ask a MongoDB.
    Mongodb {
        /// IP address or DNS name.
        address: String,
        /// Port.
        port: u16,
        /// What is fine.
        expect: MongodbExpect,
        /// The replica set that it must belong to.
        replica_set: Option<String>,
    },
    /// Run a script of this host's folder.
    Exec(Script),
}

/// A script and what it is told: for whom it looks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Script {
    /// The bare name of its file.
    pub name: String,
    /// The app.
    pub app: AppName,
    /// The region that is looked at.
    pub region: RegionName,
    /// The check.
    pub check: CheckName,
}

/// Everything that `host` looks at while `active` is the active region, in a fixed order.
#[must_use]
pub fn duties(spec: &AppSpec, host: &HostName, active: &RegionName) -> Vec<Duty> {
    let Some(own) = spec.hosts().get(host).cloned() else { return Vec::new() };
    let mut duties = Vec::new();
    for check in spec.checks.values() {
        let looked_at = spec.regions.iter().filter(|region| match check.of {
            Of::Active => region.name == *active,
            Of::Standby => region.name != *active,
        });
        for region in looked_at {
            let from_inside = region.name == own;
            match check.place {
                Place::Local if from_inside => local(spec, check, region, host, &mut duties),
                Place::Remote if !from_inside && observes(spec, check, &own, host) => {
                    targets(spec, check, region, |_| true, &mut duties);
                }
                Place::Local | Place::Remote => {}
            }
        }
    }
    for writer in writers_on(spec, host) {
        let expect = if own == *active { PostgresExpect::AcceptsWrites } else { PostgresExpect::Streams };
        duties.push(Duty {
            check: implicit_name(&writer.name),
            region: own.clone(),
            target: Some(host.clone()),
            probe: Probe::Postgres { writer: Box::new(writer.clone()), expect },
            timeout: WRITER_LOOK_TIMEOUT,
        });
    }
    duties
}

/// Name under which a writer is looked at when no check says so.
#[must_use]
pub fn implicit_name(writer: &WriterName) -> String {
    format!("writer:{writer}")
}

/// The writers that run on this host.
pub fn writers_on<'a>(spec: &'a AppSpec, host: &'a HostName) -> impl Iterator<Item = &'a Writer> {
    spec.writers.values().filter(move |writer| {
        spec.regions
            .iter()
            .any(|region| region.roles.get(&writer.on).is_some_and(|hosts| hosts.iter().any(|p| p.host == *host)))
    })
}

/// Whether a role has this host in a region; a check without `from` takes every host of the app.
fn observes(spec: &AppSpec, check: &Check, region: &RegionName, host: &HostName) -> bool {
    let Some(from) = &check.from else { return true };
    let hosts = spec.region(region).and_then(|region| region.roles.get(from));
    hosts.is_some_and(|hosts| hosts.iter().any(|placement| placement.host == *host))
}

fn local(spec: &AppSpec, check: &Check, region: &Region, host: &HostName, duties: &mut Vec<Duty>) {
    if let CheckKind::Postgres { writer, expect } = &check.kind {
        let here = spec.writer_host(writer, &region.name).is_some_and(|placement| placement.host == *host);
        if let (true, Some(writer)) = (here, spec.writers.get(writer)) {
            duties.push(Duty {
                check: check.name.to_string(),
                region: region.name.clone(),
                target: Some(host.clone()),
                probe: Probe::Postgres { writer: Box::new(writer.clone()), expect: *expect },
                timeout: check.timeout,
            });
        }
        return;
    }
    if check.from.is_some() {
        if observes(spec, check, &region.name, host) {
            targets(spec, check, region, |_| true, duties);
        }
    } else {
        targets(spec, check, region, |target| target == host, duties);
    }
}

/// One duty for each host of the check's role that `wanted` takes, or one for the region when it names no role.
fn targets(spec: &AppSpec, check: &Check, region: &Region, wanted: impl Fn(&HostName) -> bool, duties: &mut Vec<Duty>) {
    let mut push = |target: Option<&HostName>, address: Option<&str>| {
        let probe = match &check.kind {
            CheckKind::Tcp { port } => address.map(|address| Probe::Tcp { address: address.to_owned(), port: *port }),
            CheckKind::Http { expect_status, .. } => {
                check.url(&region.name, address).map(|url| Probe::Http { url, expect_status: *expect_status })
            }
            CheckKind::Container { names } => Some(Probe::Container { names: names.clone() }),
            CheckKind::Tls(tls) => tls.address.as_deref().or(address).map(|address| {
                let of_region = |text: &str| text.replace("{region}", region.name.as_str());
                let address = of_region(address);
                Probe::Tls {
                    server_name: tls.server_name.as_deref().map_or_else(|| address.clone(), of_region),
                    address,
                    port: tls.port,
                    days_min: tls.days_min,
                    ca: tls.ca.clone(),
                }
            }),
            CheckKind::Redis { port, expect, user, password } => address.map(|address| Probe::Redis {
                address: address.to_owned(),
                port: *port,
                expect: *expect,
                user: user.clone(),
                password: password.clone(),
            }),
            CheckKind::Mongodb { port, expect, replica_set } => address.map(|address| Probe::Mongodb {
                address: address.to_owned(),
                port: *port,
                expect: *expect,
                replica_set: replica_set.clone(),
            }),
            CheckKind::Exec { script } => Some(Probe::Exec(Script {
                name: script.clone(),
                app: spec.app.clone(),
                region: region.name.clone(),
                check: check.name.clone(),
            })),
            // Only on its own host, which `local` does.
            CheckKind::Postgres { .. } => None,
        };
        if let Some(probe) = probe {
            duties.push(Duty {
                check: check.name.to_string(),
                region: region.name.clone(),
                target: target.cloned(),
                probe,
                timeout: check.timeout,
            });
        }
    };
    match &check.on {
        Some(role) => {
            for placement in region.roles.get(role).into_iter().flatten().filter(|p| wanted(&p.host)) {
                push(Some(&placement.host), Some(&placement.address));
            }
        }
        None => push(None, None),
    }
}

#[cfg(test)]
mod tests {
    use holdfast_types::spec;

    use super::*;

    const SHOP: &str = r#"
spec: 1
app: shop
regions:
  us-east:
    roles:
      db: [{host: use-db1, address: 10.10.1.11}]
      proxy: [{host: use-web1, address: 10.10.1.21}, {host: use-web2, address: 10.10.1.22}]
  us-west:
    roles:
      db: [{host: usw-db1, address: 10.20.1.11}]
      proxy: [{host: usw-web1, address: 10.20.1.21}]
writers:
  pg:
    kind: postgres
    on: db
    run_by: {systemd: postgresql@15-main.service}
    data_dir: /var/lib/postgresql/15/main
    port: 5432
    login: {socket: /var/run/postgresql, user: holdfast, database: postgres}
    replication: {mode: async, user: replicator, slot: "holdfast_{region}"}
checks:
  writes: {kind: postgres, writer: pg, where: local, expect: accepts_writes, timeout: 2s}
  follows: {kind: postgres, writer: pg, where: local, of: standby, expect: streams, timeout: 2s}
  db-port: {kind: tcp, on: db, port: 5432, where: local, from: proxy, timeout: 1s}
  proxy: {kind: tcp, on: proxy, port: 5433, where: local, timeout: 1s}
  web: {kind: container, on: proxy, containers: ["web-{region}", cache], where: local}
  disk: {kind: exec, on: db, script: disk-headroom, where: local, of: standby}
  outside: {kind: http, url: "https://{region}.shop.example/health", expect: 200, where: remote, timeout: 4s}
failover: {mode: automatic, interval: 30s, recheck: 5s, failures: 3, successes: 3, lease: {duration: 20s, renew: 5s}, on_isolation: fence}
fencing: {by: agent, within: 10s}
"#;

    fn seen(host: &str, active: &str) -> Vec<String> {
        let spec = spec::parse("shop.yaml", SHOP).expect("a spec");
        let host = HostName::new(host).expect("a name");
        let active = RegionName::new(active).expect("a name");
        let name = |duty: Duty| {
            let target = duty.target.map_or_else(|| "-".to_owned(), |target| target.to_string());
            format!("{} {} {target}", duty.check, duty.region)
        };
        duties(&spec, &host, &active).into_iter().map(name).collect()
    }

    #[test]
    fn a_database_host_looks_at_its_own_database_and_at_the_other_region() {
        assert_eq!(seen("use-db1", "us-east"), ["writes us-east use-db1", "writer:pg us-east use-db1"]);
        assert_eq!(
            seen("usw-db1", "us-east"),
            ["disk us-west usw-db1", "follows us-west usw-db1", "outside us-east -", "writer:pg us-west usw-db1"]
        );
    }

    #[test]
    fn a_proxy_host_looks_at_itself_and_from_its_role_at_the_database() {
        assert_eq!(
            seen("use-web2", "us-east"),
            ["db-port us-east use-db1", "proxy us-east use-web2", "web us-east use-web2"]
        );
        assert_eq!(seen("usw-web1", "us-east"), ["outside us-east -"]);
        assert_eq!(seen("stranger", "us-east"), Vec::<String>::new());
    }

    #[test]
    fn what_is_looked_at_follows_the_active_region() {
        assert_eq!(
            seen("use-db1", "us-west"),
            ["disk us-east use-db1", "follows us-east use-db1", "outside us-west -", "writer:pg us-east use-db1"]
        );
    }

    #[test]
    fn a_script_is_told_for_whom_it_looks_and_containers_are_named_for_the_region() {
        let spec = spec::parse("shop.yaml", SHOP).expect("a spec");
        let west = RegionName::new("us-west").expect("a name");
        let placed = spec.placed_in(&west);
        let probe_of = |host: &str, active: &str, check: &str| {
            let host = HostName::new(host).expect("a name");
            let active = RegionName::new(active).expect("a name");
            let found = duties(&placed, &host, &active).into_iter().find(|duty| duty.check == check);
            found.expect("it looks").probe
        };
        let script = Script {
            name: "disk-headroom".to_owned(),
            app: spec.app.clone(),
            region: west.clone(),
            check: CheckName::new("disk").expect("a name"),
        };
        assert_eq!(probe_of("usw-db1", "us-east", "disk"), Probe::Exec(script));
        let names = vec!["web-us-west".to_owned(), "cache".to_owned()];
        assert_eq!(probe_of("usw-web1", "us-west", "web"), Probe::Container { names });
    }
}
