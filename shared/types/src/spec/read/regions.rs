//! `regions`: roles and their hosts, in the order of the file.

use std::collections::BTreeMap;

use super::NAMED_MAX;
use crate::{
    ids::{HostName, RegionName, RoleName},
    spec::{
        later::Section,
        values::name_rule,
        walk::{At, Notes, Spot, Spotted},
    },
};

/// One region as far as it could be read.
#[derive(Debug)]
pub(in crate::spec) struct RegionDraft {
    pub(in crate::spec) spot: Spot,
    pub(in crate::spec) name: Option<RegionName>,
    pub(in crate::spec) roles: BTreeMap<RoleName, Vec<PlacementDraft>>,
    /// Whether all of it could be read: only then does a missing role mean anything.
    pub(in crate::spec) sound: bool,
}

/// A host in a role.
#[derive(Debug)]
pub(in crate::spec) struct PlacementDraft {
    pub(in crate::spec) host: Option<Spotted<HostName>>,
    pub(in crate::spec) address: Option<String>,
}

const ROLES: &str = "roles, each with its hosts: db: [{host: NAME, address: ADDRESS}]";
const HOSTS: &str = "at least one host: [{host: NAME, address: ADDRESS}]";

pub(super) fn read(at: &At<'_>, notes: &mut Notes) -> Option<Vec<RegionDraft>> {
    let fields = at.fields("at least one region with its roles and hosts", notes)?;
    let regions: Vec<RegionDraft> =
        fields.each(NAMED_MAX, notes).into_iter().map(|(key, at)| region(key, &at, notes)).collect();
    if regions.is_empty() {
        notes.wrong(&at.spot(), "no region", "write at least one region with its roles and hosts");
        return None;
    }
    Some(regions)
}

fn region(key: &str, at: &At<'_>, notes: &mut Notes) -> RegionDraft {
    let before = notes.count();
    let name = name_of(key, "region name", at, notes);
    let mut roles = BTreeMap::new();
    if let Some(mut fields) = at.fields(&format!("roles: with {ROLES}"), notes) {
        let listed = fields.need("roles", &format!("write {ROLES}"), notes);
        let listed = listed.and_then(|at| at.fields(ROLES, notes));
        for (key, at) in listed.map(|fields| fields.each(NAMED_MAX, notes)).unwrap_or_default() {
            let role = name_of::<RoleName>(key, "role name", &at, notes);
            let hosts = hosts(&at, notes);
            if let Some(role) = role {
                roles.insert(role, hosts);
            }
        }
        fields.close(Section::Inner, notes);
    }
    RegionDraft { spot: at.bare_spot(), name, roles, sound: notes.count() == before }
}

fn hosts(at: &At<'_>, notes: &mut Notes) -> Vec<PlacementDraft> {
    let Some(items) = at.list(HOSTS, notes) else {
        return Vec::new();
    };
    if items.is_empty() {
        notes.wrong(&at.spot(), "no host", format!("write {HOSTS}, or leave the role out"));
    }
    items.iter().map(|at| placement(at, notes)).collect()
}

fn placement(at: &At<'_>, notes: &mut Notes) -> PlacementDraft {
    let wanted = "{host: NAME, address: ADDRESS}";
    let Some(mut fields) = at.fields(wanted, notes) else {
        return PlacementDraft { host: None, address: None };
    };
    let host = fields.need("host", &format!("write {wanted}"), notes).and_then(|at| at.name("host name", notes));
    let address = fields.need("address", &format!("write {wanted}"), notes).and_then(|at| at.address(notes));
    fields.close(Section::Inner, notes);
    PlacementDraft { host, address: address.map(|address| address.is) }
}

/// A key that is a name the operator chose.
pub(super) fn name_of<N: std::str::FromStr>(key: &str, kind: &str, at: &At<'_>, notes: &mut Notes) -> Option<N> {
    let name = key.parse().ok();
    if name.is_none() {
        notes.wrong(&at.bare_spot(), format!("the key is no {kind}"), name_rule());
    }
    name
}
