//! What is taken, and what it means.

use std::{collections::BTreeSet, path::Path, time::Duration};

use super::{GOOD, changed, problems};
use crate::{
    ids::{Credential, HostName, RegionName, RoleName, WriterName},
    spec::{
        AppSpec, CheckKind, FencedBy, Mode, MongodbExpect, Of, OnIsolation, Place, PostgresExpect, RedisExpect,
        ReplicationMode, RunBy, TlsCheck, parse,
    },
};

fn spec(text: &str) -> AppSpec {
    parse("shop.yaml", text).expect("a good spec")
}

fn region(name: &str) -> RegionName {
    RegionName::new(name).expect("a name")
}

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn every_key_arrives_where_it_belongs() {
    let spec = spec(GOOD);
    assert_eq!(spec.app.as_str(), "shop");
    let pg = &spec.writers[&WriterName::new("pg").expect("a name")];
    assert_eq!(pg.run_by, RunBy::Systemd { unit: "postgresql@15-main.service".into() });
    assert_eq!((pg.port, pg.on.as_str()), (5432, "db"));
    assert_eq!(pg.login.socket.as_deref(), Some(Path::new("/var/run/postgresql")));
    assert_eq!((pg.login.address.as_deref(), pg.login.database.as_str()), (None, "postgres"));
    let replication = pg.replication.as_ref().expect("written");
    assert_eq!(replication.mode, ReplicationMode::Async);
    assert_eq!(replication.password.as_ref().map(|name| name.as_str()), Some("shop-repl"));

    let check = |name: &str| spec.checks.values().find(|check| check.name.as_str() == name).expect("declared");
    let follows = check("follows");
    assert_eq!((follows.place, follows.of, follows.vital), (Place::Local, Of::Standby, false));
    let streams = CheckKind::Postgres { writer: pg.name.clone(), expect: PostgresExpect::Streams };
    assert_eq!(follows.kind, streams);
    assert_eq!(check("db-port").from.as_ref().map(RoleName::as_str), Some("proxy"));
    assert_eq!((check("api").enough, check("api").timeout), (Some(1), 3 * SECOND));
    assert!(check("outside").proves_writes && !check("api").proves_writes);

    let failover = spec.failover.as_ref().expect("written");
    assert_eq!((failover.mode, failover.on_isolation), (Mode::Automatic, OnIsolation::Fence));
    assert_eq!((failover.rto_target, failover.rpo_target), (Some(60 * SECOND), Some(0)));
    assert_eq!((spec.fencing.by, spec.fencing.within), (FencedBy::Agent, 10 * SECOND));
    assert_eq!(spec.proxies[0].backends["pg_write"], pg.name);
}

#[test]
fn each_kind_of_check_has_its_defaults() {
    let api = "{kind: http, on: api, url: \"http://{address}:8080/health\", expect: 200, where: local, enough: 1}";
    let kind = |check: &str| {
        let spec = spec(&GOOD.replace(api, check));
        spec.checks.into_values().find(|check| check.name.as_str() == "api").expect("declared").kind
    };
    let tls = TlsCheck { address: None, port: 443, server_name: None, days_min: 14, ca: None };
    assert_eq!(kind("{kind: tls, on: api, port: 443, where: local}"), CheckKind::Tls(tls.clone()));
    let all = "{kind: tls, address: \"{region}.shop.example\", port: 8443, server_name: shop.example, days_min: 30, \
               ca: /etc/ssl/ca.pem, where: remote}";
    let whole = TlsCheck {
        address: Some("{region}.shop.example".into()),
        port: 8443,
        server_name: Some("shop.example".into()),
        days_min: 30,
        ca: Some("/etc/ssl/ca.pem".into()),
    };
    assert_eq!(kind(all), CheckKind::Tls(whole));
    let redis = |expect, user: Option<&str>, password: Option<&str>| CheckKind::Redis {
        port: 6379,
        expect,
        user: user.map(str::to_owned),
        password: password.map(|name| Credential::new(name).expect("a name")),
    };
    assert_eq!(kind("{kind: redis, on: db, expect: replica, where: local}"), redis(RedisExpect::Replica, None, None));
    let logged_in =
        "{kind: redis, on: db, expect: accepts_writes, user: watch, password: {credential: cache}, where: local}";
    assert_eq!(kind(logged_in), redis(RedisExpect::AcceptsWrites, Some("watch"), Some("cache")));
    let mongodb = CheckKind::Mongodb { port: 27_017, expect: MongodbExpect::Primary, replica_set: Some("rs0".into()) };
    assert_eq!(kind("{kind: mongodb, on: db, expect: primary, replica_set: rs0, where: remote}"), mongodb);
    let script = CheckKind::Exec { script: "disk-headroom".into() };
    assert_eq!(kind("{kind: exec, on: db, script: disk-headroom, where: local}"), script);
}

#[test]
fn what_is_called_differently_in_each_region_is_named_once() {
    let text = GOOD
        .replace("{systemd: postgresql@15-main.service}", "{container: \"pg-{region}\"}")
        .replace("data_dir: /var/lib/postgresql/15/main", "data_dir: \"/srv/{region}/pg\"");
    let placed = spec(&text).placed_in(&region("us-west"));
    let pg = &placed.writers[&WriterName::new("pg").expect("a name")];
    assert_eq!(pg.run_by, RunBy::Container { name: "pg-us-west".into() });
    assert_eq!(pg.data_dir, Path::new("/srv/us-west/pg"));
    let other = problems(&text.replace("pg-{region}", "pg-{host}"));
    assert!(other.iter().any(|line| line.contains("container name")), "{other:?}");
}

#[test]
fn regions_keep_the_order_of_the_file() {
    let order = |spec: AppSpec| spec.regions.into_iter().map(|region| region.name.to_string()).collect::<Vec<_>>();
    assert_eq!(order(spec(GOOD)), ["us-east", "us-west"]);
    let swapped = GOOD.replace("us-east", "zz-top").replace("us-west", "aa-end");
    assert_eq!(order(spec(&swapped)), ["zz-top", "aa-end"]);
}

#[test]
fn reading_the_same_text_again_gives_an_equal_value() {
    assert_eq!(spec(GOOD), spec(GOOD));
    // How it is laid out changes nothing.
    let laid_out =
        GOOD.replace("fencing:\n  by: agent\n  within: 10s\n", "fencing: {\"by\": 'agent', within: 10000ms}\n");
    assert_eq!(spec(&laid_out), spec(GOOD));
    assert_eq!(spec(&GOOD.replace('\n', "\r\n")), spec(GOOD));
    assert_eq!(spec(&format!("---\n# of 2026\n{GOOD}...\n")), spec(GOOD));
}

#[test]
fn a_spec_is_shown_as_json_under_the_names_its_operator_chose() {
    let json = serde_json::to_value(spec(GOOD)).expect("no key is anything but text");
    assert_eq!(json["writers"]["pg"]["run_by"]["systemd"]["unit"], "postgresql@15-main.service");
    assert_eq!(json["regions"][1]["roles"]["db"][0]["host"], "usw-db1");
    assert_eq!(json["checks"]["writes"]["kind"]["postgres"]["expect"], "accepts_writes");
}

#[test]
fn what_is_left_out_has_the_formats_defaults() {
    let text = GOOD
        .replace("  interval: 30s\n  recheck: 5s\n  failures: 3\n  successes: 3\n", "")
        .replace("  lease: {duration: 20s, renew: 5s}\n  on_isolation: fence\n", "")
        .replace("    port: 5432\n", "")
        .replace(", database: postgres", "")
        .replace("      slot: holdfast_{region}\n", "")
        .replace("expect: 200, ", "")
        .replace("  within: 10s\n", "");
    assert_eq!(spec(&text), spec(GOOD));
}

#[test]
fn preset_fast_sets_what_is_not_written() {
    let fast = GOOD
        .replace("  interval: 30s\n  recheck: 5s\n  failures: 3\n  successes: 3\n", "  preset: fast\n")
        .replace("  lease: {duration: 20s, renew: 5s}\n", "")
        .replace("  within: 10s\n", "")
        .replace(", timeout: 2s", "")
        .replace(", timeout: 4s", "");
    let taken = spec(&fast);
    let failover = taken.failover.as_ref().expect("written");
    assert_eq!((failover.interval, failover.recheck, failover.failures), (SECOND, SECOND, 3));
    assert_eq!((failover.lease, failover.renew, taken.fencing.within), (3 * SECOND, SECOND, SECOND));
    assert_eq!((taken.slowest_check(), taken.detection()), (SECOND, Some(4 * SECOND)));

    let slower = fast.replace("  preset: fast\n", "  preset: fast\n  interval: 2s\n  lease: {duration: 5s}\n");
    let slower = spec(&slower).failover.expect("written");
    assert_eq!((slower.interval, slower.recheck), (2 * SECOND, SECOND));
    assert_eq!((slower.lease, slower.renew), (5 * SECOND, SECOND));
}

#[test]
fn an_app_without_failover_has_no_leases() {
    let start = GOOD.find("failover:").expect("there");
    let end = GOOD.find("fencing:").expect("there");
    let watched = spec(&format!("{}{}", &GOOD[..start], &GOOD[end..]));
    assert_eq!((watched.timings(), watched.detection()), (None, None));
    assert!(watched.arithmetic().is_empty());
}

#[test]
fn an_app_with_one_region_has_no_leases() {
    let start = GOOD.find("  us-west:").expect("there");
    let end = GOOD.find("writers:").expect("there");
    let one = format!("{}{}", &GOOD[..start], &GOOD[end..]);
    let one = one.replace("fencing:\n  by: agent\n  within: 10s\n", "");
    let one = spec(&one);
    assert_eq!(one.timings(), None);
    assert_eq!(one.arithmetic().len(), 1);
}

#[test]
fn an_app_may_say_that_nobody_fences_when_nothing_moves_by_itself() {
    let none = changed("by: agent", "by: none");
    for mode in ["assist", "observe"] {
        let text = none.replace("mode: automatic", &format!("mode: {mode}"));
        assert_eq!(spec(&text).fencing.by, FencedBy::None);
    }
}

#[test]
fn hosts_and_roles_are_found_by_name() {
    let spec = spec(GOOD);
    let host = |name: &str| HostName::new(name).expect("a name");
    let hosts = spec.hosts();
    assert_eq!(
        hosts.keys().map(HostName::as_str).collect::<Vec<_>>(),
        ["use-db1", "use-web1", "use-web2", "usw-db1", "usw-web1"]
    );
    assert_eq!(hosts[&host("usw-web1")], region("us-west"));
    let roles = |name| spec.roles_of(&host(name)).into_iter().map(String::from).collect::<BTreeSet<_>>();
    assert_eq!(roles("use-web1"), ["api".to_owned(), "proxy".to_owned()].into());
    assert_eq!(roles("elsewhere"), BTreeSet::new());
    let pg = WriterName::new("pg").expect("a name");
    let placement = spec.writer_host(&pg, &region("us-west")).expect("there is one in each region");
    assert_eq!((placement.host.as_str(), placement.address.as_str()), ("usw-db1", "10.2.0.11"));
    assert_eq!(spec.writer_host(&pg, &region("eu-1")), None);
    assert_eq!(spec.writer_host(&WriterName::new("cache").expect("a name"), &region("us-west")), None);
}

#[test]
fn urls_are_filled_in_for_a_region_and_a_host() {
    let spec = spec(GOOD);
    let url = |name: &str, address| {
        let check = spec.checks.values().find(|check| check.name.as_str() == name).expect("declared");
        check.url(&region("us-west"), address)
    };
    assert_eq!(url("outside", None).as_deref(), Some("https://us-west.shop.example/health"));
    assert_eq!(url("api", Some("10.2.0.21")).as_deref(), Some("http://10.2.0.21:8080/health"));
    assert_eq!(url("api", Some("fd00::21")).as_deref(), Some("http://[fd00::21]:8080/health"));
    assert_eq!(url("api", None), None);
    assert_eq!(url("db-port", Some("10.2.0.21")), None);
}

#[test]
fn a_slot_is_named_after_its_region_as_postgres_allows() {
    let spec = spec(GOOD);
    let replication = spec.writers.values().find_map(|writer| writer.replication.as_ref()).expect("written");
    assert_eq!(replication.slot_of(&region("us-west")), "holdfast_us_west");
}

#[test]
fn every_example_is_taken() {
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples");
    let mut seen = 0;
    for entry in std::fs::read_dir(&examples).expect("the examples are beside the crates") {
        let path = entry.expect("readable").path();
        if path.extension().is_some_and(|extension| extension == "yaml") {
            let text = std::fs::read_to_string(&path).expect("readable");
            assert_eq!(problems(&text), Vec::<String>::new(), "{}", path.display());
            seen += 1;
        }
    }
    assert!(seen >= 3, "{seen} examples in {}", examples.display());
}
