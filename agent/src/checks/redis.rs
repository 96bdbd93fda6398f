//! What a Redis is: whether it answers, leads or follows, and takes writes.
//!
//! Commands are packed and answers are read by the redis crate. The connection is our own, one for each look: an answer
//! without end is cut off, and nothing runs on after the look.

use std::fmt;

use holdfast_types::{line::one_line, spec::RedisExpect, time::span};
use redis::{Cmd, ServerError, Value, cmd, parse_redis_value};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use super::{Evidence, Outcome, connect::connect, is_ours};
use crate::exec::{names::Names, postgres::Password};

/// Most of one answer that is read: INFO, the longest that is asked for, has some 6 KiB.
const ANSWER_BYTES_MAX: usize = 64 * 1024;
/// The key that shows that writes are taken; it is always the same, so there is one of it at most.
const MARKER: &str = "holdfast.check";
/// How long the marker stays, in milliseconds: it need not outlive the look that wrote it.
const MARKER_MILLIS: u32 = 60_000;
/// Most of what a server said that is repeated.
const SAID_CHARS_MAX: usize = 120;

/// Where to look, and as whom.
#[derive(Debug, Clone)]
pub struct RedisAt {
    /// Name or address.
    pub address: String,
    /// The port.
    pub port: u16,
    /// The user of its ACL; Redis's `default` when there is none.
    pub user: Option<String>,
    /// The password, when it needs one.
    pub password: Option<Password>,
}

/// What a Redis says of itself: figures for people, and for whoever keeps them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RedisSeen {
    /// It leads; else it follows.
    pub primary: bool,
    /// Whom it follows, as HOST:PORT.
    pub follows: Option<String>,
    /// A follower's link to its primary is up.
    pub link_up: bool,
    /// Seconds since a follower heard of its primary; while the link is down, since it went down.
    pub heard_seconds: Option<u64>,
    /// How far its stream of writes has come, in bytes.
    pub offset: u64,
    /// Followers that are connected.
    pub replicas: u64,
    /// How far the furthest behind of them is, in bytes.
    pub lag_bytes_max: Option<u64>,
    /// Bytes that a follower has received and not yet applied.
    pub unapplied_bytes: Option<u64>,
    /// Memory that its data take.
    pub used_memory_bytes: Option<u64>,
    /// Clients that are connected.
    pub clients: Option<u64>,
    /// It still reads its data from disk and answers nobody.
    pub loading: bool,
}

impl fmt::Display for RedisSeen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.primary {
            write!(f, "primary at offset {}", self.offset)?;
            return match (self.replicas, self.lag_bytes_max) {
                (0, _) => f.write_str(", no replica"),
                (1, Some(lag)) => write!(f, ", 1 replica {lag} B behind"),
                (n, Some(lag)) => write!(f, ", {n} replicas, at most {lag} B behind"),
                (n, None) => write!(f, ", {n} replicas"),
            };
        }
        write!(f, "replica of {} at offset {}", self.follows.as_deref().unwrap_or("nobody"), self.offset)?;
        if let Some(bytes) = self.unapplied_bytes.filter(|bytes| *bytes > 0) {
            write!(f, ", {bytes} B received and not yet applied")?;
        }
        let ago = self.heard_seconds.map(|seconds| span(std::time::Duration::from_secs(seconds)));
        match (self.link_up, ago) {
            (true, Some(ago)) => write!(f, ", heard of it {ago} ago"),
            (true, None) => Ok(()),
            (false, Some(ago)) => write!(f, ", its link is down for {ago}"),
            (false, None) => f.write_str(", its link is down"),
        }
    }
}

pub(super) async fn run(names: &Names, at: &RedisAt, expect: RedisExpect) -> Outcome {
    match look(names, at, expect).await {
        Ok(outcome) | Err(outcome) => outcome,
    }
}

async fn look(names: &Names, at: &RedisAt, expect: RedisExpect) -> Result<Outcome, Outcome> {
    let mut talk = Talk { stream: connect(names, &at.address, at.port).await? };
    if let Some(password) = &at.password {
        let mut auth = cmd("AUTH");
        if let Some(user) = &at.user {
            auth.arg(user);
        }
        let answer = talk.ask(auth.arg(password.expose())).await?;
        if answer != Value::Okay {
            return Err(unexpected("AUTH", &answer));
        }
    }
    if expect == RedisExpect::Answers {
        let answer = talk.ask(&cmd("PING")).await?;
        if answer != Value::SimpleString("PONG".to_owned()) {
            return Err(unexpected("PING", &answer));
        }
        return Ok(Outcome::Ok { evidence: Evidence::Answers });
    }
    let answer = talk.ask(&cmd("INFO")).await?;
    let Value::BulkString(bytes) = &answer else { return Err(unexpected("INFO", &answer)) };
    let seen = info(&String::from_utf8_lossy(bytes))
        .ok_or_else(|| Outcome::could_not_run("INFO names no role; is it a Redis?"))?;
    if let Some(why) = contradiction(&seen, expect) {
        return Ok(Outcome::Failing { why, evidence: Some(Evidence::Redis { wrote: false, seen }) });
    }
    if expect == RedisExpect::AcceptsWrites {
        // The only proof that writes are taken is one that was: a full memory, a failed save or missing replicas refuse
        // them and let everything else look well.
        let mut set = cmd("SET");
        set.arg(MARKER).arg("1").arg("PX").arg(MARKER_MILLIS);
        let answer = talk.ask(&set).await?;
        if answer != Value::Okay {
            return Err(unexpected("SET", &answer));
        }
        return Ok(Outcome::Ok { evidence: Evidence::Redis { wrote: true, seen } });
    }
    Ok(Outcome::Ok { evidence: Evidence::Redis { wrote: false, seen } })
}

/// Why what was seen is not what is expected.
fn contradiction(seen: &RedisSeen, expect: RedisExpect) -> Option<String> {
    if seen.loading {
        return Some("still loads its data".to_owned());
    }
    match expect {
        RedisExpect::Answers => None,
        RedisExpect::Primary | RedisExpect::AcceptsWrites => (!seen.primary).then(|| format!("is no primary: {seen}")),
        RedisExpect::Replica if seen.primary => Some(format!("is no replica: {seen}")),
        RedisExpect::Replica => (!seen.link_up).then(|| format!("does not follow: {seen}")),
    }
}

/// INFO's lines of `key:value`. Nothing when no role is among them.
fn info(text: &str) -> Option<RedisSeen> {
    let value = |key: &str| text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':')).map(str::trim_end);
    let number = |key: &str| value(key)?.parse::<u64>().ok();
    let primary = match value("role")? {
        "master" => true,
        "slave" => false,
        _ => return None,
    };
    let offset = number(if primary { "master_repl_offset" } else { "slave_repl_offset" }).unwrap_or(0);
    // slave0:ip=10.1.0.12,port=6379,state=online,offset=1204,lag=0
    let reached = |line: &str| {
        let (key, facts) = line.split_once(':')?;
        let number = key.strip_prefix("slave")?;
        if number.is_empty() || !number.bytes().all(|b| b.is_ascii_digit()) {
            return None;
        }
        facts.trim_end().split(',').find_map(|fact| fact.strip_prefix("offset=")).and_then(|at| at.parse::<u64>().ok())
    };
    let address = || Some(format!("{}:{}", one_line(value("master_host")?, SAID_CHARS_MAX), number("master_port")?));
    let link_up = value("master_link_status") == Some("up");
    Some(RedisSeen {
        primary,
        follows: if primary { None } else { address() },
        link_up,
        heard_seconds: number(if link_up { "master_last_io_seconds_ago" } else { "master_link_down_since_seconds" }),
        offset,
        replicas: if primary { number("connected_slaves").unwrap_or(0) } else { 0 },
        lag_bytes_max: text.lines().filter_map(reached).map(|at| offset.saturating_sub(at)).max().filter(|_| primary),
        unapplied_bytes: number("slave_read_repl_offset").map(|read| read.saturating_sub(offset)).filter(|_| !primary),
        used_memory_bytes: number("used_memory"),
        clients: number("connected_clients"),
        loading: number("loading") == Some(1),
    })
}

/// What an answer that says no means for the look.
fn refused(error: &ServerError) -> Outcome {
    let code = error.code();
    let said = one_line(&format!("{code} {}", error.details().unwrap_or_default()), SAID_CHARS_MAX);
    match code {
        // How we log in, or how the server is set up for us: nothing about its service.
        "NOAUTH" => {
            Outcome::could_not_run(format!("it wants a password; write password: {{credential: NAME}} ({said})"))
        }
        "WRONGPASS" | "NOPERM" | "DENIED" => Outcome::could_not_run(format!("it does not let us look: {said}")),
        // A part of a cluster that has the key elsewhere.
        "MOVED" | "ASK" | "ERR" => Outcome::could_not_run(format!("it does not understand: {said}")),
        "LOADING" => Outcome::failing(format!("still loads its data: {said}")),
        _ => Outcome::failing(format!("refuses: {said}")),
    }
}

fn unexpected(asked: &str, answer: &Value) -> Outcome {
    if let Value::ServerError(error) = answer {
        return refused(error);
    }
    let said = one_line(&format!("{answer:?}"), SAID_CHARS_MAX);
    Outcome::could_not_run(format!("its answer to {asked} is none of a Redis: {said}"))
}

/// Question and answer, one at a time.
struct Talk {
    stream: TcpStream,
}

impl Talk {
    async fn ask(&mut self, question: &Cmd) -> Result<Value, Outcome> {
        self.stream.write_all(&question.get_packed_command()).await.map_err(|e| broken(&e))?;
        let mut answer = Vec::new();
        loop {
            match read(&answer) {
                Read::Whole(value) => return Ok(value),
                Read::Garbage(why) => {
                    let why = format!("what answers is no Redis, or wants TLS: {}", one_line(&why, SAID_CHARS_MAX));
                    return Err(Outcome::could_not_run(why));
                }
                Read::More if answer.len() >= ANSWER_BYTES_MAX => {
                    return Err(Outcome::could_not_run(format!(
                        "what answers is no Redis: its answer has no end after {ANSWER_BYTES_MAX} bytes"
                    )));
                }
                Read::More => {}
            }
            let room = ANSWER_BYTES_MAX.saturating_sub(answer.len()) as u64;
            match (&mut self.stream).take(room).read_buf(&mut answer).await {
                Ok(0) => return Err(Outcome::failing("closed the connection without an answer")),
                Ok(_) => {}
                Err(e) => return Err(broken(&e)),
            }
        }
    }
}

fn broken(error: &std::io::Error) -> Outcome {
    if is_ours(error) {
        return Outcome::could_not_run(error.to_string());
    }
    Outcome::failing(format!("the connection broke: {error}"))
}

/// What the bytes so far amount to.
#[derive(Debug)]
enum Read {
    Whole(Value),
    More,
    Garbage(String),
}

fn read(bytes: &[u8]) -> Read {
    if bytes.is_empty() {
        return Read::More;
    }
    match parse_redis_value(bytes) {
        Ok(value) => Read::Whole(value),
        Err(e) if e.is_io_error() || e.to_string().contains("unexpected end of file") => Read::More,
        Err(e) => Read::Garbage(e.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PRIMARY: &str = "# Server\r\nredis_version:7.0.15\r\n# Clients\r\nconnected_clients:3\r\n# Memory\r\nused_memory:1048576\r\n\
        # Persistence\r\nloading:0\r\n# Replication\r\nrole:master\r\nconnected_slaves:2\r\n\
        slave0:ip=10.1.0.12,port=6379,state=online,offset=1000,lag=0\r\n\
        slave1:ip=10.1.0.13,port=6379,state=online,offset=1204,lag=1\r\nmaster_repl_offset:1204\r\n";
    const REPLICA: &str = "loading:0\r\nrole:slave\r\nmaster_host:10.1.0.11\r\nmaster_port:6379\r\nmaster_link_status:up\r\n\
        master_last_io_seconds_ago:1\r\nslave_read_repl_offset:1210\r\nslave_repl_offset:1204\r\nconnected_slaves:0\r\n\
        master_repl_offset:1204\r\n";

    #[test]
    fn a_primary_tells_how_far_its_replicas_are_behind() {
        let seen = info(PRIMARY).expect("a role");
        assert_eq!(seen.to_string(), "primary at offset 1204, 2 replicas, at most 204 B behind");
        assert_eq!((seen.used_memory_bytes, seen.clients), (Some(1_048_576), Some(3)));
        assert_eq!(contradiction(&seen, RedisExpect::Primary), None);
        let wrong = "is no replica: primary at offset 1204, 2 replicas, at most 204 B behind";
        assert_eq!(contradiction(&seen, RedisExpect::Replica).as_deref(), Some(wrong));
        let alone = info("role:master\nmaster_repl_offset:7\n").expect("a role");
        assert_eq!(alone.to_string(), "primary at offset 7, no replica");
    }

    #[test]
    fn a_replica_tells_whom_it_follows_and_whether_it_does() {
        let seen = info(REPLICA).expect("a role");
        let expected =
            "replica of 10.1.0.11:6379 at offset 1204, 6 B received and not yet applied, heard of it 1 s ago";
        assert_eq!(seen.to_string(), expected);
        assert_eq!(contradiction(&seen, RedisExpect::Replica), None);
        assert_eq!(contradiction(&seen, RedisExpect::AcceptsWrites), Some(format!("is no primary: {expected}")));
        let down = REPLICA.replace("status:up", "status:down\r\nmaster_link_down_since_seconds:90");
        let why = contradiction(&info(&down).expect("a role"), RedisExpect::Replica).expect("it does not follow");
        assert!(why.starts_with("does not follow: ") && why.ends_with("its link is down for 1 min 30 s"), "{why}");
        let loading = info(&REPLICA.replace("loading:0", "loading:1")).expect("a role");
        assert_eq!(contradiction(&loading, RedisExpect::Replica).as_deref(), Some("still loads its data"));
    }

    #[test]
    fn a_refusal_is_told_apart_from_a_service_that_refuses() {
        let said = |line: &str| match read(format!("-{line}\r\n").as_bytes()) {
            Read::Whole(answer) => unexpected("INFO", &answer),
            Read::More | Read::Garbage(_) => panic!("{line}"),
        };
        for ours in [
            "NOAUTH Authentication required.",
            "WRONGPASS invalid username-password pair or user is disabled.",
            "NOPERM this user has no permissions to run the 'info' command",
            "DENIED Redis is running in protected mode",
            "ERR Client sent AUTH, but no password is set",
            "MOVED 1234 10.0.0.1:6379",
        ] {
            let outcome = said(ours);
            assert!(matches!(outcome, Outcome::CouldNotRun { .. }), "{ours}: {outcome:?}");
        }
        for its in [
            "LOADING Redis is loading the dataset in memory",
            "READONLY You can't write against a read only replica.",
            "MISCONF Redis is configured to save RDB snapshots",
            "NOREPLICAS Not enough good replicas to write.",
            "OOM command not allowed when used memory > 'maxmemory'.",
            "MASTERDOWN Link with MASTER is down",
        ] {
            let outcome = said(its);
            let word = its.split(' ').next().expect("a word");
            assert!(matches!(&outcome, Outcome::Failing { why, .. } if why.contains(word)), "{its}: {outcome:?}");
        }
    }

    #[test]
    fn an_answer_is_whole_unfinished_or_none() {
        assert!(matches!(read(b"+PONG\r\n"), Read::Whole(Value::SimpleString(pong)) if pong == "PONG"));
        for part in ["", "+PO", "$5\r\nab", "*9223372036854775807\r\n", "$9223372036854775807\r\nx"] {
            assert!(matches!(read(part.as_bytes()), Read::More), "{part:?}: {:?}", read(part.as_bytes()));
        }
        for none in ["HTTP/1.1 400 Bad Request\r\n\r\n", "\u{15}\u{3}\u{1}\0\u{2}\u{2}", ":seven\r\n"] {
            assert!(matches!(read(none.as_bytes()), Read::Garbage(_)), "{none:?}: {:?}", read(none.as_bytes()));
        }
    }

    proptest! {
        #[test]
        fn no_answer_is_a_panic(kind in "[-+:$*%|~_,#!=(>a]", bytes in proptest::collection::vec(any::<u8>(), 0..300), n: i64) {
            let mut answers = vec![bytes.clone(), [kind.as_bytes(), bytes.as_slice(), b"\r\n"].concat()];
            answers.push([kind.as_bytes(), n.to_string().as_bytes(), b"\r\n", bytes.as_slice()].concat());
            for answer in answers {
                if let Read::Whole(value) = read(&answer) {
                    let text = unexpected("INFO", &value).text();
                    prop_assert!(!text.chars().any(char::is_control), "{text:?}");
                }
            }
        }

        #[test]
        fn no_info_is_a_panic(text in "(role:(master|slave)\r\n)?((slave[0-9]?|master_repl_offset|slave_repl_offset|master_host|master_port):[ -~]{0,30}\r\n){0,8}.{0,40}") {
            if let Some(seen) = info(&text) {
                let outcome = Outcome::Ok { evidence: Evidence::Redis { wrote: false, seen } };
                prop_assert!(!outcome.text().chars().any(char::is_control));
            }
        }
    }
}
