//! What a coordinator still writes when its disk is nearly full: nothing new, everything that keeps running what runs.

use crate::change::Kind;

/// What a change is needed for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// Apps go on and move by it: refused, it would cost them their service.
    Vital,
    /// Takes something back or puts somebody out: refused, it would keep a danger.
    Relief,
    /// New work, which can wait.
    New,
}

/// Whether a change is written while there is too little room for new work.
#[must_use]
pub fn may_propose(kind: &Kind) -> bool {
    match need(kind) {
        Need::Vital | Need::Relief => true,
        Need::New => false,
    }
}

/// What a change is needed for.
#[must_use]
pub const fn need(kind: &Kind) -> Need {
    match kind {
        Kind::Issue(_)
        | Kind::Quarantine(_)
        | Kind::NoteStarts(_)
        | Kind::SetPromotable(_)
        | Kind::Reactivate(_)
        | Kind::SetRouted(_)
        | Kind::StartOperation(_)
        | Kind::StepBegins(_)
        | Kind::CommandEnded(_)
        | Kind::StepEnded(_)
        | Kind::ExtendPlan(_)
        | Kind::EndOperation(_)
        | Kind::Hold(_)
        | Kind::HoldOver(_)
        | Kind::NextGeneration(_)
        | Kind::EndHold(_) => Need::Vital,
        Kind::RevokeToken(_)
        | Kind::Revoke(_)
        | Kind::AbortOperation(_)
        | Kind::RevokeOperator(_)
        | Kind::EndMaintenance(_)
        | Kind::RemoveHost(_)
        | Kind::RemoveApp(_) => Need::Relief,
        Kind::Init(_)
        | Kind::CreateToken(_)
        | Kind::Enrol(_)
        | Kind::ApplySpec(_)
        | Kind::BeginMaintenance(_)
        | Kind::AddOperator(_)
        | Kind::RedeemInvite(_)
        | Kind::CallRefused(_) => Need::New,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::change::{
        AbortOperation, ApplySpec, CallRefused, CreateToken, Enrol, NextGeneration, NoteStarts, OfOperation,
        RevokeOperator, StartOperation, StepEnded,
    };

    #[test]
    fn with_no_room_a_failover_goes_on_people_are_put_out_and_nothing_new_begins() {
        for (kind, may) in [
            (Kind::StartOperation(StartOperation::default()), true),
            (Kind::Hold(OfOperation::default()), true),
            (Kind::NextGeneration(NextGeneration::default()), true),
            (Kind::StepEnded(StepEnded::default()), true),
            (Kind::NoteStarts(NoteStarts::default()), true),
            (Kind::AbortOperation(AbortOperation::default()), true),
            (Kind::RevokeOperator(RevokeOperator::default()), true),
            (Kind::ApplySpec(ApplySpec::default()), false),
            (Kind::CreateToken(CreateToken::default()), false),
            (Kind::Enrol(Enrol::default()), false),
            // Whoever is refused over and over must not fill what is left.
            (Kind::CallRefused(CallRefused::default()), false),
        ] {
            assert_eq!(may_propose(&kind), may, "{kind:?}");
        }
    }
}
