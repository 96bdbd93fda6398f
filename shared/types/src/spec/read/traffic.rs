//! `traffic`: who sends clients to the active region.

use std::path::PathBuf;

use super::NAMED_MAX;
use crate::{
    ids::{RoleName, WriterName},
    spec::{
        later::Section,
        walk::{At, Notes, Spot, Spotted},
    },
};

/// Longest name of a backend.
const BACKEND_BYTES_MAX: usize = 63;

/// One proxy as far as it could be read.
#[derive(Debug)]
pub(in crate::spec) struct ProxyDraft {
    pub(in crate::spec) spot: Spot,
    pub(in crate::spec) on: Option<Spotted<RoleName>>,
    pub(in crate::spec) socket: Option<Spotted<PathBuf>>,
    pub(in crate::spec) backends: Vec<(String, Option<Spotted<WriterName>>)>,
}

pub(super) fn read(at: &At<'_>, notes: &mut Notes) -> Vec<ProxyDraft> {
    let Some(mut fields) = at.fields("proxies: with one item per role, or leave the section out", notes) else {
        return Vec::new();
    };
    let proxies = fields.take("proxies");
    fields.close(Section::Traffic, notes);
    let items = proxies.and_then(|at| at.list("a list of proxies, each with kind, on, socket and backends", notes));
    let items = items.unwrap_or_default();
    if items.len() > NAMED_MAX {
        notes.wrong(
            &at.bare_spot().below("proxies"),
            format!("{} items", items.len()),
            format!("write {NAMED_MAX} or less"),
        );
    }
    items.iter().take(NAMED_MAX).map(|at| proxy(at, notes)).collect()
}

fn proxy(at: &At<'_>, notes: &mut Notes) -> ProxyDraft {
    let mut draft = ProxyDraft { spot: at.bare_spot(), on: None, socket: None, backends: Vec::new() };
    let Some(mut fields) = at.fields("{kind: haproxy, on: ROLE, socket: PATH, backends: {BACKEND: WRITER}}", notes)
    else {
        return draft;
    };
    // One kind so far: said all the same, because another will have other keys.
    if let Some(at) = fields.need("kind", "write kind: haproxy", notes) {
        at.word(&[("haproxy", ())], &[], notes);
    }
    draft.on = fields.need("on", "write on: ROLE", notes).and_then(|at| at.name("role name", notes));
    let socket = fields.need("socket", "write the absolute path of HAProxy's runtime socket", notes);
    draft.socket = socket.and_then(|at| Some(Spotted { is: at.socket(notes)?, spot: at.spot() }));
    let wanted = "the backends of haproxy.cfg and the writer behind each: {pg_write: pg}";
    let backends = fields.need("backends", &format!("write {wanted}"), notes);
    if let Some(at) = backends
        && let Some(fields) = at.fields(wanted, notes)
    {
        let each = fields.each(NAMED_MAX, notes);
        if each.is_empty() {
            notes.wrong(&at.spot(), "no backend", format!("write {wanted}"));
        }
        draft.backends = each.iter().map(|(key, at)| backend(key, at, notes)).collect();
    }
    fields.close(Section::Inner, notes);
    draft
}

fn backend(key: &str, at: &At<'_>, notes: &mut Notes) -> (String, Option<Spotted<WriterName>>) {
    // HAProxy's own rule. It also keeps a name from being more than one word of a command on the socket.
    let fits = (1..=BACKEND_BYTES_MAX).contains(&key.len())
        && key.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.:-".contains(&b));
    if !fits {
        let instead = format!("use 1 to {BACKEND_BYTES_MAX} letters, digits, _, ., : and -");
        notes.wrong(&at.bare_spot(), "the key is no backend name", instead);
    }
    (key.to_owned(), at.name("writer name", notes))
}
