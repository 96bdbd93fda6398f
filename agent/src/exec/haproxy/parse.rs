//! Reading what HAProxy answers. Strict: what is not understood is an error, never a guess.

use std::collections::BTreeMap;

use super::{Admin, HaproxyError};

/// A name goes into a command line that `;`, spaces and line ends would split.
pub(crate) fn name(text: &str) -> Result<(), HaproxyError> {
    let fine = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-' | b':');
    if !text.is_empty() && text.bytes().all(fine) {
        return Ok(());
    }
    Err(HaproxyError::BadName { name: text.chars().take(80).collect() })
}

/// A line of `show servers state`.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Server {
    /// HAProxy's number of the backend.
    pub backend_id: u32,
    /// Its name.
    pub name: String,
    /// What the administrator has set.
    pub state: Admin,
    /// Whether it is taken for reachable.
    pub up: bool,
}

/// Forced into maintenance, by a tracked server, or for want of an address.
const MAINTENANCE_BITS: u32 = 0x01 | 0x02 | 0x20;
/// Draining, forced or by a tracked server.
const DRAIN_BITS: u32 = 0x08 | 0x10;
/// Only tell where a setting came from: haproxy.cfg said `disabled`; the name was set by this socket.
const MEMORY_BITS: u32 = 0x04 | 0x40;

fn admin(bits: u32) -> Admin {
    if bits & !(MAINTENANCE_BITS | DRAIN_BITS | MEMORY_BITS) != 0 {
        Admin::Other(format!("in state {bits}"))
    } else if bits & MAINTENANCE_BITS != 0 {
        Admin::Maintenance
    } else if bits & DRAIN_BITS != 0 {
        Admin::Other("draining".to_owned())
    } else {
        Admin::Open
    }
}

pub(crate) fn parse_servers(answer: &str, backend: &str) -> Result<Vec<Server>, String> {
    let mut lines = answer.lines().filter(|line| !line.trim().is_empty());
    match lines.next() {
        Some("1") => {}
        other => return Err(format!("expected format version 1, found {:?}", shortened(other.unwrap_or_default()))),
    }
    let header = lines.next().and_then(|line| line.strip_prefix("# ")).ok_or("no line of column names")?;
    let columns: Vec<&str> = header.split(' ').collect();
    let column = |wanted: &str| columns.iter().position(|c| *c == wanted).ok_or_else(|| format!("no column {wanted}"));
    let (id, owner, server) = (column("be_id")?, column("be_name")?, column("srv_name")?);
    let (oper, admin_state) = (column("srv_op_state")?, column("srv_admin_state")?);
    let mut servers: Vec<Server> = Vec::new();
    for line in lines {
        let bad = || format!("the line {:?}", shortened(line));
        let fields: Vec<&str> = line.split(' ').collect();
        let field = |at: usize| fields.get(at).copied().ok_or_else(bad);
        let number = |at: usize| field(at)?.parse::<u32>().map_err(|_| bad());
        if field(owner)? != backend {
            return Err(format!("a server of backend {:?}", shortened(field(owner)?)));
        }
        let name = field(server)?.to_owned();
        // A name with room for a second command would be one of our own making.
        if self::name(&name).is_err() || servers.iter().any(|s| s.name == name) {
            return Err(bad());
        }
        const RUNNING: u32 = 2;
        servers.push(Server {
            backend_id: number(id)?,
            name,
            state: admin(number(admin_state)?),
            up: number(oper)? == RUNNING,
        });
    }
    Ok(servers)
}

pub(crate) fn parse_sessions(answer: &str) -> Result<BTreeMap<String, u64>, String> {
    let mut lines = answer.lines().filter(|line| !line.trim().is_empty());
    let header = lines.next().and_then(|line| line.strip_prefix("# ")).ok_or("no line of column names")?;
    let columns: Vec<&str> = header.split(',').collect();
    let column = |wanted: &str| columns.iter().position(|c| *c == wanted).ok_or_else(|| format!("no column {wanted}"));
    let (server, current) = (column("svname")?, column("scur")?);
    // Text in quotes comes only in columns behind these two.
    lines
        .map(|line| {
            let fields: Vec<&str> = line.split(',').collect();
            let sessions = fields.get(current).and_then(|text| text.parse().ok());
            match (fields.get(server), sessions) {
                (Some(name), Some(sessions)) => Ok(((*name).to_owned(), sessions)),
                (Some(_) | None, _) => Err(format!("the line {:?}", shortened(line))),
            }
        })
        .collect()
}

fn shortened(text: &str) -> String {
    text.chars().take(80).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HEADER: &str = "1\n# be_id be_name srv_id srv_name srv_addr srv_op_state srv_admin_state srv_uweight\n";

    #[test]
    fn servers_are_read_with_what_the_administrator_set() {
        let text = format!("{HEADER}3 pg_write 1 us-east 127.0.0.1 2 4 1\n3 pg_write 2 us-west - 0 5 1\n\n");
        let servers = parse_servers(&text, "pg_write").expect("readable");
        let server = |name: &str, state, up| Server { backend_id: 3, name: name.into(), state, up };
        assert_eq!(servers, [server("us-east", Admin::Open, true), server("us-west", Admin::Maintenance, false)]);
    }

    #[test]
    fn each_admin_state_says_whether_connections_are_sent() {
        for open in [0, 4, 0x40] {
            assert_eq!(admin(open), Admin::Open, "{open}");
        }
        for closed in [1, 2, 5, 0x20, 0x21, 0x09] {
            assert_eq!(admin(closed), Admin::Maintenance, "{closed}");
        }
        for other in [8, 12, 0x10, 0x80, u32::MAX] {
            assert!(matches!(admin(other), Admin::Other(_)), "{other}");
        }
    }

    #[test]
    fn what_is_not_understood_is_an_error() {
        for bad in [
            "",
            "2\n# be_id\n",
            "1\n",
            "1\n# be_id be_name\n3 pg_write\n",
            &format!("{HEADER}3 other 1 us-east - 2 0 1\n"),
            &format!("{HEADER}3 pg_write 1 us-east - 2 x 1\n"),
            &format!("{HEADER}3 pg_write 1 us-east\n"),
            &format!("{HEADER}3 pg_write 1 a;b - 2 0 1\n"),
            &format!("{HEADER}3 pg_write 1 a - 2 0 1\n3 pg_write 2 a - 2 0 1\n"),
        ] {
            assert!(parse_servers(bad, "pg_write").is_err(), "{bad:?} was understood");
        }
        assert!(parse_sessions("# pxname,svname,scur\npg_write,us-east,-1\n").is_err());
        assert_eq!(parse_sessions("# pxname,svname,scur\npg_write,us-east,7\n\n").expect("readable")["us-east"], 7);
    }

    #[test]
    fn a_name_cannot_smuggle_a_second_command() {
        for bad in ["", "a b", "a;quit", "a\nquit", "a/b", "ä"] {
            assert!(name(bad).is_err(), "{bad:?}");
        }
        assert!(name("us-east").is_ok() && name("pg_write.1:a").is_ok());
    }

    proptest! {
        #[test]
        fn garbage_never_panics(text in "(1\n)?(# be_id be_name srv_name srv_op_state srv_admin_state\n)?.{0,40}\n?.{0,200}") {
            drop(parse_servers(&text, "pg_write"));
            drop(parse_sessions(&text));
        }

        #[test]
        fn any_answer_cut_short_never_panics(end in 0usize..200, noise in proptest::collection::vec(any::<u8>(), 0..40)) {
            let whole = format!("{HEADER}3 pg_write 1 us-east 127.0.0.1 2 4 1\n# pxname,svname,scur\npg_write,us-east,7\n");
            let mut bytes = whole.into_bytes();
            bytes.truncate(end);
            bytes.extend(noise);
            let text = String::from_utf8_lossy(&bytes);
            drop(parse_servers(&text, "pg_write"));
            drop(parse_sessions(&text));
        }
    }
}
