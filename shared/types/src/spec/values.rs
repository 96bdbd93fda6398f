//! Single values: numbers, spans, names, paths and the like. Each is checked for itself; what they must be to each
//! other is checked in `relate` and `timing`.

use std::{
    net::IpAddr,
    ops::RangeInclusive,
    path::{Component, Path, PathBuf},
    str::FromStr,
    time::Duration,
};

use super::{
    later,
    walk::{At, Notes, Spotted},
};
use crate::{
    ids::{BadName, Credential, NAME_BYTES_MAX},
    time::{Span, span},
};

/// Longest path that PostgreSQL, HAProxy or the kernel takes.
const PATH_BYTES_MAX: usize = 4_000;
/// Longest path of a unix socket: `sockaddr_un` has 108 bytes, one for the end.
const SOCKET_BYTES_MAX: usize = 107;
/// Room for `/.s.PGSQL.65535` below a socket directory.
const SOCKET_NAME_BYTES: usize = 15;
/// Longest identifier of PostgreSQL.
const IDENTIFIER_BYTES_MAX: usize = 63;

impl At<'_> {
    /// A name: region, host, role and so on.
    pub(super) fn name<N: FromStr<Err = BadName>>(&self, kind: &str, notes: &mut Notes) -> Option<Spotted<N>> {
        let text = self.text(&format!("one {kind}"), notes)?;
        match text.parse() {
            Ok(is) => Some(Spotted { is, spot: self.spot() }),
            Err(_) => {
                notes.wrong(&self.spot(), format!("no {kind}"), name_rule());
                None
            }
        }
    }

    /// A span of time, within limits.
    pub(super) fn span(&self, limits: RangeInclusive<Duration>, notes: &mut Notes) -> Option<Spotted<Duration>> {
        let wanted = "a number and one of ms, s, m, h, d, as in 30s";
        let text = self.text(wanted, notes)?;
        let Ok(Span(is)) = text.parse::<Span>() else {
            notes.wrong(&self.spot(), "no span of time", format!("write {wanted}"));
            return None;
        };
        if !limits.contains(&is) {
            let wrong = if is < *limits.start() { "too short" } else { "too long" };
            let instead = format!("write {} to {}", span(*limits.start()), span(*limits.end()));
            notes.wrong(&self.spot(), wrong, instead);
            return None;
        }
        Some(Spotted { is, spot: self.spot() })
    }

    /// A whole number, within limits.
    pub(super) fn number<N>(&self, limits: RangeInclusive<N>, notes: &mut Notes) -> Option<Spotted<N>>
    where
        N: FromStr + PartialOrd + std::fmt::Display,
    {
        let wanted = format!("a whole number from {} to {}", limits.start(), limits.end());
        let text = self.text(&wanted, notes)?;
        // `parse` would take a sign; a spec has no use for one.
        let parsed = if text.starts_with('+') { None } else { text.parse::<N>().ok() };
        let wrong = match parsed {
            Some(is) if limits.contains(&is) => return Some(Spotted { is, spot: self.spot() }),
            Some(is) if is < *limits.start() => "too small",
            Some(_) => "too large",
            None => "no such number",
        };
        notes.wrong(&self.spot(), wrong, format!("write {wanted}"));
        None
    }

    /// A TCP port.
    pub(super) fn port(&self, notes: &mut Notes) -> Option<u16> {
        let wanted = "a port from 1 to 65535";
        let text = self.text(wanted, notes)?;
        match text.parse::<u16>() {
            Ok(port) if port > 0 && !text.starts_with('+') => Some(port),
            Ok(_) | Err(_) => {
                notes.wrong(&self.spot(), "no port", format!("write {wanted}"));
                None
            }
        }
    }

    /// `true` or `false`.
    pub(super) fn flag(&self, notes: &mut Notes) -> Option<Spotted<bool>> {
        self.word(&[("true", true), ("false", false)], &[], notes)
    }

    /// One of a few words. Those of a later version are refused by name.
    pub(super) fn word<T: Copy>(&self, words: &[(&str, T)], later: &[&str], notes: &mut Notes) -> Option<Spotted<T>> {
        let names: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
        let wanted = one_of(&names);
        let text = self.text(&wanted, notes)?;
        if let Some((_, is)) = words.iter().find(|(word, _)| *word == text) {
            return Some(Spotted { is: *is, spot: self.spot() });
        }
        let wrong = if later.contains(&text) { later::NOT_YET } else { "unknown value" };
        notes.wrong(&self.spot(), wrong, format!("write {wanted}"));
        None
    }

    /// An absolute path without `.` and `..`, and not `/` itself.
    pub(super) fn path(&self, notes: &mut Notes) -> Option<PathBuf> {
        self.path_up_to(PATH_BYTES_MAX, "an absolute path", notes)
    }

    /// A unix socket.
    pub(super) fn socket(&self, notes: &mut Notes) -> Option<PathBuf> {
        self.path_up_to(SOCKET_BYTES_MAX, "the absolute path of a unix socket", notes)
    }

    /// The directory of PostgreSQL's unix socket.
    pub(super) fn socket_directory(&self, notes: &mut Notes) -> Option<PathBuf> {
        let longest = SOCKET_BYTES_MAX - SOCKET_NAME_BYTES;
        self.path_up_to(longest, "the absolute path of the socket's directory", notes)
    }

    fn path_up_to(&self, bytes_max: usize, wanted: &str, notes: &mut Notes) -> Option<PathBuf> {
        let text = self.text(wanted, notes)?;
        let path = Path::new(text);
        let plain = |c: Component<'_>| matches!(c, Component::RootDir | Component::Normal(_));
        // `components` drops a `.` in the middle silently, so it is looked for in the text.
        let dotted = text.split('/').any(|part| part == "." || part == "..");
        let wrong = if !path.is_absolute() {
            "not absolute".to_owned()
        } else if text.chars().any(char::is_control) {
            "holds control characters".to_owned()
        } else if dotted || !path.components().all(plain) {
            "leads through . or ..".to_owned()
        } else if path.parent().is_none() {
            "the whole file system".to_owned()
        } else if text.len() > bytes_max {
            format!("{} bytes long, {bytes_max} is the most", text.len())
        } else {
            // One spelling: a final slash or a double one makes no other directory.
            return Some(path.components().collect());
        };
        notes.wrong(&self.spot(), wrong, format!("write {wanted}, with no . or .. in it"));
        None
    }

    /// An IP address or DNS name, without port.
    pub(super) fn address(&self, notes: &mut Notes) -> Option<Spotted<String>> {
        let wanted = "an IP address or a DNS name, without port";
        let text = self.text(wanted, notes)?;
        if text.parse::<IpAddr>().is_ok() || is_dns_name(text) {
            return Some(Spotted { is: text.to_owned(), spot: self.spot() });
        }
        notes.wrong(&self.spot(), "no address", format!("write {wanted}"));
        None
    }

    /// The same, with `{region}` in it or not. A region's name is a label of a DNS name.
    pub(super) fn address_in_region(&self, notes: &mut Notes) -> Option<Spotted<String>> {
        let wanted = "an IP address or a DNS name, without port; {region} is filled in";
        let text = self.text(wanted, notes)?;
        let placed = text.replace("{region}", "r");
        if placed.parse::<IpAddr>().is_ok() || is_dns_name(&placed) {
            return Some(Spotted { is: text.to_owned(), spot: self.spot() });
        }
        notes.wrong(&self.spot(), "no address", format!("write {wanted}"));
        None
    }

    /// A name within a database: of a user, a database, a replica set.
    pub(super) fn identifier(&self, kind: &str, notes: &mut Notes) -> Option<String> {
        let text = self.text(&format!("the name of a {kind}"), notes)?;
        if text.len() <= IDENTIFIER_BYTES_MAX && !text.chars().any(char::is_control) {
            return Some(text.to_owned());
        }
        let instead = format!("write 1 to {IDENTIFIER_BYTES_MAX} bytes without control characters");
        notes.wrong(&self.spot(), format!("no {kind}"), instead);
        None
    }

    /// Text of which every character and the length are checked; `rule` says what would do.
    pub(super) fn matching(
        &self,
        kind: &str,
        rule: &str,
        fits: impl FnOnce(&str) -> bool,
        notes: &mut Notes,
    ) -> Option<Spotted<String>> {
        let text = self.text(&format!("one {kind}"), notes)?;
        if fits(text) {
            return Some(Spotted { is: text.to_owned(), spot: self.spot() });
        }
        notes.wrong(&self.spot(), format!("no {kind}"), rule);
        None
    }

    /// `{credential: NAME}`. What stands here instead may be the secret itself, so it is never repeated.
    pub(super) fn credential(&self, notes: &mut Notes) -> Option<Credential> {
        let wanted = "{credential: NAME}, and put the secret into /etc/holdfast/credentials/NAME on the host";
        if self.is_text() {
            let wrong = "not a credential, and secrets never stand in a spec";
            notes.wrong(&self.bare_spot(), wrong, format!("write {wanted}"));
            return None;
        }
        let mut fields = self.fields(wanted, notes)?;
        let name = fields.need("credential", &format!("write {wanted}"), notes);
        fields.close(later::Section::Inner, notes);
        let name = name?;
        let text = name.text("the credential's name", notes)?;
        match Credential::new(text) {
            Ok(credential) => Some(credential),
            Err(_) => {
                notes.wrong(&name.bare_spot(), "no credential name", name_rule());
                None
            }
        }
    }
}

/// What would do as a name.
pub(super) fn name_rule() -> String {
    format!("use 1 to {NAME_BYTES_MAX} of a-z, 0-9 and -, the first a letter")
}

/// `a, b or c`.
pub(super) fn one_of(words: &[&str]) -> String {
    match words {
        [] => String::new(),
        [one] => (*one).to_owned(),
        [first @ .., last] => format!("{} or {last}", first.join(", ")),
    }
}

/// Letters, digits and inner hyphens in labels of 1 to 63, at most 253 in all; not a number, which would be a
/// misspelt IP address. A final dot is allowed.
fn is_dns_name(text: &str) -> bool {
    let name = text.strip_suffix('.').unwrap_or(text);
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let numeric = |label: &str| label.bytes().all(|b| b.is_ascii_digit());
    name.len() <= 253 && name.split('.').all(label) && !name.rsplit('.').next().is_some_and(numeric)
}
