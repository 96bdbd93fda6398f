//! Refusals of operators' calls: each names what was asked, what there is instead, and the commands that help.

use std::fmt::Display;

use holdfast_coordinator_core::change::Refused;
use holdfast_proto::v1;
use holdfast_shared::refusal;
use holdfast_types::{AppName, HostName, OperationId, RegionName, refusal::Reason};
use tonic::Status;

/// A refusal before it takes the form of a status, or of a part of a plan.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Refusal {
    pub(super) reason: Reason,
    pub(super) what: String,
    pub(super) lines: Vec<v1::Line>,
    pub(super) next: Vec<String>,
}

impl Refusal {
    pub(super) fn new(reason: Reason, what: impl Into<String>) -> Self {
        Self { reason, what: what.into(), lines: Vec::new(), next: Vec::new() }
    }

    pub(super) fn line(mut self, label: &str, text: impl Into<String>) -> Self {
        self.lines.push(refusal::line(label, text));
        self
    }

    pub(super) fn lines(mut self, label: &str, texts: impl IntoIterator<Item = String>) -> Self {
        self.lines.extend(texts.into_iter().map(|text| refusal::line(label, text)));
        self
    }

    pub(super) fn next(mut self, command: impl Into<String>) -> Self {
        self.next.push(command.into());
        self
    }

    pub(super) fn nexts(mut self, commands: impl IntoIterator<Item = String>) -> Self {
        self.next.extend(commands);
        self
    }

    /// As a part of a reply.
    pub(super) fn wire(self) -> v1::Refusal {
        refusal::refusal(self.reason, self.what, self.lines, self.next)
    }

    /// As the status of a call.
    pub(super) fn status(self) -> Status {
        refusal::to_status(self.reason, self.what, self.lines, self.next)
    }
}

impl From<Refused> for Refusal {
    fn from(refused: Refused) -> Self {
        Self::new(refused.reason, refused.what)
    }
}

/// A request that makes no sense, whatever the state.
pub(super) fn bad(what: impl Into<String>) -> Status {
    Refusal::new(Reason::BadRequest, what).status()
}

/// Names in a row, or that there is none.
pub(super) fn listed<T: Display>(names: impl IntoIterator<Item = T>) -> String {
    let names: Vec<String> = names.into_iter().map(|name| name.to_string()).collect();
    if names.is_empty() { "none yet".to_owned() } else { names.join(", ") }
}

pub(super) fn unknown_app<'a>(name: &AppName, known: impl Iterator<Item = &'a AppName>) -> Refusal {
    let known: Vec<&AppName> = known.collect();
    let next = if known.is_empty() { "holdfast plan -f APP.yaml" } else { "holdfast apps" };
    Refusal::new(Reason::UnknownApp, format!("no app {name}")).line("apps", listed(known)).next(next)
}

pub(super) fn unknown_region<'a>(
    app: &AppName,
    name: &RegionName,
    known: impl Iterator<Item = &'a RegionName>,
) -> Refusal {
    Refusal::new(Reason::UnknownRegion, format!("app {app} declares no region {name}"))
        .line("regions", listed(known))
        .next(format!("holdfast why {app}"))
        .next("holdfast regions")
}

pub(super) fn unknown_host<'a>(name: &HostName, known: impl Iterator<Item = &'a HostName>) -> Refusal {
    Refusal::new(Reason::UnknownHost, format!("no host {name} is enrolled"))
        .line("hosts", listed(known))
        .next("holdfast hosts")
}

/// The newest numbers are named: nobody mistypes an old one.
pub(super) fn unknown_operation<'a>(
    number: OperationId,
    known: impl DoubleEndedIterator<Item = &'a OperationId>,
) -> Refusal {
    const NAMED: usize = 5;
    Refusal::new(Reason::UnknownOperation, format!("no operation {number}"))
        .line("newest", listed(known.rev().take(NAMED)))
        .next("holdfast operations list")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_names_what_there_is_and_what_to_type() {
        let shop: AppName = "shop".parse().unwrap();
        let (east, west): (RegionName, RegionName) = ("us-east".parse().unwrap(), "us-west".parse().unwrap());
        let host: HostName = "use-db1".parse().unwrap();
        let operations = [OperationId(1), OperationId(2)];
        for (refused, reason, line, next) in [
            (unknown_app(&shop, [].iter()), Reason::UnknownApp, "none yet", "holdfast plan -f APP.yaml"),
            (unknown_app(&shop, [shop.clone()].iter()), Reason::UnknownApp, "shop", "holdfast apps"),
            (unknown_region(&shop, &west, [&east].into_iter()), Reason::UnknownRegion, "us-east", "holdfast why shop"),
            (unknown_host(&host, [host.clone()].iter()), Reason::UnknownHost, "use-db1", "holdfast hosts"),
            (
                unknown_operation(OperationId(9), operations.iter()),
                Reason::UnknownOperation,
                "2, 1",
                "holdfast operations list",
            ),
        ] {
            assert_eq!((refused.reason, &*refused.lines[0].text, &*refused.next[0]), (reason, line, next));
            let sent = refusal::from_status(&refused.clone().status()).expect("a refusal");
            assert_eq!(sent, refused.wire());
        }
    }
}
