//! Refused in `regions`.

use super::Refused;

pub(super) const REFUSED: &[Refused] = &[
    Refused {
        what: "a region name with a dot",
        from: "  us-west:\n    roles",
        to: "  us.west:\n    roles",
        said: &[
            "shop.yaml:9: regions.us.west: the key is no region name; use 1 to 63 of a-z, 0-9 and -, the first a letter",
        ],
    },
    Refused {
        what: "a region without roles",
        from: "  us-west:\n    roles:\n      db:    [{host: usw-db1, address: 10.2.0.11}]\n      proxy: [{host: usw-web1, address: 10.2.0.21}]\n      api:   [{host: usw-web1, address: 10.2.0.21}]\n",
        to: "  us-west: {}\n",
        said: &[
            "shop.yaml:9: regions.us-west.roles: missing; write roles, each with its hosts: db: [{host: NAME, address: ADDRESS}]",
        ],
    },
    Refused {
        what: "a role without hosts",
        from: "[{host: usw-db1, address: 10.2.0.11}]",
        to: "[]",
        said: &[
            "shop.yaml:11: regions.us-west.roles.db: no host; write at least one host: [{host: NAME, address: ADDRESS}], or leave the role out",
        ],
    },
    Refused {
        what: "a host as bare name",
        from: "[{host: usw-db1, address: 10.2.0.11}]",
        to: "[usw-db1]",
        said: &[
            "shop.yaml:11: regions.us-west.roles.db[0]: a single value stands here; write {host: NAME, address: ADDRESS}",
        ],
    },
    Refused {
        what: "a host without address",
        from: "{host: usw-db1, address: 10.2.0.11}",
        to: "{host: usw-db1}",
        said: &["shop.yaml:11: regions.us-west.roles.db[0].address: missing; write {host: NAME, address: ADDRESS}"],
    },
    Refused {
        what: "an address with a port",
        from: "10.2.0.11",
        to: "10.2.0.11:5432",
        said: &[
            "shop.yaml:11: regions.us-west.roles.db[0].address is 10.2.0.11:5432; no address; write an IP address or a DNS name, without port",
        ],
    },
    Refused {
        what: "an address that is nearly one",
        from: "10.2.0.11",
        to: "10.2.0.311",
        said: &[
            "shop.yaml:11: regions.us-west.roles.db[0].address is 10.2.0.311; no address; write an IP address or a DNS name, without port",
        ],
    },
    Refused {
        what: "a host in two regions",
        from: "host: usw-db1",
        to: "host: use-db1",
        said: &[
            "shop.yaml:11: regions.us-west.roles.db[0].host is use-db1; a host of regions.us-east (line 4) already; a host stands in one region",
        ],
    },
    Refused {
        what: "a host twice in a role",
        from: "host: use-web2",
        to: "host: use-web1",
        said: &[
            "shop.yaml:8: regions.us-east.roles.api[1].host is use-web1; stands twice in role api; name each host once per role",
        ],
    },
    Refused {
        what: "a role that one region lacks",
        from: "      proxy: [{host: usw-web1, address: 10.2.0.21}]\n",
        to: "",
        said: &[
            "shop.yaml:29: checks.db-port.from is proxy; regions.us-west (line 9) has no such role; add it under regions.us-west.roles",
            "shop.yaml:48: traffic.proxies[0].on is proxy; regions.us-west (line 9) has no such role; add it under regions.us-west.roles",
        ],
    },
];
