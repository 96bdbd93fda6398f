//! The sections of the format: which keys each has, and their defaults.
//!
//! A reader returns a draft: what could be read, with the place of all that other sections refer to. Rules between
//! sections come after ([`super::relate`], [`super::timing`]); only drafts without any problem become an
//! [`AppSpec`](super::AppSpec).

mod checks;
mod failover;
mod regions;
mod traffic;
mod writers;

pub(super) use checks::{CheckDraft, KindDraft, TlsDraft};
pub(super) use failover::{FailoverDraft, FencingDraft};
pub(super) use regions::RegionDraft;
pub(super) use traffic::ProxyDraft;
pub(super) use writers::{SLOT_BYTES_MAX, WriterDraft};

use super::{
    later::Section,
    tree::Node,
    walk::{At, Notes},
};
use crate::ids::AppName;

/// The format that this version reads.
const FORMAT: &str = "1";

/// Most regions, roles of a region, writers, proxies and backends of a proxy. Generous; it bounds the work that one
/// small file can ask for, because rules compare all of one kind with all of another.
const NAMED_MAX: usize = 64;
/// Most checks.
const CHECKS_MAX: usize = 512;

/// A whole spec as far as it could be read.
#[derive(Debug)]
pub(super) struct Draft {
    pub(super) app: Option<AppName>,
    /// In the order of the file. `None` when the section itself cannot be used.
    pub(super) regions: Option<Vec<RegionDraft>>,
    pub(super) writers: Vec<WriterDraft>,
    pub(super) checks: Vec<CheckDraft>,
    pub(super) failover: Option<FailoverDraft>,
    pub(super) fencing: FencingDraft,
    pub(super) proxies: Vec<ProxyDraft>,
}

/// Reads every section. `None` when the file is nothing that this version could say more about.
pub(super) fn draft(root: &Node, notes: &mut Notes) -> Option<Draft> {
    let at = At::root(root);
    let mut top = at.fields("a map that begins with spec: 1", notes)?;
    let format = top.need("spec", "write spec: 1 as the first line", notes);
    if let Some(format) = format {
        let text = format.text("spec: 1", notes)?;
        if text != FORMAT {
            // A newer format has other keys: naming each of them would only hide the reason.
            notes.wrong(&format.spot(), "no format that this version reads", "write spec: 1, or use a newer holdfast");
            return None;
        }
    }
    let app = top
        .need("app", "write app: NAME", notes)
        .and_then(|at| at.name::<AppName>("app name", notes))
        .map(|app| app.is);
    let regions = top
        .need("regions", "write at least one region with its roles and hosts", notes)
        .and_then(|at| regions::read(&at, notes));
    let writers = top.take("writers").map(|at| writers::read(&at, notes)).unwrap_or_default();
    // Before `checks` and `fencing`: a preset sets their defaults as well.
    let (failover, defaults) = match top.take("failover") {
        Some(at) => failover::read(&at, notes),
        None => (None, failover::Defaults::REGULAR),
    };
    let checks = top.take("checks").map(|at| checks::read(&at, &defaults, notes)).unwrap_or_default();
    let fencing = top.take("fencing");
    let fencing = failover::read_fencing(fencing.as_ref(), &top.spot, &defaults, notes);
    let proxies = top.take("traffic").map(|at| traffic::read(&at, notes)).unwrap_or_default();
    top.close(Section::Top, notes);
    Some(Draft { app, regions, writers, checks, failover, fencing, proxies })
}
