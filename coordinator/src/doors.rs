//! Where bytes from others come in, one function each, as a test that throws garbage at them calls it. None of them does
//! anything but read; what was understood is checked as far as it can be, and dropped.

use std::{path::Path, sync::Arc, time::Duration};

use holdfast_coordinator_core::rounds::{Rounds, Subject as Watched};
use holdfast_proto::v1;
use holdfast_shared::{
    identity::Bearer,
    pki::Ca,
    token::{JoinToken, PersonToken},
};
use holdfast_types::{
    AppName, BootInstant, ClusterId, Generation, HostName, OperatorName, RegionName, Revision, Role, WallTime,
    spec::{self, AppSpec},
};
use prost::Message as _;

use crate::{
    api::tokens,
    config::Config,
    fleet::Fleet,
    metrics::{Metrics, Subject},
    rounds,
    session::{self, check},
};

/// A moment long after this host's boot.
const NOW: BootInstant = BootInstant::from_boot(Duration::from_secs(100_000));

/// Messages of one agent's session, each with a length before it, about an app of this spec.
pub fn from_agent(mut bytes: &[u8], spec: &AppSpec) {
    let host = HostName::new("use-db1").expect("a name");
    let region = RegionName::new("us-east").expect("a name");
    let (fleet, measured) = (Fleet::default(), Metrics::default());
    let subject = Watched {
        spec: Arc::new(spec.clone()),
        revision: Revision(1),
        active: region.clone(),
        generation: Generation(1),
    };
    let mut watched = Rounds::new(subject, BootInstant::default(), NOW);
    let mut now = NOW;
    while let Ok(message) = v1::FromAgent::decode_length_delimited(&mut bytes) {
        now = now + Duration::from_millis(100);
        // As a session takes them: what is refused at the door goes no further.
        match message.body {
            None | Some(v1::from_agent::Body::Progress(_)) => {}
            Some(v1::from_agent::Body::Hello(hello)) => seen(check::hello(&hello)),
            Some(v1::from_agent::Body::Heartbeat(beat)) => {
                if check::heartbeat(&beat).is_ok() {
                    let views = beat.leases.into_iter().filter(|view| check::view(view).is_ok());
                    fleet.note_leases(&host, views.collect(), now);
                    seen(fleet.says_unstopped(&spec.app, &host, now, Duration::MAX));
                }
            }
            Some(v1::from_agent::Body::Observation(mut observation)) => {
                if check::observation(&mut observation).is_ok()
                    && let Some(signal) = rounds::signal(&host, &region, &observation)
                {
                    watched.observe(signal, now);
                    watched.round(now, &[(region.clone(), [(host.clone(), true)].into())].into(), false);
                }
            }
            Some(v1::from_agent::Body::Look(mut reply)) => {
                if check::look(&mut reply).is_ok() {
                    fleet.looked(&host, reply);
                }
            }
            Some(v1::from_agent::Body::Proxies(mut report)) => {
                if check::proxies(&mut report).is_ok() {
                    fleet.note_proxies(&host, report.proxies);
                }
            }
            Some(v1::from_agent::Body::Facts(mut facts)) => {
                if check::facts(&mut facts).is_ok() {
                    fleet.note_facts(&host, facts);
                }
            }
            Some(v1::from_agent::Body::Metrics(told)) => {
                let wall = WallTime(i64::try_from(now.since_boot().as_millis()).expect("hours"));
                if measured.take(&host, &region, told, (now, wall)).is_ok() {
                    let values = measured.values(&Subject::Host(host.clone()), now);
                    assert!(values.values().all(|value| value.is_finite()), "{values:?}");
                }
            }
            Some(v1::from_agent::Body::Findings(mut findings)) => {
                if check::findings(&mut findings).is_ok() {
                    fleet.note_findings(&host, findings, WallTime(1_795_208_657_532));
                }
            }
            Some(v1::from_agent::Body::Outbox(item)) => {
                if let Ok((_, result)) = check::outbox(item)
                    && let Ok((_, record)) = session::record(&host, result)
                {
                    // Text that is committed is bounded, whatever an agent sends.
                    assert!(record.text.len() < 3_000, "{} bytes of text", record.text.len());
                }
            }
        }
    }
    seen(watched.signals(now));
}

/// A request for a lease.
pub fn lease_request(bytes: &[u8]) {
    let Ok(request) = v1::LeaseRequest::decode(bytes) else { return };
    let Ok(app) = AppName::new(&*request.app) else { return };
    let (fleet, host) = (Fleet::default(), HostName::new("use-db1").expect("a name"));
    fleet.note_counts_end(&app, &host, request.number, request.counts_end.then_some(request.generation));
    assert_eq!(fleet.counts_end(&app, &host, request.generation), request.counts_end);
}

/// What operators ask. The first byte says which call it is.
pub fn operators(bytes: &[u8]) {
    let Some((call, bytes)) = bytes.split_first() else { return };
    match call % 8 {
        0 => {
            if let Ok(v1::PlanRequest { file, spec_yaml }) = v1::PlanRequest::decode(bytes) {
                understood(&file, &spec_yaml);
            }
        }
        1 => {
            if let Ok(v1::ApplyRequest { file, spec_yaml, .. }) = v1::ApplyRequest::decode(bytes) {
                understood(&file, &spec_yaml);
            }
        }
        2 => {
            if let Ok(request) = v1::FailoverRequest::decode(bytes) {
                seen((AppName::new(request.app), RegionName::new(request.to_region)));
            }
        }
        3 => {
            if let Ok(request) = v1::CreateTokenRequest::decode(bytes)
                && let Ok((uses, valid)) = tokens::terms(request.uses, request.valid.as_ref())
            {
                assert!(uses > 0 && !valid.is_zero(), "a token that lets nobody in");
                assert!(tokens::until(WallTime(0), valid) > WallTime(0));
            }
        }
        4 => {
            if let Ok(request) = v1::AddOperatorRequest::decode(bytes) {
                seen((OperatorName::new(request.name), request.role.parse::<Role>()));
                seen(tokens::valid(request.valid.as_ref()));
            }
        }
        5 => seen(v1::WhyRequest::decode(bytes).map(|request| AppName::new(request.app))),
        6 => seen(v1::RevokeHostRequest::decode(bytes).map(|request| HostName::new(request.host))),
        _ => seen((v1::TrailRequest::decode(bytes), v1::AbortRequest::decode(bytes))),
    }
}

fn understood(file: &str, text: &str) {
    if let Err(problems) = spec::parse(file, text) {
        assert!(!problems.to_string().is_empty(), "a refusal without a reason");
    }
}

/// What somebody without a certificate may send. The first byte says which call it is.
pub fn enrol(bytes: &[u8], ca: &Ca) {
    let Some((call, bytes)) = bytes.split_first() else { return };
    let csr = match call % 3 {
        0 => v1::EnrolRequest::decode(bytes).ok().map(|request| {
            seen((request.token.parse::<JoinToken>(), HostName::new(request.host)));
            request.csr
        }),
        1 => v1::RedeemRequest::decode(bytes).ok().map(|request| {
            seen(request.token.parse::<PersonToken>());
            request.csr
        }),
        _ => v1::RenewRequest::decode(bytes).ok().map(|request| request.csr),
    };
    let Some(csr) = csr else { return };
    let cluster = ClusterId::from_random([1; 16]);
    let bearer = Bearer::Operator { name: OperatorName::new("ada").expect("a name") };
    seen(ca.sign_csr(&csr, &bearer, &cluster, 1, Duration::from_secs(1), WallTime(1_795_208_657_532)));
}

/// `coordinator.toml`.
pub fn config(text: &str) {
    match Config::parse(Path::new("coordinator.toml"), text) {
        Ok(config) => assert!(config.state_dir.is_absolute()),
        Err(error) => assert!(!error.to_string().is_empty(), "a refusal without a reason"),
    }
}

/// Understood; nothing is done with it.
fn seen<T>(_what: T) {}
