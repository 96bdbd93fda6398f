//! Refused in `failover`, `fencing` and `traffic`.

use super::Refused;

pub(super) const REFUSED: &[Refused] = &[
    Refused {
        what: "failover without a mode",
        from: "  mode: automatic\n",
        to: "",
        said: &["shop.yaml:33: failover.mode: missing; write automatic, assist or observe"],
    },
    Refused {
        what: "a mode nobody knows",
        from: "mode: automatic",
        to: "mode: auto",
        said: &["shop.yaml:34: failover.mode is auto; unknown value; write automatic, assist or observe"],
    },
    Refused {
        what: "later keys of failover",
        from: "  failures: 3\n",
        to: "  failures: 3\n  cooldown: 15m\n",
        said: &["shop.yaml:38: failover.cooldown: not supported by this version; leave it out"],
    },
    Refused {
        what: "isolation of a later kind",
        from: "on_isolation: fence",
        to: "on_isolation: failsafe",
        said: &["shop.yaml:40: failover.on_isolation is failsafe; not supported by this version; write fence"],
    },
    Refused {
        what: "isolation of no kind",
        from: "on_isolation: fence",
        to: "on_isolation: panic",
        said: &["shop.yaml:40: failover.on_isolation is panic; unknown value; write fence"],
    },
    Refused {
        what: "a recheck longer than the interval",
        from: "recheck: 5s",
        to: "recheck: 31s",
        said: &[
            "shop.yaml:36: failover.recheck is 31s; longer than interval (30 s), so a failure would slow the looking; write 30s or less",
        ],
    },
    Refused {
        what: "a default recheck longer than the interval",
        from: "  interval: 30s\n  recheck: 5s\n",
        to: "  interval: 4s\n",
        said: &[
            "shop.yaml:33: failover.recheck is 5 s (the default); longer than interval (4 s), so a failure would slow the looking; write 4s or less",
        ],
    },
    Refused {
        what: "no failure needed",
        from: "failures: 3",
        to: "failures: 0",
        said: &["shop.yaml:37: failover.failures is 0; too small; write a whole number from 1 to 100"],
    },
    Refused {
        what: "a lease too short for its renewal",
        from: "{duration: 20s, renew: 5s}",
        to: "{duration: 10s, renew: 5s}",
        said: &[
            "shop.yaml:39: failover.lease.duration is 10s; needs 2 × renew (5 s) + drift (0.5 s) = 10.5 s or more; write 10.5s or more, or a shorter renew",
        ],
    },
    Refused {
        what: "a default lease too short for its renewal",
        from: "{duration: 20s, renew: 5s}",
        to: "{renew: 10s}",
        said: &[
            "shop.yaml:39: failover.lease.duration is 20 s (the default); needs 2 × renew (10 s) + drift (1 s) = 21 s or more; write 21s or more, or a shorter renew",
        ],
    },
    Refused {
        what: "a target in seconds for writes",
        from: "rpo_target: 0",
        to: "rpo_target: 0s",
        said: &["shop.yaml:42: failover.rpo_target is 0s; no such number; write a whole number from 0 to 1000000000"],
    },
    Refused {
        what: "a preset nobody knows",
        from: "  mode: automatic\n",
        to: "  mode: automatic\n  preset: faster\n",
        said: &["shop.yaml:35: failover.preset is faster; unknown value; write fast"],
    },
    Refused {
        what: "fencing left out",
        from: "fencing:\n  by: agent\n  within: 10s\n",
        to: "",
        said: &["shop.yaml:33: fencing.by: missing; write agent, or none if two writers at once may happen"],
    },
    Refused {
        what: "fencing by nobody said",
        from: "  by: agent\n",
        to: "",
        said: &["shop.yaml:43: fencing.by: missing; write agent, or none if two writers at once may happen"],
    },
    Refused {
        what: "fencing by a later kind",
        from: "by: agent",
        to: "by: guard",
        said: &["shop.yaml:44: fencing.by is guard; not supported by this version; write agent or none"],
    },
    Refused {
        what: "fencing by none and automatic",
        from: "by: agent",
        to: "by: none",
        said: &[
            "shop.yaml:44: fencing.by is none; two writers would be possible, and mode is automatic; write by: agent, or mode: assist or observe",
        ],
    },
    Refused {
        what: "fencing in no time",
        from: "within: 10s",
        to: "within: 900ms",
        said: &["shop.yaml:45: fencing.within is 900ms; too short; write 1 s to 10 min"],
    },
    Refused {
        what: "later keys of fencing",
        from: "  within: 10s\n",
        to: "  within: 10s\n  last_resort: reboot\n",
        said: &["shop.yaml:46: fencing.last_resort: not supported by this version; leave it out"],
    },
    Refused {
        what: "later traffic",
        from: "traffic:\n",
        to: "traffic:\n  dns: []\n",
        said: &["shop.yaml:47: traffic.dns: not supported by this version; leave it out"],
    },
    Refused {
        what: "a proxy of another kind",
        from: "kind: haproxy",
        to: "kind: nginx",
        said: &["shop.yaml:48: traffic.proxies[0].kind is nginx; unknown value; write haproxy"],
    },
    Refused {
        what: "a proxy socket too long for the kernel",
        from: "/run/haproxy/admin.sock",
        to: "/run/hhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhh",
        said: &[
            "shop.yaml:50: traffic.proxies[0].socket is /run/hhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhh…; 115 bytes long, 107 is the most; write the absolute path of a unix socket, with no . or .. in it",
        ],
    },
    Refused {
        what: "a backend name with a space",
        from: "{pg_write: pg}",
        to: "{pg write: pg}",
        said: &[
            "shop.yaml:51: traffic.proxies[0].backends.pg write: the key is no backend name; use 1 to 63 letters, digits, _, ., : and -",
        ],
    },
    Refused {
        what: "a backend of an unknown writer",
        from: "{pg_write: pg}",
        to: "{pg_write: cache}",
        said: &["shop.yaml:51: traffic.proxies[0].backends.pg_write is cache; no such writer; write pg"],
    },
    Refused {
        what: "no backend",
        from: "{pg_write: pg}",
        to: "{}",
        said: &[
            "shop.yaml:51: traffic.proxies[0].backends: no backend; write the backends of haproxy.cfg and the writer behind each: {pg_write: pg}",
        ],
    },
    Refused {
        what: "two items for one socket",
        from: "      backends: {pg_write: pg}\n",
        to: "      backends: {pg_write: pg}\n    - {kind: haproxy, on: proxy, socket: /run/haproxy/admin.sock, backends: {other: pg}}\n",
        said: &[
            "shop.yaml:52: traffic.proxies[1].socket is /run/haproxy/admin.sock; the proxy of traffic.proxies[0] (line 48); list all its backends there",
        ],
    },
];
