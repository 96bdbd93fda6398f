//! The first apply looks before it acts: what the hosts of a spec say of its writers, and what follows from that.
//!
//! | found | then |
//! |---|---|
//! | the writers of exactly one region accept writes, no other database is a primary | that region becomes active |
//! | primaries in two regions | refused: nobody can say which one is right |
//! | a writer host that could not be looked at | refused: it might be a second primary |
//! | no region whose writers all accept writes | refused |
//!
//! Of an app that exists already nothing is concluded; what was found is only told.

use std::collections::{BTreeMap, BTreeSet};

use holdfast_proto::v1;
use holdfast_types::{HostName, Lsn, RegionName, WriterName, refusal::Reason, spec::AppSpec};

use super::refuse::{Refusal, listed};

/// What became of the look at one host.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Answer {
    /// It looked.
    Looked(v1::LookReply),
    /// It could not be asked, or did not answer; why.
    Unseen(String),
}

/// What each host of the spec answered.
pub(super) type Answers = BTreeMap<HostName, Answer>;

/// How a writer's database was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Found {
    /// A primary that accepts writes.
    Writes,
    /// A primary all the same: it is not in recovery, but takes no writes now.
    Primary,
    /// In recovery.
    Standby,
    /// Not running.
    Down,
    /// Nobody could look.
    Unseen,
}

/// One writer on one host.
#[derive(Debug, Clone, PartialEq)]
struct Sight {
    writer: WriterName,
    host: HostName,
    region: RegionName,
    found: Found,
    system: u64,
    line: String,
}

fn sights(spec: &AppSpec, answers: &Answers) -> Vec<Sight> {
    let places = spec.regions.iter().flat_map(|region| {
        let place =
            |writer: &WriterName| Some((writer.clone(), region.name.clone(), spec.writer_host(writer, &region.name)?));
        spec.writers.keys().filter_map(place).collect::<Vec<_>>()
    });
    places
        .map(|(writer, region, place)| {
            let (found, system, text) = sight(&writer, answers.get(&place.host));
            let line = format!("{writer} on {} ({region}): {text}", place.host);
            Sight { writer, host: place.host.clone(), region, found, system, line }
        })
        .collect()
}

fn sight(writer: &WriterName, answer: Option<&Answer>) -> (Found, u64, String) {
    let unseen = |why: String| (Found::Unseen, 0, why);
    let reply = match answer {
        None => return unseen("was not asked".to_owned()),
        Some(Answer::Unseen(why)) => return unseen(why.clone()),
        Some(Answer::Looked(reply)) => reply,
    };
    let Some(finding) = reply.writers.iter().find(|f| f.writer == writer.as_str()) else {
        return unseen("its host said nothing of it".to_owned());
    };
    let because = if finding.text.is_empty() { String::new() } else { format!(": {}", finding.text) };
    let Some(seen) = &finding.database else { return unseen(format!("could not be looked at{because}")) };
    let at = format!("timeline {}, {}", seen.timeline, Lsn(seen.lsn));
    let (found, text) = match (seen.running, seen.in_recovery, seen.accepts_writes) {
        (false, _, _) => (Found::Down, format!("is down{because}")),
        (true, false, true) => (Found::Writes, format!("accepts writes, {at}")),
        (true, false, false) => (Found::Primary, format!("is a primary that takes no writes, {at}{because}")),
        (true, true, _) if seen.streaming && seen.sender.is_empty() => (Found::Standby, format!("follows, {at}")),
        (true, true, _) if seen.streaming => (Found::Standby, format!("follows {}, {at}", seen.sender)),
        (true, true, _) => (Found::Standby, format!("is in recovery and receives nothing, {at}")),
    };
    (found, seen.system_identifier, text)
}

/// What was found running, a line each.
pub(super) fn found(spec: &AppSpec, answers: &Answers) -> Vec<String> {
    sights(spec, answers).into_iter().map(|sight| sight.line).collect()
}

/// What to know of what was found: copies that are none, hosts that would not obey, hosts that nobody could ask.
pub(super) fn notes(spec: &AppSpec, answers: &Answers) -> Vec<String> {
    let sights = sights(spec, answers);
    let mut notes = Vec::new();
    for primary in sights.iter().filter(|s| s.found == Found::Writes && s.system != 0) {
        let others =
            sights.iter().filter(|s| s.writer == primary.writer && s.system != 0 && s.system != primary.system);
        notes.extend(others.map(|other| {
            format!(
                "{} on {} is no copy of the one on {}: their system identifiers differ, so it cannot follow",
                other.writer, other.host, primary.host
            )
        }));
    }
    let writers: BTreeSet<&HostName> = sights.iter().map(|s| &s.host).collect();
    for (host, region) in spec.hosts() {
        match answers.get(&host) {
            Some(Answer::Looked(reply)) => {
                notes.extend(reply.problems.iter().map(|p| format!("{host} ({region}): {p}")))
            }
            // Of a writer's host that is told among what was found.
            Some(Answer::Unseen(why)) if !writers.contains(&host) => notes.push(format!("{host} ({region}) {why}")),
            Some(Answer::Unseen(_)) | None => {}
        }
    }
    notes
}

/// Hosts that answered and whose root does not let Holdfast run what the spec declares there. The host refuses, whatever
/// the rest of the look says, and also of an app that exists.
pub(super) fn not_allowed(spec: &AppSpec, answers: &Answers) -> Option<Refusal> {
    let answered = answers.iter().filter_map(|(host, answer)| match answer {
        Answer::Looked(reply) => Some(reply.undeclared.iter().map(move |writer| (host, writer))),
        Answer::Unseen(_) => None,
    });
    let undeclared: Vec<(&HostName, &v1::UndeclaredWriter)> = answered.flatten().collect();
    let hosts: BTreeSet<&HostName> = undeclared.iter().map(|(host, _)| *host).collect();
    let first = *hosts.first()?;
    let what = format!("{} does not let holdfast run every writer of {} there", listed(hosts.clone()), spec.app);
    let mut refusal = Refusal::new(Reason::NotAllowedThere, what);
    for (host, writer) in undeclared {
        refusal = refusal.line("where", format!("{} on {host}: {}", writer.writer, writer.what));
        refusal = refusal.line("add", format!("to {} on {host}, then restart its agent", writer.file));
        refusal = refusal.lines("", writer.add.iter().cloned());
    }
    Some(refusal.next(format!("ssh {first} sudo systemctl restart holdfast-agent")))
}

/// The region that becomes active.
///
/// # Errors
/// Why none can, with one line for each writer on each host.
pub(super) fn conclude(spec: &AppSpec, answers: &Answers) -> Result<RegionName, Refusal> {
    let app = &spec.app;
    let sights = sights(spec, answers);
    let refuse =
        |reason, what: String| Refusal::new(reason, what).lines("found", sights.iter().map(|sight| sight.line.clone()));
    if spec.writers.is_empty() {
        // Nothing writes, so nothing can be found; with one region there is nothing to choose either.
        return match spec.regions.as_slice() {
            [only] => Ok(only.name.clone()),
            _ => Err(refuse(
                Reason::NoSingleWriter,
                format!("{app} declares no writer, so no region can be found active"),
            )
            .next("holdfast plan --help")),
        };
    }
    let primary_in = |region: &RegionName| {
        sights.iter().any(|s| s.region == *region && matches!(s.found, Found::Writes | Found::Primary))
    };
    let all_write =
        |region: &RegionName| sights.iter().filter(|s| s.region == *region).all(|s| s.found == Found::Writes);
    let primaries: Vec<&RegionName> = spec.regions.iter().map(|r| &r.name).filter(|r| primary_in(r)).collect();
    if primaries.len() > 1 {
        let what = format!("{app} has primaries in {} regions: {}", primaries.len(), listed(primaries));
        return Err(refuse(Reason::NoSingleWriter, what).line(
            "why",
            "the one that is not the app's must be stopped, or made to follow, before anything is applied",
        ));
    }
    let unseen: Vec<&Sight> = sights.iter().filter(|s| s.found == Found::Unseen).collect();
    if let Some(first) = unseen.first() {
        let hosts: BTreeSet<&HostName> = unseen.iter().map(|s| &s.host).collect();
        let what = format!("{} cannot be looked at; it might be a second primary of {app}", listed(hosts));
        return Err(refuse(Reason::HostAbsent, what)
            .next(format!("ssh {} systemctl status holdfast-agent", first.host))
            .next("holdfast hosts"));
    }
    match primaries.first() {
        Some(region) if all_write(region) => {}
        Some(region) => {
            return Err(refuse(
                Reason::NoSingleWriter,
                format!("not every writer of {app} accepts writes in {region}"),
            ));
        }
        None => return Err(refuse(Reason::NoSingleWriter, format!("no region of {app} accepts writes"))),
    }
    let writers: BTreeSet<&HostName> = sights.iter().map(|s| &s.host).collect();
    let problems: Vec<String> = writers
        .iter()
        .filter_map(|host| match answers.get(*host) {
            Some(Answer::Looked(reply)) => Some(reply.problems.iter().map(move |p| format!("{host}: {p}"))),
            Some(Answer::Unseen(_)) | None => None,
        })
        .flatten()
        .collect();
    if !problems.is_empty() {
        let what = format!("{app} could not be kept safe on every host of its writers");
        return Err(Refusal::new(Reason::UnsafeChange, what).lines("where", problems));
    }
    Ok(primaries[0].clone())
}

#[cfg(test)]
mod tests {
    use holdfast_types::spec::parse;

    use super::*;
    use crate::api::samples::{FAST, ONE_REGION};

    fn seen(running: bool, in_recovery: bool, accepts_writes: bool) -> v1::DatabaseEvidence {
        v1::DatabaseEvidence {
            running,
            in_recovery,
            accepts_writes,
            streaming: in_recovery,
            timeline: 1,
            lsn: 0x300_0148,
            system_identifier: 7,
            ..<_>::default()
        }
    }

    fn looked(database: Option<v1::DatabaseEvidence>, problems: &[&str]) -> Answer {
        Answer::Looked(v1::LookReply {
            number: 1,
            writers: vec![v1::WriterFinding { writer: "pg".to_owned(), database, text: String::new() }],
            problems: problems.iter().map(|p| (*p).to_owned()).collect(),
            undeclared: Vec::new(),
        })
    }

    fn answers(east: Option<Answer>, west: Option<Answer>) -> Answers {
        let named = |name: &str, answer: Option<Answer>| Some((name.parse().ok()?, answer?));
        [named("use-db1", east), named("usw-db1", west)].into_iter().flatten().collect()
    }

    #[test]
    fn a_first_look_takes_the_one_region_that_accepts_writes() {
        let spec = parse("test", FAST).expect("a spec");
        let writes = || Some(looked(Some(seen(true, false, true)), &[]));
        let read_only = || Some(looked(Some(seen(true, false, false)), &[]));
        let standby = || Some(looked(Some(seen(true, true, false)), &[]));
        let down = || Some(looked(Some(seen(false, false, false)), &[]));
        let silent = || Some(Answer::Unseen("has no session".to_owned()));
        let blind = || Some(looked(None, &[]));
        let unwilling = || Some(looked(Some(seen(true, true, false)), &["its proxy has no server of that region"]));
        let nothing_said = || Some(Answer::Looked(v1::LookReply::default()));
        let not_asked = || None;
        type Ask<'a> = &'a dyn Fn() -> Option<Answer>;
        let table: [(&str, Ask<'_>, Ask<'_>, Result<&str, Reason>); 14] = [
            ("primary and standby", &writes, &standby, Ok("us-east")),
            ("the other way round", &standby, &writes, Ok("us-west")),
            ("the standby is down", &writes, &down, Ok("us-east")),
            ("two primaries", &writes, &writes, Err(Reason::NoSingleWriter)),
            ("a second one, read-only", &writes, &read_only, Err(Reason::NoSingleWriter)),
            ("only a read-only one", &read_only, &standby, Err(Reason::NoSingleWriter)),
            ("two standbys", &standby, &standby, Err(Reason::NoSingleWriter)),
            ("both down", &down, &down, Err(Reason::NoSingleWriter)),
            ("a host without session", &writes, &silent, Err(Reason::HostAbsent)),
            ("none writes, one unseen", &standby, &silent, Err(Reason::HostAbsent)),
            ("a host that could not look", &writes, &blind, Err(Reason::HostAbsent)),
            ("a host that said nothing of it", &writes, &nothing_said, Err(Reason::HostAbsent)),
            ("a host that was not asked", &writes, &not_asked, Err(Reason::HostAbsent)),
            ("a host that would not obey", &writes, &unwilling, Err(Reason::UnsafeChange)),
        ];
        for (name, east, west, expected) in table {
            let answers = answers(east(), west());
            match (conclude(&spec, &answers), expected) {
                (Ok(region), Ok(expected)) => assert_eq!(region.as_str(), expected, "{name}"),
                (Err(refusal), Err(reason)) => {
                    assert_eq!(refusal.reason, reason, "{name}: {refusal:?}");
                    assert!(!refusal.lines.is_empty(), "{name} names nothing");
                }
                (concluded, expected) => panic!("{name}: {concluded:?}, expected {expected:?}"),
            }
        }
    }

    #[test]
    fn a_host_that_does_not_allow_a_writer_refuses_the_spec_with_the_lines_to_add() {
        let spec = parse("test", FAST).expect("a spec");
        let undeclared = v1::UndeclaredWriter {
            writer: "pg".to_owned(),
            what: "unit pg.service, data in /pg".to_owned(),
            file: "/etc/holdfast/agent.toml".to_owned(),
            add: vec!["[[writers]]".to_owned(), "unit = \"pg.service\"".to_owned()],
        };
        let refuses = Answer::Looked(v1::LookReply { undeclared: vec![undeclared], ..v1::LookReply::default() });
        let writes = looked(Some(seen(true, false, true)), &[]);
        assert_eq!(not_allowed(&spec, &answers(Some(writes.clone()), Some(writes.clone()))), None);
        let refusal = not_allowed(&spec, &answers(Some(writes), Some(refuses))).expect("refused");
        assert_eq!(refusal.reason, Reason::NotAllowedThere);
        assert_eq!(refusal.what, "usw-db1 does not let holdfast run every writer of shop there");
        let lines: Vec<_> = refusal.lines.iter().map(|l| (l.label.as_str(), l.text.as_str())).collect();
        let expected = [
            ("where", "pg on usw-db1: unit pg.service, data in /pg"),
            ("add", "to /etc/holdfast/agent.toml on usw-db1, then restart its agent"),
            ("", "[[writers]]"),
            ("", "unit = \"pg.service\""),
        ];
        assert_eq!(lines, expected);
        assert_eq!(refusal.next, ["ssh usw-db1 sudo systemctl restart holdfast-agent"]);
    }

    #[test]
    fn what_was_found_is_told_with_its_place_and_position() {
        let spec = parse("test", FAST).expect("a spec");
        let following = v1::DatabaseEvidence { sender: "10.10.2.11".to_owned(), ..seen(true, true, false) };
        let all = answers(Some(looked(Some(seen(true, false, true)), &[])), Some(looked(Some(following), &[])));
        assert_eq!(
            found(&spec, &all),
            [
                "pg on use-db1 (us-east): accepts writes, timeline 1, 0/3000148",
                "pg on usw-db1 (us-west): follows 10.10.2.11, timeline 1, 0/3000148",
            ]
        );
        let refusal = conclude(&spec, &answers(all.values().next().cloned(), None)).expect_err("one is unseen");
        assert_eq!(refusal.what, "usw-db1 cannot be looked at; it might be a second primary of shop");
        assert_eq!(refusal.next[0], "ssh usw-db1 systemctl status holdfast-agent");
        let texts: Vec<&str> = refusal.lines.iter().map(|l| l.text.as_str()).collect();
        assert_eq!(texts[1], "pg on usw-db1 (us-west): was not asked");
    }

    #[test]
    fn a_standby_of_another_cluster_and_absent_proxies_are_noted() {
        let spec = parse("test", FAST).expect("a spec");
        let stranger = v1::DatabaseEvidence { system_identifier: 8, ..seen(true, true, false) };
        let mut all =
            answers(Some(looked(Some(seen(true, false, true)), &[])), Some(looked(Some(stranger), &["no disk"])));
        all.insert("use-web1".parse().unwrap(), Answer::Unseen("has no session".to_owned()));
        let notes = notes(&spec, &all);
        assert_eq!(notes.len(), 3, "{notes:?}");
        assert!(notes[0].starts_with("pg on usw-db1 is no copy of the one on use-db1"), "{notes:?}");
        assert_eq!(notes[1..], ["use-web1 (us-east) has no session", "usw-db1 (us-west): no disk"]);
    }

    #[test]
    fn one_region_without_writers_needs_no_look() {
        let without = ONE_REGION.split("writers:").next().expect("a first part").to_owned();
        let spec = parse("test", &without).unwrap_or_else(|problems| panic!("{problems}"));
        assert_eq!(conclude(&spec, &Answers::new()).expect("its only region").as_str(), "eu-1");
    }
}
