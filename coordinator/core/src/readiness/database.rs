//! What a failover needs of the databases: logins, rights, settings, and who starts them.

use holdfast_types::{
    HostName, RegionName, WriterName,
    spec::{Login, ReplicationMode, Writer},
};

use super::{Input, Told, WriterFacts};

/// PostgreSQL's "the role does not exist", "no pg_hba.conf entry", "peer authentication failed".
const NOT_LET_IN: &str = "28000";
/// "password authentication failed".
const WRONG_PASSWORD: &str = "28P01";
/// "the database does not exist".
const NO_DATABASE: &str = "3D000";

/// One writer's database in one region.
struct Place<'a> {
    writer: &'a Writer,
    name: &'a WriterName,
    region: &'a RegionName,
    host: &'a HostName,
    facts: Option<&'a WriterFacts>,
}

impl Place<'_> {
    /// `pg on usw-db1 (us-west)`.
    fn said(&self) -> String {
        format!("{} on {} ({})", self.name, self.host, self.region)
    }
}

fn places<'a>(input: &'a Input<'_>) -> impl Iterator<Item = Place<'a>> {
    input.spec.regions.iter().flat_map(move |region| {
        input.spec.writers.iter().filter_map(move |(name, writer)| {
            let host = &input.spec.writer_host(name, &region.name)?.host;
            let facts = input.writers.get(&(region.name.clone(), name.clone()));
            Some(Place { writer, name, region: &region.name, host, facts })
        })
    })
}

/// Those that could be looked at by SQL; the rest is told by the login.
fn looked_at<'a>(input: &'a Input<'_>) -> impl Iterator<Item = (Place<'a>, &'a WriterFacts)> {
    places(input).filter_map(|place| {
        let facts = place.facts.filter(|facts| facts.login_problem.is_empty() && !facts.settings.is_empty())?;
        Some((place, facts))
    })
}

/// The line of pg_hba.conf that lets Holdfast in.
fn hba(login: &Login) -> String {
    let (database, user) = (&login.database, &login.user);
    match (&login.socket, &login.password) {
        (Some(_), None) => format!("local  {database}  {user}  peer map=holdfast"),
        (Some(_), Some(_)) => format!("local  {database}  {user}  scram-sha-256"),
        (None, _) => format!("host  {database}  {user}  127.0.0.1/32  scram-sha-256"),
    }
}

pub(super) fn login(input: &Input<'_>, told: &mut Told) -> String {
    let mut count = 0;
    for place in places(input) {
        let Some(facts) = place.facts else {
            told.unknown(format!("{} was not looked at yet", place.said()));
            continue;
        };
        count += 1;
        if !facts.problem.is_empty() {
            told.wrong(format!("{}: {}", place.said(), facts.problem));
            let credential = place.writer.login.password.as_ref().filter(|_| facts.problem.contains("credential"));
            if let Some(credential) = credential {
                let line = format!("install -m 600 /dev/stdin /etc/holdfast/credentials/{credential}");
                told.add(format!("{}, as root", place.host), line);
            }
        }
        if !facts.login_problem.is_empty() {
            told.wrong(format!("{}: {}", place.said(), facts.login_problem));
            let_in(&place, facts, told);
        }
    }
    if count == 1 {
        "it can log in to the database".to_owned()
    } else {
        format!("it can log in to all {count} databases")
    }
}

/// What lets Holdfast in, by what PostgreSQL said.
fn let_in(place: &Place<'_>, facts: &WriterFacts, told: &mut Told) {
    let (login, host) = (&place.writer.login, place.host);
    let (user, database) = (&login.user, &login.database);
    match facts.login_state.as_str() {
        NOT_LET_IN if facts.login_problem.contains("does not exist") => {
            told.add(
                format!("on the primary, database {database}, as superuser"),
                format!("create role {user} login;"),
            );
        }
        NOT_LET_IN => {
            told.add(format!("pg_hba.conf on {host}, before broader lines"), hba(login));
            if login.socket.is_some() && login.password.is_none() {
                told.add(format!("pg_ident.conf on {host}"), format!("holdfast  root  {user}"));
            }
            told.add(format!("on {host}, as superuser"), "select pg_reload_conf();");
        }
        WRONG_PASSWORD => {
            let line = format!("alter role {user} password '…';      the same as in the credential");
            told.add("on the primary, as superuser", line);
        }
        NO_DATABASE => {
            let line = format!("create database {database};      or name another one under login");
            told.add("on the primary, as superuser", line);
        }
        _ => told.add(format!("on {host}"), "is it running? its log says why it does not answer"),
    }
}

pub(super) fn rights(input: &Input<'_>, told: &mut Told) -> String {
    let mut users: Vec<&str> = Vec::new();
    for (place, facts) in looked_at(input) {
        let login = &place.writer.login;
        if facts.missing_rights.is_empty() {
            continue;
        }
        told.wrong(format!("{} has not on {}: {}", login.user, place.said(), facts.missing_rights.join(", ")));
        for right in &facts.missing_rights {
            let at = format!("on the primary, database {}, as superuser", login.database);
            told.add(at, format!("grant {right} to {};", login.user));
        }
    }
    for writer in input.spec.writers.values() {
        if !users.contains(&&*writer.login.user) {
            users.push(&writer.login.user);
        }
    }
    format!("{} may promote, prove writes and cut a standby", users.join(", "))
}

pub(super) fn starts(input: &Input<'_>, told: &mut Told) -> String {
    for place in places(input) {
        if let Some(facts) = place.facts.filter(|facts| !facts.starts_by_itself.is_empty()) {
            told.wrong(format!("{}: {}, so it starts without a lease", place.said(), facts.starts_by_itself));
            told.add(format!("{}, as root", place.host), facts.starts_by_itself_add.clone());
        }
    }
    "nothing but Holdfast starts a database".to_owned()
}

pub(super) fn synchronous(input: &Input<'_>, told: &mut Told) -> String {
    for (place, facts) in looked_at(input).filter(|(place, _)| place.region != input.active) {
        let names = facts.settings.get("synchronous_standby_names").map_or("", |names| names.trim());
        if !names.is_empty() {
            let why = "promoted alone, every commit would hang";
            told.wrong(format!("{} has synchronous_standby_names = '{names}': {why}", place.said()));
            told.add(format!("configuration on {}, then reload", place.host), "synchronous_standby_names = ''");
        }
    }
    "a standby that is promoted alone takes commits".to_owned()
}

pub(super) fn rewind(input: &Input<'_>, told: &mut Told) -> String {
    let on = |facts: &WriterFacts, name: &str| facts.settings.get(name).is_some_and(|value| value == "on");
    for (place, facts) in looked_at(input) {
        if !on(facts, "wal_log_hints") && !on(facts, "data_checksums") {
            let why = "pg_rewind cannot bring it back as a standby";
            told.wrong(format!("{} has neither wal_log_hints nor checksums: {why}", place.said()));
            told.add(format!("configuration on {}, then restart", place.host), "wal_log_hints = on");
        }
    }
    "pg_rewind can bring an old primary back".to_owned()
}

pub(super) fn slots(input: &Input<'_>, told: &mut Told) -> String {
    for (place, facts) in looked_at(input).filter(|(place, _)| place.region == input.active) {
        let Some(replication) = &place.writer.replication else { continue };
        for region in input.spec.regions.iter().filter(|region| region.name != *input.active) {
            let slot = replication.slot_of(&region.name);
            if !facts.slots.contains(&slot) {
                let why = format!("it may remove WAL that {} still needs", region.name);
                told.wrong(format!("{} has no slot {slot}: {why}", place.said()));
                let line = format!("select pg_create_physical_replication_slot('{slot}');");
                told.add(format!("on {}, as superuser", place.host), line);
            }
        }
        let waits = facts.settings.get("synchronous_standby_names").is_some_and(|names| !names.trim().is_empty());
        if replication.mode == ReplicationMode::Sync && !waits {
            told.wrong(format!("{}: the spec says mode: sync, but no commit waits for a standby", place.said()));
            told.add(format!("configuration on {}, then reload", place.host), "synchronous_standby_names = '*'");
        }
    }
    "each standby has its slot".to_owned()
}
