//! What is removed for good: no generation is used twice, nothing in use goes, a removed host is out.

use holdfast_coordinator_core::change::{self, Kind};
use holdfast_types::{RegionName, refusal::Reason};

use crate::{maintenance, run::*, support::*};

pub fn remove_app(log: &Log, app: &str) -> Kind {
    let record = &log.app(app).record;
    Kind::RemoveApp(change::RemoveApp { app: app.into(), revision: record.revision, generation: record.generation })
}

fn remove_host(host: &str) -> Kind {
    Kind::RemoveHost(change::RemoveHost { host: host.into(), reason: "sold".into() })
}

#[test]
fn an_app_that_is_declared_again_begins_above_every_generation_it_had() {
    let mut log = Log::with_app(&Wanted::shop(2));
    let mut last = 0;
    for round in 0..3 {
        for _ in 0..3 {
            let generation = log.app("shop").record.generation;
            log.done(reactivate("shop", generation, "use-db1"));
        }
        let generation = log.app("shop").record.generation;
        assert!(generation > last, "round {round}");
        last = generation;
        let remove = remove_app(&log, "shop");
        assert_eq!(log.done(remove.clone()), generation);
        assert_eq!(log.refused(remove).reason, Reason::UnknownApp);
        let (name, removed) = log.state.removed_apps().next().expect("what is left of it");
        assert_eq!((name.as_str(), removed.generation, removed.index), ("shop", generation, log.index - 1));
        log = log.restarted();
        log.done(apply_spec(&Wanted::shop(2), 0));
        let record = &log.app("shop").record;
        assert_eq!(
            (record.generation, record.first_generation, record.active_since, record.revision),
            (generation + 1, generation + 1, generation + 1, 1)
        );
        assert_eq!(log.state.removed_apps().count(), 0, "the app itself knows its generation now");
    }
}

#[test]
fn an_app_is_not_removed_while_an_operation_runs_or_after_it_has_changed() {
    let fresh = Log::with_app(&Wanted::shop(2));
    let mut log = at_step(&fresh, 2, "fence");
    let remove = remove_app(&log, "shop");
    assert_eq!(log.refused(remove).reason, Reason::OperationRunning);
    let mut log = fresh.clone();
    let remove = remove_app(&log, "shop");
    log.done(apply_spec(&Wanted { lease: "40s", ..Wanted::shop(2) }, 1));
    assert_eq!(log.refused(remove).reason, Reason::StaleRevision);
    let mut log = fresh;
    let remove = remove_app(&log, "shop");
    log.done(reactivate("shop", 1, "use-db1"));
    assert_eq!(log.refused(remove).reason, Reason::GenerationMoved);
}

#[test]
fn its_maintenance_goes_with_it_and_its_database_is_anybodys() {
    let mut log = Log::with_app(&Wanted::shop(2));
    log.done(maintenance::on("shop", "", std::time::Duration::from_secs(60)));
    log.done(maintenance::on("", "us-east", std::time::Duration::from_secs(60)));
    let wiki = Wanted { app: "wiki", ..Wanted::shop(2) };
    assert_eq!(log.refused(apply_spec(&wiki, 0)).reason, Reason::WriterTaken);
    let remove = remove_app(&log, "shop");
    log.done(remove);
    assert_eq!(log.state.maintenance().count(), 1, "the region's stays");
    log.done(apply_spec(&wiki, 0));
    assert_eq!(log.app("wiki").record.generation, 1, "another name has its own count");
}

#[test]
fn a_host_that_a_spec_names_stays_and_one_that_goes_is_out() {
    let mut log = Log::with_app(&Wanted::shop(2));
    let refused = log.refused(remove_host("use-db1"));
    assert_eq!((refused.reason, &*refused.what), (Reason::HostInUse, "use-db1 is named by the spec of shop"));
    assert_eq!(log.refused(remove_host("mars-1")).reason, Reason::UnknownHost);
    let serial = log.state.hosts()[&host("usw-db2")].serial;
    let crl = log.state.cluster().crl_number;
    assert_eq!(log.done(remove_host("usw-db2")), 1);
    assert!(!log.state.hosts().contains_key(&host("usw-db2")));
    assert!(log.state.certificates()[&serial].revoked_at > 0 && log.state.cluster().crl_number > crl);
    let bearer = format!("holdfast://0198c9a2-6f3e-4c1d-9b7a-2f4e8d1c5a60/agent/{}/usw-db2", REGIONS[1]);
    let renew = Kind::Issue(change::Issue { bearer, until: 1_895_208_657_532, renews: serial });
    assert_eq!(log.refused(renew).reason, Reason::Revoked);
    // It may come back, as a new host, even elsewhere.
    log.done(enrol(REGIONS[2], "usw-db2"));
    let region: RegionName = log.state.hosts()[&host("usw-db2")].region.parse().expect("a region");
    assert_eq!(region.as_str(), REGIONS[2]);
    assert!(log.state.certificates()[&serial].revoked_at > 0, "the old certificate stays out");
}
