//! People, and the audit trail of what they asked for.

use holdfast_coordinator_core::{
    change::{self, Change, Kind, Refused},
    records::{Call, Invite, OperatorRole},
    state::AUDIT_KEPT,
};
use holdfast_types::{
    Role, WallTime,
    audit::{Entry, Verifier},
    refusal::Reason,
};

use crate::support::*;

const CLUSTER: &str = "0198c9a2-6f3e-4c1d-9b7a-2f4e8d1c5a60";
const UNTIL: i64 = 1_895_208_657_532;

fn add(name: &str, role: OperatorRole, invite: Option<&str>) -> Kind {
    let invite = invite.map(|id| Invite { id: id.into(), secret_hash: id.as_bytes().to_vec(), until: UNTIL });
    Kind::AddOperator(change::AddOperator { name: name.into(), role: role.into(), invite })
}

fn redeem(name: &str, token: &str, request: &str) -> Kind {
    Kind::RedeemInvite(change::RedeemInvite {
        name: name.into(),
        token: token.into(),
        secret_hash: token.as_bytes().to_vec(),
        request_hash: request.as_bytes().to_vec(),
        until: UNTIL,
    })
}

fn put_out(name: &str) -> Kind {
    Kind::RevokeOperator(change::RevokeOperator { name: name.into(), reason: "left".into() })
}

/// A certificate as `init` gives it out.
fn certify(name: &str) -> Kind {
    Kind::Issue(change::Issue { bearer: format!("holdfast://{CLUSTER}/operator/{name}"), until: UNTIL, renews: 0 })
}

fn role(log: &Log, name: &str) -> Option<Role> {
    log.state.role(&name.parse().expect("a name"))
}

#[test]
fn a_person_is_let_in_once_as_what_was_said_and_put_out_for_good() {
    let mut log = Log::cluster();
    log.done(certify("ada"));
    assert_eq!(role(&log, "ada"), Some(Role::Admin), "before anybody is recorded there is only the first admin");
    log.done(add("eve", OperatorRole::Viewer, Some("one")));
    assert_eq!(role(&log, "ada"), Some(Role::Admin), "written down when the next person is");
    assert_eq!(role(&log, "eve"), Some(Role::Viewer));
    assert_eq!(role(&log, "mallory"), None);

    assert_eq!(log.refused(redeem("eve", "two", "csr")).reason, Reason::BadToken);
    assert_eq!(log.refused(redeem("ada", "one", "csr")).reason, Reason::BadToken, "another person's");
    // Added again before it was used: only the newer token counts, and the newer role.
    log.done(add("eve", OperatorRole::Operator, Some("three")));
    assert_eq!(log.refused(redeem("eve", "one", "csr")).reason, Reason::BadToken);
    let serial = log.done(redeem("eve", "three", "csr"));
    assert_eq!(log.done(redeem("eve", "three", "csr")), serial, "its answer was lost");
    assert_eq!(log.refused(redeem("eve", "three", "another")).reason, Reason::BadToken, "used up");
    assert_eq!(log.refused(add("eve", OperatorRole::Admin, Some("four"))).reason, Reason::NameTaken);
    assert_eq!(log.refused(add("ada", OperatorRole::Viewer, Some("five"))).reason, Reason::NameTaken);
    assert_eq!(role(&log, "eve"), Some(Role::Operator));

    assert_eq!(log.done(put_out("eve")), 1);
    assert_eq!(role(&log, "eve"), None);
    assert!(log.state.certificates()[&serial].revoked_at != 0);
    assert_eq!(log.refused(redeem("eve", "three", "csr")).reason, Reason::BadToken);
    assert_eq!(log.refused(put_out("eve")).reason, Reason::UnknownOperator);
    log.done(add("eve", OperatorRole::Viewer, Some("six")));
    assert!(log.done(redeem("eve", "six", "csr")) > serial, "let in anew");
    log.restarted();
}

#[test]
fn an_invite_that_has_expired_lets_nobody_in_and_a_name_or_role_that_is_none_is_refused() {
    let mut log = Log::cluster();
    log.done(certify("ada"));
    let mut late = add("eve", OperatorRole::Viewer, Some("one"));
    if let Kind::AddOperator(c) = &mut late {
        c.invite.as_mut().expect("an invite").until = 1;
    }
    log.done(late);
    assert_eq!(log.refused(redeem("eve", "one", "csr")).reason, Reason::BadToken);
    assert_eq!(log.refused(add("Eve!", OperatorRole::Viewer, None)).reason, Reason::BadRequest);
    assert_eq!(log.refused(add("kim", OperatorRole::Unspecified, Some("x"))).reason, Reason::BadRequest);
}

#[test]
fn the_last_admin_who_can_call_is_never_put_out() {
    let mut log = Log::cluster();
    log.done(certify("ada"));
    log.done(add("eve", OperatorRole::Admin, Some("one")));
    assert_eq!(log.refused(put_out("ada")).reason, Reason::LastAdmin, "eve has no certificate yet");
    log.done(redeem("eve", "one", "csr"));
    log.done(put_out("ada"));
    assert_eq!(log.refused(put_out("eve")).reason, Reason::LastAdmin);
}

/// Any change of people, some of which fit.
pub fn drawn(b: u8, c: u8) -> Kind {
    let (name, token) = (["ada", "eve", "Kim?"][usize::from(b % 3)], ["one", "two"][usize::from(b % 2)]);
    match c % 8 {
        4 => add(name, OperatorRole::try_from(i32::from(b % 5)).unwrap_or_default(), Some(token)),
        5 => redeem(name, token, ["csr", "other"][usize::from(b >> 4 & 1)]),
        6 => put_out(name),
        _ => certify(name),
    }
}

/// A row of each kind that people bring.
pub fn a_person_and_a_call(log: &mut Log) {
    log.done(certify("ada"));
    log.done(add("eve", OperatorRole::Viewer, Some("one")));
    log.done(redeem("eve", "one", "csr"));
    log.done(add("kim", OperatorRole::Deployer, Some("two")));
    log.done(put_out("eve"));
    call(log, "token create", token("called", "us-east", 1, "")).expect("made");
    call(log, "token create", token("called", "us-east", 1, "")).expect_err("made already");
}

fn call(log: &mut Log, what: &str, kind: Kind) -> Result<u64, Refused> {
    log.index += 1;
    let by = "operator ada";
    let call = Call {
        by: by.into(),
        from: "10.0.0.9:1".into(),
        call: what.into(),
        subject: "us-east".into(),
        why: "because".into(),
    };
    log.apply(&Change::new(WallTime(1_795_208_657_532), by, kind).of_call(call))
}

fn trail(log: &Log) -> Vec<Entry> {
    let trail: Vec<Entry> = log.state.audit_after(0).collect();
    let mut verifier = Verifier::default();
    trail.iter().for_each(|entry| verifier.take(entry).expect("an unbroken trail"));
    trail
}

#[test]
fn every_call_leaves_one_entry_whatever_came_of_it() {
    let mut log = Log::cluster();
    let before = log.state.clone();
    call(&mut log, "token create", token("one", "us-east", 1, "")).expect("made");
    call(&mut log, "token create", token("one", "us-east", 1, "")).expect_err("made already");
    call(&mut log, "failover", Kind::CallRefused(change::CallRefused { what: "a viewer may not".into() }))
        .expect("noted");
    let told: Vec<(u64, bool, String)> =
        trail(&log).into_iter().map(|e| (e.number, e.done, format!("{}: {}", e.call, e.outcome))).collect();
    assert_eq!(
        told,
        [
            (1, true, "token create: done".to_owned()),
            (2, false, "token create: a join token with this id exists".to_owned()),
            (3, false, "failover: a viewer may not".to_owned()),
        ]
    );
    assert_eq!(log.state.tokens().len(), before.tokens().len() + 1, "a refused call changes nothing else");
    assert_eq!(trail(&log.restarted()).len(), 3);
    assert_eq!(log.state.audit_after(2).map(|e| e.number).collect::<Vec<_>>(), [3]);
}

#[test]
fn of_a_long_trail_the_newest_are_kept_and_still_hold() {
    let mut log = Log::cluster();
    log.checked = false;
    let more = 5;
    for n in 0..AUDIT_KEPT + more {
        let refused = Kind::CallRefused(change::CallRefused { what: format!("{n}") });
        call(&mut log, "failover", refused).expect("noted");
    }
    let trail = trail(&log);
    assert_eq!(trail.len(), AUDIT_KEPT);
    assert_eq!(trail[0].number, more as u64 + 1);
    assert_eq!(log.restarted().state.rows().len(), log.written.len(), "pruned rows are gone from the disk");
}
