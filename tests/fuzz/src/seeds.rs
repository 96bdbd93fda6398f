//! Good inputs to begin with. Texts lie in `fuzz/seeds/` as people wrote them; messages are made here, once, by
//! `cargo run -p holdfast-fuzz --example make_seeds`: those of an older release stay good seeds.

use std::{fs, io, path::PathBuf};

use holdfast_coordinator_core::{
    change::{
        AddOperator, ApplySpec, Change, CreateToken, Enrol, Init, Issue, Kind, NextGeneration, NoteStarts, OfOperation,
        Quarantine, Reactivate, RevokeOperator, SetPromotable, StartOperation, StepBegins,
    },
    plan::{self, FailoverRequest},
    records,
    state::State,
};
use holdfast_proto::v1;
use holdfast_shared::{
    pki::{KeyAndCsr, Pin},
    token::{JoinToken, PersonToken},
};
use holdfast_types::{LogIndex, WallTime};
use prost::Message;

/// A day in 2026.
const NOW: WallTime = WallTime(1_795_208_657_532);
/// The spec that messages carry.
const SPEC: &str = include_str!("../../../examples/fast.yaml");

/// Where the seeds of a target lie.
#[must_use]
pub fn folder(target: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/seeds").join(target)
}

/// The seeds of a target, in the order of their names.
///
/// # Errors
/// When there is no such folder, or it cannot be read.
pub fn of(target: &str) -> io::Result<Vec<Vec<u8>>> {
    let mut files = fs::read_dir(folder(target))?.map(|entry| Ok(entry?.path())).collect::<io::Result<Vec<_>>>()?;
    files.sort();
    files.into_iter().map(fs::read).collect()
}

/// The changes of a cluster with four hosts, one app that could fail over, and two people.
///
/// # Panics
/// When a change of this release is refused by it.
#[must_use]
pub fn cluster() -> Vec<Vec<u8>> {
    kinds().into_iter().map(|kind| Change::new(NOW, "operator ada", kind).encode_to_vec()).collect()
}

fn kinds() -> Vec<Kind> {
    let mut kinds = vec![
        Kind::Init(Init { cluster: "0198c9a2-6f3e-4c1d-9b7a-2f4e8d1c5a60".to_owned(), name: "acme".to_owned() }),
        Kind::AddOperator(AddOperator {
            name: "ada".to_owned(),
            role: records::OperatorRole::Admin.into(),
            invite: None,
        }),
        Kind::AddOperator(AddOperator {
            name: "kim".to_owned(),
            role: records::OperatorRole::Viewer.into(),
            invite: Some(records::Invite { id: "k1".to_owned(), secret_hash: vec![7; 32], until: i64::MAX }),
        }),
    ];
    for (region, host) in
        [("us-east", "use-db1"), ("us-east", "use-web1"), ("us-west", "usw-db1"), ("us-west", "usw-web1")]
    {
        let token = records::JoinToken {
            secret_hash: vec![1; 32],
            region: region.to_owned(),
            uses_left: 1,
            until: i64::MAX,
            ..<_>::default()
        };
        kinds.push(Kind::CreateToken(CreateToken { id: host.to_owned(), token: Some(token) }));
        kinds.push(Kind::Enrol(Enrol {
            token: host.to_owned(),
            secret_hash: vec![1; 32],
            host: host.to_owned(),
            request_hash: vec![2; 32],
            until: i64::MAX,
        }));
    }
    kinds.push(Kind::ApplySpec(ApplySpec {
        spec_yaml: SPEC.to_owned(),
        on_revision: 0,
        active_region: "us-east".to_owned(),
    }));
    let (app, regions) = ("shop".to_owned(), vec!["us-west".to_owned()]);
    kinds.push(Kind::SetPromotable(SetPromotable { app, generation: 1, regions }));
    kinds
}

/// The state after [`cluster`], and changes that may follow it.
fn after() -> (State, Vec<Vec<u8>>) {
    let mut state = State::default();
    for (index, change) in (1..).zip(cluster()) {
        state.apply_bytes(LogIndex(index), &change).expect("a change of this release");
    }
    let app = state.app(&"shop".parse().expect("a name")).expect("it was applied");
    let request = FailoverRequest { to: None, able: None, reason: "a drill".to_owned() };
    let operation = plan::failover(app, &request).expect("it could fail over");
    let of = |kind| Change::new(NOW, "automatic", kind).encode_to_vec();
    let hold = || OfOperation { operation: 1, generation: 1 };
    let changes = vec![
        of(Kind::StartOperation(StartOperation { operation: Some(operation), generation: 1, revision: 1 })),
        of(Kind::StepBegins(StepBegins { operation: 1, step: 0, attempt: 1 })),
        of(Kind::Hold(hold())),
        of(Kind::NextGeneration(NextGeneration { operation: 1, generation: 1, region: "us-west".to_owned() })),
        of(Kind::EndHold(hold())),
        of(Kind::Reactivate(Reactivate { app: "shop".to_owned(), generation: 2, host: "use-db1".to_owned() })),
        of(Kind::NoteStarts(NoteStarts { host: "use-db1".to_owned(), starts: 3 })),
        of(Kind::Quarantine(Quarantine { host: "use-db1".to_owned(), why: "two of it".to_owned() })),
        of(Kind::RevokeOperator(RevokeOperator { name: "kim".to_owned(), reason: "left".to_owned() })),
        of(Kind::Issue(Issue { bearer: "holdfast://c/operator/kim".to_owned(), until: 9, renews: 1 })),
    ];
    (state, changes)
}

/// One part of an input that holds several, as the targets read them.
fn part(bytes: &[u8]) -> Vec<u8> {
    let length = u16::try_from(bytes.len()).expect("a seed is small");
    [&length.to_be_bytes()[..], bytes].concat()
}

fn with(first: u8, rest: &[u8]) -> Vec<u8> {
    [&[first][..], rest].concat()
}

/// The seeds that are messages: target, file, bytes.
///
/// # Panics
/// When this system makes no keys.
#[must_use]
pub fn made() -> Vec<(&'static str, &'static str, Vec<u8>)> {
    let csr = KeyAndCsr::generate().expect("a key").csr;
    let (state, changes) = after();
    let parts = |all: &[Vec<u8>]| all.iter().flat_map(|one| part(one)).collect::<Vec<u8>>();
    let rows: Vec<u8> = state.rows().iter().flat_map(|(key, value)| [part(key), part(value)].concat()).collect();
    let mut made = vec![
        ("state", "rows", with(0, &rows)),
        ("state", "cluster", with(1, &parts(&cluster()))),
        ("state", "failover", with(2, &parts(&changes))),
        ("leases", "request", lease_request().encode_to_vec()),
        ("leases", "replies", lease_replies()),
        ("from_agent", "session", session()),
    ];
    made.extend(
        orders().into_iter().map(|(name, body)| ("to_agent", name, v1::ToAgent { body: Some(body) }.encode_to_vec())),
    );
    made.extend(asked().into_iter().map(|(name, bytes)| ("operators", name, bytes)));
    let token = "hf1.us-east.k7q2".to_owned();
    let enrol = v1::EnrolRequest { token, host: "use-db1".to_owned(), csr: csr.clone(), version: "0.1.0".to_owned() };
    let redeem = v1::RedeemRequest { token: "hfp1.ada.k7q2".to_owned(), csr: csr.clone(), version: "0.1.0".to_owned() };
    made.extend([
        ("enrol", "enrol", with(0, &enrol.encode_to_vec())),
        ("enrol", "redeem", with(1, &redeem.encode_to_vec())),
        ("enrol", "renew", with(2, &v1::RenewRequest { csr }.encode_to_vec())),
    ]);
    let lease = [[1, 20, 0], [1, 25, 250], [2, 255, 0], [2, 30, 9]].concat();
    let pin = Pin::from_bytes([9; 32]);
    let join = JoinToken::new("us-east".parse().expect("a name"), [7; 25], &pin).to_string();
    let person = PersonToken::new("ada".parse().expect("a name"), [7; 25], &pin).to_string();
    made.extend([("tokens", "join", join.into_bytes()), ("tokens", "person", person.into_bytes())]);
    made.push(("lease_record", "leases", with(4, &lease)));
    made.push(("lease_record", "damaged", with(4, &[&lease[..], &[24, 0xff, 120, 1]].concat())));
    made.push(("postgres", "garbage", with(0, b"R\0\0\0\x08\0\0\0\x05")));
    made.push(("postgres", "refused", with(0, b"E\0\0\0\x2dSFATAL\0C57P03\0Mthe database is starting up\0\0")));
    made.push(("postgres", "login", with(1, b"1\0\0\0\x04")));
    made.push((
        "postgres",
        "primary",
        with(
            2,
            &values(&[
                Some(b"3A/945A1100"),
                Some(b"00000002"),
                None,
                None,
                Some(&7u64.to_be_bytes()),
                Some(&2u32.to_be_bytes()),
                None,
                None,
                None,
                Some(&[0]),
            ]),
        ),
    ));
    made.push((
        "postgres",
        "standby",
        with(
            2,
            &values(&[
                None,
                None,
                Some(b"3A/945A1100"),
                Some(b"3A/945A10F8"),
                Some(&7u64.to_be_bytes()),
                Some(&2u32.to_be_bytes()),
                Some(&[1]),
                Some(b"10.10.2.11"),
                Some(&1.5f64.to_be_bytes()),
                Some(&[1]),
            ]),
        ),
    ));
    made
}

fn values(all: &[Option<&[u8]>]) -> Vec<u8> {
    let one = |value: &Option<&[u8]>| match value {
        Some(value) => with(u8::try_from(value.len()).expect("short"), value),
        None => vec![255],
    };
    all.iter().flat_map(one).collect()
}

fn seconds(seconds: i64) -> Option<prost_types::Duration> {
    Some(prost_types::Duration { seconds, nanos: 250_000_000 })
}

fn lease_request() -> v1::LeaseRequest {
    v1::LeaseRequest {
        app: "shop".to_owned(),
        number: 9,
        generation: 7,
        fenced: 3,
        counts_end: true,
        instance: "a1".to_owned(),
    }
}

fn lease_replies() -> Vec<u8> {
    let grants = [v1::Grant { lease: seconds(3), sole: false }, v1::Grant { lease: None, sole: true }];
    let answers = grants.map(v1::lease_reply::Answer::Grant);
    let refused = v1::lease_reply::Answer::Refused(v1::Refusal { reason: 1, what: "no".to_owned(), ..<_>::default() });
    let replies = answers.into_iter().chain([refused]).zip(1..).map(|(answer, number)| v1::LeaseReply {
        app: "shop".to_owned(),
        number,
        generation: 7,
        answer: Some(answer),
    });
    replies.flat_map(|reply| reply.encode_length_delimited_to_vec()).collect()
}

fn evidence() -> v1::DatabaseEvidence {
    v1::DatabaseEvidence {
        running: true,
        accepts_writes: true,
        timeline: 2,
        lsn: 0x3A_945A_1100,
        system_identifier: 7,
        last_message_age: seconds(1),
        ..<_>::default()
    }
}

fn session() -> Vec<u8> {
    use v1::from_agent::Body;
    let observation = |outcome: v1::Outcome| v1::Observation {
        app: "shop".to_owned(),
        check: "writes".to_owned(),
        region: "us-east".to_owned(),
        target: "use-db1".to_owned(),
        outcome: outcome.into(),
        text: "primary on timeline 2".to_owned(),
        age: seconds(0),
        took: seconds(0),
        database: Some(evidence()),
        generation: 1,
    };
    let view = v1::LeaseView {
        app: "shop".to_owned(),
        generation: 1,
        state: v1::LeaseState::Ended.into(),
        left: seconds(2),
        fenced: 0,
    };
    let result = v1::CommandResult {
        id: Some(v1::CommandId { operation: 1, step: 2, part: 0, attempt: 1 }),
        outcome: v1::CommandOutcome::Done.into(),
        text: "promoted".to_owned(),
        took: seconds(1),
        database: Some(evidence()),
        ended_at: Some(prost_types::Timestamp { seconds: 1_795_208_657, nanos: 5 }),
    };
    let state = v1::ProxyState {
        app: "shop".to_owned(),
        backend: "pg_write".to_owned(),
        open: vec!["us-east".to_owned()],
        problem: String::new(),
    };
    let finding = v1::WriterFinding { writer: "pg".to_owned(), database: Some(evidence()), text: "primary".to_owned() };
    let bodies = [
        Body::Hello(v1::Hello { version: "0.1.0".to_owned(), protocol_min: 1, protocol_max: 1, ..<_>::default() }),
        Body::Heartbeat(v1::Heartbeat { number: 1, leases: vec![view] }),
        Body::Observation(observation(v1::Outcome::Ok)),
        Body::Observation(observation(v1::Outcome::Failing)),
        Body::Outbox(v1::OutboxItem { number: 1, result: Some(result) }),
        Body::Look(v1::LookReply {
            number: 1,
            writers: vec![finding],
            problems: vec!["none".to_owned()],
            ..<_>::default()
        }),
        Body::Proxies(v1::ProxyReport { proxies: vec![state] }),
    ];
    bodies.into_iter().flat_map(|body| v1::FromAgent { body: Some(body) }.encode_length_delimited_to_vec()).collect()
}

fn orders() -> Vec<(&'static str, v1::to_agent::Body)> {
    use v1::to_agent::Body;
    let token = || Some(v1::Token { incarnation: 0, index: 12 });
    let app = v1::DesiredApp {
        app: "shop".to_owned(),
        revision: 1,
        spec_yaml: SPEC.to_owned(),
        generation: 1,
        active_region: "us-east".to_owned(),
        lease_ends: true,
        token: token(),
        routed: true,
        active_since: 1,
        ..<_>::default()
    };
    let command = v1::Command {
        id: Some(v1::CommandId { operation: 1, step: 2, part: 0, attempt: 1 }),
        token: token(),
        app: "shop".to_owned(),
        generation: 1,
        within: seconds(5),
        body: Some(v1::command::Body::Route(v1::Route { region: "us-west".to_owned() })),
    };
    let look = v1::LookRequest { number: 1, app: "shop".to_owned(), spec_yaml: SPEC.to_owned() };
    vec![
        ("welcome", Body::Welcome(v1::Welcome { protocol: 1, heartbeat: seconds(1), leads: true })),
        ("desired", Body::Desired(v1::Desired { token: token(), apps: vec![app] })),
        ("command", Body::Command(command)),
        ("look", Body::Look(look)),
        ("pace", Body::Pace(v1::Pace { app: "shop".to_owned(), every: seconds(1) })),
    ]
}

fn asked() -> Vec<(&'static str, Vec<u8>)> {
    let spec_yaml = || SPEC.to_owned();
    let plan = v1::PlanRequest { file: "shop.yaml".to_owned(), spec_yaml: spec_yaml() };
    let apply = v1::ApplyRequest { file: "shop.yaml".to_owned(), spec_yaml: spec_yaml(), if_revision: Some(0) };
    let failover = v1::FailoverRequest { app: "shop".to_owned(), to_region: "us-west".to_owned(), ..<_>::default() };
    let token = v1::CreateTokenRequest {
        region: "us-east".to_owned(),
        uses: 2,
        valid: seconds(3_600),
        replaces: "use-db1".to_owned(),
    };
    let person = v1::AddOperatorRequest { name: "kim".to_owned(), role: "viewer".to_owned(), valid: seconds(60) };
    vec![
        ("plan", with(0, &plan.encode_to_vec())),
        ("apply", with(1, &apply.encode_to_vec())),
        ("failover", with(2, &failover.encode_to_vec())),
        ("token", with(3, &token.encode_to_vec())),
        ("person", with(4, &person.encode_to_vec())),
        ("why", with(5, &v1::WhyRequest { app: "shop".to_owned() }.encode_to_vec())),
        ("revoke", with(6, &v1::RevokeHostRequest { host: "use-db1".to_owned(), ..<_>::default() }.encode_to_vec())),
    ]
}
