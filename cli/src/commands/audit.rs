//! The audit trail: shown, exported, verified. Every hash is computed here, from what is read; no coordinator's word is
//! taken for it.

use std::{
    fs::File,
    io::{self, BufRead, Read as _},
    path::Path,
};

use holdfast_proto::v1::{self, audit_client::AuditClient};
use holdfast_shared::{error::Chain, files};
use holdfast_types::audit::{Broken, Entry, Hash, Verifier};
use tonic::Status;

use super::Context;
use crate::{
    connect::{CALL_DEADLINE, Client},
    console::Stop,
    errors::{Exit, Failure, Intent},
    render::{audit, json, text::clean},
};

/// An entry is under 5 KiB: a longer line is none.
const LINE_BYTES_MAX: u64 = 1024 * 1024;
/// Written at once.
const CHUNK_BYTES: usize = 64 * 1024;

pub(super) async fn newest(c: &mut Context<'_, '_>, client: &mut Client, newest: u32) -> Result<Exit, Stop> {
    let mut entries = Vec::new();
    read(client, "holdfast audit", v1::TrailRequest { after: 0, newest }, |entry| {
        entries.push(entry);
        Ok(())
    })
    .await?;
    c.show::<_, json::Trail>(entries, |entries, view| audit::trail(entries, view))?;
    Ok(Exit::Done)
}

pub(super) async fn export(c: &mut Context<'_, '_>, client: &mut Client, file: Option<&Path>) -> Result<Exit, Stop> {
    let file = file.filter(|file| *file != Path::new("-"));
    let mut text = String::new();
    let (mut seen, mut newest) = (0, None);
    read_whole(client, "holdfast audit export", |entry| {
        text.push_str(&serde_json::to_string(&entry).expect("an entry is plain fields"));
        text.push('\n');
        (seen, newest) = (seen + 1, Some((entry.number, entry.hash)));
        if file.is_none() && text.len() >= CHUNK_BYTES {
            c.console.data(&text)?;
            text.clear();
        }
        Ok(())
    })
    .await?;
    match file {
        None => c.console.data(&text)?,
        Some(file) => {
            // In one piece or not at all: half a trail would look like a whole one.
            files::write_private(file, text.as_bytes()).map_err(|e| {
                Failure::usage(Chain(&e).to_string(), "holdfast audit export FILE      to write it elsewhere")
            })?;
            let entries = count_entries(seen);
            let hash = newest.map(|(_, hash)| format!("; newest hash {hash}")).unwrap_or_default();
            let file = file.display();
            c.console.say(&format!("{entries} in {file}{hash}\n  next  holdfast audit verify --file {file}\n"));
        }
    }
    Ok(Exit::Done)
}

pub(super) async fn verify(c: &mut Context<'_, '_>, client: &mut Client) -> Result<Exit, Stop> {
    let mut verifier = Verifier::default();
    read_whole(client, "holdfast audit verify", |entry| {
        verifier.take(&entry).map_err(|broken| does_not_hold("the coordinator's trail", &verifier, &broken).into())
    })
    .await?;
    match verifier.last() {
        Some(last) => holds(c, verifier.first(), last),
        None => Err(Failure::new(Exit::Refused, "the trail has no entries: there is nothing that could hold")
            .next("holdfast status")
            .into()),
    }
}

/// Verifies an export; no coordinator is asked.
pub(super) fn verify_file(c: &mut Context<'_, '_>, file: &Path) -> Result<Exit, Stop> {
    let verifier = if file == Path::new("-") {
        verify_lines(&mut *c.console.input, "stdin")?
    } else {
        let name = file.display().to_string();
        let opened = File::open(file).map_err(|e| unreadable(&name, &e.to_string()))?;
        verify_lines(&mut io::BufReader::new(opened), &name)?
    };
    match verifier.last() {
        Some(last) => holds(c, verifier.first(), last),
        None => Err(unreadable(&file.display().to_string(), "it holds no entries").into()),
    }
}

fn unreadable(name: &str, why: &str) -> Failure {
    Failure::usage(format!("cannot read a trail from {}: {}", clean(name), clean(why)), "holdfast audit export FILE")
}

fn verify_lines(lines: &mut dyn BufRead, name: &str) -> Result<Verifier, Failure> {
    let mut verifier = Verifier::default();
    let mut line = Vec::new();
    for number in 1_u64.. {
        line.clear();
        (&mut *lines)
            .take(LINE_BYTES_MAX)
            .read_until(b'\n', &mut line)
            .map_err(|e| unreadable(name, &e.to_string()))?;
        if line.is_empty() {
            break;
        }
        let entry: Entry = serde_json::from_slice(&line)
            .map_err(|e| unreadable(name, &format!("line {number} is no entry of an exported trail: {e}")))?;
        verifier.take(&entry).map_err(|broken| does_not_hold(name, &verifier, &broken))?;
    }
    Ok(verifier)
}

fn does_not_hold(whose: &str, verifier: &Verifier, broken: &Broken) -> Failure {
    let failure = Failure::new(Exit::Refused, format!("{} does not hold: {broken}", clean(whose)));
    let failure = match verifier.last() {
        Some((last, _)) => {
            failure.line("holds", format!("{} to {last}; what comes after says nothing", verifier.first()))
        }
        None => failure.line("holds", "nothing: it is the first entry"),
    };
    failure.next("compare it with an export that was kept elsewhere: holdfast audit verify --file FILE")
}

fn holds(c: &mut Context<'_, '_>, first: u64, (last, newest_hash): (u64, Hash)) -> Result<Exit, Stop> {
    let verified = json::Verified { holds: true, first, last, newest_hash };
    c.show::<_, json::Verified>(verified, |v, _| {
        format!("{} to {} hold; newest hash {}\n", v.first, v.last, v.newest_hash)
    })?;
    let mut text = String::new();
    if first > 1 {
        text.push_str(&format!("{} before them are no longer there\n", count_entries(first - 1)));
    }
    text.push_str("that nobody wrote the whole trail anew, only a newest hash kept elsewhere proves: keep this one\n");
    c.console.say(&text);
    Ok(Exit::Done)
}

fn count_entries(n: u64) -> String {
    if n == 1 { "1 entry".to_owned() } else { format!("{n} entries") }
}

/// Reads all that is kept. A stream that ends early looks like a whole one, so it is asked again until nothing comes.
async fn read_whole(
    client: &mut Client,
    asked: &str,
    mut take: impl FnMut(Entry) -> Result<(), Stop>,
) -> Result<(), Stop> {
    let mut after = 0;
    loop {
        let before = after;
        read(client, asked, v1::TrailRequest { after, newest: 0 }, |entry| {
            after = after.max(entry.number);
            take(entry)
        })
        .await?;
        if after == before {
            return Ok(());
        }
    }
}

async fn read(
    client: &mut Client,
    asked: &str,
    request: v1::TrailRequest,
    mut take: impl FnMut(Entry) -> Result<(), Stop>,
) -> Result<(), Stop> {
    let (address, mut entries) =
        client.stream(asked, |ch| async move { AuditClient::new(ch).trail(request).await }).await?;
    let late = |_| Err(Status::deadline_exceeded(format!("no entry within {} s", CALL_DEADLINE.as_secs())));
    loop {
        let next = tokio::time::timeout(CALL_DEADLINE, entries.message()).await.unwrap_or_else(late);
        match next.map_err(|status| Failure::from_status(&status, asked, &address, Intent::Read))? {
            Some(sent) => take(entry(sent).map_err(|why| {
                Failure::new(Exit::Failed, format!("{address} sent an entry that is none: {why}"))
                    .next("holdfast status")
            })?)?,
            None => return Ok(()),
        }
    }
}

fn entry(sent: v1::AuditEntry) -> Result<Entry, String> {
    Ok(Entry {
        number: sent.number,
        at: sent.at,
        by: sent.by,
        from: sent.from,
        call: sent.call,
        subject: sent.subject,
        why: sent.why,
        done: sent.done,
        outcome: sent.outcome,
        previous: Hash::try_from(&*sent.previous)?,
        hash: Hash::try_from(&*sent.hash)?,
    })
}
