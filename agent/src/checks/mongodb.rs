//! What a MongoDB is: whether it answers, leads its replica set or follows.
//!
//! One question, `hello`, which a MongoDB answers without a login from 4.4.2 on. It is asked by one OP_MSG on a
//! connection of our own. The full driver keeps monitors and pools that run on behind every look, to find out by and
//! by what `hello` says at once.

use std::{fmt, time::Duration};

use bson::{RawDocument, RawDocumentBuf};
use holdfast_types::{line::one_line, spec::MongodbExpect, time::span};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use super::{Evidence, Outcome, connect::connect, is_ours};
use crate::exec::names::Names;

/// Most of an answer that is read. That of a replica set of fifty members has 5 KiB.
const ANSWER_BYTES_MAX: usize = 64 * 1024;
/// Length, request, answered request and kind of message, four bytes each.
const HEADER_BYTES: usize = 16;
/// Header, flags and the kind of the one section.
const BEFORE_DOCUMENT_BYTES: usize = HEADER_BYTES + 5;
/// OP_MSG.
const MESSAGE: i32 = 2_013;
/// Most of what a server said that is repeated.
const SAID_CHARS_MAX: usize = 120;

/// Where to look, and what must be there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MongodbAt {
    /// Name or address.
    pub address: String,
    /// The port.
    pub port: u16,
    /// The replica set that it must belong to.
    pub replica_set: Option<String>,
}

/// What a MongoDB says of itself: figures for people, and for whoever keeps them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct MongodbSeen {
    /// It takes writes: the primary of its set, or one without a set.
    pub primary: bool,
    /// It follows the primary of its set.
    pub secondary: bool,
    /// It is a router of shards.
    pub router: bool,
    /// Its replica set.
    pub replica_set: Option<String>,
    /// Who leads the set, as it knows.
    pub led_by: Option<String>,
    /// How old the last write is that it has, by its own clock.
    pub last_write_age: Option<Duration>,
}

impl fmt::Display for MongodbSeen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match (self.router, self.primary, self.secondary) {
            (true, _, _) => "router of shards",
            (false, true, _) => "primary",
            (false, false, true) => "secondary",
            (false, false, false) => "neither primary nor secondary",
        })?;
        if let Some(set) = &self.replica_set {
            write!(f, " of {}", one_line(set, SAID_CHARS_MAX))?;
        } else if !self.router {
            f.write_str(", no replica set")?;
        }
        match &self.led_by {
            Some(primary) if !self.primary => write!(f, ", led by {}", one_line(primary, SAID_CHARS_MAX))?,
            None if !self.primary && self.replica_set.is_some() => f.write_str(", led by nobody")?,
            Some(_) | None => {}
        }
        self.last_write_age.map_or(Ok(()), |age| write!(f, ", last write {} old", span(age)))
    }
}

pub(super) async fn run(names: &Names, at: &MongodbAt, expect: MongodbExpect) -> Outcome {
    let asked = async {
        let mut stream = connect(names, &at.address, at.port).await?;
        stream.write_all(&question()).await.map_err(|e| broken(&e))?;
        let answer = receive(&mut stream).await?;
        let seen = read(&answer).map_err(|why| {
            Outcome::could_not_run(format!("what answers is no MongoDB from 4.4.2 on, or wants TLS: {why}"))
        })?;
        Ok(judge(seen, at, expect))
    };
    match asked.await {
        Ok(outcome) | Err(outcome) => outcome,
    }
}

fn judge(seen: MongodbSeen, at: &MongodbAt, expect: MongodbExpect) -> Outcome {
    let role = match expect {
        MongodbExpect::Answers => None,
        MongodbExpect::Primary => (!seen.primary).then(|| format!("is no primary: {seen}")),
        MongodbExpect::Secondary => (!seen.secondary).then(|| format!("is no secondary: {seen}")),
    };
    let set = at.replica_set.as_ref().filter(|set| seen.replica_set.as_ref() != Some(*set));
    let why = role.or_else(|| set.map(|set| format!("does not belong to replica set {set}: {seen}")));
    let evidence = Evidence::Mongodb { seen };
    match why {
        Some(why) => Outcome::Failing { why, evidence: Some(evidence) },
        None => Outcome::Ok { evidence },
    }
}

/// `{hello: 1, $db: "admin"}` as a message.
fn question() -> Vec<u8> {
    let mut document = RawDocumentBuf::new();
    document.append(bson::cstr!("hello"), 1_i32);
    document.append(bson::cstr!("$db"), "admin");
    let document = document.as_bytes();
    let mut message = Vec::with_capacity(BEFORE_DOCUMENT_BYTES + document.len());
    let length = i32::try_from(BEFORE_DOCUMENT_BYTES + document.len()).expect("a question is short");
    for word in [length, 1, 0, MESSAGE, 0] {
        message.extend_from_slice(&word.to_le_bytes());
    }
    // The only section is the body.
    message.push(0);
    message.extend_from_slice(document);
    message
}

/// One message, its header included.
async fn receive(stream: &mut TcpStream) -> Result<Vec<u8>, Outcome> {
    let mut message = Vec::new();
    loop {
        let wanted = wanted(&message)
            .map_err(|why| Outcome::could_not_run(format!("what answers is no MongoDB, or wants TLS: {why}")))?;
        if message.len() >= wanted {
            return Ok(message);
        }
        let room = (wanted - message.len()) as u64;
        match stream.take(room).read_buf(&mut message).await {
            Ok(0) => return Err(Outcome::failing("closed the connection without an answer")),
            Ok(_) => {}
            Err(e) => return Err(broken(&e)),
        }
    }
}

/// How long the message is that begins like this: at least its header, until that is there.
fn wanted(message: &[u8]) -> Result<usize, String> {
    if message.len() < HEADER_BYTES {
        return Ok(HEADER_BYTES);
    }
    let length = word(message, 0).unwrap_or(0);
    match usize::try_from(length) {
        Ok(bytes) if (BEFORE_DOCUMENT_BYTES..=ANSWER_BYTES_MAX).contains(&bytes) => Ok(bytes),
        Ok(_) | Err(_) => Err(format!("its message would have {length} bytes")),
    }
}

fn word(message: &[u8], at: usize) -> Option<i32> {
    Some(i32::from_le_bytes(message.get(at..at + 4)?.try_into().ok()?))
}

/// What a whole message says.
fn read(message: &[u8]) -> Result<MongodbSeen, String> {
    let kind = word(message, 12).unwrap_or(0);
    if kind != MESSAGE {
        return Err(format!("its message is of kind {kind}"));
    }
    if message.get(BEFORE_DOCUMENT_BYTES - 1) != Some(&0) {
        return Err("its message has no body".to_owned());
    }
    // A checksum may follow the document, which tells its own length.
    let rest = message.get(BEFORE_DOCUMENT_BYTES..).unwrap_or_default();
    let length = word(rest, 0).and_then(|length| usize::try_from(length).ok()).unwrap_or(0);
    let document = rest.get(..length).ok_or("its document is longer than its message")?;
    let document = RawDocument::from_bytes(document).map_err(|e| one_line(&e.to_string(), SAID_CHARS_MAX))?;
    let text = |key: &str| document.get_str(key).ok().map(str::to_owned);
    let flag = |key: &str| document.get_bool(key).unwrap_or(false);
    let done = document.get_f64("ok").ok().map(|ok| ok > 0.0);
    if done.or_else(|| document.get_i32("ok").ok().map(|ok| ok > 0)) != Some(true) {
        let why = text("errmsg").or_else(|| text("codeName")).unwrap_or_else(|| "no reason".to_owned());
        return Err(format!("it does not say hello: {}", one_line(&why, SAID_CHARS_MAX)));
    }
    let millis = |document: &RawDocument, key: &str| document.get_datetime(key).ok().map(|at| at.timestamp_millis());
    let last = document.get_document("lastWrite").ok().and_then(|last| millis(last, "lastWriteDate"));
    let age = millis(document, "localTime").zip(last).map(|(now, last)| now.saturating_sub(last));
    Ok(MongodbSeen {
        primary: flag("isWritablePrimary"),
        secondary: flag("secondary"),
        router: text("msg").as_deref() == Some("isdbgrid"),
        replica_set: text("setName"),
        led_by: text("primary"),
        last_write_age: age.map(|millis| Duration::from_millis(u64::try_from(millis).unwrap_or(0))),
    })
}

fn broken(error: &std::io::Error) -> Outcome {
    if is_ours(error) {
        return Outcome::could_not_run(error.to_string());
    }
    Outcome::failing(format!("the connection broke: {error}"))
}

#[cfg(test)]
mod tests {
    use bson::doc;
    use proptest::prelude::*;

    use super::*;

    /// A document as a MongoDB's answer.
    fn answer(document: &bson::Document) -> Vec<u8> {
        let document = document.to_vec().expect("a document");
        let mut message = Vec::new();
        for word in [BEFORE_DOCUMENT_BYTES as i32 + document.len() as i32, 7, 1, MESSAGE, 0] {
            message.extend_from_slice(&word.to_le_bytes());
        }
        message.push(0);
        message.extend_from_slice(&document);
        message
    }

    fn seen(document: &bson::Document) -> MongodbSeen {
        read(&answer(document)).expect("an answer")
    }

    fn at(replica_set: Option<&str>) -> MongodbAt {
        MongodbAt { address: "10.1.0.11".into(), port: 27_017, replica_set: replica_set.map(str::to_owned) }
    }

    #[test]
    fn the_question_is_one_message_that_asks_hello() {
        let question = question();
        assert_eq!(wanted(&question), Ok(question.len()));
        assert_eq!(word(&question, 12), Some(MESSAGE));
        let document = RawDocument::from_bytes(&question[BEFORE_DOCUMENT_BYTES..]).expect("a document");
        assert_eq!((document.get_i32("hello").ok(), document.get_str("$db").ok()), (Some(1), Some("admin")));
    }

    #[test]
    fn each_member_is_told_by_what_it_says() {
        let at_time = |millis: i64| bson::DateTime::from_millis(millis);
        let primary = seen(
            &doc! {"isWritablePrimary": true, "secondary": false, "setName": "rs0", "primary": "a:27017", "ok": 1.0},
        );
        assert_eq!(primary.to_string(), "primary of rs0");
        let secondary = seen(&doc! {
            "isWritablePrimary": false, "secondary": true, "setName": "rs0", "primary": "a:27017", "ok": 1.0,
            "localTime": at_time(9_000), "lastWrite": {"lastWriteDate": at_time(7_000)},
        });
        assert_eq!(secondary.to_string(), "secondary of rs0, led by a:27017, last write 2 s old");
        let orphan = seen(&doc! {"isWritablePrimary": false, "secondary": false, "setName": "rs0", "ok": 1});
        assert_eq!(orphan.to_string(), "neither primary nor secondary of rs0, led by nobody");
        assert_eq!(seen(&doc! {"isWritablePrimary": true, "ok": 1.0}).to_string(), "primary, no replica set");
        let router = seen(&doc! {"isWritablePrimary": true, "msg": "isdbgrid", "ok": 1.0});
        assert_eq!(router.to_string(), "router of shards");

        let ok = |seen: &MongodbSeen, set, expect| matches!(judge(seen.clone(), &at(set), expect), Outcome::Ok { .. });
        assert!(ok(&primary, Some("rs0"), MongodbExpect::Primary) && !ok(&primary, None, MongodbExpect::Secondary));
        assert!(ok(&secondary, None, MongodbExpect::Secondary) && !ok(&secondary, None, MongodbExpect::Primary));
        assert!(ok(&orphan, None, MongodbExpect::Answers) && !ok(&primary, Some("rs1"), MongodbExpect::Answers));
        let why = judge(primary, &at(Some("rs1")), MongodbExpect::Answers).to_string();
        assert_eq!(why, "does not belong to replica set rs1: primary of rs0");
    }

    #[test]
    fn what_is_no_answer_is_told() {
        assert_eq!(wanted(b"HTTP/1.1 400 Bad Request\r\n"), Err("its message would have 1347703880 bytes".to_owned()));
        let refused =
            read(&answer(&doc! {"ok": 0.0, "errmsg": "no such command: 'hello'", "codeName": "CommandNotFound"}));
        assert_eq!(refused, Err("it does not say hello: no such command: 'hello'".to_owned()));
        assert!(read(&answer(&doc! {})).is_err());
        let mut longer = answer(&doc! {"ok": 1.0});
        longer[BEFORE_DOCUMENT_BYTES] = 200;
        assert_eq!(read(&longer), Err("its document is longer than its message".to_owned()));
        assert!(read(&[0; 64]).is_err());
    }

    /// Speaks MongoDB's protocol as far as it goes here: one message in, one out, in pieces as networks deliver them.
    #[tokio::test]
    async fn a_server_is_asked_and_its_answer_put_together() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("bound").port();
        let mut tasks = tokio::task::JoinSet::new();
        tasks.spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let question = receive(&mut stream).await.expect("a message");
                let document = RawDocument::from_bytes(&question[BEFORE_DOCUMENT_BYTES..]).expect("a document");
                assert_eq!(document.get_str("$db").ok(), Some("admin"));
                let mut said = answer(&doc! {"isWritablePrimary": true, "setName": "rs0", "ok": 1.0});
                // With a checksum behind it.
                said.extend_from_slice(&[1, 2, 3, 4]);
                let length = i32::try_from(said.len()).expect("short").to_le_bytes();
                said[..4].copy_from_slice(&length);
                for piece in said.chunks(7) {
                    stream.write_all(piece).await.expect("the other side reads");
                    tokio::task::yield_now().await;
                }
            }
        });
        let at = MongodbAt { address: "127.0.0.1".into(), port, replica_set: Some("rs0".into()) };
        let outcome = run(&Names::default(), &at, MongodbExpect::Primary).await;
        assert!(matches!(outcome, Outcome::Ok { .. }), "{outcome:?}");
        assert_eq!(outcome.to_string(), "primary of rs0");
        let closed = MongodbAt { port: 1, ..at };
        let outcome = run(&Names::default(), &closed, MongodbExpect::Primary).await;
        assert!(matches!(outcome, Outcome::Failing { .. }), "{outcome:?}");
    }

    proptest! {
        #[test]
        fn no_answer_is_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300), flip in 0_usize..200, bit in 0_u8..8) {
            let mut real = answer(&doc! {
                "isWritablePrimary": false, "secondary": true, "setName": "rs0", "primary": "a\u{1b}:1", "ok": 1.0,
                "localTime": bson::DateTime::from_millis(i64::MAX), "lastWrite": {"lastWriteDate": bson::DateTime::from_millis(i64::MIN)},
            });
            let flip = flip % real.len();
            real[flip] ^= 1 << bit;
            let framed = [&[0; 12][..], &MESSAGE.to_le_bytes(), &[0; 5], &bytes].concat();
            for message in [bytes, real, framed] {
                drop(wanted(&message));
                if let Ok(seen) = read(&message) {
                    let text = judge(seen, &at(None), MongodbExpect::Primary).text();
                    prop_assert!(!text.chars().any(char::is_control), "{text:?}");
                }
            }
        }
    }
}
