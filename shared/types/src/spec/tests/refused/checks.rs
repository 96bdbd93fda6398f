//! Refused in `checks`.

use super::Refused;

pub(super) const REFUSED: &[Refused] = &[
    Refused {
        what: "a check of an unknown kind",
        from: "{kind: http, on: api, url: \"http://{address}:8080/health\", expect: 200, where: local, enough: 1}",
        to: "{kind: udp, on: api, where: local}",
        said: &[
            "shop.yaml:31: checks.api.kind is udp; unknown value; write tcp, http, postgres, container, tls, redis, mongodb or exec",
        ],
    },
    Refused {
        what: "a certificate that moves an app",
        from: "{kind: http, on: api, url: \"http://{address}:8080/health\", expect: 200, where: local, enough: 1}",
        to: "{kind: tls, on: api, port: 443, where: local, vital: true}",
        said: &[
            "shop.yaml:31: checks.api.vital is true; a tls check only warns: what a certificate is worth moves no app; leave it out, and ask an https URL for what clients need",
        ],
    },
    Refused {
        what: "a certificate of nobody",
        from: "{kind: http, on: api, url: \"http://{address}:8080/health\", expect: 200, where: local, enough: 1}",
        to: "{kind: tls, port: 443, where: local}",
        said: &[
            "shop.yaml:31: checks.api: says nothing to look at; write on: ROLE, or address: NAME for one endpoint of the region",
        ],
    },
    Refused {
        what: "a certificate of everybody and one",
        from: "{kind: http, on: api, url: \"http://{address}:8080/health\", expect: 200, where: local, enough: 1}",
        to: "{kind: tls, on: api, address: shop.example, port: 443, where: local}",
        said: &[
            "shop.yaml:31: checks.api.on is api; there is an address of the whole region too; write one of on and address",
        ],
    },
    Refused {
        what: "a certificate that nobody looks at",
        from: "{kind: http, on: api, url: \"http://{address}:8080/health\", expect: 200, where: local, enough: 1}",
        to: "{kind: tls, address: shop.example, port: 443, where: local}",
        said: &["shop.yaml:31: checks.api: nobody is said to look; add from: ROLE, or where: remote"],
    },
    Refused {
        what: "a certificate that is the same everywhere",
        from: "{kind: http, on: api, url: \"http://{address}:8080/health\", expect: 200, where: local, enough: 1}",
        to: "{kind: tls, address: shop.example, port: 443, where: remote, proves: writes}",
        said: &[
            "shop.yaml:31: checks.api.address is shop.example; the same for every region, so an answer says nothing about one; put {region} into it, as in {region}.shop.example",
            "shop.yaml:31: checks.api.proves is writes; only an http check can be marked as proof; leave it out, or ask a url that writes",
        ],
    },
    Refused {
        what: "all that can be wrong with a certificate's check",
        from: "{kind: http, on: api, url: \"http://{address}:8080/health\", expect: 200, where: local, enough: 1}",
        to: "{kind: tls, address: \"https://a/\", server_name: a b, days_min: 0, ca: ca.pem, enough: 1, where: remote}",
        said: &[
            "shop.yaml:31: checks.api.address is https://a/; no address; write an IP address or a DNS name, without port; {region} is filled in",
            "shop.yaml:31: checks.api.port: missing; write a port from 1 to 65535",
            "shop.yaml:31: checks.api.server_name is a b; no address; write an IP address or a DNS name, without port; {region} is filled in",
            "shop.yaml:31: checks.api.days_min is 0; too small; write a whole number from 1 to 3650",
            "shop.yaml:31: checks.api.ca is ca.pem; not absolute; write an absolute path, with no . or .. in it",
            "shop.yaml:31: checks.api.enough: unknown key; known here: kind, on, from, address, port, server_name, days_min, ca, where, of, vital, timeout, proves",
        ],
    },
    Refused {
        what: "a redis with a password in the spec",
        from: "{kind: http, on: api, url: \"http://{address}:8080/health\", expect: 200, where: local, enough: 1}",
        to: "{kind: redis, on: api, expect: master, user: app, password: hunter2, where: local}",
        said: &[
            "shop.yaml:31: checks.api.expect is master; unknown value; write answers, primary, replica or accepts_writes",
            "shop.yaml:31: checks.api.password: not a credential, and secrets never stand in a spec; write {credential: NAME}, and put the secret into /etc/holdfast/credentials/NAME on the host",
        ],
    },
    Refused {
        what: "a redis user without a password",
        from: "{kind: http, on: api, url: \"http://{address}:8080/health\", expect: 200, where: local, enough: 1}",
        to: "{kind: redis, on: api, expect: primary, user: app, where: local}",
        said: &[
            "shop.yaml:31: checks.api.user: a user without a password logs in nowhere; add password: {credential: NAME}, or leave user out",
        ],
    },
    Refused {
        what: "a mongodb without an expectation",
        from: "{kind: http, on: api, url: \"http://{address}:8080/health\", expect: 200, where: local, enough: 1}",
        to: "{kind: mongodb, port: 0, replica_set: rs0, where: local}",
        said: &[
            "shop.yaml:31: checks.api.on: missing; write on: ROLE",
            "shop.yaml:31: checks.api.port is 0; no port; write a port from 1 to 65535",
            "shop.yaml:31: checks.api.expect: missing; write answers, primary or secondary",
        ],
    },
    Refused {
        what: "containers that are none",
        from: "{kind: http, on: api, url: \"http://{address}:8080/health\", expect: 200, where: local, enough: 1}",
        to: "{kind: container, on: api, containers: [\"-v\", api, \"a b\"], from: proxy, where: local}",
        said: &[
            "shop.yaml:31: checks.api.containers[0] is -v; no container name; use letters, digits, _, . and -, the first a letter or digit",
            "shop.yaml:31: checks.api.containers[2] is a b; no container name; use letters, digits, _, . and -, the first a letter or digit",
            "shop.yaml:31: checks.api.from: unknown key; known here: kind, on, enough, containers, where, of, vital, timeout, proves",
        ],
    },
    Refused {
        what: "no container at all",
        from: "{kind: http, on: api, url: \"http://{address}:8080/health\", expect: 200, where: local, enough: 1}",
        to: "{kind: container, on: api, containers: [], where: local}",
        said: &["shop.yaml:31: checks.api.containers: 0 containers; write 1 to 32 of them"],
    },
    Refused {
        what: "a container seen from afar",
        from: "{kind: http, on: api, url: \"http://{address}:8080/health\", expect: 200, where: local, enough: 1}",
        to: "{kind: container, on: api, containers: [api], where: remote, proves: writes}",
        said: &[
            "shop.yaml:31: checks.api.where is remote; a container check asks the host's own docker; write local",
            "shop.yaml:31: checks.api.proves is writes; what a host says of itself is the region's own word; leave it out",
        ],
    },
    Refused {
        what: "a script by its path",
        from: "{kind: http, on: api, url: \"http://{address}:8080/health\", expect: 200, where: local, enough: 1}",
        to: "{kind: exec, script: ../../bin/sh, where: remote}",
        said: &[
            "shop.yaml:31: checks.api.on: missing; write on: ROLE",
            "shop.yaml:31: checks.api.script is ../../bin/sh; no script name; write the bare name of a file in the host's folder of scripts, of letters, digits, _, . and -",
        ],
    },
    Refused {
        what: "a script that looks from afar",
        from: "{kind: http, on: api, url: \"http://{address}:8080/health\", expect: 200, where: local, enough: 1}",
        to: "{kind: exec, on: api, script: disk-headroom, where: remote}",
        said: &["shop.yaml:31: checks.api.where is remote; a script runs on the host that it looks at; write local"],
    },
    Refused {
        what: "a check of an unknown writer",
        from: "writes:  {kind: postgres, writer: pg",
        to: "writes:  {kind: postgres, writer: pgg",
        said: &["shop.yaml:28: checks.writes.writer is pgg; no such writer; did you mean pg?"],
    },
    Refused {
        what: "a check on an unknown role",
        from: "from: proxy",
        to: "from: prxy",
        said: &["shop.yaml:30: checks.db-port.from is prxy; no region has this role; did you mean proxy?"],
    },
    Refused {
        what: "a check with a key of another kind",
        from: "on: db, port: 5432",
        to: "on: db, writer: pg, port: 5432",
        said: &[
            "shop.yaml:30: checks.db-port.writer: unknown key; known here: kind, on, from, enough, port, where, of, vital, timeout, proves",
        ],
    },
    Refused {
        what: "a check that looks from nowhere",
        from: "port: 5432, where: local, from",
        to: "port: 5432, from",
        said: &[
            "shop.yaml:30: checks.db-port.where: missing; write local (by the region's own agents) or remote (by those of others)",
        ],
    },
    Refused {
        what: "a check slower than a round",
        from: "timeout: 4s",
        to: "timeout: 31s",
        said: &[
            "shop.yaml:32: checks.outside.timeout is 31s; longer than failover.interval (30 s), so no round could wait for it; write 30s or less",
        ],
    },
    Refused {
        what: "a timeout without unit",
        from: "timeout: 4s",
        to: "timeout: 4",
        said: &[
            "shop.yaml:32: checks.outside.timeout is 4; no span of time; write a number and one of ms, s, m, h, d, as in 30s",
        ],
    },
    Refused {
        what: "a standby that accepts writes",
        from: "expect: streams",
        to: "expect: accepts_writes",
        said: &[
            "shop.yaml:29: checks.follows.expect is accepts_writes; a standby accepts no writes; write streams, or of: active",
        ],
    },
    Refused {
        what: "a primary that streams",
        from: "of: standby, expect: streams",
        to: "expect: streams",
        said: &[
            "shop.yaml:29: checks.follows.expect is streams; the active region's database streams from nobody; add of: standby",
        ],
    },
    Refused {
        what: "a database checked from afar",
        from: "writes:  {kind: postgres, writer: pg, where: local",
        to: "writes:  {kind: postgres, writer: pg, where: remote",
        said: &[
            "shop.yaml:28: checks.writes.where is remote; a postgres check logs in on the database's own host; write local, or check from afar with http",
        ],
    },
    Refused {
        what: "more hosts enough than there are",
        from: "enough: 1",
        to: "enough: 2",
        said: &["shop.yaml:31: checks.api.enough is 2; regions.us-west has 1 in role api; write 1 or less"],
    },
    Refused {
        what: "enough of none",
        from: "enough: 1",
        to: "enough: 0",
        said: &["shop.yaml:31: checks.api.enough is 0; too small; write a whole number from 1 to 10000"],
    },
    Refused {
        what: "vital and enough",
        from: "enough: 1",
        to: "enough: 1, vital: true",
        said: &[
            "shop.yaml:31: checks.api.vital is true; one failing host is enough, and `enough` says that some may fail; leave one of them out",
        ],
    },
    Refused {
        what: "a flag that is neither",
        from: "vital: true",
        to: "vital: yes",
        said: &["shop.yaml:28: checks.writes.vital is yes; unknown value; write true or false"],
    },
    Refused {
        what: "a url of another scheme",
        from: "http://{address}:8080/health",
        to: "ftp://{address}/health",
        said: &[
            "shop.yaml:31: checks.api.url is ftp://{address}/health; no http URL; write a URL that begins with http:// or https://",
        ],
    },
    Refused {
        what: "a url without a host",
        from: "http://{address}:8080/health",
        to: "http:///health",
        said: &[
            "shop.yaml:31: checks.api.url is http:///health; names no host; write a URL that begins with http:// or https://",
        ],
    },
    Refused {
        what: "a url with an unknown placeholder",
        from: "http://{address}:8080/health",
        to: "http://{host}:8080/health",
        said: &[
            "shop.yaml:31: checks.api.url is http://{host}:8080/health; holds {host}, which nothing fills in; only {address} and {region} are filled in",
        ],
    },
    Refused {
        what: "a url with a login",
        from: "http://{address}:8080/health",
        to: "http://root:hunter2@{address}:8080/health",
        said: &[
            "shop.yaml:31: checks.api.url: holds a login, and secrets never stand in a spec; leave user and password out: a health page needs none",
        ],
    },
    Refused {
        what: "a url with an address of nobody",
        from: "{kind: http, on: api, url: \"http://{address}:8080/health\", expect: 200, where: local, enough: 1}",
        to: "{kind: http, from: api, url: \"http://{address}/\", where: local}",
        said: &[
            "shop.yaml:31: checks.api.url is http://{address}/; there is no `on` whose hosts have an {address}; add on: ROLE",
        ],
    },
    Refused {
        what: "a remote url that is the same everywhere",
        from: "https://{region}.shop.example/health",
        to: "https://shop.example/health",
        said: &[
            "shop.yaml:32: checks.outside.url is https://shop.example/health; the same for every region, so an answer says nothing about one; put {region} into it, as in https://{region}.example/health",
        ],
    },
    Refused {
        what: "a local url that nobody asks",
        from: "{kind: http, on: api, url: \"http://{address}:8080/health\", expect: 200, where: local, enough: 1}",
        to: "{kind: http, url: \"http://localhost/\", where: local}",
        said: &["shop.yaml:31: checks.api: nobody is said to look; add on: ROLE, or from: ROLE"],
    },
    Refused {
        what: "a proof by an open port",
        from: "port: 5432, where: local, from: proxy",
        to: "port: 5432, where: remote, proves: writes",
        said: &[
            "shop.yaml:30: checks.db-port.proves is writes; an open port proves no writes; leave it out, or ask a url that writes",
        ],
    },
    Refused {
        what: "a proof by the region itself",
        from: "expect: 200, where: local, enough: 1",
        to: "where: local, proves: writes",
        said: &[
            "shop.yaml:31: checks.api.proves is writes; only what others see is a proof; write where: remote, or leave it out",
        ],
    },
    Refused {
        what: "a proof of something else",
        from: "proves: writes",
        to: "proves: life",
        said: &["shop.yaml:32: checks.outside.proves is life; unknown value; write writes"],
    },
    Refused {
        what: "a status that is none",
        from: "expect: 200",
        to: "expect: 99",
        said: &["shop.yaml:31: checks.api.expect is 99; too small; write a whole number from 100 to 599"],
    },
];
