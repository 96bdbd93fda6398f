//! `checks`: how an app's health is seen.

use std::{path::PathBuf, time::Duration};

use super::{
    CHECKS_MAX,
    failover::Defaults,
    regions::name_of,
    writers::{container_name, password},
};
use crate::{
    ids::{CheckName, Credential, RoleName, WriterName},
    spec::{
        MongodbExpect, Of, Place, PostgresExpect, RedisExpect,
        later::Section,
        timing::CHECK_TIMEOUT,
        values::one_of,
        walk::{At, Fields, Notes, Spot, Spotted},
    },
};

/// What an `http` check expects when nothing else is said.
const STATUS_DEFAULT: u16 = 200;
/// Most hosts that can be asked for.
const ENOUGH_MAX: u32 = 10_000;
/// Longest URL.
const URL_BYTES_MAX: usize = 2_000;
/// Most containers of one check: each is a question to Docker in every round.
const CONTAINERS_MAX: usize = 32;
/// Longest name of a script's file.
const SCRIPT_BYTES_MAX: usize = 64;
/// Time to notice, to ask for a new certificate and to put it there. Those of ninety days are renewed with thirty left.
const DAYS_MIN_DEFAULT: u32 = 14;
/// Most days that can be asked for: ten years.
const DAYS_MIN_MAX: u32 = 3_650;
/// Redis's own.
const REDIS_PORT_DEFAULT: u16 = 6379;
/// MongoDB's own.
const MONGODB_PORT_DEFAULT: u16 = 27_017;

/// One check as far as it could be read.
#[derive(Debug)]
pub(in crate::spec) struct CheckDraft {
    pub(in crate::spec) spot: Spot,
    pub(in crate::spec) name: Option<CheckName>,
    pub(in crate::spec) kind: Option<KindDraft>,
    pub(in crate::spec) on: Option<Spotted<RoleName>>,
    pub(in crate::spec) from: Option<Spotted<RoleName>>,
    pub(in crate::spec) place: Option<Spotted<Place>>,
    pub(in crate::spec) of: Option<Spotted<Of>>,
    pub(in crate::spec) vital: Option<Spotted<bool>>,
    pub(in crate::spec) enough: Option<Spotted<u32>>,
    pub(in crate::spec) timeout: Option<Spotted<Duration>>,
    pub(in crate::spec) proves: Option<Spot>,
    /// Whether all of it could be read: only then does a missing key mean anything.
    pub(in crate::spec) sound: bool,
}

/// What a check does, its references still unchecked.
#[derive(Debug)]
pub(in crate::spec) enum KindDraft {
    Tcp { port: u16 },
    Http { url: Spotted<String>, expect_status: u16 },
    Postgres { writer: Spotted<WriterName>, expect: Spotted<PostgresExpect> },
    Container { names: Vec<String> },
    Tls(TlsDraft),
    Redis { port: u16, expect: RedisExpect, user: Option<String>, password: Option<Credential> },
    Mongodb { port: u16, expect: MongodbExpect, replica_set: Option<String> },
    Exec { script: String },
}

/// A look at a certificate.
#[derive(Debug)]
pub(in crate::spec) struct TlsDraft {
    /// One endpoint for the whole region, in the place of the hosts of a role.
    pub(in crate::spec) address: Option<Spotted<String>>,
    pub(in crate::spec) port: u16,
    pub(in crate::spec) server_name: Option<String>,
    pub(in crate::spec) days_min: u32,
    pub(in crate::spec) ca: Option<PathBuf>,
}

#[derive(Clone, Copy)]
enum Kind {
    Tcp,
    Http,
    Postgres,
    Container,
    Tls,
    Redis,
    Mongodb,
    Exec,
}

const KINDS: &[(&str, Kind)] = &[
    ("tcp", Kind::Tcp),
    ("http", Kind::Http),
    ("postgres", Kind::Postgres),
    ("container", Kind::Container),
    ("tls", Kind::Tls),
    ("redis", Kind::Redis),
    ("mongodb", Kind::Mongodb),
    ("exec", Kind::Exec),
];

pub(super) fn read(at: &At<'_>, defaults: &Defaults, notes: &mut Notes) -> Vec<CheckDraft> {
    let fields = at.fields("checks by name, or leave the section out", notes);
    let each = fields.map(|fields| fields.each(CHECKS_MAX, notes)).unwrap_or_default();
    each.into_iter().map(|(key, at)| check(key, &at, defaults, notes)).collect()
}

fn check(key: &str, at: &At<'_>, defaults: &Defaults, notes: &mut Notes) -> CheckDraft {
    let before = notes.count();
    let mut draft = CheckDraft {
        spot: at.bare_spot(),
        name: name_of(key, "check name", at, notes),
        kind: None,
        on: None,
        from: None,
        place: None,
        of: None,
        vital: None,
        enough: None,
        timeout: None,
        proves: None,
        sound: false,
    };
    let Some(mut fields) = at.fields("kind, where and what the kind needs", notes) else {
        return draft;
    };
    let names: Vec<&str> = KINDS.iter().map(|(name, _)| *name).collect();
    let kind = fields.need("kind", &format!("write {}", one_of(&names)), notes);
    let Some(kind) = kind.and_then(|at| at.word(KINDS, &[], notes)) else {
        // The other keys depend on the kind.
        return draft;
    };
    draft.kind = match kind.is {
        Kind::Tcp => tcp(&mut fields, &mut draft, notes),
        Kind::Http => http(&mut fields, &mut draft, notes),
        Kind::Postgres => postgres(&mut fields, notes),
        Kind::Container => container(&mut fields, &mut draft, notes),
        Kind::Tls => tls(&mut fields, &mut draft, notes),
        Kind::Redis => redis(&mut fields, &mut draft, notes),
        Kind::Mongodb => mongodb(&mut fields, &mut draft, notes),
        Kind::Exec => exec(&mut fields, &mut draft, notes),
    };
    let places = [("local", Place::Local), ("remote", Place::Remote)];
    let place = fields.need("where", "write local (by the region's own agents) or remote (by those of others)", notes);
    draft.place = place.and_then(|at| at.word(&places, &[], notes));
    draft.of = match fields.take("of") {
        Some(at) => at.word(&[("active", Of::Active), ("standby", Of::Standby)], &[], notes),
        None => Some(Spotted { is: Of::Active, spot: fields.spot.below("of") }),
    };
    draft.vital = match fields.take("vital") {
        Some(at) => at.flag(notes),
        None => Some(Spotted { is: false, spot: fields.spot.below("vital") }),
    };
    draft.timeout = match fields.take("timeout") {
        Some(at) => at.span(CHECK_TIMEOUT, notes),
        None => Some(defaults.default("timeout", defaults.check_timeout, &fields.spot)),
    };
    let proves = fields.take("proves");
    draft.proves = proves.and_then(|at| at.word(&[("writes", ())], &[], notes)).map(|proves| proves.spot);
    fields.close(Section::Check, notes);
    draft.sound = notes.count() == before;
    draft
}

fn tcp(fields: &mut Fields<'_>, draft: &mut CheckDraft, notes: &mut Notes) -> Option<KindDraft> {
    draft.on = fields.need("on", "write on: ROLE", notes).and_then(|at| at.name("role name", notes));
    where_from(fields, draft, notes);
    let port = fields.need("port", "write a port from 1 to 65535", notes).and_then(|at| at.port(notes));
    Some(KindDraft::Tcp { port: port? })
}

fn http(fields: &mut Fields<'_>, draft: &mut CheckDraft, notes: &mut Notes) -> Option<KindDraft> {
    draft.on = fields.take("on").and_then(|at| at.name("role name", notes));
    where_from(fields, draft, notes);
    let url = fields.need("url", "write a URL that begins with http:// or https://", notes);
    let url = url.and_then(|at| url_of(&at, notes));
    let expect_status = match fields.take("expect") {
        Some(at) => at.number(100..=599, notes).map(|status| status.is),
        None => Some(STATUS_DEFAULT),
    };
    Some(KindDraft::Http { url: url?, expect_status: expect_status? })
}

/// Keys of the kinds that look at hosts from other hosts.
fn where_from(fields: &mut Fields<'_>, draft: &mut CheckDraft, notes: &mut Notes) {
    draft.from = fields.take("from").and_then(|at| at.name("role name", notes));
    draft.enough = fields.take("enough").and_then(|at| at.number(1..=ENOUGH_MAX, notes));
}

fn postgres(fields: &mut Fields<'_>, notes: &mut Notes) -> Option<KindDraft> {
    let writer = fields.need("writer", "write writer: NAME, one of writers", notes);
    let writer = writer.and_then(|at| at.name("writer name", notes));
    let words = [("accepts_writes", PostgresExpect::AcceptsWrites), ("streams", PostgresExpect::Streams)];
    let expect = fields.need("expect", "write accepts_writes or streams", notes);
    let expect = expect.and_then(|at| at.word(&words, &[], notes));
    Some(KindDraft::Postgres { writer: writer?, expect: expect? })
}

fn container(fields: &mut Fields<'_>, draft: &mut CheckDraft, notes: &mut Notes) -> Option<KindDraft> {
    own_hosts(fields, draft, notes);
    let wanted = "a list of containers' names, as in [api, worker]";
    let list = fields.need("containers", &format!("write {wanted}"), notes)?;
    let items = list.list(wanted, notes)?;
    if items.is_empty() || items.len() > CONTAINERS_MAX {
        let instead = format!("write 1 to {CONTAINERS_MAX} of them");
        notes.wrong(&list.spot(), format!("{} containers", items.len()), instead);
        return None;
    }
    // All are read, so that every wrong one is told.
    let names: Vec<Option<String>> = items.iter().map(|at| container_name(at, notes)).collect();
    Some(KindDraft::Container { names: names.into_iter().collect::<Option<_>>()? })
}

fn tls(fields: &mut Fields<'_>, draft: &mut CheckDraft, notes: &mut Notes) -> Option<KindDraft> {
    draft.on = fields.take("on").and_then(|at| at.name("role name", notes));
    draft.from = fields.take("from").and_then(|at| at.name("role name", notes));
    // One that is wrong is there all the same: nobody is told to add it.
    let address = fields.take("address").map(|at| at.address_in_region(notes));
    let port = fields.need("port", "write a port from 1 to 65535", notes).and_then(|at| at.port(notes));
    let server_name = fields.take("server_name").map(|at| at.address_in_region(notes));
    let days_min = match fields.take("days_min") {
        Some(at) => at.number(1..=DAYS_MIN_MAX, notes).map(|days| days.is),
        None => Some(DAYS_MIN_DEFAULT),
    };
    let ca = fields.take("ca").map(|at| at.path(notes));
    let found = |text: Option<Option<Spotted<String>>>| match text {
        Some(found) => found.map(Some),
        None => Some(None),
    };
    Some(KindDraft::Tls(TlsDraft {
        address: found(address)?,
        port: port?,
        server_name: found(server_name)?.map(|name| name.is),
        days_min: days_min?,
        ca: match ca {
            Some(path) => Some(path?),
            None => None,
        },
    }))
}

fn redis(fields: &mut Fields<'_>, draft: &mut CheckDraft, notes: &mut Notes) -> Option<KindDraft> {
    draft.on = fields.need("on", "write on: ROLE", notes).and_then(|at| at.name("role name", notes));
    where_from(fields, draft, notes);
    let port = port_or(fields, REDIS_PORT_DEFAULT, notes);
    let words = [
        ("answers", RedisExpect::Answers),
        ("primary", RedisExpect::Primary),
        ("replica", RedisExpect::Replica),
        ("accepts_writes", RedisExpect::AcceptsWrites),
    ];
    let expect = fields.need("expect", "write answers, primary, replica or accepts_writes", notes);
    let expect = expect.and_then(|at| at.word(&words, &[], notes));
    let user = match fields.take("user") {
        Some(at) => at.identifier("Redis user", notes).map(Some),
        None => Some(None),
    };
    let has_password = fields.has("password");
    let password = password(fields, notes);
    if let (Some(Some(_)), false) = (&user, has_password) {
        let instead = "add password: {credential: NAME}, or leave user out";
        notes.wrong(&fields.spot.below("user"), "a user without a password logs in nowhere", instead);
    }
    Some(KindDraft::Redis { port: port?, expect: expect?.is, user: user?, password: password? })
}

fn mongodb(fields: &mut Fields<'_>, draft: &mut CheckDraft, notes: &mut Notes) -> Option<KindDraft> {
    draft.on = fields.need("on", "write on: ROLE", notes).and_then(|at| at.name("role name", notes));
    where_from(fields, draft, notes);
    let port = port_or(fields, MONGODB_PORT_DEFAULT, notes);
    let words = [
        ("answers", MongodbExpect::Answers),
        ("primary", MongodbExpect::Primary),
        ("secondary", MongodbExpect::Secondary),
    ];
    let expect = fields.need("expect", "write answers, primary or secondary", notes);
    let expect = expect.and_then(|at| at.word(&words, &[], notes));
    let replica_set = match fields.take("replica_set") {
        Some(at) => at.identifier("replica set", notes).map(Some),
        None => Some(None),
    };
    Some(KindDraft::Mongodb { port: port?, expect: expect?.is, replica_set: replica_set? })
}

fn port_or(fields: &mut Fields<'_>, default: u16, notes: &mut Notes) -> Option<u16> {
    match fields.take("port") {
        Some(at) => at.port(notes),
        None => Some(default),
    }
}

fn exec(fields: &mut Fields<'_>, draft: &mut CheckDraft, notes: &mut Notes) -> Option<KindDraft> {
    own_hosts(fields, draft, notes);
    let rule = "write the bare name of a file in the host's folder of scripts, of letters, digits, _, . and -";
    let fits = |text: &str| {
        text.len() <= SCRIPT_BYTES_MAX
            && text.starts_with(|c: char| c.is_ascii_alphanumeric())
            && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.-".contains(&b))
    };
    let script = fields.need("script", rule, notes).and_then(|at| at.matching("script name", rule, fits, notes));
    Some(KindDraft::Exec { script: script?.is })
}

/// Keys of the kinds that look at hosts from those hosts themselves.
fn own_hosts(fields: &mut Fields<'_>, draft: &mut CheckDraft, notes: &mut Notes) {
    draft.on = fields.need("on", "write on: ROLE", notes).and_then(|at| at.name("role name", notes));
    draft.enough = fields.take("enough").and_then(|at| at.number(1..=ENOUGH_MAX, notes));
}

fn url_of(at: &At<'_>, notes: &mut Notes) -> Option<Spotted<String>> {
    let wanted = "a URL that begins with http:// or https://";
    let text = at.text(wanted, notes)?;
    let rest = text.strip_prefix("http://").or_else(|| text.strip_prefix("https://"));
    let authority = rest.map(|rest| rest.split(['/', '?', '#']).next().unwrap_or_default());
    if authority.is_some_and(|authority| authority.contains('@')) {
        let instead = "leave user and password out: a health page needs none";
        notes.wrong(&at.bare_spot(), "holds a login, and secrets never stand in a spec", instead);
        return None;
    }
    let wrong = if authority.is_none() {
        "no http URL".to_owned()
    } else if authority.is_some_and(|authority| authority.is_empty() || authority.starts_with(':')) {
        "names no host".to_owned()
    } else if text.len() > URL_BYTES_MAX {
        format!("{} bytes long, {URL_BYTES_MAX} is the most", text.len())
    } else if text.chars().any(|c| c.is_control() || c.is_whitespace()) {
        "holds spaces or control characters".to_owned()
    } else if let Some(odd) = odd_placeholder(text) {
        let instead = "only {address} and {region} are filled in";
        notes.wrong(&at.spot(), format!("holds {odd}, which nothing fills in"), instead);
        return None;
    } else {
        return Some(Spotted { is: text.to_owned(), spot: at.spot() });
    };
    notes.wrong(&at.spot(), wrong, format!("write {wanted}"));
    None
}

/// The first thing in braces, or lone brace, that is no placeholder.
fn odd_placeholder(url: &str) -> Option<String> {
    let rest = url.replace("{address}", "").replace("{region}", "");
    let start = rest.find(['{', '}'])?;
    let odd: String = rest[start..].chars().take(20).collect();
    Some(odd.split_inclusive('}').next().unwrap_or_default().to_owned())
}
