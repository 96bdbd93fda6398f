use holdfast_coordinator_core::records::Operation;
use holdfast_types::OperationId;

use super::*;
use crate::{
    api::{
        picture::LeasePicture,
        samples::{self, NOW},
    },
    fleet::Presence,
    rounds::GateSeen,
};

fn silence_of(hosts: &mut Hosts, name: &str) {
    let host: HostName = name.parse().expect("a name");
    hosts.get_mut(&host).expect("a host").presence = Presence::Silent(WallTime(NOW.0 - 372_000));
}

fn lease(picture: &mut Picture, host: &str, state: v1::LeaseState) {
    picture.leases.insert(host.parse().expect("a name"), LeasePicture { state, left: None, generation: 1 });
}

fn fails(picture: &mut Picture, region: usize) {
    picture.regions[region].kind = Kind::Failing;
    picture.regions[region].counter.failing = 3;
    picture.regions[region].counter.unhealthy = true;
    picture.regions[region].reasons = vec!["use-db1 is silent for 6 min 12 s".to_owned()];
}

fn operation(picture: &mut Picture, state: OperationState, started_ago: i64) {
    let op = Operation {
        kind: "failover".to_owned(),
        state: state.into(),
        started_at: NOW.0 - started_ago,
        text: "route failed: usw-web1 did not answer".to_owned(),
        ..Operation::default()
    };
    picture.last = Some((OperationId(41), op));
    picture.app.record.operation = if state.ended() { 0 } else { 41 };
}

fn standby_gone(picture: &mut Picture) {
    picture.app.record.promotable.clear();
    for database in picture.regions[1].databases.values_mut() {
        database.live = false;
    }
}

#[test]
fn each_thing_that_needs_a_human_is_told_once_with_the_next_command() {
    type Day = fn(&mut Picture, &mut Hosts);
    let table: [(&str, Day, &[&str], &str); 20] = [
        ("a good day", |_, _| {}, &[], ""),
        (
            "the first failing verdict",
            |p, _| {
                fails(p, 0);
                p.regions[0].counter.unhealthy = false;
                p.regions[0].counter.failing = 1;
            },
            &["shop: us-east is failing, 1 of 3 failing"],
            "holdfast why shop",
        ),
        (
            "unhealthy, and the gate is closed",
            |p, _| {
                fails(p, 0);
                let next = vec!["holdfast failover shop --to us-west".to_owned()];
                p.gate = Some(GateSeen { text: "shop will not move: assist".to_owned(), next });
            },
            &["shop: us-east is unhealthy, 3 of 3 failing"],
            "holdfast failover shop --to us-west",
        ),
        (
            "unhealthy, and a failover runs",
            |p, _| {
                fails(p, 0);
                operation(p, OperationState::Running, 5_000);
            },
            &["shop: us-east is unhealthy, 3 of 3 failing"],
            "holdfast operations watch 41",
        ),
        (
            "well again: an old word of the gate is not told",
            |p, _| p.gate = Some(GateSeen { text: "closed".to_owned(), next: vec![] }),
            &[],
            "",
        ),
        ("degraded", |p, _| p.regions[0].kind = Kind::Degraded, &["shop: us-east is degraded"], "holdfast why shop"),
        ("unknown for a moment", |p, _| p.regions[0].kind = Kind::Unknown, &[], ""),
        (
            "fenced",
            |p, _| lease(p, "use-db1", v1::LeaseState::Fenced),
            &["shop takes no writes: it is fenced on use-db1 (us-east), its lease ran out"],
            "holdfast why shop",
        ),
        (
            "fenced by a failover that runs",
            |p, _| {
                lease(p, "use-db1", v1::LeaseState::Fenced);
                operation(p, OperationState::Running, 5_000);
                p.app.record.held_by = 41;
            },
            &[],
            "",
        ),
        (
            "held for long",
            |p, _| {
                operation(p, OperationState::Running, 372_000);
                p.app.record.held_by = 41;
            },
            &["shop is held by operation 41 for 6 min 12 s: nobody may write"],
            "holdfast operations show 41",
        ),
        (
            "released by hand",
            |p, _| lease(p, "usw-db1", v1::LeaseState::Released),
            &["shop is released on usw-db1: nothing is fenced there, two regions may write"],
            "ssh usw-db1 sudo holdfast-agent resume shop",
        ),
        (
            "its only copy, because the other host is silent",
            |p, h| {
                standby_gone(p);
                silence_of(h, "usw-db1");
            },
            &["shop runs on its only copy; it cannot fail over"],
            "holdfast why shop",
        ),
        (
            "its only copy, because the old primary is fenced",
            |p, _| {
                p.app.record.promotable.clear();
                p.regions[1].databases.values_mut().for_each(|d| d.seen = None);
                lease(p, "usw-db1", v1::LeaseState::Fenced);
            },
            &["shop runs on its only copy; it cannot fail over"],
            "holdfast why shop",
        ),
        ("about to be promotable", |p, _| p.app.record.promotable.clear(), &[], ""),
        (
            "ended partly",
            |p, _| operation(p, OperationState::Partly, 60_000),
            &["operation 41, failover of shop, ended partly done"],
            "holdfast operations show 41",
        ),
        ("ended well", |p, _| operation(p, OperationState::Done, 60_000), &[], ""),
        (
            "a standby that is unhealthy, not yet given up",
            |p, _| fails(p, 1),
            &["shop: its standby in us-west is unhealthy"],
            "holdfast why shop",
        ),
        (
            "one silent host",
            |_, h| silence_of(h, "usw-web1"),
            &["usw-web1 (us-west) is silent"],
            "ssh usw-web1 systemctl status holdfast-agent",
        ),
        (
            "a silent region",
            |_, h| {
                silence_of(h, "usw-db1");
                silence_of(h, "usw-web1");
            },
            &["us-west is silent: none of its 2 hosts is heard"],
            "ssh usw-db1 systemctl status holdfast-agent",
        ),
        (
            "a quarantined host is not told as silent, too",
            |_, h| {
                silence_of(h, "usw-web1");
                let host: HostName = "usw-web1".parse().expect("a name");
                h.get_mut(&host).expect("a host").quarantine = "revoked: stolen".to_owned();
            },
            &["usw-web1 (us-west) is quarantined: it gets no lease and no command"],
            "holdfast token create --region us-west --replaces usw-web1",
        ),
    ];
    for (name, day, expected, next) in table {
        let (mut picture, mut hosts) = (samples::good_day(), samples::hosts());
        day(&mut picture, &mut hosts);
        let things = attention(&[picture], &hosts, NOW);
        let whats: Vec<&str> = things.iter().map(|t| t.what.as_str()).collect();
        assert_eq!(whats, expected, "{name}");
        if let Some(first) = things.first() {
            assert_eq!(first.next.first().map(String::as_str), Some(next), "{name}");
        }
    }
}

#[test]
fn the_reason_of_an_only_copy_names_host_and_time() {
    let (mut picture, mut hosts) = (samples::good_day(), samples::hosts());
    standby_gone(&mut picture);
    silence_of(&mut hosts, "usw-db1");
    let things = attention(&[picture], &hosts, NOW);
    assert_eq!(things[0].lines[0].text, "usw-db1 (us-west) is silent since 20:58:05");
    assert_eq!(things[0].app, "shop");
}

#[test]
fn an_app_that_never_moves_does_not_run_on_its_only_copy() {
    let app = samples::app(samples::ONE_REGION, "eu-1");
    let mut picture = Picture { name: app.spec.app.clone(), app, ..samples::good_day() };
    picture.regions.truncate(1);
    assert_eq!(attention(&[picture], &samples::hosts(), NOW), []);
}
