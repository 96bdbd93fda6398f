//! Rules between sections: every reference leads somewhere, every writer has one place in each region, and what the
//! spec promises can be kept with what it declares.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    FencedBy, Mode, Of, Place, PostgresExpect, RunBy,
    read::{
        CheckDraft, Draft, FailoverDraft, KindDraft, ProxyDraft, RegionDraft, SLOT_BYTES_MAX, TlsDraft, WriterDraft,
    },
    suggest,
    values::one_of,
    walk::{Notes, Spot, Spotted},
};
use crate::ids::{HostName, RoleName, WriterName};

/// Notes every rule between sections that does not hold.
pub(super) fn check(draft: &Draft, notes: &mut Notes) {
    let facts = Facts {
        regions: draft.regions.as_deref().unwrap_or_default(),
        writers: draft.writers.iter().map(|writer| writer.key.as_str()).collect(),
    };
    one_region_per_host(facts.regions, notes);
    for writer in &draft.writers {
        facts.writer(writer, notes);
    }
    nothing_shared(&draft.writers, facts.regions, notes);
    for check in &draft.checks {
        facts.check(check, notes);
    }
    if let Some(failover) = &draft.failover {
        facts.failover(failover, draft, notes);
    }
    facts.proxies(&draft.proxies, notes);
}

/// What references lead to.
struct Facts<'d> {
    /// Empty also when the section could not be read: then nothing is said about roles.
    regions: &'d [RegionDraft],
    writers: BTreeSet<&'d str>,
}

impl RegionDraft {
    /// Whether a role that is not here is really missing.
    fn is_readable(&self) -> bool {
        self.sound || !self.roles.is_empty()
    }

    fn hosts(&self, role: &RoleName) -> usize {
        self.roles.get(role).map_or(0, Vec::len)
    }
}

fn one_region_per_host(regions: &[RegionDraft], notes: &mut Notes) {
    let mut homes: BTreeMap<&HostName, &RegionDraft> = BTreeMap::new();
    for region in regions {
        for (role, hosts) in &region.roles {
            let mut seen = BTreeSet::new();
            for host in hosts.iter().filter_map(|placement| placement.host.as_ref()) {
                if !seen.insert(&host.is) {
                    notes.wrong(&host.spot, format!("stands twice in role {role}"), "name each host once per role");
                }
                let home = homes.entry(&host.is).or_insert(region);
                if home.spot.key != region.spot.key {
                    let wrong = format!("a host of {} (line {}) already", home.spot.key, home.spot.line);
                    notes.wrong(&host.spot, wrong, "a host stands in one region");
                }
            }
        }
    }
}

/// Two writers that share a port, a directory or a unit on one host would stop and start each other.
fn nothing_shared(writers: &[WriterDraft], regions: &[RegionDraft], notes: &mut Notes) {
    let mut taken: BTreeMap<(&HostName, String), &WriterDraft> = BTreeMap::new();
    let mut told = BTreeSet::new();
    for writer in writers {
        let Some(on) = &writer.on else { continue };
        // Programs and their user are shared by many, and a directory inside a container is nobody else's.
        let (own_dir, run_by) = match writer.run_by.as_ref().map(|run_by| (&run_by.is, &run_by.spot)) {
            Some((RunBy::Systemd { unit }, spot)) => (false, Some((format!("unit {unit}"), spot))),
            Some((RunBy::Container { name }, spot)) => (true, Some((format!("container {name}"), spot))),
            Some((RunBy::PgCtl { .. }, _)) | None => (false, None),
        };
        let dir = writer.data_dir.as_ref().filter(|_| !own_dir);
        let parts = [
            writer.port.as_ref().map(|port| (format!("port {}", port.is), &port.spot)),
            dir.map(|dir| (format!("directory {}", dir.is.display()), &dir.spot)),
            run_by,
        ];
        for (region, (part, spot)) in regions.iter().flat_map(|r| parts.iter().flatten().map(move |p| (r, p))) {
            let first = region.roles.get(&on.is).and_then(|hosts| hosts.first());
            let Some(host) = first.and_then(|placement| placement.host.as_ref()) else { continue };
            let other = taken.entry((&host.is, part.clone())).or_insert(writer);
            if other.key != writer.key && told.insert(&spot.key) {
                let wrong = format!("the same as of {} on host {}", other.spot.key, host.is);
                notes.wrong(spot, wrong, "give each writer its own");
            }
        }
    }
}

impl Facts<'_> {
    fn role(&self, role: &Spotted<RoleName>, notes: &mut Notes) {
        let readable = || self.regions.iter().filter(|region| region.is_readable());
        if readable().next().is_none() {
            return;
        }
        if !self.regions.iter().any(|region| region.roles.contains_key(&role.is)) {
            let roles: BTreeSet<&str> = readable().flat_map(|r| r.roles.keys()).map(RoleName::as_str).collect();
            notes.wrong(&role.spot, "no region has this role", did_you_mean(role.is.as_str(), &roles, "roles"));
            return;
        }
        for region in readable().filter(|region| !region.roles.contains_key(&role.is)) {
            let wrong = format!("{} (line {}) has no such role", region.spot.key, region.spot.line);
            notes.wrong(&role.spot, wrong, format!("add it under {}.roles", region.spot.key));
        }
    }

    fn writer_named(&self, writer: &Spotted<WriterName>, notes: &mut Notes) {
        if !self.writers.contains(writer.is.as_str()) {
            let instead = did_you_mean(writer.is.as_str(), &self.writers, "writers");
            notes.wrong(&writer.spot, "no such writer", instead);
        }
    }

    fn writer(&self, writer: &WriterDraft, notes: &mut Notes) {
        if let Some(on) = &writer.on {
            self.role(on, notes);
            for region in self.regions.iter().filter(|region| region.hosts(&on.is) > 1) {
                let wrong = format!("{} has {} hosts in this role", region.spot.key, region.hosts(&on.is));
                notes.wrong(&on.spot, wrong, "a postgres writer runs on exactly one host per region");
            }
        }
        if let Some(replication) = &writer.replication {
            self.slot(&replication.spot, &replication.is, notes);
        }
    }

    fn slot(&self, spot: &Spot, replication: &super::Replication, notes: &mut Notes) {
        if self.regions.len() > 2 && !replication.slot.contains("{region}") {
            let wrong = format!("one name for the standbys of {} regions", self.regions.len() - 1);
            notes.wrong(spot, wrong, "put {region} into it, as in holdfast_{region}");
        }
        for region in self.regions.iter().filter_map(|region| region.name.as_ref()) {
            let bytes = replication.slot_of(region).len();
            if bytes > SLOT_BYTES_MAX {
                let wrong = format!("{bytes} bytes long for region {region}, {SLOT_BYTES_MAX} is the most");
                notes.wrong(spot, wrong, "write a shorter one");
                return;
            }
        }
    }

    fn check(&self, check: &CheckDraft, notes: &mut Notes) {
        for role in check.on.iter().chain(&check.from) {
            self.role(role, notes);
        }
        if let Some(KindDraft::Postgres { writer, .. }) = &check.kind {
            self.writer_named(writer, notes);
        }
        if let Some(enough) = &check.enough {
            self.enough(check, enough, notes);
        }
        // The rules below speak of keys that are missing: not of those that are there and wrong.
        let (true, Some(kind), Some(place), Some(of)) = (check.sound, &check.kind, &check.place, &check.of) else {
            return;
        };
        match kind {
            KindDraft::Tcp { .. } => {}
            KindDraft::Http { url, .. } => http(check, url, place.is, notes),
            KindDraft::Postgres { expect, .. } => postgres(expect, place, of, notes),
            KindDraft::Container { .. } => only_there(place, "a container check asks the host's own docker", notes),
            KindDraft::Tls(tls) => self::tls(check, tls, place.is, notes),
            KindDraft::Redis { .. } | KindDraft::Mongodb { .. } => {}
            KindDraft::Exec { .. } => only_there(place, "a script runs on the host that it looks at", notes),
        }
        if let Some(proves) = &check.proves {
            proof(proves, kind, place, of, notes);
        }
    }

    fn enough(&self, check: &CheckDraft, enough: &Spotted<u32>, notes: &mut Notes) {
        if let Some(vital) = check.vital.as_ref().filter(|vital| vital.is) {
            let wrong = "one failing host is enough, and `enough` says that some may fail";
            notes.wrong(&vital.spot, wrong, "leave one of them out");
        }
        let Some(on) = &check.on else {
            if check.sound {
                notes.wrong(
                    &enough.spot,
                    "there is no `on` whose hosts could be counted",
                    "add on: ROLE, or leave it out",
                );
            }
            return;
        };
        let per_host = match (&check.kind, check.place.as_ref().map(|place| place.is)) {
            (Some(KindDraft::Http { url, .. }), Some(Place::Remote)) => url.is.contains("{address}"),
            (Some(_) | None, _) => true,
        };
        if !per_host {
            let instead = "put {address} into url, or leave it out";
            notes.wrong(&enough.spot, "the url is one for the whole region, so no hosts are counted", instead);
        }
        for region in self.regions.iter().filter(|region| region.hosts(&on.is) > 0) {
            let hosts = region.hosts(&on.is);
            if usize::try_from(enough.is).is_ok_and(|enough| enough > hosts) {
                let wrong = format!("{} has {hosts} in role {}", region.spot.key, on.is);
                notes.wrong(&enough.spot, wrong, format!("write {hosts} or less"));
            }
        }
    }

    fn failover(&self, failover: &FailoverDraft, draft: &Draft, notes: &mut Notes) {
        if self.writers.is_empty() {
            let instead = "declare writers, or leave failover out";
            notes.wrong(&failover.spot, "nothing here takes writes, so nothing could be moved", instead);
        }
        let none_for_automatic = failover.mode.as_ref().filter(|mode| mode.is == Mode::Automatic);
        if let (Some(by), Some(_)) = (&draft.fencing.by, none_for_automatic)
            && by.is == FencedBy::None
        {
            let instead = "write by: agent, or mode: assist or observe";
            notes.wrong(&by.spot, "two writers would be possible, and mode is automatic", instead);
        }
        if self.regions.len() < 2 {
            return;
        }
        if !draft.fencing.by_given {
            let line = draft.fencing.by_spot.line.max(failover.spot.line);
            let spot = Spot { line, ..draft.fencing.by_spot.clone() };
            notes.wrong(&spot, "missing", "write agent, or none if two writers at once may happen");
        }
        for writer in draft.writers.iter().filter(|writer| writer.kind.is_some() && !writer.replicates) {
            let wrong = format!("missing, and failover has {} regions to move between", self.regions.len());
            let instead = "write {mode: async, user: USER, password: {credential: NAME}}";
            notes.wrong(&writer.spot.below("replication"), wrong, instead);
        }
    }

    fn proxies(&self, proxies: &[ProxyDraft], notes: &mut Notes) {
        let mut sockets = BTreeMap::new();
        for proxy in proxies {
            if let Some(on) = &proxy.on {
                self.role(on, notes);
            }
            for writer in proxy.backends.iter().filter_map(|(_, writer)| writer.as_ref()) {
                self.writer_named(writer, notes);
            }
            if let (Some(on), Some(socket)) = (&proxy.on, &proxy.socket) {
                let first = sockets.entry((&on.is, &socket.is)).or_insert(proxy);
                if first.spot.key != proxy.spot.key {
                    let wrong = format!("the proxy of {} (line {})", first.spot.key, first.spot.line);
                    notes.wrong(&socket.spot, wrong, "list all its backends there");
                }
            }
        }
    }
}

fn http(check: &CheckDraft, url: &Spotted<String>, place: Place, notes: &mut Notes) {
    let (address, region) = (url.is.contains("{address}"), url.is.contains("{region}"));
    if address && check.on.is_none() {
        notes.wrong(&url.spot, "there is no `on` whose hosts have an {address}", "add on: ROLE");
    }
    match place {
        Place::Local if check.on.is_none() && check.from.is_none() => {
            notes.wrong(&check.spot, "nobody is said to look", "add on: ROLE, or from: ROLE");
        }
        Place::Remote if !address && !region => {
            let wrong = "the same for every region, so an answer says nothing about one";
            notes.wrong(&url.spot, wrong, "put {region} into it, as in https://{region}.example/health");
        }
        Place::Local | Place::Remote => {}
    }
}

fn tls(check: &CheckDraft, tls: &TlsDraft, place: Place, notes: &mut Notes) {
    if let Some(vital) = check.vital.as_ref().filter(|vital| vital.is) {
        // It expires in every region alike, and a region that moved for it would show the next one.
        let wrong = "a tls check only warns: what a certificate is worth moves no app";
        notes.wrong(&vital.spot, wrong, "leave it out, and ask an https URL for what clients need");
    }
    match (&check.on, &tls.address) {
        (Some(_), None) => {}
        (None, None) => {
            let instead = "write on: ROLE, or address: NAME for one endpoint of the region";
            notes.wrong(&check.spot, "says nothing to look at", instead);
        }
        (Some(on), Some(_)) => {
            notes.wrong(&on.spot, "there is an address of the whole region too", "write one of on and address");
        }
        (None, Some(address)) => match place {
            Place::Local if check.from.is_none() => {
                notes.wrong(&check.spot, "nobody is said to look", "add from: ROLE, or where: remote");
            }
            Place::Remote if !address.is.contains("{region}") => {
                let wrong = "the same for every region, so an answer says nothing about one";
                notes.wrong(&address.spot, wrong, "put {region} into it, as in {region}.shop.example");
            }
            Place::Local | Place::Remote => {}
        },
    }
}

/// Of what can be seen on the host itself only.
fn only_there(place: &Spotted<Place>, why: &str, notes: &mut Notes) {
    if place.is == Place::Remote {
        notes.wrong(&place.spot, why, "write local");
    }
}

fn postgres(expect: &Spotted<PostgresExpect>, place: &Spotted<Place>, of: &Spotted<Of>, notes: &mut Notes) {
    if place.is == Place::Remote {
        let instead = "write local, or check from afar with http";
        notes.wrong(&place.spot, "a postgres check logs in on the database's own host", instead);
    }
    match (expect.is, of.is) {
        (PostgresExpect::AcceptsWrites, Of::Active) | (PostgresExpect::Streams, Of::Standby) => {}
        (PostgresExpect::AcceptsWrites, Of::Standby) => {
            notes.wrong(&expect.spot, "a standby accepts no writes", "write streams, or of: active");
        }
        (PostgresExpect::Streams, Of::Active) => {
            notes.wrong(&expect.spot, "the active region's database streams from nobody", "add of: standby");
        }
    }
}

fn proof(proves: &Spot, kind: &KindDraft, place: &Spotted<Place>, of: &Spotted<Of>, notes: &mut Notes) {
    match kind {
        KindDraft::Http { .. } => {}
        KindDraft::Tcp { .. } => {
            notes.wrong(proves, "an open port proves no writes", "leave it out, or ask a url that writes");
        }
        // Never remote, see above; what it sees decides by itself.
        KindDraft::Postgres { .. } => {
            notes.wrong(proves, "a postgres check is the region's own word", "leave it out");
            return;
        }
        KindDraft::Tls(_) | KindDraft::Redis { .. } | KindDraft::Mongodb { .. } => {
            notes.wrong(proves, "only an http check can be marked as proof", "leave it out, or ask a url that writes");
        }
        KindDraft::Container { .. } | KindDraft::Exec { .. } => {
            notes.wrong(proves, "what a host says of itself is the region's own word", "leave it out");
            return;
        }
    }
    if place.is != Place::Remote {
        notes.wrong(proves, "only what others see is a proof", "write where: remote, or leave it out");
    }
    if of.is != Of::Active {
        notes.wrong(proves, "a standby serves no writes", "write of: active, or leave it out");
    }
}

fn did_you_mean(word: &str, candidates: &BTreeSet<&str>, what: &str) -> String {
    if let Some(near) = suggest::nearest(word, candidates.iter().copied()) {
        return format!("did you mean {near}?");
    }
    match candidates.iter().copied().take(10).collect::<Vec<_>>().as_slice() {
        [] => format!("there are no {what}"),
        names => format!("write {}", one_of(names)),
    }
}
