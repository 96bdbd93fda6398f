//! Every way a spec is refused, with its words. The words are the product here: an operator reads nothing else.

mod checks;
mod failover;
mod format;
mod regions;
mod writers;

use super::{GOOD, changed, problems};

/// A refused change of the good spec.
struct Refused {
    /// What is wrong, as a name.
    what: &'static str,
    /// What stands in the good spec …
    from: &'static str,
    /// … and what in this one.
    to: &'static str,
    /// All problems, in order.
    said: &'static [&'static str],
}

#[test]
fn every_refusal_says_where_what_and_what_would_do() {
    let tables = [format::REFUSED, regions::REFUSED, writers::REFUSED, checks::REFUSED, failover::REFUSED];
    for refused in tables.into_iter().flatten() {
        assert_eq!(problems(&changed(refused.from, refused.to)), refused.said, "{}", refused.what);
    }
}

#[test]
fn the_good_spec_is_taken() {
    assert_eq!(problems(GOOD), Vec::<String>::new());
}

#[test]
fn two_writers_on_one_host_share_nothing() {
    let second = "writers:
  other:
    kind: postgres
    on: db
    run_by: {systemd: postgresql@15-main.service}
    data_dir: /var/lib/postgresql/15/main/
    login: {socket: /var/run/postgresql, user: holdfast}
    replication: {mode: sync, user: replicator}
";
    assert_eq!(
        problems(&changed("writers:\n", second)),
        [
            "shop.yaml:25: writers.pg.run_by: the same as of writers.other on host use-db1; give each writer its own",
            "shop.yaml:26: writers.pg.data_dir is /var/lib/postgresql/15/main; the same as of writers.other on host \
             use-db1; give each writer its own",
            "shop.yaml:27: writers.pg.port is 5432; the same as of writers.other on host use-db1; give each writer its own",
        ]
    );
}

#[test]
fn writers_of_one_host_may_share_programs_and_what_a_directory_is_called_in_a_container() {
    let second = |run_by: &str, data_dir: &str| {
        format!(
            "writers:\n  other:\n    kind: postgres\n    on: db\n    run_by: {run_by}\n    data_dir: {data_dir}\n    port: 5532\n    \
             login: {{socket: /var/run/other, user: holdfast}}\n    replication: {{mode: sync, user: replicator}}\n"
        )
    };
    let unit = "run_by: {systemd: postgresql@15-main.service}";
    let pg_ctl = "{pg_ctl: {bin: /usr/lib/postgresql/15/bin, user: postgres}}";
    let both_by = |run_by: &str, other: &str, data_dir: &str| {
        let text = changed("writers:\n", &second(other, data_dir));
        problems(&text.replacen(
            &format!("    {unit}\n    data_dir: /var/lib/postgresql/15/main\n"),
            &format!("    run_by: {run_by}\n    data_dir: /var/lib/postgresql/15/main\n"),
            1,
        ))
    };
    assert_eq!(both_by(pg_ctl, pg_ctl, "/srv/other"), Vec::<String>::new());
    assert_eq!(both_by("{container: a}", "{container: b}", "/var/lib/postgresql/15/main"), Vec::<String>::new());
    assert_eq!(both_by(pg_ctl, pg_ctl, "/var/lib/postgresql/15/main").len(), 1, "one directory of the host");
    assert_eq!(both_by("{container: a}", "{container: a}", "/srv/other").len(), 1, "one container");
}

#[test]
fn ten_problems_are_all_told_at_once() {
    let text = GOOD
        .replace("app: shop", "app: Shop")
        .replace("10.1.0.11", "10.1.0.11:22")
        .replace("host: usw-db1", "host: use-db1")
        .replace("    port: 5432\n", "    port: 70000\n    max_lag: 1\n")
        .replace("user: holdfast, database: postgres", "user: holdfast, password: hunter2")
        .replace("writer: pg, where: local, of", "writer: pq, where: local, of")
        .replace("{duration: 20s, renew: 5s}", "{duration: 9s, renew: 5s}")
        .replace("recheck: 5s", "recheck: 5s\n  intervall: 3s")
        .replace("by: agent", "by: guard");
    assert_eq!(
        problems(&text),
        [
            "shop.yaml:2: app is Shop; no app name; use 1 to 63 of a-z, 0-9 and -, the first a letter",
            "shop.yaml:6: regions.us-east.roles.db[0].address is 10.1.0.11:22; no address; write an IP address or a DNS name, without port",
            "shop.yaml:11: regions.us-west.roles.db[0].host is use-db1; a host of regions.us-east (line 4) already; a host stands in one region",
            "shop.yaml:20: writers.pg.port is 70000; no port; write a port from 1 to 65535",
            "shop.yaml:21: writers.pg.max_lag: not supported by this version; leave it out",
            "shop.yaml:22: writers.pg.login.password: not a credential, and secrets never stand in a spec; write {credential: NAME}, and put the secret into /etc/holdfast/credentials/NAME on the host",
            "shop.yaml:30: checks.follows.writer is pq; no such writer; did you mean pg?",
            "shop.yaml:38: failover.intervall: unknown key; did you mean interval?",
            "shop.yaml:41: failover.lease.duration is 9s; needs 2 × renew (5 s) + drift (0.5 s) = 10.5 s or more; write 10.5s or more, or a shorter renew",
            "shop.yaml:46: fencing.by is guard; not supported by this version; write agent or none",
        ]
    );
}
