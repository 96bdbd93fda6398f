//! `writers`: what takes writes.

use std::path::PathBuf;

use super::{NAMED_MAX, regions::name_of};
use crate::{
    ids::{RoleName, WriterName},
    spec::{
        Login, Replication, ReplicationMode, RunBy, WriterKind, later,
        later::Section,
        walk::{At, Fields, Notes, Spot, Spotted},
    },
};

/// PostgreSQL's own.
const PORT_DEFAULT: u16 = 5432;
/// The database that every PostgreSQL cluster has.
const DATABASE_DEFAULT: &str = "postgres";
/// One slot per standby region, told apart by its name.
const SLOT_DEFAULT: &str = "holdfast_{region}";
/// Longest name of a slot, the region's name filled in.
pub(in crate::spec) const SLOT_BYTES_MAX: usize = 63;

/// One writer as far as it could be read.
#[derive(Debug)]
pub(in crate::spec) struct WriterDraft {
    /// Its key, also when that is no name: what refers to it is no second problem.
    pub(in crate::spec) key: String,
    pub(in crate::spec) spot: Spot,
    pub(in crate::spec) name: Option<WriterName>,
    pub(in crate::spec) kind: Option<WriterKind>,
    pub(in crate::spec) on: Option<Spotted<RoleName>>,
    pub(in crate::spec) run_by: Option<Spotted<RunBy>>,
    pub(in crate::spec) data_dir: Option<Spotted<PathBuf>>,
    pub(in crate::spec) port: Option<Spotted<u16>>,
    pub(in crate::spec) login: Option<Login>,
    /// Whether the section stands there at all.
    pub(in crate::spec) replicates: bool,
    pub(in crate::spec) replication: Option<Spotted<Replication>>,
}

pub(super) fn read(at: &At<'_>, notes: &mut Notes) -> Vec<WriterDraft> {
    let fields = at.fields("writers by name, or leave the section out", notes);
    let each = fields.map(|fields| fields.each(NAMED_MAX, notes)).unwrap_or_default();
    each.into_iter().map(|(key, at)| writer(key, &at, notes)).collect()
}

fn writer(key: &str, at: &At<'_>, notes: &mut Notes) -> WriterDraft {
    let mut draft = WriterDraft {
        key: key.to_owned(),
        spot: at.bare_spot(),
        name: name_of(key, "writer name", at, notes),
        kind: None,
        on: None,
        run_by: None,
        data_dir: None,
        port: None,
        login: None,
        replicates: false,
        replication: None,
    };
    let Some(mut fields) = at.fields("kind, on, run_by, data_dir, port, login and replication", notes) else {
        return draft;
    };
    let kind = fields.need("kind", "write kind: postgres", notes);
    draft.kind = kind
        .and_then(|at| at.word(&[("postgres", WriterKind::Postgres)], later::WRITER_KINDS, notes))
        .map(|kind| kind.is);
    if draft.kind.is_none() {
        // The other keys depend on the kind.
        return draft;
    }
    draft.on = fields.need("on", "write on: ROLE", notes).and_then(|at| at.name("role name", notes));
    draft.run_by = fields.need("run_by", &format!("write {RUN_BY}"), notes).and_then(|at| run_by(&at, notes));
    let data_dir = fields.need("data_dir", "write the absolute path of the data directory", notes);
    draft.data_dir = data_dir.and_then(|at| Some(Spotted { is: at.path(notes)?, spot: at.spot() }));
    draft.port = match fields.take("port") {
        Some(at) => at.port(notes).map(|is| Spotted { is, spot: at.spot() }),
        None => Some(Spotted { is: PORT_DEFAULT, spot: fields.spot.below("port") }),
    };
    draft.login = fields.need("login", &format!("write {LOGIN}"), notes).and_then(|at| login(&at, notes));
    draft.replicates = fields.has("replication");
    draft.replication = fields.take("replication").and_then(|at| replication(&at, notes));
    fields.close(Section::Writer, notes);
    draft
}

const RUN_BY: &str = "{systemd: UNIT}, {container: NAME} or {pg_ctl: {bin: DIRECTORY, user: USER}}";

fn run_by(at: &At<'_>, notes: &mut Notes) -> Option<Spotted<RunBy>> {
    let mut fields = at.fields(RUN_BY, notes)?;
    let systemd = fields.take("systemd");
    let container = fields.take("container");
    let pg_ctl = fields.take("pg_ctl");
    fields.close(Section::Inner, notes);
    let is = match (systemd, container, pg_ctl) {
        (Some(at), None, None) => RunBy::Systemd { unit: unit(&at, notes)? },
        (None, Some(at), None) => RunBy::Container { name: container_name(&at, notes)? },
        (None, None, Some(at)) => pg_ctl_of(&at, notes)?,
        (None, None, None) => {
            notes.wrong(&at.spot(), "does not say what starts and stops it", format!("write {RUN_BY}"));
            return None;
        }
        (Some(_), Some(_), _) | (Some(_), _, Some(_)) | (_, Some(_), Some(_)) => {
            notes.wrong(&at.spot(), "says several ways", format!("write one of {RUN_BY}"));
            return None;
        }
    };
    Some(Spotted { is, spot: at.bare_spot() })
}

fn unit(at: &At<'_>, notes: &mut Notes) -> Option<String> {
    // No `-` first: the name is an argument of a command.
    let fits = |text: &str| {
        let text = &placed(text);
        text.len() <= 255
            && text.strip_suffix(".service").is_some_and(|stem| !stem.is_empty())
            && !text.starts_with(['-', '.'])
            && text.bytes().all(|b| b.is_ascii_alphanumeric() || b":_.\\@-".contains(&b))
    };
    let rule = "write the unit's full name, as in postgresql@15-main.service";
    at.matching("systemd service", rule, fits, notes).map(|unit| unit.is)
}

/// `{region}` stands for a region's name, which is a name wherever it is put.
fn placed(text: &str) -> String {
    text.replace("{region}", "r")
}

pub(super) fn container_name(at: &At<'_>, notes: &mut Notes) -> Option<String> {
    let fits = |text: &str| {
        let text = &placed(text);
        text.len() <= 255
            && text.starts_with(|c: char| c.is_ascii_alphanumeric())
            && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.-".contains(&b))
    };
    let rule = "use letters, digits, _, . and -, the first a letter or digit";
    at.matching("container name", rule, fits, notes).map(|name| name.is)
}

fn pg_ctl_of(at: &At<'_>, notes: &mut Notes) -> Option<RunBy> {
    let wanted = "{bin: DIRECTORY, user: USER}";
    let mut fields = at.fields(wanted, notes)?;
    let bin = fields.need("bin", "write the absolute path of PostgreSQL's programs", notes);
    let bin = bin.and_then(|at| at.path(notes));
    let fits = |text: &str| {
        text.len() <= 32
            && text.starts_with(|c: char| c.is_ascii_lowercase() || c == '_')
            && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"_-".contains(&b))
    };
    let rule = "write the system user that owns the data directory, as in postgres";
    let user = fields.need("user", rule, notes);
    let user = user.and_then(|at| at.matching("system user", rule, fits, notes));
    fields.close(Section::Inner, notes);
    Some(RunBy::PgCtl { bin: bin?, user: user?.is })
}

const LOGIN: &str = "{socket: DIRECTORY, user: USER} or {address: ADDRESS, user: USER, password: {credential: NAME}}";

fn login(at: &At<'_>, notes: &mut Notes) -> Option<Login> {
    let mut fields = at.fields(LOGIN, notes)?;
    let (has_socket, has_address) = (fields.has("socket"), fields.has("address"));
    let socket = fields.take("socket").and_then(|at| at.socket_directory(notes));
    let address = fields.take("address").and_then(|at| at.address(notes)).map(|address| address.is);
    let user = fields.need("user", "write the database user that Holdfast logs in as", notes);
    let user = user.and_then(|at| at.identifier("database user", notes));
    let database = match fields.take("database") {
        Some(at) => at.identifier("database", notes),
        None => Some(DATABASE_DEFAULT.to_owned()),
    };
    let password = password(&mut fields, notes);
    fields.close(Section::Inner, notes);
    match (has_socket, has_address) {
        (true, true) => notes.wrong(&at.spot(), "has both socket and address", "write one of them"),
        (false, false) => notes.wrong(&at.spot(), "has neither socket nor address", format!("write {LOGIN}")),
        (true, false) | (false, true) => {}
    }
    Some(Login { socket, address, user: user?, database: database?, password: password? })
}

/// `Some(None)` when there is none, `None` when there is a wrong one.
pub(super) fn password(fields: &mut Fields<'_>, notes: &mut Notes) -> Option<Option<crate::ids::Credential>> {
    match fields.take("password") {
        Some(at) => at.credential(notes).map(Some),
        None => Some(None),
    }
}

fn replication(at: &At<'_>, notes: &mut Notes) -> Option<Spotted<Replication>> {
    let mut fields = at.fields("{mode: async, user: USER, password: {credential: NAME}}", notes)?;
    // No default: async may lose writes, sync may make them wait, and neither is taken unasked.
    let mode = fields.need("mode", "write async (a failover may lose the last commits) or sync (commits wait)", notes);
    let modes = [("async", ReplicationMode::Async), ("sync", ReplicationMode::Sync)];
    let mode = mode.and_then(|at| at.word(&modes, &[], notes));
    let user = fields.need("user", "write the database user that standbys log in as", notes);
    let user = user.and_then(|at| at.identifier("database user", notes));
    let password = password(&mut fields, notes);
    let slot = match fields.take("slot") {
        Some(at) => slot(&at, notes),
        None => Some(Spotted { is: SLOT_DEFAULT.to_owned(), spot: fields.spot.below("slot") }),
    };
    fields.close(Section::Inner, notes);
    let slot = slot?;
    let is = Replication { mode: mode?.is, user: user?, password: password?, slot: slot.is };
    Some(Spotted { is, spot: slot.spot })
}

fn slot(at: &At<'_>, notes: &mut Notes) -> Option<Spotted<String>> {
    let fits = |text: &str| {
        let rest = text.replace("{region}", "r");
        rest.len() <= SLOT_BYTES_MAX && rest.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
    };
    let rule = "use a-z, 0-9, _ and {region}, as in holdfast_{region}";
    at.matching("slot name", rule, fits, notes)
}
