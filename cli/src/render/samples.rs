//! Replies for tests: a good day, a bad one, and names as nasty as they come.

use holdfast_proto::v1;
use holdfast_types::{
    WallTime,
    audit::{Entry, Hash},
};

use super::text::{View, columns};

const NOW: i64 = 1_795_208_657_000; // 2026-11-20T21:04:17Z

pub fn now() -> WallTime {
    WallTime(NOW)
}

pub fn view(width: usize) -> View {
    View { width, colour: false, now: now() }
}

/// The moment so many milliseconds before now.
pub fn ago(millis: i64) -> Option<prost_types::Timestamp> {
    let at = NOW - millis;
    let nanos = i32::try_from(at.rem_euclid(1_000) * 1_000_000).expect("below a second");
    Some(prost_types::Timestamp { seconds: at.div_euclid(1_000), nanos })
}

/// The moment so many milliseconds after the failover of the samples began.
pub fn at(millis: i64) -> Option<prost_types::Timestamp> {
    ago(20_000 - millis)
}

fn millis(n: i64) -> Option<prost_types::Duration> {
    Some(prost_types::Duration {
        seconds: n / 1_000,
        nanos: i32::try_from(n % 1_000 * 1_000_000).expect("below a second"),
    })
}

const DAY: i64 = 86_400_000;

/// Every line is within the terminal, apart from commands and changed lines, which are never broken.
pub fn assert_fits(text: &str, width: usize) {
    for line in text.lines() {
        let copied = line.contains("holdfast ") || line.trim_start().starts_with(['+', '-']);
        assert!(copied || columns(line) <= width, "wider than {width}: {line:?}\n{text}");
        assert!(!line.ends_with(' '), "ends in a space: {line:?}");
    }
}

/// The text without its colours.
pub fn unpainted(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find("\x1b[") {
        out.push_str(&rest[..at]);
        rest = rest[at..].split_once('m').map_or("", |(_, r)| r);
    }
    out + rest
}

fn app(name: &str, active: &str, generation: u64) -> v1::AppStatus {
    v1::AppStatus {
        app: name.into(),
        active_region: active.into(),
        generation,
        health: "ok".into(),
        lease: v1::LeaseState::Ended.into(),
        lease_left: millis(17_400),
        standby_region: "us-west".into(),
        standby_state: "streaming".into(),
        behind_bytes: Some(0),
        mode: "automatic".into(),
        last_move_at: ago(12 * DAY),
        last_move: "switchover".into(),
        revision: 4,
        ..<_>::default()
    }
}

fn region(name: &str, live: u32, hosts: u32, apps: Vec<v1::RegionApp>) -> v1::RegionStatus {
    v1::RegionStatus { region: name.into(), hosts_live: live, hosts, apps }
}

fn region_app(app: &str, active: bool, health: &str, why: &str) -> v1::RegionApp {
    v1::RegionApp { app: app.into(), active, health: health.into(), why: why.into() }
}

pub fn good_day() -> v1::StatusReply {
    v1::StatusReply {
        cluster: "acme".into(),
        coordinator: "c1".into(),
        leader: "c1".into(),
        coordinators: 1,
        at: ago(0),
        apps: vec![
            app("shop", "us-east", 3),
            v1::AppStatus {
                last_move_at: ago(34 * DAY),
                last_move: "failover".into(),
                ..app("smellpin", "us-east", 8)
            },
        ],
        regions: vec![
            region("us-east", 2, 2, vec![region_app("shop", true, "ok", ""), region_app("smellpin", true, "ok", "")]),
            region("us-west", 2, 2, vec![region_app("shop", false, "ok", ""), region_app("smellpin", false, "ok", "")]),
        ],
        ..<_>::default()
    }
}

pub fn bad_day() -> v1::StatusReply {
    let mut reply = good_day();
    reply.apps[1] = v1::AppStatus {
        lease: v1::LeaseState::Sole.into(),
        lease_left: None,
        standby_region: "us-east".into(),
        standby_state: "absent".into(),
        behind_bytes: None,
        last_move_at: ago(6 * 60_000),
        last_move: "failover".into(),
        ..app("smellpin", "us-west", 9)
    };
    reply.regions = vec![
        region(
            "us-east",
            1,
            2,
            vec![
                region_app("shop", true, "ok", ""),
                region_app("smellpin", false, "failing", "use-db1 silent for 6 min 12 s"),
            ],
        ),
        region("us-west", 2, 2, vec![region_app("shop", false, "ok", ""), region_app("smellpin", true, "ok", "")]),
    ];
    let line = |label: &str, text: &str| v1::Line { label: label.into(), text: text.into() };
    reply.attention = vec![
        v1::Attention {
            what: "smellpin runs on its only copy; it cannot fail over".into(),
            lines: vec![line(
                "why",
                "use-db1 (us-east) is silent since 20:58:05: no heartbeat, no WAL, no answer to eu-1",
            )],
            next: vec!["holdfast why smellpin".into()],
            app: "smellpin".into(),
        },
        v1::Attention {
            what: "the automatic failover of smellpin, op 41, has not been looked at".into(),
            lines: vec![line("why", "it lost 0 of 1,204 acknowledged writes known to us")],
            next: vec!["holdfast operations show 41".into()],
            app: "smellpin".into(),
        },
    ];
    reply.notes =
        vec!["shop: its lease (3 s) is shorter than a coordinator's takeover, and no failsafe covers it".into()];
    reply
}

/// Longest names, wide letters, escape codes, absent and unknown values.
pub fn nasty() -> v1::StatusReply {
    let long = "x".repeat(63);
    let mut reply = bad_day();
    reply.cluster = "集群-cluster".into();
    reply.leader = "c".repeat(63);
    reply.coordinators = 3;
    reply.apps.push(v1::AppStatus {
        standby_region: "us-west".into(),
        behind_bytes: Some(u64::MAX),
        lease: v1::LeaseState::Released.into(),
        health: "failing".into(),
        ..app(&long, &long, u64::MAX)
    });
    reply.apps.push(v1::AppStatus { app: "empty".into(), lease: 99, ..<_>::default() });
    reply.regions.push(region(
        &long,
        0,
        9,
        vec![
            region_app(&long, true, "failing", "\x1b[2J数据库没有回答\r\nERROR: could not connect"),
            region_app("empty", false, "", ""),
        ],
    ));
    reply.regions.push(region("nothing", 0, 0, vec![]));
    reply.attention.push(v1::Attention {
        what: format!("{long} \x1b[31mis\x07 odd"),
        lines: vec![v1::Line { label: "a-rather-long-label".into(), text: "ü".repeat(150) }, <_>::default()],
        ..<_>::default()
    });
    reply
}

pub fn hosts() -> Vec<v1::HostStatus> {
    let host = |name: &str, region: &str, roles: &[&str]| v1::HostStatus {
        host: name.into(),
        region: region.into(),
        live: true,
        since: ago(3 * DAY),
        version: "0.1.0".into(),
        roles: roles.iter().map(|r| (*r).to_owned()).collect(),
        certificate_until: ago(-6 * DAY),
        address: "10.0.1.7:50122".into(),
        figures: Some(v1::HostFigures {
            cpu: Some(0.123),
            memory: Some(0.61),
            disk: Some(0.42),
            disk_mount: "/".into(),
            pressure: Some(0.003),
            pressure_resource: "cpu".into(),
            cpus: 2,
            age: millis(4_000),
            ..<_>::default()
        }),
        ..<_>::default()
    };
    vec![
        v1::HostStatus {
            live: false,
            figures: None,
            since: ago(372_000),
            ..host("use-db1", "us-east", &["smellpin db", "shop db"])
        },
        v1::HostStatus {
            figures: Some(v1::HostFigures {
                cpu: Some(0.97),
                memory: Some(0.004),
                disk: Some(0.93),
                pressure: Some(0.51),
                pressure_resource: "io".into(),
                age: millis(0),
                ..<_>::default()
            }),
            ..host("use-web1", "us-east", &["smellpin proxy"])
        },
        v1::HostStatus {
            allows: vec!["unit postgresql@15-main.service, data in /var/lib/postgresql/15/main".into()],
            problems: vec!["the helper at /run/holdfast/helper.sock cannot be reached: connection refused".into()],
            quarantine: "its state went back: counter 7, it had been 12".into(),
            certificate_until: ago(DAY),
            ..host("usw-db1", "us-west", &["smellpin db"])
        },
        host("usw-web1", "us-west", &[]),
    ]
}

pub fn tokens() -> Vec<v1::JoinToken> {
    vec![
        v1::JoinToken {
            id: "k3p9".into(),
            region: "us-east".into(),
            uses_left: 2,
            until: ago(-3_000_000),
            created_by: "admin".into(),
        },
        v1::JoinToken {
            id: "z".repeat(40),
            region: "us-west".into(),
            uses_left: 1,
            until: None,
            created_by: String::new(),
        },
    ]
}

pub fn people() -> Vec<v1::Person> {
    let person = |name: &str, role: &str, state: &str, until| v1::Person {
        name: name.into(),
        role: role.into(),
        added_at: ago(40 * DAY),
        added_by: "operator anna".into(),
        state: state.into(),
        until,
        ..<_>::default()
    };
    vec![
        v1::Person {
            revoked_at: ago(3 * DAY),
            revoked_why: "left the team \x1b[2J on Friday; her laptop was given to somebody else".into(),
            ..person("ada", "operator", "revoked", None)
        },
        v1::Person { added_by: "init".into(), ..person("anna", "admin", "active", ago(-88 * DAY)) },
        person("bo", "viewer", "invited", ago(-3_000_000)),
        person("cleo", "deployer", "invite expired", ago(DAY)),
        person(&"n".repeat(63), "operator", "active", ago(DAY)),
    ]
}

pub fn trail() -> Vec<Entry> {
    let mut previous = Hash::default();
    let calls = [
        ("operator anna", "operator add", "ada as operator", "", true, "ada is operator"),
        ("token k3p9", "context add", "ada", "", true, "certificate 9"),
        (
            "operator ada",
            "failover",
            "smellpin to us-west",
            "us-east is on fire, says the fire brigade",
            true,
            "operation 41",
        ),
        ("operator bo", "hosts revoke", "use-db1", "\x1b[2Jsold", false, "bo is viewer; this takes admin"),
        ("operator ada", "apply", "", "", true, ""),
    ];
    let mut number = 410;
    let mut entry = |(by, call, subject, why, done, outcome): (&str, &str, &str, &str, bool, &str)| {
        number += 1;
        let entry = Entry {
            number,
            at: NOW - DAY * (416 - i64::try_from(number).expect("small")),
            by: by.into(),
            from: "10.0.0.9:50122".into(),
            call: call.into(),
            subject: subject.into(),
            why: why.into(),
            done,
            outcome: outcome.into(),
            previous,
            hash: Hash::default(),
        }
        .sealed();
        previous = entry.hash;
        entry
    };
    calls.into_iter().map(&mut entry).collect()
}

/// The entry as a coordinator sends it.
pub fn sent(entry: Entry) -> v1::AuditEntry {
    v1::AuditEntry {
        number: entry.number,
        at: entry.at,
        by: entry.by,
        from: entry.from,
        call: entry.call,
        subject: entry.subject,
        why: entry.why,
        done: entry.done,
        outcome: entry.outcome,
        previous: entry.previous.0.to_vec(),
        hash: entry.hash.0.to_vec(),
    }
}

pub fn why() -> v1::WhyReply {
    let signal = |check: &str, observer: &str, target: &str, outcome: &str, text: &str| v1::SignalWhy {
        check: check.into(),
        observer: observer.into(),
        target: target.into(),
        outcome: outcome.into(),
        text: text.into(),
        age: millis(640),
        ..<_>::default()
    };
    let gate = |condition: &str, holds: bool, text: &str| v1::GateLine {
        condition: condition.into(),
        holds,
        text: text.into(),
    };
    v1::WhyReply {
        app: Some(v1::AppStatus { health: "failing".into(), ..app("smellpin", "us-east", 8) }),
        regions: vec![
            v1::RegionWhy {
                region: "us-east".into(),
                active: true,
                verdict: "failing".into(),
                failing: 3,
                failures: 3,
                signals: vec![
                    v1::SignalWhy {
                        vital: true,
                        ..signal("db", "use-db1", "127.0.0.1:5432", "silent", "no observation for 12.4 s")
                    },
                    v1::SignalWhy {
                        proof: true,
                        ..signal(
                            "site",
                            "eu-1",
                            "https://us-east.smellpin.example/health",
                            "failing",
                            "connection timed out after 2 s",
                        )
                    },
                ],
                reasons: vec!["the region is silent: neither of its 2 hosts has been heard since 20:57:31".into()],
                ..<_>::default()
            },
            v1::RegionWhy {
                region: "us-west".into(),
                verdict: "ok".into(),
                failures: 3,
                signals: vec![signal("db", "usw-db1", "127.0.0.1:5432", "ok", "replays, 0 B behind")],
                ..<_>::default()
            },
        ],
        gate: vec![
            gate("mode", true, "automatic"),
            gate("other operation", true, "none"),
            gate("candidate", true, "usw-db1 follows and has received 3A/945A1100"),
            gate("life seen", true, "nothing has proved since 20:57:31 that us-east serves writes"),
            gate("lag", true, "0 B behind the last position seen of use-db1, the limit is 16 MiB"),
        ],
        at: ago(0),
        decision: "us-east is unhealthy and the gate is open: failover to us-west begins".into(),
        next: vec!["holdfast operations list --app smellpin".into()],
    }
}

fn step(index: u32, name: &str, state: &str, text: &str, began: Option<i64>, took: Option<i64>) -> v1::OperationStep {
    v1::OperationStep {
        index,
        name: name.into(),
        state: state.into(),
        text: text.into(),
        began_at: began.and_then(at),
        ended_at: began.zip(took).and_then(|(b, t)| at(b + t)),
        attempt: 1,
        planned: format!("what {name} would do"),
        ..<_>::default()
    }
}

pub fn failover_running() -> v1::Operation {
    let mut promote = step(4, "promote", "done", "usw-db1 takes writes, timeline 5", Some(700), Some(190));
    promote.no_return = true;
    let mut route = step(5, "route", "running", "", Some(900), None);
    route.parts = vec![
        v1::OperationPart { host: "usw-web1".into(), state: "done".into(), text: "open".into() },
        v1::OperationPart {
            host: "use-web1".into(),
            state: "running".into(),
            text: "does not answer (its own region is cut)".into(),
        },
    ];
    v1::Operation {
        number: 41,
        app: "smellpin".into(),
        kind: "failover".into(),
        from_region: "us-east".into(),
        to_region: "us-west".into(),
        state: "running".into(),
        started_at: at(0),
        requested_by: "admin".into(),
        reason: "us-east is unhealthy: 3 of 3 failing, silent since 20:57:31".into(),
        steps: vec![
            step(0, "hold", "done", "us-east gets no further lease", Some(0), Some(20)),
            step(
                1,
                "fence",
                "done",
                "use-db1 does not answer; its last lease and fence are over since 20:58:06.5",
                Some(20),
                Some(600),
            ),
            step(
                2,
                "candidate",
                "done",
                "usw-db1 at 3A/945A1100, 0 B behind the last position seen of use-db1",
                Some(620),
                Some(10),
            ),
            step(3, "generation", "done", "8 → 9, us-west, committed", Some(630), Some(30)),
            promote,
            route,
            step(6, "verify", "planned", "", None, None),
            step(7, "record", "planned", "", None, None),
        ],
        generation_before: 8,
        ..<_>::default()
    }
}

pub fn failover_ended(state: &str) -> v1::Operation {
    let mut op = failover_running();
    op.state = state.into();
    op.ended_at = at(5_200);
    if state == "done" {
        for (i, name) in [(5, "route"), (6, "verify"), (7, "record")] {
            let began = 900 + i64::try_from(i).expect("small") * 100;
            op.steps[i] = step(u32::try_from(i).expect("small"), name, "done", "as planned", Some(began), Some(90));
        }
        op.generation_after = 9;
        op.rto_measured = millis(5_100);
        op.facts = vec!["lost 0 of 1,204 acknowledged writes known to us".into()];
        op.next = vec!["smellpin has no standby until use-db1 is back:  holdfast why smellpin".into()];
    } else {
        op.text = "usw-db1 was not promoted within 30 s: the server is shutting down".into();
    }
    op
}

pub fn operations() -> Vec<v1::Operation> {
    let long =
        v1::Operation { number: 40, app: "y".repeat(63), requested_by: "z".repeat(63), ..failover_ended("unwound") };
    vec![failover_running(), failover_ended("done"), long, v1::Operation::default()]
}

pub fn dry_run() -> v1::FailoverReply {
    let planned = |name: &str, text: &str, seconds: i64, undo: &str| v1::PlannedStep {
        name: name.into(),
        text: text.into(),
        timeout: millis(seconds * 1_000),
        undo: undo.into(),
        no_return: false,
    };
    v1::FailoverReply {
        operation: 0,
        from_region: "us-east".into(),
        steps: vec![
            planned("hold", "us-east gets no further lease", 5, "lift the hold: a next generation for us-east"),
            planned("fence", "use-db1 stops its writers, or its lease and fence run out (4.6 s)", 10, ""),
            v1::PlannedStep { no_return: true, ..planned("generation", "8 → 9, us-west", 5, "") },
            planned("promote", "usw-db1", 30, ""),
        ],
        notes: vec!["use-web1 is silent: it stays as it is until it answers".into()],
    }
}

pub fn plan() -> v1::PlanReply {
    v1::PlanReply {
        app: "smellpin".into(),
        revision: 4,
        diff: vec!["- failover.lease.duration: 20s".into(), "+ failover.lease.duration: 3s".into()],
        arithmetic: vec![
            "lease 3 s ≥ 2 × renew 1 s + drift 0.2 s = 2.2 s".into(),
            "a failover waits at most lease 3 s + drift 0.2 s + fence 1 s = 4.2 s before it promotes".into(),
        ],
        found: vec![
            "us-east: use-db1 accepts writes, timeline 4".into(),
            "us-west: usw-db1 follows use-db1, 0 B behind".into(),
        ],
        notes: vec!["the lease is shorter than a coordinator's takeover (4 s), and no failsafe covers it".into()],
        active_region: "us-east".into(),
        ..<_>::default()
    }
}

/// `holdfast apps remove`, of an app whose old primary is fenced and whose web host is away.
#[must_use]
pub fn removed_app() -> v1::RemoveAppReply {
    v1::RemoveAppReply {
        revision: 4,
        active_region: "us-west".into(),
        generation: 9,
        left: vec![
            "pg on use-db1 (us-east): it was stopped by a fence, and stays down until you start it".into(),
            "pg on usw-db1 (us-west): it runs on, without a lease: nothing fences it any more".into(),
            "proxies: they stay as they are now; nobody switches them any more".into(),
        ],
        told: vec!["use-db1".into(), "usw-db1".into(), "usw-web1".into()],
        absent: vec!["use-web1".into()],
    }
}

/// `holdfast readiness`: one app that could fail over, one that nobody let Holdfast into.
#[must_use]
pub fn readiness() -> v1::ReadinessReply {
    let line = |condition: &str, state: &str, needed, text: &str, add: &[(&str, &str)]| v1::ReadinessLine {
        condition: condition.into(),
        state: state.into(),
        text: text.into(),
        needed,
        add: add.iter().map(|(label, text)| v1::Line { label: (*label).into(), text: (*text).into() }).collect(),
    };
    let hba = ("pg_hba.conf on usw-db1, before broader lines", "local  postgres  holdfast  peer map=holdfast");
    let ident = ("pg_ident.conf on usw-db1", "holdfast  root  holdfast");
    let apps = vec![
        v1::AppReadiness {
            app: "shop".into(),
            ready: true,
            active_region: "us-east".into(),
            lines: vec![
                line("hosts", "holds", true, "4 of 4 live", &[]),
                line(
                    "rewind",
                    "advice",
                    false,
                    "pg on use-db1 (us-east) has neither wal_log_hints nor checksums: pg_rewind cannot bring it back as a standby",
                    &[("configuration on use-db1, then restart", "wal_log_hints = on")],
                ),
            ],
        },
        v1::AppReadiness {
            app: "smellpin".into(),
            ready: false,
            active_region: "us-east".into(),
            lines: vec![
                line("hosts", "holds", true, "4 of 4 live", &[]),
                line(
                    "login",
                    "missing",
                    true,
                    "pg on usw-db1 (us-west): cannot log in to postgres at /run/postgresql:5432: no pg_hba.conf entry for role holdfast",
                    &[hba, ident],
                ),
                line("standby", "unknown", true, "us-west is not seen streaming from us-east right now", &[]),
            ],
        },
    ];
    v1::ReadinessReply { apps, at: None }
}
