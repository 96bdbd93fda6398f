//! Refused in `writers`.

use super::Refused;

pub(super) const REFUSED: &[Refused] = &[
    Refused {
        what: "a writer on an unknown role",
        from: "    on: db\n",
        to: "    on: dbs\n",
        said: &["shop.yaml:17: writers.pg.on is dbs; no region has this role; did you mean db?"],
    },
    Refused {
        what: "a writer on two hosts",
        from: "[{host: usw-db1, address: 10.2.0.11}]",
        to: "[{host: usw-db1, address: 10.2.0.11}, {host: usw-db2, address: 10.2.0.12}]",
        said: &[
            "shop.yaml:17: writers.pg.on is db; regions.us-west has 2 hosts in this role; a postgres writer runs on exactly one host per region",
        ],
    },
    Refused {
        what: "a writer of a later kind",
        from: "kind: postgres\n    on",
        to: "kind: redis\n    on",
        said: &["shop.yaml:16: writers.pg.kind is redis; not supported by this version; write postgres"],
    },
    Refused {
        what: "a writer of no kind",
        from: "    kind: postgres\n    on",
        to: "    on",
        said: &["shop.yaml:15: writers.pg.kind: missing; write kind: postgres"],
    },
    Refused {
        what: "later keys of a writer",
        from: "    port: 5432\n",
        to: "    port: 5432\n    max_lag: {bytes: 16MiB}\n    rejoin: ask\n",
        said: &[
            "shop.yaml:21: writers.pg.max_lag: not supported by this version; leave it out",
            "shop.yaml:22: writers.pg.rejoin: not supported by this version; leave it out",
        ],
    },
    Refused {
        what: "a unit without its type",
        from: "postgresql@15-main.service",
        to: "postgresql@15-main",
        said: &[
            "shop.yaml:18: writers.pg.run_by.systemd is postgresql@15-main; no systemd service; write the unit's full name, as in postgresql@15-main.service",
        ],
    },
    Refused {
        what: "a unit that looks like an option",
        from: "postgresql@15-main.service",
        to: "--now.service",
        said: &[
            "shop.yaml:18: writers.pg.run_by.systemd is --now.service; no systemd service; write the unit's full name, as in postgresql@15-main.service",
        ],
    },
    Refused {
        what: "two ways to run",
        from: "{systemd: postgresql@15-main.service}",
        to: "{systemd: a.service, container: b}",
        said: &[
            "shop.yaml:18: writers.pg.run_by: says several ways; write one of {systemd: UNIT}, {container: NAME} or {pg_ctl: {bin: DIRECTORY, user: USER}}",
        ],
    },
    Refused {
        what: "no way to run",
        from: "{systemd: postgresql@15-main.service}",
        to: "{}",
        said: &[
            "shop.yaml:18: writers.pg.run_by: does not say what starts and stops it; write {systemd: UNIT}, {container: NAME} or {pg_ctl: {bin: DIRECTORY, user: USER}}",
        ],
    },
    Refused {
        what: "a container name with a slash",
        from: "{systemd: postgresql@15-main.service}",
        to: "{container: shop/pg}",
        said: &[
            "shop.yaml:18: writers.pg.run_by.container is shop/pg; no container name; use letters, digits, _, . and -, the first a letter or digit",
        ],
    },
    Refused {
        what: "pg ctl without a user",
        from: "{systemd: postgresql@15-main.service}",
        to: "{pg_ctl: {bin: bin}}",
        said: &[
            "shop.yaml:18: writers.pg.run_by.pg_ctl.bin is bin; not absolute; write an absolute path, with no . or .. in it",
            "shop.yaml:18: writers.pg.run_by.pg_ctl.user: missing; write the system user that owns the data directory, as in postgres",
        ],
    },
    Refused {
        what: "a relative directory",
        from: "data_dir: /var/lib/postgresql/15/main",
        to: "data_dir: postgresql/15/main",
        said: &[
            "shop.yaml:19: writers.pg.data_dir is postgresql/15/main; not absolute; write an absolute path, with no . or .. in it",
        ],
    },
    Refused {
        what: "a directory through dots",
        from: "data_dir: /var/lib/postgresql/15/main",
        to: "data_dir: /var/lib/../../etc",
        said: &[
            "shop.yaml:19: writers.pg.data_dir is /var/lib/../../etc; leads through . or ..; write an absolute path, with no . or .. in it",
        ],
    },
    Refused {
        what: "a whole file system",
        from: "data_dir: /var/lib/postgresql/15/main",
        to: "data_dir: /",
        said: &[
            "shop.yaml:19: writers.pg.data_dir is /; the whole file system; write an absolute path, with no . or .. in it",
        ],
    },
    Refused {
        what: "port zero",
        from: "    port: 5432\n",
        to: "    port: 0\n",
        said: &["shop.yaml:20: writers.pg.port is 0; no port; write a port from 1 to 65535"],
    },
    Refused {
        what: "a port beyond the last",
        from: "    port: 5432\n",
        to: "    port: 65536\n",
        said: &["shop.yaml:20: writers.pg.port is 65536; no port; write a port from 1 to 65535"],
    },
    Refused {
        what: "a login by two ways",
        from: "{socket: /var/run/postgresql, user",
        to: "{socket: /var/run/postgresql, address: 127.0.0.1, user",
        said: &["shop.yaml:21: writers.pg.login: has both socket and address; write one of them"],
    },
    Refused {
        what: "a login by no way",
        from: "{socket: /var/run/postgresql, user",
        to: "{user",
        said: &[
            "shop.yaml:21: writers.pg.login: has neither socket nor address; write {socket: DIRECTORY, user: USER} or {address: ADDRESS, user: USER, password: {credential: NAME}}",
        ],
    },
    Refused {
        what: "a password in plain text",
        from: "database: postgres}",
        to: "database: postgres, password: hunter2}",
        said: &[
            "shop.yaml:21: writers.pg.login.password: not a credential, and secrets never stand in a spec; write {credential: NAME}, and put the secret into /etc/holdfast/credentials/NAME on the host",
        ],
    },
    Refused {
        what: "a password under a misspelt key",
        from: "database: postgres}",
        to: "database: postgres, pasword: hunter2}",
        said: &["shop.yaml:21: writers.pg.login.pasword: unknown key; did you mean password?"],
    },
    Refused {
        what: "a password as credential name",
        from: "{credential: shop-repl}",
        to: "{credential: \"Hunter 2!\"}",
        said: &[
            "shop.yaml:25: writers.pg.replication.password.credential: no credential name; use 1 to 63 of a-z, 0-9 and -, the first a letter",
        ],
    },
    Refused {
        what: "replication of no mode",
        from: "      mode: async\n",
        to: "",
        said: &[
            "shop.yaml:22: writers.pg.replication.mode: missing; write async (a failover may lose the last commits) or sync (commits wait)",
        ],
    },
    Refused {
        what: "a slot that postgres would refuse",
        from: "slot: holdfast_{region}",
        to: "slot: holdfast-{region}",
        said: &[
            "shop.yaml:26: writers.pg.replication.slot is holdfast-{region}; no slot name; use a-z, 0-9, _ and {region}, as in holdfast_{region}",
        ],
    },
    Refused {
        what: "a slot with an unknown placeholder",
        from: "slot: holdfast_{region}",
        to: "slot: holdfast_{host}",
        said: &[
            "shop.yaml:26: writers.pg.replication.slot is holdfast_{host}; no slot name; use a-z, 0-9, _ and {region}, as in holdfast_{region}",
        ],
    },
    Refused {
        what: "no replication to move to",
        from: "    replication:\n      mode: async\n      user: replicator\n      password: {credential: shop-repl}\n      slot: holdfast_{region}\n",
        to: "",
        said: &[
            "shop.yaml:15: writers.pg.replication: missing, and failover has 2 regions to move between; write {mode: async, user: USER, password: {credential: NAME}}",
        ],
    },
];
